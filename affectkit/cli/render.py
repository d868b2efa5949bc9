"""`affectkit data render`: render a corpus of synthetic faces with exact labels."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Render a corpus, or say that it is there already."""
    parser = argparse.ArgumentParser(
        prog="affectkit data render",
        description="Render face clips from a FACS rig: exact AU intensities, expressions and 68 landmarks.",
    )
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    parser.add_argument(
        "--identities", type=int, default=40, help="people, each in one split only (default: 40)"
    )
    parser.add_argument("--clips", type=int, default=7, help="clips a person (default: 7)")
    parser.add_argument("--frames-per-clip", type=int, default=16, help="length of a clip (default: 16)")
    parser.add_argument("--size", type=int, default=112, help="side of a frame in pixels (default: 112)")
    parser.add_argument(
        "--regime", choices=("macro", "micro", "varied"), default="macro", help="kind of movements"
    )
    parser.add_argument("--media", choices=("video", "frames"), default="video", help="how frames are stored")
    parser.add_argument(
        "--association",
        type=Path,
        metavar="CSV",
        help="P(unit | expression) instead of that of FACS: expression,AU1,AU2,… and a row for each expression",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes; the result does not depend on it")
    options = vars(parser.parse_args(args))
    from affectkit.synth import render_corpus

    root = render_corpus(options.pop("output"), num_workers=options.pop("workers"), **options)
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    people = ", ".join(f"{len(names)} {split}" for split, names in manifest["subjects"].items())
    print(
        f"{root}: {manifest['num_clips']} rendered clips, {manifest['num_frames']} frames; people: {people}"
    )
    print("occurrence: " + ", ".join(f"{unit} {rate:.2f}" for unit, rate in manifest["prevalence"].items()))
    print(f"best expression UAR that the true action units allow: {manifest['expression_uar_ceiling']:.3f}")
    return 0
