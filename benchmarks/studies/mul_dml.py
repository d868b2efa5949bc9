"""Does a threshold for each slice help? Multi-threshold metric learning against single thresholds, on rendered faces.

    python benchmarks/studies/mul_dml.py --runs runs/studies/mul_dml

Expressions come from a table with two near pairs of classes, which share all units but one. Every variant trains the
same small network on the same draws of the same people and is tested on people nobody saw. The last rows ask how often
batch-hard mining collapses at a large threshold and rate. All runs are made in one process; a finished run is a JSON
file in the folder, with its embeddings beside it: stop at any time, start again, and only what is missing runs. Tables
and a figure are written beside the runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from harness import run_file
from mul_dml_setup import VARIANTS, Setup
from mul_dml_tables import write_tables


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = Path("runs/studies/mul_dml")
    parser.add_argument("--runs", type=Path, default=folder, help=f"folder of everything (default: {folder})")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--collapse-seeds", type=int, default=10, help="seeds of the runs on collapse")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument(
        "--quick", action="store_true", help="a rehearsal in a minute; its numbers mean nothing"
    )
    options = parser.parse_args(arguments)
    setup = Setup.rehearsal() if options.quick else Setup()
    (options.runs / setup.name).mkdir(parents=True, exist_ok=True)
    wanted = [
        (name, seed)
        for seed in range(max(options.seeds, options.collapse_seeds))
        for name in options.variants
        if seed < (options.collapse_seeds if VARIANTS[name].collapse else options.seeds)
    ]
    missing = [run for run in wanted if not run_file(setup, options.runs, *run).is_file()]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are there", flush=True)
    if missing:
        import mul_dml_run

        mul_dml_run.run_all(setup, options.runs, missing)
    print(write_tables(setup, options.runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
