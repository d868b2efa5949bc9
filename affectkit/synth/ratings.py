"""A simulated rater, who answers questions about clips with known errors."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

__all__ = ["RATER_NOISE", "disturb", "rate_units", "write_ratings"]

RATER_NOISE: Final = 0.2
"""Share of the answers of the simulated rater that are arbitrary."""


def disturb(
    rng: np.random.Generator, answers: Mapping[str, float], noise: float = RATER_NOISE
) -> dict[str, float]:
    """Replace a share `noise` of true answers, 0 to 1 by question, by arbitrary ones.

    Example:
        >>> disturb(np.random.default_rng(0), {"yawns": 1.0}, noise=0.0)
        {'yawns': 1.0}
    """
    draws = rng.uniform(size=(len(answers), 2)).tolist()
    return {
        question: other if draw < noise else answer
        for (question, answer), (draw, other) in zip(answers.items(), draws, strict=True)
    }


def rate_units(rng: np.random.Generator, active: Sequence[int], units: Sequence[int]) -> dict[str, float]:
    """Answers whether each action unit is active, by its name."""
    return disturb(rng, {f"AU{unit}": float(unit in active) for unit in units})


def write_ratings(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the answers of the rater, `ratings.csv`, and the true labels, `truth.csv`, of clips.

    Args:
        folder: Folder of the files.
        rows: Clips with `clip`, `answers`, and `truth`, a label or None.
    """
    with (folder / "ratings.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["clip", "question", "answer"])
        for row in rows:
            table.writerows((row["clip"], name, f"{answer:.3f}") for name, answer in row["answers"].items())
    with (folder / "truth.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["clip", "label"])
        table.writerows((row["clip"], row["truth"]) for row in rows if row["truth"] is not None)
