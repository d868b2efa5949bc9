"""Does SSM help? Joint learning against single tasks and ablations on rendered faces, run by run.

    python benchmarks/studies/ssm.py --runs runs/studies/ssm --jobs 2

Corpus A annotates only action units, on the frames of few people; corpus B only expressions, on the clips of many
others. Every variant trains for the same number of steps on the same draws; nothing is chosen by looking at test
people. A finished run is a JSON file in the folder: stop at any time, start again, and only what is missing runs.
The tables are written beside the runs as Markdown, CSV and JSON.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from ssm_setup import VARIANTS, Setup, finished
from ssm_tables import write_tables


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/studies/ssm"), help="folder of everything")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, of one thread each")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument(
        "--quick", action="store_true", help="a rehearsal in a minute; its numbers mean nothing"
    )
    parser.add_argument("--single", nargs=2, metavar=("VARIANT", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    setup = Setup.rehearsal() if options.quick else Setup()
    options.runs.mkdir(parents=True, exist_ok=True)
    if options.single:
        from ssm_run import run_single

        run_single(setup, options.runs, options.single[0], int(options.single[1]))
        return 0
    wanted = [(variant, seed) for seed in range(options.seeds) for variant in options.variants]
    missing = [
        (variant, seed) for variant, seed in wanted if not finished(setup, options.runs, variant, seed)
    ]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are there")
    if missing:
        from ssm_run import prepare

        prepare(setup, options.runs, sorted({seed for _, seed in missing}), options.jobs)
    failed = run_all(missing, options.runs, options.jobs, quick=options.quick)
    print(write_tables(setup, options.runs))
    return 1 if failed else 0


def run_all(runs: Sequence[tuple[str, int]], folder: Path, jobs: int, *, quick: bool) -> int:
    """Run each in a process of one thread, `jobs` at a time; returns how many failed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    waiting, failed = list(runs), 0
    active: dict[subprocess.Popen[str], tuple[str, int, float]] = {}
    while waiting or active:
        while waiting and len(active) < jobs:
            variant, seed = waiting.pop(0)
            command = [sys.executable, __file__, "--runs", str(folder), "--single", variant, str(seed)]
            log = (folder / f"{variant}-{seed}.log").open("w", encoding="utf-8")
            process = subprocess.Popen(
                [*command, *(["--quick"] if quick else [])],
                env=environment,
                stdout=log,
                stderr=log,
                text=True,
            )
            active[process] = (variant, seed, time.monotonic())
        for process in [process for process in active if process.poll() is not None]:
            variant, seed, start = active.pop(process)
            failed += process.returncode != 0
            what = "done" if process.returncode == 0 else f"FAILED, see {variant}-{seed}.log"
            left = len(waiting) + len(active)
            print(
                f"{variant} seed {seed}: {what} in {time.monotonic() - start:.0f} s; {left} left", flush=True
            )
        time.sleep(0.2)
    return failed


if __name__ == "__main__":
    sys.exit(main())
