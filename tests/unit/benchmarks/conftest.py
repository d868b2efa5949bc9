import sys
from pathlib import Path

import pytest

STUDIES = Path(__file__).parents[3] / "benchmarks" / "studies"
LEADERBOARD = STUDIES.parent / "leaderboard"


@pytest.fixture(autouse=True)
def studies(monkeypatch):
    """The modules of the studies and of the leaderboard import each other by name, as scripts do."""
    monkeypatch.syspath_prepend(str(LEADERBOARD))
    monkeypatch.syspath_prepend(str(STUDIES))
    yield STUDIES
    for module in [name for name, found in sys.modules.items() if _from_here(found)]:
        del sys.modules[module]


def _from_here(module):
    return str(getattr(module, "__file__", "")).startswith((str(STUDIES), str(LEADERBOARD)))
