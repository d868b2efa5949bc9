"""A tiny Micro-AU CLIP on the toy corpus; also a program, so that several processes can train it together."""

from functools import partial

import torch
from lightning.pytorch import seed_everything

from affectkit.methods.micro_au_clip import MicroAU, MicroAUHead
from affectkit.models.backbones import ClipBackbone
from helpers.toy import ToyDataModule
from helpers.training import train_together


def make_micro(**given):
    """A tower of four patches a side and one head that trains texts, with weights at which all three losses matter."""
    torch.manual_seed(0)
    text = {"model_name": "affectkit-tiny"}
    # Differences would leave the tower's last bias without a gradient but rounding, which Adam makes steps of.
    options = {"text": text, "text_tuning": {"trainable": 1}, "attention_heads": 2, "motion": "concat"}
    head = partial(MicroAUHead, space="AU1,AU4,AU12", **options)
    backbone = ClipBackbone("affectkit-tiny-patch8", size=32, tokens=True)
    usual = {"lr": 2e-4, "contrast_weight": 0.5, "dependency_weight": 0.5, "balance": {"micro": "positives"}}
    return MicroAU(backbone, {"micro": head}, **{**usual, **given})


def main(folder, world):
    """Train on `world` processes; save weights, losses and results."""
    seed_everything(0, verbose=False)
    world = int(world)
    task = make_micro(recognition={"micro": "happiness,surprise,anger,sadness,other"})
    data = ToyDataModule(batch_size=4 // world, seed=0, clips=3)
    train_together(folder, world, "micro", task, data, max_steps=8, gradient_clip_val=1.0)
