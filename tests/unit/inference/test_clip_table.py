"""What a table means is read from its metadata, and its rows become sequences of identities."""

import numpy as np
import pandas as pd
import pytest
from helpers.pictures import CLASSES, UNITS, table

from affectkit.errors import AnnotationError, ConfigError
from affectkit.inference import ClipTable, Row, TableWriter, read_openface


def test_signals_come_from_the_metadata():
    clip = ClipTable(table())
    assert [s.column for s in clip.signals] == [*UNITS, "AU12_i", *CLASSES]
    assert [s.kind for s in clip.signals] == ["unit"] * 5 + ["intensity"] + ["expression"] * 3
    smile = clip.signals[3]
    assert (smile.name, smile.meaning, smile.threshold, smile.top) == ("AU12", "lip corner puller", 0.6, 1.0)
    assert (clip.signals[5].top, clip.signals[5].threshold) == (5.0, None)
    assert clip.warning.startswith("This model was trained on rendered faces only")


def test_without_metadata_names_decide():
    data = table()
    data.attrs.clear()
    data["AU99"] = 0.5  # no such unit: a column that only looks like one
    clip = ClipTable(data)
    assert {s.column: s.kind for s in clip.signals} == {
        **dict.fromkeys(UNITS, "unit"),
        "AU12_i": "intensity",
        "AU99": "expression",
    }
    assert {s.threshold for s in clip.signals if s.kind == "unit"} == {0.5}
    assert clip.warning is None
    assert clip.source is None


def test_heads_that_share_a_name_keep_it():
    data = pd.DataFrame({"frame": [0], "timestamp": [0.0], "success": [True], "micro.AU12": [0.3]})
    data.attrs["affectkit"] = {"heads": {"micro": {"columns": ["micro.AU12", "absent"], "thresholds": {}}}}
    (signal,) = ClipTable(data).signals
    assert (signal.name, signal.meaning, signal.threshold) == ("micro.AU12", "lip corner puller", 0.5)


def test_identities_are_sequences_with_gaps():
    data = table(10, faces=2, failed=range(4, 6))
    data = data[~((data["face"] == 1) & (data["frame"] == 8))]
    clip = ClipTable(data)
    assert clip.faces == (0, 1)
    assert clip.concurrent == 2
    assert np.flatnonzero(~clip.present(0)).tolist() == [4, 5]
    assert np.flatnonzero(~clip.present(1)).tolist() == [4, 5, 8]
    assert clip.reasons == {4: "no face", 5: "no face"}  # frame 8 shows another face
    values = clip.values(1)
    assert np.isnan(values[8]).all()
    row = data[(data["face"] == 1) & (data["frame"] == 3)].iloc[0]
    np.testing.assert_allclose(values[3], row[[s.column for s in clip.signals]].to_numpy(float), rtol=1e-6)
    np.testing.assert_allclose(clip.boxes(1)[3], row[["x", "y", "w", "h"]].to_numpy(float))
    frames = [([r.face for r in found], why) for found, why in map(clip.at, (3, 4, 8, 10))]
    assert frames == [([0, 1], None), ([], "no face"), ([0], None), ([], "The table has no such frame.")]


def test_a_crop_without_identity_is_face_0_and_a_failed_row_is_nobody():
    data = pd.DataFrame(
        {"frame": [0, 1], "timestamp": [0, 0.04], "success": [True, False], "AU12": [0.7, 0.9]}
    )
    clip = ClipTable(data)
    assert clip.faces == (0,)
    assert clip.values(0)[0, 0] == pytest.approx(0.7)
    assert np.isnan(clip.values(0)[1, 0])
    assert clip.reasons == {1: "no reason given"}
    assert np.isnan(clip.boxes(0)).all()


def test_thinning_keeps_every_peak():
    data = table(1000)
    data["AU06"] = 0.1
    data.loc[503, "AU06"] = 0.95
    data.loc[700:702, "success"] = False
    course = ClipTable(data).stretches(0, 100)
    assert course.frames == 10
    assert len(course.edges) == 101
    assert course.edges[[0, 1, -1]].tolist() == pytest.approx([0, 0.4, 40])
    assert course.high[50, 2] == pytest.approx(0.95)
    assert course.low[50, 2] == pytest.approx(0.1)
    assert np.flatnonzero(course.lacking).tolist() == [70]
    assert course.gaps == [(pytest.approx(28.0), pytest.approx(28.4))]
    assert course.high[70, 2] == pytest.approx(0.1)  # the other frames of that stretch
    whole = ClipTable(data).stretches(0, 1000)
    np.testing.assert_array_equal(whole.low, whole.high)
    assert np.isnan(whole.low[700]).all()


def test_frames_without_times():
    data = table(5).assign(timestamp=np.nan)
    clip = ClipTable(data)
    assert not clip.timed
    assert clip.times.tolist() == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert ClipTable(table(1)).interval == 0.04


