"""A tiny SSM and two toy corpora, one of action units and one of expressions; also a program for several processes."""

from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import seed_everything

from affectkit.datamodules import MixtureDataModule
from affectkit.methods.ssm import SSM, PrototypeAUHead, PrototypeExpressionHead, SemanticBridge
from affectkit.models.backbones import ClipBackbone
from affectkit.tasks import EMA
from helpers.toy import ToyDataModule, ToyDataset
from helpers.training import make_trainer

HEADS = {
    "au": partial(PrototypeAUHead, space="AU1,AU4,AU12", temporal={"type": "framewise", "heads": 2}),
    "expression": partial(
        PrototypeExpressionHead, space="basic7", temporal={"type": "clip_token", "heads": 2}
    ),
}
BRIDGE = {"text": {"model_name": "affectkit-tiny"}}


class PartlyLabelled(ToyDataset):
    """The toy corpus with some of its targets."""

    def __init__(self, *args, targets, **options):
        super().__init__(*args, **options)
        self.spaces = {name: self.spaces[name] for name in targets}

    def truth(self, record):
        whole, self.spaces = self.spaces, {"au": "AU1,AU12,AU4", **self.spaces}
        try:
            return super().truth(record)
        finally:
            self.spaces = whole

    def labels(self, record, indices):
        whole, self.spaces = self.spaces, {"au": "AU1,AU12,AU4", **self.spaces}
        try:
            found = super().labels(record, indices)
        finally:
            self.spaces = whole
        return {name: found[name] for name in whole}


class PartlyLabelledDataModule(ToyDataModule):
    """The same behind loaders."""

    def __init__(self, *targets, **options):
        super().__init__(**options)
        self.targets = targets

    def make_dataset(self, split):
        return PartlyLabelled(self.root, split=split, clips=self.clips, targets=self.targets)


def make_ssm(*, heads=("au", "expression"), bridge=True, noise=0.01, directions="both", **options):
    """SSM on a tiny tower with experts in its last block, with learning rates at which a few steps show."""
    torch.manual_seed(0)
    moe = {"last": 1, "experts": 2, "hidden": 8, "noise": noise}
    return SSM(
        ClipBackbone("affectkit-tiny", size=32, moe=moe),
        {name: HEADS[name] for name in heads},
        partial(SemanticBridge, directions=directions, **BRIDGE) if bridge else None,
        **{"lr": 1e-3, "backbone_lr": 1e-3, "ramp_epochs": 4, "milestones": [3], **options},
    )


def make_sources(global_batch=4, world=1):
    """A source of action units and a source of expressions, with the same global batches for any world size."""
    sources = {
        name: PartlyLabelledDataModule(target, batch_size=global_batch // world, clips=3, seed=seed)
        for seed, (name, target) in enumerate({"units": "au", "faces": "expression"}.items())
    }
    return MixtureDataModule(sources, steps_per_epoch=3)


def main(folder, world):
    """Train on `world` processes without what is drawn a process (experts' noise, MixUp); save weights and results."""
    seed_everything(0, verbose=False)
    world = int(world)
    # The keys' biases in attention have no gradient but rounding, which Adam blows up to the size of the rate.
    task = make_ssm(noise=0.0, mixup=0.0, backbone_lr=2e-4)
    trainer = make_trainer(
        folder,
        max_epochs=3,
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        enable_checkpointing=False,
        gradient_clip_val=1.0,
        callbacks=[EMA(0.9)],
    )
    data = make_sources(4, world)
    trainer.fit(task, datamodule=data)
    means = task.balancer.values.clone()
    trainer.test(task, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        results = {name: [row.to_dict() for row in rows] for name, rows in task.results.items()}
        content = {"weights": task.state_dict(), "means": means, "results": results}
        torch.save(content, Path(folder) / f"ssm-{world}.pt")
