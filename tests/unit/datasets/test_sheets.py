"""Spreadsheets: where the header is, what cells may hold, and every way in which files are broken."""

from __future__ import annotations

import datetime

import openpyxl
import pytest

from affectkit.data import workbooks
from affectkit.datasets.reading.sheets import find_sheets, read_sheet
from affectkit.errors import AnnotationError, DatasetNotFoundError

NAMES = ("subject", "clip", "onset")


def _workbook(path, rows, *more):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for title, extra in more:
        page = book.create_sheet(title)
        for row in extra:
            page.append(row)
    book.save(path)
    return path


def _csv(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "header",
    [
        ["Subject", "Filename", "OnsetFrame"],
        [" SUBJECT", "File Name", "Onset  Frame"],
        ["sub", "clip", "Onset"],
    ],
)
@pytest.mark.parametrize("notes", [0, 13])
def test_header_is_found_by_its_names(tmp_path, header, notes):
    rows = [
        *[["a note", None, "more"]] * notes,
        header,
        ["01", "EP02_01f", 46],
        [None, " "],
        ["02", "x", 7.0],
    ]
    table = read_sheet(_workbook(tmp_path / "a.xlsx", rows), NAMES)
    assert [table.text("subject", row) for row in range(len(table))] == ["01", "02"]
    assert [table.whole("onset", row) for row in range(2)] == [46, 7]
    assert list(table.lines) == [notes + 2, notes + 4]
    assert table.cell("apex", 0) is None


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Subject,Filename,Onset\r\n01,a,46\r\n", "utf-8"),
        ("Subject;Filename;Onset\n01;a;46", "utf-8-sig"),
        ("Subject\tFilename\tOnset\n\n01\ta\t46.0\n", "utf-16"),
        ("note\n,,\nSubject,Filename,Onset,\n01,a,４６,\n", "utf-8"),
    ],
)
def test_text_tables(tmp_path, text, encoding):
    table = read_sheet(_csv(tmp_path / "a.csv", text, encoding), NAMES)
    assert (table.text("subject", 0), table.whole("onset", 0), len(table)) == ("01", 46, 1)


def test_other_sheets_are_looked_at(tmp_path):
    page = [list(NAMES), [1, "a", 2]]
    path = _workbook(tmp_path / "a.xlsx", [["nothing"]], ("HS", page), ("VIS", [list(NAMES), [3, "b", 4]]))
    assert read_sheet(path, NAMES).whole("subject", 0) == 1


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("Subject,Filename\n01,a\n", 1, "onset missing"),
        ("", 1, "subject, clip, onset missing"),
        ("Subject,Filename,Onset,Onset Frame\n01,a,1,2\n", 1, "'Onset' and 'Onset Frame'"),
        ("Subject,Filename,Onset\n01,a,1\n02,b\n", 3, "2 cells"),
        ("Subject,Filename,Onset\n01,a,1,b\n", 2, "4 cells"),
        ('Subject,Filename,Onset\n01,"a"b,1\n', 2, "not CSV"),
    ],
)
def test_faults_name_file_and_line(tmp_path, text, line, fault):
    path = _csv(tmp_path / "a.csv", text)
    with pytest.raises(AnnotationError, match=fault) as caught:
        read_sheet(path, NAMES)
    assert (caught.value.path, caught.value.line) == (path, line)


def test_files_that_are_no_spreadsheets(tmp_path, monkeypatch):
    with pytest.raises(DatasetNotFoundError):
        read_sheet(tmp_path / "none.csv", NAMES)
    for name, content, line in (("a.xlsx", b"PK", 1), ("b.csv", b"Subject\nFile\n\xe9", 3)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AnnotationError) as caught:
            read_sheet(tmp_path / name, NAMES)
        assert caught.value.line == line
    monkeypatch.setattr(workbooks, "_MOST_ROWS", 2)
    with pytest.raises(AnnotationError, match="more than 2 rows"):
        read_sheet(_workbook(tmp_path / "c.xlsx", [[1], [2], [3]]), NAMES)


def test_merged_cells_are_filled_down_within_their_range(tmp_path):
    book = openpyxl.Workbook()
    page = book.active
    for row in (
        ["Subject", "Filename", "frames"],
        [None, None, "Onset"],
        ["sub01", "a", 1],
        [None, "b", 2],
        [None, "c", 3],
        [None, "d", 4],
    ):
        page.append(row)
    for area in ("A1:A2", "B1:B2", "A3:A5"):
        page.merge_cells(area)
    book.save(tmp_path / "a.xlsx")
    table = read_sheet(tmp_path / "a.xlsx", NAMES)
    assert [table.text("subject", row) for row in range(4)] == ["sub01"] * 3 + [None]
    assert [table.text("clip", row) for row in range(4)] == ["a", "b", "c", "d"]
    assert list(table.lines) == [3, 4, 5, 6]


def test_a_header_merged_over_two_rows_is_no_row(tmp_path):
    path = _workbook(tmp_path / "a.xlsx", [list(NAMES), [None] * 2 + ["(frame)"], ["sub01", "a", 1]])
    book = openpyxl.load_workbook(path)
    for area in ("A1:A2", "B1:B2", "C1:C2"):
        book.active.merge_cells(area)
    book.save(path)
    table = read_sheet(path, NAMES)
    assert [table.text("subject", row) for row in range(len(table))] == ["sub01"]


@pytest.mark.parametrize(
    "value", ["x", "1_0", "4.5", 4.5, True, "１.x", datetime.datetime(2014, 5, 8), "y" * 99, 10**12]
)
def test_cells_that_are_no_whole_numbers(tmp_path, value):
    table = read_sheet(_workbook(tmp_path / "a.xlsx", [list(NAMES), [1, "a", value]]), NAMES)
    with pytest.raises(AnnotationError, match="not a whole number") as caught:
        table.whole("onset", 0)
    assert caught.value.line == 2


def test_required_numbers(tmp_path):
    table = read_sheet(_workbook(tmp_path / "a.xlsx", [list(NAMES), [1, "a", None], [1, "a", "+9"]]), NAMES)
    assert table.whole("onset", 0) is None
    assert table.required("onset", 1, 1, 9) == 9
    for row, fault in ((0, "is empty"), (1, "holds 9")):
        with pytest.raises(AnnotationError, match=fault):
            table.required("onset", row, 1, 8)


def test_candidates_come_by_name_then_by_columns(tmp_path):
    assert find_sheets(tmp_path, NAMES, ["cod"]) == []
    other = _csv(tmp_path / "b.csv", "x,y\n")
    assert find_sheets(tmp_path, NAMES, ["cod"]) == [other]
    (tmp_path / "in").mkdir()
    fits = _csv(tmp_path / "in" / "z.csv", "Subject,Filename,Onset\n")
    assert find_sheets(tmp_path, NAMES, ["cod"]) == [fits]
    later, first = _csv(tmp_path / "Coding-2019.csv", ""), _csv(tmp_path / "in" / "coding-2014.csv", "")
    for hidden in ("~$coding.xlsx", "._coding.csv"):
        _csv(tmp_path / hidden, "")
    assert find_sheets(tmp_path, NAMES, ["cod.*2014", "cod"]) == [first, later]
    assert find_sheets(later, NAMES, ["cod"]) == [later]
