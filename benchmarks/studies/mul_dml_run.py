"""Train and test the variants of the study of multi-threshold metric learning."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import write_run
from lightning.pytorch import Trainer, seed_everything
from mul_dml_setup import ASSOCIATION, NEAR, VARIANTS, Setup
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from affectkit.data import AllFrames, ClipBatch, Draw, ReplaySampler, collate
from affectkit.datasets import RenderedDataset
from affectkit.losses import MaskedCrossEntropy
from affectkit.methods.mul_dml import Gallery, MetricExpressionHead, MulDML, mean_distance, retrieval_rates
from affectkit.models import SignalBackbone
from affectkit.synth import render_corpus
from affectkit.tasks.base import model_inputs

LABELS = tuple(ASSOCIATION)
COLLAPSED = 0.01  # mean squared distance of a slice


class BySGD(MulDML):
    """The task with SGD and momentum at a constant rate."""

    def configure_optimizers(self) -> Any:
        """SGD with momentum 0.9."""
        return torch.optim.SGD(self.model.parameters(), lr=self.hparams["lr"], momentum=0.9)


class Clips(Dataset[Any]):
    """Clips in memory, read a batch at a time with a random frame each."""

    def __init__(self, clips: ClipBatch) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitems__(self, draws: Sequence[Draw]) -> ClipBatch:
        """Batch of some draws."""
        rng = torch.Generator().manual_seed(draws[0].seed or 0)
        numbers = torch.randint(self.clips.frames.shape[1], (len(draws),), generator=rng)
        return one_frame(self.clips, torch.tensor([draw.index for draw in draws]), numbers)


def one_frame(clips: ClipBatch, rows: Tensor, numbers: Tensor) -> ClipBatch:
    """Some clips, each reduced to the frame of a number."""
    return replace(
        clips,
        **{
            name: getattr(clips, name)[rows, numbers][:, None]
            for name in ("frames", "frame_mask", "landmarks", "landmarks_mask", "signals_mask")
        },
        **{name: getattr(clips, name)[rows] for name in ("key_frames", "valid", "subject")},
        signals={name: values[rows, numbers][:, None] for name, values in clips.signals.items()},
        targets={name: target.map(lambda part: part[rows]) for name, target in clips.targets.items()},
        meta={key: [values[row] for row in rows.tolist()] for key, values in clips.meta.items()},
    )


def run_all(setup: Setup, folder: Path, runs: Sequence[tuple[str, int]]) -> None:
    """Make runs one by one, with the decoded clips kept between them."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*but have no `val_dataloader`.*")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed", "affectkit"):
        logging.getLogger(name).setLevel(logging.ERROR)
    train, test = read_clips(setup, folder)
    for name, seed in runs:
        before = time.process_time()
        results, embeddings = run(setup, name, seed, train, test)
        seconds = time.process_time() - before
        content = {"variant": name, "seed": seed, "results": results, "processor_seconds": seconds}
        if embeddings is not None:
            torch.save(embeddings, folder / setup.name / f"{name}-{seed}.pt")
        write_run(setup, folder, content)
        shown = {key: round(value, 3) for key, value in results.items() if isinstance(value, float)}
        print(f"{name} seed {seed}: {seconds:.0f} s, {shown}", flush=True)


