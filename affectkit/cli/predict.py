"""`affectkit predict`: with `--model`, photos, videos and cameras into tables; with `--config`, a recipe's data."""

from __future__ import annotations

import argparse
import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli import spot
from affectkit.cli.pictures import writing
from affectkit.errors import ConfigError, VideoError

if TYPE_CHECKING:
    from affectkit.inference.run import FileResult
    from affectkit.inference.sources import Other

__all__ = ["run"]

_DESCRIPTION = """\
Action units and expressions of photos, videos, folders of them, and webcams: a
table for each, with a row for every frame and face. A second run with the same
command leaves finished tables alone and goes on with interrupted ones.
"""
_EPILOG = """\
folders: every video in a folder, or in one below it, gets a table. Images in a folder without videos are the frames of
one clip and get one table, unless --images photos says that each is a photo by itself. _summary.csv in the output
folder accounts for every file that is not hidden.

With --config RECIPE instead of --model, Lightning predicts the data of a recipe; see
`affectkit predict --config RECIPE --help`.
"""
_SHORT_EPILOG = """\
all options: affectkit predict --help-all
data of a recipe instead: affectkit predict --config RECIPE --help
"""
_SHOWN = 20  # files that failed


def run(args: Sequence[str]) -> int:
    """Predict; the two forms exclude each other."""
    forms = {form for form in ("--model", "--config") for a in args if a == form or a.startswith(f"{form}=")}
    if forms == {"--model", "--config"}:
        raise ConfigError(
            "--model and --config exclude each other.",
            remedy="Use --model for photos and videos, --config for the data of a recipe.",
        )
    if forms == {"--config"} or "-c" in args:
        from affectkit.cli.trainer import run as run_recipe

        return run_recipe(["predict", *args])
    if "--help-all" in args:
        _parser(everything=True).print_help()
        return 0
    options = _parser().parse_args([_as_path(argument) for argument in args])
    if options.spot:
        return spot.run(options)
    return _watch(options) if options.webcam is not None else _predict_files(options)


def _as_path(argument: str) -> str:
    """A file whose name begins with a hyphen, as a pattern of the shell gives it, is no option."""
    option = re.fullmatch(r"-|-h|--[a-z-]+(=.*)?", argument, re.DOTALL)
    if argument.startswith("-") and not option and os.path.lexists(argument):
        return os.curdir + os.sep + argument
    return argument


def _parser(*, everything: bool = False) -> argparse.ArgumentParser:
    """The options; its help shows those that most people need, or everything."""
    parser = argparse.ArgumentParser(
        prog="affectkit predict",
        usage="affectkit predict --model MODEL --input PATH ... --output TABLE [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG if everything else _SHORT_EPILOG,
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=27),
        allow_abbrev=False,
    )

    def more(text: str) -> str:
        return text if everything else argparse.SUPPRESS

    files = parser.add_argument_group("input and output")
    add = files.add_argument
    add("--model", required=True, help="folder or Hub name of a saved model, or demo")
    media = files.add_mutually_exclusive_group(required=True)
    media.add_argument(
        "--input", nargs="+", metavar="PATH", help="photos, videos, folders, and patterns such as '*.mp4'"
    )
    media.add_argument(
        "--webcam", type=int, metavar="N", help="a camera, 0 for the first, until Ctrl-C or for --seconds"
    )
    add("--seconds", type=float, help=more("how long to watch a webcam"))
    add(
        "--output",
        required=True,
        type=Path,
        help="a table, for one photo, video or folder of frames; a folder for many",
    )
    add(
        "--format",
        choices=("csv", "parquet", "jsonl", "openface", "openface-release"),
        help="by default what --output ends in, in a folder csv; openface has OpenFace's columns, openface-release "
        "its spaces as well",
    )
    add(
        "--fill-missing",
        type=float,
        metavar="X",
        help=more("openface: write X for units that the model lacks"),
    )
    add("--overwrite", action="store_true", help="replace tables that are there, also those of other models")
    add(
        "--images",
        default="frames",
        choices=("frames", "photos"),
        help=more("what the images in a folder without videos are (default: frames of one clip)"),
    )
    add("--quiet", action="store_true", help=more("no progress bar"))
    add = parser.add_argument_group("faces and values").add_argument
    add(
        "--faces",
        default="detect",
        help="`detect` (default) finds and tracks all faces; `center` takes the centred "
        "square of every frame for one, `x,y,w,h` that box in pixels"
        if everything
        else "`detect` (default) finds all; or `center`, or a box `x,y,w,h` in pixels",
    )
    add(
        "--detector-size",
        type=int,
        metavar="N",
        help=more(
            "longest side in pixels of what the detector gets: larger frames are made smaller for it, and faces "
            "narrower than about 11 pixels are missed then. A larger N finds smaller faces and takes longer, with the "
            "square of N (default: 640)"
        ),
    )
    add("--smooth", metavar="WINDOW", help="smooth over so many seconds, such as 0.4, or frames, such as 9f")
    add(
        "--smooth-by",
        default="hann",
        choices=("hann", "median"),
        help=more("how: a weighted mean or the median (default: hann)"),
    )
    add(
        "--subtract-baseline",
        nargs="?",
        type=float,
        const=0.5,
        metavar="QUANTILE",
        help=more(
            "write intensities less each person's usual ones, this quantile of all frames of the person (0.5, "
            "the median). A value then depends on the whole clip"
        ),
    )
    add(
        "--classes",
        nargs="+",
        metavar="TEXT",
        help=more(
            "ask the expression head about these classes, without training; for models with text prototypes"
        ),
    )
    add(
        "--prototype-only",
        action="store_true",
        help=more("let heads answer by their text prototypes alone, without their linear layers"),
    )
    spot.add_arguments(parser, everything=everything)
    add = parser.add_argument_group("speed").add_argument
    add(
        "--device",
        nargs="+",
        metavar="NAME",
        default=["cpu"],
        help="such as cuda:1; several are shared out among processes",
    )
    add("--batch-size", type=int, metavar="N", help=more("faces at once (default: 16; of a webcam 1)"))
    add("--backend", default="auto", choices=("auto", "pyav", "decord"), help=more("video reader"))
    add(
        "--processes",
        type=int,
        metavar="N",
        help=more(
            "each with a model of its own; 0 works in this one (default: 0 for one input, else 1, so that no damaged "
            "file takes the others down)"
        ),
    )
    add(
        "--engine",
        default="processes",
        choices=("processes", "ray"),
        help=more("ray: on a cluster or this machine"),
    )
    add(
        "--ray-address",
        metavar="ADDRESS",
        help=more("of a Ray cluster, such as auto (default: RAY_ADDRESS, or none)"),
    )
    add(
        "--patience",
        type=float,
        default=300.0,
        help=more("seconds without a frame until a file is given up (default: 300)"),
    )
    return parser


