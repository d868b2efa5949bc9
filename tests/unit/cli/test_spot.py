"""`affectkit predict --spot` and `affectkit model explain`: from a clip to intervals with units."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from affectkit.cli import predict, spot
from affectkit.cli.main import main
from affectkit.data.video import open_video
from affectkit.errors import ConfigError, VideoError
from affectkit.faces import Face
from affectkit.inference.formats.sidecar import load_sidecar
from affectkit.inference.predictor import Predictor
from affectkit.inference.spotting.movements import LEADING, MovementFinder, write_movements
from affectkit.models import AffectModel

SIZE, FPS, AT = 64, 30.0, (40, 80)
PARSER = predict._parser()


def frame(t, at=AT):
    """A textured face with eyes whose mouth's corner darkens for a third of a second around the frames `at`."""
    rng = torch.Generator().manual_seed(0)
    face = 90 + 60 * torch.rand(3, SIZE, SIZE, generator=rng)
    face = torch.nn.functional.avg_pool2d(face[None], 5, 1, 2)[0]
    for x in (20, 43):
        face[:, 6:11, x - 3 : x + 3] -= 60
    strength = max((max(0.0, 1 - abs(t - apex) / 5) for apex in at), default=0.0)
    face[:, 48:58, 12:22] -= 20 * strength
    noise = torch.randn(face.shape, generator=torch.Generator().manual_seed(t + 1))
    return (face + noise).clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media") / "clip"
    folder.mkdir()
    for t in range(120):
        Image.fromarray(frame(t).permute(1, 2, 0).numpy()).save(folder / f"{t:03d}.png")
    return folder


def make(head=None, **spec):
    torch.manual_seed(0)
    backbone = {"type": "clip", "model_name": "affectkit-tiny-patch8", "tokens": True}
    head = head or {"type": "micro_au", "space": "AU4,AU12", "attention_heads": 4}
    given = {"frames": 2, "alignment": "eyes_mouth", "crop_margin": -0.053, **spec}
    return AffectModel(backbone, {"au": head}, input_spec=given).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = make()
    model.head("au").calibrate(thresholds=[0.0, 1.0])
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder, metadata={"rendered": True})
    return folder


def options(*args):
    given = ["--faces", "center", *map(str, args), "--spot", "--quiet"]
    return PARSER.parse_args(given), PARSER


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_intervals_with_units_come_out(saved, clip, tmp_path, capsys):
    out = tmp_path / "new" / "intervals.csv"
    code = spot.run(*options("--model", saved, "--input", clip, "--output", out, "--fps", FPS))
    assert code == 0
    rows = read(out)
    assert list(rows[0]) == [*LEADING, "AU04", "AU12", "warning"]
    assert {row["warning"] for row in rows} == {
        "Estimated from pictures of the face; learned from rendered faces; not validated against certified coders."
    }
    assert [abs(int(row["apex"]) - apex) <= 1 for row, apex in zip(rows, AT, strict=True)] == [True, True]
    model = AffectModel.from_pretrained(saved)
    for row in rows:
        onset, apex, offset = (int(row[name]) for name in ("onset", "apex", "offset"))
        assert onset < apex < offset <= onset + FPS / 2
        times = [float(row[f"{name}_time"]) for name in ("onset", "apex", "offset")]
        assert times == pytest.approx([onset / FPS, apex / FPS, offset / FPS], abs=1e-6)
        assert (row["moved"].split()[0], row["units"]) == ("AU12", "AU04")  # thresholds 0 and 1
        pair = torch.stack([frame(onset), frame(apex)])[None]
        finder = MovementFinder(Predictor(model, faces="center"))
        landmarks = (finder.spotter.landmarks * SIZE - 0.5).expand(1, 2, -1, -1)
        expected = model.predict(pair, None, landmarks)["au"][0].tolist()
        assert [float(row["AU04"]), float(row["AU12"])] == pytest.approx(expected, abs=1e-5)
    assert out.with_suffix(".json").stat().st_size <= 2000
    described = load_sidecar(out)
    assert described["complete"] is True
    assert described["spotting"]["trained_on_movements"] is True
    assert (described["movements"], described["unseen"], described["fps"]) == (2, {}, FPS)
    assert described["thresholds"] == {"AU04": 0.0, "AU12": 1.0}
    assert described["spotting"]["model_sees"] == "2 frames from onset to apex"
    assert described["model_sha256"]
    text = capsys.readouterr()
    assert f"{out}: 2 brief movements" in text.out
    assert "rendered faces only" in text.err


