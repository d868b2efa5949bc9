"""Workers on Ray: the same work as in `affectkit.workers.processes`, on one or more machines."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any

from affectkit.errors import ConfigError, MissingDependencyError, VideoError
from affectkit.workers import pool
from affectkit.workers.pool import Event, Handler, Interrupted, Starter, portable

__all__ = ["run_on_ray"]

_POLL_EVERY = 0.25  # seconds


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
    """Run jobs in Ray actors.

    If a worker or its machine dies, another one repeats its job, so repeating a job, or the rest of it, must be
    harmless. Workers for which there is no free processor get no jobs. A job that raises an error, or that reports
    nothing for longer than `patience`, is not repeated.

    A running Ray is used if there is one: in this process, at `address`, or at the environment variable `RAY_ADDRESS`.
    Otherwise one is started on this machine and stopped at the end. All machines of a cluster must see the same files.

    Arguments, events and errors not listed here are those of `affectkit.workers.run_in_processes`; "begun" comes at
    each attempt.

    Args:
        start: Called once in each worker; must be picklable.
        jobs: Inputs of the handlers; must be picklable.
        workers: Number of workers; each takes one processor.
        gpus: Accelerators per worker; Ray shows a worker only its own.
        attempts: Number of workers that a job may kill before it fails.
        patience: Seconds without a report after which a job fails; None for no limit.
        address: Address of a cluster, such as "auto" or "ray://head:10001".

    Raises:
        ConfigError: `workers`, `attempts` or `patience` is not positive, or there is no Ray at `address`.
        MissingDependencyError: Ray is not installed.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise MissingDependencyError(
            "Ray is not installed.", remedy="pip install 'affectkit[ray]'"
        ) from error
    is_ours = _connect(ray, address, workers)
    actor = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, max_concurrency=2)(Actor)

    def wait(handles: Iterable[_RayWorker]) -> None:
        awaited = [one.result if one.ready else one.started for one in handles if one.task or not one.ready]
        ray.wait(awaited, num_returns=1, timeout=_POLL_EVERY)

    try:
        yield from pool.run_pool(
            lambda place: _RayWorker(ray, actor.remote(start, place), place),
            jobs,
            workers,
            wait,
            patience=patience,
            attempts=attempts,
        )
    finally:
        if is_ours:
            ray.shutdown()


class Actor:
    """The Ray actor: one method runs a job while another one reports its progress."""

    def __init__(self, start: Starter, place: int) -> None:
        self._start, self._place = start, place
        self._handle: Handler | None = None
        self._reports, self._content, self._stopped = 0, None, False

    def work(self, job: Any) -> tuple[str, Any]:
        """Run a job: "done" and the result, "failed" or "broken" (at start) and the error, or "stopped"."""
        if self._handle is None:
            try:
                self._handle = self._start(self._place)
            except Exception as error:  # noqa: BLE001 - the driver raises it
                return "broken", portable(error)
        try:
            self._report(None)
            return "done", self._handle(job, self._report)
        except Interrupted:
            return "stopped", None
        except Exception as error:  # noqa: BLE001 - a job that fails does not stop the others
            return "failed", portable(error)

    def _report(self, content: Any) -> None:
        if self._stopped:
            raise Interrupted
        self._reports, self._content = self._reports + 1, content

    def progress(self) -> tuple[int, Any]:
        """Return the number of reports and the last one."""
        return self._reports, self._content

    def stop(self) -> None:
        """End the job at its next report."""
        self._stopped = True


class _RayWorker(pool.Worker):
    """An actor, seen from the driver; without a free processor in the cluster it starts later, or never."""

    def __init__(self, ray: Any, actor: Any, place: int) -> None:
        super().__init__(place)
        self.ray, self.actor = ray, actor
        self.started = actor.progress.remote()

    def send(self, job: Any) -> None:
        self.result = self.actor.work.remote(job)
        self._query: Any = None
        self._reports = 0

    def events(self, patience: float | None) -> Iterator[Event]:
        if not self.ready:  # also if it died: the next job then counts the attempt
            self.ready = bool(self.ray.wait([self.started], timeout=0)[0])
        if self.task is None:
            return
        number, attempt = self.task.number, self.task.attempt
        try:
            if self.ray.wait([self.result], timeout=0)[0]:
                kind, content = self.ray.get(self.result)
                self.task = None
                if kind == "broken":
                    raise content
                yield Event(kind, number, content)
                return
            if self._query is None:
                self._query = self.actor.progress.remote()
            if self.ray.wait([self._query], timeout=0)[0]:
                reports, content = self.ray.get(self._query)
                self._query = None
                if reports > self._reports:
                    self._reports, self.last_report = reports, time.monotonic()
                    if content is not None:
                        yield Event("progress", number, content)
        except self.ray.exceptions.RayError:
            self.dead = True
            self.cause = VideoError(
                f"All workers that ran this job died; attempts: {attempt}.",
                remedy="The file may be damaged: convert it with ffmpeg; or the machine lacks memory.",
            )
            return
        if self._reports:  # a model may take long to load
            yield from self.give_up(patience)

    def stop(self) -> None:
        if self.task is not None:
            self.actor.stop.remote()

    def end(self, grace: float) -> None:
        if self.task is not None:
            self.ray.wait([self.result], timeout=grace)
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.kill(self.actor)


def _connect(ray: Any, address: str | None, workers: int) -> bool:
    """Connect to a Ray or start one; returns whether it was started."""
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        else:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(
                num_cpus=workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                _node_ip_address="127.0.0.1",  # otherwise it may wait for a network that does not exist
            )
    except Exception as error:  # Ray raises plain exceptions
        fault = f"Cannot connect to or start Ray: {' '.join(str(error).split())[:300]}."
        raise ConfigError(fault, remedy="Check the address, or unset RAY_ADDRESS to work here.") from error
    return True