def _make_predictor(options: argparse.Namespace, batch_size: int) -> Callable[..., Any]:
    from affectkit.inference import Predictor

    folder = Path(options.model)
    return functools.partial(
        Predictor,
        str(folder.absolute()) if options.engine == "ray" and folder.is_dir() else options.model,
        batch_size=batch_size if options.batch_size is None else options.batch_size,
        faces=options.faces,
        classes=options.classes,
        prototype_only=options.prototype_only,
        detector_size=options.detector_size,
    )


def _smoothing(options: argparse.Namespace) -> Any:
    from affectkit.inference.smoothing import Smoothing

    return None if options.smooth is None else Smoothing.parse(options.smooth, options.smooth_by)


def _predict_files(options: argparse.Namespace) -> int:
    from affectkit.inference.formats import SUFFIXES
    from affectkit.inference.run import predict_files
    from affectkit.inference.sources import find_media
    from affectkit.inference.table_names import plan_tables

    if options.seconds is not None:
        raise ConfigError("--seconds is for --webcam.")
    if options.engine == "ray" and any(":" in device for device in options.device):
        raise ConfigError("Ray shows a worker only its own accelerator.", remedy="Give --device cuda.")
    media, others = find_media(options.input, options.images, output=options.output)
    suffix = SUFFIXES[options.format or "csv"]
    tables = plan_tables(media, options.output, suffix, sorted(set(SUFFIXES.values())))
    processes = options.processes
    if processes is None:
        processes = 0 if len(media) == 1 else 1
    smoothing = _smoothing(options)
    if tables != [options.output]:
        with writing(options.output):  # that it cannot be made should be known before hours of work
            options.output.mkdir(parents=True, exist_ok=True)
    with _bars(options.quiet, len(media)) as show:
        results = predict_files(
            _make_predictor(options, batch_size=16),
            media,
            tables,
            format=options.format,
            fill_missing=options.fill_missing,
            smoothing=smoothing,
            baseline=options.subtract_baseline,
            backend=options.backend,
            overwrite=options.overwrite,
            devices=options.device,
            engine=options.engine,
            processes=processes,
            patience=options.patience,
            address=options.ray_address,
            summary=None if tables == [options.output] else options.output / "_summary.csv",
            others=others,
            progress=show,
        )
    return _say(results, others, options.output)


