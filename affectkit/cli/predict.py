"""`affectkit predict`: photos, videos and cameras into tables (`--model`), or a recipe's data (`--config`)."""

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
from typing import TYPE_CHECKING, Any, Literal

from affectkit.cli import spot
from affectkit.cli.arguments import (
    HelpFormatter,
    add_shared,
    make_parser,
    print_notes,
    progress_bar,
    refuse_options,
    writing,
)
from affectkit.cli.parser import path_or_uri
from affectkit.errors import ConfigError, VideoError

if TYPE_CHECKING:
    from affectkit.inference.baseline import Baseline
    from affectkit.inference.predictor import Predictor
    from affectkit.inference.run import FileResult
    from affectkit.inference.sources import Other

__all__ = ["run"]

_DESCRIPTION = """\
Action units and expressions of photos, videos, folders of them, and webcams: a
table for each, with a row for every frame and face. A second run with the same
command skips finished tables and continues interrupted ones.
"""
_EPILOG = """\
folders: every video in a folder, or in one below it, gets a table. Images in a folder without videos are the frames of
one clip and get one table, unless --images photos makes each a photo by itself. _summary.csv in the output folder lists
every file that is not hidden.

With --config RECIPE instead of --model, Lightning predicts the data of a recipe; see
`affectkit predict --config RECIPE --help`.
"""
_SHORT_EPILOG = """\
all options: affectkit predict --help-all
data of a recipe instead: affectkit predict --config RECIPE --help
"""
# Options of the short help.
_COMMON = (
    "help",
    "model",
    "input",
    "webcam",
    "output",
    "format",
    "overwrite",
    "faces",
    "smooth",
    "spot",
    "device",
)
_SHOWN = 20  # failed files


def run(args: Sequence[str]) -> int:
    """Predict media or the data of a recipe."""
    # Waiting threads of torch sleep, and leave the processor to decoders; read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    forms = {form for form in ("--model", "--config") for a in args if a == form or a.startswith(f"{form}=")}
    if forms == {"--model", "--config"}:
        raise ConfigError(
            "--model does not go with --config.",
            remedy="Use --model for photos and videos, --config for the data of a recipe.",
        )
    if forms == {"--config"} or "-c" in args:
        from affectkit.cli.trainer import run as run_recipe

        return run_recipe(["predict", *args])
    if "--help-all" in args:
        _parser(HelpFormatter, _EPILOG).print_help()
        return 0
    parser = _parser()
    options = parser.parse_args([_as_path(argument) for argument in args])
    if isinstance(options.output, str) and (options.spot or options.webcam is not None):
        mode = "--spot" if options.spot else "--webcam"
        raise ConfigError(f"{mode} does not write to URIs.", remedy="Give a local path with --output.")
    if options.spot:
        return spot.run(options, parser)
    if options.webcam is not None:
        refuse_options(parser, options, ("processes", "ray_address"), "--webcam")
        return _watch(options)
    refuse_options(parser, options, ("seconds",), "--input")
    return _predict_files(options)


def _as_path(argument: str) -> str:
    """Protect a file whose name begins with a hyphen from being read as an option."""
    option = re.fullmatch(r"-|-h|--[a-z-]+(=.*)?", argument, re.DOTALL)
    if argument.startswith("-") and not option and os.path.lexists(argument):
        return os.curdir + os.sep + argument
    return argument


class _ShortHelp(HelpFormatter):
    """Help with the common options only."""

    def add_argument(self, action: argparse.Action) -> None:
        if action.dest in _COMMON:
            super().add_argument(action)


