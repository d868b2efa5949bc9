"""Rows of codes: what is accepted, and that every fault is named with its line."""

from __future__ import annotations

import pytest

from affectkit.data.storage import cache_folder
from affectkit.datasets.reading.codes import frame_ranges, read_codes, read_lines, read_numbers
from affectkit.datasets.reading.folders import image_fault, list_frames, number_images, walk
from affectkit.datasets.reading.index_cache import fingerprint, load_arrays, save_arrays
from affectkit.errors import AnnotationError


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AFFECTKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def read(tmp_path):
    def run(content: str | bytes, *, header: bool = True, allowed=(0, 1, 9)):
        path = tmp_path / "codes.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_codes(path, header=header, allowed=allowed)

    return run


@pytest.mark.parametrize(
    "content",
    [
        "0,1,2\n5,0,1\n6,9,0\n",
        "0,1,2\r\n5,0,1\r\n6,9,0",
        "\ufeff0,1,2\n,,\n5,0,1\n\n6,9,0\n,,,,\n",
        '"0", 1 ,AU02,,\n"5",0, 1\n6.0,9.,0,\n',
        "frame,AU1,AU2\r5,0,1\r6,9,0\r",
        "1,0,2\n0,5,1\n9,6,0\n",  # another frame column
        "0,1,2\n5,0,1\n6,9,0\n".encode("utf-16"),
    ],
)
def test_accepts_every_harmless_way_of_writing(read, content):
    table = read(content)
    assert table.columns == (1, 2)
    assert table.frame_ids.tolist() == [5, 6]
    assert table.codes.tolist() == [[0, 1], [9, 0]]


def test_columns_go_by_name_and_lines_are_those_of_the_file(read):
    table = read("0,12,4\n,,\n7,1,0\n")
    assert dict(zip(table.columns, table.codes[0].tolist(), strict=True)) == {12: 1, 4: 0}
    assert "line 3" in str(table.error("Oh.", 0, remedy="Ah."))


@pytest.mark.parametrize(
    ("content", "line", "fault"),
    [
        ("", 1, "no rows"),
        ("\n,,\n", 1, "no rows"),
        ("0,1,2\n", 1, "no row"),
        ("0;1;2\n5;0;1\n", 1, "header"),
        ("5,0,1,1\n6,0,0,1\n", 1, "header"),
        ("0,1,1\n5,0,1\n", 1, "header"),
        ("0\n5\n", 1, "header"),
        ("0,1,x\n5,0,1\n", 1, "header"),
        ("0,1,2\n5,0\n", 2, "2 cells"),
        ("0,1,2\n5,0,1,1\n", 2, "4 cells"),
        ("0,1,2\n5,0,\n", 2, "not a whole number"),
        ("0,1,2\n5,0,1\n6,0,x\n", 3, "not a whole number"),
        ("0,1,2\n5,0,-1\n", 2, "not a whole number"),
        ("0,1,2\n5,0,1.5\n", 2, "not a whole number"),
        ("0,1,2\n5,0,1e0\n", 2, "not a whole number"),
        ("0,1,2\n5,0,٣\n", 2, "not a whole number"),
        ("0,1,2\n٣,0,1\n", 2, "not a whole number"),
        ("0,1,2\n5,0 1\n", 2, "2 cells"),
        ("0,1,2\n5,001\n", 2, "2 cells"),
        ("0,1,2\n5,0;1\n", 2, "2 cells"),
        ("0,1,2\n5,0,2\n", 2, "AU2 is not one of 0, 1, 9"),
        ("0,1,2\n5,0,256\n", 2, "AU2 is not one of"),
        ("0,1,2\n5,0,1\n5,0,1\n", 3, "Frame 5 does not follow"),
        ("0,1,2\n\n6,0,1\n5,0,1\n", 4, "Frame 5 does not follow"),
        ("0,1,2\n0,0,1\n", 2, "Frame 0 does not follow"),
        ("0,1,2\n0,1,2\n5,0,1\n", 2, "Frame 0 does not follow"),
        (b"0,1,2\n5,0,\xe9\n", 2, "UTF-8"),
        ("0,1,2\n5,0,1\n".encode("utf-16-le"), 1, "NUL"),
        (b"\xef\xbb", 1, "UTF-8"),
    ],
)
def test_names_file_line_and_fault(read, content, line, fault):
    with pytest.raises(AnnotationError, match=fault) as caught:
        read(content)
    assert caught.value.line == line
    assert str(caught.value.path).endswith("codes.csv")
    assert caught.value.remedy


