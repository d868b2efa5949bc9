"""`affectkit predict`: from arguments to tables, notes and exit codes."""

from __future__ import annotations

import csv
import os
import signal
import threading
from pathlib import Path

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


def test_person_baselines(media, tmp_path, capsys):
    backbone = {"type": "timm", "model_name": "test_resnet", "size": 32}
    heads = {"intensity": {"type": "intensity", "space": "intensity:AU12"}}
    torch.manual_seed(0)
    AffectModel(backbone, heads).save_pretrained(tmp_path / "degrees", metadata={"baseline": True})
    (media / "a.mp4").write_bytes(video("mp4", frames=40))
    arguments = ["--input", media / "a.mp4", "--faces", "center", "--quiet", "--output"]
    found = {}
    for option in ("--no-baseline", "", "--neutral=0-0.5", "--neutral=" + str(media / "walk" / "0.png")):
        table = tmp_path / f"{len(found)}.jsonl"
        command = [
            "predict",
            "--model",
            tmp_path / "degrees",
            *arguments,
            table,
            *([option] if option else []),
        ]
        assert main([str(one) for one in command]) == 0
        found[option] = read_table(table)
    plain, default, span, photo = found.values()
    amount = min(2.0, plain["AU12_i"].nsmallest(4).median())  # the calmest tenth of 40 frames
    assert default["AU12_i"].tolist() == pytest.approx(
        (plain["AU12_i"] - amount).clip(lower=0).tolist(), abs=1e-5
    )
    middle = plain["AU12_i"][plain["timestamp"] <= 0.5].median()
    assert span["AU12_i"].tolist() == pytest.approx(
        (plain["AU12_i"] - middle).clip(lower=0).tolist(), abs=1e-5
    )
    assert photo.attrs["affectkit"]["baseline"]["neutral_photo"] == "0.png"
    assert plain.attrs["affectkit"]["baseline"] is None
    command = [
        "predict",
        "--model",
        tmp_path / "degrees",
        *arguments,
        table,
        "--neutral",
        "2-1",
        "--overwrite",
    ]
    assert main([str(one) for one in command]) == 2
    assert "The neutral span 2-1 does not end after its start" in capsys.readouterr().err


def test_many_to_a_folder_with_a_bad_one(call, media, tmp_path, capsys):
    (media / "bad.mp4").write_bytes(bytes(99))
    out = tmp_path / "out"
    assert call("--input", media, "--output", out, "--processes", "0", "--format", "jsonl") == 3
    text, errors = capsys.readouterr()
    assert text == f"{out}: 2 tables (0 finished before), 11 frames, 0 failed; 1 file failed\n"
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
    assert "Cannot write the file: Not a directory" in capsys.readouterr().err


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
    assert call("--input", media / "a.mp4", "--output", tmp_path / "o.csv", "--faces", "0,0,500,500") == 2
    assert "beyond the frame" in capsys.readouterr().err
    assert call("--input", media / "a.mp4", "--output", tmp_path / "o.csv", "--batch-size", "0") == 2
    assert "batch_size must be at least 1" in capsys.readouterr().err


def test_no_face_is_noted(call, media, tmp_path, capsys):
    (tmp_path / "grey.png").write_bytes(b"")
    Image.new("RGB", (64, 64), (90, 90, 90)).save(tmp_path / "grey.png")
    assert (
        call("--input", tmp_path / "grey.png", "--output", tmp_path / "o.csv", "--faces", "centerface") == 0
    )
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'o.csv'}: 1 frame, 1 failed\n"
    assert "grey.png: no face in its only frame\n" in err


def test_small_faces_need_a_larger_detector_size(call, tmp_path, capsys):
    """A face of 80 pixels in a picture of 4K."""
    from skimage.data import astronaut

    face = Image.fromarray(astronaut()[:224, 64:384]).resize((220, 154), Image.Resampling.BILINEAR)
    picture = Image.new("RGB", (3840, 2160), (90, 90, 90))
    picture.paste(face, (2000, 1200))
    picture.save(tmp_path / "4k.png")
    arguments = ["--input", tmp_path / "4k.png", "--faces", "centerface", "--output"]
    assert call(*arguments, tmp_path / "a.csv") == 0
    assert "no face in its only frame; try a larger --detector-size" in capsys.readouterr().err
    table = read_table(tmp_path / "a.csv")
    assert table.reason[0].startswith("No face was found in the frame, which was made smaller")
    assert call(*arguments, tmp_path / "a.csv") == 0  # a finished table says it again
    assert "--detector-size" in capsys.readouterr().err
    assert call(*arguments, tmp_path / "b.csv", "--detector-size", "1920") == 0
    assert "no face" not in capsys.readouterr().err
    table = read_table(tmp_path / "b.csv")
    assert table.success.tolist() == [True]
    box = table.loc[0, ["x", "y", "w", "h"]].astype(float).tolist()
    assert box == pytest.approx([2080, 1240, 60, 82], abs=10)  # of the photograph's (117, 58, 88, 120)
    assert "longest side 1920" in table.attrs["affectkit"]["faces"]["detector"]
    assert call(*arguments, tmp_path / "a.csv", "--detector-size", "1920") == 2  # these are other numbers
    assert "another faces" in capsys.readouterr().err


