"""`affectkit data render`: a corpus of synthetic faces with exact labels."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from affectkit.cli.arguments import add_shared

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Render a corpus, or report an existing one."""
    parser = argparse.ArgumentParser(
        prog="affectkit data render",
        description="Render face clips from a FACS rig: exact AU intensities, expressions and 68 landmarks.",
    )
    add = parser.add_argument
    add("--output", required=True, type=Path, help="folder to write")
    add("--identities", type=int, default=40, help="people, each in one split only (default: 40)")
    add("--clips", type=int, default=7, help="clips per person (default: 7)")
    add("--frames-per-clip", type=int, default=16, help="length of a clip (default: 16)")
    add("--size", type=int, default=112, help="side of a frame in pixels (default: 112)")
    add("--regime", choices=("macro", "micro"), default="macro", help="amplitude of expressions")
    add("--media", choices=("video", "frames"), default="video", help="storage of frames")
    add(
        "--association",
        type=Path,
        metavar="CSV",
        help="P(unit | expression) instead of that of FACS: expression,AU1,AU2,… and a row for each expression",
    )
    add_shared(parser, "--seed")
    add("--workers", type=int, default=2, help="processes; they do not affect the result")
    options = vars(parser.parse_args(args))
    from affectkit.synth import render_corpus

    root = render_corpus(options.pop("output"), num_workers=options.pop("workers"), **options)
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    people = ", ".join(f"{len(names)} {split}" for split, names in manifest["subjects"].items())
    print(
        f"{root}: {manifest['num_clips']} rendered clips, {manifest['num_frames']} frames; people: {people}"
    )
    print("occurrence: " + ", ".join(f"{unit} {rate:.2f}" for unit, rate in manifest["prevalence"].items()))
    print(
        f"best expression UAR possible from the true action units: {manifest['expression_uar_ceiling']:.3f}"
    )
    return 0
