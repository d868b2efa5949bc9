"""Entry point of the `affectkit` command: finds the command, imports only that, and reports errors as one line.

Exit codes: 0 success; 1 an unexpected failure, or a result that misses its bar; 2 wrong usage or recipe;
3 bad input (annotations, media, weights); 130 interrupted.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

from affectkit import __version__
from affectkit.errors import AffectKitError, ConfigError

__all__ = ["main"]


class Command(NamedTuple):
    """A command of the command line.

    Args:
        module: What holds its `run(args) -> exit code`, in this package; empty for a group of commands.
        about: What it does.
    """

    module: str
    about: str


TRAINER = "trainer"
COMMANDS = {
    "fit": Command(TRAINER, "train a recipe: --config RECIPE"),
    "validate": Command(TRAINER, "evaluate a checkpoint on the validation subjects"),
    "test": Command(TRAINER, "evaluate a checkpoint on the test subjects"),
    "predict": Command(
        "predict", "action units of photos and videos (--model) or of a recipe's data (--config)"
    ),
    "report": Command("report", "predictions as a page, drawn into their video, or as figures"),
    "crossval": Command("crossval", "all folds of a corpus's protocol, resumable: --config RECIPE"),
    "model": Command("", "export, calibrate, convert or explain a trained model"),
    "data": Command("", "check, rehearse or prepare a corpus, or render one"),
    "recipe": Command("recipe", "list, show or copy the recipes that come with affectkit"),
    "describe": Command("describe", "parameters, input, labels and outputs of a recipe or a saved model"),
    "demo": Command("demo", "render, train, test and predict in five minutes"),
}
GROUPS = {
    "model": {
        "export": Command("export", "a model as a folder that loads anywhere, as ONNX, or on the Hub"),
        "calibrate": Command("calibrate", "temperatures and thresholds, from validation subjects"),
        "convert": Command("convert", "weights that other programs trained"),
        "explain": Command("explain", "what a model learned, as pictures and tables"),
    },
    "data": {
        "check": Command("check", "compare a corpus on disk with its published counts"),
        "rehearse": Command("rehearse", "a rendered corpus in the layout of the real one"),
        "prepare": Command("prepare", "aligned face crops, made once, that train several times faster"),
        "render": Command("render", "a corpus of synthetic faces with exact labels"),
    },
}
_OPTIONS = """
options:
  --help     this text; `affectkit COMMAND --help` for a command's own options
  --version  the version
  --debug    show the full trace when something fails
"""


def help_text(group: str | None = None) -> str:
    """The text of `affectkit --help`, or of a group of commands."""
    commands = COMMANDS if group is None else GROUPS[group]
    rows = "\n".join(f"  {name:<10} {command.about}" for name, command in commands.items())
    if group is None:
        usage, about = (
            "affectkit COMMAND [options]",
            "Facial action units, expressions and micro-expressions.",
        )
    else:
        usage, about = f"affectkit {group} COMMAND [options]", f"{COMMANDS[group].about.capitalize()}."
    options = (
        _OPTIONS if group is None else f"\n`affectkit {group} COMMAND --help` lists the options of one.\n"
    )
    return f"usage: {usage}\n\n{about}\n\ncommands:\n{rows}\n{options}"


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
    command = _find(name)
    if name in GROUPS:
        if not rest or rest[0] in ("-h", "--help", "help"):
            print(help_text(name), end="")
            return 0 if rest else 2
        command = _find(rest.pop(0), name)
    module = importlib.import_module(f"affectkit.cli.{command.module}")
    code: int = module.run(arguments if command.module == TRAINER else rest)
    return code


def _find(name: str, group: str | None = None) -> Command:
    """A command, or one of a group.

    Raises:
        ConfigError: There is none; the error names a similar one, also of another group, or else all.
    """
    commands = COMMANDS if group is None else GROUPS[group]
    if name in commands:
        return commands[name]
    known = {one: one if group is None else f"{group} {one}" for one in commands}
    everywhere = {kind: f"report --as {kind}" for kind in ("overlay", "timeline")}
    everywhere |= {one: f"{home} {one}" for home, found in GROUPS.items() for one in found}
    places = everywhere if name in everywhere else known
    near = difflib.get_close_matches(name, places, n=1) or difflib.get_close_matches(name, everywhere, n=1)
    raise ConfigError(
        f"Unknown command {' '.join(filter(None, (group, name)))!r}.",
        remedy=f"Did you mean `affectkit {(everywhere | known)[near[0]]}`?"
        if near
        else f"Choose one of: {', '.join(commands)}.",
    )


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
