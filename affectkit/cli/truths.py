"""True labels beside predictions, so that a table of predictions can be scored by whoever has only the table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from affectkit.datasets.bases.dataset import AffectDataset
from affectkit.models.heads.base import Head

__all__ = ["add_truths"]


def add_truths(table: Path, dataset: AffectDataset, heads: Iterable[Head]) -> None:
    """Add columns with the true labels to a table that `PredictionsWriter` wrote.

    A unit gets the column `AU01_true` (`AU01_i_true` for intensities), a dimension `valence_true`; of classes and
    levels the name of the (likeliest) one is in `expression_true`, or what else the target is called. Cells are empty
    where nothing is annotated.

    Args:
        table: It is replaced when all of it has been read.
        dataset: What was predicted.
        heads: Of the model.
    """
    records = {record.clip: record for record in dataset.clips}
    known = [head for head in heads if head.target in dataset.targets]
    unfinished = table.with_name(f"{table.name}.part")
    with (
        table.open(newline="", encoding="utf-8") as rows,
        unfinished.open("w", newline="", encoding="utf-8") as out,
    ):
        reader, writer = csv.DictReader(rows), csv.writer(out)
        names = list(reader.fieldnames or ())
        writer.writerow([*names, *dict.fromkeys(name for head in known for name in _columns(head))])
        for row in reader:
            labels = dataset.annotate(records[row["clip"]], [int(row["frame"])])
            cells: dict[str, str] = {}
            for head in known:
                target = labels[head.target].project(head.space.name).likeliest()
                value, mask = target.value.flatten().tolist(), target.mask.flatten().tolist()
                cells |= dict(zip(_columns(head), _cells(head, value, mask), strict=True))
            writer.writerow([*(row[name] for name in names), *cells.values()])
    unfinished.replace(table)


def _columns(head: Head) -> list[str]:
    if head.space.indexed:
        return [f"{head.target}_true"]
    return [f"{column}_true" for column in head.columns]


def _cells(head: Head, value: Sequence[float], mask: Sequence[bool]) -> list[str]:
    if head.space.indexed:
        return [head.space.labels[int(value[0])] if mask[0] else ""]
    return [f"{number:g}" if known else "" for number, known in zip(value, mask, strict=True)]
