import pytest

from affectkit import __version__
from affectkit.cli import main as cli
from affectkit.errors import AnnotationError, ConfigError


def test_help_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in cli.COMMANDS)


def test_no_arguments_is_wrong_usage(capsys):
    assert cli.main([]) == 2
    assert "usage: affectkit" in capsys.readouterr().out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"affectkit {__version__}\n"


def test_unknown_command_names_the_known_ones(capsys):
    assert cli.main(["tran"]) == 2
    error = capsys.readouterr().err
    assert "'tran'" in error
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
