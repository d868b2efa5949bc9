"""Every command of training leaves the same files on two processes as on one."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import torch
import yaml
from helpers import commands

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
]
TESTS = Path(__file__).parent.parent
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def run(*arguments):
    """Run Python with some arguments."""
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)


def start(*arguments):
    """Run Python with some arguments and return what it printed."""
    done = run(*arguments)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    commands.run(folder, 1)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    start(*TWO, f"--log-dir={folder / 'torchrun'}", TESTS / "helpers" / "commands.py", folder, 2)
    return folder


def logs(folder, version):
    return folder / "mixed" / "run" / "logs" / f"version_{version}"


def files(folder):
    """Names of everything that was written, without what Lightning calls events."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(path, first):
    """Last row of each epoch in a table of the logger, columns that begin with `first`."""
    return [
        {name: float(value) for name, value in row.items() if name.startswith(first) and value}
        for row in table(path)
    ]


def assert_same_predictions(left, right):
    left, right = table(left), table(right)
    names = [name for name in left[0] if name[:2] != "AU" and name not in ("happiness", "surprise")]
    texts = [name for name in names if not left[0][name].replace(".", "").isdigit() or name == "frame"]
    assert [[row[name] for name in texts] for row in left] == [[row[name] for name in texts] for row in right]
    assert list(left[0]) == list(right[0])
    for name in set(left[0]) - set(texts):
        assert [float(row[name] or -1) for row in right] == pytest.approx(
            [float(row[name] or -1) for row in left], abs=2e-5
        )


def test_both_leave_the_same_files(one, two):
    assert files(one / "mixed") == files(two / "mixed")
    assert files(one / "crossval") == files(two / "crossval")


def test_fit(one, two):
    for name in ("newest.ckpt", "best.ckpt"):
        left, right = (torch.load(logs(f, 0) / "checkpoints" / name, weights_only=True) for f in (one, two))
        assert left["epoch"] == right["epoch"]
        for weight, value in left["state_dict"].items():
            torch.testing.assert_close(right["state_dict"][weight], value, rtol=0, atol=1e-5, msg=weight)


def test_validate(one, two):
    left, right = (numbers(logs(folder, 1) / "metrics.csv", "val/") for folder in (one, two))
    assert left
    assert all(len(row) > 6 for row in left)
    for row, other in zip(left, right, strict=True):
        assert other == pytest.approx(row, abs=1e-6)


def test_test(one, two):
    left, right = (json.loads((logs(folder, 2) / "test_results.json").read_text()) for folder in (one, two))
    assert sorted(left) == ["first/au", "first/expression", "second/au", "second/expression"]
    assert left == right


def test_predict_leaves_one_table_in_the_order_of_one_process(one, two):
    rows = table(logs(one, 3) / "predictions.csv")
    assert len(rows) == (9 + 3) * 3
    assert_same_predictions(logs(one, 3) / "predictions.csv", logs(two, 3) / "predictions.csv")


def test_crossval(one, two):
    left, right = (json.loads((folder / "crossval" / "results.json").read_text()) for folder in (one, two))
    # Thresholds lie between two scores, and the scores of two trainings agree to rounding only.
    thresholds = [[fold.pop("thresholds")["au"] for fold in run["folds"]] for run in (left, right)]
    assert left == right
    assert thresholds[0] == [pytest.approx(fold, abs=1e-5) for fold in thresholds[1]]
    assert_same_predictions(one / "crossval" / "predictions.csv", two / "crossval" / "predictions.csv")


def test_tested_predictions_are_those_of_one_process(one, two):
    left, right = (pandas.read_parquet(logs(folder, 2) / "test_predictions.parquet") for folder in (one, two))
    assert len(left) == (9 + 3) * 3
    assert {"AU12_true", "expression_true"} <= set(left.columns)
    pandas.testing.assert_frame_equal(right, left, atol=2e-5)


def test_a_process_that_dies_ends_the_job_with_one_line(tmp_path):
    recipe = commands.recipe(tmp_path, "mixed", commands.mixture(2), 2)
    content = yaml.safe_load(Path(recipe).read_text())
    content["trainer"]["callbacks"].append({"class_path": "helpers.interrupted.Die"})
    Path(recipe).write_text(yaml.safe_dump(content))
    done = run("-m", "affectkit", "fit", "--config", recipe)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if "training label" not in line]
    assert errors == [
        "affectkit: error: Process 1 of this job (exit code -9) has ended, so the job ends. "
        "Continue with --ckpt_path last."
    ]


def test_a_command_that_starts_its_second_process_itself(one, tmp_path):
    recipe = commands.recipe(tmp_path, "mixed", commands.mixture(1), 2)
    checkpoint = logs(one, 0) / "checkpoints" / "newest.ckpt"
    printed = start("-m", "affectkit", "test", "--config", recipe, "--ckpt_path", checkpoint)
    assert printed.count("results with those of each label") == 1
    left, right = (
        json.loads((logs(*place) / "test_results.json").read_text()) for place in ((one, 2), (tmp_path, 0))
    )
    assert left == right
