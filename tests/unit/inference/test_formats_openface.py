"""OpenFace's columns: an honest subset when we write, everything there is when we read."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from affectkit.errors import AnnotationError, ConfigError
from affectkit.inference import Row, TableWriter, read_openface, read_table
from affectkit.inference.formats.openface import OPENFACE_INTENSITIES, OPENFACE_OCCURRENCES

COLUMNS = ("AU12", "AU01", "AU24", "AU12L", "AU06_i", "AU12_i", "happiness")
METADATA = {
    "heads": {
        "au": {
            "columns": ["AU12", "AU01", "AU24", "AU12L"],
            "values": "probability",
            "thresholds": {"AU12": 0.25, "AU01": 0.7, "AU24": 0.5, "AU12L": 0.5},
        },
        "intensity": {"columns": ["AU06_i", "AU12_i"], "values": "intensity 0-5", "thresholds": {}},
        "expression": {"columns": ["happiness"], "values": "probability", "thresholds": {}},
    }
}
HEADER = (
    "frame,face_id,timestamp,confidence,success,AU06_r,AU12_r,AU01_c,AU12_c,AU24_c,"
    "AU12_p,AU01_p,AU24_p,AU12L_p,happiness"
)


def row(frame: int, face: int | None, *values: float, reason: str | None = None, score: float = 0.984) -> Row:
    named = dict(zip(COLUMNS, values or [math.nan] * len(COLUMNS), strict=True))
    return Row(frame, frame / 30, reason is None, named, reason, face, score)


ROWS = [
    row(0, 0, 0.25, 0.69, 0.5, 0.1, 2.345, 5.0, 0.9),
    row(0, 1, 0.249, 0.7, -0.0, 0.2, 0.0, 4.996, 1e-9, score=math.nan),
    row(1, None, reason="No face was found.", score=math.nan),
    row(2, 3, reason="It reaches out of the picture.", score=0.3),
]


def write(path: Path, format: str = "openface", **options) -> Path:
    with TableWriter(path, COLUMNS, METADATA, format=format, **options) as writer:
        for one in ROWS:
            writer.write(one)
    return path


def test_to_the_letter(tmp_path):
    assert write(tmp_path / "t.csv").read_bytes().decode() == (
        f"{HEADER}\n"
        "1,0,0.000,0.98,1,2.35,5.00,0.00,1.00,1.00,0.250000,0.690000,0.500000,0.100000,0.900000\n"
        "1,1,0.000,nan,1,0.00,5.00,1.00,0.00,0.00,0.249000,0.700000,0.000000,0.200000,0.000000\n"
        "2,0,0.033,0.00,0,0.00,0.00,0.00,0.00,0.00,nan,nan,nan,nan,nan\n"
        "3,3,0.067,0.30,0,0.00,0.00,0.00,0.00,0.00,nan,nan,nan,nan,nan\n"
    )


def test_the_release_separates_by_comma_and_space(tmp_path):
    plain = write(tmp_path / "a.csv").read_text()
    spaced = write(tmp_path / "b.csv", "openface-release").read_text()
    assert spaced.startswith("frame, face_id, timestamp, confidence, success, AU06_r, ")
    assert spaced == plain.replace(",", ", ").replace(", nan", ",nan")
    kinds = pd.read_csv(tmp_path / "b.csv").dtypes.astype(str)
    assert set(kinds) == {"int64", "float64"}  # no text, although some rows failed
    # What the tools of each dialect ask for is there, by the very name.
    assert " AU12_r" in pd.read_csv(tmp_path / "b.csv").columns
    assert "AU12_r" in pd.read_csv(tmp_path / "a.csv").columns
    one, two = read_table(tmp_path / "a.csv"), read_table(tmp_path / "b.csv")
    pd.testing.assert_frame_equal(one, two, check_flags=False)


def test_reading_our_own(tmp_path):
    frame = read_table(write(tmp_path / "t.csv"))
    assert frame["frame"].tolist() == [1, 1, 2, 3]
    assert frame["face_id"].tolist() == [0, 1, 0, 3]
    assert frame["success"].tolist() == [True, True, False, False]
    assert frame["AU12_c"].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert frame["AU12_p"].tolist()[:2] == [0.25, 0.249]
    assert frame["AU12_p"].isna().tolist() == frame["happiness"].isna().tolist() == [False, False, True, True]
    assert frame["confidence"].isna().tolist() == [False, True, False, False]
    about = frame.attrs["affectkit"]
    assert about["failures"] == {"No face was found.": 1, "It reaches out of the picture.": 1}
    assert (about["complete"], about["rows"], about["format"]) == (True, 4, "openface")


def test_missing_units_are_left_out_or_filled_as_asked(tmp_path):
    frame = read_openface(write(tmp_path / "zero.csv", fill_missing=0))
    assert list(frame.columns[5:41]) == sorted({*OPENFACE_INTENSITIES}) + sorted(
        {*OPENFACE_OCCURRENCES, "AU24_c"}
    )
    assert len(OPENFACE_INTENSITIES) == 17
    assert len(OPENFACE_OCCURRENCES) == 18
    assert frame["AU28_c"].tolist() == frame["AU45_r"].tolist() == [0.0] * 4
    assert frame["AU12_r"].tolist() == [5.0, 5.0, 0.0, 0.0]
    # Of a unit of which only the presence or the intensity is predicted, 0 would deny the other.
    assert frame["AU01_c"].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert frame["AU01_r"].isna().all()
    assert frame["AU06_c"].isna().all()
    assert frame.attrs["affectkit"]["units_not_predicted"] == "0.00"
    frame = read_openface(write(tmp_path / "nan.csv", fill_missing=math.nan))
    assert frame["AU45_r"].isna().all()
    with pytest.raises(ConfigError, match="'units_not_predicted' is \"nan\""):
        write(tmp_path / "nan.csv", fill_missing=0, resume=True)


def test_probabilities_are_never_intensities(tmp_path):
    probability = {"heads": {"au": METADATA["heads"]["au"]}}
    with TableWriter(tmp_path / "t.csv", ["AU12", "AU01"], probability, format="openface") as writer:
        assert [name for name in writer.header() if name.endswith("_r")] == []
    named = {"heads": {"mood": {"columns": ["AU12_i"], "values": "probability", "thresholds": {}}}}
    bare = {"heads": {"au": METADATA["heads"]["au"] | {"thresholds": {}}}}
    for metadata in (bare, {}, {"heads": {"expression": METADATA["heads"]["expression"]}}):
        with pytest.raises(ConfigError, match="no column"):
            TableWriter(tmp_path / "u.csv", ["AU12", "AU01"], metadata, format="openface")
    with pytest.raises(ConfigError, match="no column"):
        TableWriter(tmp_path / "u.csv", ["AU12_i"], named, format="openface")


def test_heads_that_share_a_name(tmp_path):
    other = {"columns": ["second.AU12"], "values": "probability", "thresholds": {"second.AU12": 0.1}}
    metadata = {"heads": {**METADATA["heads"], "second": other}}
    writer = TableWriter(tmp_path / "t.csv", ["AU12", "second.AU12"], metadata, format="openface")
    assert writer.header()[5:] == ["AU12_c", "AU12_p", "second.AU12"]
    odd = {"columns": ["AU12"], "values": "logit", "thresholds": {}}
    metadata = {"heads": {"odd": odd, "intensity": METADATA["heads"]["intensity"]}}
    writer = TableWriter(tmp_path / "t.csv", ["AU12", "AU12_i"], metadata, format="openface")
    assert writer.header()[5:] == ["AU12_r", "AU12"]
    for name in ("confidence", "AU12_c", "AU12_p"):
        with pytest.raises(ConfigError, match=f"already has a column '{name}'"):
            TableWriter(tmp_path / "t.csv", ["AU12", name], METADATA, format="openface")


def test_a_missing_probability_is_no_decision(tmp_path):
    with TableWriter(tmp_path / "t.csv", COLUMNS, METADATA, format="openface") as writer:
        writer.write(row(0, 0, *[math.nan] * 7))
    assert read_openface(tmp_path / "t.csv").iloc[0, 5:].isna().all()


RELEASE = (
    "frame, face_id, timestamp, confidence, success, p_rx, AU01_r, AU45_r, AU01_c, AU45_c\n"
    "1, 0, 0.000, 0.98, 1, -0.012, 0.00, 2.31, 0.00, 1.00\n"
    "2, 0, 0.033, 0.03, 0, 0.100, -nan(ind), nan, 0, 0.0\n"
)


@pytest.mark.parametrize(
    "text", [RELEASE, RELEASE.replace(", ", ","), RELEASE.replace("\n", "\r\n"), "\ufeff" + RELEASE]
)
def test_reading_both_dialects(tmp_path, text):
    path = tmp_path / "face.csv"
    path.write_bytes(text.encode())
    frame = read_openface(path)
    assert list(frame.columns) == RELEASE.splitlines()[0].split(", ")
    kinds = ["int64"] * 2 + ["float64"] * 2 + ["bool"] + ["float64"] * 5
    assert [str(kind) for kind in frame.dtypes] == kinds
    assert frame["AU45_r"].tolist()[0] == 2.31
    assert frame[["AU01_r", "AU45_r"]].iloc[1].isna().all()
    assert frame["AU45_c"].tolist() == [1.0, 0.0]
    assert frame["success"].tolist() == [True, False]
    assert frame["p_rx"].tolist() == [-0.012, 0.1]
    assert frame.attrs == {}


def test_occurrence_is_whatever_is_not_zero(tmp_path):
    path = tmp_path / "face.csv"
    path.write_text("frame,confidence,success,AU01_c,AU02_c\n1,1,nan,2,nan\n2,1,1,0.00,0.5\n")
    frame = read_openface(path)
    assert frame["success"].tolist() == [False, True]
    assert frame["AU01_c"].tolist() == [1.0, 0.0]
    assert frame["AU02_c"].isna().tolist() == [True, False]
    assert frame["AU02_c"][1] == 1.0


def test_photos_have_faces_and_no_frames(tmp_path):
    path = tmp_path / "face.csv"
    path.write_text("face, confidence, AU12_r\n0, 0.975, 1.50\n1, 0.925, 0.00\n")
    frame = read_openface(path)
    assert (frame["face"].tolist(), frame["AU12_r"].tolist()) == ([0, 1], [1.5, 0.0])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "line 1: The header lacks confidence"),
        ("timestamp,confidence,AU01_r\n0,1,1\n", "line 1: The header lacks confidence, and frame or face"),
        ("frame,confidence,AU01_r, AU01_r\n1,1,1,1\n", "line 1: A column name occurs twice"),
        ("frame;confidence;AU01_r\n1;1;1\n", "line 1: The header lacks confidence"),
        (
            "frame,confidence,AU01_r\n1,1,1\n2,1,high\n3,1,1\n",
            "line 3: .* invalid value 'high' in the column 'AU01_r'",
        ),
        ("frame,confidence,AU01_r\n1,1,1\n2,1,\n", "line 3: .* invalid value '' in the column 'AU01_r'"),
        (
            "frame,confidence,AU01_r\n1,1,1\n2,1\n3,1,1\n",
            "line 3: Expected 3 columns, got 2: 2,1",
        ),
        ("frame,confidence,AU01_r\n1,1,1\n2,1,1,1\n", "line 3: Expected 3 columns, got 4: 2,1,1,1"),
        (
            "frame,confidence,AU01_r\n1,1,1,1\n2,1,1,1\n",
            "line 2: Expected 3 columns, got 4: 1,1,1,1",
        ),
        ("frame,confidence,AU01_r\n1,1,1\nnan,1,1\n", "not a whole number"),
        ("frame,confidence,AU01_r\n1,1,1\n1.5,1,1\n", "not a whole number"),
        ("\x00\udcff", "The file is not text"),
    ],
)
def test_other_files(tmp_path, text, match):
    path = tmp_path / "face.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(AnnotationError, match=rf"face\.csv.*{match}"):
        read_openface(path)


def test_a_table_of_ours_that_was_edited(tmp_path):
    path = write(tmp_path / "face.csv")
    assert read_openface(path).attrs["affectkit"]["rows"] == 4
    path.write_text(path.read_text().replace("2.35", "2.36"))
    for read in (read_openface, read_table):
        with pytest.warns(UserWarning, match=r"face\.csv: The table was edited or damaged"):
            assert read(path)["AU06_r"][0] == 2.36
    path.with_suffix(".json").unlink()
    assert read_openface(path)["AU12_r"][0] == 5.0  # a table like those of OpenFace itself


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(AnnotationError, match="cannot be read"):
            read_openface(path)


def test_a_last_line_that_was_cut_off(tmp_path):
    path = tmp_path / "face.csv"
    for end, rows in [("", 1), ("2", 1), ("2,1", 1), ("2,1,-", 1), ("2,1,0.5", 2), ("2,1,0.5\n", 2)]:
        path.write_text(f"frame,confidence,AU01_r\n1,1,0.25\n{end}")
        assert len(read_openface(path)) == rows, end
    path.write_text("frame,confidence,AU01_r\n")
    assert len(read_openface(path)) == 0


@pytest.mark.realmedia
def test_a_real_file():
    """Of OpenFace 1: a spaced header over values without spaces, 431 columns."""
    path = Path(__file__).parents[3] / "media" / "OpenFace_Test.csv"
    frame = read_openface(path)
    assert frame.shape == (100, 431)
    assert frame["frame"].tolist() == list(range(1, 101))
    assert frame["success"].all()
    assert list(frame.filter(regex=r"^AU\d\d_r$")) == list(OPENFACE_INTENSITIES)
    assert list(frame.filter(regex=r"^AU\d\d_c$")) == list(OPENFACE_OCCURRENCES)
    assert frame["AU12_r"].between(0, 5).all()
    assert set(frame["AU12_c"]) <= {0.0, 1.0}