def _parser(
    formatter: type[argparse.HelpFormatter] = _ShortHelp, epilog: str = _SHORT_EPILOG
) -> argparse.ArgumentParser:
    parser = make_parser(
        "predict",
        _DESCRIPTION,
        epilog,
        usage="affectkit predict [--model MODEL] --input PATH ... --output TABLE [options]",
        formatter_class=functools.partial(formatter, max_help_position=27),
        allow_abbrev=False,
    )
    files = parser.add_argument_group("input and output")
    add = files.add_argument
    add("--model", default="mesh", help="folder or Hub name of a saved model, mesh or demo")
    media = files.add_mutually_exclusive_group(required=True)
    media.add_argument("--input", nargs="+", metavar="PATH", help="photos, videos, folders and patterns")
    media.add_argument("--webcam", type=int, metavar="N", help="a camera, 0 for the first, until Ctrl-C")
    add("--seconds", type=float, help="stop a webcam after this time")
    add(
        "--output",
        required=True,
        type=path_or_uri,
        help="a table, for one input; a folder for many; or a URI",
    )
    add(
        "--format",
        choices=("csv", "parquet", "jsonl", "openface", "openface-release"),
        help="default: suffix of --output, or csv; openface has OpenFace's columns, openface-release also its spaces",
    )
    add("--fill-missing", type=float, metavar="X", help="openface: value of units that the model lacks")
    add("--overwrite", action="store_true", help="replace existing tables, also those of other models")
    add(
        "--images",
        default="frames",
        choices=("frames", "photos"),
        help="meaning of images in a folder without videos",
    )
    add_shared(files, "--quiet")
    group = parser.add_argument_group("faces and values")
    add = group.add_argument
    add_shared(
        group,
        "--faces",
        help="`mesh` finds and follows all with head pose, gaze and landmarks; `centerface` finds very small ones too; "
        "or `center`, or a box `x,y,w,h` in pixels (default: by the model)",
    )
    add(
        "--detector-size",
        type=int,
        metavar="N",
        help="detect with CenterFace in frames reduced to this longest side in pixels; it misses faces narrower than "
        "about 11 pixels there. Time grows with the square of N (default: 640)",
    )
    add("--smooth", metavar="WINDOW", help="smoothing window in seconds, such as 0.4, or frames, such as 9f")
    add("--smooth-by", default="hann", choices=("hann", "median"), help="weighted mean or median")
    neutral = group.add_mutually_exclusive_group()
    neutral.add_argument(
        "--neutral",
        metavar="FRAMES",
        help="neutral frames that are each person's baseline: START-END in seconds, or a photo of the person",
    )
    neutral.add_argument(
        "--no-baseline",
        action="store_true",
        help="do not subtract each person's values at rest, which models may do by default in videos",
    )
    add("--landmarks", action="store_true", help="also write the 68 landmarks of each face")
    add(
        "--classes",
        nargs="+",
        metavar="TEXT",
        help="zero-shot expression classes, for models with text prototypes",
    )
    add(
        "--sentences",
        action="store_true",
        help="also describe each face in a sentence, for models with a language model",
    )
    add("--prototype-only", action="store_true", help="predict from text prototypes without linear layers")
    spot.add_arguments(parser)
    group = parser.add_argument_group("speed")
    add = group.add_argument
    add(
        "--device", nargs="+", metavar="NAME", default=["cpu"], help="such as cuda:1; processes share several"
    )
    add("--batch-size", type=int, metavar="N", help="faces per batch (default: 16; 1 for a webcam)")
    add_shared(group, "--backend")
    add(
        "--processes",
        type=int,
        metavar="N",
        help="processes with a model each; 0 uses this one (default: 0 for one input, otherwise 1, so that a damaged "
        "file does not stop the others)",
    )
    add_shared(group, "--engine", help="ray: on a cluster or this machine")
    add("--ray-address", metavar="ADDRESS", help="Ray cluster, such as auto (default: RAY_ADDRESS)")
    add("--patience", type=float, default=300.0, help="skip a file after this many seconds without a frame")
    return parser


def _open_predictor(model: str, **options: Any) -> Predictor:
    """Make a predictor in a process of its own, and set the threads that pay."""
    from affectkit.inference import Predictor
    from affectkit.inference.run import limit_threads

    predictor = Predictor(model, **options)
    limit_threads(predictor)
    return predictor


