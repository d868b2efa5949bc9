"""The commands of training, one after the other in one process or in each of several; also a program for these."""

import os
import sys
from pathlib import Path
from unittest import mock

import torch
import yaml

from affectkit.cli import crossval
from affectkit.cli.main import main
from helpers.interrupted import MULTITASK, write_recipe


def mixture(world):
    """Two sources with 9 and 3 test clips, in batches of 4 for any number of processes; one of two processes pads."""
    sources = {
        name: {
            "class_path": "helpers.toy.ToyDataModule",
            "init_args": {"batch_size": 4 // world, "eval_batch_size": 2, "clips": clips},
        }
        for name, clips in {"first": 3, "second": 1}.items()
    }
    return {"class_path": "MixtureDataModule", "init_args": {"sources": sources, "steps_per_epoch": 3}}


def folds(world):
    """Three folds with 12 test clips each."""
    return {"class_path": "helpers.folds.ToyFolds", "init_args": {"batch_size": 4 // world, "seed": 0}}


def recipe(folder, name, data, world, **best):
    """Write a recipe without anything that is drawn by process."""
    path = folder / name / "recipe.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    several = {"devices": world, "strategy": "ddp" if world > 1 else "auto", "max_epochs": 1}
    # Moved into place when it is complete: the other process may be reading `path`.
    draft = path.with_name(f"draft-{os.environ.get('RANK', 0)}.yaml")
    write_recipe(draft, "multitask", **several, **best)
    content = yaml.safe_load(draft.read_text())
    content["model"] = yaml.safe_load(yaml.safe_dump(MULTITASK))
    content["model"]["init_args"]["heads"]["au"]["init_args"]["dropout"] = 0.0
    content["data"] = data
    draft.write_text(yaml.safe_dump(content, sort_keys=False))
    draft.replace(path)
    return str(path)


def run(folder, world):
    """Train, validate, test, predict and cross-validate."""
    folder, world = Path(folder), int(world)
    mixed = recipe(folder, "mixed", mixture(world), world)
    newest = [
        "--ckpt_path",
        str(folder / "mixed" / "run" / "logs" / "version_0" / "checkpoints" / "newest.ckpt"),
    ]
    assert main(["--debug", "fit", "--config", mixed]) == 0
    for command in ("validate", "test", "predict"):
        assert main(["--debug", command, "--config", mixed, *newest]) == 0
    folded = recipe(folder, "folded", folds(world), world, best="monitor: val/DISFA/au/f1_pos, mode: max")
    with mock.patch.object(
        crossval, "_spawn", crossval.run
    ):  # starting a process a fold takes longer than the fold
        assert crossval.run(["--config", folded, "--output", str(folder / "crossval")]) == 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(*sys.argv[1:])
