"""A tiny FG-SGL on the toy corpus; also a program, so that several processes can train it together."""

from functools import partial

import torch
from lightning.pytorch import seed_everything

from affectkit.methods.fgsgl import FGSGL, ProcessBridge, ProcessHead
from affectkit.models.backbones import ClipBackbone
from helpers.toy import ToyDataModule
from helpers.training import train_together

TEXT = {"model_name": "affectkit-tiny", "trainable": 1}


def make_fgsgl(head=None, bridge=None, **options):
    """Towers from scratch, tokens of the second of four blocks."""
    torch.manual_seed(0)
    backbone = ClipBackbone("affectkit-tiny-patch8", size=32, tokens=True, token_block=2)
    heads = {"expression": partial(ProcessHead, **{"space": "basic7", "attention_heads": 4, **(head or {})})}
    texts = partial(ProcessBridge, **{"text": TEXT, "n_ctx": 2, "near": 1.0, **(bridge or {})})
    return FGSGL(backbone, heads, bridge=texts, **{"lr": 2e-4, **options})


def main(folder, world):
    """Train all losses on `world` processes; save weights, gradients of the first step, losses and results."""
    seed_everything(0, verbose=False)
    world = int(world)
    task = make_fgsgl(order="one_stage")
    data = ToyDataModule(batch_size=4 // world, seed=0, clips=3, steps_per_epoch=4)
    train_together(folder, world, "fgsgl", task, data, max_epochs=2, gradient_clip_val=1.0)
