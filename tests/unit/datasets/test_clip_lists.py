"""Lists of clips: every harmless form is read, every other one named."""

from __future__ import annotations

import pytest

from affectkit.datasets.reading.clip_lists import read_clip_list
from affectkit.errors import AnnotationError


@pytest.mark.parametrize(
    ("content", "lines", "header", "ended"),
    [
        ("video_name,label\n1600,3\n7,1\n", (2, 3), True, True),
        ("\ufeffvideo_name,label\r\n1600,3\r\n7,1", (2, 3), True, False),
        (',Label,"Video_Name"\n0,3,"1600"\n1,1,7\n', (2, 3), True, True),
        ("1600 3\n7 1\n", (1, 2), False, True),
        ("\n1600\t16\t3\n\n7\t9\t1\n\n", (2, 4), False, True),
        ("1600;3;;\n7;1;\n ;\n", (1, 2), False, True),
        ('"1600", 3\n"7", 1\n', (1, 2), False, True),
        ("1600   144  3\n7 2 1", (1, 2), False, False),
    ],
)
def test_forms_that_are_read(tmp_path, content, lines, header, ended):
    path = tmp_path / "list.csv"
    path.write_bytes(content.encode())
    found = read_clip_list(path)
    assert (found.names, found.labels) == (("1600", "7"), ("3", "1"))
    assert (found.lines, found.header, found.ended, len(found)) == (lines, header, ended, 2)


@pytest.mark.parametrize(
    ("content", "line", "fault"),
    [
        ("", 1, "The list is empty"),
        (" , \n;\n", 1, "The list is empty"),
        ("video_name,label\n", 1, "no rows"),
        ("video_name,label,label\n1,2,2\n", 1, "does not name one column"),
        ("video_name,name,label\n1,1,2\n", 1, "does not name one column"),
        ("video_name,mood\n1,2\n", 1, "does not name one column"),
        ("1600\n7\n", 1, "The row is '1600'"),
        ("1600 3 4 5\n", 1, "The row is '1600 3 4 5'"),
        ("1600 x 3\n", 1, "The row is '1600 x 3'"),
        ("1600 16 3\n7 -2 3\n", 2, "The row is '7 -2 3'"),
        ("1600,3\n\n7\n", 3, "The row has 1 cell, the first one 2"),
        ("1600,3\n7,1,x\n", 2, "The row has 3 cells, the first one 2"),
        ("1600,3\n7 1\n", 2, "The row has 1 cell"),
        ("1600,3\n7,\0", 2, "NUL"),
    ],
)
def test_faults_are_named(tmp_path, content, line, fault):
    path = tmp_path / "list.csv"
    path.write_bytes(content.encode())
    with pytest.raises(AnnotationError, match=fault) as caught:
        read_clip_list(path)
    assert (caught.value.path, caught.value.line) == (path, line)
    assert caught.value.remedy
