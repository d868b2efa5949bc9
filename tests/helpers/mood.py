"""The toy corpus with valence and arousal by frame, levels and distributions; also a program for several processes."""

from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import seed_everything

from affectkit.data import Target
from affectkit.models import DimensionsHead, ExpressionHead, LevelsHead, TimmBackbone
from affectkit.tasks import MultiTask
from helpers.toy import ToyDataModule, ToyDataset
from helpers.training import make_trainer

LEVELS = "levels:none,one,two"


class MoodDataset(ToyDataset):
    """What the patches of the toy say as moods: arousal counts two of them, valence weighs one against the other; the
    level of a clip says in how many frames there is the first."""

    def __init__(self, root=Path(), **options):
        super().__init__(root, **options)
        self.spaces = {"va": "va", "levels": LEVELS, "expression": "happiness,anger,neutral"}

    def truth(self, record):
        self.spaces["au"] = "AU1,AU12,AU4"
        try:
            return super().truth(record)
        finally:
            del self.spaces["au"]

    def labels(self, record, indices):
        active, known = self.truth(record)
        first, second, _ = active.double().T
        moods = torch.stack([0.6 * (first - second), 0.5 * (first + second) - 0.5], dim=-1).float()
        share = active.float().mean(0)
        share = torch.cat([share[:2], 1.0 - share[:2].amax(0, keepdim=True)])
        rows = list(indices)
        return {
            "va": Target.make(moods[rows], known[rows][:, :2], space="va"),
            "levels": Target.make(active[:, 0].sum().clamp(max=2), space=LEVELS),
            "expression": Target.make(share / share.sum(), known[0, 0], space=self.spaces["expression"]),
        }


class MoodDataModule(ToyDataModule):
    """The corpus behind Lightning's loaders."""

    def make_dataset(self, split):
        return MoodDataset(self.root, split=split, clips=self.clips)


def make_mood_task(**options):
    """A net without statistics of a batch, with a head of each kind."""
    torch.manual_seed(0)
    heads = {
        "va": partial(DimensionsHead, space="va", per_frame=True),
        "levels": partial(LevelsHead, space=LEVELS),
        "expression": partial(ExpressionHead, space="happiness,anger,neutral"),
    }
    return MultiTask(TimmBackbone("test_convnext", size=32), heads, **{"lr": 1e-3, **options})


def main(folder, world):
    """Train 20 steps on `world` processes and save weights and test results."""
    seed_everything(0, verbose=False)
    world = int(world)
    task, data = make_mood_task(), MoodDataModule(batch_size=4 // world, seed=0, clips=3)
    trainer = make_trainer(
        folder,
        max_steps=20,
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        enable_checkpointing=False,
        log_every_n_steps=1,
    )
    trainer.fit(task, datamodule=data)
    means = {name: value.clone() for name, value in trainer.callback_metrics.items() if "loss" in name}
    trainer.test(task, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        results = {name: [row.to_dict() for row in rows] for name, rows in task.results.items()}
        saved = {"weights": task.state_dict(), "results": results, "means": means}
        torch.save(saved, Path(folder) / f"mood-{world}.pt")
