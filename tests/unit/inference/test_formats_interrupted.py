"""Work that stops anywhere leaves tables that are read, and that a second run ends as one run would have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers.tables import COLUMNS, METADATA, NAMES, ROWS, files, row, same_rows, write

from affectkit.errors import AnnotationError, ConfigError
from affectkit.inference import Row, TableWriter, read_table, table_progress
from affectkit.inference.formats import writer as writers
from affectkit.inference.formats.table import partial_of


@pytest.fixture
def each_row(monkeypatch):
    """Hand every row to the system at once."""
    monkeypatch.setattr(writers, "_ROWS", 1)


def killed(path: Path, rows: Sequence[Row], format: str | None = None, **options) -> None:
    """Write rows in a process that is killed: nothing that it holds gets to the disk."""
    writer = TableWriter(path, COLUMNS, METADATA, format=format, **options).__enter__()
    for one in rows:
        writer.write(one)
    writer._file.close()


def prefix(table: pd.DataFrame, whole: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(table, whole.iloc[: len(table)], check_flags=False)
    assert table.attrs["affectkit"]["complete"] is False
    assert table.attrs["affectkit"]["rows"] == len(table)


@pytest.mark.parametrize("format", NAMES)
def test_a_stream_cut_anywhere_is_read_and_continued_to_the_same_table(tmp_path, format, monkeypatch):
    monkeypatch.setattr(writers, "_ROWS", 2)
    monkeypatch.setattr(writers, "_SECONDS", 1e9)
    whole = write(tmp_path / "whole" / NAMES[format], ROWS, format)
    expected, expected_files = read_table(whole), files(whole.parent)
    path = tmp_path / "cut" / NAMES[format]
    killed(path, ROWS[:7], format)
    content = partial_of(path).read_bytes()  # three batches; the seventh row is nowhere yet
    ends = set()
    for size in (*range(0, len(content), 97), len(content)):
        for old in path.parent.iterdir():
            old.unlink()
        partial_of(path).write_bytes(content[:size])
        progress = table_progress(path)
        if progress is None:
            with pytest.raises(AnnotationError, match="missing or empty"):
                read_table(path)
        else:
            prefix(read_table(path), expected)
            assert progress.complete is False
        with TableWriter(path, COLUMNS, METADATA, format=format, resume=True) as writer:
            start = writer.next_frame
            assert start == (0 if progress is None else progress.next_frame)
            for one in ROWS:
                if one.frame >= start:
                    writer.write(one)
        ends.add(start)
        pd.testing.assert_frame_equal(read_table(path), expected)
        found = files(path.parent)
        assert found.keys() == expected_files.keys()
        assert format == "parquet" or found == expected_files
    assert ends == {0, 2, 3}  # after none or one, two, and three batches


def test_bytes_that_are_no_rows_end_a_stream(tmp_path, each_row):
    path = tmp_path / "t.csv"
    killed(path, ROWS)
    content = partial_of(path).read_bytes()
    head = content[: table_start(path)]
    size = (len(content) - len(head)) // len(ROWS)
    assert len(read_table(path)) == 8
    for damaged in (bytes(400), content[len(head) : len(head) + 3 * size], b"\xff" * 400):
        partial_of(path).write_bytes(content + damaged)  # frame 0 cannot follow frame 4
        assert len(read_table(path)) == 8
        assert table_progress(path).next_frame == 4
    killed(path, [row(4)], resume=True)
    assert read_table(path)["frame"].tolist() == [0, 0, 1, 2, 3, 3, 3, 4]


def table_start(path: Path) -> int:
    from affectkit.inference.formats.table import RowStream

    return RowStream.of(path).start


def test_rows_are_on_the_disk_after_a_quarter_of_a_second(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(writers.time, "monotonic", lambda: now[0])
    path, found = tmp_path / "t.csv", []
    with TableWriter(path, COLUMNS, METADATA) as writer:
        for frame in range(6):
            writer.write(row(frame))
            found.append(len(read_table(path)))
            now[0] += 0.1
        for frame in range(6, 300):
            writer.write(row(frame))
            found.append(len(read_table(path)))
            now[0] += 1e-5
        assert not path.exists()
    assert found[:7] == [0, 0, 0, 4, 4, 4, 7]
    assert set(found[7:]) == {7, 7 + 256}


def test_another_file_in_the_place_of_the_stream_is_not_overwritten(tmp_path):
    path = tmp_path / "t.csv"
    for content in (b"half a download", pa.schema([("a", pa.int8())]).serialize().to_pybytes()):
        partial_of(path).write_bytes(content)
        for resume in (False, True):
            with pytest.raises(
                AnnotationError, match=r"t\.csv\.partial: The (file is not an Arrow|schema does not)"
            ):
                TableWriter(path, COLUMNS, METADATA, resume=resume).__enter__()
        with pytest.raises(AnnotationError, match=r"t\.csv\.partial"):
            read_table(path)
        assert partial_of(path).read_bytes() == content


def go_on(path: Path, start: int, end: int) -> None:
    with TableWriter(path, COLUMNS, METADATA, resume=True) as writer:
        assert writer.next_frame == start
        for frame in range(start, end):
            writer.write(row(frame))
        raise KeyboardInterrupt


def stopped(path: Path, rows: Sequence[Row], format: str, error: BaseException, **options) -> None:
    with TableWriter(path, COLUMNS, METADATA, format=format, **options) as writer:
        try:
            for one in rows:
                writer.write(one)
            raise error
        finally:
            assert writer.complete is False


@pytest.mark.parametrize("format", NAMES)
def test_an_error_leaves_a_valid_file_that_can_be_continued(tmp_path, format):
    path = tmp_path / NAMES[format]
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error):
            stopped(path, ROWS[:5], format, error())
        table = read_table(path)
        assert (len(table), table.attrs["affectkit"]["complete"]) == (5, False)
        assert (table.attrs["affectkit"]["frames"], table.attrs["affectkit"]["rows"]) == (4, 5)
        rows = partial_of(path).rename(tmp_path / "away")
        pd.testing.assert_frame_equal(read_table(path), table)  # the file itself is whole, too
        with pytest.raises(ConfigError, match=rf"{path.name}: .* {path.name}\.partial is missing"):
            TableWriter(path, COLUMNS, METADATA, format=format, resume=True).__enter__()
        rows.rename(partial_of(path))
    with pytest.raises(ValueError, match="at once"):
        stopped(path, [], format, ValueError("at once"), resume=True)
    assert len(read_table(path)) == 4  # what is to be written anew is gone
    with TableWriter(path, COLUMNS, METADATA, format=format, resume=True) as writer:
        assert writer.next_frame == 2
        with pytest.raises(ConfigError, match="already"):
            writer.write(ROWS[2])
        writer.write(ROWS[3])
        assert (writer.next_frame, writer.frames, writer.failed) == (3, 3, 2)
        for one in ROWS[4:]:
            writer.write(one)
    assert writer.complete
    assert (writer.frames, writer.failed, len(read_table(path))) == (5, 3, 8)


@pytest.mark.parametrize("format", NAMES)
def test_a_power_cut_finds_on_the_disk_what_a_table_says_of_itself(tmp_path, format, monkeypatch):
    path = tmp_path / NAMES[format]
    synced, replace = set(), os.replace

    def replaced(source, target):
        assert Path(source).stat().st_ino in synced
        if b'"complete": true' in Path(source).read_bytes():
            assert (path if path.exists() else Path(source)).stat().st_ino in synced
        replace(source, target)

    def sync(file):
        written, sidecar = os.fstat(file).st_ino, path.with_suffix(".json")
        synced.add(written)
        assert not sidecar.exists() or sidecar.stat().st_ino != written  # it is replaced, never half written

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replaced)
    write(path, ROWS, format)
    assert {file.stat().st_ino for file in tmp_path.iterdir()} <= synced


@pytest.mark.parametrize("format", NAMES)
def test_a_disk_that_is_full_in_the_middle_of_a_row_keeps_those_before(tmp_path, format):
    resource = pytest.importorskip("resource")
    path, rows = tmp_path / NAMES[format], [row(frame) for frame in range(1000)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(ConfigError, match=rf"{path.name}: The table cannot be written: File too large"):
            write(path, rows, format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    table = read_table(path)
    assert 100 < len(table) < 1000
    about = table.attrs["affectkit"]
    assert (about["complete"], about["rows"]) == (False, len(table))
    with TableWriter(path, COLUMNS, METADATA, format=format, resume=True) as writer:
        for one in rows[writer.next_frame :]:
            writer.write(one)
    pd.testing.assert_frame_equal(
        read_table(path), read_table(write(tmp_path / "whole" / path.name, rows, format))
    )


@pytest.mark.parametrize("format", NAMES)
def test_killed_while_the_table_is_made(tmp_path, format, monkeypatch):
    path = tmp_path / NAMES[format]

    def kill(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            write(path, ROWS, format)
    assert list(tmp_path.iterdir()) == [partial_of(path)]
    assert len(read_table(path)) == 8
    assert read_table(path).attrs["affectkit"]["complete"] is False
    with TableWriter(path, COLUMNS, METADATA, format=format, resume=True) as writer:
        assert writer.next_frame == 4
        writer.write(ROWS[-1])
    pd.testing.assert_frame_equal(
        read_table(path), read_table(write(tmp_path / "w" / path.name, ROWS, format))
    )


def test_the_stream_is_newer_than_a_table_beside_it(tmp_path, each_row):
    path = tmp_path / "t.csv"
    with pytest.raises(KeyboardInterrupt):
        go_on(path, 0, 6)
    killed(path, [], resume=True)
    assert len(read_table(path)) == 5
    assert len(pd.read_csv(path)) == 6  # as it was, until the next one is made
    killed(path, [row(frame) for frame in range(4, 10)], resume=True)
    assert len(read_table(path)) == 10
    killed(path, [row(0)])
    assert len(read_table(path)) == 1
    assert not path.exists()  # what was to be replaced is gone
    assert not path.with_suffix(".json").exists()


def test_parquet_is_continued_after_many_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("affectkit.inference.formats.tidy._GROUP", 2)
    monkeypatch.setattr(writers, "_ROWS", 3)
    path = tmp_path / "t.parquet"
    for last in (7, 12, 16):
        with pytest.raises(KeyboardInterrupt):
            go_on(path, {7: 0, 12: 6, 16: 11}[last], last)
    same_rows(path, [row(frame) for frame in range(16)], "parquet")


KILLED = """
import math, sys
from affectkit.inference import Row, TableWriter

