"""`affectkit model convert`: weights trained by other programs, as model folders of affectkit."""

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
        prog="affectkit model convert", description="Convert weights trained by other programs."
    )
    layouts = parser.add_subparsers(dest="layout", required=True)
    converters = {name: find("converter", name) for name in list_models("converter")}
    for name, converter in converters.items():
        description = f"Convert {converter.about} to model folders that compute the same."
        layout = layouts.add_parser(name, help=converter.about, description=description)
        layout.add_argument("checkpoint", type=Path, help="the file")
        layout.add_argument("--output", required=True, type=Path, help="folder to write")
        for flag, settings in converter.options.items():
            layout.add_argument(flag, **settings)
    options = vars(parser.parse_args(args))
    converter, output = converters[options.pop("layout")], options.pop("output")
    conversion: Conversion = converter.convert(options.pop("checkpoint"), **options)
    conversion.model.save_pretrained(output)
    print(f"{output}: release {conversion.release}, {len(conversion.mapped)} tensors converted")
    print(f"{len(conversion.ignored)} redundant tensors left out:")
    for name, reason in conversion.ignored.items():
        print(f"  {name}: {reason}")
    for note in conversion.model.metadata.get("notes", []):
        print(f"note: {note}")
    return 0
