"""Tidy tables: what is written is read again, with what it means; what cannot be is refused by name."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.tables import AU, COLUMNS, INTENSITY, METADATA, NAMES, ROWS, TIDY, files, row, same_rows, write
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from affectkit.errors import ConfigError
from affectkit.inference import Row, TableWriter, read_table, table_progress, to_frame
from affectkit.inference.formats import tidy
from affectkit.inference.formats.table import partial_of


def test_csv_to_the_letter(tmp_path):
    path = write(tmp_path / "new" / "t.csv", [*ROWS[1:4], row(3, base=-1e-8)])
    assert path.read_text() == (
        'frame,timestamp,face,success,reason,score,x,y,w,h,AU01,AU12_i,"a wide, open smile"\n'
        "0,0.000000,1,1,,0.875000,-0.500000,2.000000,40.250000,50.000000,0.300000,1.500000,0.333333\n"
        "1,0.033333,,0,No face was found.,nan,nan,nan,nan,nan,nan,nan,nan\n"
        '2,0.066667,1,0,"The ""frame"", is damaged.",0.875000,1.500000,2.000000,40.250000,50.000000,nan,nan,nan\n'
        "3,0.100000,0,1,,0.875000,2.500000,2.000000,40.250000,50.000000,0.000000,0.000000,0.166667\n"
    )
    own = json.loads(path.with_suffix(".json").read_text(), parse_constant=pytest.fail)
    shared = path.with_name(own.pop("shared"))
    assert json.loads(shared.read_text(), parse_constant=pytest.fail) == {
        "licence": None,
        "heads": {"au": AU, "intensity": INTENSITY},
        "window": [0, 1],
        "scores": [0.5, 1.0],
        "columns": ["frame", "timestamp", "face", "success", "reason", "score", "x", "y", "w", "h", *COLUMNS],
    }
    assert own == {
        "model": "runs/démo",
        "fps": None,
        "format": "csv",
        "frames": 4,
        "rows": 4,
        "last_frame": 3,
        "failed_frames": 2,
        "failures": {"No face was found.": 1, 'The "frame", is damaged.': 1},
        "complete": True,
        "baselines": {},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    plain = pd.read_csv(path)
    assert plain["AU01"].isna().tolist() == [False, True, True, False]
    assert plain["reason"][2] == 'The "frame", is damaged.'


def test_json_lines_to_the_letter(tmp_path):
    content = write(tmp_path / "t.jsonl", ROWS[1:3]).read_bytes()
    lines = content.decode().splitlines()
    first, *rows, last = map(json.loads, lines)
    assert first["metadata"]["model"] == "runs/démo"
    assert '"model": "runs/démo"' in lines[0]
    assert rows == [
        {"frame": 0, "timestamp": 0.0, "face": 1, "success": True, "reason": None, "score": 0.875, "x": -0.5,
         "y": 2.0, "w": 40.25, "h": 50.0, "AU01": 0.3, "AU12_i": 1.5, "a wide, open smile": 1 / 3},
        {"frame": 1, "timestamp": 1 / 30, "face": None, "success": False, "reason": "No face was found.",
         "score": None, "x": None, "y": None, "w": None, "h": None, "AU01": None, "AU12_i": None,
         "a wide, open smile": None},
    ]  # fmt: skip
    failures = {"No face was found.": 1}
    counts = {
        "frames": 2,
        "rows": 2,
        "last_frame": 1,
        "failed_frames": 1,
        "failures": failures,
        "complete": True,
        "baselines": {},
    }
    written = hashlib.sha256(content[: content.rfind(b', "sha256"')]).hexdigest()
    assert last == {"summary": counts | {"sha256": written}}


def test_parquet_is_typed_and_pandas_finds_the_metadata(tmp_path):
    path = write(tmp_path / "t.parquet", ROWS)
    table = pq.read_table(path)
    kinds = {field.name: str(field.type) for field in table.schema}
    assert [kinds[name] for name in ("frame", "face", "success", "reason", "AU01")] == [
        "int64", "int64", "bool", "string", "double",
    ]  # fmt: skip
    assert table["face"].to_pylist() == [0, 1, None, 1, 0, 1, 4, None]
    assert table["AU01"].to_pylist() == [0.1, 0.3, None, None, 0.1, None, 0.1, None]
    assert pd.read_parquet(path).attrs == read_table(path).attrs
    assert json.loads(table.schema.metadata[b"affectkit"])["heads"]["au"]["thresholds"] == {"AU01": 0.3}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", TIDY)
def test_read_table_gives_types_values_and_metadata(tmp_path, format):
    frame = read_table(write(tmp_path / NAMES[format], ROWS))
    types = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert [types[name] for name in ("frame", "timestamp", "face", "success", "reason", "AU01")] == [
        "int64", "float64", "Int64", "bool", "string", "float64",
    ]  # fmt: skip
    assert frame["frame"].tolist() == [0, 0, 1, 2, 3, 3, 3, 4]
    assert frame["face"].tolist() == [0, 1, pd.NA, 1, 0, 1, 4, pd.NA]
    assert frame["success"].tolist() == [True, True, False, False, True, False, True, False]
    assert frame["x"].iloc[[0, 3, 4]].tolist() == [-0.5, 1.5, 2.5]
    assert frame["reason"][3] == 'The "frame", is damaged.'
    assert frame["AU12_i"].iloc[[0, 1]].tolist() == [0.5, 1.5]
    about = frame.attrs["affectkit"]
    assert (about["format"], about["complete"], about["frames"], about["rows"]) == (format, True, 5, 8)
    assert (about["failed_frames"], about["failures"]["No face was found."]) == (3, 2)
    assert about["columns"] == list(frame.columns)


texts = st.text(st.characters(exclude_categories=[]), min_size=1, max_size=8)
numbers = st.floats(-1e6, 1e6)


@st.composite
def tables(draw) -> list[Row]:
    rows = []
    for frame in range(draw(st.integers(1, 5))):
        faces = draw(st.lists(st.integers(0, 9), max_size=3, unique=True)) or [None]
        for face in sorted(faces, key=str):
            good = draw(st.booleans()) and face is not None
            values = {name: draw(numbers) if good else math.nan for name in COLUMNS}
            reason = None if good else draw(texts)
            box = draw(st.none() | st.tuples(numbers, numbers, numbers, numbers))
            time = draw(st.just(math.nan) | numbers)
            rows.append(Row(frame, time, good, values, reason, face, draw(st.just(math.nan) | numbers), box))
    return rows


@pytest.mark.parametrize("format", TIDY)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=tables())
@example(rows=[row(0, None, " \n")])
def test_any_table_is_read_as_it_was_written(tmp_path, format, rows):
    same_rows(write(tmp_path / NAMES[format], rows), rows, format)


@pytest.mark.parametrize("format", NAMES)
def test_a_complete_file_is_left_as_it_is(tmp_path, format):
    path = write(tmp_path / NAMES[format], ROWS, format)
    before = {**files(tmp_path), "time": path.stat().st_mtime_ns}
    with TableWriter(path, COLUMNS, METADATA, format=format, resume=True) as writer:
        assert (writer.complete, writer.next_frame, writer.frames, writer.failed) == (True, 5, 5, 3)
        assert writer.summary.failures["No face was found."] == 2
        with pytest.raises(ConfigError, match="already"):
            writer.write(row(9))
    assert {**files(tmp_path), "time": path.stat().st_mtime_ns} == before
    assert table_progress(path).complete is True
    write(path, ROWS[:1], format)  # without resume it is replaced
    assert len(read_table(path)) == 1


@pytest.mark.parametrize("format", NAMES)
def test_rows_come_once_and_in_order(tmp_path, format):
    path = tmp_path / NAMES[format]
    with TableWriter(path, COLUMNS, METADATA, format=format) as writer:
        for one in ROWS[:3]:
            writer.write(one)
        for late in (row(1, None), row(0, 7)):
            with pytest.raises(ConfigError, match=f"frame {late.frame}: The table already"):
                writer.write(late)
    assert read_table(path)["frame"].nunique() == 2


@pytest.mark.parametrize("format", NAMES)
def test_only_the_same_work_is_continued(tmp_path, format):
    path = tmp_path / NAMES[format]
    write(path, ROWS, format)
    before = files(tmp_path)
    other = {**METADATA, "model": "runs/other"}
    with pytest.raises(ConfigError, match=r"its 'model' is \"runs/démo\", not \"runs/other\""):
        TableWriter(path, COLUMNS, other, format=format, resume=True).__enter__()
    with pytest.raises(ConfigError, match="its 'columns' is"):
        TableWriter(path, COLUMNS[:2], METADATA, format=format, resume=True).__enter__()
    with pytest.raises(ConfigError, match="its 'new' is null"):
        TableWriter(path, COLUMNS, {**METADATA, "new": 1}, format=format, resume=True).__enter__()
    assert files(tmp_path) == before


def test_a_csv_table_is_not_continued_as_another_kind(tmp_path):
    path = write(tmp_path / "t.csv", ROWS)
    with pytest.raises(ConfigError, match="its 'format' is \"csv\""):
        TableWriter(path, COLUMNS, METADATA, format="openface", resume=True).__enter__()


def test_the_suffix_chooses_the_format(tmp_path):
    for name, format in [("a.CSV", "csv"), ("a.parquet", "parquet"), ("a.jsonl", "jsonl")]:
        assert TableWriter(tmp_path / name, COLUMNS, METADATA).format == format
    assert TableWriter(tmp_path / "a.txt", COLUMNS, METADATA, format="csv").metadata_file.name == "a.txt.json"
    assert TableWriter(tmp_path / "a.csv", COLUMNS, METADATA).metadata_file.name == "a.json"
    assert TableWriter(tmp_path / "a.jsonl", COLUMNS, METADATA).metadata_file.name == "a.jsonl"
    with pytest.raises(ConfigError, match="does not tell the format"):
        TableWriter(tmp_path / "a.xlsx", COLUMNS, METADATA)
    with pytest.raises(ConfigError, match="format 'xlsx'"):
        TableWriter(tmp_path / "a.xlsx", COLUMNS, METADATA, format="xlsx")
    with pytest.raises(ConfigError, match=r"ends in \.parquet"):
        TableWriter(tmp_path / "a.csv", COLUMNS, METADATA, format="parquet")
    with pytest.raises(ConfigError, match="fill_missing"):
        TableWriter(tmp_path / "a.csv", COLUMNS, METADATA, fill_missing=0)


@pytest.mark.parametrize("format", NAMES)
def test_a_file_is_known_by_what_is_in_it(tmp_path, format):
    path = write(tmp_path / "t.data", ROWS, format)
    assert (len(read_table(path)), table_progress(path).complete) == (8, True)


@pytest.mark.parametrize("name", ["frame", "x", "two\nlines", "", " AU01", "\ud800", "AU12"])
def test_impossible_columns(tmp_path, name):
    with pytest.raises(ConfigError, match="The column name"):
        TableWriter(tmp_path / "t.csv", ["AU12", name], {})


def test_a_row_without_a_value_is_refused_and_nothing_written(tmp_path):
    for format in NAMES:
        path = tmp_path / NAMES[format]
        with TableWriter(path, COLUMNS, METADATA, format=format) as writer:
            with pytest.raises(ConfigError, match="frame 0: The row has no value for the column 'AU12_i'"):
                writer.write(Row(0, 0.0, True, {"AU01": 0.5}))
            writer.write(row(0))
        assert len(read_table(path)) == 1


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    for path in (tmp_path / "file" / "t.csv", tmp_path / "folder.csv"):
        with pytest.raises(ConfigError, match=r"The table cannot be written: .*(directory|exists)"):
            TableWriter(path, COLUMNS, METADATA).__enter__()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.csv"]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    path = tmp_path / "t.jsonl"
    partial_of(path).symlink_to("/dev/full")
    with pytest.raises(ConfigError, match=r"t\.jsonl: The table cannot be written: No space left"):
        TableWriter(path, COLUMNS, METADATA).__enter__()


def test_someone_elses_json_file_is_not_overwritten(tmp_path):
    other = tmp_path / "t.json"
    for content in ('{"faces": []}', "[1]", "no json"):
        other.write_text(content)
        with pytest.raises(ConfigError, match=r"t\.json: .* holds something else"):
            TableWriter(tmp_path / "t.csv", COLUMNS, METADATA).__enter__()
        assert other.read_text() == content
    assert not (tmp_path / "t.csv").exists()


def test_file_names_that_are_no_text_travel_with_the_table(tmp_path):
    source = b"clip\xff.mp4".decode("utf-8", "surrogateescape")
    for format in TIDY:
        path = tmp_path / NAMES[format]
        for resume in (False, True):
            with TableWriter(path, ["AU01"], {"source": source}, resume=resume) as writer:
                if not resume:
                    writer.write(Row(0, 0.0, False, {"AU01": math.nan}, f"{source} cannot be read."))
        table = read_table(path)
        assert table.attrs["affectkit"]["source"] == source
        assert table["reason"].tolist() == ["clip\\udcff.mp4 cannot be read."]


def test_row_groups_are_of_one_size_whatever_the_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(tidy, "_GROUP", 6)
    monkeypatch.setattr("affectkit.inference.formats.writer._ROWS", 4)
    monkeypatch.setattr("affectkit.inference.formats.writer._SECONDS", 1e9)
    path = tmp_path / "t.parquet"
    with TableWriter(path, COLUMNS, METADATA) as writer:
        for frame in range(18):
            writer.write(row(frame))
    with pq.ParquetFile(path) as file:
        assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [8, 8, 2]
    same_rows(path, [row(frame) for frame in range(18)], "parquet")


@pytest.mark.parametrize("format", NAMES)
def test_a_table_without_rows(tmp_path, format):
    path = write(tmp_path / NAMES[format], [], format)
    table = read_table(path)
    assert (len(table), table.attrs["affectkit"]["complete"], table_progress(path).next_frame) == (0, True, 0)
    whole = read_table(write(tmp_path / "whole" / NAMES[format], ROWS, format))
    assert table.dtypes.to_dict() == whole.dtypes.to_dict()


SAID = [
    replace(row(0), sentences={"sentence": 'A face, "calm"; no units.'}),
    row(1, face=None, reason="No face was found."),
    replace(row(2), sentences={"sentence": "Zwei\nZeilen über Gesichter."}),
]


@pytest.mark.parametrize("name", [NAMES[name] for name in TIDY])
def test_sentences_are_a_column_of_text(name, tmp_path):
    path = tmp_path / name
    with TableWriter(path, COLUMNS, {**METADATA, "sentences": ["sentence"]}) as writer:
        for one in SAID:
            writer.write(one)
    frame = read_table(path)
    assert frame.columns[-1] == "sentence"
    assert frame["sentence"].dtype == "string"
    assert frame["sentence"].isna().tolist() == [False, True, False]
    assert frame["sentence"].dropna().tolist() == [
        'A face, "calm"; no units.',
        "Zwei Zeilen über Gesichter.",
    ]
    same = to_frame(SAID, {**METADATA, "sentences": ["sentence"]})
    pd.testing.assert_series_equal(frame["sentence"], same["sentence"])
    assert frame["AU01"].isna().tolist() == [False, True, False]


def test_sentences_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="formats of OpenFace have no sentences"):
        TableWriter(tmp_path / "t.csv", COLUMNS, {"sentences": ["sentence"]}, format="openface")
    with pytest.raises(ConfigError, match="'AU01' is reserved"):
        TableWriter(tmp_path / "t.csv", COLUMNS, {"sentences": ["AU01"]})
