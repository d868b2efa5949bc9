"""Tables in memory, and under the names that users of py-feat know."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from affectkit.errors import ConfigError
from affectkit.inference import Row, TableWriter, read_table, to_frame, to_pyfeat

COLUMNS = ("AU12", "AU12L", "AU12_i", "happiness", "neutral", "contempt", "bored")


def rows() -> list[Row]:
    good = dict(zip(COLUMNS, (0.9, 0.4, 3.5, 0.7, 0.2, 0.0625, 0.03125), strict=True))
    bad = dict.fromkeys(COLUMNS, math.nan)
    return [
        Row(0, 0.0, True, good, None, 2, 0.98, (10.0, 20.0, 30.0, 40.0)),
        Row(0, 0.0, True, good, None, 5, 0.75, (110.0, 20.0, 30.0, 40.0)),
        Row(2250, 90.94, False, bad, "No face was found."),
        Row(2251, math.nan, False, bad, "The frame is damaged."),
    ]


def test_pyfeat_names_order_and_values():
    frame = to_pyfeat(to_frame(rows(), {"source": "clip.mp4"}))
    assert list(frame.columns) == [
        "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore",
        "AU12", "AU12L",
        "Neutral", "Happy", "Contempt",
        "Identity", "input", "frame", "approx_time",
        "timestamp", "success", "reason", "AU12_i", "bored",
    ]  # fmt: skip
    assert frame.iloc[0, :10].tolist() == [10.0, 20.0, 30.0, 40.0, 0.98, 0.9, 0.4, 0.2, 0.7, 0.0625]
    assert frame["Identity"].tolist() == ["Person_2", "Person_5", pd.NA, pd.NA]
    assert frame["frame"].tolist() == [0, 0, 2250, 2251]
    assert frame["approx_time"].tolist() == ["00:00", "00:00", "01:30", pd.NA]
    assert frame["input"].tolist() == ["clip.mp4"] * 4
    assert frame.loc[2:, ["FaceRectX", "FaceScore", "AU12", "Happy", "AU12_i"]].isna().all(axis=None)
    assert frame["reason"][2] == "No face was found."
    assert frame.attrs["affectkit"] == {"source": "clip.mp4"}


def test_the_names_of_version_one():
    frame = to_pyfeat(to_frame(rows()), emotions="v1")
    assert list(frame.columns[7:10]) == ["contempt", "happiness", "neutral"]
    assert frame["input"].isna().all()
    first = ["anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    frame = to_frame([Row(0, 0.0, True, dict.fromkeys(first, 0.125))])
    assert list(to_pyfeat(frame, emotions="v1").columns[5:13]) == first
    second = ["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt"]
    assert list(to_pyfeat(frame).columns[5:13]) == second


def test_files_and_rows_give_the_same_frame(tmp_path):
    with TableWriter(tmp_path / "t.parquet", COLUMNS, {"source": "clip.mp4"}) as writer:
        for row in rows():
            writer.write(row)
    one, two = read_table(tmp_path / "t.parquet"), to_frame(rows(), {"source": "clip.mp4"})
    pd.testing.assert_frame_equal(one, two, check_flags=False)
    pd.testing.assert_frame_equal(to_pyfeat(one), to_pyfeat(two), check_flags=False)
    assert two.attrs == {"affectkit": {"source": "clip.mp4"}}


def test_a_frame_may_have_any_index():
    frame = to_frame(rows()).iloc[[3, 0]]
    assert to_pyfeat(frame)["Identity"].tolist() == [pd.NA, "Person_2"]
    assert to_pyfeat(frame)["approx_time"].tolist() == [pd.NA, "00:00"]


def test_what_is_no_tidy_table():
    with pytest.raises(ConfigError, match="not a tidy table"):
        to_pyfeat(pd.DataFrame({"frame": [1], "confidence": [0.5], "AU12_r": [1.0]}))
    with pytest.raises(ConfigError, match="no rows"):
        to_frame([])
    with pytest.raises(ConfigError, match="frame 1: The row has no value for the column 'AU12'"):
        to_frame([Row(0, 0.0, True, {"AU12": 0.5}), Row(1, 0.0, True, {})])
