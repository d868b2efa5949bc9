"""Entry point of the `affectkit` command: imports only the chosen command and reports errors in one line.

Exit codes: 0 success; 1 an unexpected failure, a process that died, or a result below its bar; 2 wrong usage or recipe;
3 bad input (annotations, media, weights); 130 interrupted.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from affectkit import __version__
from affectkit.errors import AffectKitError, ConfigError, JobError

__all__ = ["main"]


COMMANDS = {
    "fit": "train a recipe: --config RECIPE",
    "validate": "evaluate a checkpoint on the validation subjects",
    "test": "evaluate a checkpoint on the test subjects",
    "predict": "action units of photos and videos (--model) or of a recipe's data (--config)",
    "report": "predictions as a page, a video with overlay, or figures",
    "crossval": "all folds of a corpus's protocol, resumable: --config RECIPE",
    "model": "export, calibrate, convert, explain, compare or search with trained models",
    "data": "check your own table or a corpus; rehearse, prepare, render or ask about one",
    "recipe": "list, show or copy the recipes of affectkit",
    "describe": "parameters, input, labels and outputs of a recipe or a saved model",
    "doctor": "versions, devices, cached weights, and what is missing for which command",
    "demo": "render, train, test and predict in five minutes",
}
"""Commands with their help; each is a module with `run(args) -> exit code`, if it is no group."""

GROUPS = {
    "model": {
        "export": "a model as a folder that loads anywhere, as ONNX, or on the Hub",
        "calibrate": "temperatures and thresholds from validation subjects",
        "convert": "weights trained by other programs",
        "explain": "what a model learned, as pictures and tables",
        "compare": "two tested runs, paired over subjects, with intervals and p-values",
        "neighbours": "faces of a corpus that a metric model finds most alike",
    },
    "data": {
        "table": "check a table of your own clips, and write a starting recipe for it",
        "check": "compare a corpus on disk with its published counts",
        "rehearse": "a rendered corpus in the layout of the real one",
        "prepare": "aligned face crops, made once, for training several times faster",
        "render": "a corpus of synthetic faces with exact labels",
        "questions": "questions about every clip for a rater, such as a vision-language model",
    },
}
"""Groups of commands; each is a module with a function per command."""

_TRAINER = ("fit", "validate", "test")
_OPTIONS = """
options:
  --help     this text; `affectkit COMMAND --help` for the options of a command
  --version  the version
  --debug    show the full trace of an error
"""


def help_text(group: str | None = None) -> str:
    """Help of `affectkit`, or of a group of commands."""
    commands, usage = COMMANDS, "affectkit COMMAND [options]"
    about, options = "Facial action units, expressions and micro-expressions.", _OPTIONS
    if group is not None:
        commands, usage = GROUPS[group], f"affectkit {group} COMMAND [options]"
        about = f"{COMMANDS[group].capitalize()}."
        options = f"\n`affectkit {group} COMMAND --help` lists the options of a command.\n"
    rows = "\n".join(f"  {name:<10} {text}" for name, text in commands.items())
    return f"usage: {usage}\n\n{about}\n\ncommands:\n{rows}\n{options}"


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line with some arguments (by default those of the process), and return its exit code."""
    arguments = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        print("affectkit: interrupted; finished output is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `affectkit recipe show … | head` closes our stdout early
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  the last resort of a command line
        return _report(error, debug)


def _dispatch(arguments: list[str]) -> int:
    group = None
    if arguments and arguments[0] in GROUPS:
        group, *arguments = arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text(group), end="")
        return 0 if arguments else 2
    if arguments[0] == "--version" and group is None:
        print(f"affectkit {__version__}")
        return 0
    name, *rest = arguments
    _check_command(name, group)
    if group is not None:
        code: int = getattr(importlib.import_module(f"affectkit.cli.{group}"), name)(rest)
    elif name in _TRAINER:
        code = importlib.import_module("affectkit.cli.trainer").run(arguments)
    else:
        code = importlib.import_module(f"affectkit.cli.{name}").run(rest)
    return code


def _check_command(name: str, group: str | None) -> None:
    """Refuse an unknown command and name a similar one, also of another group, or else all."""
    commands = COMMANDS if group is None else GROUPS[group]
    if name in commands:
        return
    known = {one: one if group is None else f"{group} {one}" for one in commands}
    everywhere = {one: f"{home} {one}" for home, found in GROUPS.items() for one in found}
    places = everywhere if name in everywhere else known
    near = difflib.get_close_matches(name, places, n=1) or difflib.get_close_matches(name, everywhere, n=1)
    raise ConfigError(
        f"Unknown command {' '.join(filter(None, (group, name)))!r}.",
        remedy=f"Did you mean `affectkit {(everywhere | known)[near[0]]}`?"
        if near
        else f"Choose one of: {', '.join(commands)}.",
    )


def _report(error: Exception, debug: bool) -> int:
    """Print an error in one line on stderr and return the exit code."""
    if debug:
        traceback.print_exception(error)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, AffectKitError):  # the parser wraps errors of classes
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        text = str(cause)
        code = 2 if isinstance(cause, ConfigError) else 1 if isinstance(cause, JobError) else 3
    else:
        text, code = f"{type(error).__name__}: {error}".rstrip(".") + ".", 1
        text += "" if debug else " Add --debug for the trace."
    print(f"affectkit: error: {' '.join(text.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
