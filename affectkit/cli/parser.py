"""Parsers of the commands: wrong usage is an error of one line that names the nearest option."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from affectkit.errors import ConfigError, did_you_mean

__all__ = ["HelpFormatter", "Parser", "make_parser", "path_or_uri"]

_CHOICE = re.compile(r"argument (.+): invalid choice: '(.*)' \(choose from (.+)\)")


class HelpFormatter(argparse.HelpFormatter):
    """Help that states defaults and keeps the line breaks of descriptions."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = " ".join(action.default) if isinstance(action.default, list) else action.default
        if default is False or default in (None, "", argparse.SUPPRESS):
            return action.help
        return f"{action.help or ''} (default: {default})"


class Parser(argparse.ArgumentParser):
    """Parser that raises `ConfigError` instead of printing its usage and leaving Python.

    Example:
        >>> parser = Parser(prog="affectkit predict")
        >>> _ = parser.add_argument("--input", required=True)
        >>> parser.parse_args(["--inputt", "a.mp4"])
        Traceback (most recent call last):
        affectkit.errors.ConfigError: There is no option --inputt of `affectkit predict`. Did you mean --input?
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register("type", Path, _local_path)

    def parse_args(self, args: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse all arguments."""
        self.check_names(args)
        return super().parse_args(args, namespace)

    def check_names(self, args: Iterable[str], further: Iterable[str] = ()) -> None:
        """Raise `ConfigError` for an option that neither this parser nor another one has.

        It comes before parsing, which would first miss the required option that is misspelt.

        Args:
            args: The arguments; values cannot begin with two hyphens.
            further: Names of other options; they may continue with a point, as in `--model.lr`.
        """
        own, further = self._options(), set(further)
        for argument in args:
            option = argument.partition("=")[0]
            if not option.startswith("--") or option == "--" or option in own:
                continue
            if option[2:].partition(".")[0].removesuffix("+") in further:
                continue
            if self.allow_abbrev and any(name.startswith(option) for name in own):
                continue
            known = own | {f"--{name}" for name in further}
            raise ConfigError(
                f"There is no option {option} of `{self.prog}`.",
                remedy=did_you_mean(option, known, self._see_help()),
            )

    def _options(self) -> set[str]:
        """Options of this parser and of those below it."""
        own = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                own = own.union(*(parser._options() for parser in action.choices.values()))
        return own

    def error(self, message: str) -> NoReturn:
        """Raise `ConfigError` with the parser's message as a sentence."""
        if wrong := _CHOICE.match(message):
            name, given, choices = wrong.groups()
            remedy = did_you_mean(given, re.findall(r"[^\s',]+", choices))
            raise ConfigError(f"There is no {name} {given!r}.", remedy=remedy)
        fault = message.removeprefix("argument ").rstrip(".")
        raise ConfigError(f"{fault[0].upper()}{fault[1:]}.", remedy=self._see_help())

    def _see_help(self) -> str:
        return f"`{self.prog} --help` lists the options."


def _local_path(text: str) -> Path:
    """A path; of a URI, `Path` would make a folder such as `s3:`."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text}: URIs are not supported. Give a local path")
    return Path(text)


def path_or_uri(text: str) -> Path | str:
    """A path, or the text of a URI."""
    return text if "://" in text else Path(text)


def make_parser(command: str, description: str, epilog: str | None = None, **options: Any) -> Parser:
    """Make the parser of a command such as `data check`; `options` are those of `argparse.ArgumentParser`."""
    texts = {"description": description, "epilog": epilog, "formatter_class": HelpFormatter}
    return Parser(prog=f"affectkit {command}", **{**texts, **options})
