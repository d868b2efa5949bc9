"""Two processes do what one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.processes import TRAININGS

pytestmark = pytest.mark.distributed
TESTS = Path(__file__).parent.parent


def run(folder, world, *kinds):
    """Run toy trainings on `world` gloo processes."""
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}", f"--log-dir={folder}"]
        if world > 1
        else []
    )
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, TESTS / "helpers" / "processes.py", folder, str(world), *kinds]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder with what one, two and three processes saved: starting them takes longer than the trainings."""
    folder = tmp_path_factory.mktemp("processes")
    for world in (1, 2):
        run(folder, world, *TRAININGS, "counting")
    run(folder, 3, "counting")
    return folder


def load(folder, kind, world):
    return torch.load(folder / f"{kind}-{world}.pt", weights_only=True)


def without_keys_bias(name, weight):
    """A weight without attention's bias of keys: its gradient is rounding alone, which Adam makes steps of."""
    if not name.endswith(("in_proj_bias", "qkv.bias")):
        return weight
    queries, _, values = weight.chunk(3)
    return torch.cat([queries, values])


@pytest.mark.parametrize("kind", TRAININGS)
def test_two_processes_equal_one(saved, kind):
    one, two = load(saved, kind, 1), load(saved, kind, 2)
    assert one["weights"].keys() == two["weights"].keys()
    for name in one["weights"]:
        first, second = (without_keys_bias(name, run["weights"][name]) for run in (one, two))
        torch.testing.assert_close(
            second, first, rtol=0, atol=1e-5, msg=lambda fault, name=name: f"{name}: {fault}"
        )
    torch.testing.assert_close(
        two.get("gradients"), one.get("gradients"), rtol=1e-5, atol=1e-5
    )  # of a first step
    torch.testing.assert_close(two.get("means"), one.get("means"), rtol=1e-5, atol=1e-6)  # of the losses
    if kind in ("mood", "emocap"):  # results that follow every last bit of the weights
        assert two["results"].keys() == one["results"].keys()
        for name, rows in one["results"].items():
            values = [[row["value"] for row in each] for each in (rows, two["results"][name])]
            assert values[1] == pytest.approx(values[0], abs=1e-4)
    else:
        assert two["results"] == one["results"]


def test_labels_counted_by_several_processes_give_the_numbers_of_one(saved):
    """Also with a process that has none."""
    one, two, three = (load(saved, "counting", world) for world in (1, 2, 3))
    assert [run.pop("kept") for run in (one, two, three)] == [240, 100, 100]
    assert one == two == three
