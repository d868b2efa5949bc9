"""Run the toy trainings one after the other; a program, so that several processes can run it together."""

import sys
from importlib import import_module

import torch
import torch.distributed as dist

TRAININGS = (
    "single",
    "mixture",
    "ssm",
    "micro",
    "metric",
    "aullm",
    "emocap",
    "feallm",
    "fgsgl",
    "mood",
    "noisy",
)


def main(folder, world, *kinds):
    """Leave `KIND-WORLD.pt` of every kind in the folder."""
    for kind in kinds:
        if kind in ("single", "mixture"):
            import_module("helpers.training").main(folder, world, kind)
        else:
            import_module(f"helpers.{kind}").main(folder, world)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
