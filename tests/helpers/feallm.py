"""A tiny FEALLM on the toy corpus; also a program, so that several processes can train it together."""

from functools import partial

import torch
from lightning.pytorch import seed_everything

from affectkit.facs import AUSet
from affectkit.facs.prompts import au_name
from affectkit.methods.feallm import FEALLM, INSTRUCTION, FEALLMBackbone, FEALLMHead
from helpers.language import write_language_model
from helpers.toy import ToyDataModule
from helpers.training import train_together

SPACE = "AU1,AU4,AU12"
TOWER = {"type": "clip", "model_name": "affectkit-tiny-patch8", "size": 32}


def make_backbone(**options):
    """A tower of four patches a side."""
    chosen = {"tower": TOWER, "blocks": [1, 3, 4], "crop": 8, "width": 16, "local_width": 8, "heads": 2}
    return FEALLMBackbone(**{**chosen, **options})


def make_feallm(others=None, language=None, **options):
    """The task with a tiny language model."""
    torch.manual_seed(0)
    heads = {"au": partial(FEALLMHead, space=SPACE, language=language or {"name": "tiny"}), **(others or {})}
    backbone = make_backbone(local=options.pop("local", True))
    return FEALLM(backbone, heads, **{"lr": 2e-4, **options})


def write_model_of_answers(path, space=SPACE):
    """A pretrained language model that knows the words of answers."""
    from affectkit.facs import ExpressionSet

    names = [au_name(unit) for unit in AUSet.parse(space)]
    words = [
        "AUs: none no typical unit, ; emotion: because and . yes",
        *ExpressionSet.parse("basic7").classes,
    ]
    return write_language_model(path, [INSTRUCTION, *names, *words])


def main(folder, world):
    """Train on `world` processes without crops, whose statistics depend on the batch; save weights and results."""
    seed_everything(0, verbose=False)
    world = int(world)
    task = make_feallm(local=False)
    data = ToyDataModule(batch_size=4 // world, seed=0, clips=3)
    train_together(folder, world, "feallm", task, data, max_steps=6, gradient_clip_val=1.0)
