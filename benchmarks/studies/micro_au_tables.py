"""Turn the runs of the study of Micro-AU CLIP into tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from comparison import Row, compare, table, values, write
from harness import Runs, read_runs
from micro_au_setup import VARIANTS, Setup

from affectkit.facs import AUSet

METRICS = {
    "f1_val": "Mean F1 of the positive class, thresholds of validation people",
    "f1": "Mean F1 of the positive class at 0.5",
    "f1_macro2_val": "Mean F1 of both classes, thresholds of validation people",
    "f1_macro2": "Mean F1 of both classes at 0.5",
    "auc": "AUC",
    "rules_uar": "Emotions by FACS rules from the units, UAR",
}


def rows_of(runs: Runs) -> list[Row]:
    """One row for each metric and variant: mean, interval, and the full method minus it, paired over seeds."""
    titles = {name: variant.title for name, variant in VARIANTS.items()}
    rows = compare(runs, list(METRICS), titles, first="full", difference="full_minus_this")
    return [{**row, "kind": kind_of(row["variant"])} for row in rows]


def kind_of(variant: str) -> str:
    """What a row of the table is: "method", "ablation", "baseline" or "trivial"."""
    return VARIANTS[variant].kind if variant in VARIANTS else variant


def unit_rows(setup: Setup, runs: Runs) -> list[dict[str, Any]]:
    """F1 of each unit at thresholds of validation people, mean over seeds."""
    labels = AUSet.parse(setup.units).labels
    rows = []
    for name, variant in VARIANTS.items():
        found = {label: list(values(runs, f"f1_val/{label}", name).values()) for label in labels}
        if any(found.values()):
            rows.append(
                {"variant": name, "title": variant.title} | {k: float(np.mean(v)) for k, v in found.items()}
            )
    return rows


def write_tables(setup: Setup, folder: Path) -> str:
    """Write `micro_au.md`, `micro_au.csv` and `micro_au.json` beside the runs, and return the first."""
    runs = read_runs(setup, folder, list(VARIANTS))
    rows, units = rows_of(runs), unit_rows(setup, runs)
    text = as_markdown(setup, runs, rows, units)
    write(folder, "micro_au", text, setup, {"results": rows, "units": units})
    return text


def as_markdown(
    setup: Setup, runs: Runs, rows: Sequence[Mapping[str, Any]], units: Sequence[Mapping[str, Any]]
) -> str:
    """The tables and how they were made."""
    parts = [_about(setup, runs)]
    for metric, title in METRICS.items():
        parts.append(table(rows, metric, title, first="full", difference="full_minus_this"))
    labels = AUSet.parse(setup.units).labels
    by_unit = f"**F1 by unit, thresholds of validation people**\n\n| variant | {' | '.join(labels)} |"
    by_unit += "\n|" + " --- |" * (1 + len(labels))
    for row in units:
        by_unit += f"\n| {row['title']} | {' | '.join(f'{row[label]:.3f}' for label in labels)} |"
    parts.append(by_unit)
    return "\n\n".join(parts) + "\n"


def _about(setup: Setup, runs: Runs) -> str:
    seconds = [run["processor_seconds"]["all"] for found in runs.values() for run in found.values()]
    held_out = [round(setup.people * share) for share in (setup.val, setup.test)]
    cost = f" A run took {np.median(seconds):.0f} s on one core (median)." if seconds else ""
    return (
        f"Setup: rendered micro clips with {setup.size} × {setup.size} pixels and the action units of CASME II; "
        f"{setup.people - sum(held_out)} people for training, {held_out[0]} for selecting thresholds and {held_out[1]} "
        f"for testing, with {setup.clips} clips each. All variants train for {setup.epochs * setup.steps_per_epoch} "
        f"steps of {setup.batch} clips with the same sampling, and the final averaged weights are tested. The CLIP "
        "variants share one image tower (affectkit-tiny-patch8), pretrained on landmarks. The trivial baseline "
        "predicts every action unit as active; for the F1 of both classes and for emotions, it predicts the most "
        "frequent class. Brackets show 95 % intervals by Student's t over seeds, for differences paired by seed."
        f"{cost} Setup id {setup.name}."
    )
