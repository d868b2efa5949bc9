"""The processes of a job: the death of one ends all of them with one line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Trainer

from affectkit.errors import JobError

__all__ = ["one_job"]


@contextmanager
def one_job(trainer: Trainer) -> Iterator[None]:
    """Replace the error of the transport, after another process has died, by `JobError` on the first process.

    Other processes end without a message.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or "peer" in str(error)
        if trainer.world_size == 1 or not lost:
            raise
        if not trainer.is_global_zero:
            raise SystemExit(1) from error
        raise JobError(
            f"{_dead(getattr(trainer.strategy.launcher, 'procs', []))} has ended, so the job ends.",
            remedy="Continue with --ckpt_path last.",
        ) from error


def _dead(started: list[Popen[Any]]) -> str:
    """Name the first process that has ended, which may take it a moment; those of a cluster are not known."""
    for _ in range(50):
        for rank, process in enumerate(started, start=1):
            if process.poll():
                return f"Process {rank} of this job (exit code {process.returncode})"
        time.sleep(0.1 if started else 0)
    return "Another process of this job"