def test_a_folder_of_clips(saved, clip, tmp_path, capsys):
    media, out = tmp_path / "media", tmp_path / "out"
    for name in ("one", "deep/two", "still"):
        shutil.copytree(clip, media / name)
    for picture in sorted((media / "still").iterdir())[1:]:
        picture.unlink()  # one frame
    (media / "notes.txt").touch()
    args = ("--model", saved, "--input", media, "--output", out, "--fps", FPS)
    assert spot.run(*options(*args)) == 3
    said = capsys.readouterr()
    assert f"{out}: 2 tables (0 finished before), 4 brief movements found now; 1 file failed" in said.out
    assert "still: A photo has no movement" in said.err
    assert "1 file skipped (1 × .txt)" in said.err
    first = (out / "one.csv").read_bytes()
    assert first == (out / "deep" / "two.csv").read_bytes()
    assert len([*out.glob("_shared_*.json")]) == 1
    (out / "deep" / "two.csv").write_text("lost")
    described = json.loads((out / "deep" / "two.json").read_text())
    (out / "deep" / "two.json").write_text(json.dumps(described | {"complete": False}))
    shutil.rmtree(media / "still")
    assert spot.run(*options(*args)) == 0
    said = capsys.readouterr()
    assert f"{out}: 2 tables (1 finished before), 2 brief movements found now\n" in said.out
    assert (out / "deep" / "two.csv").read_bytes() == first
    assert spot.run(*options(*args, "--longest", 0.4)) == 3
    assert "The existing table has another spotting. Give another output" in capsys.readouterr().err
    (out / "one.json").unlink()
    assert spot.run(*options(*args)) == 3
    assert "one.csv: The existing file has no metadata of a table of movements" in capsys.readouterr().err
    assert spot.run(*options(*args, "--overwrite")) == 0
    assert (out / "one.csv").read_bytes() == first


def test_a_model_of_longer_expressions_is_named(clip, tmp_path, capsys):
    make({"type": "au", "space": "AU12", "per_frame": True}).save_pretrained(tmp_path / "model")
    out = tmp_path / "t.csv"
    args = ("--model", tmp_path / "model", "--input", clip, "--output", out, "--fps", FPS)
    assert spot.run(*options(*args)) == 0
    assert "this model was not trained on micro-expressions" in capsys.readouterr().err
    assert {row["warning"] for row in read(out)} == {"The model was not trained on micro-expressions."}
    assert load_sidecar(out)["spotting"]["trained_on_movements"] is False
    finder = MovementFinder(Predictor(make(), faces="center"))
    assert (finder.sees_movements, finder.warning) == (True, None)


def test_photos_in_folders_are_no_clips(saved, clip, tmp_path, capsys):
    (media := tmp_path / "media").mkdir()
    shutil.copy(clip / "000.png", media)
    args = ("--model", saved, "--input", media, "--output", tmp_path / "out", "--images", "photos")
    with pytest.raises(VideoError, match="only photos"):
        spot.run(*options(*args))


def test_nothing_found_is_an_empty_table_and_no_error(saved, clip, tmp_path, capsys):
    out = tmp_path / "none.csv"
    args = ("--model", saved, "--input", clip, "--output", out, "--fps", FPS, "--spot-threshold", "1e9")
    assert spot.run(*options(*args)) == 0
    assert read(out) == []
    assert load_sidecar(out)["movements"] == 0
    text = capsys.readouterr()
    assert "no brief movement" in text.out
    assert "a lower --spot-threshold" in text.err


def test_faults_are_named(saved, clip, tmp_path):
    out = tmp_path / "x.csv"
    with pytest.raises(ConfigError, match="2 media cannot go to the one table"):
        spot.run(
            *options("--model", saved, "--input", clip, clip.parent / "clip" / "000.png", "--output", out)
        )
    with pytest.raises(ConfigError, match="--format does not go with --spot"):
        spot.run(*options("--model", saved, "--input", clip, "--output", out, "--format", "jsonl"))
    base = ("--model", saved, "--output", out)
    with pytest.raises(ConfigError, match="--engine does not go with --spot"):
        spot.run(*options(*base, "--input", clip, "--engine", "ray"))
    out.write_text("another table")
    with pytest.raises(ConfigError, match=r"x\.csv: The table already exists"):
        spot.run(*options(*base, "--input", clip, "--engine", "processes"))  # the default, typed out
    assert out.read_text() == "another table"
    out.unlink()
    with pytest.raises(ConfigError, match="--webcam does not go with --spot"):
        spot.run(*options(*base, "--webcam", 0))
    with pytest.raises(VideoError, match="photo has no movement"):
        spot.run(*options("--model", saved, "--input", clip / "000.png", "--output", out))
    with pytest.raises(ConfigError, match=r"nan frames per second.*--fps"):
        spot.run(*options("--model", saved, "--input", clip, "--output", out))
    with pytest.raises(ConfigError, match=r"suffix \.csv"):
        spot.run(*options("--model", saved, "--input", clip, "--output", tmp_path / "x.jsonl"))
    assert not out.exists()
    with pytest.raises(ConfigError, match="does not predict action units"):
        MovementFinder(Predictor(make({"type": "expression", "space": "basic7"}), faces="center"))