def read_clips(setup: Setup, folder: Path) -> tuple[Clips, ClipBatch]:
    """Training clips, and test clips with their middle frame; the corpus is rendered if it is missing."""
    root = folder / f"rendered-{setup.people}"
    render_corpus(
        root,
        identities=setup.people,
        clips=setup.clips,
        frames_per_clip=4,
        size=setup.rendered_size,
        seed=51,
        test=0.4,
        independent=0.02,
        association=ASSOCIATION,
    )
    options: dict[str, Any] = {"targets": ["expression"], "sampler": AllFrames(), "pictures": "none"}
    found = []
    for split in ("train", "test"):
        dataset = RenderedDataset(root, split=split, **options)
        clips = collate([dataset[index] for index in range(len(dataset))])
        points = clips.landmarks - clips.landmarks.mean(dim=2, keepdim=True)
        points = points / points.square().mean(dim=(2, 3), keepdim=True).sqrt()
        found.append((clips, points))
    spread, mean = torch.std_mean(found[0][1], dim=(0, 1))
    train, test = (
        replace(clips, signals={"landmarks": (points - mean) / spread}, signals_mask=clips.frame_mask)
        for clips, points in found
    )
    middle = torch.full((len(test),), test.frames.shape[1] // 2)
    return Clips(train), one_frame(test, torch.arange(len(test)), middle)


def make_task(setup: Setup, name: str) -> MulDML:
    """The task of a variant: a perceptron on the landmarks with a metric head."""
    variant = VARIANTS[name]
    head = partial(
        MetricExpressionHead,
        space=",".join(LABELS),
        slices=variant.slices,
        slice_width=setup.width // variant.slices,
    )
    losses = {"expression": MaskedCrossEntropy(label_smoothing=0.1)}
    kind = BySGD if variant.collapse else MulDML
    lr = setup.collapse_lr if variant.collapse else setup.lr
    backbone = SignalBackbone({"landmarks": 136})
    return kind(backbone, {"expression": head}, losses=losses, lr=lr, **variant.task)


def run(
    setup: Setup, name: str, seed: int, train: Clips, batch: ClipBatch
) -> tuple[dict[str, Any], Tensor | None]:
    """Train a variant and measure it on the test clips; the slices [M, N, D] of these are returned too."""
    collapse = VARIANTS[name].collapse
    seed_everything(seed, verbose=False)
    sampler = ReplaySampler(
        train,
        batch_size=setup.batch_size,
        steps_per_epoch=setup.collapse_steps if collapse else setup.steps,
        seed=seed,
        classes=train.clips.targets["expression"].value,
    )
    loader = DataLoader(train, batch_size=setup.batch_size, sampler=sampler, collate_fn=lambda batch: batch)
    task = make_task(setup, name)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        gradient_clip_val=None if collapse else 1.0,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, loader)
    head = task.metric["expression"]
    with torch.inference_mode():
        slices = head.embed(task.eval().model.features(**model_inputs(batch)))
        logits = head.classify(slices)
    truth = batch.targets["expression"].project(head.space.name).value
    known = torch.ones(len(truth), 1, dtype=torch.bool)
    results: dict[str, Any] = {
        "loss": float(trainer.callback_metrics["train/expression/triplet_loss"]),
        "collapsed": int((mean_distance(slices, known) < COLLAPSED).sum()),
    }
    if collapse:
        return results, None
    results |= accuracy(logits.argmax(-1), truth)
    results |= retrieval(head.vectors(slices)[:, 0], truth, batch, setup.neighbours)
    results |= geometry(slices[:, 0], truth, task.triplets["expression"].thresholds)
    return results, slices[:, 0].half()


def accuracy(found: Tensor, truth: Tensor) -> dict[str, Any]:
    """UAR, and the shares of clips taken for the near class and for a far one."""
    confusion = torch.zeros(len(LABELS), len(LABELS), dtype=torch.float64)
    confusion.index_put_((truth, found), torch.ones(len(truth), dtype=torch.float64), accumulate=True)
    shares = confusion / confusion.sum(1, keepdim=True)
    twin = torch.zeros_like(shares)
    for one, other in NEAR:
        i, j = LABELS.index(one), LABELS.index(other)
        twin[i, j] = twin[j, i] = 1
    own = torch.eye(len(LABELS))
    near = (shares * twin).sum() / twin.sum()  # of the clips of the near pairs
    far = (shares * (1 - twin - own)).sum() / len(LABELS)
    return {
        "uar": float(shares.diagonal().mean()),
        "uar_trivial": 1 / len(LABELS),
        "near_error": float(near),
        "far_error": float(far),
    }


def retrieval(vectors: Tensor, truth: Tensor, batch: ClipBatch, count: int) -> dict[str, Any]:
    """Rates of the same class and the same person among the nearest test clips."""
    people = tuple(batch.meta["subject"])
    states = F.one_hot(truth, len(LABELS)).bool()
    gallery = Gallery(vectors, states, LABELS, True, tuple(batch.meta["clip"]), people, batch.frames[:, 0])
    return dict(retrieval_rates(gallery, count))


def geometry(slices: Tensor, truth: Tensor, thresholds: Tensor) -> dict[str, Any]:
    """Mean distance of the classes and its spread over pairs of classes, of each slice [M, N, D]."""
    units = slices.transpose(0, 1)
    distances = 2 - 2 * units @ units.mT
    members = F.one_hot(truth, len(LABELS)).float()
    pairs = members.T @ distances @ members / (members.sum(0)[:, None] * members.sum(0))
    i, j = torch.triu_indices(len(LABELS), len(LABELS), offset=1)
    between = pairs[:, i, j]
    means, spreads = between.mean(1).tolist(), (between.std(1) / between.mean(1)).tolist()
    rises = thresholds[-1] > thresholds[0]
    return {
        "thresholds": thresholds.tolist(),
        "between": means,
        "between_spread": spreads,
        "between_mean": sum(means) / len(means),
        **({"spearman": float(spearmanr(thresholds.tolist(), means).statistic)} if rises else {}),
    }
