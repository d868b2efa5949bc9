"""`affectkit data prepare`: aligned face crops of a corpus, made once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from affectkit.cli.data import add_option, open_dataset, read_options
from affectkit.errors import VideoError

if TYPE_CHECKING:
    from affectkit.faces import FaceDetector

__all__ = ["run"]

_DESCRIPTION = """\
Align, crop and compress every frame of a corpus into Arrow files. A recipe reads them with
`--data.prepared OUTPUT` instead of the media and trains several times faster; labels, splits and folds
are still read from ROOT. The originals are only read. A run that was interrupted or killed goes on
with the same command; finished files are kept.
"""
_EPILOG = """\
how the face is found (--crop):
  auto       by the landmarks that come with the corpus, and by the detector in frames without
  landmarks  by the landmarks alone
  detect     by the detector alone
  none       the whole frame, smaller where it is larger than --size: the default of corpora whose pictures
             come cropped already; that of all others is auto
  center     the centred square of each frame
  x,y,w,h    a box in pixels, the same in all frames

Micro-expression clips get one place each, that of their onset: aligning every frame would hide the
movement. Frames that cannot be read or show no face are listed in OUTPUT/failed.csv.
"""
_SHOWN = 5  # reasons for failed frames


def run(args: Sequence[str]) -> int:
    """Prepare a corpus, or go on with it."""
    from affectkit.datasets import corpora

    parser = argparse.ArgumentParser(
        prog="affectkit data prepare",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", help=", ".join(corpora()))
    parser.add_argument("root", type=Path, help="folder of the corpus, as distributed")
    parser.add_argument(
        "--output",
        required=True,
        help="folder to write, or the URI of one: file://…, s3://…, gs://…, hdfs://…",
    )
    parser.add_argument("--size", type=int, default=256, help="side of a picture in pixels (default: 256)")
    parser.add_argument("--crop", help="how the face is found, see below (default: as the corpus says)")
    parser.add_argument(
        "--detector",
        default="centerface",
        choices=("centerface", "none"),
        help="what finds faces (default: centerface)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=0.15,
        help="added around an aligned face at each side, as a share of the picture's side (default: 0.15)",
    )
    parser.add_argument(
        "--fill",
        type=int,
        default=12,
        help="a frame without a face takes the place of the nearest one with a face, at most so many frames "
        "away; 0 leaves it out (default: 12)",
    )
    parser.add_argument(
        "--codec",
        default="jpeg",
        choices=("jpeg", "png", "webp"),
        help="how pictures are compressed; png loses nothing (default: jpeg)",
    )
    parser.add_argument("--quality", type=int, default=95, help="1 to 100, of jpeg and webp (default: 95)")
    parser.add_argument(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        help="processes; 0 works in this one (default: %(default)s, the processors there are)",
    )
    parser.add_argument(
        "--engine",
        default="processes",
        choices=("processes", "ray"),
        help="ray: --workers on a cluster (RAY_ADDRESS) whose machines all see root and output, or on this one",
    )
    parser.add_argument("--shard-frames", type=int, default=1024, help="frames a file, about (default: 1024)")
    add_option(parser, "of the dataset, such as camera=right or media=preview")
    parser.add_argument("--retry", action="store_true", help="make files with failed frames again")
    parser.add_argument(
        "--verify", action="store_true", help="compare all files with their checksums at the end"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(args)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from affectkit.data.shards import CropShards
    from affectkit.datasets.preparing import prepare

    dataset = open_dataset(options.corpus.lower(), options.root, read_options(options.option))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=options.quiet, transient=True) as bar:
        task = bar.add_task(f"{dataset.name}, frames", total=None)
        done = prepare(
            dataset,
            options.output,
            detector=_detector(options.detector, options.crop or dataset.crop),
            **{
                name: getattr(options, name)
                for name in (
                    "size",
                    "crop",
                    "margin",
                    "codec",
                    "quality",
                    "fill",
                    "workers",
                    "shard_frames",
                    "engine",
                    "retry",
                )
            },
            progress=lambda count, total: bar.update(task, completed=count, total=total),
        )
    if options.verify:
        CropShards(options.output).verify()
    print(
        f"{done.location}: {done.frames - done.failed} crops of {done.clips} clips in {done.shards} files "
        f"({done.made} made now); {done.failed} frames failed"
        + (", all checksums hold" if options.verify else "")
    )
    for reason, count in list(done.reasons.items())[:_SHOWN]:
        print(f"  {count} × {reason}")
    if done.failed:
        print(f"failed frames: {done.location.rstrip('/')}/failed.csv; mend them and run again with --retry")
    if done.failed == done.frames:
        raise VideoError(
            "Not one frame gave a crop.",
            path=options.root,
            remedy="See failed.csv; check --crop and the media.",
        )
    print(f"train with it: affectkit fit --config RECIPE --data.prepared {done.location}")
    return 0


def _detector(name: str, crop: str) -> FaceDetector | None:
    """The detector, where one is needed."""
    from affectkit.faces import CenterFace

    if name == "none" or crop not in ("auto", "detect"):
        return None
    return CenterFace()
