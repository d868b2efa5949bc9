"""Does SSM help? Joint learning against single tasks and ablations on rendered faces, run by run.

    python benchmarks/studies/ssm.py --runs runs/studies/ssm --jobs 2

Corpus A annotates only action units, on the frames of few people; corpus B only expressions, on the clips of many
others. Every variant trains for the same number of steps on the same draws; nothing is chosen by looking at test
people. A finished run is a JSON file in the folder: stop at any time, start again, and only what is missing runs.
The tables are written beside the runs as Markdown, CSV and JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).parent))

import harness
from ssm_setup import VARIANTS, Setup
from ssm_tables import write_tables


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and write the tables."""
    return harness.main(
        __file__,
        __doc__,
        lambda quick: Setup.rehearsal() if quick else Setup(),
        list(VARIANTS),
        runner=runner,
        write_tables=write_tables,
        arguments=arguments,
    )


def runner() -> ModuleType:
    """What runs a variant; importing it takes seconds."""
    import ssm_run

    return ssm_run


if __name__ == "__main__":
    sys.exit(main())
