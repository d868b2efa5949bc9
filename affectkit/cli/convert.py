"""`affectkit convert`: weights that other programs trained, as model folders of ours."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Convert a checkpoint."""
    parser = argparse.ArgumentParser(
        prog="affectkit convert", description="Weights that other programs trained."
    )
    layouts = parser.add_subparsers(dest="layout", required=True)
    ssm = layouts.add_parser(
        "ssm",
        help="a checkpoint of the authors of SSM (arXiv 2604.10541)",
        description="Turn a released SSM checkpoint of either code release into a model folder that computes the same.",
    )
    ssm.add_argument("checkpoint", type=Path, help="the .pth file")
    ssm.add_argument("--out", required=True, type=Path, help="folder to write")
    ssm.add_argument(
        "--au-set", choices=("bp4d12", "disfa8"), help="its action units (default: by their number)"
    )
    ssm.add_argument(
        "--expressions", help="its classes in order, by name or as a comma list (default: dfew7 or mafw11)"
    )
    ssm.add_argument(
        "--clip-weights",
        type=Path,
        help="weights of OpenAI's ViT-B/16, for new expression texts later; the checkpoint lacks CLIP's words",
    )
    options = parser.parse_args(args)
    from affectkit.methods.ssm import convert_ssm

    found = convert_ssm(
        options.checkpoint,
        units=options.au_set,
        expressions=options.expressions,
        clip_weights=options.clip_weights,
    )
    found.model.save_pretrained(options.out)
    print(f"{options.out}: release {found.release}, {len(found.mapped)} tensors taken over")
    print(f"{len(found.ignored)} left out, which say nothing new:")
    for name, reason in found.ignored.items():
        print(f"  {name}: {reason}")
    for note in found.model.metadata["notes"]:
        print(f"note: {note}")
    return 0
