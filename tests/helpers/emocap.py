"""A tiny EmoCapCLIP on the toy corpus; also a program, so that several processes can train it together."""

from functools import partial

import torch
from lightning.pytorch import seed_everything

from affectkit.data import WriteCaptions
from affectkit.methods.emocapclip import CaptionBridge, EmoCapCLIP, ZeroShotHead
from affectkit.models.backbones import ClipBackbone
from helpers.toy import ToyDataModule, ToyDataset
from helpers.training import train_together


class CaptionedDataModule(ToyDataModule):
    """The toy corpus with captions of its intensities."""

    def make_dataset(self, split):
        return ToyDataset(
            self.root, split=split, space=self.space, clips=self.clips, transform=WriteCaptions()
        )


def make_emocap(text=None, **options):
    """Towers from scratch; mining starts with the second epoch."""
    torch.manual_seed(0)
    backbone = ClipBackbone("affectkit-tiny-patch8", size=32, tokens=True)
    bridge = partial(CaptionBridge, text=text or {"model_name": "affectkit-tiny", "trainable": "all"})
    heads = {"expression": partial(ZeroShotHead, space="basic7")}
    given = {"lr": 2e-4, "least": 0.0, "most": 2, "bridge": bridge}
    return EmoCapCLIP(backbone, heads, **{**given, **options})


def main(folder, world):
    """Train on `world` processes; save weights, losses and results."""
    seed_everything(0, verbose=False)
    world = int(world)
    task = make_emocap()
    data = CaptionedDataModule(batch_size=4 // world, seed=0, clips=3, steps_per_epoch=4)
    train_together(folder, world, "emocap", task, data, max_epochs=2, gradient_clip_val=1.0)