def test_detector_size_belongs_to_detection(call, media, tmp_path, capsys):
    arguments = ["--input", media / "a.mp4", "--output", tmp_path / "o.csv", "--detector-size"]
    assert call(*arguments, "1280") == 2  # faces are those of the centre
    assert "A detector size has no effect on 'center'" in capsys.readouterr().err
    assert call(*arguments, "3", "--faces", "centerface") == 2
    assert "longest side 3" in capsys.readouterr().err


def read_summary(folder):
    with (folder / "_summary.csv").open(encoding="utf-8", newline="") as file:
        return {row["source"]: row for row in csv.DictReader(file)}


def test_the_summary_accounts_for_every_file(call, media, tmp_path, capsys):
    out = media / "tables"
    (media / "notes.txt").touch()
    (media / "data.zip").write_bytes(b"PK")
    (media / "link").symlink_to("walk")
    (media / "broken.mp4").symlink_to("nowhere")
    (media / ".DS_Store").touch()
    (media / "clip").write_bytes(video("mp4", frames=5))
    arguments = ["--input", media, "--output", out, "--processes", "0"]
    for there in ("0", "3"):
        assert call(*arguments) == 3
        text, errors = capsys.readouterr()
        assert text == f"{out}: 3 tables ({there} finished before), 16 frames, 0 failed; 1 file failed\n"
        assert f"failed: {media / 'broken.mp4'}: The link leads to 'nowhere'" in errors
        assert "note: 3 files skipped (1 × .zip, 1 × .txt, 1 × without a suffix)" in errors
        rows = read_summary(out)
        assert {
            name.removeprefix(f"{media}/"): (row["status"], row["frames"]) for name, row in rows.items()
        } == {
            "a.mp4": ("done" if there == "0" else "there", "8"),
            "clip": ("done" if there == "0" else "there", "5"),
            "walk": ("done" if there == "0" else "there", "3"),
            "broken.mp4": ("failed", "0"),
            "data.zip": ("not media", "0"),
            "notes.txt": ("not media", "0"),
            "link": ("again", "0"),
        }
        assert rows[str(media / "link")]["error"] == f"The same folder as {media / 'walk'}."
    (media / "broken.mp4").unlink()
    assert call(*arguments) == 0


