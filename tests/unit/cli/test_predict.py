"""`affectkit predict`: from arguments to tables, notes and exit codes."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest
import torch
from helpers.damaged import video
from PIL import Image

from affectkit.cli import predict
from affectkit.cli.main import main
from affectkit.inference import read_table
from affectkit.models import AffectModel


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("cli") / "model"
    backbone = {"type": "timm", "model_name": "test_resnet", "size": 32}
    heads = {"au": {"type": "au", "space": "AU1,AU12"}}
    AffectModel(backbone, heads).save_pretrained(folder, metadata={"rendered": True})
    return str(folder)


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "in"
    (folder / "walk").mkdir(parents=True)
    (folder / "a.mp4").write_bytes(video("mp4", frames=8))
    rng = np.random.default_rng(0)
    for k in range(3):
        picture = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "walk" / f"{k}.png")
    return folder


@pytest.fixture
def call(model):
    def run(*arguments):
        return main(["predict", "--model", model, "--faces", "center", "--quiet", *map(str, arguments)])

    return run


def test_one_video_to_one_table(call, media, tmp_path, capsys):
    table = tmp_path / "a.parquet"
    arguments = ["--input", media / "a.mp4", "--output", table, "--smooth", "0.2", "--smooth-by", "median"]
    assert call(*arguments) == 0
    out, err = capsys.readouterr()
    assert out == f"{table}: 8 frames, 0 failed\n"
    assert "rendered faces" in err
    frame = read_table(table)
    assert len(frame) == 8
    assert frame.attrs["affectkit"]["smoothing"]["kind"] == "median"
    assert not (tmp_path / "_summary.csv").exists()
    assert call(*arguments) == 0
    assert capsys.readouterr().out == f"{table}: 8 frames, 0 failed, finished before\n"
    assert call(*arguments[:4]) == 2  # without smoothing these are other numbers
    assert "another smoothing" in capsys.readouterr().err
    assert call(*arguments[:4], "--overwrite") == 0
    assert read_table(table).attrs["affectkit"]["smoothing"] is None


def test_many_to_a_folder_with_a_bad_one(call, media, tmp_path, capsys):
    (media / "bad.mp4").write_bytes(bytes(99))
    out = tmp_path / "out"
    assert call("--input", media, "--output", out, "--processes", "0", "--format", "jsonl") == 3
    text, errors = capsys.readouterr()
    assert (
        text
        == f"{out}: 2 tables (0 finished before), 11 frames, 0 failed; 1 files failed, see _summary.csv\n"
    )
    assert f"failed: {media / 'bad.mp4'}, frame 0: This cannot be read as a video" in errors
    assert sorted(path.name for path in out.iterdir()) == ["_summary.csv", "a.jsonl", "walk.jsonl"]
    (media / "bad.mp4").unlink()
    assert call("--input", media, "--output", out, "--processes", "0", "--format", "jsonl") == 0
    assert "2 tables (2 finished before)" in capsys.readouterr().out


def test_long_lists_of_failures_are_cut(call, media, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(predict, "_SHOWN", 2)
    for k in range(4):
        (media / f"bad{k}.mp4").write_bytes(bytes(99))
    assert call("--input", media, "--output", tmp_path / "out", "--processes", "0") == 3
    errors = capsys.readouterr().err
    assert errors.count("failed: ") == 2
    assert "and 2 more" in errors


def test_a_folder_that_cannot_be_made_is_an_error_at_once(call, media, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert call("--input", media, "--output", tmp_path / "file" / "out") == 2
    assert "This cannot be written: Not a directory" in capsys.readouterr().err


def test_a_table_may_lie_among_the_frames(call, media, capsys):
    arguments = ["--input", media / "walk", "--output", media / "walk" / "walk.csv"]
    assert call(*arguments) == 0
    assert call(*arguments) == 0
    assert "3 frames, 0 failed, finished before" in capsys.readouterr().out
    Image.new("RGB", (48, 40)).save(media / "walk" / "3.png")  # another clip now
    assert call(*arguments) == 2
    assert "another source_fingerprint" in capsys.readouterr().err


def test_images_may_be_photos(call, media, tmp_path):
    out = tmp_path / "out"
    assert call("--input", media / "walk", "--output", out, "--images", "photos", "--processes", "0") == 0
    assert sorted(path.name for path in out.glob("?.csv")) == ["0.csv", "1.csv", "2.csv"]


def test_a_bad_single_file_is_its_error(call, media, tmp_path, capsys):
    (media / "bad.mp4").write_bytes(bytes(99))
    assert call("--input", media / "bad.mp4", "--output", tmp_path / "o.csv") == 3
    assert "cannot be read as a video" in capsys.readouterr().err
    assert call("--input", media / "a.mp4", "--output", tmp_path / "o.csv", "--crop", "0,0,500,500") == 2
    assert "beyond the frame" in capsys.readouterr().err
    assert call("--input", media / "a.mp4", "--output", tmp_path / "o.csv", "--batch-size", "0") == 2
    assert "batch_size must be at least 1" in capsys.readouterr().err


def test_no_face_is_noted(call, media, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    (tmp_path / "grey.png").write_bytes(b"")
    Image.new("RGB", (64, 64), (90, 90, 90)).save(tmp_path / "grey.png")
    assert call("--input", tmp_path / "grey.png", "--output", tmp_path / "o.csv", "--faces", "detect") == 0
    assert "no face in any of its 1 frames" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--input", "in", "--seconds", "3"], "--seconds is for --webcam"),
        (["--input", "in", "--engine", "ray", "--device", "cuda:1"], "only its own accelerator"),
        (["--webcam", "0", "--processes", "2"], "--processes is for --input"),
        (["--input", "in", "--smooth", "much"], "'much' cannot be read"),
    ],
)
def test_options_that_do_not_fit(call, media, tmp_path, capsys, arguments, fault, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(*arguments, "--output", "out") == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["--input", "a", "--webcam", "0"]])
def test_either_files_or_a_camera(call, arguments):
    with pytest.raises(SystemExit) as caught:
        call(*arguments, "--output", "out")
    assert caught.value.code == 2


class Capture:
    """A camera of OpenCV's; somebody presses Ctrl-C at the fifth picture."""

    pictures = 100

    def __init__(self, device):
        self.given = 0

    def set(self, *_):
        pass

    def isOpened(self):  # noqa: N802
        return True

    def read(self):
        if self.given == self.pictures:
            return False, None
        self.given += 1
        if self.given == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return True, np.full((40, 48, 3), self.given, np.uint8)

    def release(self):
        pass


