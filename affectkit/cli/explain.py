"""`affectkit explain`: what a model learned, as pictures and tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Explain a saved model."""
    parser = argparse.ArgumentParser(prog="affectkit explain", description="What a model learned.")
    actions = parser.add_subparsers(dest="action", required=True)
    maps = actions.add_parser(
        "map",
        help="the two learned maps between action units and expressions, beside their prior",
        description="Write map.csv and map.png: how strongly action units and expressions speak for each other.",
    )
    maps.add_argument("--model", required=True, help="folder or Hub name of a saved model")
    maps.add_argument("--out", required=True, type=Path, help="folder to write")
    options = parser.parse_args(args)
    from affectkit.inference.maps import associations, write_associations
    from affectkit.models import AffectModel

    found = associations(AffectModel.from_pretrained(options.model))
    for path in write_associations(found, options.out):
        print(path)
    for direction, learned in found.learned.items():
        moved = (learned - found.prior).abs()
        i, j = divmod(int(moved.argmax()), len(found.units))
        print(
            f"{direction}: moved most from the prior is {found.expressions[i]} with {found.units[j]}, "
            f"{found.prior[i, j]:.2f} -> {learned[i, j]:.2f}"
        )
    return 0
