"""Whatever one job does to its process, the others are done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

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
    events = list(run_in_processes(Start(), jobs, processes=2, patience=5))
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
    assert "for 5 seconds" in str(last[3].content)
    assert Event("progress", 0, (1, 2)) in events
    assert not multiprocessing.active_children()


def test_a_start_that_fails_is_an_error_not_a_loop():
    with pytest.raises(AffectKitError, match="ValueError: no model"):
        list(run_in_processes(Start(broken=True), [("double", 1)], processes=1))
    with pytest.raises(AffectKitError, match="ended with code 7 before it could work"):
        list(run_in_processes(Start(broken=None), [("double", 1)], processes=1))
    assert not multiprocessing.active_children()


def test_closing_lets_jobs_end_properly(tmp_path):
    events = run_in_processes(Start(), [("for ever", tmp_path / "file")], processes=1)
    assert next(event for event in events if event.kind == "progress").content == (0, 0)
    events.close()
    assert (tmp_path / "file").read_text() == "closed"
    assert not multiprocessing.active_children()


def test_ctrl_c_reaches_the_parent_only_and_files_are_closed(tmp_path):
    code = (
        "from helpers.jobs import Start\n"
        "from affectkit.workers import run_in_processes\n"
        "if __name__ == '__main__':\n"
        f"    for event in run_in_processes(Start(), [('for ever', {str(tmp_path / 'file')!r})], processes=1):\n"
        "        print(event.kind, flush=True)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # a group of its own, as a terminal has
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() != "progress":
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (tmp_path / "file").read_text() == "closed"
    assert errors.count("Traceback") == 1  # the parent's KeyboardInterrupt
    assert "KeyboardInterrupt" in errors


@pytest.mark.parametrize("arguments", [{"processes": 0}, {"processes": 1, "patience": 0}])
def test_impossible_numbers_are_refused(arguments):
    with pytest.raises(ConfigError, match="cannot work"):
        list(run_in_processes(Start(), [], **arguments))


def test_nothing_to_do_starts_nothing():
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
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    parent = SimpleNamespace(join=threading.Event().wait)  # for ever: behind it this process would end
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: parent)
    job = workers._Job
    pipe = Pipe(job(("double", 3)), job(("raise", "plum")), None)
    workers._serve(Start(), 0, pipe)
    assert [kind for kind, _ in pipe.sent] == ["ready", "progress", "done", "failed"]
    assert pipe.sent[2] == ("done", 6)
    broken = Pipe()
    workers._serve(Start(broken=True), 0, broken)
    assert [kind for kind, _ in broken.sent] == ["broken"]
    told = Pipe(job(("double", 3)), None)
    workers._serve(Start(), 0, told)  # told to end while it works
    assert [kind for kind, _ in told.sent] == ["ready"]


def test_reports_are_rare_and_stop_when_told():
    pipe = Pipe()
    report = workers._Reporter(pipe)
    for k in range(50):
        report(k)
    assert pipe.sent[0] == ("progress", 0)
    assert len(pipe.sent) < 5
    pipe.messages.append(None)
    with pytest.raises(Interrupted):
        report(51)


def test_a_process_ends_with_its_parent(monkeypatch):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    workers._end_with(SimpleNamespace(join=lambda: None))
    assert codes == [1]


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
