"""What the tables of studies share: means with intervals over seeds, and differences paired by seed."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from harness import Runs
from scipy.stats import t as student

Row = dict[str, Any]


def values(runs: Runs, metric: str, variant: str) -> dict[int, float]:
    """A metric of a variant by seed."""
    return {s: run["results"][metric] for s, run in runs[variant].items() if metric in run["results"]}


def interval(sample: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and its interval by Student's t; NaN bounds for fewer than two values."""
    numbers = np.array(sample, dtype=float)
    mean = float(numbers.mean()) if len(numbers) else float("nan")
    if len(numbers) < 2:
        return mean, float("nan"), float("nan")
    half = float(student.ppf((1 + level) / 2, len(numbers) - 1) * numbers.std(ddof=1) / len(numbers) ** 0.5)
    return mean, mean - half, mean + half


def paired(runs: Runs, metric: str, first: str, second: str) -> tuple[float, float, float]:
    """Mean difference first - second over the seeds that both have, with its interval."""
    one, two = values(runs, metric, first), values(runs, metric, second)
    return interval([one[seed] - two[seed] for seed in sorted(one.keys() & two.keys())])


def compare(
    runs: Runs, metrics: Sequence[str], titles: Mapping[str, str], *, first: str, difference: str
) -> list[Row]:
    """One row for each metric and variant: mean, interval, and the first variant minus it, paired over seeds.

    Args:
        runs: By variant and seed, see `harness.read_runs`.
        metrics: Names in the runs' results; `metric_trivial` there, if any, gives a further row. Those that end in
            `_val` share that of the metric without it.
        titles: By variant, what the table calls it; variants without runs are left out.
        first: The variant that the others are compared with.
        difference: What the columns of differences are called.
    """
    rows: list[Row] = []
    for metric in metrics:
        for name, title in titles.items():
            if not (found := values(runs, metric, name)):
                continue
            mean, low, high = interval(list(found.values()))
            row: Row = {"metric": metric, "variant": name, "title": title, "seeds": len(found)}
            row |= {"mean": mean, "low": low, "high": high, "values": list(found.values())}
            differences = (None,) * 3 if name == first else paired(runs, metric, first, name)
            row |= dict(
                zip((difference, f"{difference}_low", f"{difference}_high"), differences, strict=True)
            )
            rows.append(row)
        trivial = values(runs, f"{metric.removesuffix('_val')}_trivial", first)
        if trivial:
            rows.append(
                {"metric": metric, "variant": "trivial", "title": "trivial baseline", "seeds": len(trivial),
                 "mean": interval(list(trivial.values()))[0]}
            )  # fmt: skip
    return rows


def table(rows: Sequence[Mapping[str, Any]], metric: str, title: str, *, first: str, difference: str) -> str:
    """The rows of a metric in Markdown.

    Args:
        rows: See `compare`.
        metric: Which of them.
        title: Of the table.
        first: What the column of differences calls the first variant.
        difference: As for `compare`.
    """
    text = f"**{title}**\n\n| variant | mean | {first} minus it | seeds |\n| --- | --- | --- | --- |"
    for row in rows:
        if row["metric"] == metric:
            against = cell(row, difference, f"{difference}_low", f"{difference}_high", signed=True)
            text += f"\n| {row['title']} | {cell(row, 'mean', 'low', 'high')} | {against} | {row['seeds']} |"
    return text


def cell(row: Mapping[str, Any], mean: str, low: str, high: str, *, signed: bool = False) -> str:
    """A number with its interval, as it stands in a table."""
    value = row.get(mean)
    if value is None:
        return ""
    sign = "+" if signed else ""
    text = f"{value:{sign}.3f}"
    if row.get(low) is not None and row[low] == row[low]:
        text += f" [{row[low]:{sign}.3f}, {row[high]:{sign}.3f}]"
    return text


def write(folder: Path, study: str, text: str, setup: Any, tables: Mapping[str, Sequence[Row]]) -> None:
    """Write the tables of a study as Markdown, CSV and JSON.

    Args:
        folder: Of the runs.
        study: Its name, and that of the files.
        text: The Markdown.
        setup: The settings, a dataclass.
        tables: By name, the rows.
    """
    (folder / f"{study}.md").write_text(text, encoding="utf-8")
    content = {"setup": asdict(setup), **tables}
    (folder / f"{study}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    names = list(
        dict.fromkeys(key for rows in tables.values() for row in rows for key in row if key != "values")
    )
    with (folder / f"{study}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["table", *names], extrasaction="ignore")
        writer.writeheader()
        for name, rows in tables.items():
            writer.writerows({"table": name, **row} for row in rows)
