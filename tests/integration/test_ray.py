"""Work on Ray with local workers: the same rows as one process, nothing lost or doubled when a worker is killed.

All in one file, so that one Ray is started once.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.damaged import video
from helpers.jobs import Start
from helpers.killed import KillingDetector, killed_once
from PIL import Image

from affectkit.cli.main import main
from affectkit.datasets import TableDataset
from affectkit.datasets.preparing import prepare
from affectkit.errors import AffectKitError, ConfigError, MissingDependencyError, VideoError
from affectkit.inference import Predictor, read_table
from affectkit.inference.run import predict_files
from affectkit.inference.sources import find_media
from affectkit.inference.table_names import plan_tables
from affectkit.models import AffectModel
from affectkit.workers import Event, run_on_ray
from affectkit.workers import ray as on_ray

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def _ray():
    """Two workers that can import the helpers."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    variables = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(
        prefix="ray-", ignore_cleanup_errors=True
    ) as folder:  # names of sockets are short
        for attempt in range(3):  # it gives itself 30 seconds, which a busy machine may exceed
            try:
                ray.init(
                    num_cpus=2,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                    _node_ip_address="127.0.0.1",
                    _temp_dir=folder,
                    runtime_env={"env_vars": variables},
                )
                break
            except Exception:
                ray.shutdown()
                if attempt == 2:
                    raise
        yield
        ray.shutdown()


def test_jobs_that_fail_hang_and_kill_their_worker(tmp_path):
    once = [("die once", tmp_path / "marks" / str(k)) for k in range(2)]
    jobs = [("double", 1), *once, ("raise", "plum"), ("hang", None), ("double", 2), ("die", None)]
    events = list(run_on_ray(Start(), jobs, workers=2, attempts=2, patience=3))
    last = {event.job: event for event in events}
    assert [last[job].kind for job in range(7)] == [
        "done",
        "done",
        "done",
        "failed",
        "failed",
        "done",
        "failed",
    ]
    assert [event.kind for event in events if event.job == 1] == ["begun", "begun", "done"]
    assert (last[0].content, last[5].content) == (2, 4)
    assert "RuntimeError: bad plum" in str(last[3].content)
    assert "for 3 s" in str(last[4].content)
    assert [event.kind for event in events if event.job == 6] == ["begun", "begun", "failed"]
    assert "attempts: 2" in str(last[6].content)


def test_workers_without_a_processor_get_no_jobs():
    """As after the death of a machine."""
    events = run_on_ray(Start(), [("double", number) for number in range(6)], workers=3)
    assert {event.job: event.content for event in events} == {number: 2 * number for number in range(6)}


def test_a_start_that_fails_is_an_error():
    with pytest.raises(AffectKitError, match="ValueError: no model"):
        list(run_on_ray(Start(broken=True), [("double", 1)], workers=1))


def test_closing_lets_jobs_end_properly(tmp_path):
    events = run_on_ray(Start(), [("for ever", tmp_path / "file")], workers=1)
    assert Event("progress", 0, (0, 0)) in (next(events) for _ in range(2))
    events.close()
    assert (tmp_path / "file").read_text() == "closed"


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, frames in (("a.mp4", 12), ("b.mkv", 60), ("c.mp4", 5)):
        (folder / name).write_bytes(video(name[-3:], frames=frames))
    (folder / "d.mp4").write_bytes(bytes(300))
    return find_media([folder]).media


def test_the_same_rows_when_a_worker_is_killed(media, tmp_path):
    torch.manual_seed(0)
    backbone = {"type": "timm", "model_name": "test_resnet", "size": 32}
    temporal = {"type": "transformer", "max_frames": 8}
    heads = {"au": {"type": "au", "space": "AU1,AU12", "per_frame": True}}
    model = str(tmp_path / "model")
    AffectModel(backbone, heads, temporal, input_spec={"frames": 4}).save_pretrained(model)
    tables = {name: plan_tables(media, tmp_path / name, ".csv", [".csv"]) for name in ("one", "ray")}
    predict_files(Predictor(model, faces="center"), media, tables["one"])
    mark = tmp_path / "killed"
    results = predict_files(
        functools.partial(killed_once, model, mark),
        media,
        tables["ray"],
        engine="ray",
        processes=1,
    )
    assert mark.exists()
    assert [one.status for one in results] == ["done", "done", "done", "failed"]
    for one, two in zip(tables["one"][:3], tables["ray"][:3], strict=True):
        pd.testing.assert_frame_equal(read_table(one), read_table(two), check_exact=False, rtol=0, atol=2e-6)


