"""Leaderboard of all methods on rendered faces, cell by cell.

    python benchmarks/leaderboard                          # run what is missing, and write docs/leaderboard.md
    python benchmarks/leaderboard --cell micro/aullm       # only this cell
    python benchmarks/leaderboard --cell micro/aullm --again   # repeat it and compare with the recorded numbers
    python benchmarks/leaderboard --page                   # only write docs/leaderboard.md

A cell is a file in `results/` with one run per seed. Stop at any time: runs that are recorded are not repeated, unless
a recipe of the cell has changed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from board import RESULTS, SEEDS, cells, settings
from scores import load, save


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and write the page; returns 1 if a repeated run differs."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/leaderboard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ["/".join(cell) for cell in cells()]
    parser.add_argument(
        "--cell", nargs="+", choices=names, default=names, metavar="TRACK/METHOD", help="only these"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(SEEDS)), help="only these seeds")
    parser.add_argument("--again", action="store_true", help="repeat recorded runs and compare them")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after this time")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--folder", type=Path, default=Path("runs/leaderboard"), help="folder of the corpora")
    options = parser.parse_args(arguments)
    failed = False
    if not options.page:
        chosen = [tuple(cell.split("/")) for cell in options.cell]
        failed = run(chosen, options)
    from page import write_page

    print(write_page())
    return int(failed)


def run(chosen: Sequence[tuple[str, ...]], options: argparse.Namespace) -> bool:
    """Run cells one after the other; returns whether a repeated run differs."""
    start, differs = time.monotonic(), False
    repeated: set[tuple[str, str, int]] = set()
    for track, method in chosen:
        for seed in options.seeds:
            cell = recorded(track, method)
            known = {one["seed"] for one in cell["runs"]}
            if (track, method, seed) in repeated or (seed in known and not options.again):
                continue
            if time.monotonic() - start > 60 * options.minutes:
                return differs
            import fitting

            begun = time.process_time()
            found = fitting.train(track, method, seed, options.folder.resolve())
            seconds = time.process_time() - begun
            for name, one in found.items():
                repeated.add((name, method, seed))
                verdict = record(name, method, one)
                differs |= verdict == "DIFFERS"
                print(
                    f"{name}/{method} seed {seed}: {one['value']:.4f} {verdict}, {seconds:.0f} s", flush=True
                )
    return differs


def recorded(track: str, method: str) -> dict[str, Any]:
    """The cell as recorded; empty if there is none by the present recipes."""
    cell = load(RESULTS).get((track, method))
    now = settings(track, method)
    return cell if cell is not None and cell["settings"] == now else {"settings": now, "runs": []}


def record(track: str, method: str, run: dict[str, Any]) -> str:
    """Add a run to its cell, or compare it with the recorded one."""
    cell = recorded(track, method)
    old = next((one for one in cell["runs"] if one["seed"] == run["seed"]), None)
    common = {name: run.pop(name) for name in ("space", "people", "parameters")}
    if old is not None:
        same = all(old[name] == run[name] for name in ("value", "counts"))
        return "as recorded" if same else "DIFFERS"
    save(RESULTS, track, method, {**cell, **common, "runs": [*cell["runs"], run]})
    return "recorded"


if __name__ == "__main__":
    sys.exit(main())
