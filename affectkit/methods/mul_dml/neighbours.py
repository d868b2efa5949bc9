"""Nearest neighbours of faces in the embedding of a metric head, as a figure and a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.data import ClipBatch
from affectkit.errors import ConfigError
from affectkit.methods.mul_dml.head import MetricHead
from affectkit.models import AffectModel, Features
from affectkit.models.explain import canvas
from affectkit.models.features import masked_mean

__all__ = [
    "Gallery",
    "Neighbours",
    "embed_gallery",
    "face_vectors",
    "metric_head",
    "neighbours_by_label",
    "neighbours_of",
    "retrieval_rates",
    "write_neighbours",
]

_CELL: Final = 1.25  # inches
_COLOURS: Final = {True: "#2a7f3f", False: "#b5342b"}


@dataclass(frozen=True)
class Gallery:
    """Embedded clips with their labels and people, on the CPU.

    Args:
        vectors: float [M, D] of unit length.
        states: bool [M, labels], the class or the active units of each clip; all False without annotation.
        labels: Names of the labels.
        single: Whether a clip has one label, a class.
        clips: Name of each clip.
        people: Person of each clip; the clip's name if unknown.
        pictures: uint8 [M, 3, S, S], the middle frame of each clip.
    """

    vectors: Tensor
    states: Tensor
    labels: tuple[str, ...]
    single: bool
    clips: tuple[str, ...]
    people: tuple[str, ...]
    pictures: Tensor

    def shown(self, index: int) -> str:
        """Labels of a clip: `happiness`, `AU6+AU12`, or `–` without any."""
        return "+".join(label for label, on in zip(self.labels, self.states[index], strict=True) if on) or "–"

    def agreement(self) -> Tensor:
        """Agreement of the labels of each pair of clips, float [M, M]: same class, or share of units in one state."""
        states = self.states.float()
        both = states @ states.T
        if self.single:
            return both
        return (both + (1 - states) @ (1 - states).T) / len(self.labels)


@dataclass(frozen=True)
class Neighbours:
    """Nearest clips of a gallery to a face.

    Args:
        name: Description of the face.
        picture: uint8 [3, S, S].
        indices: Positions in the gallery, the nearest first.
        cosines: Cosine of each to the face.
        query: Position of the face in the gallery; None for a face from elsewhere.
    """

    name: str
    picture: Tensor
    indices: tuple[int, ...]
    cosines: tuple[float, ...]
    query: int | None = None


def metric_head(model: AffectModel, name: str | None = None) -> MetricHead:
    """Find a metric head of a model.

    Args:
        model: The model.
        name: Name of the head; the first metric head by default.

    Raises:
        ConfigError: There is none, or none of this name.
    """
    found = {key: head for key, head in model.heads.items() if isinstance(head, MetricHead)}
    if not found or (name is not None and name not in found):
        raise ConfigError(
            "This model has no metric head." if name is None else f"There is no metric head {name!r}.",
            remedy=f"Choose one of {', '.join(found)}."
            if found
            else "Train one with expression/muldml_rendered.",
        )
    return next(iter(found.values())) if name is None else found[name]


@torch.inference_mode()
def face_vectors(head: MetricHead, features: Features) -> Tensor:
    """Vectors of unit length of clips, float32 [B, D], over all groups of slices and the frames of a clip."""
    vectors = head.vectors(head.embed(features)).float().flatten(-2)
    if vectors.ndim == 3:
        vectors = masked_mean(vectors, features.frame_mask)
    return F.normalize(vectors, dim=-1)


@torch.inference_mode()
def embed_gallery(model: AffectModel, head: MetricHead, loaders: Iterable[Iterable[ClipBatch]]) -> Gallery:
    """Embed all clips of data loaders that annotate the target of a head.

    Args:
        model: In evaluation mode.
        head: One of its metric heads.
        loaders: Evaluation loaders.

    Raises:
        ConfigError: No clip is annotated.
    """
    from affectkit.tasks.base import model_inputs

    device = head.embedding.weight.device
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    clips: list[str] = []
    people: list[str] = []
    for batch in (batch for loader in loaders for batch in loader if head.target in batch.targets):
        target = batch.targets[head.target].project(head.space.name)
        target = (target.over_frames() if target.leading == 2 else target).likeliest().as_soft()
        features = model.features(**model_inputs(batch.to(device)))
        middle = (batch.frame_mask.sum(1) - 1).clamp(min=0) // 2
        pictures = batch.frames[torch.arange(len(batch)), middle]
        kept = batch.valid
        parts.append((face_vectors(head, features).cpu()[kept], target.value[kept] >= 0.5, pictures[kept]))
        for name, person, valid in zip(batch.meta["clip"], batch.meta["subject"], kept.tolist(), strict=True):
            if valid:
                clips.append(str(name))
                people.append(str(name if person is None else person))
    if not parts:
        raise ConfigError(
            f"These data have no labels {head.target!r}.", remedy="Choose data with the labels of the head."
        )
    vectors, states, pictures = (torch.cat(column) for column in zip(*parts, strict=True))
    return Gallery(vectors, states, head.labels, head.space.indexed, tuple(clips), tuple(people), pictures)


def neighbours_of(gallery: Gallery, name: str, picture: Tensor, vector: Tensor, count: int) -> Neighbours:
    """Find the nearest clips of a gallery to a face from elsewhere.

    Args:
        gallery: The clips to search.
        name: Description of the face.
        picture: Picture of the face, uint8 [3, S, S].
        vector: Vector of the face, float [D].
        count: Number of neighbours.
    """
    best = (gallery.vectors @ vector).topk(min(count, len(gallery.vectors)))
    return Neighbours(name, picture, tuple(best.indices.tolist()), tuple(best.values.tolist()))


def neighbours_by_label(gallery: Gallery, count: int) -> list[Neighbours]:
    """Find the nearest clips of a gallery to its first clip with each label, without that clip.

    Args:
        gallery: At least two clips.
        count: Number of neighbours of each clip.
    """
    firsts = dict.fromkeys(int(column.nonzero()[0]) for column in gallery.states.T if column.any())
    found = []
    for index in firsts:
        cosines = gallery.vectors @ gallery.vectors[index]
        cosines[index] = -torch.inf
        best = cosines.topk(min(count, len(cosines) - 1))
        name = f"{gallery.shown(index)}\n{gallery.people[index]}"
        nearest = tuple(best.indices.tolist()), tuple(best.values.tolist())
        found.append(Neighbours(name, gallery.pictures[index], *nearest, query=index))
    return found


def retrieval_rates(gallery: Gallery, count: int) -> Mapping[str, float]:
    """Rates among the nearest neighbours of all clips, each without itself, and by chance.

    Args:
        gallery: At least two clips.
        count: Number of neighbours of each clip.

    Returns:
        `same_label` and `same_person` in [0, 1], and `same_label_chance` and `same_person_chance`, those of random
        neighbours. For units, `same_label` is the share of units in the same state.
    """
    M = len(gallery.vectors)
    cosines = gallery.vectors @ gallery.vectors.T
    cosines.fill_diagonal_(-torch.inf)
    nearest = cosines.topk(min(count, M - 1)).indices
    numbers = {person: number for number, person in enumerate(dict.fromkeys(gallery.people))}
    person = torch.tensor([numbers[one] for one in gallery.people])
    others = ~torch.eye(M, dtype=torch.bool)
    rates = {}
    for name, same in (
        ("same_label", gallery.agreement()),
        ("same_person", (person[:, None] == person).float()),
    ):
        rates[name] = same.gather(1, nearest).mean().item()
        rates[f"{name}_chance"] = same[others].mean().item()
    return rates


def write_neighbours(gallery: Gallery, found: Sequence[Neighbours], folder: str | Path) -> tuple[Path, Path]:
    """Write `neighbours.csv` and `neighbours.png`.

    The table has one row for each neighbour. The figure has one row for each face: the face, then its neighbours with
    label, person and cosine. For faces of the gallery, the frame of a neighbour is green if the labels are the same.

    Args:
        gallery: The clips that were searched.
        found: The neighbours of each face, at least one.
        folder: Created if absent.

    Returns:
        Paths of the table and the figure.
    """
    import pandas as pd

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table, figure = folder / "neighbours.csv", folder / "neighbours.png"
    pd.DataFrame(
        {
            "face": " ".join(one.name.split("\n")) if one.query is None else gallery.clips[one.query],
            "rank": rank,
            "clip": gallery.clips[index],
            "person": gallery.people[index],
            "labels": gallery.shown(index),
            "cosine": cosine,
        }
        for one in found
        for rank, (index, cosine) in enumerate(zip(one.indices, one.cosines, strict=True), start=1)
    ).to_csv(table, index=False, float_format="%.4f", lineterminator="\n")
    _draw(gallery, found, figure)
    return table, figure


def _draw(gallery: Gallery, found: Sequence[Neighbours], path: Path) -> None:
    columns = 1 + max(len(one.indices) for one in found)
    figure = canvas(columns * _CELL, len(found) * (_CELL + 0.35))
    grid = figure.subplots(len(found), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, one in zip(grid, found, strict=True):
        row[0].imshow(one.picture.permute(1, 2, 0).numpy())
        row[0].set_title(one.name, fontsize=6.5, fontweight="bold")
        for axes, index, cosine in zip(row[1:], one.indices, one.cosines, strict=False):
            axes.imshow(gallery.pictures[index].permute(1, 2, 0).numpy())
            axes.set_title(f"{gallery.shown(index)}\n{gallery.people[index]} · {cosine:.2f}", fontsize=6.5)
            if one.query is None:
                continue
            axes.set_axis_on()
            axes.set_xticks([])
            axes.set_yticks([])
            same = torch.equal(gallery.states[index], gallery.states[one.query])
            for spine in axes.spines.values():
                spine.set(edgecolor=_COLOURS[same], linewidth=2.5)
    figure.savefig(path, dpi=150)
