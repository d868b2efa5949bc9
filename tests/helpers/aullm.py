"""A tiny AULLM++ on the toy corpus; also a program, so that several processes can train it together."""

from functools import partial

import torch
from lightning.pytorch import seed_everything

from affectkit.methods.aullm import AULLM, AULLMHead
from affectkit.models.backbones import ClipBackbone
from helpers.toy import ToyDataModule
from helpers.training import train_together

SPACE = "AU1,AU4,AU12"


def make_aullm(others=None, space=SPACE, **options):
    """A tower of four patches a side, whose statistics do not depend on the batch, and one head."""
    torch.manual_seed(0)
    heads = {"micro": partial(AULLMHead, space=space, language={"name": "tiny"}), **(others or {})}
    backbone = ClipBackbone("affectkit-tiny-patch8", size=32, tokens=True)
    return AULLM(backbone, heads, **{"lr": 2e-4, **options})


def main(folder, world):
    """Train on `world` processes with one unit, so that no random choice depends on the process; save the results."""
    seed_everything(0, verbose=False)
    world = int(world)
    task = make_aullm(space="AU4", counterfactual_weight=0.5)
    data = ToyDataModule(batch_size=4 // world, seed=0, clips=3)
    train_together(folder, world, "aullm", task, data, max_steps=6, gradient_clip_val=1.0)
