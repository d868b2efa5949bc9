"""`affectkit report`: pages, overlays and timelines."""

from pathlib import Path

import pytest
from helpers.pictures import CLASSES, UNITS, render, table
from PIL import Image

from affectkit.cli import report
from affectkit.cli.main import main
from affectkit.inference import ClipTable, Row, TableWriter


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    video = render(folder / "one.mp4", 6, size=48)
    data = table(6, size=48)
    names = [*UNITS, "AU12_i", *CLASSES]
    for name, source in (
        ("named", str(video)),
        ("lost", str(folder / "gone.mp4")),
        ("unnamed", None),
        ("one/single", None),
    ):
        metadata = data.attrs["affectkit"] | {"source": source}
        metadata = {key: value for key, value in metadata.items() if value is not None and key != "complete"}
        with TableWriter(folder / f"{name}.csv", names, metadata) as writer:
            for row in data[: 1 if name == "one/single" else None].itertuples():
                values = {column: float(getattr(row, column)) for column in names}
                box = (row.x, row.y, row.w, row.h)
                writer.write(Row(row.frame, row.timestamp, True, values, face=0, score=0.9, box=box))
    return folder


def test_one_frame_is_no_frames(folder, tmp_path, capsys):
    render(folder / "short.mp4", 1, size=48)
    video, page = tmp_path / "o.mp4", tmp_path / "p.html"
    more = ["--input", str(folder / "short.mp4"), "--output"]
    assert main(["report", str(folder / "one" / "single.csv"), *more, str(video), "--quiet"]) == 0
    assert capsys.readouterr().out.startswith(f"{video}: 1 frame, ")
    assert main(["report", str(folder / "one" / "single.csv"), *more, str(page)]) == 0
    assert capsys.readouterr().out == f"{page}: 1 frame\n"
    assert main(["report", str(folder / "unnamed.csv"), *more, str(video)]) == 2
    assert "goes to frame 5, and the video has 1 frame." in capsys.readouterr().err
    assert main(["report", str(folder / "one" / "single.csv"), "--output", str(tmp_path / "t.svg")]) == 0
    assert "single.csv, model model, face 0<" in (tmp_path / "t.svg").read_text().replace(" -->", "<")


def test_media_that_are_no_files(folder, tmp_path, capsys):
    given = ["report", str(folder / "unnamed.csv"), "--output", str(tmp_path / "p.html"), "--input"]
    for name, code, fault in (
        ("https://example.com/a.mp4", 2, "URIs are not supported"),
        (str(tmp_path / "*.mp4"), 3, "No file matches this pattern"),
        (str(folder / "*.csv"), 2, "3 files match this"),
        (str(tmp_path / "none.mp4"), 3, "There is no such file"),
    ):
        assert main([*given, name]) == code
        assert fault in capsys.readouterr().err
    assert main([*given, str(folder / "on?.mp4")]) == 0
    assert "<video" in (tmp_path / "p.html").read_text()


def test_overlay(folder, tmp_path, capsys):
    out = tmp_path / "o.mp4"
    args = [
        "report",
        str(folder / "named.csv"),
        "--output",
        str(out),
        "--height",
        "120",
        "--no-sound",
        "--quiet",
    ]
    assert main(args) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: 6 frames, ")
    assert said.out.endswith("libx264\n")
    assert said.err.startswith(
        "note: Estimated from pictures of the face, learned from rendered faces, not validated"
    )
    for name, fault in (("lost", "gone.mp4'"), ("unnamed", "names no media")):
        assert main(["report", str(folder / f"{name}.csv"), "--output", str(out)]) == 2
        error = capsys.readouterr().err
        assert fault in error
        assert "--input" in error
    video = str(folder / "one.mp4")
    assert (
        main(["report", str(folder / "lost.csv"), "--input", video, "--output", str(out), "--height", "120"])
        == 0
    )