class Detector:
    """Finds the whole picture as a face, from the second frame it is asked about on; counts its calls."""

    def __init__(self, points=True, blind=0):
        self.calls, self.points, self.blind = 0, points, blind

    def __call__(self, frames):
        self.calls += len(frames)
        if self.calls <= self.blind:
            return [[] for _ in frames]
        five = torch.tensor([[20.0, 8.0], [43.0, 8.0], [31.5, 28.0], [22.0, 53.0], [41.0, 53.0]])
        small = Face((0, 0, 5, 5), 1.0)
        flat = torch.full((5, 2), 9.0)
        points = {True: five, False: None, "flat": flat}[self.points]
        return [[small, Face((-16, -23, 96, 96), 1.0, points)] for _ in frames]


@pytest.mark.parametrize("points", [True, False])
def test_a_face_is_found_once_a_segment_and_once_a_movement(clip, points):
    detector = Detector(points, blind=3)
    finder = MovementFinder(Predictor(make(crop_margin=0.0), faces=detector))
    with open_video(clip) as video:
        found = list(finder.find(video, fps=FPS))
    assert [abs(one.interval.apex - apex) <= 1 for one, apex in zip(found, AT, strict=True)] == [True, True]
    assert all(np.isfinite(list(one.values.values())).all() for one in found)
    assert detector.calls == 4 + len(found)  # 120 frames are one segment


def test_a_face_that_goes_has_no_values(clip, tmp_path):
    class Gone(Detector):
        def __call__(self, frames):
            found = super().__call__(frames)
            return found if self.calls == 1 else [[] for _ in frames]

    finder = MovementFinder(Predictor(make(), faces=Gone()))
    written = write_movements(finder, clip, tmp_path / "x.csv", fps=FPS)
    assert (written.movements, written.unseen) == (2, 2)
    assert {row["AU12"] for row in read(written.path)} == {"nan"}
    assert json.loads(written.sidecar.read_text())["unseen"] == {"No face was found.": 2}
    flat = MovementFinder(Predictor(make(), faces=Detector("flat")))
    empty = write_movements(flat, clip, tmp_path / "y.csv", fps=FPS)
    assert (written.face_seen, empty.face_seen, empty.movements) == (True, False, 0)
    assert json.loads(empty.sidecar.read_text())["face_seen"] is False


def test_the_command_says_what_it_did_not_see(clip, tmp_path, capsys, monkeypatch):
    make().save_pretrained(tmp_path / "model")
    calls = []

    def find(frames):
        calls.append(len(frames))
        return Detector()(frames) if len(calls) == 1 and sees else [[] for _ in frames]

    monkeypatch.setattr("affectkit.inference.predictor.face_source", lambda *_: find)
    args = ("--model", tmp_path / "model", "--input", clip, "--output", tmp_path / "x.csv", "--fps", FPS)
    sees = False
    assert spot.run(*options(*args)) == 0
    assert "no face was found; " in capsys.readouterr().err
    calls.clear()
    sees = True
    assert spot.run(*options(*args, "--overwrite")) == 0
    text = capsys.readouterr()
    assert "brief movement" in text.out
    assert "no face was found in" in text.err


@pytest.mark.parametrize(
    ("head", "frames", "sees", "numbers"),
    [
        (None, 5, "5 frames from onset to apex", [10, 12, 14, 16, 18]),
        ({"type": "au", "space": "AU12"}, 1, "the apex", [18]),
        ({"type": "au", "space": "AU12"}, 2, "2 frames from onset to apex", [10, 18]),
        ({"type": "au", "space": "AU12", "per_frame": True}, 4, "4 frames from onset to offset", [12, 16, 20, 24]),
    ],
)  # fmt: skip
def test_models_see_what_they_were_trained_on(head, frames, sees, numbers):
    from affectkit.inference.spotting.spotter import Interval

    finder = MovementFinder(Predictor(make(head, frames=frames), faces="center"))
    assert finder.metadata()["spotting"]["model_sees"] == sees
    assert finder._numbers(Interval(10, 18, 25, 1.0, ())) == numbers