def _say(results: Sequence[FileResult], others: Sequence[Other], output: Path) -> int:
    """Tell what came of it; the exit code."""
    from affectkit.inference.sources import inventory
    from affectkit.inference.wording import counted, printable

    for warning in {one.warning for one in results if one.warning}:
        print(f"note: {warning}", file=sys.stderr)
    for one in results:
        if one.status != "failed" and one.frames and one.failed == one.frames:
            print(f"note: {_faceless(one)}", file=sys.stderr)
    passed_over = [other for other in others if other.status != "failed"]
    refused = [f"{other.path}: {other.reason}" for other in others if other.status == "failed"]
    if len(results) == 1:
        (one,) = results
        if one.error is not None and not refused:
            raise one.error
    failed = [_place(one) for one in results if one.error is not None] + refused
    frames, lost = sum(one.frames for one in results), sum(one.failed for one in results)
    there = sum(one.status == "there" for one in results)
    numbers = f"{counted(frames, 'frame')}, {lost} failed"
    if len(results) == 1 and not failed:
        print(f"{printable(results[0].table)}: {numbers}" + (", finished before" if there else ""))
    else:
        tables = counted(sum(one.error is None for one in results), "table")
        bad = f"; {counted(len(failed), 'file')} failed" if failed else ""
        print(f"{printable(output)}: {tables} ({there} finished before), {numbers}{bad}")
    for text in failed[:_SHOWN]:
        print(f"failed: {printable(text)}", file=sys.stderr)
    if len(failed) > _SHOWN:
        print(f"and {len(failed) - _SHOWN} more", file=sys.stderr)
    if passed_over:
        passed = f"{counted(len(passed_over), 'file')} passed over ({inventory(passed_over)})"
        print(f"note: {printable(passed)}", file=sys.stderr)
    if (failed or passed_over) and (output / "_summary.csv").is_file():
        print(f"note: {printable(output / '_summary.csv')} accounts for every file", file=sys.stderr)
    return 3 if failed else 0


def _faceless(one: FileResult) -> str:
    """A file in which no face was found."""
    from affectkit.inference.wording import printable

    where = "its only frame" if one.frames == 1 else f"any of its {one.frames} frames"
    larger = "; try a larger --detector-size, such as 1920" if one.reduced else ""
    return f"{printable(one.source)}: no face in {where}{larger}"


def _place(one: FileResult) -> str:
    """An error in one line that names its file."""
    text = " ".join(str(one.error).split())
    return text if str(one.source) in text else f"{one.source}: {text}"


@contextmanager
def _bars(quiet: bool, files: int) -> Iterator[Callable[[Sequence[FileResult], int, int, int], None]]:
    """A bar for the frames of one file, and one for the files where there are several."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from affectkit.inference.wording import printable

    text = TextColumn("{task.description}", markup=False)  # a file may be called "[b].mp4"
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    quiet = quiet or not console.is_terminal
    with Progress(*columns, console=console, disable=quiet, transient=True) as bar:
        all_files = bar.add_task("files", total=files, visible=files > 1)
        frames = bar.add_task("", total=None)

        def show(results: Sequence[FileResult], number: int, done: int, total: int) -> None:
            finished = sum(one.status in ("done", "there", "failed") for one in results)
            bar.update(all_files, completed=finished)
            known = total if 0 < total < sys.maxsize else None
            bar.update(
                frames, description=printable(results[number].source.name), completed=done, total=known
            )

        yield show


def _watch(options: argparse.Namespace) -> int:
    """Predict a webcam until it is stopped."""
    from rich.console import Console

    from affectkit.inference.formats import partial_of
    from affectkit.inference.run import write_predictions
    from affectkit.inference.webcam import Webcam
    from affectkit.inference.wording import counted, printable

    for name in ("processes", "ray_address"):
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} is for --input.")
    if not options.overwrite and (
        there := [p for p in (options.output, partial_of(options.output)) if p.exists()]
    ):
        raise ConfigError(
            "The table is there already.", path=there[0], remedy="Give another, or --overwrite."
        )
    predictor = _make_predictor(options, batch_size=1)(device=options.device[0])
    with (
        Webcam(options.webcam, seconds=options.seconds) as camera,
        _ctrl_c(camera.stop),
        Console(stderr=True, quiet=options.quiet).status("watching; Ctrl-C ends it") as status,
    ):
        table = write_predictions(
            predictor,
            camera,
            options.output,
            format=options.format,
            fill_missing=options.fill_missing,
            smoothing=_smoothing(options),
            baseline=options.subtract_baseline,
            progress=lambda done, _: status.update(f"{counted(done, 'frame')}; Ctrl-C ends it"),
        )
    if predictor.warning:
        print(f"note: {predictor.warning}", file=sys.stderr)
    print(f"{printable(table.path)}: {counted(table.frames, 'frame')}, {table.failed} failed")
    if table.frames == table.failed == 1 and not camera.seen:
        raise VideoError("The camera gave no picture.", remedy="Check that no other program uses it.")
    return 0


@contextmanager
def _ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C ends properly once; a second one at once."""

    def first(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
