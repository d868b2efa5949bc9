"""The same work as in `affectkit.workers.processes`, on Ray: more machines than one, and workers that may be killed."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from affectkit.errors import ConfigError, MissingDependencyError, VideoError
from affectkit.workers.processes import Event, Handler, Interrupted, Starter, gave_up, portable

__all__ = ["run_on_ray"]

_LOOK_EVERY = 0.25  # seconds
_GRACE = 20.0  # seconds that a worker has to make its file whole when the work is interrupted


def run_on_ray(
    start: Starter,
    jobs: Iterable[Any],
    *,
    workers: int,
    gpus: float = 0.0,
    attempts: int = 3,
    patience: float | None = None,
    address: str | None = None,
) -> Generator[Event, None, None]:
    """Do jobs in Ray actors, each of which holds what `start` gave it and does one job after another.

    A job whose worker died is given to a new one, so jobs must be such that doing one again, or what is left of it,
    is harmless: files that are resumed, or written under another name and renamed. A job that fails by itself, or
    reports nothing for longer than `patience`, is not repeated.

    A running Ray is used where there is one: of this process, at `address`, or at the environment's `RAY_ADDRESS`. Else
    one is started on this machine, and ended with the work. On a cluster all machines must see the same files.

    Args:
        start: Called once in each worker, with its number from 0; can be pickled.
        jobs: What the handlers take; can be pickled.
        workers: How many; each takes one processor.
        gpus: Accelerators of each; Ray shows a worker only its own.
        attempts: Workers that a job may cost before it has failed.
        patience: Seconds without a report after which a job is given up; None waits for ever.
        address: Of a cluster, such as "auto" or "ray://head:10001".

    Yields:
        "begun" (again at each attempt), any number of "progress", and then "done" or "failed" for each job.

    Raises:
        ConfigError: Fewer than one worker or attempt, `patience` is not positive, or no Ray at `address`.
        MissingDependencyError: Ray is not installed.
        AffectKitError: `start` failed.
    """
    if min(workers, attempts) < 1 or (patience is not None and not patience > 0):
        raise ConfigError(
            f"{workers} workers with {attempts} attempts and a patience of {patience} cannot work."
        )
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise MissingDependencyError(
            "Ray is not installed.", remedy="pip install 'affectkit[ray]'"
        ) from error
    ours = _connect(ray, address, workers)
    queue = deque(_Task(number, job) for number, job in enumerate(jobs))
    actor = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, max_concurrency=2)(Worker)
    free = list(range(min(workers, len(queue))))  # places without a worker
    idle: list[_Running] = []
    busy: list[_Running] = []
    try:
        while queue or busy:
            while queue and (idle or free):
                running = idle.pop() if idle else _Running(actor, start, free.pop(0))
                busy.append(running)
                yield running.give(queue.popleft())
            ray.wait([running.result for running in busy], num_returns=1, timeout=_LOOK_EVERY)
            for running in list(busy):
                yield from running.look(ray, patience)
                if running.state == "busy":
                    continue
                busy.remove(running)
                if running.state == "idle":
                    idle.append(running)
                    continue
                free.append(running.place)
                if running.state == "lost":
                    if running.task.attempt < attempts:
                        queue.appendleft(running.task)
                    else:
                        yield running.given_up(attempts)
    finally:
        _end(ray, busy, idle)
        if ours:
            ray.shutdown()


@dataclass
class _Task:
    number: int
    job: Any
    attempt: int = 0


class Worker:
    """What runs as an actor: one method works, while another says how far it is."""

    def __init__(self, start: Starter, place: int) -> None:
        self._start, self._place = start, place
        self._handle: Handler | None = None
        self._reports, self._content, self._stopped = 0, None, False

    def work(self, job: Any) -> tuple[str, Any]:
        """Do a job: "done" and the result, "failed" or "broken" (at the start) and the error, or "stopped"."""
        if self._handle is None:
            try:
                self._handle = self._start(self._place)
            except Exception as error:  # noqa: BLE001 - the driver shows it
                return "broken", portable(error)
        try:
            self._report(None)
            return "done", self._handle(job, self._report)
        except Interrupted:
            return "stopped", None
        except Exception as error:  # noqa: BLE001 - whatever a file does, the others go on
            return "failed", portable(error)

    def _report(self, content: Any) -> None:
        if self._stopped:
            raise Interrupted
        self._reports, self._content = self._reports + 1, content

    def progress(self) -> tuple[int, Any]:
        """How many reports there were, and the last one."""
        return self._reports, self._content

    def stop(self) -> None:
        """End the job at its next report."""
        self._stopped = True


class _Running:
    """An actor, as the driver sees it."""

    def __init__(self, actor: Any, start: Starter, place: int) -> None:
        self.place = place
        self.actor = actor.remote(start, place)
        self.state = "idle"  # or "busy", "lost" (its worker died), "gone" (given up)

    def give(self, task: _Task) -> Event:
        """Hand over a job."""
        self.task, self.state = task, "busy"
        task.attempt += 1
        self.result = self.actor.work.remote(task.job)
        self._asked: Any = None
        self._reports, self._heard = 0, 0.0
        return Event("begun", task.number)

    def look(self, ray: Any, patience: float | None) -> Iterator[Event]:
        """What happened since the last time."""
        number = self.task.number
        try:
            if ray.wait([self.result], timeout=0)[0]:
                kind, content = ray.get(self.result)
                self.state = "idle"
                if kind == "broken":
                    raise content
                yield Event(kind, number, content)
                return
            if self._asked is None:
                self._asked = self.actor.progress.remote()
            if ray.wait([self._asked], timeout=0)[0]:
                reports, content = ray.get(self._asked)
                self._asked = None
                if reports > self._reports:
                    self._reports, self._heard = reports, time.monotonic()
                    if content is not None:
                        yield Event("progress", number, content)
        except ray.exceptions.RayError:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(self.actor)  # if it lives, it is of no use
            self.state = "lost"
            return
        if patience is not None and self._reports and time.monotonic() - self._heard > patience:
            ray.kill(self.actor)
            self.state = "gone"
            yield Event("failed", number, gave_up(patience))

    def given_up(self, attempts: int) -> Event:
        """The event of a job that cost too many workers."""
        fault = f"The workers that tried it died, {attempts} times."
        remedy = "The file may be damaged: convert it with ffmpeg; or the machine lacks memory."
        return Event("failed", self.task.number, VideoError(fault, remedy=remedy))


def _end(ray: Any, busy: list[_Running], idle: list[_Running]) -> None:
    """Let those who work make their files whole, and end all."""
    for running in busy:
        running.actor.stop.remote()
    if busy:
        ray.wait([running.result for running in busy], num_returns=len(busy), timeout=_GRACE)
    for running in (*busy, *idle):
        ray.kill(running.actor)


def _connect(ray: Any, address: str | None, workers: int) -> bool:
    """Find or start a Ray; whether it is ours to end."""
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address=address, log_to_driver=False)
        else:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(
                num_cpus=workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                _node_ip_address="127.0.0.1",  # without it, it may wait for a network that is not there
            )
    except Exception as error:  # it raises what is no more than that
        fault = f"Ray cannot be reached or started: {' '.join(str(error).split())[:300]}."
        raise ConfigError(fault, remedy="Check the address, or unset RAY_ADDRESS to work here.") from error
    return True
