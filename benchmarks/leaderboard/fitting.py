"""Train and test one model of the leaderboard."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from board import EMA, EPOCHS, METHODS, TRACKS, arguments
from scores import encode

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import torch
from learning import train_and_test
from lightning.pytorch import Trainer, seed_everything

from affectkit.cli.lightning import build_part
from affectkit.cli.quiet import quietly
from affectkit.metrics import ThresholdedMetric
from affectkit.tasks.base import AffectTask


def train(track: str, method: str, seed: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Train the model of a cell, and test it in all tracks that use this model.

    Args:
        track: Track of the cell.
        method: Method of the cell.
        seed: Seed of the initial weights and of all draws.
        folder: Folder of the corpora, which are rendered if they are missing.

    Returns:
        Run by track: seed, value, counts by person, parameters, and processor milliseconds of a training step.
    """
    os.environ["AFFECTKIT_DATA"] = str(folder)
    torch.set_num_threads(1)
    corpus, recipe = TRACKS[track].corpus, METHODS[method].recipes[track]
    with quietly():
        options = [*arguments(corpus, recipe), f"--seed_everything={seed}"]
        data, task = build_part(options, "data"), build_part(options, "model")
        seed_everything(seed, verbose=False)
        training = train_and_test(task, data, folder, epochs=EPOCHS, ema=EMA)
        steps = EPOCHS * data.steps_per_epoch
        run = {
            "seed": seed,
            "milliseconds": round(1000 * training["processor_seconds"]["training"] / steps, 1),
            "parameters": training["parameters"],
        }
        same = [
            name
            for name, one in TRACKS.items()
            if one.corpus == corpus and METHODS[method].recipes.get(name) == recipe
        ]
        found = {name: run | _result(task, name) for name in same if TRACKS[name].tested_on is None}
        for name in (name for name in same if TRACKS[name].tested_on is not None):
            other = build_part(arguments(str(TRACKS[name].tested_on), recipe), "data")
            tester = Trainer(
                accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
                default_root_dir=folder,
            )  # fmt: skip
            tester.test(task, datamodule=other, verbose=False)
            found[name] = run | _result(task, name)
    return found


def _result(task: AffectTask, track: str) -> dict[str, Any]:
    """Value and counts of the last test of a track's head."""
    one = TRACKS[track]
    (metric,) = (state.metric for state in task.metric_states() if state.name == one.head)
    thresholded = isinstance(metric, ThresholdedMetric)
    tally = metric.tally(task.thresholds[one.head]) if thresholded else metric.tally()
    return {
        "space": task.heads[one.head].space.name,
        "people": len(tally.sums),
        "value": round(float(tally.point()[one.metric]), 6),
        "counts": encode(tally.sums),
    }
