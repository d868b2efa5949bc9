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
        [HELPERS / "ssm.py", folder, world]
        if kind == "ssm"
        else [HELPERS / "training.py", folder, world, kind]
    )
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"] if world > 1 else []
    )
    environment = {**os.environ, "PYTHONPATH": str(HELPERS.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, *map(str, program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / f"{kind}-{world}.pt", weights_only=True)


@pytest.mark.distributed
@pytest.mark.parametrize("kind", ["single", "mixture", "ssm"])
def test_two_processes_equal_one(tmp_path, kind):
    one, two = train(tmp_path, 1, kind), train(tmp_path, 2, kind)
    assert one["weights"].keys() == two["weights"].keys()
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, rtol=0, atol=1e-5, msg=name)
    torch.testing.assert_close(two.get("means"), one.get("means"), rtol=1e-5, atol=1e-6)  # of SSM's losses
    assert two["results"] == one["results"]
