"""Does Micro-AU CLIP help? The method, its parts taken away, and baselines, on rendered micro clips, run by run.

    python benchmarks/studies/micro_au.py --runs runs/studies/micro_au --jobs 2

Clips show a movement of at most half a second and a tenth to a half of its full strength. Every variant trains for the
same number of steps on the same draws of the same people, and is tested on people nobody saw; nothing is chosen by
looking at them. A finished run is a JSON file in the folder: stop at any time, start again, and only what is missing
runs. The table is written beside the runs as Markdown, CSV and JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import harness
from micro_au_setup import VARIANTS, Setup
from micro_au_tables import write_tables


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and write the tables."""

    def runner() -> Any:
        import micro_au_run

        return micro_au_run

    return harness.main(
        __file__,
        __doc__,
        lambda quick: Setup.rehearsal() if quick else Setup(),
        list(VARIANTS),
        runner=runner,
        write_tables=write_tables,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
