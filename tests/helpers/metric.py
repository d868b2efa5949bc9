"""A tiny metric learner on the toy corpus; also a program, so that several processes can train it together."""

from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import seed_everything

from affectkit.methods.mul_dml import MetricAUHead, MetricExpressionHead, MulDML
from affectkit.models import TimmBackbone
from helpers.toy import ToyDataModule
from helpers.training import make_trainer


def make_metric(backbone="test_convnext", others=None, classifier="knn", **options):
    """A LayerNorm backbone with both kinds of metric heads."""
    torch.manual_seed(0)
    small = {"slices": 3, "slice_width": 4, "classifier": classifier, "references": 10}
    heads = {
        "au": partial(MetricAUHead, space="AU1,AU4,AU12", per_frame=True, **small),
        "expression": partial(MetricExpressionHead, space="basic7", **small),
    }
    given = backbone if isinstance(backbone, torch.nn.Module) else TimmBackbone(backbone, size=32)
    return MulDML(given, {**heads, **(others or {})}, **{"lr": 1e-3, **options})


def main(folder, world):
    """Train on `world` processes; save weights with references, losses and results."""
    seed_everything(0, verbose=False)
    world = int(world)
    task = make_metric(identity_aware=True, warm_start=0.5)
    trainer = make_trainer(
        folder,
        max_steps=8,
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        enable_checkpointing=False,
    )
    data = ToyDataModule(batch_size=8 // world, seed=0, clips=3, balanced_classes="expression")
    trainer.fit(task, datamodule=data)
    names = ("au/loss", "au/triplet_loss", "expression/loss", "expression/triplet_loss")
    losses = torch.stack([trainer.callback_metrics[f"train/{name}"] for name in names])
    trainer.test(task, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        results = {name: [row.to_dict() for row in rows] for name, rows in task.results.items()}
        content = {"weights": task.state_dict(), "means": losses, "results": results}
        torch.save(content, Path(folder) / f"metric-{world}.pt")
