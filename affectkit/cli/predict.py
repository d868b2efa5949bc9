"""`affectkit predict`: with `--model`, photos and videos into a CSV; with `--config`, LightningCLI over a recipe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from affectkit.errors import ConfigError, VideoError

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Predict; the two forms exclude each other."""
    forms = {form for form in ("--model", "--config") for a in args if a == form or a.startswith(f"{form}=")}
    if forms == {"--model", "--config"}:
        raise ConfigError(
            "--model and --config exclude each other.",
            remedy="Use --model for photos and videos, --config for the data of a recipe.",
        )
    if forms == {"--config"} or "-c" in args:
        from affectkit.cli.lightning import run as run_recipe

        return run_recipe(["predict", *args])
    return _predict_media(args)


def _predict_media(args: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="affectkit predict",
        description="Action units and expressions of a photo, a video or a folder of frames: a row for every frame.",
        epilog="With --config RECIPE instead of --model, Lightning predicts the data of a recipe.",
    )
    parser.add_argument("--model", required=True, help="folder or Hub name of a saved model")
    parser.add_argument("--input", required=True, type=Path, help="photo, video or folder of frames")
    parser.add_argument(
        "--output", required=True, type=Path, help="CSV to write; a .json with the metadata beside it"
    )
    parser.add_argument(
        "--crop",
        default="center",
        help="x,y,w,h in pixels of the square around the face, or `center` (default) for the centred square; "
        "faces are not detected yet",
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="TEXT",
        help="ask the expression head about these classes, without training; for models with text prototypes",
    )
    parser.add_argument(
        "--prototype-only",
        action="store_true",
        help="let heads answer by their text prototypes alone, without their linear layers",
    )
    parser.add_argument("--device", default="cpu", help="such as cuda:1 (default: cpu)")
    parser.add_argument("--batch-size", type=int, default=16, help="frames at once (default: 16)")
    parser.add_argument("--backend", default="auto", choices=("auto", "pyav", "decord"), help="video reader")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(args)
    from rich.console import Console
    from rich.progress import Progress

    from affectkit.inference import Crop, Predictor, write_predictions

    predictor = Predictor(
        options.model,
        device=options.device,
        batch_size=options.batch_size,
        crop=Crop.parse(options.crop),
        classes=options.classes,
        prototype_only=options.prototype_only,
    )
    with Progress(console=Console(stderr=True), disable=options.quiet, transient=True) as bar:
        task = bar.add_task(options.input.name, total=None)
        table = write_predictions(
            predictor,
            options.input,
            options.output,
            backend=options.backend,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(f"{table.path}: {table.frames} frames, {table.failed} failed; metadata in {table.sidecar}")
    if predictor.warning:
        print(f"note: {predictor.warning}", file=sys.stderr)
    if table.failed == table.frames:
        raise VideoError(
            "None of its frames could be read.", path=options.input, remedy=f"See {table.sidecar}."
        )
    return 0
