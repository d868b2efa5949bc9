"""`affectkit data rehearse`: a rendered corpus in the layout of the real one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from affectkit.cli.arguments import add_shared, read_options
from affectkit.cli.data import MANIFEST

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Render the corpus."""
    from affectkit.rehearse import rehearsals, rehearse

    parser = argparse.ArgumentParser(
        prog="affectkit data rehearse", description="Render a corpus in the layout of the real one."
    )
    parser.add_argument("corpus", help=", ".join(rehearsals()))
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    parser.add_argument("--size", choices=("tiny", "small", "full"), default="tiny", help="(default: tiny)")
    add_shared(parser, "--seed")
    parser.add_argument("--no-media", action="store_true", help="write only the annotation")
    add_shared(parser, "--option", help="option of the layout, such as kind=compound")
    options = parser.parse_args(args)
    name, out, size = options.corpus.lower(), options.output, options.size
    layout = read_options(options.option)
    rehearse(name, out, size=size, seed=options.seed, media=not options.no_media, **layout)
    print(f"{out}: a rendered {name}, {size}, in the layout of the real one; true counts in {out / MANIFEST}")
    print(f"compare: affectkit data check {name} {out}")
    return 0
