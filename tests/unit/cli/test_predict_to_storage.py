"""`affectkit predict` to object storage: complete tables only, and nothing lost when it is interrupted."""

from __future__ import annotations

import csv
import shutil

import fsspec
import pytest
import torch
from helpers.damaged import video
from pandas.testing import assert_frame_equal

from affectkit.cli.main import main
from affectkit.data import storage
from affectkit.errors import ConfigError, StorageError
from affectkit.inference import TableStore, read_table
from affectkit.inference.predictor import Predictor
from affectkit.models import AffectModel

URI = "fsspec+memory:///bucket/tables"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("cli") / "model"
    backbone = {"type": "timm", "model_name": "test_resnet", "size": 32}
    AffectModel(backbone, {"au": {"type": "au", "space": "AU1,AU12"}}).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache, and an empty store."""
    monkeypatch.setenv("AFFECTKIT_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    fsspec.filesystem("memory").rm("/", recursive=True)


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name, frames in {"a": 8, "deep/b": 6}.items():
        (folder / f"{name}.mp4").write_bytes(video("mp4", frames=frames))
    return folder


@pytest.fixture
def call(model, media):
    def run(output, *options):
        command = ["predict", "--model", model, "--faces", "center", "--quiet", "--input", media]
        return main([str(one) for one in (*command, "--output", output, "--processes", "0", *options)])

    return run


@pytest.fixture
def writes(monkeypatch):
    """Names of files written to the store; those in `fail` fail."""
    done, write = [], storage.Folder.write

    def watched(self, name, content):
        if any(name.endswith(one) for one in writes.fail):
            raise StorageError("AWS Error NETWORK_CONNECTION.", path=self.place(name), remedy="Again.")
        done.append(name)
        write(self, name, content)

    monkeypatch.setattr(storage.Folder, "write", watched)
    writes = type("Writes", (list,), {"fail": ()})(done)
    writes.done = done
    return writes


def stored(tmp_path):
    """Copy of the store, and its names."""
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    files = fsspec.filesystem("memory")
    for name in files.find("/bucket/tables"):
        local = copy / name.removeprefix("/bucket/tables/")
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(files.cat(name))
    return copy, {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}


def local_tables(cache):
    return sorted(
        path.name for path in cache.rglob("*") if path.is_file() and not path.name.startswith("_shared_")
    )


def assert_same_tables(copy, expected):
    for name in ("a.csv", "deep/b.csv"):
        assert_frame_equal(read_table(copy / name), read_table(expected / name))


def test_a_folder_of_tables(call, cache, media, tmp_path, writes, capsys):
    assert call(tmp_path / "out") == 0
    assert call(URI) == 0
    assert f"{URI}: 2 tables (0 finished before), 14 frames" in capsys.readouterr().out
    copy, names = stored(tmp_path)
    names = {name for name in names if "_shared_" not in name}
    assert names == {"a.csv", "a.json", "deep/b.csv", "deep/b.json", "_summary.csv"}
    assert_same_tables(copy, tmp_path / "out")
    with (copy / "_summary.csv").open() as file:
        assert [row["table"] for row in csv.DictReader(file)] == [f"{URI}/a.csv", f"{URI}/deep/b.csv"]
    assert local_tables(cache) == []

    shutil.rmtree(cache)  # another machine
    writes.done.clear()
    assert call(URI) == 0
    assert "2 tables (2 finished before)" in capsys.readouterr().out
    assert writes.done == ["tables/_summary.csv"]
    assert call(URI, "--smooth", "5f") == 3  # other numbers
    err = capsys.readouterr().err
    assert err.count("made with another smoothing") == 2
    assert f"{URI}/_summary.csv lists every file" in err
    assert local_tables(cache) == []
    assert call(URI, "--smooth", "5f", "--overwrite") == 0
    assert read_table(stored(tmp_path)[0] / "a.csv").attrs["affectkit"]["smoothing"] is not None


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_one_table(call, cache, media, tmp_path, capsys, suffix):
    (media / "deep" / "b.mp4").unlink()
    uri = f"{URI}/x/a.{suffix}"
    arguments = ["--input", media / "a.mp4"]
    assert call(uri, *arguments) == 0
    assert capsys.readouterr().out == f"{uri}: 8 frames, 0 failed\n"
    assert len(read_table(stored(tmp_path)[0] / "x" / f"a.{suffix}")) == 8
    assert call(uri, *arguments) == 0
    assert capsys.readouterr().out == f"{uri}: 8 frames, 0 failed, finished before\n"
    assert main(["report", uri, "--output", str(tmp_path / "a.html"), "--no-video", "--quiet"]) == 0
    assert "8 frames" in capsys.readouterr().out
    assert main(["report", f"{URI}/none.csv", "--output", str(tmp_path / "b.html"), "--quiet"]) == 3
    assert "none.csv: The file is missing" in capsys.readouterr().err
    assert local_tables(cache) == []
    shutil.rmtree(cache)
    cache.write_text("no folder")
    assert call(uri, *arguments) == 2
    assert "unfinished tables cannot be written: Not a directory" in capsys.readouterr().err


def test_an_interrupted_table_stays_here_and_is_continued(call, cache, tmp_path, monkeypatch, capsys):
    assert call(tmp_path / "out") == 0
    rows = Predictor.predict_video
    starts = []

    def interrupted(self, video, *, start=0):
        starts.append(start)
        for row in rows(self, video, start=start):
            if len(starts) == 2 and row.frame == 4:
                raise KeyboardInterrupt
            yield row

    monkeypatch.setattr(Predictor, "predict_video", interrupted)
    assert call(URI) == 130
    names = stored(tmp_path)[1]
    assert "a.csv" in names
    assert not any("b.csv" in name for name in names)
    assert "b.csv.partial" in local_tables(cache)
    assert call(URI) == 0
    assert starts == [0, 0, 3]  # the last frame is written again
    assert_same_tables(stored(tmp_path)[0], tmp_path / "out")
    assert local_tables(cache) == []


@pytest.mark.parametrize("fail", ["b.csv", "b.json", "_summary.csv"])
def test_a_storage_that_fails_later(call, cache, tmp_path, writes, capsys, fail):
    assert call(tmp_path / "out") == 0
    writes.fail = (fail,)
    capsys.readouterr()
    assert call(URI) == 3
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1
    assert f"{URI}/" in err[0]
    assert "NETWORK_CONNECTION" in err[0]
    writes.fail = ()
    assert call(URI) == 0
    assert "(2 finished before)" in capsys.readouterr().out
    assert_same_tables(stored(tmp_path)[0], tmp_path / "out")
    assert local_tables(cache) == []


def test_what_does_not_go(call, cache, monkeypatch, capsys):
    assert call(URI, "--engine", "ray") == 2
    assert "a folder that all machines share" in capsys.readouterr().err
    assert call("nowhere://bucket/tables") == 2
    assert "It cannot be opened" in capsys.readouterr().err
    monkeypatch.setenv("AFFECTKIT_CACHE", "")
    with pytest.raises(ConfigError, match="AFFECTKIT_CACHE is empty"):
        TableStore(URI)


def test_keys_are_not_shown(cache):
    store = TableStore("fsspec+memory://key:secret@bucket/tables")
    assert "secret" not in f"{store.output} {store.place(store.output / 'a.csv')}"
    assert store.place(store.output) == "fsspec+memory://bucket/tables"
    assert TableStore("fsspec+memory://bucket").place(TableStore("fsspec+memory://bucket").output)
