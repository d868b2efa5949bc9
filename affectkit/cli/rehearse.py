"""`affectkit data rehearse`: a rendered corpus in the layout of the real one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from affectkit.cli.data import MANIFEST, add_option, read_options

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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-media", action="store_true", help="write the annotation only")
    add_option(parser, "of the layout, such as kind=compound")
    options = parser.parse_args(args)
    name, size = options.corpus.lower(), options.size
    more = read_options(options.option)
    rehearse(name, options.output, size=size, seed=options.seed, media=not options.no_media, **more)
    truths = options.output / MANIFEST
    print(f"{options.output}: a rendered {name}, {size}, in the layout of the real one; truths in {truths}")
    print(f"compare: affectkit data check {name} {options.output}")
    return 0
