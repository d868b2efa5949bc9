"""`affectkit model convert`: weights that other programs trained, as model folders of ours."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Convert a checkpoint."""
    from affectkit.models import list_models
    from affectkit.models.convert import Conversion
    from affectkit.models.registry import find

    parser = argparse.ArgumentParser(
        prog="affectkit model convert", description="Weights that other programs trained."
    )
    layouts = parser.add_subparsers(dest="layout", required=True)
    converters = {name: find("converter", name) for name in list_models("converter")}
    for name, converter in converters.items():
        layout = layouts.add_parser(
            name,
            help=converter.about,
            description=f"Turn {converter.about} into model folders that compute the same.",
        )
        layout.add_argument("checkpoint", type=Path, help="the file")
        layout.add_argument("--output", required=True, type=Path, help="folder to write")
        for flag, settings in converter.options.items():
            layout.add_argument(flag, **settings)
    options = vars(parser.parse_args(args))
    converter, checkpoint = converters[options.pop("layout")], options.pop("checkpoint")
    output = options.pop("output")
    found: Conversion = converter.convert(checkpoint, **options)
    found.model.save_pretrained(output)
    kind = found.release if isinstance(found.release, str) else f"release {found.release}"
    print(f"{output}: {kind}, {len(found.mapped)} tensors taken over")
    print(f"{len(found.ignored)} left out{':' if found.ignored else ''}")
    for name, reason in found.ignored.items():
        print(f"  {name}: {reason}")
    for note in found.model.metadata.get("notes", []):
        print(f"note: {note}")
    print(f"licence: {found.model.metadata.get('licence')}")
    if use := found.model.metadata.get("intended_use"):
        print(f"use: {use}")
    return 0