def test_numbers_of_any_kind(tmp_path):
    rows = [(2, "0.5,-1"), (3, '"1e-3", +2.'), (5, "-.5,0,,")]
    assert read_numbers(tmp_path, rows, 2).tolist() == [[0.5, -1.0], [0.001, 2.0], [-0.5, 0.0]]
    for text in ("nan,1", "inf,1", "1e999,1", "0x1,1", "1_0,1", "#1,1"):
        with pytest.raises(AnnotationError, match=f"'{text[:-2]}' is not a number") as caught:
            read_numbers(tmp_path, [(2, "0,0"), (7, text)], 2)
        assert caught.value.line == 7


def test_a_file_without_a_header_has_one_column(read):
    table = read("1,0\n2,5\n", header=False, allowed=range(6))
    assert table.columns == (0,)
    assert table.codes[:, 0].tolist() == [0, 5]
    with pytest.raises(AnnotationError, match=r"^[^:]*, line 1: The code is not one of 0, 1, 2"):
        read("1,6\n", header=False, allowed=range(6))


def test_a_file_that_cannot_be_opened_is_an_annotation_error(tmp_path):
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_lines(tmp_path)


def test_ranges_are_cut_short():
    assert frame_ranges([]) == ""
    assert frame_ranges(range(0, 40, 2)) == "0, 2, 4, 6, 8, 10, 12, 14, …"


def test_the_cache_keeps_what_it_was_given(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("1")
    key = fingerprint("kind", [file])
    assert load_arrays(key) is None
    save_arrays(key, {"a": number_array([1, 2])})
    assert load_arrays(key)["a"].tolist() == [1, 2]
    file.write_text("12")
    assert fingerprint("kind", [file]) != key != fingerprint("other", [file])


def test_a_damaged_cache_is_not_trusted(tmp_path):
    save_arrays("key", {"a": number_array([1])})
    path = cache_folder() / "key.npz"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert load_arrays("key") is None
    for damaged in (b"PK\x03\x04 no more", b"", content[:-1]):
        path.write_bytes(damaged)
        assert load_arrays("key") is None


def test_no_cache_where_there_is_none_or_it_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTKIT_CACHE", "")
    save_arrays("key", {"a": number_array([1])})
    assert load_arrays("key") is None
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AFFECTKIT_CACHE", str(tmp_path / "file"))
    save_arrays("key", {"a": number_array([1])})
    assert load_arrays("key") is None
    monkeypatch.delenv("AFFECTKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "affectkit"


def test_a_full_disk_leaves_nothing_behind(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile._TemporaryFileWrapper.write", full, raising=False)
    save_arrays("key", {"a": number_array([1])})
    assert load_arrays("key") is None
    assert list(cache_folder().iterdir()) == []


def number_array(values):
    import numpy as np

    return np.array(values)


def test_walking_stays_out_of_closed_hidden_and_deep_folders(tmp_path):
    import re

    for path in ("a/b/c/file", "a/closed/file", ".hidden/file", "__MACOSX/file", "top"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = list(walk(tmp_path, re.compile("closed"), depth=3))
    assert [(str(folder.relative_to(tmp_path)), files, folders) for folder, files, folders in found] == [
        (".", ["top"], ["a"]),
        ("a", [], ["b", "closed"]),
        ("a/b", [], ["c"]),
    ]


def test_images_are_listed_once_as_long_as_the_folder_stays(tmp_path, monkeypatch):
    folder, empty = tmp_path / "a", tmp_path / "b"
    folder.mkdir()
    empty.mkdir()
    for name in ("0010.jpg", "2.jpg", "0010.mtl"):
        (folder / name).touch()
    assert number_images([folder, empty]) == {folder: {2: "2.jpg", 10: "0010.jpg"}}
    assert number_images([]) == {}
    calls = []
    monkeypatch.setattr(
        "affectkit.datasets.reading.folders.list_frames", lambda f: calls.append(f) or list_frames(f)
    )
    assert number_images([folder, empty])[folder] == {2: "2.jpg", 10: "0010.jpg"}
    assert calls == []
    (folder / "11.jpg").touch()
    assert 11 in number_images([folder, empty])[folder]
    assert calls == [folder, empty]


def test_image_faults(tmp_path):
    from PIL import Image

    path = tmp_path / "a.jpg"
    Image.effect_noise((64, 64), 90).save(path)
    assert image_fault(path) is None
    path.write_bytes(path.read_bytes()[:900])
    assert image_fault(path).startswith("the image cannot be read")
    path.write_bytes(b"")
    assert image_fault(path).startswith("the image cannot be read")
