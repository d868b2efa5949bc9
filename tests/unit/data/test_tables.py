from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from affectkit.data.tables import read_table
from affectkit.errors import AnnotationError, DatasetNotFoundError


@pytest.fixture
def csv(tmp_path):
    def write(content):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_csv_of_every_origin(csv):
    """A byte-order mark, Windows line ends, blank lines, quoted commas and line breaks, no last newline."""
    path = csv(
        b'\xef\xbb\xbf name , n,,\r\n\r\n"a, b",1,,\r\n,,,\r\n"c\r\nd",2\r\n,\r\n'.replace(
            b"2\r\n,\r\n", b"2,,"
        )
    )
    table = read_table(path)
    assert list(table.columns) == ["name", "n"]
    assert [table.text("name", row) for row in range(len(table))] == ["a, b", "c\r\nd"]
    assert list(table.lines) == [3, 5]


def test_cells(csv):
    table = read_table(
        csv("t,x,k,always\n a ,1.5,3,.\n,,,.\n  ,nan,2.5,.\nb,1e3,-1,.\nc,True,0,.\nd,inf,x,.\n")
    )
    assert [table.text("t", row) for row in range(3)] == ["a", None, None]
    assert table.text("none", 0) is None
    assert (table.number("x", 0), table.number("x", 1), table.number("x", 3), table.number("x", 4)) == (
        1.5,
        None,
        1e3,
        1,
    )
    assert (table.count("k", 0), table.count("k", 1), table.count("k", 4)) == (3, None, 0)
    for column, row, fault in [("k", 2, "'k' holds 2.5"), ("k", 3, "holds -1"), ("k", 5, "holds 'x'")]:
        with pytest.raises(AnnotationError, match=fault) as caught:
            table.count(column, row)
        assert (caught.value.path, caught.value.line) == (table.path, row + 2)
    for row in (2, 5):
        with pytest.raises(AnnotationError, match="not a number"):
            table.number("x", row)


def test_number_columns(csv, tmp_path):
    np.testing.assert_array_equal(
        read_table(csv("a,b\n1,\n0.5,2\n")).numbers(["b", "a"]),
        np.array([[np.nan, 1], [2, 0.5]], dtype=np.float32),
    )
    with pytest.raises(AnnotationError, match="line 3: Column 'a' holds 'x'"):
        read_table(csv("a\n1\nx\n")).numbers(["a"])
    path = tmp_path / "t.parquet"
    columns = {
        "a": pa.array([1, None, 3]),
        "b": pa.array([True, False, True]),
        "c": pa.array(["1", None, "2"]),
    }
    parquet.write_table(pa.table(columns), path)
    np.testing.assert_array_equal(
        read_table(path).numbers(["a", "b", "c"]),
        np.array([[1, 1, 1], [np.nan, 0, np.nan], [3, 1, 2]], dtype=np.float32),
    )


def test_parquet_cells(tmp_path):
    path = tmp_path / "t.PARQUET"
    columns = {
        "t": pa.array(["a", None, " "]),
        "k": pa.array([1, None, 3]),
        "x": pa.array([0.5, float("nan"), None]),
        "d": pa.array(["u", "v", "u"]).dictionary_encode(),
    }
    parquet.write_table(pa.table(columns), path)
    table = read_table(path)
    assert [table.text("t", row) for row in range(3)] == ["a", None, None]
    assert [table.count("k", row) for row in range(3)] == [1, None, 3]
    assert [table.number("x", row) for row in range(3)] == [0.5, None, None]
    assert [table.text("d", row) for row in range(3)] == ["u", "v", "u"]
    assert table.error("Wrong.", 2).line == 3


@pytest.mark.parametrize(
    ("content", "line", "fault"),
    [
        (b"", 1, "empty"),
        (b"\n \n,,\n", 1, "empty"),
        (b"a,b\n1,2\n\n3\n", 4, "The line has 1 cells, the header 2"),
        (b"a,b\n1,2,3\n", 2, "The line has 3 cells"),
        (b"x,a,b,a\n", 1, "named twice: a"),
        (b'a,b\n1,2\n"3,4\n', 3, "not CSV"),
        (b"a\n1\n\xff\n", 3, "not UTF-8"),
    ],
)
def test_bad_csv(csv, content, line, fault):
    with pytest.raises(AnnotationError, match=fault) as caught:
        read_table(csv(content))
    assert (caught.value.line, caught.value.path.name) == (line, "table.csv")
    assert caught.value.remedy


def test_bad_files(tmp_path):
    with pytest.raises(DatasetNotFoundError):
        read_table(tmp_path / "none.csv")
    path = tmp_path / "t.xlsx"
    path.touch()
    with pytest.raises(AnnotationError, match="neither"):
        read_table(path)
    path = tmp_path / "t.parquet"
    for content in (b"", b"no parquet", b"PAR1" + bytes(40) + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(AnnotationError, match="not a Parquet file"):
            read_table(path)
    parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    with pytest.raises(AnnotationError, match="named twice"):
        read_table(path)