def _make_predictor(options: argparse.Namespace, batch_size: int) -> Callable[..., Any]:
    folder = Path(options.model)
    return functools.partial(
        _open_predictor,
        str(folder.absolute()) if options.engine == "ray" and folder.is_dir() else options.model,
        batch_size=batch_size if options.batch_size is None else options.batch_size,
        **{
            name: getattr(options, name)
            for name in ("faces", "classes", "prototype_only", "detector_size", "sentences")
        },
    )


def _table_options(options: argparse.Namespace) -> dict[str, Any]:
    from affectkit.inference.smoothing import Smoothing

    return {
        "format": options.format,
        "fill_missing": options.fill_missing,
        "smoothing": None if options.smooth is None else Smoothing.parse(options.smooth, options.smooth_by),
        "baseline": _baseline(options),
        "landmarks": options.landmarks,
    }


def _baseline(options: argparse.Namespace) -> Baseline | Literal[False] | None:
    from affectkit.inference.baseline import Baseline

    if options.neutral is not None:
        return Baseline.parse(options.neutral)
    return False if options.no_baseline else None


def _predict_files(options: argparse.Namespace) -> int:
    from affectkit.inference.formats import SUFFIXES
    from affectkit.inference.run import predict_files
    from affectkit.inference.sources import find_media
    from affectkit.inference.table_names import plan_tables
    from affectkit.inference.table_store import TableStore

    if options.engine == "ray" and any(":" in device for device in options.device):
        raise ConfigError("Ray shows a worker only its own accelerator.", remedy="Give --device cuda.")
    store = TableStore(options.output) if isinstance(options.output, str) else None
    output = options.output if store is None else store.output
    media, others = find_media(options.input, options.images, output=output)
    suffix = SUFFIXES[options.format or "csv"]
    tables = plan_tables(media, output, suffix, sorted(set(SUFFIXES.values())))
    summary = None if tables == [output] else output / "_summary.csv"
    processes = options.processes
    if processes is None:
        processes = 0 if len(media) == 1 else 1
    table_options = _table_options(options)
    if summary is not None:
        with writing(output):  # fails before hours of work
            output.mkdir(parents=True, exist_ok=True)
    with _bars(options.quiet, len(media)) as show:
        results = predict_files(
            _make_predictor(options, batch_size=16),
            media,
            tables,
            **table_options,
            backend=options.backend,
            overwrite=options.overwrite,
            devices=options.device,
            engine=options.engine,
            processes=processes,
            patience=options.patience,
            address=options.ray_address,
            summary=summary,
            store=store,
            others=others,
            progress=show,
        )
    by_mesh = options.faces in (None, "mesh") and options.detector_size is None
    hint = "; try --detector-size 640, which finds smaller faces" if by_mesh else ""

    def shown(path: Path) -> Path | str:
        return path if store is None else store.place(path)

    return _report(results, others, shown(output), None if summary is None else shown(summary), hint)


def _report(
    results: Sequence[FileResult],
    others: Sequence[Other],
    output: Path | str,
    summary: Path | str | None,
    hint: str,
) -> int:
    """Print the outcome and return the exit code.

    Args:
        results: Results by file.
        others: Files without results.
        output: Table or folder.
        summary: The summary, if there is one.
        hint: What may find faces in videos that have none.
    """
    from affectkit.inference.sources import inventory
    from affectkit.inference.wording import counted, printable

    print_notes(*{one.warning for one in results})
    print_notes(*(_faceless(one, hint) for one in results))
    skipped = [other for other in others if other.status != "failed"]
    refused = [f"{other.path}: {other.reason}" for other in others if other.status == "failed"]
    if len(results) == 1 and results[0].error is not None and not refused:
        raise results[0].error
    failed = [_place(one) for one in results if one.error is not None] + refused
    frames, lost = sum(one.frames for one in results), sum(one.failed for one in results)
    finished_before = sum(one.status == "there" for one in results)
    numbers = f"{counted(frames, 'frame')}, {lost} failed"
    if len(results) == 1 and not failed:
        print(f"{printable(results[0].table)}: {numbers}" + (", finished before" if finished_before else ""))
    else:
        tables = counted(sum(one.error is None for one in results), "table")
        bad = f"; {counted(len(failed), 'file')} failed" if failed else ""
        print(f"{printable(output)}: {tables} ({finished_before} finished before), {numbers}{bad}")
    for text in failed[:_SHOWN]:
        print(f"failed: {printable(text)}", file=sys.stderr)
    if len(failed) > _SHOWN:
        print(f"and {len(failed) - _SHOWN} more", file=sys.stderr)
    if skipped:
        print_notes(f"{counted(len(skipped), 'file')} skipped ({inventory(skipped)})")
    if (failed or skipped) and summary is not None:
        print_notes(f"{summary} lists every file")
    return 3 if failed else 0


