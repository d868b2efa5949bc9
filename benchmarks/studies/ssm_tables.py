"""Turn the runs of the study of SSM into tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student
from ssm_setup import VARIANTS, Setup

METRICS = {
    "au_f1": "AU F1 at 0.5",
    "au_f1_val": "AU F1, thresholds of validation people",
    "au_auc": "AU AUC",
    "expression_uar": "expression UAR",
}
DIRECTIONS = {"au_to_expression": "units → expressions", "expression_to_au": "expressions → units"}
STAGES = {
    "prior_with_truth": "prior and planted",
    "learned_with_truth": "learned and planted",
    "learned_with_prior": "learned and prior",
    "change_with_truth": "log(learned / prior) and planted",
}
Runs = dict[str, dict[int, dict[str, Any]]]


def read_runs(setup: Setup, folder: Path) -> Runs:
    """By variant and seed, what the finished runs of this setup wrote."""
    runs: Runs = {name: {} for name in VARIANTS}
    for path in sorted((folder / setup.name).glob("*-*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        runs[content["variant"]][content["seed"]] = content
    return runs


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and its interval by Student's t; NaN bounds for fewer than two values."""
    sample = np.array(values, dtype=float)
    mean = float(sample.mean()) if len(sample) else float("nan")
    if len(sample) < 2:
        return mean, float("nan"), float("nan")
    half = float(student.ppf((1 + level) / 2, len(sample) - 1) * sample.std(ddof=1) / len(sample) ** 0.5)
    return mean, mean - half, mean + half


def paired(runs: Runs, metric: str, first: str, second: str) -> tuple[float, float, float]:
    """Mean difference first - second over the seeds that both have, with its interval."""
    one, two = values(runs, metric, first), values(runs, metric, second)
    return interval([one[seed] - two[seed] for seed in sorted(one.keys() & two.keys())])


def values(runs: Runs, metric: str, variant: str) -> dict[int, float]:
    """A metric of a variant by seed."""
    return {s: run["results"][metric] for s, run in runs[variant].items() if metric in run["results"]}


def rows_of(runs: Runs) -> list[dict[str, Any]]:
    """One row for each variant and metric: mean, interval, and the difference to SSM, paired over seeds."""
    rows = []
    for metric in METRICS:
        for name, variant in VARIANTS.items():
            if variant.planted or not (found := values(runs, metric, name)):
                continue
            mean, low, high = interval(list(found.values()))
            row: dict[str, Any] = {
                "metric": metric,
                "variant": name,
                "title": variant.title,
                "seeds": len(found),
            }
            row |= {"mean": mean, "low": low, "high": high, "values": list(found.values())}
            row |= dict.fromkeys(("ssm_minus_this", "ssm_minus_this_low", "ssm_minus_this_high"))
            if name != "joint":
                row["ssm_minus_this"], row["ssm_minus_this_low"], row["ssm_minus_this_high"] = paired(
                    runs, metric, "joint", name
                )
            rows.append(row)
        trivial = values(runs, f"{metric.removesuffix('_val')}_trivial", "joint")
        if trivial:
            rows.append(
                {"metric": metric, "variant": "trivial", "title": "trivial baseline", "seeds": len(trivial),
                 "mean": interval(list(trivial.values()))[0]}
            )  # fmt: skip
    return rows


def map_rows(runs: Runs) -> list[dict[str, Any]]:
    """Rank correlations of the maps, for the planted association and for that of FACS."""
    rows = []
    for variant in ("planted", "joint"):
        found = [run["maps"] for run in runs[variant].values() if run.get("maps")]
        for direction in DIRECTIONS:
            for stage in STAGES:
                if found:
                    mean, low, high = interval([maps[direction][stage] for maps in found])
                    rows.append(
                        {"variant": variant, "direction": direction, "stage": stage, "seeds": len(found),
                         "mean": mean, "low": low, "high": high}
                    )  # fmt: skip
    return rows


def write_tables(setup: Setup, folder: Path) -> str:
    """Write `ssm.md`, `ssm.csv` and `ssm.json` beside the runs, and return the first."""
    runs = read_runs(setup, folder)
    rows, maps = rows_of(runs), map_rows(runs)
    text = as_markdown(setup, runs, rows, maps)
    (folder / "ssm.md").write_text(text, encoding="utf-8")
    content = {"setup": asdict(setup), "results": rows, "maps": maps}
    (folder / "ssm.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    names = list(dict.fromkeys(key for row in [*rows, *maps] for key in row if key != "values"))
    with (folder / "ssm.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["table", *names], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({"table": "results", **row} for row in rows)
        writer.writerows({"table": "maps", **row} for row in maps)
    return text


def as_markdown(
    setup: Setup, runs: Runs, rows: Sequence[Mapping[str, Any]], maps: Sequence[Mapping[str, Any]]
) -> str:
    """Both tables and how they were made."""
    seconds = [run["processor_seconds"]["all"] for found in runs.values() for run in found.values()]
    parts = [_about(setup, seconds)]
    for metric, title in METRICS.items():
        parts.append(f"**{title}**\n\n| variant | mean | SSM minus it | seeds |\n| --- | --- | --- | --- |")
        parts[-1] += "".join(
            f"\n| {row['title']} | {_cell(row, 'mean', 'low', 'high')} | "
            f"{_cell(row, 'ssm_minus_this', 'ssm_minus_this_low', 'ssm_minus_this_high', signed=True)} | "
            f"{row['seeds']} |"
            for row in rows
            if row["metric"] == metric
        )
    for variant, title in (("planted", "planted association"), ("joint", "association of FACS")):
        chosen = [row for row in maps if row["variant"] == variant]
        if chosen:
            names = list(STAGES.values())
            if variant == "joint":
                names = [name.replace("planted", "true") for name in names]
            table = f"**Rank correlation of the maps, {title}**\n\n| direction | {' | '.join(names)} |"
            table += "\n|" + " --- |" * (1 + len(names))
            for direction, label in DIRECTIONS.items():
                cells = [
                    _cell(row, "mean", "low", "high", signed=True)
                    for stage in STAGES
                    for row in chosen
                    if (row["direction"], row["stage"]) == (direction, stage)
                ]
                table += f"\n| {label} | {' | '.join(cells)} |"
            parts.append(table)
    return "\n\n".join(parts) + "\n"


def _cell(row: Mapping[str, Any], mean: str, low: str, high: str, *, signed: bool = False) -> str:
    value = row.get(mean)
    if value is None:
        return ""
    sign = "+" if signed else ""
    text = f"{value:{sign}.3f}"
    if row.get(low) is not None and row[low] == row[low]:
        text += f" [{row[low]:{sign}.3f}, {row[high]:{sign}.3f}]"
    return text


def _about(setup: Setup, seconds: Sequence[float]) -> str:
    train = setup.au_people - round(setup.au_people * setup.au_val) - round(setup.au_people * setup.au_test)
    others = setup.expression_people
    others -= round(others * setup.expression_val) + round(others * setup.expression_test)
    cost = f" A run took {np.median(seconds):.0f} s of one core (median)." if seconds else ""
    return (
        f"Rendered faces. Action units are taught by {train} people, expressions by {others} others, and each corpus "
        f"has test people of its own; people, weights and draws change with the seed. {setup.epochs} epochs of "
        f"{setup.steps_per_epoch} steps, of which the last averaged weights are tested. The image tower "
        "(affectkit-tiny) was taught the landmarks of further people, the same for all; the text tower is random and "
        "frozen. Brackets: 95 % intervals by Student's t over seeds, of differences paired by seed."
        f"{cost} Setup {setup.name}."
    )
