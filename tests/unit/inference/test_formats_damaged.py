"""Files that are not tables of ours, or no longer: an error that names the place, never a guess."""

from __future__ import annotations

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from affectkit.errors import AnnotationError
from affectkit.inference import Row, open_writer, read_table, table_progress

HEADER = "frame,timestamp,face,success,reason,score,x,y,w,h,AU12"
LINE = "0,0.000000,0,1,,nan,nan,nan,nan,nan,0.250000"


@pytest.fixture
def table(tmp_path):
    def make(name: str):
        with open_writer(tmp_path / name, ["AU12"], {"model": "demo"}) as writer:
            writer.write(Row(0, 0.0, True, {"AU12": 0.25}, face=0))
            writer.write(Row(1, 0.04, False, {"AU12": math.nan}, "No face was found."))
        return tmp_path / name

    return make


def both(path, match: str) -> None:
    for read in (read_table, table_progress):
        with pytest.raises(AnnotationError, match=match):
            read(path)


def test_nothing_there(tmp_path):
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        with pytest.raises(AnnotationError, match=rf"{name}: .*(No such file|not there)"):
            read_table(tmp_path / name)
        assert table_progress(tmp_path / name) is None
        (tmp_path / name).touch()
    for name in ("t.csv", "t.jsonl"):  # a process was killed before it wrote the first line
        with pytest.raises(AnnotationError, match=r"is empty|no first line"):
            read_table(tmp_path / name)
        assert table_progress(tmp_path / name) is None
    both(tmp_path / "t.parquet", "cannot be read as Parquet")
    both(tmp_path, "cannot be read: Is a directory")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (f"{HEADER}\n{LINE[2:]}\n", "line 2: The line has 10 fields, and the header has 11"),
        (f"{HEADER}\n{LINE}\n\n{LINE}\n", "line 3: The line has 0 fields"),
        (f'{HEADER}\n{LINE}\n{LINE}"\n', "line 3: "),
        (f'{HEADER}\n"{LINE}\n', "line 2: The line is not CSV"),
        (f"{HEADER}\nx{LINE}\n", "line 2: "),
        (f"{HEADER},AU45\n{LINE},0.5\n", "line 1: The columns are not those"),
        (f"{HEADER}\n\udcff\n", "line 1: The line is not text|line 2: The line is not text"),
        ("PK\x03\x04\n", "line 1: The columns are not those"),
    ],
)
def test_damaged_csv(table, content, match):
    path = table("t.csv")
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    if match == "line 3: ":  # a value; what is there is counted without looking at values
        with pytest.raises(AnnotationError, match=r"line 3: .* cannot stand in the column 'AU12'"):
            read_table(path)
        assert table_progress(path).next_frame == 1
        return
    both(path, match)


def test_csv_without_its_json_file(table):
    path = table("t.csv")
    described = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(described | {"columns": None}))
    both(path, r"No t\.json of ours is beside")
    path.with_suffix(".json").write_text("[" * 100_000)
    both(path, r"No t\.json of ours is beside")
    path.with_suffix(".json").unlink()
    both(path, r"No t\.json of ours is beside")
    with pytest.raises(AnnotationError, match=r"No t\.json"):
        open_writer(path, ["AU12"], {"model": "demo"}, resume=True).__enter__()
    assert path.read_text().startswith(HEADER)


def test_a_csv_table_of_other_columns_is_not_ours(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,age\nAda,36\n")
    path.with_suffix(".json").write_text('{"columns": ["name", "age"], "complete": true}')
    both(path, "line 1: The columns are not those")


@pytest.mark.parametrize(
    ("line", "change", "match"),
    [
        (1, {"face": None}, "line 1: The first line does not hold the metadata"),
        (1, {"metadata": {"columns": ["a"]}}, "line 1: The first line does not hold the metadata"),
        (1, {"metadata": 1}, "line 1: The first line does not hold the metadata"),
        (2, {"AU12": "high"}, "line 2: 'high' cannot stand in the column 'AU12'"),
        (2, {"AU12": True}, "line 2: True cannot stand in the column 'AU12'"),
        (2, {"success": 1}, "line 2: 1 cannot stand in the column 'success'"),
        (2, {"frame": 0.5}, "line 2: 0.5 cannot stand in the column 'frame'"),
        (3, {"frame": True}, "line 3: True cannot stand in the column 'frame'"),
        (3, {"AU01": 0.5}, "line 3: The columns of this line are not those"),
        (4, {"summary": None}, "line 4: The line is neither a row nor the summary"),
        (4, {"summary": {"complete": "yes"}}, "line 4: The line is neither a row nor the summary"),
    ],
)
def test_damaged_json_lines(table, line, change, match):
    path = table("t.jsonl")
    lines = path.read_text().splitlines()
    found = json.loads(lines[line - 1])
    lines[line - 1] = json.dumps(change if line in (1, 4) else found | change)
    content = "\n".join(lines) + "\n"
    path.write_text(content if line != 1 else content.replace('{"face"', '{"metadata":1,"face"'))
    both(path, match)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{", "is not JSON"),
        ("[1]", "is no JSON object"),
        ("[" * 100_000, "is not JSON"),
        ("\udcff", "is not text"),
    ],
)
def test_lines_that_are_no_json(table, line, match):
    path = table("t.jsonl")
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(content[0] + line.encode("utf-8", "surrogateescape") + b"\n" + content[2])
    both(path, f"line 2: The line {match}")


def test_two_files_in_one_are_not_read_as_the_first(table):
    path = table("t.jsonl")
    path.write_bytes(2 * path.read_bytes())
    both(path, "line 5: The line is neither a row nor the summary")


def test_a_class_may_be_called_summary(tmp_path):
    for name in ("t.jsonl", "t.csv", "t.parquet"):
        with open_writer(tmp_path / name, ["summary", "metadata"], {}) as writer:
            writer.write(Row(0, 0.0, True, {"summary": 0.5, "metadata": 0.25}))
        table = read_table(tmp_path / name)
        assert (table["summary"][0], table["metadata"][0], len(table)) == (0.5, 0.25, 1)
        assert table_progress(tmp_path / name).complete


def test_damaged_parquet(table, tmp_path):
    path = table("t.parquet")
    content = path.read_bytes()
    for damaged in (content[:100], content[:-9], b"PAR1" * 20, b"frame,AU12\n"):
        path.write_bytes(damaged)
        both(path, r"t\.parquet: The file cannot be read as Parquet")


@pytest.mark.parametrize(
    "metadata", [None, {b"affectkit": b"{"}, {b"affectkit": b"[]"}, {b"affectkit": b"{}"}]
)
def test_parquet_of_others(tmp_path, metadata):
    path = tmp_path / "t.parquet"
    schema = pa.schema([("frame", pa.int64())], metadata=metadata)
    pq.write_table(pa.table({"frame": [0]}, schema), path)
    both(path, "does not hold the metadata of a table of ours")
    with pytest.raises(AnnotationError, match="metadata of a table of ours"):
        open_writer(path, ["AU12"], {}, resume=True).__enter__()
    assert pq.read_table(path).num_rows == 1
