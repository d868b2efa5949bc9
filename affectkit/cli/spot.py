"""`affectkit predict --spot`: the brief movements of a long clip, and which action units they show."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from affectkit.cli.pictures import progress, say, writing
from affectkit.errors import ConfigError

__all__ = ["add_arguments", "run"]

_IGNORED = {
    "webcam": None,
    "format": None,
    "fill_missing": None,
    "smooth": None,
    "subtract_baseline": None,
    "classes": None,
    "prototype_only": False,
    "seconds": None,
    "batch_size": None,
    "processes": None,
    "engine": "processes",
    "ray_address": None,
}
"""Options of `predict` that say nothing here, with what they hold when they are not given."""


def add_arguments(parser: argparse.ArgumentParser, *, everything: bool = True) -> None:
    """Add `--spot` and what belongs to it, of which a short help names the first only."""

    def more(text: str) -> str:
        return text if everything else argparse.SUPPRESS

    group = parser.add_argument_group(
        "micro-expressions",
        "With --spot, brief movements of one face in a long clip are found without any annotation, and the\n"
        "table has a row for each: onset, apex and offset, and the model's action units."
        if everything
        else None,
    )
    group.add_argument("--spot", action="store_true", help="find brief movements")
    group.add_argument(
        "--longest", type=float, default=0.5, metavar="SECONDS", help=more("of a movement (default: 0.5)")
    )
    group.add_argument(
        "--spot-threshold",
        type=float,
        default=12.0,
        metavar="X",
        help=more(
            "how far a movement stands out, in deviations of the noise; lower finds more (default: 12)"
        ),
    )
    group.add_argument(
        "--fps", type=float, metavar="N", help=more("frames a second, where the video or folder does not say")
    )


def run(options: argparse.Namespace) -> int:
    """Find the movements of one clip.

    Args:
        options: Of a parser with `add_arguments`, and with `model`, `input`, `output`, `overwrite`, `faces`,
            `detector_size`, `device`, `backend` and `quiet`.

    Raises:
        ConfigError: Several inputs, an option that does not go with `--spot`, or a table that is there already.
    """
    inputs: Sequence[str | Path] = (
        options.input if isinstance(options.input, (list, tuple)) else [options.input]
    )
    values = {name: getattr(options, name, unset) for name, unset in _IGNORED.items()}
    given = [name for name, value in values.items() if value != _IGNORED[name]]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigError(f"{names} cannot be used with --spot.", remedy="Leave it out.")
    from affectkit.inference.predictor import Predictor
    from affectkit.inference.sources import expand_inputs
    from affectkit.inference.spotting.movements import MovementFinder, write_movements
    from affectkit.inference.wording import counted, printable

    sources = expand_inputs(inputs)
    if len(sources) != 1:
        raise ConfigError("--spot takes one clip at a time.", remedy="Call it once for each.")
    if Path(options.output).exists() and not options.overwrite:
        raise ConfigError(
            "The table is there already.", path=options.output, remedy="Give another, or --overwrite."
        )
    (source,) = sources
    device = options.device if isinstance(options.device, str) else options.device[0]
    predictor = Predictor(
        options.model, device=device, faces=options.faces, detector_size=options.detector_size
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
        notes.append(f"the face was not seen in {written.unseen} of them; their values are nan")
    if not written.face_seen:
        notes.append(
            "no face was found; say where it is with --faces, or find smaller ones with a larger --detector-size"
        )
    elif not written.movements:
        notes.append(
            "nothing moved briefly enough; a lower --spot-threshold or a greater --longest finds more"
        )
    say(notes)
    return 0