writers = [
    TableWriter(path, ["AU01"], {"heads": {"au": {"columns": ["AU01"], "values": "probability",
    "thresholds": {"AU01": 0.5}}}}, format=format).__enter__()
    for path, format in zip(sys.argv[1::2], sys.argv[2::2])
]
for frame in range(10**9):
    for face in range(3):
        for writer in writers:
            writer.write(Row(frame, frame / 25, True, {"AU01": (frame * 3 + face) % 997 / 997}, face=face))
    if frame == 300:
        print("begun", flush=True)
"""


def test_a_process_that_is_killed_leaves_tables_that_are_read_and_continued(tmp_path):
    paths = {format: tmp_path / "killed" / name for format, name in NAMES.items()}
    names = [text for format, path in paths.items() for text in (str(path), format)]
    command = [sys.executable, "-c", KILLED, *names]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.kill()
    heads = {"heads": {"au": {"columns": ["AU01"], "values": "probability", "thresholds": {"AU01": 0.5}}}}

    end = 5 + max(int(read_table(path)["frame"].max()) for path in paths.values())

    def finish(writer: TableWriter) -> None:
        for frame in range(writer.next_frame, end):
            for face in range(3):
                value = (frame * 3 + face) % 997 / 997
                writer.write(Row(frame, frame / 25, True, {"AU01": value}, face=face))

    for format, path in paths.items():
        table = read_table(path)
        assert len(table) >= 900 - 256
        assert table.attrs["affectkit"]["complete"] is False
        column = "AU01_p" if "AU01_p" in table else "AU01"
        expected = np.arange(len(table)) % 997 / 997
        np.testing.assert_allclose(table[column], expected, atol=1e-6)
        with TableWriter(path, ["AU01"], heads, format=format, resume=True) as writer:
            assert len(table) // 3 - 1 <= writer.next_frame <= len(table) // 3
            finish(writer)
        with TableWriter(tmp_path / "whole" / path.name, ["AU01"], heads, format=format) as writer:
            finish(writer)
    whole, killed = files(tmp_path / "whole"), files(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    for name in whole:
        if name.endswith(".parquet"):
            pd.testing.assert_frame_equal(read_table(tmp_path / "whole" / name), read_table(paths["parquet"]))
        else:
            assert whole[name] == killed[name], name
