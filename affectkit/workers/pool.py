"""Scheduling of jobs over workers that may crash or hang, independent of how workers are run."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from affectkit.errors import AffectKitError, ConfigError, VideoError

__all__ = ["Event", "Handler", "Interrupted", "Starter", "Task", "Worker", "portable", "run_here", "run_pool"]

Handler = Callable[[Any, Callable[[Any], None]], Any]
"""Called with a job and a function that reports progress; returns the result of the job."""

Starter = Callable[[int], Handler]
"""Called once per worker with its number, from 0; returns the handler of its jobs."""

_GRACE = 20.0  # seconds that workers have to close their files when the work is interrupted


class Event(NamedTuple):
    """State change of a job.

    Args:
        kind: "begun", "progress" (content: the report), "done" (the result) or "failed" (the error).
        job: Number of the job.
        content: See `kind`.
    """

    kind: Literal["begun", "progress", "done", "failed"]
    job: int
    content: Any = None


class Interrupted(BaseException):
    """Raised in a worker that must stop. Like KeyboardInterrupt, it is not an `Exception`."""


@dataclass
class Task:
    """A job."""

    number: int
    job: Any
    attempt: int = 0


class Worker(ABC):
    """A worker as the scheduler sees it; `cause` is the error of a task whose worker died."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.task: Task | None = None
        self.ready = self.dead = False
        self.cause: AffectKitError | None = None
        self.last_report = 0.0

    def give(self, task: Task) -> Event:
        """Start a task."""
        self.task, self.last_report = task, time.monotonic()
        task.attempt += 1
        self.send(task.job)
        return Event("begun", task.number)

    def give_up(self, patience: float | None) -> Iterator[Event]:
        """Fail the task if it reported nothing for longer than `patience` seconds; `end` kills the worker."""
        if self.task is not None and patience and time.monotonic() - self.last_report > patience:
            fault = f"No output for {patience:g} s; the worker was stopped."
            error = VideoError(fault, remedy="Convert the file with ffmpeg, or increase the patience.")
            yield Event("failed", self.task.number, error)
            self.task, self.dead = None, True

    @abstractmethod
    def send(self, job: Any) -> None:
        """Hand over a job."""

    @abstractmethod
    def events(self, patience: float | None) -> Iterator[Event]:
        """Events since the last call."""

    @abstractmethod
    def stop(self) -> None:
        """Ask the worker to stop at its next report."""

    @abstractmethod
    def end(self, grace: float) -> None:
        """Wait `grace` seconds for the worker to stop, then kill it."""


AnyWorker = TypeVar("AnyWorker", bound=Worker)


def run_pool(
    make: Callable[[int], AnyWorker],
    jobs: Iterable[Any],
    count: int,
    wait: Callable[[Sequence[AnyWorker]], object],
    *,
    patience: float | None = None,
    attempts: int = 1,
) -> Generator[Event, None, None]:
    """Distribute jobs over workers and replace workers that die; see `run_in_processes` and `run_on_ray`.

    Args:
        make: Starts the worker with a given number.
        jobs: The jobs.
        count: Number of workers.
        wait: Blocks until one of the workers may have an event, half a second at most.
        patience: Seconds without a report after which a job fails; None for no limit.
        attempts: Number of workers that a job may kill before it fails.
    """
    if min(count, attempts) < 1 or (patience is not None and not patience > 0):
        raise ConfigError(
            f"Invalid numbers: {count} workers, {attempts} attempts, patience {patience} s.",
            remedy="Give positive numbers.",
        )
    queue = deque(Task(number, job) for number, job in enumerate(jobs))
    workers: list[AnyWorker] = []
    try:
        for place in range(min(count, len(queue))):
            workers.append(make(place))  # noqa: PERF401 - those started must be ended if one fails
        while queue or any(worker.task is not None for worker in workers):
            for worker in workers:
                if worker.ready and worker.task is None and queue:
                    yield worker.give(queue.popleft())
            wait(workers)
            for k, worker in enumerate(workers):
                yield from worker.events(patience)
                if not worker.dead:
                    continue
                if worker.task is not None and worker.task.attempt < attempts:
                    queue.appendleft(worker.task)
                elif worker.task is not None:
                    yield Event("failed", worker.task.number, worker.cause)
                worker.task = None
                worker.end(0.0)
                workers[k] = make(worker.place) if queue else worker
            workers = [worker for worker in workers if not worker.dead]
    finally:
        for worker in workers:
            worker.stop()
        deadline = time.monotonic() + _GRACE
        for worker in workers:
            worker.end(max(0.0, deadline - time.monotonic()))


def run_here(
    start: Starter, jobs: Iterable[Any], progress: Callable[[Event], None] | None = None
) -> Generator[Event, None, None]:
    """Run all jobs in this process, one after the other.

    Args:
        start: Called once, with 0, before the first job.
        jobs: Inputs of the handler.
        progress: Called with "progress" events while a job runs.

    Yields:
        "begun", then "done" or "failed" for each job.
    """
    handle = start(0)
    for number, job in enumerate(jobs):
        yield Event("begun", number)

        def report(content: Any, number: int = number) -> None:
            if progress is not None:
                progress(Event("progress", number, content))

        try:
            result = handle(job, report)
        except Exception as error:  # noqa: BLE001 - a job that fails does not stop the others
            yield Event("failed", number, portable(error))
        else:
            yield Event("done", number, result)


def portable(error: Exception) -> AffectKitError:
    """Convert an error to one that can be pickled and shown to users."""
    if isinstance(error, AffectKitError):
        return error
    text = " ".join(str(error).split())[:500]
    return AffectKitError(f"Unexpected failure: {type(error).__name__}: {text}")
