"""`affectkit report`: a table of predictions as a page, a video with overlay, or figures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from affectkit.cli.arguments import add_shared, make_parser, print_notes, progress, refuse_options, writing
from affectkit.cli.parser import path_or_uri
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.inference.pictures.clip_table import ClipTable

__all__ = ["KINDS", "run"]

KINDS = ("page", "overlay", "timeline")
_ONLY = {  # options of some kinds
    ("page",): ("title", "embed", "embed_limit", "no_video"),
    ("overlay",): ("height", "no_sound"),
    ("timeline",): ("face",),
    ("page", "overlay"): ("input", "draw"),
}
_EPILOG = """\
the suffix of --output chooses the kind:
  .html                a page: video and values move together, without a network
  .mp4, .mov, .mkv     an overlay: the video with face boxes, bars of action units and expressions
  .svg, .pdf           a timeline: action units, intensities and expressions over time, a figure for each face; of a
                       photo, a bar chart
  .png                 a timeline; of a photo, an overlay
  .jpg, .webp, …       an overlay of a photo

For the report of a training run, see the output folder of `affectkit demo`.
"""


def run(args: Sequence[str]) -> int:
    """Write the report."""
    description = "Draw a table of predictions: one HTML page, its video with an overlay, or figures."
    parser = make_parser("report", description, _EPILOG)
    add = parser.add_argument
    add(
        "table",
        type=path_or_uri,
        metavar="TABLE",
        help="table of `affectkit predict`, or a CSV file of OpenFace; or its URI, such as s3://bucket/talk.csv",
    )
    add("--output", required=True, type=Path, metavar="FILE", help="file to write, such as report.html")
    add("--as", dest="kind", choices=KINDS, help="the kind (default: by the suffix of --output)")
    add(
        "--input",
        type=Path,
        metavar="MEDIA",
        help="photo, video or folder of frames (default: that of the table)",
    )
    add(
        "--draw",
        type=_parts,
        default=(),
        metavar="PART,...",
        help="draw `mesh` (68 landmarks), `gaze` or `pose` onto the faces of a page or an overlay, from columns of the "
        "table; separate several by commas",
    )
    add_shared(parser, "--backend", "--quiet")
    add = parser.add_argument_group("page").add_argument
    add("--title", help="heading (default: the name of the video)")
    add(
        "--embed",
        choices=("auto", "always", "never"),
        default="auto",
        help="put the video into the page: if it is small, always, or never: then it is linked",
    )
    add("--embed-limit", type=float, metavar="MB", help="largest small video (default: 8)")
    add("--no-video", action="store_true", help="timelines only, for pages that must not show the person")
    add = parser.add_argument_group("overlay").add_argument
    add("--height", type=int, metavar="PIXELS", help="of the result (default: the video's, from 480 to 1080)")
    add("--no-sound", action="store_true", help="leave the sound out")
    add = parser.add_argument_group("timeline").add_argument
    add("--face", type=int, metavar="N", help="only this identity (default: all, one figure each)")
    options = parser.parse_args(args)
    clip = _open(options.table)
    kind = options.kind or _kind(options.output, clip)
    unused = [name for kinds, names in _ONLY.items() if kind not in kinds for name in names]
    refuse_options(parser, options, unused, f"--as {kind}")
    write = {"page": _write_page, "overlay": _write_overlay, "timeline": _write_timelines}[kind]
    write(clip, options)
    return 0


def _open(table: Path | str) -> ClipTable:
    """Read a table, or a copy of one in object storage."""
    from affectkit.inference.pictures.clip_table import ClipTable
    from affectkit.inference.table_store import TableStore

    if isinstance(table, Path):
        return ClipTable(table)
    store = TableStore(table)
    store.fetch([store.output])
    try:
        return ClipTable(store.output)
    finally:
        store.release([store.output])


def _parts(text: str) -> tuple[str, ...]:
    """Parts to draw, separated by commas."""
    return tuple(part.strip() for part in text.split(","))


def _kind(output: Path, clip: ClipTable) -> str:
    """Kind of report for a file name."""
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
        remedy="Use the suffix .html, .mp4, .svg, .pdf or .png.",
    )


def _media_of(clip: ClipTable, given: Path | None) -> Path | None:
    """Return the given media, or else that of the table; None if it does not exist."""
    if given is not None:
        from affectkit.inference.sources import expand_inputs

        files = expand_inputs([given])
        if len(files) > 1:
            raise ConfigError(f"{len(files)} files match this pattern.", path=given, remedy="Give one file.")
        return files[0]
    return Path(clip.source) if clip.source is not None and Path(clip.source).exists() else None


def _write_page(clip: ClipTable, options: argparse.Namespace) -> None:
    from affectkit.inference.reports.clip_report import write_clip_report
    from affectkit.inference.reports.page_media import EMBED_MB
    from affectkit.inference.wording import counted, printable

    video = None if options.no_video else _media_of(clip, options.input)
    with writing(options.output), progress(options.output.name, quiet=options.quiet) as advance:
        page = write_clip_report(
            clip,
            options.output,
            video=video,
            draw=options.draw,
            title=options.title,
            embed=options.embed,
            limit_mb=EMBED_MB if options.embed_limit is None else options.embed_limit,
            backend=options.backend,
            progress=advance,
        )
    linked = f"; it needs {unquote(page.media.href)} in its folder" if page.media and page.media.href else ""
    print(printable(f"{page.path}: {counted(len(clip), 'frame')}{linked}"))
    if video is None and clip.source is not None and not options.no_video:
        print_notes(
            f"the media {clip.source!r} does not exist, so the page has timelines only; give it with --input"
        )
    print_notes(page.media.note if page.media else None, *page.notes, clip.caution)


def _write_overlay(clip: ClipTable, options: argparse.Namespace) -> None:
    from affectkit.inference.pictures.overlay import write_overlay
    from affectkit.inference.wording import counted, printable

    media = _media_of(clip, options.input)
    if media is None:
        fault = "names no media" if clip.source is None else f"names {clip.source!r}, which does not exist"
        raise ConfigError(f"The table {fault}.", path=clip.path, remedy="Give the media with --input.")
    with writing(options.output), progress(options.output.name, quiet=options.quiet) as advance:
        video = write_overlay(
            clip,
            media,
            options.output,
            height=options.height,
            draw=options.draw,
            sound=not options.no_sound,
            backend=options.backend,
            progress=advance,
        )
    size = f"{video.width} x {video.height} pixels"
    print(printable(f"{video.path}: {counted(video.frames, 'frame')}, {size}, {video.codec}"))
    print_notes(*video.notes, clip.caution)


def _write_timelines(clip: ClipTable, options: argparse.Namespace) -> None:
    from affectkit.inference.pictures.timeline import write_timelines

    with writing(options.output):
        written = write_timelines(clip, options.output, face=options.face)
    print(*written, sep="\n")
    print_notes(*clip.notes, clip.caution)