@pytest.fixture
def corpus(tmp_path):
    """Six clips of two frames; one of them is dark."""
    lines = ["path,subject,split,num_frames,AU12"]
    rng = np.random.default_rng(0)
    for clip in range(6):
        folder = tmp_path / "corpus" / f"c{clip}"
        folder.mkdir(parents=True)
        for k in range(2):
            picture = rng.integers(0, 40 if clip == 3 else 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(picture).save(folder / f"{k}.png")
        lines.append(f"c{clip},s{clip},train,2,1")
    (tmp_path / "corpus" / "index.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "corpus"


def test_prepared_crops_are_the_same_to_the_byte_when_a_worker_is_killed(corpus, tmp_path):
    mark = tmp_path / "killed"
    options = {"crop": "detect", "size": 16, "codec": "png", "shard_frames": 2}
    made = prepare(
        TableDataset(corpus),
        tmp_path / "ray",
        detector=KillingDetector(mark),
        engine="ray",
        workers=1,
        **options,
    )
    assert mark.exists()
    assert (made.frames, made.failed, made.made) == (12, 0, 6)
    prepare(TableDataset(corpus), tmp_path / "one", detector=KillingDetector(mark), **options)
    one, two = (
        {path.relative_to(tmp_path / at): path.read_bytes() for path in (tmp_path / at).rglob("*.*")}
        for at in ("one", "ray")
    )
    assert one == two
    assert len(one) == 7  # six files and the manifest


def test_preparing_stops_at_what_cannot_be_done(corpus, tmp_path, monkeypatch):
    def failing(start, jobs, *, workers):
        assert workers == 1
        yield Event("begun", 0)
        yield Event("done", 0, start(0)(jobs[0], None))
        yield Event("failed", 1, VideoError("the disk is full"))

    monkeypatch.setattr(sys.modules[prepare.__module__], "run_on_ray", failing)
    options = ["--crop", "none", "--engine", "ray", "--workers", "0", "--size", "16", "--shard-frames", "2"]
    assert (
        main(
            ["data", "prepare", "table", str(corpus), "--output", str(tmp_path / "out"), *options, "--quiet"]
        )
        == 3
    )
    assert len(list((tmp_path / "out" / "shards").iterdir())) == 1


@pytest.mark.parametrize(
    "arguments", [{"workers": 0}, {"workers": 1, "attempts": 0}, {"workers": 1, "patience": 0}]
)
def test_impossible_numbers_are_refused(arguments):
    with pytest.raises(ConfigError, match="Invalid numbers"):
        list(run_on_ray(Start(), [], **arguments))


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"affectkit\[ray\]"):
        list(run_on_ray(Start(), [], workers=1))


class FakeRay:
    """A Ray that only remembers how it was started."""

    def __init__(self, fails=False, running=False):
        self.fails, self.running, self.asked = fails, running, {}

    def is_initialized(self):
        return self.running

    def init(self, **options):
        self.asked = options
        if self.fails:
            raise ConnectionError("no\nhead")

    def remote(self, **options):
        return lambda worker: worker

    def shutdown(self):
        self.asked = "shutdown"


def test_a_cluster_is_used_where_one_is_named(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    here = FakeRay()
    assert on_ray._connect(here, None, 3)
    assert here.asked["num_cpus"] == 3
    there = FakeRay()
    assert on_ray._connect(there, "auto", 3)
    assert there.asked == {"address": "auto", "log_to_driver": False, "logging_level": "ERROR"}
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    on_ray._connect(there, None, 3)
    assert there.asked["address"] == "ray://head:10001"
    with pytest.raises(ConfigError, match="no head"):
        on_ray._connect(FakeRay(fails=True), None, 3)


@pytest.mark.parametrize("running", [False, True])
def test_a_ray_is_ended_by_who_started_it(monkeypatch, running):
    fake = FakeRay(running=running)
    monkeypatch.setitem(sys.modules, "ray", fake)
    assert list(run_on_ray(Start(), [], workers=1)) == []
    assert (fake.asked == "shutdown") is not running


def test_what_a_worker_does(tmp_path):
    worker = on_ray.Actor(Start(), 0)
    assert worker.work(("double", 4)) == ("done", 8)
    assert worker.progress() == (2, (1, 2))
    kind, error = worker.work(("raise", "fig"))
    assert (kind, str(error)) == ("failed", "Unexpected failure: RuntimeError: bad fig")
    worker.stop()
    assert worker.work(("double", 4)) == ("stopped", None)
    assert on_ray.Actor(Start(broken=True), 0).work(("double", 1))[0] == "broken"
