"""`affectkit predict --spot`: brief movements of a long clip, and the action units that they show."""

from __future__ import annotations

import argparse
from pathlib import Path

from affectkit.cli.arguments import add_shared, print_notes, progress, refuse_options, writing
from affectkit.errors import ConfigError

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
    """Find the movements of one clip with the options of `affectkit predict`."""
    refuse_options(parser, options, _UNUSED, "--spot")
    from affectkit.inference.predictor import Predictor
    from affectkit.inference.sources import expand_inputs
    from affectkit.inference.spotting.movements import MovementFinder, write_movements
    from affectkit.inference.wording import counted, printable

    sources = expand_inputs(options.input)
    if len(sources) != 1:
        raise ConfigError("--spot takes one clip at a time.", remedy="Run it once per clip.")
    if options.output.exists() and not options.overwrite:
        raise ConfigError(
            "The table already exists.", path=options.output, remedy="Use another, or --overwrite."
        )
    (source,) = sources
    predictor = Predictor(
        options.model, device=options.device[0], faces=options.faces, detector_size=options.detector_size
    )
    finder = MovementFinder(predictor, longest=options.longest, threshold=options.spot_threshold)
    with writing(Path(options.output)), progress(source.name, quiet=options.quiet) as advance:
        written = write_movements(
            finder, source, options.output, fps=options.fps, backend=options.backend, progress=advance
        )
    movements = counted(written.movements, "brief movement") if written.movements else "no brief movement"
    print(printable(f"{written.path}: {movements}; metadata in {written.sidecar}"))
    notes = [predictor.warning]
    if written.unseen:
        notes.append(f"no face was found in {written.unseen} of them; their values are nan")
    if not written.face_seen:
        notes.append(
            "no face was found; state its place with --faces, or find smaller ones with a larger --detector-size"
        )
    elif not written.movements:
        notes.append("a lower --spot-threshold or a greater --longest finds more movements")
    print_notes(*notes)
    return 0
