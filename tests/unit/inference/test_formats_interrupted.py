"""Work that stops anywhere leaves tables that are read, and that a second run ends as one run would have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.tables import COLUMNS, METADATA, NAMES, ROWS, files, row, same_rows, write

from affectkit.errors import AnnotationError, ConfigError
from affectkit.inference import Row, TableWriter, open_writer, read_table, table_progress
from affectkit.inference.formats.parquet import ParquetWriter, partial_of

TEXT = ("csv", "jsonl", "openface", "openface-release")


def cuts(size: int) -> list[int]:
    return sorted({*range(0, size, 13), *range(max(0, size - 30), size)})


@pytest.mark.parametrize("format", TEXT)
def test_a_text_file_cut_anywhere_is_read_and_continued_to_the_same_bytes(tmp_path, format):
    whole = write(tmp_path / "whole" / NAMES[format], ROWS, format)
    begun = tmp_path / "cut" / NAMES[format]
    expected, lines = files(whole.parent), whole.read_bytes().splitlines(keepends=True)
    header = len(lines[0])
    for size in cuts(len(whole.read_bytes())):
        shutil.rmtree(begun.parent, ignore_errors=True)
        writer = open_writer(begun, COLUMNS, METADATA, format=format)
        writer.__enter__()  # and never left, as when the process is killed
        for one in ROWS:
            writer.write(one)
        writer._file.close()
        begun.write_bytes(whole.read_bytes()[:size])
        kept = sum(line.endswith(b"\n") for line in begun.read_bytes().splitlines(keepends=True)[1:])
        if size >= header:
            table = read_table(begun)
            assert len(table) == min(kept, len(ROWS))
            assert table.attrs["affectkit"]["complete"] is False
        with open_writer(begun, COLUMNS, METADATA, format=format, resume=True) as writer:
            last = ROWS[kept - 1].frame if size > header and kept else 0
            assert writer.next_frame == last
            for one in ROWS:
                if one.frame >= last:
                    writer.write(one)
        found = files(begun.parent)
        if format.startswith("openface"):  # it does not say why rows failed
            for content in (found, expected):
                name = Path(NAMES[format]).with_suffix(".json").name
                content[name] = json.dumps(json.loads(content[name]) | {"failures": None}).encode()
        assert found == expected


def test_a_parquet_file_cut_anywhere_is_read_and_continued_to_the_same_rows(tmp_path):
    whole = read_table(write(tmp_path / "whole.parquet", ROWS))
    path = tmp_path / "cut.parquet"
    writer = ParquetWriter(path, COLUMNS, METADATA, batch=2)
    writer.__enter__()
    for one in ROWS[:7]:
        writer.write(one)
    content = partial_of(path).read_bytes()  # three batches; the seventh row is nowhere yet
    writer._file.close()
    ends = set()
    for size in (*range(0, len(content), 97), len(content)):
        path.unlink(missing_ok=True)
        partial_of(path).write_bytes(content[:size])
        progress = table_progress(path)
        if progress is None:
            with pytest.raises(AnnotationError, match="no rows yet"):
                read_table(path)
        else:
            table = read_table(path)
            pd.testing.assert_frame_equal(table, whole.iloc[: len(table)], check_flags=False)
            assert table.attrs["affectkit"]["complete"] is False
            assert progress.complete is False
        with open_writer(path, COLUMNS, METADATA, resume=True) as writer:
            start = writer.next_frame
            for one in ROWS:
                if one.frame >= start:
                    writer.write(one)
        ends.add(start)
        pd.testing.assert_frame_equal(read_table(path), whole)
        assert read_table(path).attrs == whole.attrs
        assert not partial_of(path).exists()
    assert ends == {0, 2, 3}  # after none or one, two, and three batches


def go_on(path: Path, start: int, end: int) -> None:
    with open_writer(path, COLUMNS, METADATA, resume=True) as writer:
        assert writer.next_frame == start
        for frame in range(start, end):
            writer.write(row(frame))
        raise KeyboardInterrupt


def stopped(path: Path, rows: Sequence[Row], format: str, error: BaseException, **options) -> None:
    with open_writer(path, COLUMNS, METADATA, format=format, **options) as writer:
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
    with pytest.raises(ValueError, match="at once"):
        stopped(path, [], format, ValueError("at once"), resume=True)
    assert len(read_table(path)) == 4  # what is to be written anew is gone
    with open_writer(path, COLUMNS, METADATA, format=format, resume=True) as writer:
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
    assert (about["complete"], about.get("rows", len(table))) == (False, len(table))
    with open_writer(path, COLUMNS, METADATA, format=format, resume=True) as writer:
        for one in rows[writer.next_frame :]:
            writer.write(one)
    pd.testing.assert_frame_equal(
        read_table(path), read_table(write(tmp_path / "whole" / path.name, rows, format))
    )


def test_parquet_killed_while_it_is_finished(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", killed)
        with pytest.raises(KeyboardInterrupt):
            write(path, ROWS)
    assert not path.exists()
    assert len(read_table(path)) == 8
    assert read_table(path).attrs["affectkit"]["complete"] is False
    with open_writer(path, COLUMNS, METADATA, resume=True) as writer:
        assert writer.next_frame == 4
        writer.write(ROWS[-1])
    same_rows(path, ROWS, "parquet")


def test_parquet_killed_where_there_are_two_files(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(KeyboardInterrupt):
        go_on(path, 0, 6)
    writer = ParquetWriter(path, COLUMNS, METADATA, resume=True, batch=2)
    writer.__enter__()
    assert len(read_table(path)) == 6  # the partial file holds 5 again
    for frame in range(5, 10):
        writer.write(row(frame))
    writer._file.close()
    assert len(read_table(path)) == 9
    writer = ParquetWriter(path, COLUMNS, METADATA, resume=True)
    writer.__enter__()
    writer._file.close()
    table = read_table(path)
    assert (len(table), table.attrs["affectkit"]["complete"]) == (9, False)
    writer = ParquetWriter(path, COLUMNS, METADATA, batch=1)
    writer.__enter__()
    writer.write(row(0))
    writer._file.close()
    assert len(read_table(path)) == 1  # what was to be replaced is gone


def test_parquet_is_continued_after_many_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("affectkit.inference.formats.parquet._GROUP", 2)
    path = tmp_path / "t.parquet"
    for last in (7, 12, 16):
        with pytest.raises(KeyboardInterrupt):
            go_on(path, {7: 0, 12: 6, 16: 11}[last], last)
    same_rows(path, [row(frame) for frame in range(16)], "parquet")


KILLED = """
import math, sys
from affectkit.inference import Row, open_writer

writers = [
    open_writer(path, ["AU01"], {"heads": {"au": {"columns": ["AU01"], "values": "probability",
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
        assert len(table) >= 900 - (256 if format == "parquet" else 0)
        assert table.attrs["affectkit"]["complete"] is False
        column = "AU01_p" if "AU01_p" in table else "AU01"
        expected = np.arange(len(table)) % 997 / 997
        np.testing.assert_allclose(table[column], expected, atol=1e-6)
        with open_writer(path, ["AU01"], heads, format=format, resume=True) as writer:
            assert len(table) // 3 - 1 <= writer.next_frame <= len(table) // 3
            finish(writer)
        with open_writer(tmp_path / "whole" / path.name, ["AU01"], heads, format=format) as writer:
            finish(writer)
    whole, killed = files(tmp_path / "whole"), files(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    for name in whole:
        if name.endswith(".parquet"):
            pd.testing.assert_frame_equal(read_table(tmp_path / "whole" / name), read_table(paths["parquet"]))
        else:
            assert whole[name] == killed[name], name
