"""Training with doubtful labels on the toy corpus; also a program, so that several processes can train it together."""

import csv
import os
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import seed_everything

from affectkit.methods.engagement import NoisyLabels
from affectkit.models import AUHead, ExpressionHead, TimmBackbone
from helpers.toy import ToyDataModule, ToyDataset
from helpers.training import train_together


def write_answers(path):
    """Answers about all clips of the toy corpus; those about every third clip are wrong."""
    toy = ToyDataset(clips=3)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["clip", "question", "answer"])
        for number, record in enumerate(toy.clips):
            answer = (int(toy.annotate(record, [0])["expression"].value) + (number % 3 == 0)) % 4
            table.writerows((record.clip, f"class {k}", int(k == answer)) for k in range(4))


def main(folder, world):
    """Train on `world` processes; save weights, losses and results."""
    seed_everything(0, verbose=False)
    world = int(world)
    answers = Path(folder) / f"answers-{world}-{os.environ.get('LOCAL_RANK', '0')}.csv"
    write_answers(answers)
    torch.manual_seed(0)
    heads = {
        "au": partial(AUHead, space="AU1,AU4,AU12", per_frame=True),
        "expression": partial(ExpressionHead, space="basic7"),
    }
    task = NoisyLabels(
        TimmBackbone("test_convnext", size=32), heads, ratings={"expression": str(answers)}, lr=1e-3
    )
    data = ToyDataModule(batch_size=4 // world, seed=0, clips=3)
    train_together(folder, world, "noisy", task, data, max_epochs=5)  # accepted clips alone, then all
