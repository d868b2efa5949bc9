"""`affectkit data prepare`: aligned face crops of a corpus, made once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from affectkit.cli.arguments import add_shared, progress_bar, read_options
from affectkit.cli.data import open_dataset
from affectkit.errors import VideoError

__all__ = ["run"]

_DESCRIPTION = """\
Align, crop and compress every frame of a corpus into Arrow files. A recipe reads them with
`--data.prepared OUTPUT` instead of the media and trains several times faster; labels, splits and folds
are still read from ROOT. The originals are only read. To continue an interrupted or killed run, repeat
its command; finished files are kept.
"""
_EPILOG = """\
how the face is found (--crop):
  auto       by the landmarks of the corpus, and by the detector in frames without
  landmarks  by the landmarks only
  detect     by the detector only
  none       the whole frame, reduced if larger than --size: the default of corpora with cropped
             pictures; that of all others is auto
  center     the centred square of each frame
  x,y,w,h    a box in pixels, the same in all frames

Micro-expression clips have one place each, that of their onset, because aligning every frame would
hide the movement. Frames that cannot be read or show no face are listed in OUTPUT/failed.csv.
"""
_SETTINGS = (
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
_SHOWN = 5  # reasons for failed frames


def run(args: Sequence[str]) -> int:
    """Prepare a corpus, or continue."""
    from affectkit.datasets import corpora

    parser = argparse.ArgumentParser(
        prog="affectkit data prepare",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("corpus", help=", ".join(corpora()))
    add("root", type=Path, help="folder of the corpus, as distributed")
    add("--output", required=True, help="folder to write, or its URI: file://…, s3://…, gs://…, hdfs://…")
    add("--size", type=int, default=256, help="side of a picture in pixels (default: 256)")
    add("--crop", help="how the face is found, see below (default: that of the corpus)")
    add("--detector", default="centerface", choices=("centerface", "none"), help="(default: centerface)")
    add(
        "--margin",
        type=float,
        default=0.15,
        help="margin around an aligned face, as a share of the picture's side (default: 0.15)",
    )
    add(
        "--fill",
        type=int,
        default=12,
        help="a frame without a face takes the place of the nearest one with a face, at most this many frames "
        "away; 0 leaves it out (default: 12)",
    )
    add("--codec", default="jpeg", choices=("jpeg", "png", "webp"), help="png is lossless (default: jpeg)")
    add("--quality", type=int, default=95, help="1 to 100, of jpeg and webp (default: 95)")
    add(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        help="processes; 0 works in this one (default: %(default)s, the available processors)",
    )
    add_shared(
        parser,
        "--engine",
        help="ray: --workers on a cluster (RAY_ADDRESS) whose machines all see root and output, or on this one",
    )
    add("--shard-frames", type=int, default=1024, help="approximate frames per file (default: 1024)")
    add_shared(parser, "--option", help="option of the dataset, such as camera=right or media=preview")
    add("--retry", action="store_true", help="make files with failed frames again")
    add("--verify", action="store_true", help="finally compare all files with their checksums")
    add_shared(parser, "--quiet")
    options = parser.parse_args(args)
    from rich.progress import MofNCompleteColumn

    from affectkit.data.shards import CropShards
    from affectkit.datasets.preparing import prepare
    from affectkit.faces import CenterFace

    dataset = open_dataset(options.corpus.lower(), options.root, read_options(options.option))
    detects = options.detector != "none" and (options.crop or dataset.crop) in ("auto", "detect")
    with progress_bar(options.quiet, MofNCompleteColumn()) as bar:
        task = bar.add_task(f"{dataset.name}, frames", total=None)
        done = prepare(
            dataset,
            options.output,
            detector=CenterFace() if detects else None,
            **{name: getattr(options, name) for name in _SETTINGS},
            progress=lambda count, total: bar.update(task, completed=count, total=total),
        )
    if options.verify:
        CropShards(options.output).verify()
    print(
        f"{done.location}: {done.frames - done.failed} crops of {done.clips} clips in {done.shards} files "
        f"({done.made} made now); {done.failed} frames failed"
        + (", all checksums match" if options.verify else "")
    )
    for reason, count in list(done.reasons.items())[:_SHOWN]:
        print(f"  {count} × {reason}")
    if done.failed:
        print(
            f"failed frames: {done.location.rstrip('/')}/failed.csv; correct them and run again with --retry"
        )
    if done.failed == done.frames:
        raise VideoError(
            "No frame gave a crop.", path=options.root, remedy="See failed.csv; check --crop and the media."
        )
    print(f"train with it: affectkit fit --config RECIPE --data.prepared {done.location}")
    return 0
