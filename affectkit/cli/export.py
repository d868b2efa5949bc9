"""`affectkit export`: the model of a training checkpoint, as a folder that loads anywhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Export."""
    parser = argparse.ArgumentParser(
        prog="affectkit export",
        description="Write the model of a checkpoint that `affectkit fit` left, with its chosen thresholds.",
    )
    parser.add_argument("--ckpt", required=True, type=Path, help="the .ckpt file")
    parser.add_argument(
        "--to", choices=("safetensors",), default="safetensors", help="(default: safetensors)"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--trained-on", metavar="TEXT", help="the data, kept with the model")
    parser.add_argument("--licence", metavar="TEXT", help="terms of use, kept with the model")
    parser.add_argument(
        "--rendered",
        action="store_true",
        help="it was trained on rendered faces only: predictions will carry a warning",
    )
    options = parser.parse_args(args)
    from affectkit.models.convert import model_of_checkpoint

    model = model_of_checkpoint(options.ckpt)
    stated = {
        "trained_on": options.trained_on,
        "licence": options.licence,
        "rendered": options.rendered or None,
    }
    given = {key: value for key, value in stated.items() if value is not None}
    model.save_pretrained(options.out, metadata={**model.metadata, **given})
    heads = ", ".join(f"{name} ({len(model.labels(name))} labels)" for name in model.heads)
    print(f"{options.out}: {heads}; load it with AffectModel.from_pretrained or `affectkit predict --model`")
    return 0
