"""Work that stops anywhere leaves tables that are read, and that a second run ends as one run would have."""

from __future__ import annotations

import json
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

from affectkit.errors import AnnotationError
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
        writer.write(ROWS[3])
        assert (writer.next_frame, writer.frames, writer.failed) == (3, 3, 2)
        for one in ROWS[4:]:
            writer.write(one)
    assert writer.complete
    assert (writer.frames, writer.failed, len(read_table(path))) == (5, 3, 8)


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
        assert len(table) >= 900 - 256
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