def test_one_reader_does_and_damage_is_no_end(clip, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(clip, damaged)
    for t in (3, 4, 60):
        (damaged / f"{t:03d}.png").write_bytes(b"no picture")
    finder = MovementFinder(
        Predictor(make({"type": "au", "space": "AU12", "per_frame": True}), faces="center")
    )
    seen = []
    with open_video(damaged) as video:
        found = list(finder.find(video, fps=FPS, progress=lambda done, total: seen.append((done, total))))
    assert len(found) == 2
    assert seen == [(t + 1, 120) for t in range(120)]
    for t in range(120):
        (damaged / f"{t:03d}.png").write_bytes(b"no picture")
    with pytest.raises(VideoError, match="None of its frames could be read"):
        write_movements(finder, damaged, tmp_path / "x.csv", fps=FPS)
    assert json.loads((tmp_path / "x.json").read_text())["complete"] is False


def test_explain_from_the_command_line(saved, clip, tmp_path, capsys):
    base = [
        "model",
        "explain",
        "--only",
        "regions",
        "--model",
        saved,
        "--input",
        clip,
        "--faces",
        "center",
        "--fps",
        FPS,
    ]
    assert main([*map(str, base), "--output", str(tmp_path / "a")]) == 0
    text = capsys.readouterr().out
    assert "the strongest of 2" in text
    assert "units above their thresholds: AU4" in text
    assert main([*map(str, base), "--onset", "35", "--apex", "40", "--output", str(tmp_path / "b")]) == 0
    assert (tmp_path / "b" / "regions.png").is_file()
    base[3] = "dependencies"
    assert main([*map(str, base), "--output", str(tmp_path / "c")]) == 0
    assert main(["model", "explain", "--model", str(saved), "--output", str(tmp_path / "d")]) == 0
    said = capsys.readouterr()
    assert "beyond co-occurrence: AU" in said.out
    assert "regions is left out" in said.err
    assert not (tmp_path / "d" / "regions.csv").exists()
    assert (tmp_path / "c" / "dependencies.csv").read_text() != (
        tmp_path / "d" / "dependencies.csv"
    ).read_text()


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        (("--onset", 3), "belong together"),
        (("--only", "map"), "cannot explain map. Choose from regions, dependencies"),
        (("--head", "brow"), "no head 'brow'"),
        (("--onset", 9, "--apex", 3), "not in order among 120 frames"),
        (("--onset", 3, "--apex", 120), "not in order among 120 frames"),
    ],
)
def test_explain_names_faults(saved, clip, tmp_path, capsys, args, fault):
    base = [
        "model",
        "explain",
        "--only",
        "regions",
        "--model",
        saved,
        "--input",
        clip,
        "--faces",
        "center",
        "--output",
        tmp_path,
    ]
    assert main([*map(str, (*base, *args))]) == 2
    assert fault in capsys.readouterr().err


def test_what_is_about_a_clip_asks_for_one(saved, tmp_path, capsys):
    assert (
        main(["model", "explain", "--only", "regions", "--model", str(saved), "--output", str(tmp_path)]) == 2
    )
    assert "regions needs a clip. Give one with --input" in capsys.readouterr().err


def test_two_heads_are_explained_side_by_side(tmp_path):
    head = {"type": "micro_au", "space": "AU4,AU12", "attention_heads": 4}
    backbone = {"type": "clip", "model_name": "affectkit-tiny-patch8", "tokens": True}
    AffectModel(backbone, {"one": head, "two": head}, input_spec={"frames": 2}).save_pretrained(
        tmp_path / "model"
    )
    base = ["model", "explain", "--model", str(tmp_path / "model"), "--output"]
    assert main([*base, str(tmp_path / "both")]) == 0
    assert main([*base, str(tmp_path / "alone"), "--head", "two"]) == 0
    tables = ("both/one", "both/two", "alone")
    one, two, alone = ((tmp_path / place / "dependencies.csv").read_text() for place in tables)
    assert one != two == alone


def test_a_model_may_have_nothing_to_explain(tmp_path, capsys):
    assert main(["model", "explain", "--model", "demo", "--output", str(tmp_path / "out")]) == 2
    assert "nothing to explain" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_explain_asks_for_onset_and_apex_where_nothing_moves(saved, tmp_path, capsys):
    still = tmp_path / "still"
    still.mkdir()
    for t in range(30):
        Image.fromarray(frame(0).permute(1, 2, 0).numpy()).save(still / f"{t:03d}.png")
    base = [
        "model",
        "explain",
        "--only",
        "regions",
        "--model",
        saved,
        "--input",
        still,
        "--faces",
        "center",
        "--output",
        tmp_path,
    ]
    assert main([*map(str, base), "--fps", "30"]) == 2
    assert "Give --onset and --apex" in capsys.readouterr().err