def test_a_webcam_until_ctrl_c(call, tmp_path, monkeypatch, capsys):
    import cv2

    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    before = signal.getsignal(signal.SIGINT)
    table = tmp_path / "live.csv"
    assert call("--webcam", "0", "--output", table) == 0
    assert signal.getsignal(signal.SIGINT) is before
    frame = read_table(table)
    assert len(frame) == 5
    assert frame.attrs["affectkit"]["complete"] is True
    assert f"{table}: 5 frames, 0 failed" in capsys.readouterr().out
    assert call("--webcam", "0", "--output", table) == 2
    assert "there already" in capsys.readouterr().err
    arguments = ["--webcam", "0", "--output", table, "--seconds", "60", "--overwrite"]
    assert call(*arguments, "--smooth", "0.2") == 0
    assert len(read_table(table)) == 5
    monkeypatch.setattr(Capture, "pictures", 0)
    assert call("--webcam", "0", "--output", tmp_path / "none.csv") == 3
    assert "gave no picture" in capsys.readouterr().err


def test_spotting_has_the_same_command(call, media, tmp_path, capsys):
    arguments = ["--input", media / "a.mp4", media / "walk", "--output", tmp_path / "o.csv", "--spot"]
    assert call(*arguments) == 2
    assert "--spot takes one clip" in capsys.readouterr().err


def test_bars_show_files_and_frames(model, media, tmp_path, capsys):
    arguments = ["--input", str(media), "--output", str(tmp_path / "out"), "--processes", "0"]
    assert main(["predict", "--model", model, "--faces", "center", *arguments]) == 0
    assert "2 tables" in capsys.readouterr().out
