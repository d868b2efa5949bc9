"""Two processes do what one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HELPERS = Path(__file__).parent.parent / "helpers"


def train(folder, world, kind):
    """Run the toy training of a kind on `world` gloo processes and return what the first one saved."""
    program = (
        [HELPERS / f"{kind}.py", folder, world]
        if kind in ("ssm", "micro", "mood", "counting", "emocap")
        else [HELPERS / "training.py", folder, world, kind]
    )
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}", f"--log-dir={folder}"]
        if world > 1
        else []
    )
    path = os.pathsep.join(filter(None, (str(HELPERS.parent), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, *map(str, program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / f"{kind}-{world}.pt", weights_only=True)


def without_keys_bias(name, weight):
    """A weight without attention's bias of keys: its gradient is rounding alone, which Adam makes steps of."""
    if not name.endswith(("in_proj_bias", "qkv.bias")):
        return weight
    queries, _, values = weight.chunk(3)
    return torch.cat([queries, values])


@pytest.mark.distributed
@pytest.mark.parametrize("kind", ["single", "mixture", "ssm", "micro", "mood", "emocap"])
def test_two_processes_equal_one(tmp_path, kind):
    one, two = train(tmp_path, 1, kind), train(tmp_path, 2, kind)
    assert one["weights"].keys() == two["weights"].keys()
    for name in one["weights"]:
        first, second = (without_keys_bias(name, saved["weights"][name]) for saved in (one, two))
        torch.testing.assert_close(
            second, first, rtol=0, atol=1e-5, msg=lambda fault, name=name: f"{name}: {fault}"
        )
    torch.testing.assert_close(
        two.get("gradients"), one.get("gradients"), rtol=0, atol=1e-5
    )  # of a first step
    torch.testing.assert_close(two.get("means"), one.get("means"), rtol=1e-5, atol=1e-6)  # of the losses
    if kind in ("mood", "emocap"):  # results that follow every last bit of the weights
        assert two["results"].keys() == one["results"].keys()
        for name, rows in one["results"].items():
            values = [[row["value"] for row in saved] for saved in (rows, two["results"][name])]
            assert values[1] == pytest.approx(values[0], abs=1e-4)
    else:
        assert two["results"] == one["results"]


@pytest.mark.distributed
def test_labels_counted_by_several_processes_give_the_numbers_of_one(tmp_path):
    """Also with a process that has none."""
    one, two, three = (train(tmp_path, world, "counting") for world in (1, 2, 3))
    assert [saved.pop("kept") for saved in (one, two, three)] == [240, 100, 100]
    assert one == two == three
