"""The page of a clip holds all it shows, says what must be said, and escapes what others named."""

import base64
import json
import re

import numpy as np
import pandas as pd
import pytest
from helpers.pictures import render, table
from PIL import Image

from affectkit.errors import ConfigError
from affectkit.inference import ClipTable, write_clip_report
from affectkit.inference.pictures.encode import VideoWriter
from affectkit.inference.reports import clip_report


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return render(tmp_path_factory.mktemp("clip") / "one clip #1.mp4")


def read(path):
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="readout">(.*?)</script>', text, re.DOTALL)
    return text, json.loads(found[1])


def numbers(readout, face, signals):
    code = np.frombuffer(base64.b64decode(readout["faces"][face]["values"]), "<u2").reshape(-1, signals)
    return np.where(code > readout["scale"], np.nan, code / readout["scale"])


def test_the_page_holds_every_value(clip, tmp_path):
    data = table(12, faces=2, failed=range(4, 6))
    data = data[(data["face"] != 1) | (data["frame"] > 2)]
    made = write_clip_report(data, tmp_path / "new" / "page.html", video=clip)
    assert made.notes == ()
    text, readout = read(made.path)
    known = ClipTable(data)
    tops = np.array([s.top for s in known.signals])
    np.testing.assert_allclose(numbers(readout, 0, 9) * tops, known.values(0), atol=1e-4)
    assert readout["faces"][1]["first"] == 3
    np.testing.assert_allclose(numbers(readout, 1, 9)[3:] * tops, known.values(1)[6:], atol=1e-4)
    boxes = np.frombuffer(base64.b64decode(readout["faces"][1]["boxes"]), "<i2").reshape(-1, 4)
    assert boxes[0].tolist() == [77, 8, 38, 49]
    assert boxes[1].tolist() == [-32768] * 4
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(readout["times"])), known.times)
    assert readout["reasons"] == ["no face"]
    why = np.frombuffer(base64.b64decode(readout["why"]), np.uint8)
    assert np.flatnonzero(why).tolist() == [4, 5]
    assert [s["threshold"] for s in readout["signals"][:6]] == [0.4, 0.5, 0.5, 0.6, 0.5, None]
    stored = re.search(r'id="media">([^<]*)<', text)[1]
    assert base64.b64decode(stored) == clip.read_bytes()


def test_the_page_holds_sentences(clip, tmp_path):
    data = table(12, faces=2, failed=range(4, 6))
    smiling = (data["frame"] % 3 == 0).to_numpy()
    data["sentence"] = [f"{'A </script> smile' if on else 'Nothing'}." for on in smiling]
    data.attrs["affectkit"]["sentences"] = ["sentence"]
    text, readout = read(write_clip_report(data, tmp_path / "page.html", video=clip).path)
    assert "</script> smile" not in text
    assert 'id="sentence"' in text
    for face in readout["faces"]:
        said = np.frombuffer(base64.b64decode(face["said"]), "<i4")
        listed = [readout["sentences"][place] for place in said]
        for at, sentence in enumerate(listed, start=face["first"]):
            wanted = "A </script> smile." if at % 3 == 0 else "Nothing."
            assert sentence == ("" if at in (4, 5) else wanted)
    assert set(readout["sentences"]) <= {"", "A </script> smile.", "Nothing."}
    plain = table(12)
    _, readout = read(write_clip_report(plain, tmp_path / "plain.html", video=clip).path)
    assert readout["faces"][0]["said"] == ""


def test_the_page_holds_what_is_drawn(clip, tmp_path):
    data = table(12, failed=range(4, 6))
    points = {f"{axis}_{k}": data["x"].fillna(0) + k + (axis == "y") / 8 for axis in "xy" for k in range(68)}
    drawn = pd.concat([data, pd.DataFrame(points)], axis=1)
    drawn.attrs = data.attrs
    made = write_clip_report(drawn, tmp_path / "page.html", video=clip, draw=["mesh"])
    _, readout = read(made.path)
    assert (readout["points"], len(readout["lines"])) == (68, 9)
    assert readout["lines"][0] == {"places": list(range(17)), "color": "#ebeef2", "wide": False}
    steps = np.frombuffer(base64.b64decode(readout["faces"][0]["points"]), "<i2").reshape(12, 68, 2)
    assert (steps[4:6] == -32768).all()
    expected = np.stack([12.8 + np.arange(68), 12.925 + np.arange(68)], axis=1)
    np.testing.assert_allclose(steps[0] * readout["grain"], expected, atol=0.01)
    _, readout = read(write_clip_report(drawn, tmp_path / "page.html", video=clip).path)
    assert (readout["points"], readout["lines"], readout["faces"][0]["points"]) == (0, [], "")
    with pytest.raises(ConfigError, match=r"none\.html: There is no video or photo to draw on"):
        write_clip_report(drawn, tmp_path / "none.html", draw=["mesh"])


