"""`affectkit report`: a table of predictions to look at, as a page, as a video with overlay, or as figures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from affectkit.cli.arguments import check_choice
from affectkit.cli.pictures import media_of, needed_media, progress, say, writing
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.inference.pictures.clip_table import ClipTable

__all__ = ["KINDS", "run"]

KINDS = ("page", "overlay", "timeline")
_ONLY = {  # by kind, the options that mean nothing to others
    ("page",): ("title", "embed", "embed_limit", "no_video"),
    ("overlay",): ("height", "no_sound"),
    ("timeline",): ("face",),
    ("page", "overlay"): ("input",),
}
_EPILOG = """\
what --output ends in chooses the kind:
  .html                a page: video and values move together, without a network
  .mp4, .mov, .mkv     an overlay: the video with face boxes, bars of action units and expressions
  .svg, .pdf           a timeline: action units, intensities and expressions over time, a figure for each face
  .png                 a timeline; of a photo, an overlay
  .jpg, .webp, …       an overlay of a photo

The report of a training run is not written here: `affectkit demo` leaves it in its folder.
"""


def run(args: Sequence[str]) -> int:
    """Write the report."""
    parser = argparse.ArgumentParser(
        prog="affectkit report",
        description="Draw a table of predictions: one HTML page, its video with an overlay, or figures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "table",
        type=Path,
        metavar="TABLE",
        help="what `affectkit predict` has written, or a CSV file of OpenFace",
    )
    add("--output", required=True, type=Path, metavar="FILE", help="what to write, such as report.html")
    add("--as", dest="kind", choices=KINDS, help="the kind (default: by what --output ends in)")
    add(
        "--input",
        type=Path,
        metavar="MEDIA",
        help="photo, video or folder of frames that the table was made from (default: what the table names)",
    )
    add("--backend", default="auto", choices=("auto", "pyav", "decord"), help="video reader")
    add("--quiet", action="store_true", help="no progress bar")
    page = parser.add_argument_group("page")
    page.add_argument("--title", help="heading (default: the name of the video)")
    page.add_argument(
        "--embed",
        choices=("auto", "always", "never"),
        default="auto",
        help="put the video into the page: where it is small (default), always, or never: then it is linked",
    )
    page.add_argument("--embed-limit", type=float, metavar="MB", help="what counts as small (default: 8)")
    page.add_argument(
        "--no-video", action="store_true", help="timelines only, for pages that may not show the person"
    )
    overlay = parser.add_argument_group("overlay")
    overlay.add_argument(
        "--height", type=int, metavar="PIXELS", help="of the result (default: the video's, from 480 to 1080)"
    )
    overlay.add_argument("--no-sound", action="store_true", help="leave the sound out")
    timeline = parser.add_argument_group("timeline")
    timeline.add_argument(
        "--face", type=int, metavar="N", help="this identity only (default: all, one figure each)"
    )
    options = parser.parse_args(args)
    from affectkit.inference.pictures.clip_table import ClipTable

    clip = ClipTable(options.table)
    kind = options.kind or _kind(options.output, clip)
    check_choice(parser, options, _ONLY, "as", kind)
    write = {"page": _write_page, "overlay": _write_overlay, "timeline": _write_timelines}[kind]
    write(clip, options)
    return 0


def _kind(output: Path, clip: ClipTable) -> str:
    """What a name asks for."""
    from affectkit.data.video import IMAGE_SUFFIXES
    from affectkit.inference.pictures.timeline import SUFFIXES as FIGURES

    suffix = output.suffix.lower()
    if suffix in (".html", ".htm"):
        return "page"
    if suffix in FIGURES and not (suffix in IMAGE_SUFFIXES and len(clip) == 1):
        return "timeline"
    if suffix in {".mp4", ".mov", ".mkv", *IMAGE_SUFFIXES}:
        return "overlay"
    raise ConfigError(
        f"{output.name!r} names no page, video or figure.",
        remedy="Use a name that ends in .html, .mp4, .svg, .pdf or .png.",
    )


def _write_page(clip: ClipTable, options: argparse.Namespace) -> None:
    from affectkit.inference.reports.clip_report import write_clip_report
    from affectkit.inference.reports.page_media import EMBED_MB
    from affectkit.inference.wording import counted, printable

    video = None if options.no_video else media_of(clip, options.input)
    with writing(options.output), progress(options.output.name, quiet=options.quiet) as advance:
        made = write_clip_report(
            clip,
            options.output,
            video=video,
            title=options.title,
            embed=options.embed,
            limit_mb=EMBED_MB if options.embed_limit is None else options.embed_limit,
            backend=options.backend,
            progress=advance,
        )
    beside = f"; it needs {unquote(made.media.href)} beside it" if made.media and made.media.href else ""
    print(printable(f"{made.path}: {counted(len(clip), 'frame')}{beside}"))
    if video is None and clip.source is not None and not options.no_video:
        say(
            [
                f"the table's media {clip.source!r} is not there, so the page has timelines only; "
                "give it with --input"
            ]
        )
    say([*([made.media.note] if made.media and made.media.note else []), *made.notes, clip.warning])


def _write_overlay(clip: ClipTable, options: argparse.Namespace) -> None:
    from affectkit.inference.pictures.overlay import write_overlay
    from affectkit.inference.wording import counted, printable

    with writing(options.output), progress(options.output.name, quiet=options.quiet) as advance:
        made = write_overlay(
            clip,
            needed_media(clip, options.input),
            options.output,
            height=options.height,
            sound=not options.no_sound,
            backend=options.backend,
            progress=advance,
        )
    size = f"{made.width} x {made.height} pixels"
    print(printable(f"{made.path}: {counted(made.frames, 'frame')}, {size}, {made.codec}"))
    say([*made.notes, clip.warning])


def _write_timelines(clip: ClipTable, options: argparse.Namespace) -> None:
    from affectkit.inference.pictures.timeline import write_timelines

    with writing(options.output):
        written = write_timelines(clip, options.output, face=options.face)
    for path in written:
        print(path)
    say(clip.notes)
