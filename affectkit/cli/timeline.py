"""`affectkit timeline`: predictions over time as figures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from affectkit.cli.pictures import writing

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Draw the figures."""
    parser = argparse.ArgumentParser(
        prog="affectkit timeline",
        description="Action units, intensities and expressions over time: a figure for each face.",
    )
    parser.add_argument("table", type=Path, metavar="TABLE", help="what `affectkit predict` has written")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FIGURE", help="figure to write: .png, .svg or .pdf"
    )
    parser.add_argument(
        "--face", type=int, metavar="N", help="this identity only (default: all, one figure each)"
    )
    options = parser.parse_args(args)
    from affectkit.inference.pictures.timeline import write_timelines

    with writing(options.out):
        written = write_timelines(options.table, options.out, face=options.face)
    for path in written:
        print(path)
    return 0
