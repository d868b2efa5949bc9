"""`affectkit predict --spot`: brief movements of long clips, and the action units that they show."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from affectkit.cli.arguments import add_shared, print_notes, progress, refuse_options, writing
from affectkit.errors import AffectKitError, ConfigError, VideoError

if TYPE_CHECKING:
    from affectkit.inference.sources import Media, Other
    from affectkit.inference.spotting.movements import MovementFinder, Written

__all__ = ["add_arguments", "run"]

_UNUSED = (
    *(
        "webcam",
        "seconds",
        "format",
        "fill_missing",
        "smooth",
        "neutral",
        "no_baseline",
        "landmarks",
        "classes",
        "prototype_only",
        "sentences",
    ),
    *("batch_size", "processes", "engine", "ray_address"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--spot` and its options."""
    group = parser.add_argument_group("micro-expressions")
    group.add_argument(
        "--spot",
        action="store_true",
        help="find brief movements of one face: a row each with onset, apex, offset and action units",
    )
    group.add_argument("--longest", type=float, default=0.5, metavar="SECONDS", help="longest movement")
    group.add_argument(
        "--spot-threshold",
        type=float,
        default=12.0,
        metavar="X",
        help="strength of a movement in deviations of the noise; lower finds more",
    )
    add_shared(group, "--fps")


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Find the movements of one clip, or of those in folders, with the options of `affectkit predict`."""
    refuse_options(parser, options, _UNUSED, "--spot")
    from affectkit.data.video import IMAGE_SUFFIXES
    from affectkit.inference.formats import SUFFIXES
    from affectkit.inference.predictor import Predictor
    from affectkit.inference.sources import find_media
    from affectkit.inference.spotting.movements import MovementFinder
    from affectkit.inference.table_names import plan_tables

    media, others = find_media(options.input, options.images, output=options.output)
    photos = [one for one in media if not one.single and one.path.suffix.lower() in IMAGE_SUFFIXES]
    media = [one for one in media if one not in photos]
    if not media:
        raise VideoError("There are only photos, which have no movement.", remedy="Give videos or frames.")
    tables = plan_tables(media, options.output, ".csv", sorted(set(SUFFIXES.values())))
    is_single = tables == [options.output]
    if is_single and options.output.exists() and not options.overwrite:
        raise ConfigError(
            "The table already exists.", path=options.output, remedy="Use another, or --overwrite."
        )
    predictor = Predictor(
        options.model, device=options.device[0], faces=options.faces, detector_size=options.detector_size
    )
    finder = MovementFinder(predictor, longest=options.longest, threshold=options.spot_threshold)
    notes = [predictor.warning]
    if not finder.sees_movements:
        notes.append(
            "this model was not trained on micro-expressions: movements are measured in the pixels, but their action "
            "units come from a model of longer expressions"
        )
    print_notes(*notes)
    if is_single:
        print_notes(*_spot(finder, media[0].path, tables[0], options)[1])
        return 0
    return _spot_all(finder, media, tables, [*others, *map(_photo, photos)], options)


def _spot(
    finder: MovementFinder, source: Path, table: Path, options: argparse.Namespace
) -> tuple[Written, list[str]]:
    """Write and print one table; returns it with notes."""
    from affectkit.inference.spotting.movements import write_movements
    from affectkit.inference.wording import counted, printable

    with writing(table), progress(source.name, quiet=options.quiet) as advance:
        written = write_movements(
            finder, source, table, fps=options.fps, backend=options.backend, progress=advance
        )
    movements = counted(written.movements, "brief movement") if written.movements else "no brief movement"
    print(printable(f"{written.path}: {movements}; metadata in {written.sidecar.name}"))
    notes = []
    if written.unseen:
        notes.append(f"no face was found in {written.unseen} of them; their values are nan")
    if not written.face_seen:
        notes.append(
            "no face was found; state its place with --faces, or find smaller ones with a larger --detector-size"
        )
    elif not written.movements:
        notes.append("a lower --spot-threshold or a greater --longest finds more movements")
    return written, notes


def _spot_all(
    finder: MovementFinder,
    media: Sequence[Media],
    tables: Sequence[Path],
    others: Sequence[Other],
    options: argparse.Namespace,
) -> int:
    """Write a table for each clip; one that fails does not stop the others."""
    from affectkit.inference.sources import inventory
    from affectkit.inference.spotting.movements import is_finished
    from affectkit.inference.wording import counted, printable

    finished = 0
    written: list[Written] = []
    failed = [f"{other.path}: {other.reason}" for other in others if other.status == "failed"]
    for one, table in zip(media, tables, strict=True):
        try:
            if not options.overwrite and is_finished(finder, one.path, table, fps=options.fps):
                finished += 1
                continue
            result, notes = _spot(finder, one.path, table, options)
        except AffectKitError as error:
            text = " ".join(str(error).split())
            failed.append(text if str(one.path) in text else f"{one.path}: {text}")
        else:
            written.append(result)
            print_notes(*(f"{one.path}: {note}" for note in notes))
    count = counted(len(written) + finished, "table")
    found = counted(sum(result.movements for result in written), "brief movement")
    bad = f"; {counted(len(failed), 'file')} failed" if failed else ""
    print(printable(f"{options.output}: {count} ({finished} finished before), {found} found now{bad}"))
    for text in failed:
        print(f"failed: {printable(text)}", file=sys.stderr)
    if skipped := [other for other in others if other.status != "failed"]:
        print_notes(f"{counted(len(skipped), 'file')} skipped ({inventory(skipped)})")
    return 3 if failed else 0


def _photo(one: Media) -> Other:
    from affectkit.inference.sources import Other

    return Other(one.path, "not media", "A photo has no movement.")