def test_names_that_differ_in_case_or_suffix_only(call, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    frames = {"Aa.mp4": 3, "aA.mp4": 4, "b.mp4": 5, "b.avi": 6}
    for name, number in frames.items():
        (folder / name).write_bytes(video(name[-3:], frames=number))
    arguments = ["--input", folder, "--output", tmp_path / "out", "--processes", "0"]
    assert call(*arguments) == 0
    assert "4 tables (0 finished before), 18 frames" in capsys.readouterr().out
    rows = read_summary(tmp_path / "out")
    assert {Path(name).name: len(read_table(row["table"])) for name, row in rows.items()} == frames
    assert len({row["table"].casefold() for row in rows.values()}) == 4
    assert all(Path(row["table"]).name.startswith(Path(name).name) for name, row in rows.items())
    assert call(*arguments) == 0
    assert "4 tables (4 finished before), 18 frames" in capsys.readouterr().out


def test_odd_names(call, tmp_path, capsys, monkeypatch):
    """A name of 250 bytes, one that is no text, control characters, markup of the progress bar."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    folder = tmp_path / "in"
    folder.mkdir()
    names = [
        "x" * 246 + ".mp4",
        os.fsdecode(b"\xff.mp4"),
        "a\nb\r\x1b[31m.mp4",
        "[b]x[z].mp4",
        "-.mp4",
        "con.mp4",
    ]
    for number, name in enumerate(names):
        (folder / name).write_bytes(video("mp4", frames=number + 1))
    out = tmp_path / "out"
    assert call("--input", folder, "--output", out, "--processes", "0") == 0
    capsys.readouterr()
    rows = read_summary(out)
    assert sorted(int(row["frames"]) for row in rows.values()) == [1, 2, 3, 4, 5, 6]
    assert {Path(name).name for name in rows} >= {"\\udcff.mp4", "a\\nb\\r\\x1b[31m.mp4", "con.mp4"}
    for row in rows.values():
        assert len(read_table(row["table"])) == int(row["frames"])
    assert {path.name for path in out.glob("*.csv")} >= {"con_.csv", "a_b__[31m.csv"}


def test_a_single_file_of_an_odd_name(call, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-x.mp4", "--y.mp4", "[b].mp4", os.fsdecode(b"\xff.mp4")):
        Path(name).write_bytes(video("mp4", frames=2))
        table = f"{len(name)}.csv"
        assert call("--input", name, "--output", table, "--overwrite") == 0
        assert capsys.readouterr().out == f"{table}: 2 frames, 0 failed\n"
    assert call("--input", "-x.mp4", "--output", os.fsdecode(b"\xfe.csv")) == 0
    assert capsys.readouterr().out == "\\udcfe.csv: 2 frames, 0 failed\n"


@pytest.mark.parametrize("spot", [[], ["--spot"]])
@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("https://example.com/a.mp4", "URLs are not supported"),
        ("-", "Standard input is not supported"),
        ("*.mp4", "No file matches this pattern"),
        ("none.mp4", "There is no such file or folder"),
        ("pipe.mp4", "a pipe, socket or device"),
        ("empty", "The folder is empty"),
    ],
)
def test_inputs_that_are_no_media(call, tmp_path, capsys, monkeypatch, given, fault, spot):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    os.mkfifo("pipe.mp4" if given == "pipe.mp4" else "pipe")
    assert call("--input", given, "--output", "out.csv" if spot else "out", *spot) == 3
    error = capsys.readouterr().err
    assert fault in error
    assert "dataset" not in error
    assert not list(tmp_path.glob("out*"))


def test_patterns_that_the_shell_left(call, media, tmp_path, capsys):
    (media / "b.mp4").write_bytes(video("mp4", frames=2))
    out = tmp_path / "out"
    assert call("--input", f"{media}/*.mp4", "--output", out, "--processes", "0") == 0
    assert "2 tables (0 finished before), 10 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--input", "in", "--seconds", "3"], "--seconds does not go with --input"),
        (["--input", "in", "--engine", "ray", "--device", "cuda:1"], "only its own accelerator"),
        (["--webcam", "0", "--processes", "2"], "--processes does not go with --webcam"),
        (["--input", "in", "--smooth", "much"], "smoothing 'much'"),
    ],
)
def test_options_that_do_not_fit(call, media, tmp_path, capsys, arguments, fault, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(*arguments, "--output", "out") == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["--input", "a", "--webcam", "0"]])
def test_either_files_or_a_camera(call, arguments, capsys):
    assert call(*arguments, "--output", "out") == 2
    assert "--webcam" in capsys.readouterr().err


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
    assert "already exists" in capsys.readouterr().err
    rows = tmp_path / "live.csv.partial"  # of a process that was killed
    rows.touch()
    table.unlink()
    assert call("--webcam", "0", "--output", table) == 2
    assert "live.csv.partial: The table already exists" in capsys.readouterr().err
    arguments = ["--webcam", "0", "--output", table, "--seconds", "60", "--overwrite"]
    assert call(*arguments, "--smooth", "0.2") == 0
    assert len(read_table(table)) == 5
    monkeypatch.setattr(Capture, "pictures", 0)
    assert call("--webcam", "0", "--output", tmp_path / "none.csv") == 3
    assert "gave no picture" in capsys.readouterr().err


def test_spotting_writes_one_table_per_clip(call, media, tmp_path, capsys):
    arguments = ["--input", media / "a.mp4", media / "walk", "--output", tmp_path / "o.csv", "--spot"]
    assert call(*arguments) == 2
    assert "cannot go to the one table" in capsys.readouterr().err


def test_bars_show_files_and_frames(model, media, tmp_path, capsys):
    arguments = ["--input", str(media), "--output", str(tmp_path / "out"), "--processes", "0"]
    assert main(["predict", "--model", model, "--faces", "center", *arguments]) == 0
    assert "2 tables" in capsys.readouterr().out
