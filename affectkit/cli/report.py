"""`affectkit report`: a table of predictions and its video as one HTML page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from affectkit.cli.pictures import add_media, media_of, progress, say, writing

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(
        prog="affectkit report",
        description="One HTML page for a clip: video and values move together, without a network.",
        epilog="The report of a training run is not written here: `affectkit demo` leaves it in its folder.",
    )
    add_media(parser)
    parser.add_argument(
        "--out", required=True, type=Path, metavar="PAGE", help="page to write, such as report.html"
    )
    parser.add_argument("--title", help="heading (default: the name of the video)")
    parser.add_argument(
        "--embed",
        choices=("auto", "always", "never"),
        default="auto",
        help="put the video into the page: where it is small (default), always, or never: then it is linked",
    )
    parser.add_argument("--embed-limit", type=float, metavar="MB", help="what counts as small (default: 8)")
    parser.add_argument(
        "--no-video", action="store_true", help="timelines only, for pages that may not show the person"
    )
    options = parser.parse_args(args)
    from affectkit.inference.pictures.clip_table import ClipTable
    from affectkit.inference.reports.clip_report import write_clip_report
    from affectkit.inference.reports.page_media import EMBED_MB
    from affectkit.inference.wording import counted, printable

    clip = ClipTable(options.table)
    video = None if options.no_video else media_of(clip, options.video)
    with writing(options.out), progress(options.out.name, quiet=options.quiet) as advance:
        made = write_clip_report(
            clip,
            options.out,
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
                f"the table's media {clip.source!r} is not there, so the page has timelines only; give it with --video"
            ]
        )
    say([*([made.media.note] if made.media and made.media.note else []), *made.notes, clip.warning])
    return 0
