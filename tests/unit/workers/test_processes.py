"""Whatever one job does to its process, the others are done."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import ClassVar

import pytest
from helpers.jobs import Start

from affectkit.errors import AffectKitError, ConfigError, VideoError
from affectkit.workers import Event, pool, portable, run_here, run_in_processes
from affectkit.workers import processes as workers
from affectkit.workers.pool import Task, Worker, run_pool


def outcomes(events) -> dict[int, Event]:
    """The last event of each job."""
    return {event.job: event for event in events}


def test_jobs_here_fail_one_by_one_and_tell_how_far_they_are():
    heard = []
    jobs = [("double", 4), ("raise", "apple"), ("double", 5)]
    events = list(run_here(Start(), jobs, heard.append))
    assert [(event.kind, event.job) for event in events] == [
        ("begun", 0),
        ("done", 0),
        ("begun", 1),
        ("failed", 1),
        ("begun", 2),
        ("done", 2),
    ]
    assert (events[1].content, events[5].content) == (8, 10)
    assert str(events[3].content) == "Unexpected failure: RuntimeError: bad apple"
    assert heard == [Event("progress", 0, (1, 2)), Event("progress", 2, (1, 2))]
    assert outcomes(run_here(Start(), jobs[:1]))[0].content == 8


def test_errors_of_ours_stay_what_they_are():
    error = VideoError("cut off", path="a.mp4")
    assert portable(error) is error
    assert str(portable(ValueError("x " * 600))).startswith("Unexpected failure: ValueError: x x")
    assert len(str(portable(ValueError("x" * 1200)))) < 600


def test_a_crash_and_a_hang_cost_one_job_each(tmp_path):
    jobs = [("double", 1), ("die", None), ("raise", "pear"), ("hang", None), ("double", 2), ("double", 3)]
    events = list(run_in_processes(Start(), jobs, processes=2, patience=3))
    last = outcomes(events)
    assert {job: event.kind for job, event in last.items()} == {
        0: "done",
        1: "failed",
        2: "failed",
        3: "failed",
        4: "done",
        5: "done",
    }
    assert [last[job].content for job in (0, 4, 5)] == [2, 4, 6]
    assert "signal 9" in str(last[1].content)
    assert "bad pear" in str(last[2].content)
    assert "for 3 s" in str(last[3].content)
    assert Event("progress", 0, (1, 2)) in events
    assert not multiprocessing.active_children()


def test_a_process_that_dies_between_two_jobs_costs_nothing(tmp_path):
    jobs = [("die afterwards", tmp_path / "mark"), ("be at work", tmp_path / "mark")]
    events = list(run_in_processes(Start(), jobs, processes=2))
    assert {job: event.kind for job, event in outcomes(events).items()} == {0: "done", 1: "done"}


class Idle(Worker):
    """A worker that finishes its jobs at once, and dies of some."""

    made: ClassVar[list[int]] = []

    def __init__(self, place):
        super().__init__(place)
        self.ready = True
        self.made.append(place)

    def send(self, job):
        self.job = job

    def events(self, patience):
        if self.task is not None and self.job == "die":
            self.dead = True
        elif self.task is not None:
            yield Event("done", self.task.number)
            self.task = None

    def stop(self):
        pass

    def end(self, grace):
        pass


@pytest.mark.parametrize("attempts", [1, 2])
def test_jobs_are_done_in_order_and_once_and_the_dead_are_replaced_where_they_were(attempts):
    Idle.made.clear()
    jobs = ["double", "die", "double", "die", "double"]
    events = list(run_pool(Idle, jobs, 2, lambda _: None, attempts=attempts))
    begun = [event.job for event in events if event.kind == "begun"]
    assert sorted(begun) == sorted([*range(5), *([1, 3] if attempts == 2 else [])])
    assert {event.job: event.kind for event in events} == {
        job: "failed" if job % 2 else "done" for job in range(5)
    }
    if attempts == 1:
        assert begun == list(range(5))
        assert Idle.made == [0, 1, 1, 1]


def test_patience_counts_from_the_last_sign_of_life(monkeypatch):
    now, told = 0.0, [("ready", None)]
    for module in (workers, pool):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    worker = object.__new__(workers._Process)
    Worker.__init__(worker, 0)
    worker.connection = SimpleNamespace(poll=lambda: told, recv=told.pop, send=lambda _: None)
    for now, heard, kinds in [
        (0.0, [("ready", None)], []),
        (8.0, [], []),  # no job yet
        (9.0, [("progress", 1)], ["progress"]),
        (13.9, [("progress", 2)], ["progress"]),
        (18.8, [], []),
        (19.0, [], ["failed"]),
    ]:
        told[:] = heard
        if now == 9.0:
            worker.give(Task(3, "job"))
        assert [event.kind for event in worker.events(5.0)] == kinds
    assert (worker.dead, worker.task) == (True, None)


def test_a_start_that_fails_is_an_error_not_a_loop():
    with pytest.raises(AffectKitError, match="ValueError: no model"):
        list(run_in_processes(Start(broken=True), [("double", 1)], processes=1))
    with pytest.raises(AffectKitError, match="code 7"):
        list(run_in_processes(Start(broken=None), [("double", 1)], processes=1))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("what", ["for ever", "for ever and loudly"])
def test_closing_lets_jobs_end_properly(tmp_path, what):
    events = run_in_processes(Start(), [(what, tmp_path / "file")], processes=1)
    assert next(event for event in events if event.kind == "progress")
    if what == "for ever and loudly":
        time.sleep(0.3)  # it waits until somebody takes its next report
    events.close()
    assert (tmp_path / "file").read_text() == "closed"
    assert not multiprocessing.active_children()


def test_closing_ends_those_that_hang(monkeypatch):
    monkeypatch.setattr(pool, "_GRACE", 0.2)
    events = run_in_processes(Start(), [("hang", None)], processes=1)
    assert next(event for event in events if event.kind == "progress")
    events.close()
    assert not multiprocessing.active_children()


@contextlib.contextmanager
def a_script(folder, job):
    """A process that has begun to do a job in a process of its own."""
    code = (
        "import signal\n"
        "from helpers.jobs import Start\n"
        "from affectkit.workers import run_in_processes\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells make their background ignore it
        "if __name__ == '__main__':\n"
        f"    for event in run_in_processes(Start(), [{job!r}], processes=1):\n"
        "        print(event.kind, flush=True)\n"
    )
    (folder / "script.py").write_text(code)
    with subprocess.Popen(
        [sys.executable, str(folder / "script.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,  # a group of its own, as a terminal has
    ) as process:
        try:
            while process.stdout.readline().strip() != "progress":
                assert process.poll() is None
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_ctrl_c_reaches_the_parent_only_and_files_are_closed(tmp_path):
    with a_script(tmp_path, ("for ever", str(tmp_path / "file"))) as process:
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (tmp_path / "file").read_text() == "closed"
    assert errors.count("Traceback") == 1  # the parent's KeyboardInterrupt
    assert "KeyboardInterrupt" in errors


def test_nobody_works_on_for_a_parent_that_was_killed(tmp_path):
    with a_script(tmp_path, ("hang", None)) as process:
        process.kill()
        process.communicate(timeout=30)  # its pipes end when all who hold them have ended


@pytest.mark.parametrize("arguments", [{"processes": 0}, {"processes": 1, "patience": 0}])
def test_impossible_numbers_are_refused(arguments):
    with pytest.raises(ConfigError, match="Invalid numbers"):
        list(run_in_processes(Start(), [], **arguments))


def test_nothing_to_do_starts_nothing(monkeypatch):
    monkeypatch.setattr(workers, "_Process", pytest.fail)
    assert list(run_in_processes(Start(), [], processes=3)) == []


class Pipe:
    """The end of a worker, without a process."""

    def __init__(self, *messages):
        self.messages, self.sent = list(messages), []

    def poll(self):
        return len(self.messages) > 0 and self.messages[0] is None

    def recv(self):
        return self.messages.pop(0)

    def send(self, message):
        self.sent.append(message)


def test_what_a_process_does(monkeypatch):
    ignored = []
    monkeypatch.setattr(signal, "signal", lambda *given: ignored.append(given))
    parent = SimpleNamespace(join=threading.Event().wait)  # for ever: behind it this process would end
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: parent)
    pipe = Pipe((("double", 3),), (("raise", "plum"),), None)
    workers._serve(Start(), 0, pipe)
    assert [kind for kind, _ in pipe.sent] == ["ready", "progress", "done", "failed"]
    assert pipe.sent[2] == ("done", 6)
    assert ignored == [(signal.SIGINT, signal.SIG_IGN)]  # also where it was begun from another thread
    broken = Pipe()
    workers._serve(Start(broken=True), 0, broken)
    assert [kind for kind, _ in broken.sent] == ["broken"]
    told = Pipe((("double", 3),), None)
    workers._serve(Start(), 0, told)  # told to end while it works
    assert [kind for kind, _ in told.sent] == ["ready"]


def test_reports_are_rare(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(
        multiprocessing, "parent_process", lambda: SimpleNamespace(join=threading.Event().wait)
    )

    def start(_):
        def handle(times, report):
            for now[0] in times:
                report(now[0])

        return handle

    pipe = Pipe(((0.0, 0.05, 0.09, 0.11, 0.2, 0.5),), None)
    pipe.poll = lambda: False
    workers._serve(start, 0, pipe)
    assert [content for kind, content in pipe.sent if kind == "progress"] == [0.0, 0.11, 0.5]


def test_a_process_ends_with_its_parent(monkeypatch):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    workers._exit_after(SimpleNamespace(join=lambda: None))
    assert codes == [1]


def test_ctrl_c_is_ignored_while_processes_begin():
    before = signal.getsignal(signal.SIGINT)
    with workers._ctrl_c_ignored():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before


def test_processes_can_be_started_from_any_thread():
    found = []

    def work():
        found.extend(run_in_processes(Start(), [("double", 8)], processes=1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[-1] == Event("done", 0, 16)
