"""Entry point of the `affectkit` command: finds the sub-command, imports only that, and reports errors as one line.

Exit codes: 0 success; 1 an unexpected failure, or a result that misses its bar; 2 wrong usage or recipe;
3 bad input (annotations, media, weights); 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from affectkit import __version__
from affectkit.errors import AffectKitError, ConfigError

__all__ = ["main"]

# name → (module with a function `run(args) -> exit code`, what it does)
COMMANDS = {
    "fit": ("affectkit.cli.trainer", "train a recipe: --config RECIPE"),
    "validate": ("affectkit.cli.trainer", "evaluate a checkpoint on the validation subjects"),
    "test": ("affectkit.cli.trainer", "evaluate a checkpoint on the test subjects"),
    "predict": (
        "affectkit.cli.predict",
        "action units of photos and videos (--model) or of a recipe's data (--config)",
    ),
    "overlay": ("affectkit.cli.overlay", "predictions drawn into their video: boxes, bars, expressions"),
    "report": ("affectkit.cli.report", "predictions and their video as one HTML page"),
    "timeline": ("affectkit.cli.timeline", "predictions over time as figures, one for each face"),
    "crossval": (
        "affectkit.cli.crossval",
        "all folds of a corpus's protocol, resumable: --config RECIPE --protocol loso|3fold",
    ),
    "data": (
        "affectkit.cli.data",
        "check a corpus against its published counts, or rehearse on a rendered one",
    ),
    "prepare": (
        "affectkit.cli.prepare",
        "aligned face crops of a corpus, made once, that train several times faster",
    ),
    "recipe": ("affectkit.cli.recipe", "list, show or copy the recipes that come with affectkit"),
    "describe": (
        "affectkit.cli.describe",
        "parameters, input, labels and outputs of a recipe or a saved model",
    ),
    "explain": (
        "affectkit.cli.explain",
        "what a model learned, as pictures and tables",
    ),
    "calibrate": (
        "affectkit.cli.calibrate",
        "temperatures and thresholds of a model, from validation subjects",
    ),
    "export": ("affectkit.cli.export", "a model as a folder that loads anywhere, as ONNX, or on the Hub"),
    "convert": ("affectkit.cli.convert", "checkpoints of other programs"),
    "synth": ("affectkit.cli.synth", "render a corpus of synthetic faces with exact labels"),
    "demo": ("affectkit.cli.demo", "render, train, test and predict in five minutes"),
}
TRAINER = "affectkit.cli.trainer"


def help_text() -> str:
    """The text of `affectkit --help`."""
    rows = "\n".join(f"  {name:<10} {what}" for name, (_, what) in COMMANDS.items())
    return (
        "usage: affectkit COMMAND [options]\n\n"
        "Facial action units, expressions and micro-expressions.\n\n"
        f"commands:\n{rows}\n\n"
        "options:\n"
        "  --help     this text; `affectkit COMMAND --help` for a command's own options\n"
        "  --version  the version\n"
        "  --debug    show the full trace when something fails\n"
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: Arguments without the program's name; those of the process by default.

    Returns:
        The exit code (see the module).
    """
    arguments = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text(), end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"affectkit {__version__}")
        return 0
    return _guarded(lambda: _dispatch(arguments), debug)


def _dispatch(arguments: list[str]) -> int:
    name, *rest = arguments
    if name not in COMMANDS:
        raise ConfigError(f"Unknown command {name!r}.", remedy=f"Choose one of: {', '.join(COMMANDS)}.")
    module = importlib.import_module(COMMANDS[name][0])
    code: int = module.run(arguments if COMMANDS[name][0] == TRAINER else rest)
    return code


def _guarded(command: Callable[[], int], debug: bool) -> int:
    """Run `command` and turn what it raises into one line on stderr and an exit code."""
    try:
        return command()
    except KeyboardInterrupt:
        print("affectkit: interrupted; what was written so far is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `affectkit recipe show … | head` closes our stdout early: not a fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  the last resort of a command line
        return _report(error, debug)


def _report(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, AffectKitError):  # the parser wraps what a class raises
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        text, code = f"{type(error).__name__}: {error}", 1
    else:
        text, code = str(cause), 2 if isinstance(cause, ConfigError) else 3
    line = " ".join(text.split())
    print(f"affectkit: error: {line}" + ("" if debug else " (--debug shows the trace)"), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