def _faceless(one: FileResult, hint: str) -> str | None:
    """Note about a file without any face."""
    if one.status == "failed" or not one.frames or one.failed < one.frames:
        return None
    where = "its only frame" if one.frames == 1 else f"any of its {one.frames} frames"
    larger = hint if one.frames > 1 else ""
    if one.reduced:
        larger = "; try a larger --detector-size, such as 1920"
    return f"{one.source}: no face in {where}{larger}"


def _place(one: FileResult) -> str:
    """An error in one line that names its file."""
    text = " ".join(str(one.error).split())
    return text if str(one.source) in text else f"{one.source}: {text}"


@contextmanager
def _bars(quiet: bool, files: int) -> Iterator[Callable[[Sequence[FileResult], int, int, int], None]]:
    """Show a bar for the frames of one file, and one for the files if there are several."""
    from rich.progress import MofNCompleteColumn

    from affectkit.inference.wording import printable

    with progress_bar(quiet, MofNCompleteColumn()) as bar:
        all_files = bar.add_task("files", total=files, visible=files > 1)
        frames = bar.add_task("", total=None)

        def show(results: Sequence[FileResult], number: int, done: int, total: int) -> None:
            finished = sum(one.status in ("done", "there", "failed") for one in results)
            bar.update(all_files, completed=finished)
            known = total if 0 < total < sys.maxsize else None
            name = printable(results[number].source.name)
            bar.update(frames, description=name, completed=done, total=known)

        yield show


def _watch(options: argparse.Namespace) -> int:
    """Predict a webcam until it is stopped."""
    from rich.console import Console

    from affectkit.inference.baseline import Baseline
    from affectkit.inference.formats import partial_of
    from affectkit.inference.run import write_predictions
    from affectkit.inference.webcam import Webcam
    from affectkit.inference.wording import counted, printable

    existing = [path for path in (options.output, partial_of(options.output)) if path.exists()]
    if existing and not options.overwrite:
        raise ConfigError(
            "The table already exists.", path=existing[0], remedy="Use another, or --overwrite."
        )
    predictor = _make_predictor(options, batch_size=1)(device=options.device[0])
    table_options = _table_options(options)
    if table_options["baseline"] is None and predictor.has_baseline:
        table_options["baseline"] = Baseline(is_causal=True)
    with (
        Webcam(options.webcam, seconds=options.seconds) as camera,
        _ctrl_c(camera.stop),
        Console(stderr=True, quiet=options.quiet).status("watching; press Ctrl-C to stop") as status,
    ):
        table = write_predictions(
            predictor,
            camera,
            options.output,
            **table_options,
            progress=lambda done, _: status.update(f"{counted(done, 'frame')}; press Ctrl-C to stop"),
        )
    print_notes(predictor.warning)
    print(f"{printable(table.path)}: {counted(table.frames, 'frame')}, {table.failed} failed")
    if table.frames == table.failed == 1 and not camera.seen:
        raise VideoError("The camera gave no picture.", remedy="Check that no other program uses it.")
    return 0


@contextmanager
def _ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the first Ctrl-C; a second one interrupts."""

    def first(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