@pytest.mark.parametrize(
    ("data", "fault"),
    [(table().drop(columns="success"), "no column 'success'"), (table().iloc[:0], "no rows")],
)
def test_what_is_no_table(data, fault):
    with pytest.raises(AnnotationError, match=fault):
        ClipTable(data)


def test_tables_in_files(tmp_path):
    path = tmp_path / "face.parquet"
    with TableWriter(
        path, ["AU12"], {"heads": {"au": {"columns": ["AU12"], "thresholds": {"AU12": 0.3}}}}
    ) as w:
        w.write(Row(0, 0.0, True, {"AU12": 0.25}, face=3, box=(1, 2, 3, 4)))
    clip = ClipTable(path)
    assert (clip.path, clip.faces, clip.signals[0].threshold) == (path, (3,), 0.3)
    assert clip.boxes(3).tolist() == [[1, 2, 3, 4]]
    with pytest.raises(AnnotationError, match=r"absent\.parquet"):
        ClipTable(tmp_path / "absent.parquet")


def test_values_with_a_range_of_their_own(tmp_path):
    heads = {
        "va": {"columns": ["valence"], "values": "value", "thresholds": {}, "range": [-2.0, 2.0]},
        "levels": {"columns": ["low"], "values": "probability", "thresholds": {}},
    }
    with TableWriter(tmp_path / "face.csv", ["valence", "low"], {"heads": heads}) as writer:
        writer.write(Row(0, 0.0, True, {"valence": -0.5, "low": 0.25}, face=0))
    signals = ClipTable(tmp_path / "face.csv").signals
    assert [(one.column, one.kind, one.low, one.top) for one in signals] == [
        ("valence", "dimension", -2.0, 2.0), ("low", "expression", 0.0, 1.0),
    ]  # fmt: skip
    assert signals[0].scale(np.float32(-0.5)) == pytest.approx(0.375)


def test_edited_tables_say_so(tmp_path):
    path = tmp_path / "face.csv"
    with TableWriter(path, ["AU12"], {}) as writer:
        writer.write(Row(0, 0.0, True, {"AU12": 0.25}, face=0))
    assert ClipTable(path).notes == ()
    path.write_text(path.read_text().replace("0.25", "0.75"))
    (note,) = ClipTable(path).notes
    assert "edited" in note


@pytest.mark.parametrize("format", ["openface", "openface-release"])
def test_our_tables_in_openface_columns(tmp_path, format):
    heads = {
        "au": {"columns": ["AU12"], "values": "probability", "thresholds": {"AU12": 0.3}},
        "degree": {"columns": ["AU12_i"], "values": "intensity 0-5", "thresholds": {}},
    }
    path = tmp_path / "face.csv"
    with TableWriter(path, ["AU12", "AU12_i"], {"heads": heads}, format=format) as writer:
        writer.write(Row(0, 0.0, True, {"AU12": 0.25, "AU12_i": 2.5}, face=1))
        writer.write(Row(1, 0.04, False, {"AU12": np.nan, "AU12_i": np.nan}, reason="no face"))
    clip = ClipTable(path)
    assert clip.frames.tolist() == [0, 1]
    assert [(s.column, s.kind, s.threshold) for s in clip.signals] == [
        ("AU12", "unit", 0.3), ("AU12_i", "intensity", None),
    ]  # fmt: skip
    assert clip.values(1)[0].tolist() == pytest.approx([0.25, 2.5])
    assert list(clip.reasons) == [1]


def test_tables_of_openface_itself(tmp_path):
    path = tmp_path / "openface.csv"
    points = [f"{axis}_{k}" for axis in "xy" for k in range(68)]
    names = ["frame", "timestamp", "confidence", "success", *points, "AU12_r", "AU12_c"]
    places = [*(10.0 + k for k in range(68)), *(20.0 + k for k in range(68))]
    lines = [names, [1, 0, 0.98, 1, *places, 2.31, 1.0], [2, 0.033, 0.1, 0, *places, 0.0, 0.0]]
    path.write_text("".join(", ".join(map(str, line)) + "\n" for line in lines))
    for clip in (ClipTable(path), ClipTable(read_openface(path))):
        assert [(s.column, s.kind) for s in clip.signals] == [("AU12", "unit"), ("AU12_i", "intensity")]
        assert clip.values(0)[0].tolist() == pytest.approx([1.0, 2.31])
        assert clip.boxes(0)[0].tolist() == [10, 20, 67, 67]
        assert not clip.present(0)[1]
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(AnnotationError, match=r"other\.json"):  # what our own table lacks, not OpenFace's
        ClipTable(other)


def test_a_table_fits_one_video_only(memory_video):
    clip = ClipTable(table(10))
    clip.check_video(memory_video(10))
    clip.check_video(memory_video(30))  # interrupted
    with pytest.raises(ConfigError, match=r"memory\.mp4: This is not the video.*frame 9.*has 9 frames"):
        clip.check_video(memory_video(9))
    with pytest.raises(
        ConfigError, match=r"frame 9 is at 0\.360 s in the video and at 0\.300 s in the table"
    ):
        ClipTable(table(10, fps=30)).check_video(memory_video(10))
