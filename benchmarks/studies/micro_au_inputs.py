"""Options of Micro-AU CLIP (flow, patches, text tower), and what makes LED level with it: tower, frames or steps.

    python benchmarks/studies/micro_au_inputs.py --runs runs/studies/micro_au_inputs --jobs 2 --seeds 3

Pretraining and measures are those of the study `micro_au`, with fewer people and steps. A finished run is a JSON file
in the folder: stop at any time, start again, and only what is missing runs. The tables are written beside the runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import harness
import numpy as np
from comparison import Row, compare, table, write
from micro_au_inputs_setup import LEVEL, OPTIONS, InputsSetup
from micro_au_setup import Setup
from micro_au_tables import METRICS

TABLES = {"options": (OPTIONS, "full"), "level": (LEVEL, "full")}


def write_tables(setup: Setup, folder: Path) -> str:
    """Write `micro_au_inputs.md`, `.csv` and `.json` beside the runs, and return the first."""
    runs = harness.read_runs(setup, folder, list(setup.variants))
    parts, rows = [about(setup, runs)], {}
    for name, (variants, first) in TABLES.items():
        titles = {key: variant.title for key, variant in variants.items()}
        difference = f"{first}_minus_this"
        rows[name] = [
            over_people(row, runs)
            for row in compare(runs, list(METRICS), titles, first=first, difference=difference)
        ]
        parts += [table(rows[name], key, METRICS[key], first=first, difference=difference) for key in METRICS]
    text = "\n\n".join(parts) + "\n"
    write(folder, "micro_au_inputs", text, setup, rows)
    return text


def over_people(row: Row, runs: harness.Runs) -> Row:
    """A row, with the interval over people if there is one seed only."""
    if row["seeds"] > 1 or row["variant"] not in runs:
        return row
    (run,) = runs[row["variant"]].values()
    return row | {bound: run["results"].get(f"{row['metric']}_{bound}") for bound in ("low", "high")}


def about(setup: Setup, runs: harness.Runs) -> str:
    """How the tables were made."""
    seconds = [run["processor_seconds"]["all"] for found in runs.values() for run in found.values()]
    cost = f" A run took {np.median(seconds):.0f} s on one core (median)." if seconds else ""
    held_out = [round(setup.people * share) for share in (setup.val, setup.test)]
    return (
        f"Setup: as in the study `micro_au`, with {setup.people - sum(held_out)} people for training, {held_out[0]} "
        f"for selecting thresholds and {held_out[1]} for testing, and {setup.epochs * setup.steps_per_epoch} steps. "
        "Brackets show 95 % intervals by Student's t over seeds, for differences paired by seed; for one seed, over "
        f"test people.{cost} Setup id {setup.name}."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and write the tables."""

    def runner() -> Any:
        import micro_au_run

        return micro_au_run

    return harness.main(
        __file__,
        __doc__,
        lambda quick: InputsSetup.rehearsal() if quick else InputsSetup(),
        [*InputsSetup().variants],
        runner=runner,
        write_tables=write_tables,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