def test_report(folder, tmp_path, capsys):
    out = tmp_path / "p.html"
    assert main(["report", str(folder / "named.csv"), "--output", str(out), "--title", "A smile"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}: 6 frames\n"
    text = out.read_text()
    assert "<title>A smile</title>" in text
    assert "<video" in text
    assert main(["report", str(folder / "named.csv"), "--output", str(out), "--embed-limit", "0"]) == 0
    assert "it needs " in capsys.readouterr().out
    for name, more in (("lost", []), ("named", ["--no-video"])):
        assert main(["report", str(folder / f"{name}.csv"), "--output", str(out), *more]) == 0
        assert "<video" not in out.read_text()
        assert ("gone.mp4' does not exist" in capsys.readouterr().err) == (name == "lost")
    assert main(["report", str(folder / "absent.csv"), "--output", str(out)]) == 3
    assert "absent.csv" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["o.mp4", "p.html", "t.svg"])
def test_what_cannot_be_written_is_named(folder, tmp_path, capsys, name):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "new" / name
    assert main(["report", str(folder / "named.csv"), "--output", str(out)]) == 2
    assert f"{out}: Cannot write the file: Not a directory." in capsys.readouterr().err


def test_timeline(folder, tmp_path, capsys):
    out = tmp_path / "t.svg"
    assert main(["report", str(folder / "lost.csv"), "--output", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_text().count("AU12") >= 1
    assert main(["report", str(folder / "lost.csv"), "--output", str(out), "--face", "4"]) == 2


@pytest.mark.parametrize(
    ("table", "name", "kind"),
    [
        ("named", "a.HTM", "page"),
        ("named", "a.mkv", "overlay"),
        ("named", "a.pdf", "timeline"),
        ("named", "a.png", "timeline"),
        ("one/single", "a.png", "overlay"),
        ("one/single", "a.svg", "timeline"),
        ("named", "a.jpg", "overlay"),
    ],
)
def test_the_ending_chooses_the_kind(folder, table, name, kind):
    assert report._kind(Path(name), ClipTable(folder / f"{table}.csv")) == kind


def test_a_photo_is_drawn_or_plotted(folder, tmp_path, capsys):
    photo, out = tmp_path / "photo.png", tmp_path / "out.png"
    Image.new("RGB", (96, 48)).save(photo)
    base = ["report", str(folder / "one" / "single.csv"), "--output", str(out)]
    assert main([*base, "--input", str(photo)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 1 frame, ")
    assert main([*base, "--as", "timeline"]) == 0
    assert capsys.readouterr().out == f"{out}\n"


@pytest.mark.parametrize(
    ("name", "more", "fault"),
    [
        ("a.txt", [], "a.txt"),
        ("a.html", ["--no-sound"], "--no-sound does not go with --as page"),
        ("a.mp4", ["--embed-limit", "3"], "--embed-limit does not go with --as overlay"),
        ("a.html", ["--as", "timeline", "--title", "x"], "--title does not go with --as timeline"),
        ("a.svg", ["--input", "a.mp4"], "--input does not go with --as timeline"),
        ("a.svg", ["--draw", "mesh"], "--draw does not go with --as timeline"),
        ("a.html", ["--draw", "mesh"], "no columns of the 68 landmarks"),
        ("a.mp4", ["--draw", "gaze, pose"], "no columns of the gaze"),
        ("a.mp4", ["--draw", "mouth"], "'mouth' cannot be drawn. Choose from mesh, gaze, pose"),
        ("a.html", ["--draw", "pose", "--no-video"], "no video or photo to draw on"),
        ("a.html", ["--as", "overlay"], "is not the name of a video"),
    ],
)
def test_what_does_not_go_together_is_refused(folder, tmp_path, capsys, name, more, fault):
    out = tmp_path / name
    assert main(["report", str(folder / "named.csv"), "--output", str(out), *more]) == 2
    assert fault in capsys.readouterr().err
    assert not out.exists()
