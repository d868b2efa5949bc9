"""Silence of Lightning: advice, advertisements and messages about intended behaviour."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import warnings
from collections.abc import Iterator

import lightning.pytorch  # noqa: F401  sets the levels that are changed here

__all__ = ["quietly"]

# Warnings about intended behaviour of our recipes, and advice that is wrong for small data.
_KNOWN = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    "You're using the WeightAveraging callback, but loading",
    "The dirpath has changed",
    "The number of training batches",
    "The '.*' does not have many workers",
    r"Found \d+ module\(s\) in eval mode",
    "Checkpoint directory .* exists and is not empty",  # of a continued run
    "Be aware that when using `ckpt_path`",
)
_OBSERVER = "lightning.fabric.strategies.launchers.subprocess_script"


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Show only warnings and errors of Lightning, except for the end of a process of the job."""
    names = ("lightning.pytorch", "lightning.fabric")
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    observer = logging.getLogger(_OBSERVER)
    try:
        for logger in levels:
            logger.setLevel(logging.WARNING)
        observer.setLevel(logging.INFO)
        observer.addFilter(_explain_death)
        with warnings.catch_warnings():
            for message in _KNOWN:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
        observer.setLevel(logging.NOTSET)
        observer.removeFilter(_explain_death)


def _explain_death(record: logging.LogRecord) -> bool:
    """Print one line when Lightning ends a job because a process has died; nothing else passes."""
    if died := re.search(r"rank: (\d+)\].*terminated with code (-?\d+)", record.getMessage()):
        rank, code = died.groups()
        print(
            f"affectkit: error: Process {rank} of this job has ended with exit code {code}, so the job ends. "
            "Continue with --ckpt_path last.",
            file=sys.stderr,
            flush=True,
        )
    return False
