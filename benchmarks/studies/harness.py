"""What studies share: runs that are made one by one and never twice."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Runs = dict[str, dict[int, dict[str, Any]]]


def main(
    script: str,
    description: str | None,
    setup: Callable[[bool], Any],
    variants: Sequence[str],
    *,
    runner: Callable[[], Any],
    write_tables: Callable[[Any, Path], str],
    arguments: Sequence[str] | None = None,
) -> int:
    """The command line of a study: run what is missing and write the tables.

    Args:
        script: The study's own file, started again for every run; its stem names the study.
        description: Help text.
        setup: From "is this a rehearsal" to the settings, which have a `name`.
        variants: Names of the rows of the table.
        runner: Imports and returns the module with `prepare` and `run_single`, which is slow.
        write_tables: From settings and folder to the text of the tables, which it writes.
        arguments: Of the command line.

    Returns:
        0, or 1 where a run failed.
    """
    study = Path(script).stem
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = Path("runs/studies") / study
    parser.add_argument("--runs", type=Path, default=folder, help=f"folder of everything (default: {folder})")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, of one thread each")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--variants", nargs="+", choices=variants, default=list(variants))
    parser.add_argument(
        "--quick", action="store_true", help="a rehearsal in a minute; its numbers mean nothing"
    )
    parser.add_argument("--single", nargs=2, metavar=("VARIANT", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    settings = setup(options.quick)
    options.runs.mkdir(parents=True, exist_ok=True)
    if options.single:
        runner().run_single(settings, options.runs, options.single[0], int(options.single[1]))
        return 0
    wanted = [(variant, seed) for seed in range(options.seeds) for variant in options.variants]
    missing = [run for run in wanted if not run_file(settings, options.runs, *run).is_file()]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are there", flush=True)
    if missing:
        runner().prepare(settings, options.runs, sorted({seed for _, seed in missing}), options.jobs)
    failed = run_all(script, missing, options.runs, options.jobs, quick=options.quick)
    print(write_tables(settings, options.runs))
    return 1 if failed else 0


def run_file(setup: Any, folder: Path, variant: str, seed: int) -> Path:
    """Where a run's numbers are written: runs of other settings are not mixed with these."""
    path: Path = folder / setup.name / f"{variant}-{seed}.json"
    return path


def write_run(setup: Any, folder: Path, content: Mapping[str, Any]) -> None:
    """Write what came out of a run, all of it or nothing."""
    path = run_file(setup, folder, content["variant"], content["seed"])
    unfinished = path.with_suffix(".partial")
    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)


def run_all(script: str, runs: Sequence[tuple[str, int]], folder: Path, jobs: int, *, quick: bool) -> int:
    """Run each in a process of one thread, `jobs` at a time; returns how many failed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    waiting, failed = list(runs), 0
    active: dict[subprocess.Popen[str], tuple[str, int, float]] = {}
    while waiting or active:
        while waiting and len(active) < jobs:
            variant, seed = waiting.pop(0)
            command = [sys.executable, script, "--runs", str(folder), "--single", variant, str(seed)]
            if quick:
                command.append("--quick")
            with (folder / f"{variant}-{seed}.log").open("w", encoding="utf-8") as log:
                process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True)
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


def read_runs(setup: Any, folder: Path, variants: Sequence[str]) -> Runs:
    """By variant and seed, what the finished runs of this setup wrote."""
    runs: Runs = {name: {} for name in variants}
    for path in sorted((folder / setup.name).glob("*-*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        runs[content["variant"]][content["seed"]] = content
    return runs