def test_the_page_says_what_must_be_said(clip, tmp_path):
    text, _ = read(write_clip_report(table(12, failed=range(2)), tmp_path / "p.html", video=clip).path)
    for said in (
        "This model was trained on rendered faces only.", "not validated against certified coders",
        "no emotion is inferred", "0123456789abcdef", "Apache-2.0", "AU12 0.6",
        "each frame, 3 before and 4 after it (0.32 s in all)", "2 (no face: 2)", "intensity 0-5",
        "found by CenterFace; aligned by: eyes and mouth; margin: 0.1", "12, 0.48 s",
        "Action units: probability, 0 to 1", "Intensities: 0 to 5", "lip corner puller", "prefers-color-scheme: dark",
    ):  # fmt: skip
        assert said in text
    bare = table(12)
    bare.attrs["affectkit"] = {"heads": bare.attrs["affectkit"]["heads"], "complete": False}
    made = write_clip_report(bare, tmp_path / "q.html")
    text, _ = read(made.path)
    assert "Read this first" not in text
    assert text.count("not stated") >= 5
    assert made.notes == ("The table was interrupted: it ends at frame 11.",)
    assert made.notes[0] in text
    assert made.media is None
    assert "<video" not in text
    alone = {"before": 0, "after": 0}
    text, _ = read(write_clip_report(table(12, window_frames=alone), tmp_path / "r.html").path)
    assert "the frame alone" in text


def test_names_are_text_and_nothing_else(clip, tmp_path):
    bad = "</script><script>alert(1)</script>"
    data = table(12, model=bad, licence="<b>free</b>", source=bad)
    data = data.rename(columns={"happiness": bad})
    data.attrs["affectkit"]["heads"]["expression"]["columns"] = ["neutral", bad]
    data.loc[3, ["success", "reason"]] = [False, bad]
    text, readout = read(write_clip_report(data, tmp_path / "p.html", video=clip, title=bad).path)
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "<b>free" not in text
    assert readout["signals"][-1]["name"] == bad
    assert readout["reasons"] == [bad]
    assert text.count("<script") == 3  # the readout, the video, our own


def test_the_page_asks_for_nothing(clip, tmp_path):
    text, _ = read(write_clip_report(table(12), tmp_path / "p.html", video=clip).path)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.findall(r'(?:src|href|srcset)="(?!data:|#)', text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize(("embed", "limit", "how"), [("auto", 8, "embedded"), ("auto", 0.001, "linked"),
                                                     ("always", 0, "embedded"), ("never", 8, "linked")])  # fmt: skip
def test_large_videos_are_linked(clip, tmp_path, embed, limit, how):
    page = clip.parent / "reports" / "p.html"
    made = write_clip_report(table(12), page, video=clip, embed=embed, limit_mb=limit)
    assert made.media.how == how
    text, _ = read(page)
    assert (' src="../one%20clip%20%231.mp4"' in text) == (how == "linked")
    assert ('id="media"' in text) == (how == "embedded")


def test_what_browsers_do_not_play_is_copied(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for k in range(3):
        Image.new("RGB", (62, 48), (80 * k, 0, 0)).save(folder / f"{k}.png")
    data = table(3).assign(timestamp=np.nan)
    seen = []
    made = write_clip_report(data, tmp_path / "p.html", video=folder, progress=lambda *c: seen.append(c))
    assert (made.media.how, made.media.href, made.media.width) == ("copied", None, 62)
    assert "62 × 48 pixels, at 25 frames a second" in made.media.note
    assert made.notes == ("The media gives no times; frames are numbered.",)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    made = write_clip_report(data, tmp_path / "p.html", video=folder, embed="never")
    assert made.media.href == "p.video.mp4"
    assert (tmp_path / "p.video.mp4").is_file()
    with VideoWriter(tmp_path / "v.mkv", 64, 48) as video:  # H.264, in a file that not every browser opens
        for k in range(3):
            video.write(np.zeros((48, 64, 3), np.uint8), k / 25)
    made = write_clip_report(table(3), tmp_path / "q.html", video=tmp_path / "v.mkv")
    assert made.media.how == "copied"
    assert made.media.note.endswith("64 × 48 pixels.")


def test_codecs_that_browsers_do_not_play_are_copied(tmp_path, monkeypatch):
    monkeypatch.setattr("affectkit.inference.pictures.encode._CODECS", ("mpeg4",))
    with VideoWriter(tmp_path / "v.mp4", 64, 48) as video:
        for k in range(3):
            video.write(np.zeros((48, 64, 3), np.uint8), k / 25)
    made = write_clip_report(table(3), tmp_path / "p.html", video=tmp_path / "v.mp4")
    assert made.media.how == "copied"
    assert "a copy in MPEG-4" in made.media.note


def test_a_photo_has_no_timeline(tmp_path):
    Image.new("RGB", (2000, 1000), (9, 9, 9)).save(tmp_path / "photo.png")
    made = write_clip_report(table(1), tmp_path / "p.html", video=tmp_path / "photo.png")
    text, _ = read(made.path)
    picture = re.search(r'<img src="data:image/jpeg;base64,([^"]*)"', text)[1]
    assert base64.b64decode(picture).startswith(b"\xff\xd8")
    assert made.media.width == 2000  # of the photo, as boxes are given
    assert 'class="layout photo"' in text
    assert "All values in numbers" not in text


def test_nobody(clip, tmp_path):
    made = write_clip_report(table(12, failed=range(12)), tmp_path / "p.html", video=clip)
    assert made.notes == ("No face has values in this clip.",)
    text, readout = read(made.path)
    assert readout["faces"] == []
    assert "#000 0 100.00%" in text  # all is hatched
    assert "AU12 lip corner puller over time: no values" in text


def test_long_clips_are_thinned_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_report, "_CELLS", 2000)
    monkeypatch.setattr(clip_report, "_FACES", 2)
    data = table(1300, faces=3, fps=10)
    data = data[(data["face"] != 0) | (data["frame"] < 9)]  # seen least
    made = write_clip_report(data, tmp_path / "p.html")
    text, readout = read(made.path)
    assert [face["id"] for face in readout["faces"]] == [1, 2]
    assert readout["step"] == 12
    assert len(numbers(readout, 0, 9)) == 109
    np.testing.assert_allclose(numbers(readout, 0, 9)[:, 3], ClipTable(data).values(1)[::12, 3], atol=1e-4)
    assert [note.split(":")[0] for note in made.notes] == [
        "The 1,300 frames are drawn as stretches of 3",
        "Numbers beside the timelines are those of one frame in 12.",
        "Of 3 faces, the 2 with most frames are shown.",
    ]
    assert "2:10" in text
    monkeypatch.setattr(clip_report, "_FACES", 1)
    notes = write_clip_report(data, tmp_path / "p.html").notes
    assert notes[-1] == "Of 3 faces, the one with most frames is shown."


def test_timelines_are_drawn_to_scale(tmp_path):
    data = pd.DataFrame(
        {
            "frame": range(4),
            "timestamp": [0.0, 1.0, 2.0, 3.0],
            "success": [True, True, False, True],
            "AU12": [0.25, 0.25, np.nan, 1.0],
        }
    )
    text, _ = read(write_clip_report(data, tmp_path / "p.html").path)
    assert 'd="M0 100V75H500V100ZM750 100V0H1000V100Z"' in text
    assert "Action units: 0 to 1" in text  # the table does not say that they are probabilities
    assert "<td>none</td>" not in text  # nor whether it was smoothed
    assert "transparent 0 50.00%, #000 0 75.00%" in text
    assert 'height="50.0"' in text  # above the threshold of 0.5
    assert "33 %" in text
    whole, _ = read(write_clip_report(data.iloc[:2], tmp_path / "q.html").path)
    assert "--gaps: linear-gradient(to right, transparent 0 100%)" in whole  # "none" would hatch everything
    assert "1.0 s" not in text
    assert "0.00 s" in text


def test_what_cannot_be_written(clip, tmp_path):
    with pytest.raises(ConfigError, match=r"'page\.pdf' is not the name of a page"):
        write_clip_report(table(12), tmp_path / "page.pdf")
    with pytest.raises(ConfigError, match="not the video of the table"):
        write_clip_report(table(13), tmp_path / "p.html", video=clip)
    assert not list(tmp_path.iterdir())
