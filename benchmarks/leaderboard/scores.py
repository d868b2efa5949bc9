"""Results of cells: files, means over seeds, and intervals over people and seeds."""

from __future__ import annotations

import base64
import json
import lzma
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from board import METHODS, SEEDS, TRACKS, cells
from torch import Tensor

from affectkit.facs import label_space
from affectkit.metrics import Comparison, Estimate, Tally, compare, estimate, metric_of

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

from comparison import interval

DRAWS = 2000
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
Cell = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        method: Key of the method.
        people: Mean over seeds, and its 95 % interval over people.
        seeds: The same mean, and its 95 % interval over seeds.
        against: Comparison with the best baseline, paired over people; None for that baseline.
        against_seeds: Difference to the best baseline with its 95 % interval, paired over seeds.
        trivial: Result of the trivial predictor.
        parameters: Trained parameters.
        milliseconds: Median processor time of a training step.
    """

    method: str
    people: Estimate
    seeds: tuple[float, float, float]
    against: Comparison | None
    against_seeds: tuple[float, float, float] | None
    trivial: float
    parameters: int
    milliseconds: float

    @property
    def verdict(self) -> str:
        """`above` or `below` if both intervals of the difference exclude 0, else empty."""
        if self.against is None or self.against_seeds is None:
            return ""
        if min(self.against.low, self.against_seeds[1]) > 0:
            return "above"
        return "below" if max(self.against.high, self.against_seeds[2]) < 0 else ""


def encode(sums: Tensor) -> str:
    """Write whole numbers from 0 to 255 as text, with the axis of people last because its entries are alike."""
    numbers = sums.numpy()
    whole = numbers.astype(np.uint8)
    if not np.array_equal(whole, numbers):
        raise ValueError("counts must be whole numbers from 0 to 255")
    packed = lzma.compress(np.moveaxis(whole, 0, -1).tobytes(), format=lzma.FORMAT_RAW, filters=_FILTERS)
    return base64.b85encode(packed).decode()


def decode(text: str, space: str, people: int) -> Tally:
    """Read the tally of a run from `encode`."""
    metric = metric_of(label_space(space), people)
    empty = metric.tally()
    shape = (*empty.sums.shape[1:], people)
    packed = lzma.decompress(base64.b85decode(text), format=lzma.FORMAT_RAW, filters=_FILTERS)
    numbers = np.frombuffer(packed, np.uint8).reshape(shape)
    sums = torch.from_numpy(np.moveaxis(numbers, -1, 0).astype(np.float64))
    return Tally(empty.labels, sums, empty.results, None, empty.ranges)


def averaged(runs: Sequence[Tally], *names: str) -> Tally:
    """Join the tallies of several models on the same people to one, whose results are means over the models."""
    first = runs[0]

    def results(totals: Tensor, areas: Tensor | None) -> dict[str, Tensor]:
        none = totals.new_full((len(totals), len(first.labels)), nan)
        each = [first.results(part, none) for part in totals.unbind(1)]
        return {name: torch.stack([one[name] for one in each]).nanmean(0) for name in names}

    return Tally(first.labels, torch.stack([run.sums for run in runs], 1), results, None, first.ranges)


def load(folder: Path) -> dict[tuple[str, str], Cell]:
    """Read the cells of a folder, those of unknown tracks and methods left out."""
    paths = {cell: folder / cell[0] / f"{cell[1]}.json" for cell in cells()}
    return {
        cell: json.loads(path.read_text(encoding="utf-8")) for cell, path in paths.items() if path.is_file()
    }


def save(folder: Path, track: str, method: str, cell: Mapping[str, Any]) -> None:
    """Write a cell, all of it or nothing, one run per line."""
    path = folder / track / f"{method}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    head = json.dumps({key: value for key, value in cell.items() if key != "runs"})[:-1]
    runs = ",\n".join(json.dumps(run) for run in sorted(cell["runs"], key=lambda run: run["seed"]))
    partial.write_text(f'{head}, "runs": [\n{runs}\n]}}\n', encoding="utf-8")
    partial.replace(path)


def rows(track: str, found: Mapping[tuple[str, str], Cell]) -> list[Row]:
    """Rows of a track with all seeds, best first."""
    one = TRACKS[track]
    done = {name: cell for (of, name), cell in found.items() if of == track and len(cell["runs"]) >= SEEDS}
    if not done:
        return []
    trivial = _trivial(track, next(iter(done.values())))
    tallies = {name: averaged(_tallies(cell), one.metric, trivial) for name, cell in done.items()}
    points = {name: float(tally.point()[one.metric]) for name, tally in tallies.items()}
    plain = [name for name in done if METHODS[name].kind == "baseline"]
    best = max(plain, key=points.__getitem__) if plain else None
    made = []
    for name in sorted(done, key=points.__getitem__, reverse=True):
        values = [run["value"] for run in done[name]["runs"]]
        against = against_seeds = None
        if best is not None and name != best:
            theirs = [run["value"] for run in done[best]["runs"]]
            against = compare([(tallies[best], tallies[name])], draws=DRAWS)[one.metric]
            against_seeds = interval([a - b for a, b in zip(values, theirs, strict=True)])
        known = estimate(tallies[name])
        made.append(
            Row(
                name, known[one.metric], interval(values), against, against_seeds,
                known[trivial].value, done[name]["parameters"],
                median(run["milliseconds"] for run in done[name]["runs"]),
            )
        )  # fmt: skip
    return made


def _tallies(cell: Cell) -> list[Tally]:
    return [decode(run["counts"], cell["space"], cell["people"]) for run in cell["runs"]]


def _trivial(track: str, cell: Cell) -> str:
    """Name of the result of the trivial predictor."""
    return str(type(metric_of(label_space(cell["space"]), 1)).baselines[TRACKS[track].metric])
