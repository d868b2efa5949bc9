"""Run one variant of the study of Micro-AU CLIP, and what all of them start from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import write_run
from learning import teach_landmarks, train_and_test
from lightning.pytorch import seed_everything
from micro_au_setup import Setup, Variant
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.data import (
    CenterCrop,
    ClipBatch,
    Compose,
    HorizontalFlip,
    OnsetApex,
    RandomCrop,
    UniformSegments,
)
from affectkit.datamodules import RenderedDataModule
from affectkit.methods.micro_au_clip import MicroAU, MicroAUHead
from affectkit.models import AUHead, Backbone, FlowBackbone, MotionPool, build
from affectkit.models.backbones import ClipBackbone
from affectkit.synth import render_corpus

TEXTS = "affectkit-tiny-patch8"  # the random text tower
HEADS = 4  # of attention
REACH = 1.5  # patches within which a patch knows a landmark


def prepare(setup: Setup, folder: Path, seeds: Sequence[int], jobs: int) -> None:
    """Render the corpora of these seeds, and train the towers that runs start from, where they are missing."""
    for seed in (None, *seeds):
        render_corpus(corpus_folder(setup, folder, seed), **setup.corpus(seed), num_workers=jobs)
    for name in {variant.tower for variant in setup.variants.values() if variant.backbone == "clip"}:
        pretrain(setup, folder, name)


def corpus_folder(setup: Setup, folder: Path, seed: int | None) -> Path:
    """Where a corpus is rendered; without a seed that of the tower."""
    return folder / setup.name / "corpora" / ("pretraining" if seed is None else f"micro-{seed}")


def tower_file(setup: Setup, folder: Path, name: str) -> Path:
    """Where the tower of an architecture is kept that runs start from."""
    return folder / setup.name / f"{name}.safetensors"


def pretrain(setup: Setup, folder: Path, name: str) -> None:
    """Teach an image tower the landmarks of people who are in no other corpus; it sees no other label.

    Of two frames of a clip with large movements, the class token learns where all 68 landmarks are, every patch where
    those near it are, and both how far they moved in between. It stands in for the pretraining of a real CLIP, which
    nobody would train from nothing on a few people either.
    """
    path = tower_file(setup, folder, name)
    if path.is_file():
        return
    seed_everything(0, verbose=False)
    data = RenderedDataModule(
        str(corpus_folder(setup, folder, None)),
        targets=["au"],
        num_frames=2,
        train_transform=_train_transform(setup),
        batch_size=setup.pretraining_batch,
        steps_per_epoch=setup.pretraining_steps,
        cache="memory",
        seed=0,
    )
    data.setup("fit")
    backbone = ClipBackbone(name, tokens=True)
    readers = nn.ModuleList(nn.Linear(backbone.num_features, 2 * 68) for _ in range(2))

    def loss_of(batch: ClipBatch) -> Tensor:
        features = backbone(batch.frames)
        side = round(features.tokens.shape[2] ** 0.5)
        whole = _landmark_loss(readers[0](features.frames[:, :, None]), batch.landmarks, setup.size, 1)
        return whole + _landmark_loss(readers[1](features.tokens), batch.landmarks, setup.size, side)

    teach_landmarks(backbone, readers, data.train_dataloader(), setup.pretraining_steps, loss_of, path)


def _landmark_loss(found: Tensor, landmarks: Tensor, size: int, side: int) -> Tensor:
    """How far the landmarks read off vectors, and their shifts from first to second frame, are from the true ones.

    Args:
        found: [B, 2, side², 136], relative to the middle of each place, in units of eight pixels.
        landmarks: [B, 2, 68, 2], in pixels.
        size: Side of the picture in pixels.
        side: Places along a side of the picture; landmarks further than `REACH` places away do not count.
    """
    found = found.unflatten(-1, (68, 2))
    place = size / side
    line = torch.arange(place / 2, size, place) - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    truth = landmarks[:, :, None] - torch.stack([x, y], dim=-1).reshape(-1, 1, 2)
    near = (truth.abs() <= REACH * place).all(dim=-1)
    where = F.smooth_l1_loss(found, truth / 8, beta=0.1, reduction="none").mean(dim=-1)[near]
    shift = F.smooth_l1_loss(found.diff(dim=1), truth.diff(dim=1) / 8, beta=0.02, reduction="none").mean(
        dim=-1
    )[near[:, :1]]
    return where.mean() + shift.mean()


def _train_transform(setup: Setup) -> Compose:
    return Compose([CenterCrop(setup.size + setup.margin), RandomCrop(setup.size), HorizontalFlip()])


def micro_data(setup: Setup, folder: Path, variant: Variant, seed: int) -> RenderedDataModule:
    """Onset and apex, or six frames for LED."""
    frames = OnsetApex() if variant.frames == 2 else UniformSegments(variant.frames)
    return RenderedDataModule(
        str(corpus_folder(setup, folder, seed)),
        targets=["au", "expression"],
        train_frames=frames,
        eval_frames=frames,
        train_transform=_train_transform(setup),
        eval_transform=CenterCrop(setup.size),
        batch_size=setup.batch,
        eval_batch_size=64,
        steps_per_epoch=setup.steps_per_epoch,
        rare_share=0.25,
        cache="memory",
        seed=seed,
    )


def make_task(setup: Setup, variant: Variant, tower: Path) -> MicroAU:
    """The model of a variant; texts are those of a random frozen tower."""
    groups: list[Any] = list(variant.groups)
    backbone: Backbone
    if variant.backbone == "clip":
        weights = str(tower) if variant.pretrained else None
        backbone = ClipBackbone(variant.tower, weights=weights, tokens=variant.head is not None)
        rate = setup.backbone_lr if variant.tower_lr is None else variant.tower_lr
        groups.append({"pattern": "backbone.*", "lr": rate})
    else:
        backbone = build("backbone", {"type": variant.backbone})
        if variant.backbone in ("ststnet", "offapexnet"):
            backbone = FlowBackbone(backbone, size=setup.size)
    head: Any = partial(AUHead, space=setup.units)
    if variant.head is not None:
        options = {"text": {"model_name": TEXTS}, "attention_heads": HEADS, **variant.head}
        head = partial(MicroAUHead, space=setup.units, **options)
    return MicroAU(
        backbone,
        {"au": head},
        MotionPool if variant.backbone == "clip" and variant.head is None else None,
        flow={} if variant.flow else None,
        balance={"au": "positives"},
        contrast_weight=variant.contrast,
        dependency_weight=variant.dependency,
        recognition={"au": "happiness,surprise,anger,sadness,fear"},
        lr=variant.lr,
        weight_decay=setup.weight_decay,
        param_groups=groups,
        threshold="val",
    )


def run_single(setup: Setup, folder: Path, name: str, seed: int) -> None:
    """Train a variant with a seed, test it, and write what came out."""
    torch.set_num_threads(1)
    seed_everything(seed, verbose=False)
    variant = setup.variants[name]
    data = micro_data(setup, folder, variant, seed)
    task = make_task(setup, variant, tower_file(setup, folder, variant.tower))
    training = train_and_test(task, data, folder, epochs=variant.epochs or setup.epochs, ema=setup.ema)
    results = test_numbers(task)
    write_run(
        setup, folder, {"variant": name, "seed": seed, "setup": setup.name, "results": results, **training}
    )


def test_numbers(task: MicroAU) -> dict[str, float]:
    """The numbers that the tables show, with intervals over people and trivial baselines; F1 by unit as well."""
    wanted = {
        "au/f1_pos": "f1", "au/f1_macro2": "f1_macro2", "au/auc": "auc", "au_rules/uf1": "rules_uf1",
        "au_rules/uar": "rules_uar",
    }  # fmt: skip
    numbers: dict[str, float] = {}
    for rows in task.results.values():
        for row in rows:
            metric, _, unit = row.name.removeprefix("au/").partition("/")
            rule = "_val" if row.threshold_rule == "val" else ""
            if row.name in wanted:
                key = wanted[row.name] + rule
                numbers[key] = row.estimate.value
                numbers |= {f"{key}_low": row.estimate.low, f"{key}_high": row.estimate.high}
                numbers[f"{wanted[row.name]}_trivial"] = row.baseline
            elif metric == "f1_pos":
                numbers[f"f1{rule}/{unit}"] = row.estimate.value
    return numbers
