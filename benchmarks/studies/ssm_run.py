"""Run one variant of the study of SSM, and what all of them start from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import write_run
from learning import teach_landmarks, train_and_test
from lightning.pytorch import seed_everything
from scipy.stats import spearmanr
from ssm_setup import VARIANTS, Setup, Variant
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.data import CenterCrop, ClipBatch, Compose, HorizontalFlip, RandomCrop
from affectkit.datamodules import MixtureDataModule, RenderedDataModule
from affectkit.methods.ssm import SSM, PrototypeAUHead, PrototypeExpressionHead, SemanticBridge
from affectkit.models.backbones import ClipBackbone
from affectkit.synth import render_corpus

TOWER = "affectkit-tiny"
EXPERTS = {"last": 2, "experts": 4, "hidden": 64}
TEMPORAL = {"heads": 2, "head_width": 32}
MARGIN = 8  # pixels by which a training crop may lie elsewhere
SOURCES = ("au", "expression")


def prepare(setup: Setup, folder: Path, seeds: Sequence[int], jobs: int) -> None:
    """Render the corpora of these seeds, and train the tower that all runs start from, where they are missing."""
    for source, seed, planted in [
        ("pretraining", 0, False),
        *((source, seed, planted) for seed in seeds for planted in (False, True) for source in SOURCES),
    ]:
        render_corpus(
            corpus_folder(setup, folder, source, seed, planted=planted),
            **setup.corpus(source, seed, planted=planted),
            num_workers=jobs,
        )
    pretrain(setup, folder)


def corpus_folder(setup: Setup, folder: Path, source: str, seed: int, *, planted: bool) -> Path:
    """Where a corpus is rendered."""
    return folder / setup.name / "corpora" / f"{source}-{'planted-' if planted else ''}{seed}"


def tower_file(setup: Setup, folder: Path) -> Path:
    """Where the tower is kept that all runs start from."""
    return folder / setup.name / "tower.safetensors"


def pretrain(setup: Setup, folder: Path) -> None:
    """Teach an image tower the 68 landmarks of people who are in no other corpus; it sees no other label.

    It stands in for the pretraining of a real CLIP, which nobody would train from nothing on a few people either.
    """
    path = tower_file(setup, folder)
    if path.is_file():
        return
    seed_everything(0, verbose=False)
    data = source_data(setup, folder, "pretraining", 0, planted=False, steps=setup.pretraining_steps)
    data.setup("fit")
    backbone = ClipBackbone(TOWER)
    head = nn.Linear(backbone.num_features, 2 * 68)

    def loss_of(batch: ClipBatch) -> Tensor:
        found = head(backbone(batch.frames).frames).unflatten(-1, (68, 2))
        return F.smooth_l1_loss(found, (batch.landmarks - setup.size / 2) / 16, beta=0.1)

    teach_landmarks(backbone, head, data.train_dataloader(), setup.pretraining_steps, loss_of, path)


def source_data(
    setup: Setup, folder: Path, source: str, seed: int, *, planted: bool, steps: int
) -> RenderedDataModule:
    """One corpus: A gives only action units by frame, B only expressions by clip."""
    sizes = {
        "au": setup.au_batch,
        "expression": setup.expression_batch,
        "pretraining": setup.pretraining_batch,
    }
    return RenderedDataModule(
        str(corpus_folder(setup, folder, source, seed, planted=planted)),
        targets=["au" if source == "pretraining" else source],
        num_frames=1 if source == "pretraining" else setup.num_frames,
        size=setup.size,
        train_transform=Compose([CenterCrop(setup.size + MARGIN), RandomCrop(setup.size), HorizontalFlip()]),
        eval_transform=CenterCrop(setup.size),
        batch_size=sizes[source],
        eval_batch_size=64,
        steps_per_epoch=steps,
        cache="memory",
        seed=seed,
    )


def make_task(setup: Setup, variant: Variant, tower: Path) -> SSM:
    """The model of a variant: experts, temporal heads, and text prototypes from a random frozen text tower."""
    heads: dict[str, Any] = {
        "au": partial(PrototypeAUHead, space=setup.units, temporal={"type": "framewise", **TEMPORAL}),
        "expression": partial(
            PrototypeExpressionHead, space="basic7", temporal={"type": "clip_token", **TEMPORAL}
        ),
    }
    bridge = partial(SemanticBridge, text={"model_name": TOWER}, directions=variant.directions)
    milestones = [setup.epochs // 2, setup.epochs * 5 // 6]  # as the paper's 15 and 25 of 30
    return SSM(
        ClipBackbone(TOWER, weights=str(tower), moe=EXPERTS),
        {name: heads[name] for name in variant.sources},
        None if variant.directions is None else bridge,
        lr=setup.lr,
        backbone_lr=setup.backbone_lr,
        map_lr=setup.map_lr,
        milestones=milestones,
        ramp_epochs=setup.epochs,
        threshold="val",
    )


def run_single(setup: Setup, folder: Path, name: str, seed: int) -> None:
    """Train a variant with a seed, test it, and write what came out."""
    torch.set_num_threads(1)
    seed_everything(seed, verbose=False)
    variant = VARIANTS[name]
    sources = {
        source: source_data(setup, folder, source, seed, planted=variant.planted, steps=setup.steps_per_epoch)
        for source in variant.sources
    }
    data = MixtureDataModule({**sources}, steps_per_epoch=setup.steps_per_epoch)
    task = make_task(setup, variant, tower_file(setup, folder))
    training = train_and_test(task, data, folder, epochs=setup.epochs, ema=setup.ema)
    content = {
        "variant": name,
        "seed": seed,
        "setup": setup.name,
        "results": test_numbers(task),
        "maps": map_numbers(task, sources["expression"]) if name in ("joint", "planted") else None,
        **training,
    }
    write_run(setup, folder, content)


def test_numbers(task: SSM) -> dict[str, float]:
    """The numbers that the tables show, with their trivial baselines."""
    wanted = {
        "au/f1_pos": "au_f1", "au/auc": "au_auc", "expression/uar": "expression_uar",
        "expression/war": "expression_war",
    }  # fmt: skip
    numbers: dict[str, float] = {}
    for rows in task.results.values():
        for row in rows:
            if row.name in wanted:
                key = wanted[row.name] + ("_val" if row.threshold_rule == "val" else "")
                numbers[key] = row.estimate.value
                if row.baseline is not None:
                    numbers[f"{wanted[row.name]}_trivial"] = row.baseline
    return numbers


def map_numbers(task: SSM, data: RenderedDataModule) -> dict[str, dict[str, float]]:
    """Rank correlation of each map with the table that generated the corpora, before learning and after."""
    bridge: Any = task.model.bridge
    learned_ae, learned_ea, prior = (table.double() for table in bridge.maps())
    named = data.datasets["test"].manifest["association"]  # type: ignore[attr-defined]
    classes, units = task.model.labels("expression"), task.model.labels("au")
    truth = torch.tensor([[named[name][unit] for unit in units] for name in classes], dtype=torch.float64)
    learned = torch.tensor([name != "neutral" for name in classes])  # the neutral entries are fixed

    # Entries are ranked over the whole table. Equal entries of the prior (it has two values) share a rank; the last
    # number asks only about what was learned, and knows no ties.
    def correlation(first: Tensor, second: Tensor) -> float:
        return float(spearmanr(first[learned].flatten(), second[learned].flatten()).statistic)

    return {
        direction: {
            "prior_with_truth": correlation(prior, truth),
            "learned_with_truth": correlation(table, truth),
            "learned_with_prior": correlation(table, prior),
            "change_with_truth": correlation(table.log() - prior.log(), truth),
        }
        for direction, table in (("au_to_expression", learned_ae), ("expression_to_au", learned_ea.T))
    }
