"""`affectkit overlay`: a video with its predictions drawn in."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from affectkit.cli.pictures import add_media, needed_media, progress, say, writing

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Draw the overlay."""
    parser = argparse.ArgumentParser(
        prog="affectkit overlay",
        description="A video with face boxes, bars of action units and expressions; of a photo, a picture.",
    )
    add_media(parser)
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="VIDEO",
        help="what to write: .mp4, .mov, .mkv; of a photo also .png",
    )
    parser.add_argument(
        "--height", type=int, metavar="PIXELS", help="of the result (default: the video's, from 480 to 1080)"
    )
    parser.add_argument("--no-sound", action="store_true", help="leave the sound out")
    options = parser.parse_args(args)
    from affectkit.inference.pictures.clip_table import ClipTable
    from affectkit.inference.pictures.overlay import write_overlay
    from affectkit.inference.wording import counted, printable

    clip = ClipTable(options.table)
    with writing(options.out), progress(options.out.name, quiet=options.quiet) as advance:
        made = write_overlay(
            clip,
            needed_media(clip, options.video),
            options.out,
            height=options.height,
            sound=not options.no_sound,
            backend=options.backend,
            progress=advance,
        )
    size = f"{made.width} x {made.height} pixels"
    print(printable(f"{made.path}: {counted(made.frames, 'frame')}, {size}, {made.codec}"))
    say([*made.notes, clip.warning])
    return 0
