import contextlib
import re

import pytest

from affectkit import __version__
from affectkit.cli import main as cli
from affectkit.errors import AnnotationError, ConfigError


def test_help_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in cli.COMMANDS)


def test_a_user_has_twelve_commands_at_most():
    assert len(cli.COMMANDS) <= 12
    assert set(cli.GROUPS) < set(cli.COMMANDS)


@pytest.mark.parametrize("group", cli.GROUPS)
def test_a_group_lists_its_commands(group, capsys):
    assert cli.main([group, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: affectkit {group} COMMAND")
    assert all(f"\n  {name} " in text for name in cli.GROUPS[group])
    assert cli.main([group]) == 2
    assert capsys.readouterr().out == text


COMMANDS = [
    *([name] for name in cli.COMMANDS if name not in cli.GROUPS),
    *([group, name] for group, commands in cli.GROUPS.items() for name in commands),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_the_same_names_of_options(command, capsys):
    with contextlib.suppress(SystemExit):  # as argparse ends
        assert cli.main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: affectkit {' '.join(command)} ")
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*", text))
    assert not options & {"--out", "--ckpt", "--video", "--recipe"}


@pytest.mark.parametrize("columns", ["80", "100"])
def test_the_help_of_predict_fits_a_screen(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        cli.main(["predict", "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    assert cli.main(["predict", "--help-all"]) == 0
    everything = capsys.readouterr().out
    text = "\n".join(lines)
    for name in ("--model", "--input", "--webcam", "--output", "--faces", "--smooth", "--spot", "--device"):
        assert f"  {name} " in text
        assert f"  {name} " in everything
    for name in ("--patience", "--engine", "--prototype-only", "--fps", "--detector-size", "--seconds"):
        assert f"  {name} " not in text
        assert f"  {name} " in everything


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        (["exprot"], "model export"),
        (["prepare"], "data prepare"),
        (["model", "eksport"], "model export"),
        (["data", "convert"], "model convert"),
        (["modle"], "model"),
    ],
)
def test_an_unknown_command_names_the_one_that_was_meant(command, meant, capsys):
    assert cli.main(command) == 2
    assert (
        f"Unknown command '{' '.join(command)}'. Did you mean `affectkit {meant}`?" in capsys.readouterr().err
    )


def test_no_arguments_is_wrong_usage(capsys):
    assert cli.main([]) == 2
    assert "usage: affectkit" in capsys.readouterr().out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"affectkit {__version__}\n"


def test_unknown_command_names_the_known_ones(capsys):
    assert cli.main(["xyz"]) == 2
    error = capsys.readouterr().err
    assert "'xyz'" in error
    assert "fit, validate, test, predict" in error


@pytest.mark.parametrize(
    ("raised", "code", "shown"),
    [
        (ConfigError("No head.", remedy="Name one."), 2, "No head. Name one."),
        (AnnotationError("Bad cell.", path="a.csv", line=3), 3, "a.csv, line 3: Bad cell."),
        (RuntimeError("first\nsecond"), 1, "RuntimeError: first second"),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_errors_are_one_line_and_an_exit_code(monkeypatch, capsys, raised, code, shown, debug):
    def fail(arguments):
        raise raised

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert cli.main(["fit", *(["--debug"] if debug else [])]) == code
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith(f"affectkit: error: {shown}")
    assert ("Traceback" in error) == debug
    if not debug:
        assert len(error.splitlines()) == 1


def test_interrupt_is_130(monkeypatch, capsys):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_dispatch", interrupt)
    assert cli.main(["fit"]) == 130
    assert "kept" in capsys.readouterr().err


def test_our_own_error_is_found_below_the_parsers(monkeypatch, capsys):
    def fail(arguments):
        try:
            raise AnnotationError("Bad cell.", path="a.csv")
        except AnnotationError:
            raise ValueError("Does not validate against any of the subtypes")  # noqa: B904  as a parser does

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert cli.main(["fit"]) == 3
    assert capsys.readouterr().err.startswith("affectkit: error: a.csv: Bad cell.")
