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
from affectkit.workers import Event, Interrupted, portable, run_here, run_in_processes
from affectkit.workers import processes as workers


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
    assert str(events[3].content) == "An unexpected failure: RuntimeError: bad apple"
    assert heard == [Event("progress", 0, (1, 2)), Event("progress", 2, (1, 2))]
    assert outcomes(run_here(Start(), jobs[:1]))[0].content == 8


def test_errors_of_ours_stay_what_they_are():
    error = VideoError("cut off", path="a.mp4")
    assert portable(error) is error
    assert str(portable(ValueError("x " * 600))).startswith("An unexpected failure: ValueError: x x")
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
    assert "was ended by SIGKILL" in str(last[1].content)
    assert "bad pear" in str(last[2].content)
    assert "for 3 seconds" in str(last[3].content)
    assert Event("progress", 0, (1, 2)) in events
    assert not multiprocessing.active_children()


def test_a_process_that_dies_between_two_jobs_costs_nothing(tmp_path):
    jobs = [("die afterwards", tmp_path / "mark"), ("be at work", tmp_path / "mark")]
    events = list(run_in_processes(Start(), jobs, processes=2))
    assert {job: event.kind for job, event in outcomes(events).items()} == {0: "done", 1: "done"}


class Idle:
    """A worker that does its jobs at once, and dies of some."""

    made: ClassVar[list[int]] = []

    def __init__(self, start, place):
        self.place, self.connection, self.ready, self.dead, self.job = place, None, True, False, None
        self.made.append(place)

    def give(self, number, content):
        self.job, self.content = number, content
        return number

    def events(self, patience):
        if self.job is not None:
            self.dead = self.content == "die"
            yield Event("failed" if self.dead else "done", self.job)
            self.job = None

    def tell_to_end(self):
        pass

    def end(self, grace):
        pass


def test_jobs_are_done_in_order_and_once_and_the_dead_are_replaced_where_they_were(monkeypatch):
    monkeypatch.setattr(workers, "_Worker", Idle)
    monkeypatch.setattr(workers, "wait", lambda *_, **__: [])
    events = list(run_in_processes(Start(), ["double", "die", "double", "die", "double"], processes=2))
    assert [event.job for event in events if event.kind == "begun"] == list(range(5))
    assert [(event.kind, event.job) for event in events if event.kind != "begun"] == [
        ("done", 0),
        ("failed", 1),
        ("done", 2),
        ("failed", 3),
        ("done", 4),
    ]
    assert Idle.made == [0, 1, 1, 1]


def test_patience_counts_from_the_last_sign_of_life(monkeypatch):
    now, told, killed = 0.0, [("ready", None)], []
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: now))
    worker = object.__new__(workers._Worker)
    worker.connection = SimpleNamespace(poll=lambda: told, recv=told.pop, send=lambda _: None)
    worker.process = SimpleNamespace(kill=lambda: killed.append(now))
    worker.ready, worker.dead, worker.job = False, False, None
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
            worker.give(3, "job")
        assert [event.kind for event in worker.events(5.0)] == kinds
    assert (killed, worker.dead, worker.job) == ([19.0], True, None)


def test_a_start_that_fails_is_an_error_not_a_loop():
    with pytest.raises(AffectKitError, match="ValueError: no model"):
        list(run_in_processes(Start(broken=True), [("double", 1)], processes=1))
    with pytest.raises(AffectKitError, match="ended with code 7 before it could work"):
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
    monkeypatch.setattr(workers, "_GRACE", 0.2)
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
    with pytest.raises(ConfigError, match="cannot work"):
        list(run_in_processes(Start(), [], **arguments))


def test_nothing_to_do_starts_nothing(monkeypatch):
    monkeypatch.setattr(workers, "_Worker", pytest.fail)
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
    job = workers._Job
    pipe = Pipe(job(("double", 3)), job(("raise", "plum")), None)
    workers._serve(Start(), 0, pipe)
    assert [kind for kind, _ in pipe.sent] == ["ready", "progress", "done", "failed"]
    assert pipe.sent[2] == ("done", 6)
    assert ignored == [(signal.SIGINT, signal.SIG_IGN)]  # also where it was begun from another thread
    broken = Pipe()
    workers._serve(Start(broken=True), 0, broken)
    assert [kind for kind, _ in broken.sent] == ["broken"]
    told = Pipe(job(("double", 3)), None)
    workers._serve(Start(), 0, told)  # told to end while it works
    assert [kind for kind, _ in told.sent] == ["ready"]


def test_reports_are_rare_and_stop_when_told(monkeypatch):
    pipe, now = Pipe(), 0.0
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: now))
    report = workers._Reporter(pipe)
    for now in (0.0, 0.05, 0.09, 0.11, 0.2, 0.5):
        report(now)
    assert pipe.sent == [("progress", 0.0), ("progress", 0.11), ("progress", 0.5)]
    pipe.messages.append(None)
    with pytest.raises(Interrupted):
        report(51)


def test_a_process_ends_with_its_parent(monkeypatch):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    workers._end_with(SimpleNamespace(join=lambda: None))
    assert codes == [1]


def test_ctrl_c_is_ignored_while_processes_begin():
    before = signal.getsignal(signal.SIGINT)
    with workers._ctrl_c_ignored():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before


def test_how_processes_end_is_said_in_words():
    assert workers._how_it_ended(-11) == "was ended by SIGSEGV"
    assert workers._how_it_ended(-250) == "ended with code -250"
    assert workers._how_it_ended(3) == "ended with code 3"


def test_processes_can_be_started_from_any_thread():
    found = []

    def work():
        found.extend(run_in_processes(Start(), [("double", 8)], processes=1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[-1] == Event("done", 0, 16)
