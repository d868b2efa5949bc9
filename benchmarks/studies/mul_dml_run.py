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
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from affectkit.data import AllFrames, ClipBatch, Draw, ReplaySampler, collate
from affectkit.datasets import RenderedDataset
from affectkit.losses import MaskedCrossEntropy
from affectkit.methods.mul_dml import Gallery, MetricExpressionHead, MulDML, mean_distance, retrieval_rates
from affectkit.models import TimmBackbone
from affectkit.synth import render_corpus
from affectkit.tasks.base import model_inputs

LABELS = tuple(ASSOCIATION)
COLLAPSED = 0.01  # mean squared distance of a slice


class BySGD(MulDML):
    """The task with SGD and momentum at a constant rate."""

    def configure_optimizers(self) -> Any:
        """SGD with momentum 0.9."""
        return torch.optim.SGD(self.model.parameters(), lr=self.hparams["lr"], momentum=0.9)


class Pictures(Dataset[Any]):
    """Clips in memory, read a batch at a time: a random frame, cut out at a random place and mirrored at random.

    Args:
        clips: All clips of a split, with all their frames.
        size: Side of the pictures.
    """

    def __init__(self, clips: ClipBatch, size: int) -> None:
        self.clips = clips
        self.size = size

    def __len__(self) -> int:
        return len(self.clips)

    def __getitems__(self, draws: Sequence[Draw]) -> ClipBatch:
        """Batch of some draws."""
        rows = torch.tensor([draw.index for draw in draws])
        rng = torch.Generator().manual_seed(draws[0].seed or 0)
        frames, _ = self.crops(rows, rng)
        mirrored = torch.rand(len(rows), generator=rng) < 0.5
        frames = torch.where(mirrored[:, None, None, None], frames.flip(-1), frames)
        return only(self.clips, rows, frames)

    def crops(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pictures of some clips, uint8 [B, 3, S, S], and their landmarks from -1 to 1, float [B, 68, 2]."""
        numbers = torch.randint(self.clips.frames.shape[1], (len(rows),), generator=rng)
        frames = self.clips.frames[rows, numbers]
        room = frames.shape[-1] - self.size + 1
        y, x = torch.randint(room, (2,), generator=rng).tolist()
        points = self.clips.landmarks[rows, numbers] - torch.tensor([x, y])
        return frames[..., y : y + self.size, x : x + self.size], points * 2 / self.size - 1


def only(clips: ClipBatch, rows: Tensor, frames: Tensor) -> ClipBatch:
    """Some clips with one frame each, uint8 [B, 3, S, S]."""
    return replace(
        clips,
        frames=frames[:, None],
        frame_mask=clips.frame_mask[rows, :1],
        landmarks=clips.landmarks[rows, :1],
        landmarks_mask=clips.landmarks_mask[rows, :1],
        signals_mask=clips.signals_mask[rows, :1],
        key_frames=clips.key_frames[rows],
        valid=clips.valid[rows],
        subject=clips.subject[rows],
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
    start = pretrained(setup, train, folder / setup.name / "backbone.pt")
    for name, seed in runs:
        before = time.process_time()
        results, embeddings = run(setup, name, seed, train, test, start)
        seconds = time.process_time() - before
        content = {"variant": name, "seed": seed, "results": results, "processor_seconds": seconds}
        if embeddings is not None:
            torch.save(embeddings, folder / setup.name / f"{name}-{seed}.pt")
        write_run(setup, folder, content)
        shown = {key: round(value, 3) for key, value in results.items() if isinstance(value, float)}
        print(f"{name} seed {seed}: {seconds:.0f} s, {shown}", flush=True)


def read_clips(setup: Setup, folder: Path) -> tuple[Pictures, ClipBatch]:
    """Training clips, and test clips with their middle frame; the corpus is rendered if it is missing."""
    root = folder / f"rendered-{setup.people}-{setup.rendered_size}"
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
    options: dict[str, Any] = {"targets": ["expression"], "sampler": AllFrames()}
    train, test = (RenderedDataset(root, split=split, **options) for split in ("train", "test"))
    given, unseen = (collate([split[index] for index in range(len(split))]) for split in (train, test))
    inner = slice(start := (setup.rendered_size - setup.size) // 2, start + setup.size)
    middle = unseen.frames[:, unseen.frames.shape[1] // 2, :, inner, inner]
    return Pictures(given, setup.size), only(unseen, torch.arange(len(unseen)), middle)


def make_backbone(setup: Setup) -> TimmBackbone:
    """A small residual network with random weights."""
    return TimmBackbone(
        "resnet18",
        size=setup.size,
        grid=3,
        normalize="per_image",
        model_args={
            "channels": [16, 32, 48, 64],
            "layers": [1, 1, 1, 1],
            "stem_width": 16,
            "stem_type": "deep",
            "output_stride": 16,
        },
    )


def pretrained(setup: Setup, train: Pictures, path: Path) -> dict[str, Tensor]:
    """State of a network that knows where landmarks are, the start of all runs."""
    if not path.is_file():
        seed_everything(0, verbose=False)
        rng = torch.Generator().manual_seed(0)
        backbone = make_backbone(setup)
        reader = nn.Linear(backbone.num_features, 136)
        parameters = [*backbone.parameters(), *reader.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=setup.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, setup.lr, total_steps=setup.pretraining_steps
        )
        for step in range(setup.pretraining_steps):
            rows = torch.randint(len(train), (setup.batch_size,), generator=rng)
            frames, points = train.crops(rows, rng)
            loss = F.mse_loss(reader(backbone(frames[:, None]).pooled), points.flatten(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 100 == 0 or step + 1 == setup.pretraining_steps:
                print(
                    f"landmarks, step {step + 1}: {loss.item() ** 0.5 * setup.size / 2:.2f} pixels",
                    flush=True,
                )
        torch.save(backbone.state_dict(), path)
    state: dict[str, Tensor] = torch.load(path, weights_only=True)
    return state


def make_task(setup: Setup, name: str, start: dict[str, Tensor]) -> MulDML:
    """The task of a variant: the pretrained network with a metric head."""
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
    task = kind(make_backbone(setup), {"expression": head}, losses=losses, lr=lr, **variant.task)
    task.model.backbone.load_state_dict(start)
    return task


def run(
    setup: Setup, name: str, seed: int, train: Pictures, batch: ClipBatch, start: dict[str, Tensor]
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
    task = make_task(setup, name, start)
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
    rises = len(means) > 1 and float(thresholds.std()) > 0
    return {
        "thresholds": thresholds.tolist(),
        "between": means,
        "between_spread": spreads,
        "between_mean": sum(means) / len(means),
        **({"spearman": float(spearmanr(thresholds.tolist(), means).statistic)} if rises else {}),
    }
