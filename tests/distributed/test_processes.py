"""Two processes do what one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).parent.parent / "helpers" / "training.py"


def train(folder, world, kind):
    """Run the toy training on `world` gloo processes and return what the first one saved."""
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"] if world > 1 else []
    )
    environment = {**os.environ, "PYTHONPATH": str(WORKER.parent.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(WORKER), str(folder), str(world), kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / f"{kind}-{world}.pt", weights_only=True)


@pytest.mark.distributed
@pytest.mark.parametrize("kind", ["single", "mixture"])
def test_two_processes_equal_one(tmp_path, kind):
    one, two = train(tmp_path, 1, kind), train(tmp_path, 2, kind)
    assert one["weights"].keys() == two["weights"].keys()
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, rtol=0, atol=1e-5, msg=name)
    assert two["results"] == one["results"]
