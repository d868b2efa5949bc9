import json

import pytest

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {studies!r})
import harness

class Setup:
    def __init__(self, quick):
        self.name = "quick" if quick else "whole"

class Runner:
    def prepare(self, setup, folder, seeds, jobs):
        (folder / setup.name).mkdir(exist_ok=True)
        (folder / "prepared.txt").write_text(f"{{seeds}} {{jobs}}")
    def run_single(self, setup, folder, name, seed):
        with (folder / "started.txt").open("a") as file:
            print(name, seed, file=file)
        if (folder / f"no-{{name}}").exists():
            raise SystemExit("there is no " + name)
        harness.write_run(setup, folder, dict(variant=name, seed=seed, results=dict(score=seed / 10)))

def tables(setup, folder):
    return str({{k: sorted(v) for k, v in harness.read_runs(setup, folder, ["one", "two"]).items()}})

def main(arguments=None):
    return harness.main(__file__, "A study.", Setup, ["one", "two"], runner=Runner, write_tables=tables,
                        arguments=arguments)

if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.fixture
def study(tmp_path, studies):
    script = tmp_path / "study.py"
    script.write_text(SCRIPT.format(studies=str(studies)))
    namespace = {"__file__": str(script), "__name__": "study"}
    exec(compile(script.read_text(), script, "exec"), namespace)  # in this process; its runs are processes
    return namespace["main"]


def started(folder):
    path = folder / "started.txt"
    lines = sorted(path.read_text().splitlines()) if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_only_what_is_missing_runs(study, tmp_path, capsys):
    folder = tmp_path / "runs"
    arguments = ["--runs", str(folder), "--jobs", "2", "--seeds", "2"]
    assert study(arguments) == 0
    assert started(folder) == ["one 0", "one 1", "two 0", "two 1"]
    assert (folder / "prepared.txt").read_text() == "[0, 1] 2"
    assert json.loads((folder / "whole" / "two-1.json").read_text())["results"] == {"score": 0.1}
    assert capsys.readouterr().out.splitlines()[-1] == "{'one': [0, 1], 'two': [0, 1]}"

    (folder / "prepared.txt").unlink()
    (folder / "whole" / "one-1.json").unlink()
    assert study(arguments) == 0
    assert started(folder) == ["one 1"]
    assert (folder / "prepared.txt").read_text() == "[1] 2"

    (folder / "prepared.txt").unlink()
    assert study(arguments) == 0
    assert started(folder) == []
    assert not (folder / "prepared.txt").exists()  # nothing is missing
    assert "4 of 4 runs are there" in capsys.readouterr().out


def test_a_failure_stops_nothing_else_and_is_told(study, tmp_path, capsys):
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "no-one").touch()
    assert study(["--runs", str(folder), "--seeds", "1", "--quick"]) == 1
    out = capsys.readouterr().out
    assert "one seed 0: FAILED, see one-0.log" in out
    assert out.splitlines()[-1] == "{'one': [], 'two': [0]}"
    assert (folder / "one-0.log").read_text().strip() == "there is no one"
    assert [path.name for path in (folder / "quick").iterdir()] == [
        "two-0.json"
    ]  # of the rehearsal's settings


def test_a_run_is_written_whole_or_not_at_all(tmp_path):
    import harness

    class Setup:
        name = "settings"

    (tmp_path / "settings").mkdir()
    with pytest.raises(TypeError):
        harness.write_run(Setup, tmp_path, {"variant": "one", "seed": 0, "results": object()})
    assert not list((tmp_path / "settings").glob("*.json"))
    harness.write_run(Setup, tmp_path, {"variant": "one", "seed": 0, "results": {"score": 1}})
    assert harness.read_runs(Setup, tmp_path, ["one", "two"])["one"][0]["results"] == {"score": 1}
    assert harness.run_file(Setup, tmp_path, "one", 0) == tmp_path / "settings" / "one-0.json"
