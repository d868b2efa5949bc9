"""Turn the runs of the study of SSM into tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from comparison import Row, cell, compare, interval, table, write
from harness import Runs, read_runs
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


def rows_of(runs: Runs) -> list[Row]:
    """One row for each variant and metric: mean, interval, and the difference to SSM, paired over seeds."""
    titles = {name: variant.title for name, variant in VARIANTS.items() if not variant.planted}
    return compare(runs, list(METRICS), titles, first="joint", difference="ssm_minus_this")


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
    runs = read_runs(setup, folder, list(VARIANTS))
    rows, maps = rows_of(runs), map_rows(runs)
    text = as_markdown(setup, runs, rows, maps)
    write(folder, "ssm", text, setup, {"results": rows, "maps": maps})
    return text


def as_markdown(
    setup: Setup, runs: Runs, rows: Sequence[Mapping[str, Any]], maps: Sequence[Mapping[str, Any]]
) -> str:
    """Both tables and how they were made."""
    seconds = [run["processor_seconds"]["all"] for found in runs.values() for run in found.values()]
    parts = [_about(setup, seconds)]
    for metric, title in METRICS.items():
        parts.append(table(rows, metric, title, first="SSM", difference="ssm_minus_this"))
    for variant, title in (("planted", "planted association"), ("joint", "association of FACS")):
        chosen = [row for row in maps if row["variant"] == variant]
        if chosen:
            names = list(STAGES.values())
            if variant == "joint":
                names = [name.replace("planted", "true") for name in names]
            part = f"**Rank correlation of the maps, {title}**\n\n| direction | {' | '.join(names)} |"
            part += "\n|" + " --- |" * (1 + len(names))
            for direction, label in DIRECTIONS.items():
                cells = [
                    cell(row, "mean", "low", "high", signed=True)
                    for stage in STAGES
                    for row in chosen
                    if (row["direction"], row["stage"]) == (direction, stage)
                ]
                part += f"\n| {label} | {' | '.join(cells)} |"
            parts.append(part)
    return "\n\n".join(parts) + "\n"


def _about(setup: Setup, seconds: Sequence[float]) -> str:
    train = setup.au_people - round(setup.au_people * setup.au_val) - round(setup.au_people * setup.au_test)
    others = setup.expression_people
    others -= round(others * setup.expression_val) + round(others * setup.expression_test)
    cost = f" A run took {np.median(seconds):.0f} s on one core (median)." if seconds else ""
    return (
        f"Setup: {train} people train action units and {others} other people train expressions. Each corpus has its "
        f"own test people. All variants train for {setup.epochs} epochs of {setup.steps_per_epoch} steps, and the "
        "final averaged weights are tested. They share one image tower (affectkit-tiny), pretrained on landmarks. "
        "Brackets show 95 % intervals by Student's t over seeds, for differences paired by seed."
        f"{cost} Setup id {setup.name}."
    )
