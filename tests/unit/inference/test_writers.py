"""Tables that are valid wherever the work stops, with what the numbers mean beside them."""

from __future__ import annotations

import csv
import json
import math

import pandas as pd
import pytest
from PIL import Image

from affectkit.errors import ConfigError, VideoError
from affectkit.inference import CsvWriter, Predictor, Row, write_predictions


def bad(frame: int, reason: str) -> Row:
    return Row(frame, frame / 25, False, {"AU12": math.nan}, reason)


def test_table_and_sidecar(tmp_path):
    path = tmp_path / "new" / "out.csv"
    with CsvWriter(path, ["AU12"], {"model": "demo"}) as writer:
        writer.write(Row(0, 0.0, True, {"AU12": 0.12345678}))
        for frame in (1, 2):
            writer.write(bad(frame, "truncated"))
        writer.write(bad(3, "blurred"))
        writer.write(Row(4, 0.16, True, {"AU12": 1.0}))
        writer.write(bad(5, "blurred"))
    assert path.read_text().splitlines() == [
        "frame,timestamp,success,AU12",
        "0,0.000000,1,0.123457",
        "1,0.040000,0,nan",
        "2,0.080000,0,nan",
        "3,0.120000,0,nan",
        "4,0.160000,1,1.000000",
        "5,0.200000,0,nan",
    ]
    assert pd.read_csv(path)["AU12"].isna().sum() == 4
    assert json.loads(writer.sidecar.read_text()) == {
        "model": "demo",
        "columns": ["frame", "timestamp", "success", "AU12"],
        "frames": 6,
        "failed_frames": 4,
        "failures": [
            {"first": 1, "last": 2, "reason": "truncated"},
            {"first": 3, "last": 3, "reason": "blurred"},
            {"first": 5, "last": 5, "reason": "blurred"},
        ],
        "complete": True,
    }


def test_rows_are_on_disk_as_they_come_and_stay_after_an_interrupt(tmp_path):
    path = tmp_path / "out.csv"

    def interrupted() -> None:
        with CsvWriter(path, ["AU12"], {}) as writer:
            writer.write(Row(0, 0.0, True, {"AU12": 0.5}))
            assert path.read_text().endswith("0.500000\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with path.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1
    assert json.loads(path.with_suffix(".json").read_text())["complete"] is False


def test_a_table_cannot_take_the_sidecars_name(tmp_path):
    with pytest.raises(ConfigError, match="CSV"):
        CsvWriter(tmp_path / "out.JSON", ["AU12"], {})


def test_a_file_from_end_to_end(tmp_path, make_model):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (40, 40), (60 * i, 0, 0)).save(folder / f"{i}.png")
    (folder / "2.png").write_bytes(b"not a picture")
    calls = []
    writer = write_predictions(
        Predictor(make_model(2)), folder, tmp_path / "out.csv", progress=lambda *call: calls.append(call)
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    quiet = write_predictions(Predictor(make_model(2)), folder, tmp_path / "again.csv")
    assert quiet.path.read_bytes() == writer.path.read_bytes()
    assert (writer.frames, writer.failed) == (4, 1)
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table.columns[:5]) == ["frame", "timestamp", "success", "AU01", "AU12"]
    assert table.success.tolist() == [1, 1, 0, 1]
    sidecar = json.loads(writer.sidecar.read_text(), parse_constant=pytest.fail)
    assert sidecar["fps"] is None
    assert sidecar["window_frames"] == {"before": 0, "after": 1}
    assert sidecar["source"] == str(folder)


def test_nothing_is_written_for_what_cannot_be_opened(tmp_path, make_model):
    with pytest.raises(VideoError):
        write_predictions(Predictor(make_model()), tmp_path / "missing.mp4", tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []
