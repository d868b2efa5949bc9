"""Overlays show what the table says, at the times of the video."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.pictures import CLASSES, UNITS, render, table
from PIL import Image

from affectkit.data.video import open_video
from affectkit.errors import ConfigError, VideoError
from affectkit.inference import ClipTable, write_overlay
from affectkit.inference.pictures import encode
from affectkit.inference.pictures.clip_table import Reading
from affectkit.inference.pictures.drawing import Drawing
from affectkit.inference.pictures.overlay import _Canvas
from affectkit.inference.pictures.panel import (
    ABOVE,
    BELOW,
    FACE_COLORS,
    INK,
    TRACK,
    Panel,
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return render(tmp_path_factory.mktemp("clip") / "one.mp4")


def drawn(data, pixels=None, number=0, height=None, size=(64, 64)):
    canvas = _Canvas(ClipTable(data), size, height)
    pixels = np.full((*size, 3), 90, np.uint8) if pixels is None else pixels
    return canvas, np.asarray(canvas.draw(number, number / 25, pixels))


def bar(canvas, image, number, slot=0):
    """The colours along the middle of a bar."""
    left, top, right, bottom = canvas.panel.bar_box(*canvas.panel.bar_place(slot, number))
    return image[(top + bottom) // 2, canvas.view + left : canvas.view + right + 1].astype(int)


def share(row, color):
    return float((np.abs(row - color).max(axis=1) < 3).mean())


def test_every_frame_keeps_its_time(clip, tmp_path):
    seen = []
    made = write_overlay(table(), clip, tmp_path / "o.mp4", progress=lambda *counts: seen.append(counts))
    assert (made.frames, made.height, made.codec, made.notes) == (12, 480, "libx264", ())
    with open_video(tmp_path / "o.mp4") as reader, open_video(clip) as source:
        np.testing.assert_allclose(reader.timestamps, source.timestamps, atol=2e-5)
        assert reader.read([3]).shape[2:] == (480, made.width)
        # Left is the frame itself.
        view = reader.read([3])[0, :, ::8, :480:8].float()
        small = source.read([3])[0].float()
    assert (view[:, 1:-1, 1:-1].mean((1, 2)) - small.mean((1, 2))).abs().max() < 12
    assert seen[-1] == (12, 12)


def test_bars_are_as_long_as_values_and_orange_from_the_threshold_on():
    data = table(2)
    data.loc[0, ["AU01", "AU02", "AU12", "AU12_i"]] = [0.25, 0.5, 1.0, 2.5]
    canvas, image = drawn(data)
    assert share(bar(canvas, image, 0), BELOW) == pytest.approx(0.25, abs=0.02)
    assert share(bar(canvas, image, 1), ABOVE) == pytest.approx(
        0.5, abs=0.03
    )  # 0.5 reaches a threshold of 0.5
    assert share(bar(canvas, image, 3), ABOVE) > 0.95
    ticks = [np.flatnonzero(np.abs(bar(canvas, image, k) - INK).max(axis=1) < 3) for k in range(5)]
    width = len(bar(canvas, image, 0))
    assert ticks[0].mean() / width == pytest.approx(0.4, abs=0.02)
    assert ticks[3].mean() / width == pytest.approx(0.6, abs=0.02)


def test_intensities_have_bars_unless_their_unit_has_one():
    data = table(2)
    canvas, _ = drawn(data)
    assert [(one.signal.column, one.intensity) for one in canvas.panel.bars] == [
        *((unit, None) for unit in UNITS[:3]),
        ("AU12", 5),
        ("AU25", None),
    ]
    data = data.drop(columns=list(UNITS))
    data.loc[0, "AU12_i"] = 2.5
    canvas, image = drawn(data)
    assert [one.signal.column for one in canvas.panel.bars] == ["AU12_i"]
    assert share(bar(canvas, image, 0), BELOW) == pytest.approx(0.5, abs=0.02)  # of 5
    assert not (np.abs(bar(canvas, image, 0) - INK).max(axis=1) < 3).any()  # no threshold


def test_the_box_is_where_the_face_is():
    _, image = drawn(table(2), size=(64, 64))
    color = np.array(FACE_COLORS[0])
    mine = np.abs(image[:, :480].astype(int) - color).max(axis=2) < 3
    rows, columns = np.flatnonzero(mine.sum(1) > 200), np.flatnonzero(mine.sum(0) > 200)
    scale = 480 / 64
    assert columns[[0, -1]].tolist() == pytest.approx([12.8 * scale, 51.2 * scale], abs=2)
    assert rows[-1] == pytest.approx((7.68 + 48.64) * scale, abs=2)


def test_names_of_neighbours_do_not_cover_each_other():
    data = table(2, faces=2).assign(x=10.0, y=[20.0, 22.0] * 2, w=30.0, h=30.0)  # one in front of the other
    canvas = _Canvas(ClipTable(data), (64, 64), None)
    names = []
    view = np.zeros((480, canvas.view, 3), np.uint8)
    for reading in ClipTable(data).at(0)[0]:
        canvas._draw_name(view, reading, (75, 150, 300, 375), names)
    (left, _, _, above), (other, below, _, _) = names
    assert (left, other) == (75, 75)
    assert above == 150
    assert below == 376
    canvas._draw_name(view, reading, (75, 5, 300, 470), names)  # no room but in the box
    assert names[-1][1] == 5


def test_without_boxes_none_is_drawn():
    data = table(2).assign(x=np.nan, y=np.nan, w=np.nan, h=np.nan)
    canvas, image = drawn(data)
    assert (image[:, : canvas.view] == 90).all()
    assert share(bar(canvas, image, 0), TRACK) > 0.9


def test_a_frame_without_a_face_says_so():
    canvas, image = drawn(table(4, failed=range(4)), number=1)
    assert (image[:, : canvas.view] == 90).all()
    panel_ = image[:, canvas.view :]
    assert (np.abs(panel_.astype(int) - ABOVE).max(axis=2) < 3).sum() > 20  # "No values", and the warning
    none = Panel(canvas.clip.signals, 480, 1)
    assert none.draw([], [], "no face") != none.draw([], [], None)


def test_faces_keep_their_places():
    data = table(3, faces=2)
    data = data[~((data["frame"] == 1) & (data["face"] == 0))]
    canvas = _Canvas(ClipTable(data), (64, 128), None)
    assert canvas.panel.slots == [None, None]
    for number, expected in ((0, [0, 1]), (1, [0, 1]), (2, [0, 1])):
        image = np.asarray(canvas.draw(number, 0.0, np.zeros((64, 128, 3), np.uint8)))
        assert canvas.panel.slots == expected
        marks = [
            (np.abs(image[:, canvas.view :].astype(int) - FACE_COLORS[k]).max(2) < 3).sum() for k in (0, 1)
        ]
        assert (marks[0] > 50, marks[1] > 50) == (number != 1, True)


def test_a_face_takes_the_place_of_one_that_left_and_others_are_counted():
    data = table(2, faces=6)
    data = data[(data["frame"] == 0) == (data["face"] < 5)]
    canvas = _Canvas(ClipTable(data), (64, 64), None)
    canvas.draw(0, 0.0, np.zeros((64, 64, 3), np.uint8))
    assert canvas.panel.slots == [0, 1, 2, 3, 4]
    canvas.draw(1, 0.04, np.zeros((64, 64, 3), np.uint8))
    assert canvas.panel.slots == [5, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("faces", "view", "slots", "bars"), [(2, 640, 2, 21), (4, 640, 4, 9), (9, 1920, 9, 6)]
)
def test_several_faces_with_many_values_show_the_strongest(faces, view, slots, bars):
    signals = [replace(ClipTable(table(1)).signals[0], column=f"c{k}") for k in range(40)]
    panel = Panel(signals, 1080, faces, widest=view)
    assert len(panel.slots) == slots
    assert panel.shown == bars  # rows of a slot are as many as fit
    assert panel.width <= max(3 * panel.column, view)
    values = np.linspace(0, 0.3, 40, dtype=np.float32)  # below the threshold
    values[[3, 7]] = 0.45, np.nan  # at it
    kept = panel._strongest(Reading(0, values, np.full(4, np.nan), 0))
    assert [one.place for one in kept] == [3, *range(41 - bars, 40)]  # active ones first, NaN last


def test_a_crowd_has_as_many_slots_as_there_is_room_for():
    signals = ClipTable(table(1)).signals
    crowd = Panel(signals, 480, 100, widest=640)
    assert crowd.shown == 3
    assert len(crowd.slots) == 3 * 4  # of five rows and a half, in 22
    places = [crowd.bar_place(slot, k) for slot in range(12) for k in range(3)]
    assert len(set(places)) == 36
    assert max(y for _, y in places) + 2 * crowd.row <= 480


def with_geometry(data, **columns):
    """Head 30° to the left of the picture and 20° down, gaze 10° right, landmarks on a circle."""
    circle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    measured = {
        **{f"pose_T{axis}": value for axis, value in zip("xyz", (0.0, 0.0, 500.0), strict=True)},
        **{f"pose_R{axis}": value for axis, value in zip("xyz", np.deg2rad([20.0, 30.0, 0.0]), strict=True)},
        **{f"gaze_{eye}_x": np.sin(np.deg2rad(10)) for eye in range(2)},
        **{f"gaze_{eye}_y": 0.0 for eye in range(2)},
        **{f"gaze_{eye}_z": -np.cos(np.deg2rad(10)) for eye in range(2)},
        **{f"x_{k}": 31.5 + 20 * np.cos(circle[k]) for k in range(68)},
        **{f"y_{k}": 31.5 + 20 * np.sin(circle[k]) for k in range(68)},
        **columns,
    }
    result = pd.concat([data, pd.DataFrame(measured, index=data.index)], axis=1)
    result.attrs = data.attrs
    return result


def test_pose_and_gaze_have_the_directions_of_the_table():
    from scipy.spatial.transform import Rotation

    data = with_geometry(table(2)).drop(columns="x_0")  # no landmarks
    clip = ClipTable(data)
    drawing = Drawing(clip, ["pose", "gaze"], (480, 640))
    reading = clip.at(0)[0][0]
    points = drawing.points(reading)
    rotation = Rotation.from_euler("XYZ", [20, 30, 0], degrees=True).as_matrix()  # intrinsic: Rx Ry Rz
    axes = points[1:4] - points[0]
    expected = (rotation @ np.diag([45.0, 45.0, -75.0]))[:2].T  # 500 pixels at 500 millimetres
    np.testing.assert_allclose(axes, expected, atol=1e-9)
    assert axes[2][0] < 0 < axes[2][1]  # to the left and down
    np.testing.assert_allclose(points[5] - points[4], [75 * np.sin(np.deg2rad(10)), 0], atol=1e-9)
    nose = rotation @ [0.0, -6.6, -40.9]
    np.testing.assert_allclose(points[0], [319.5 + nose[0], 239.5 + nose[1]], atol=1e-9)
    assert drawing.describe(reading) == ["Head 20° down, 30° left, 0° clockwise", "Gaze 0° down, 10° right"]
    assert np.isnan(drawing.over_time(clip, 1)).all()
    np.testing.assert_array_equal(drawing.over_time(clip, 0)[0], points)


def test_the_mesh_is_drawn_where_the_landmarks_are():
    data = with_geometry(table(2)).drop(columns="pose_Rx")
    clip = ClipTable(data)
    drawing = Drawing(clip, ["mesh", "gaze"], (64, 64))
    points = drawing.points(clip.at(1)[0][0])
    np.testing.assert_allclose(points[:68, 0], [data[f"x_{k}"][1] for k in range(68)])
    middles = points[36:42].mean(0), points[42:48].mean(0)
    np.testing.assert_allclose(points[[68, 70]], middles)
    reach = np.linalg.norm(middles[1] - middles[0]) / 63.6 * 75 * np.sin(np.deg2rad(10))
    np.testing.assert_allclose(points[69, 0] - points[68, 0], reach)
    assert drawing.lines[5].places == (36, 37, 38, 39, 40, 41, 36)  # an eye is closed
    canvas = _Canvas(clip, (64, 64), None, ["mesh"])
    image = canvas.draw(0, 0.0, np.full((64, 64, 3), 90, np.uint8))
    assert canvas.panel._head == 2
    x, y = (drawing.points(clip.at(0)[0][0])[8] + 0.5) * 7.5  # the chin
    assert (image[round(y) - 2 : round(y) + 2, round(x) - 2 : round(x) + 2].max(axis=2) > 150).any()


def test_rows_without_geometry_are_not_drawn():
    data = with_geometry(table(3, failed=[2]), pose_Tz=[500.0, np.nan, 0.0], gaze_0_x=np.nan)
    clip = ClipTable(data)
    drawing = Drawing(clip, ["pose", "gaze", "mesh"], (64, 64))
    first, second = (drawing.points(clip.at(k)[0][0]) for k in (0, 1))
    assert np.isfinite(first[:72]).all()  # parts are drawn in a fixed order
    assert np.isnan(second[69:72]).all()
    canvas = _Canvas(clip, (64, 64), 240, ["pose", "gaze", "mesh"])
    for number in range(3):
        canvas.draw(number, 0.0, np.zeros((64, 64, 3), np.uint8))
    assert drawing.describe(clip.at(0)[0][0])[1] == "Gaze 0° down, –"


@pytest.mark.parametrize(
    ("draw", "missing", "fault"),
    [
        (["mesh"], "y_67", r"no columns of the 68 landmarks .*--format openface"),
        (["gaze"], "gaze_1_z", "no columns of the gaze"),
        (["pose"], "pose_Tx", "no columns of the head pose"),
        (["mouth"], "y_67", "'mouth' cannot be drawn. Choose from mesh, gaze, pose"),
    ],
)
def test_what_the_table_lacks_cannot_be_drawn(draw, missing, fault):
    clip = ClipTable(with_geometry(table(2)).drop(columns=missing))
    with pytest.raises(ConfigError, match=fault):
        Drawing(clip, draw, (64, 64))
    bare = ClipTable(with_geometry(table(2)).drop(columns=["x_0", "pose_Rx"]))
    with pytest.raises(ConfigError, match="no columns of the head pose"):
        Drawing(bare, ["gaze"], (64, 64))  # no place for it


@pytest.mark.parametrize("faces", [1, 2, 4])
@pytest.mark.parametrize("height", [120, 480, 1080])
def test_every_bar_has_a_place_of_its_own(faces, height):
    signals = [s for _ in range(8) for s in ClipTable(table(1)).signals]
    box = Panel(signals, height, faces, "A note that says something of importance.")
    places = [box.bar_place(slot, k) for slot in range(faces) for k in range(len(box.bars))]
    assert len(set(places)) == faces * len(box.bars)
    assert max(x for x, _ in places) + box.column <= box.width + 1
    if height > 120:  # there, what does not fit is cut off
        assert max(y for _, y in places) + box.row <= height


def test_frames_that_cannot_be_read_are_shown_as_such(memory_video, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "affectkit.inference.pictures.overlay.open_video", lambda *_: memory_video(6, broken=[0, 3])
    )
    made = write_overlay(table(6), "memory.mp4", tmp_path / "o.mp4")
    with open_video(tmp_path / "o.mp4") as reader:
        assert reader.num_frames == made.frames == 6
        dark = reader.read(range(6))[:, :, 40:200, 40:200].float().mean((1, 2, 3))
    assert (dark < 50).tolist() == [True, False, False, True, False, False]
    monkeypatch.setattr(
        "affectkit.inference.pictures.overlay.open_video", lambda *_: memory_video(2, broken=range(2))
    )
    with pytest.raises(VideoError, match=r"memory\.mp4: No frame can be read"):
        write_overlay(table(2), "memory.mp4", tmp_path / "o.mp4")


def test_pictures_of_several_sizes_are_fitted_in(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for k, size in enumerate([(64, 48), (48, 64), (20, 15)]):
        Image.new("RGB", size, (200, 0, 0)).save(folder / f"{k}.png")
    made = write_overlay(table(3).assign(timestamp=np.nan, x=np.nan), folder, tmp_path / "o.mp4")
    assert made.notes == ("The frames have no times; they are shown at 25 a second.",)
    with open_video(tmp_path / "o.mp4") as reader:
        assert reader.timestamps.tolist() == pytest.approx([0, 0.04, 0.08])
        frames = reader.read(range(3))[:, :, 240, :640].float()
    assert (frames[0, 0] > 150).all()
    assert (frames[1, 0, :100] < 80).all()
    assert (frames[1, 0, 200:440] > 150).all()
    assert (frames[2, 0] > 150).all()


def test_a_photo_becomes_a_picture(tmp_path):
    Image.new("RGB", (64, 64), (90, 90, 90)).save(tmp_path / "photo.png")
    made = write_overlay(table(1), tmp_path / "photo.png", tmp_path / "new" / "o.png", height=240)
    with Image.open(made.path) as image:
        assert image.size == (made.width, 240)
    assert made.codec == "image"


def test_what_cannot_be_drawn(clip, tmp_path):
    with pytest.raises(ConfigError, match="not the video of the table"):
        write_overlay(table(13), clip, tmp_path / "o.mp4")
    with pytest.raises(ConfigError, match=r"o\.png: An image cannot hold 12 frames"):
        write_overlay(table(), clip, tmp_path / "o.png")
    with pytest.raises(ConfigError, match=r"'o\.heic' is not the name of a video"):
        write_overlay(table(), clip, tmp_path / "o.heic")
    with pytest.raises(ConfigError, match="would replace its video"):
        write_overlay(table(), clip, clip)
    with pytest.raises(ConfigError, match="60 pixels"):
        write_overlay(table(), clip, tmp_path / "o.mp4", height=60)
    assert not list(tmp_path.iterdir())


def test_what_a_user_should_know(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "_CODECS", ("mpeg4",))
    made = write_overlay(table(5, fps=25), clip, tmp_path / "o.mp4", height=120, sound=False)
    assert made.codec == "mpeg4"
    assert [note[:20] for note in made.notes] == ["This FFmpeg has no H", "The table has 5 of 1"]


def test_dimensions_are_drawn_over_their_range():
    data = table(2).assign(valence=0.0, arousal=[0.5, -1.0])
    data.attrs["affectkit"]["heads"]["va"] = {"columns": ["valence", "arousal"], "values": "value"}
    canvas, image = drawn(data)
    assert [share(bar(canvas, image, k), BELOW) for k in (5, 6)] == pytest.approx([0.5, 0.75], abs=0.02)
    assert share(bar(*drawn(data, number=1), 6), TRACK) > 0.95


def test_one_frame_is_held_at_a_time(memory_video, monkeypatch, tmp_path):
    peaks = []
    for count in (20, 140):
        video = memory_video(count, lambda index: torch.full((3, 48, 64), index % 256, dtype=torch.uint8))
        monkeypatch.setattr("affectkit.inference.pictures.overlay.open_video", lambda *_, video=video: video)
        data = ClipTable(table(count).assign(**dict.fromkeys([*UNITS, *CLASSES, "AU12_i"], 0.5)))
        tracemalloc.start()
        write_overlay(data, "memory.mp4", tmp_path / "o.mp4", height=120)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 200_000  # 120 frames of the result have 17 million bytes
