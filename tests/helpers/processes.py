"""Run the toy trainings one after the other; a program, so that several processes can run it together."""

import sys

import torch
import torch.distributed as dist

from helpers import counting, metric, micro, mood, ssm, training

TRAININGS = ("single", "mixture", "ssm", "micro", "metric", "mood")


def main(folder, world, *kinds):
    """Leave `KIND-WORLD.pt` of every kind in the folder."""
    for kind in kinds:
        if kind in ("single", "mixture"):
            training.main(folder, world, kind)
        else:
            {"ssm": ssm, "micro": micro, "metric": metric, "mood": mood, "counting": counting}[kind].main(
                folder, world
            )
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
