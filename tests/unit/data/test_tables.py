from __future__ import annotations

import numpy as np
import openpyxl
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
    assert [table.number("x", row) for row in (0, 1, 3)] == [1.5, None, 1e3]
    assert (table.count("k", 0), table.count("k", 1), table.count("k", 4)) == (3, None, 0)
    for column, row, fault in [("k", 2, "'k' holds 2.5"), ("k", 3, "holds -1"), ("k", 5, "holds 'x'")]:
        with pytest.raises(AnnotationError, match=fault) as caught:
            table.count(column, row)
        assert (caught.value.path, caught.value.line) == (table.path, row + 2)
    assert table.number("x", 2) is None  # nan
    assert table.number("x", 4, flag=True) == 1
    for row in (4, 5):
        with pytest.raises(AnnotationError, match="not a number") as caught:
            table.number("x", row)
        assert "decimal point" in caught.value.remedy


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
        read_table(path).numbers(["a", "b", "c"], flags=True),
        np.array([[1, 1, 1], [np.nan, 0, np.nan], [3, 1, 2]], dtype=np.float32),
    )
    with pytest.raises(AnnotationError, match="'b' holds 'True', not a number"):
        read_table(path).numbers(["b"])


@pytest.mark.parametrize("odd", ["", "NA", "1e999", "1.", "+2", "x", "1_0"])
def test_whole_columns_are_read_as_single_cells_are(csv, odd):
    table = read_table(csv(f"a,b\n1,.\n-2.5e1,.\n{odd},.\n"))
    try:
        expected = [np.nan if (value := table.number("a", row)) is None else value for row in range(3)]
    except AnnotationError:
        with pytest.raises(AnnotationError, match="line 4"):
            table.numbers(["a"])
    else:
        np.testing.assert_array_equal(table.numbers(["a"])[:, 0], expected)


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
        (b"a,b\n1,2\n\n3\n", 4, "The line has 1 cell, the header 2"),
        (b"a,b\n1,2,3\n", 2, "The line has 3 cells"),
        (b"x,a,b,a\n", 1, "named twice: a"),
        (b'a,b\n1,2\n"3,4\n', 3, "not CSV"),
        (b"a\n1\n\xff\n", 3, "not UTF-8"),
        ("a\n1\n".encode("utf-16-le"), 1, "NUL characters"),
        (b"\xff\xfe" + "a\n1".encode("utf-16-le") + b"\x00", 2, "not UTF-16"),
        (b"a,b\n\n", 1, "a header and no rows"),
        (b"a,b\n1,2,5\n", 2, "Quote cells that hold commas"),
        (b"a;b\n1;2;5\n", 2, "Quote cells that hold semicolons"),
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
    path = tmp_path / "t.ods"
    path.touch()
    with pytest.raises(AnnotationError, match=r"cannot be a '\.ods' file") as caught:
        read_table(path)
    assert ".xlsx" in caught.value.remedy
    path = tmp_path / "t.xlsx"
    path.touch()
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_table(path)
    path = tmp_path / "t.parquet"
    for content in (b"", b"no parquet", b"PAR1" + bytes(40) + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(AnnotationError, match="not a Parquet file"):
            read_table(path)
    parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    with pytest.raises(AnnotationError, match="named twice"):
        read_table(path)
    parquet.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
    with pytest.raises(AnnotationError, match="no rows"):
        read_table(path)


@pytest.mark.parametrize(
    "content",
    [
        "name;x;k\nÜ, 1;3,5;2\n",
        'name\tx\tk\n"Ü, 1"\t3.5\t2\n',
        "name;x;k\r\nÜ, 1;3.5;2".encode("utf-16"),
        b"\xfe\xff" + 'name,x,k\n"Ü, 1",3.5,2\n'.encode("utf-16-be"),
        'name, x, k\n"Ü, 1", 3.5, 2\n',
        '"name","x","k"\n"Ü, 1","3.5","2"\n',
    ],
)
def test_every_separator_and_encoding(csv, content):
    table = read_table(csv(content))
    assert list(table.columns) == ["name", "x", "k"]
    assert (table.text("name", 0), table.number("x", 0), table.count("k", 0)) == ("Ü, 1", 3.5, 2)


def test_the_header_alone_says_what_separates(csv):
    table = read_table(csv("path\na;b;c.mp4\n"))
    assert table.text("path", 0) == "a;b;c.mp4"
    table = read_table(csv('"a;b",c\n1,2\n'))
    assert list(table.columns) == ["a;b", "c"]


@pytest.mark.parametrize(
    "content", ['x\n"3,5"\n', "x\ty\n3,5\t1\n", "x;y\n1.234,5;1\n", "x\n1_0\n", "x\n1e999\n"]
)
def test_numbers_that_may_mean_another(csv, content):
    with pytest.raises(AnnotationError, match="not a number"):
        read_table(csv(content)).number("x", 0)


def test_what_is_empty_and_what_is_a_word(csv):
    written = ["", " ", "NA", "N/A", "n/a", "#N/A", "nan", "NaN", "null", "<NA>"]
    table = read_table(csv("\n".join(["t,k", *(f"{cell},." for cell in written)])))
    assert [table.text("t", row) for row in range(len(written))] == [None] * len(written)
    table = read_table(csv("t\nnone\nNone\nNan\nna\n"))
    assert [table.text("t", row) for row in range(4)] == ["none", "None", "Nan", "na"]
    table = read_table(csv("x\nnone\n-nan(ind)\nnan(snan)\n1.#QNAN\n-1.#IND\n"))
    assert [table.number("x", row) for row in range(5)] == [None] * 5


def test_true_and_false_are_numbers_where_asked(csv):
    table = read_table(csv("a\nTRUE\nFalse\nyes\nNO\ny\nn\nNA\n1\n"))
    np.testing.assert_array_equal(table.numbers(["a"], flags=True)[:, 0], [1, 0, 1, 0, 1, 0, np.nan, 1])
    with pytest.raises(AnnotationError, match="'TRUE'"):
        table.numbers(["a"])


def test_columns_are_found_in_any_capitals(csv):
    table = read_table(csv("Path,NUM Frames,x_0,X_0\na,3,1,2\n")).with_names(["path", "num_frames"])
    assert list(table.columns) == ["path", "num_frames", "x_0", "X_0"]
    assert table.count("num_frames", 0) == 3
    with pytest.raises(AnnotationError, match="named twice: path, Path"):
        read_table(csv("path,Path\na,b\n")).with_names(["path"])


class TestWorkbooks:
    @pytest.fixture
    def workbook(self, tmp_path):
        def write(rows, merged=(), more=()):
            book = openpyxl.Workbook()
            for row in rows:
                book.active.append(row)
            for area in merged:
                book.active.merge_cells(area)
            for row in more:
                (book.worksheets[1] if len(book.worksheets) > 1 else book.create_sheet("more")).append(row)
            book.save(tmp_path / "t.xlsx")
            return tmp_path / "t.xlsx"

        return write

    def test_cells(self, workbook):
        table = read_table(
            workbook([[], ["name", None, "x", "k"], ["Ü", None, 3.5, True], [], [1, None, None, 2]])
        )
        assert list(table.columns) == ["name", "x", "k"]
        assert [table.text("name", row) for row in (0, 1)] == ["Ü", "1"]
        assert [table.number("x", row) for row in (0, 1)] == [3.5, None]
        assert (table.number("k", 0, flag=True), table.count("k", 1)) == (1, 2)
        assert list(table.lines) == [3, 5]

    def test_the_first_sheet_that_is_not_blank(self, workbook):
        assert read_table(workbook([], more=[["a"], ["b"]])).text("a", 0) == "b"
        assert list(read_table(workbook([["a"], [1]], more=[["b"], [2]])).columns) == ["a"]
        with pytest.raises(AnnotationError, match="empty"):
            read_table(workbook([]))

    def test_merged_cells_are_filled_within_their_range_only(self, workbook):
        rows = [["s", "x"], ["anna", 1], [None, 2], [], [None, 3], ["ben", 4], [None, 5], ["cleo", 6]]
        table = read_table(workbook(rows, ["A2:A5", "A1:A1", "B7:C7"]))
        assert [table.text("s", row) for row in range(6)] == ["anna", "anna", "anna", "ben", None, "cleo"]
        assert [table.number("x", row) for row in range(6)] == [1, 2, 3, 4, 5, 6]

    def test_merged_blank_and_header_cells(self, workbook):
        table = read_table(workbook([["s", "x"], [], ["a", 1], [None, 2]], ["A1:A2", "B1:B2", "D3:D4"]))
        assert [table.text("s", row) for row in range(2)] == ["a", None]
        rows = [["s", "x"], [None, "y"], ["a", 1]]
        assert read_table(workbook(rows, ["A1:A2"])).text("s", 0) == "s"  # no header, hence a row
