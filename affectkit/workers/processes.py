"""Processes that hold a model each and do one job after another; a job that crashes or hangs costs only its process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, NamedTuple

from affectkit.errors import AffectKitError, ConfigError, VideoError

__all__ = [
    "Event",
    "Handler",
    "Interrupted",
    "Starter",
    "gave_up",
    "portable",
    "run_here",
    "run_in_processes",
]

Handler = Callable[[Any, Callable[[Any], None]], Any]
"""Does a job, and calls what it is given, now and then, with what is done so far; returns the result."""

Starter = Callable[[int], Handler]
"""Begins the work of a process, given its number from 0."""

_REPORT_EVERY = 0.1  # seconds
_GRACE = 20.0  # seconds that a process has to make its file whole when the work is interrupted


class Event(NamedTuple):
    """What happened to a job.

    Args:
        kind: "begun", "progress" (with what was reported), "done" (with the result) or "failed" (with the error).
        job: Number of the job.
        content: See `kind`.
    """

    kind: Literal["begun", "progress", "done", "failed"]
    job: int
    content: Any = None


class Interrupted(BaseException):
    """The work was told to end; like KeyboardInterrupt, nothing that handles errors may swallow it."""


def portable(error: Exception) -> AffectKitError:
    """An error as it can cross processes and be shown to a user."""
    if isinstance(error, AffectKitError):
        return error
    text = " ".join(str(error).split())[:500]
    return AffectKitError(f"An unexpected failure: {type(error).__name__}: {text}")


def gave_up(patience: float) -> VideoError:
    """The error of a job that reported nothing."""
    fault = f"Nothing came of it for {patience:g} seconds, so it was given up."
    return VideoError(fault, remedy="Convert it with ffmpeg, or allow more time.")


def run_here(
    start: Starter, jobs: Iterable[Any], heard: Callable[[Event], None] | None = None
) -> Generator[Event, None, None]:
    """Do all jobs in this process, one after the other.

    Args:
        start: Called once, with 0, before the first job.
        jobs: What the handler takes.
        heard: Called with the "progress" of jobs, while they are being done.

    Yields:
        "begun", then "done" or "failed" for each.
    """
    handle = start(0)
    for number, job in enumerate(jobs):
        yield Event("begun", number)
        report = _teller(number, heard)
        try:
            result = handle(job, report)
        except Exception as error:  # noqa: BLE001 - whatever a file does, the others go on
            yield Event("failed", number, portable(error))
        else:
            yield Event("done", number, result)


def _teller(number: int, heard: Callable[[Event], None] | None) -> Callable[[Any], None]:
    def tell(content: Any) -> None:
        if heard is not None:
            heard(Event("progress", number, content))

    return tell


def run_in_processes(
    start: Starter, jobs: Iterable[Any], *, processes: int, patience: float | None = None
) -> Generator[Event, None, None]:
    """Do jobs in processes of their own.

    A job whose process dies, or that reports nothing for longer than `patience`, has failed; a new process takes the
    place of its own and goes on with the next job. Ctrl-C is for this process: the others are told to end, and get
    some seconds to do so properly; the same happens when the iterator is closed.

    Args:
        start: Called once in each process, with its number from 0; can be pickled.
        jobs: What the handlers take; can be pickled.
        processes: How many.
        patience: Seconds without a report after which a job is given up; None waits for ever.

    Yields:
        "begun", any number of "progress", and then "done" or "failed" for each job.

    Raises:
        ConfigError: Fewer than one process, or `patience` is not positive.
        AffectKitError: `start` failed.
    """
    if processes < 1 or (patience is not None and not patience > 0):
        raise ConfigError(f"{processes} processes with a patience of {patience} seconds cannot work.")
    queue = deque(enumerate(jobs))
    workers: list[_Worker] = []
    try:
        for place in range(min(processes, len(queue))):
            workers.append(_Worker(start, place))  # noqa: PERF401 - those begun must be ended if one fails
        while queue or any(worker.job is not None for worker in workers):
            for worker in workers:
                if worker.ready and worker.job is None and queue:
                    yield Event("begun", worker.give(*queue.popleft()))
            wait(
                [worker.connection for worker in workers],
                timeout=0.5 if patience is None else min(0.5, patience),
            )
            for k, worker in enumerate(workers):
                yield from worker.events(patience)
                if worker.dead:
                    worker.end(0.0)
                    workers[k] = _Worker(start, worker.place) if queue else worker
            workers = [worker for worker in workers if not worker.dead]
    finally:
        for worker in workers:
            worker.tell_to_end()
        deadline = time.monotonic() + _GRACE
        for worker in workers:
            worker.end(max(0.0, deadline - time.monotonic()))


@dataclass(frozen=True)
class _Job:
    content: Any


class _Worker:
    """One process, as its parent sees it."""

    def __init__(self, start: Starter, place: int) -> None:
        # Not forked: the threads of torch, of decoders and of accelerators do not survive that.
        context = multiprocessing.get_context("spawn")
        self.place = place
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(start, place, theirs), daemon=True)
        with _ctrl_c_ignored():
            self.process.start()
        theirs.close()
        self.ready, self.dead = False, False
        self.job: int | None = None
        self._heard = time.monotonic()

    def give(self, number: int, content: Any) -> int:
        """Hand over a job."""
        self.job, self._heard = number, time.monotonic()
        with contextlib.suppress(OSError):  # it has died: reading from it will tell
            self.connection.send(_Job(content))
        return number

    def events(self, patience: float | None) -> Iterator[Event]:
        """What came from the process since the last time."""
        try:
            while self.connection.poll():
                kind, content = self.connection.recv()
                self._heard = time.monotonic()
                if kind == "broken":
                    raise content
                if kind == "ready":
                    self.ready = True
                elif self.job is not None:
                    yield Event(kind, self.job, content)
                    self.job = self.job if kind == "progress" else None
        except (EOFError, OSError):
            yield from self._died()
            return
        if self.job is not None and patience is not None and time.monotonic() - self._heard > patience:
            self.process.kill()
            self.dead = True
            yield Event("failed", self.job, gave_up(patience))
            self.job = None

    def _died(self) -> Iterator[Event]:
        self.process.join(5)
        self.dead = True
        how = _how_it_ended(self.process.exitcode)
        if self.job is None and self.ready:  # between two jobs: nothing is lost
            return
        if self.job is None:
            raise AffectKitError(
                f"A worker process {how} before it could work.",
                remedy='In a script, call this below `if __name__ == "__main__":`; or use fewer processes.',
            )
        fault = f"The process that worked at it {how}."
        yield Event(
            "failed", self.job, VideoError(fault, remedy="The file may be damaged: convert it with ffmpeg.")
        )
        self.job = None

    def tell_to_end(self) -> None:
        """Ask the process to finish what it writes."""
        with contextlib.suppress(OSError):
            self.connection.send(None)

    def end(self, grace: float) -> None:
        """Wait for the end of the process, and enforce it."""
        if self.ready or grace == 0:
            deadline = time.monotonic() + grace
            with contextlib.suppress(EOFError, OSError):
                while (left := deadline - time.monotonic()) > 0 and self.connection.poll(left):
                    self.connection.recv()  # a process whose pipe is full could not end
        self.process.join(0.5 if self.ready else 0)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.connection.close()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"


@contextlib.contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """What is started meanwhile is left alone by Ctrl-C, from its first moment."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(start: Starter, place: int, connection: Connection) -> None:
    """What a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    try:
        handle = start(place)
    except Exception as error:  # noqa: BLE001 - the parent shows it
        connection.send(("broken", portable(error)))
        return
    connection.send(("ready", None))
    while isinstance(job := connection.recv(), _Job):
        try:
            result = handle(job.content, _Reporter(connection))
        except Interrupted:
            return
        except Exception as error:  # noqa: BLE001 - whatever a file does, the others go on
            connection.send(("failed", portable(error)))
        else:
            connection.send(("done", result))


class _Reporter:
    """Tells the parent how far the work is, not too often, and notices when it is to end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next = 0.0

    def __call__(self, content: Any) -> None:
        if self._connection.poll():
            raise Interrupted
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REPORT_EVERY
            self._connection.send(("progress", content))


def _end_with(parent: Any) -> None:
    """Nobody would take the results of a process whose parent was killed."""
    parent.join()
    os._exit(1)
