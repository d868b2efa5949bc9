"""Workers in processes of this machine; a job that crashes or hangs costs only its process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from affectkit.errors import AffectKitError, VideoError
from affectkit.workers.pool import Event, Interrupted, Starter, Worker, portable, run_pool

__all__ = ["run_in_processes"]

_REPORT_EVERY = 0.1  # seconds


def run_in_processes(
    start: Starter, jobs: Iterable[Any], *, processes: int, patience: float | None = None
) -> Generator[Event, None, None]:
    """Run jobs in processes.

    A job fails if its process dies, or if it reports nothing for longer than `patience`; a new process then continues
    with the next job. Ctrl-C reaches this process only. On Ctrl-C, and when the iterator is closed, the other
    processes get 20 seconds to close their files. In a script, call this below `if __name__ == "__main__":`.

    Args:
        start: Called once in each process; must be picklable.
        jobs: Inputs of the handlers; must be picklable.
        processes: Number of processes.
        patience: Seconds without a report after which a job fails; None for no limit.

    Yields:
        "begun", any number of "progress", then "done" or "failed" for each job.

    Raises:
        ConfigError: `processes` or `patience` is not positive.
        AffectKitError: `start` failed.
    """
    timeout = 0.5 if patience is None else min(0.5, patience)
    yield from run_pool(
        lambda place: _Process(start, place),
        jobs,
        processes,
        lambda workers: wait([worker.connection for worker in workers], timeout),
        patience=patience,
    )


class _Process(Worker):
    """One process, seen from its parent."""

    def __init__(self, start: Starter, place: int) -> None:
        super().__init__(place)
        # Not forked: the threads of torch, of decoders and of accelerators do not survive that.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(start, place, theirs), daemon=True)
        with _ctrl_c_ignored():
            self.process.start()
        theirs.close()

    def send(self, job: Any) -> None:
        with contextlib.suppress(OSError):  # if the process has died, reading from it reports that
            self.connection.send((job,))

    def events(self, patience: float | None) -> Iterator[Event]:
        try:
            while self.connection.poll():
                kind, content = self.connection.recv()
                self.last_report = time.monotonic()
                if kind == "broken":
                    raise content
                if kind == "ready":
                    self.ready = True
                elif self.task is not None:
                    yield Event(kind, self.task.number, content)
                    self.task = self.task if kind == "progress" else None
        except (EOFError, OSError):
            self._set_dead()
            return
        yield from self.give_up(patience)

    def _set_dead(self) -> None:
        self.process.join(5)
        self.dead = True
        code = self.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if not self.ready:
            raise AffectKitError(
                f"A worker process {how} before it was ready.",
                remedy='In a script, call this below `if __name__ == "__main__":`; or use fewer processes.',
            )
        remedy = "The file may be damaged: convert it with ffmpeg."
        self.cause = VideoError(f"The worker process {how}.", remedy=remedy)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(None)

    def end(self, grace: float) -> None:
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


@contextlib.contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Processes started in this context ignore Ctrl-C from their first moment."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(start: Starter, place: int, connection: Connection) -> None:
    """Main function of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_after, args=(multiprocessing.parent_process(),), daemon=True).start()
    next_report = 0.0

    def report(content: Any) -> None:
        nonlocal next_report
        if connection.poll():
            raise Interrupted
        now = time.monotonic()
        if now >= next_report:
            next_report = now + _REPORT_EVERY
            connection.send(("progress", content))

    try:
        handle = start(place)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        connection.send(("broken", portable(error)))
        return
    connection.send(("ready", None))
    while (message := connection.recv()) is not None:
        next_report = 0.0
        try:
            result = handle(message[0], report)
        except Interrupted:
            return
        except Exception as error:  # noqa: BLE001 - a job that fails does not stop the others
            connection.send(("failed", portable(error)))
        else:
            connection.send(("done", result))


def _exit_after(parent: Any) -> None:
    """End this process when its parent ends, for example because it was killed."""
    parent.join()
    os._exit(1)
