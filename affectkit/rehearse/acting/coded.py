"""Shared parts of the rehearsals of frame-coded corpora: labels with given counts, pictures with landmarks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from affectkit.rehearse.acting.studio import Studio

__all__ = [
    "count_frames",
    "describe_points",
    "digits",
    "draw_scores",
    "film",
    "mark_strongest",
    "rescale",
    "rows_of",
    "split",
    "strongest",
    "write_mat",
]

Points = npt.NDArray[np.float64]
Lengths = Mapping[str, int]
"""Frames of each recording, whose name begins with the subject."""


def draw_scores(
    rng: np.random.Generator, lengths: Iterable[int], smooth: int = 20
) -> npt.NDArray[np.float32]:
    """Draw a score for each frame that changes slowly, over about `smooth` frames, and differs between recordings.

    Returns:
        float32 [sum of lengths], without equal values.
    """
    lengths = list(lengths)
    total = sum(lengths)
    steps = np.cumsum(rng.standard_normal(total + smooth, dtype=np.float32), dtype=np.float64)
    course = (steps[smooth:] - steps[:-smooth]) / np.sqrt(smooth)
    habit = np.repeat(rng.standard_normal(len(lengths)), lengths)
    scores: npt.NDArray[np.float32] = (course + 0.6 * habit).astype(np.float32)
    return scores


def strongest(scores: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.bool_]:
    """Mark exactly the `count` highest scores."""
    chosen = np.zeros(len(scores), dtype=bool)
    if count > 0:
        chosen[np.argpartition(-scores, count - 1)[:count]] = True
    return chosen


def mark_strongest(
    scores: npt.NDArray[np.float32], counts: Iterable[tuple[npt.NDArray[np.bool_] | slice, int]]
) -> npt.NDArray[np.bool_]:
    """Mark the highest scores among each set of rows."""
    marked = np.zeros(len(scores), dtype=bool)
    for rows, count in counts:
        marked[rows] = strongest(scores[rows], count)
    return marked


def digits(codes: npt.NDArray[Any]) -> str:
    """One-digit numbers as text."""
    return (codes.astype(np.uint8) + ord("0")).tobytes().decode()


def subject_of(name: str) -> str:
    """Subject of a recording."""
    return name.partition("_")[0]


def rows_of(lengths: Lengths, people: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Mark the rows of some people."""
    return np.repeat([subject_of(name) in people for name in lengths], list(lengths.values()))


def split(table: npt.NDArray[Any], lengths: Lengths) -> list[npt.NDArray[Any]]:
    """Views of the rows of each recording."""
    return np.split(table, np.cumsum(list(lengths.values()))[:-1])


def count_frames(
    lengths: Lengths,
    positive: npt.NDArray[np.bool_],
    units: Sequence[int],
    parts: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Count subjects, recordings, frames, and positives [N, U], in total and in each part (name -> subjects)."""

    def count(names: Sequence[str], rows: npt.NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "subjects": len({subject_of(name) for name in names}),
            "clips": len(names),
            "frames": int(rows.sum()),
            "positives": {f"AU{u}": int(n) for u, n in zip(units, positive[rows].sum(0), strict=True)},
        }

    by_part = {
        part: count([name for name in lengths if subject_of(name) in people], rows_of(lengths, people))
        for part, people in parts.items()
    }
    return {**count(list(lengths), np.ones(len(positive), dtype=bool)), "parts": by_part}


def film(
    studio: Studio,
    acts: Iterable[Mapping[int, float]],
    height: int,
    seen: dict[int, Points],
    first: int = 0,
    yaw: float = 0.0,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Render frames from number `first`, padded or cropped to a height; note their landmarks, [68, 2], in `seen`."""
    more = height - studio.size
    down = int(more / 2)
    for frame, units in enumerate(acts, start=first):
        face = studio.shoot(units, yaw)
        seen[frame] = face.landmarks.astype(np.float64) + np.array([0.0, down])
        image = np.pad(face.image, ((max(down, 0), max(more - down, 0)), (0, 0), (0, 0)), mode="edge")
        yield np.ascontiguousarray(image[max(-down, 0) :][:height])


def rescale(points: Points, size: tuple[int, int], original: tuple[int, int]) -> Points:
    """Landmarks in pictures of the original size (width, height)."""
    scaled: Points = (points + 0.5) * (np.array(original) / np.array(size)) - 0.5
    return scaled


def write_mat(path: Path, **variables: npt.NDArray[Any]) -> None:
    """Write a MATLAB file without a time stamp, so that the same corpus has the same bytes."""
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables, do_compression=True)
    with path.open("r+b") as file:
        file.write(b"MATLAB 5.0 MAT-file, rendered by affectkit".ljust(116))


def describe_points(seen: Mapping[int, Points]) -> dict[str, str]:
    """Landmarks as `x y x y …` by label frame, from 1."""
    return {
        str(frame + 1): " ".join(f"{value:.2f}" for value in points.ravel().tolist())
        for frame, points in seen.items()
    }
