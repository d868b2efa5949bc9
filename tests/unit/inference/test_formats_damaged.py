"""Files that are not tables of ours, or no longer: an error that names the place, never a guess."""

from __future__ import annotations

import json
import math
import warnings

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from affectkit.errors import AnnotationError
from affectkit.inference import Row, TableWriter, read_table, table_progress

HEADER = "frame,timestamp,face,success,reason,score,x,y,w,h,AU12"


@pytest.fixture
def table(tmp_path):
    def make(name: str):
        with TableWriter(tmp_path / name, ["AU12"], {"model": "demo"}) as writer:
            writer.write(Row(0, 0.0, True, {"AU12": 0.25}, face=0))
            writer.write(Row(1, 0.04, False, {"AU12": math.nan}, "No face was found."))
        return tmp_path / name

    return make


def both(path, match: str) -> None:
    """A table that cannot be used or continued; CSV that can still be read gives a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with pytest.raises(
            AnnotationError if path.suffix != ".csv" else (AnnotationError, UserWarning), match=match
        ):
            read_table(path)
    with pytest.raises(AnnotationError, match=match):
        table_progress(path)


def test_nothing_there(tmp_path):
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        for _ in range(2):
            with pytest.raises(AnnotationError, match=rf"{name}: The file is missing or empty"):
                read_table(tmp_path / name)
            assert table_progress(tmp_path / name) is None
            (tmp_path / name).touch()
    both(tmp_path, "cannot be read: Is a directory")


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_any_byte_that_changes_is_noticed(table, name):
    """Or it changes nothing: Parquet has bytes without a meaning."""
    path = table(name)
    content, whole = path.read_bytes(), read_table(path)
    places = range(len(content)) if name != "t.parquet" else range(0, len(content), 5)
    changed = 0
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = read_table(path)
        except (AnnotationError, UserWarning):
            changed += 1
            both(path, rf"{name}[:,] ")
        else:
            pd.testing.assert_frame_equal(found, whole, check_flags=False)
    assert changed == len(places) if name != "t.parquet" else changed > len(places) / 4


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_files_that_were_cut_off_or_joined(table, name):
    path = table(name)
    content = path.read_bytes()
    for size in range(1, len(content), 7):
        path.write_bytes(content[:size])
        both(path, rf"{name}[:,] ")
    path.write_bytes(2 * content)
    if name == "t.parquet":
        assert len(read_table(path)) == 2  # Parquet is read from its end
    else:
        both(path, rf"{name}[:,] ")
    path.write_bytes(b"frame,AU12\n")
    both(path, rf"{name}[:,] ")


def test_edited_tables_say_so_and_how_to_go_on(table):
    path = table("t.parquet")
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    both(path, r"t\.parquet: The table was damaged or edited")


def test_edited_csv_is_read_with_a_warning(table):
    path = table("t.csv")
    whole = read_table(path)
    lines = path.read_text().splitlines()

    def read(*edited):
        path.write_text("\r\n".join(edited) + "\r\n")  # as a spreadsheet does
        with pytest.warns(UserWarning, match=r"t\.csv: The table was edited") as caught:
            found = read_table(path)
        assert found.attrs["affectkit"]["edited"] in str(caught[0].message)
        with pytest.raises(AnnotationError, match=r"t\.csv: The table was damaged or edited .*--overwrite"):
            table_progress(path)
        return found, str(caught[0].message)

    found, said = read(*lines)
    pd.testing.assert_frame_equal(found, whole, check_flags=False)
    assert "it has 2 rows, and none is certain" in said
    found, said = read(*(line + "," for line in lines[:1]), *(line + ",a note" for line in lines[1:]))
    pd.testing.assert_frame_equal(found, whole, check_flags=False)
    found, said = read(lines[0], lines[1].replace("0.250000", "2.5"))
    assert found["AU12"].tolist() == [2.5]
    assert "wrote 2 rows" in said
    for edited, fault in (
        ([line.rpartition(",")[0] for line in lines], "AU12"),
        ([lines[0], lines[1].replace("0.250000", "high")], r"line 2.*'high'.*'AU12'"),
        ([lines[0], lines[1].replace("0,", ",", 1)], "no frame number"),
        ([lines[0], lines[1] + ",1"], "line 2"),
    ):
        path.write_text("\n".join(edited) + "\n")
        with pytest.raises(AnnotationError, match=fault):
            read_table(path)


def test_values_that_no_model_gives_are_named(tmp_path):
    path = tmp_path / "t.csv"
    heads = {"au": {"columns": ["AU12"], "values": "probability", "thresholds": {}}}
    with TableWriter(path, ["AU12"], {"heads": heads}) as writer:
        writer.write(Row(7, 0.0, True, {"AU12": 0.25}, face=0))
    path.write_text(path.read_text().replace("0.250000", "25"))
    with pytest.warns(UserWarning, match="AU12 is outside 0 to 1 in frame 7"):
        read_table(path)


def test_csv_without_its_json_file(table):
    path = table("t.csv")
    described = json.loads(path.with_suffix(".json").read_text())
    for content in (
        json.dumps(described | {"columns": None}),
        '{"columns": [], "complete": true}',
        "[" * 100_000,
    ):
        path.with_suffix(".json").write_text(content)
        both(path, r"no t\.json of affectkit beside")
    path.with_suffix(".json").unlink()
    both(path, r"no t\.json of affectkit beside")
    with pytest.raises(AnnotationError, match=r"no t\.json"):
        TableWriter(path, ["AU12"], {"model": "demo"}, resume=True).__enter__()
    assert path.read_text().startswith(HEADER)


@pytest.mark.parametrize(
    ("line", "content"),
    [
        (0, "{"),
        (0, '{"metadata": 1}'),
        (-1, "[1]"),
        (-1, '{"summary": null}'),
        (-1, "[" * 100_000),
        (-1, "\udcff"),
    ],
)
def test_json_lines_without_metadata_or_summary(table, line, content):
    path = table("t.jsonl")
    lines = path.read_bytes().splitlines()
    lines[line] = content.encode("utf-8", "surrogateescape")
    path.write_bytes(b"\n".join(lines) + b"\n")
    both(path, r"t\.jsonl: (The first and last lines do not hold|There is no t\.jsonl\.json)")


def test_a_class_may_be_called_summary(tmp_path):
    for name in ("t.jsonl", "t.csv", "t.parquet"):
        with TableWriter(tmp_path / name, ["summary", "metadata"], {}) as writer:
            writer.write(Row(0, 0.0, True, {"summary": 0.5, "metadata": 0.25}))
        table = read_table(tmp_path / name)
        assert (table["summary"][0], table["metadata"][0], len(table)) == (0.5, 0.25, 1)
        assert table_progress(tmp_path / name).complete


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {b"affectkit": b"{"},
        {b"affectkit": b"[]"},
        {b"affectkit": b"{}"},
        {b"affectkit.sha256": b"0"},
    ],
)
def test_parquet_of_others(tmp_path, metadata):
    path = tmp_path / "t.parquet"
    schema = pa.schema([("frame", pa.int64())], metadata=metadata)
    pq.write_table(pa.table({"frame": [0]}, schema), path)
    both(path, "does not hold the metadata of a table of affectkit|damaged or edited")
    with pytest.raises(AnnotationError, match=r"metadata of a table of affectkit|damaged or edited"):
        TableWriter(path, ["AU12"], {}, resume=True).__enter__()
    assert pq.read_table(path).num_rows == 1
