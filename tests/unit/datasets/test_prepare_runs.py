"""Preparing crops in several runs: what is kept, what is refused, and what processes do."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from helpers.crops import (
    Detector,
    Faces,
    Small,
    TwoCameras,
    digests,
    table_of,
    write_clip,
)
from torch.utils.data import DataLoader

from affectkit.data import (
    ClipRecord,
    EvalSampler,
    collate,
)
from affectkit.data.shards import CropShards
from affectkit.datasets import TableDataset
from affectkit.datasets.preparing import prepare
from affectkit.errors import ConfigError, VideoError
from affectkit.workers import Event


@pytest.fixture
def root(tmp_path):
    write_clip(tmp_path / "corpus" / "a", 6, seed=1)
    write_clip(tmp_path / "corpus" / "b", 4, seed=2)
    return tmp_path / "corpus"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "prepared"


def test_what_is_there_is_not_made_again(root, out):
    prepare(Faces(root), out, size=24, shard_frames=3)
    wanted, written = (
        digests(out),
        {path.name: path.stat().st_mtime_ns for path in (out / "shards").iterdir()},
    )
    assert prepare(Faces(root), out, size=24, shard_frames=3).made == 0
    assert written == {path.name: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    # A file that is damaged, one that is lost, and no manifest: all else is kept.
    (out / "shards/00001.arrow").write_bytes(b"damaged")
    (out / "shards/00002.arrow").unlink()
    (out / "manifest.json").unlink()
    again = prepare(Faces(root), out, size=24, shard_frames=3)
    assert (again.made, digests(out)) == (2, wanted)
    assert (out / "shards/00000.arrow").stat().st_mtime_ns == written["00000.arrow"]
    (out / "shards/00001.arrow").unlink()
    assert (prepare(Faces(root), out, size=24, shard_frames=3).made, digests(out)) == (1, wanted)


def test_other_settings_are_refused(root, out):
    prepare(Faces(root), out, size=24)
    with pytest.raises(
        ConfigError, match="made with size 24, codec 'jpeg', quality 95, not size 32, codec 'png', qual"
    ):
        prepare(Faces(root), out, size=32, codec="png")
    with pytest.raises(ConfigError, match="made with align_per 'frame', not align_per 'clip'"):
        prepare(Small(root), out, size=24)
    write_clip(root / "c", 2)
    with pytest.raises(ConfigError, match="another state of the corpus"):
        prepare(Faces(root), out, size=24)
    (out / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="another state of the corpus"):
        prepare(Faces(root), out, size=24)
    (out / "manifest.json").write_text("{}")
    with pytest.raises(VideoError, match=r"manifest.json or settings.json cannot be read.*Delete both"):
        prepare(Faces(root), out, size=24)


def test_other_folders_are_left_alone(root, tmp_path):
    with pytest.raises(ConfigError, match="other files: a, b"):
        prepare(Faces(root), root)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="has no clips here"):
        prepare(Faces(empty), tmp_path / "new", crop="center")


def test_crops_of_other_media_are_refused(root, out, tmp_path):
    prepare(TwoCameras(root), out)
    assert len(TwoCameras(root, prepared=out)) == 2
    with pytest.raises(ConfigError, match="prepared with camera 'left', not 'right'"):
        TwoCameras(root, camera="right", prepared=out)

    class Others(Faces):
        name = "others"

    with pytest.raises(ConfigError, match="prepared with corpus 'faces', not 'others'"):
        Others(root, prepared=out)
    moved = [ClipRecord("a", root / "b")]
    with pytest.raises(ConfigError, match="were prepared from a"):
        TwoCameras(root, moved, prepared=out)[0]
    # The root may be the folder above; media that are gone are not compared.
    for path in (root / "a", tmp_path / "gone" / "a"):
        assert len(TwoCameras(root.parent, [ClipRecord("a", path)], prepared=out)[0].frames) == 6


def test_media_outside_the_root(root, out, tmp_path):
    (tmp_path / "index").mkdir()
    (tmp_path / "index/index.csv").write_text("path,clip\n../corpus/a,a\n" + f"{root / 'b'},b\n")
    prepare(TableDataset(tmp_path / "index/index.csv"), out, crop="center")
    assert [row["media"] for row in table_of(out)[::6]] == ["../corpus/a", str(root / "b")]
    assert len(TableDataset(tmp_path / "index", prepared=out)[1].frames) == 4


def test_loader_processes_read_crops(root, out):
    prepare(Faces(root), out, size=24)
    dataset = Faces(root, prepared=out)
    loader = DataLoader(dataset, 1, sampler=EvalSampler(dataset), collate_fn=collate, num_workers=2)
    for batch, clip in zip(loader, (dataset[0], dataset[1]), strict=True):
        assert torch.equal(batch.frames[0], clip.frames)
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[1].frames, dataset[1].frames)


KILLED = """
    import os, signal
    from affectkit.datasets import TableDataset
    from affectkit.datasets.preparing import prepare

    def report(count, total):
        if count >= 4:
            os.kill(os.getpid(), signal.SIGKILL)

    if __name__ == "__main__":
        prepare(TableDataset({root!r}), {out!r}, size=24, shard_frames=2, crop="center", progress=report)
"""


def test_a_killed_run_goes_on(root, out, tmp_path):
    (root / "index.csv").write_text("path\na\nb\n")
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED.format(root=str(root), out=str(out))))
    assert subprocess.run([sys.executable, script], check=False).returncode == -signal.SIGKILL
    with pytest.raises(Exception, match="unfinished"):
        CropShards(out)
    made = {path.name: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    assert sorted(made) == ["00000.arrow", "00001.arrow"]
    (out / "shards/00002.arrow.0.partial").write_bytes(b"half")
    options = {"size": 24, "shard_frames": 2, "crop": "center"}
    with pytest.raises(ConfigError, match="made with size 24, not size 32"):
        prepare(TableDataset(root), out, **{**options, "size": 32})
    seen = []
    done = prepare(TableDataset(root), out, **options, progress=lambda *counts: seen.append(counts))
    assert (done.made, done.shards) == (3, 5)
    assert seen == [(4, 10), (6, 10), (8, 10), (10, 10)]
    assert made.items() <= {path.name: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}.items()
    # Whole, and by another process: the same bytes.
    whole = tmp_path / "whole"
    assert prepare(TableDataset(root), whole, **options, workers=1).made == 5
    assert digests(out) == digests(whole)
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "shards"]
    assert (out / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_an_interrupted_run_goes_on(root, out):
    def interrupt(count, total):
        if count >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(Faces(root), out, size=24, shard_frames=2, progress=interrupt)
    assert prepare(Faces(root), out, size=24, shard_frames=2).made == 3


def test_a_detector_that_cannot_be_sent(root, out):
    detector = Detector(lambda _: [])
    with pytest.raises(ConfigError, match=r"cannot be sent to other processes.*--workers 0"):
        prepare(Faces(root), out, detector=detector, workers=2, shard_frames=2)


def test_a_worker_that_fails_ends_the_run(root, out, monkeypatch):
    def failing(start, jobs, *, processes):
        assert (len(jobs), processes) == (5, 2)
        yield Event("begun", 0)
        yield Event("failed", 0, VideoError("Worker 0 died."))

    monkeypatch.setattr("affectkit.datasets.preparing.run.run_in_processes", failing)
    with pytest.raises(VideoError, match="died"):
        prepare(Faces(root), out, size=24, workers=2, shard_frames=2)
    assert not (out / "manifest.json").exists()
