"""Metadata beside CSV tables are small, shared by a folder, and the warning is in the table itself."""

import hashlib
import json

import pandas as pd
import pytest
from helpers.pictures import metadata

from affectkit.errors import AnnotationError, ConfigError
from affectkit.inference import ClipTable, Row, TableWriter, read_openface, read_table
from affectkit.inference.formats.sidecar import MOST_BYTES, is_ours, read_sidecar, write_sidecar
from affectkit.inference.formats.table import SUMMARY

TEXT = "Estimated from pictures of the face; learned from rendered faces; not validated against certified coders."


def write(path, format=None, columns=("AU12",), **more):
    about = {key: value for key, value in metadata(**more).items() if key != "complete"}
    with TableWriter(path, columns, about, format=format) as writer:
        writer.write(Row(0, 0.0, True, dict.fromkeys(columns, 0.75), face=0, score=0.9))
        writer.write(Row(1, 0.04, False, dict.fromkeys(columns, float("nan")), reason="No face was found."))
    return path


def test_a_folder_shares_what_its_tables_have_in_common(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.csv", source=f"talks/{name}.mp4", source_fingerprint=name * 64)
    (shared,) = tmp_path.glob("_shared_*.json")
    assert shared.stem.removeprefix("_shared_") == hashlib.sha256(shared.read_bytes()).hexdigest()[:12]
    assert len([*tmp_path.iterdir()]) == 7
    for name in ("a", "b", "c"):
        beside = tmp_path / f"{name}.json"
        assert beside.stat().st_size <= MOST_BYTES
        own = json.loads(beside.read_text())
        assert own["shared"] == shared.name
        assert own["warning"].startswith("This model was trained on rendered faces only")
        about = read_table(tmp_path / f"{name}.csv").attrs["affectkit"]
        assert about["source"] == f"talks/{name}.mp4"
        assert about["heads"] == metadata()["heads"]
        assert "shared" not in about
    write(tmp_path / "d.csv", licence="MIT")
    assert len([*tmp_path.glob("_shared_*.json")]) == 2


def test_large_entries_move_to_the_other_file(tmp_path):
    path = tmp_path / "t.csv"
    about = metadata() | dict.fromkeys(SUMMARY, 0)
    about |= {"columns": [], "failures": {f"reason {k}": k for k in range(200)}, "source": "x" * 1500}
    write_sidecar(path, about)
    assert path.with_suffix(".json").stat().st_size <= MOST_BYTES
    assert read_sidecar(path) == about
    own = json.loads(path.with_suffix(".json").read_text())
    assert "failures" not in own
    assert own["rows"] == 0


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_the_shared_file_is_needed_and_checked(tmp_path, fault):
    path = write(tmp_path / "t.csv")
    (shared,) = tmp_path.glob("_shared_*.json")
    whole = shared.read_text()
    if fault == "missing":
        shared.unlink()
    else:
        shared.write_text(whole.replace("0.6", "0.1"))
    with pytest.raises(
        AnnotationError, match=rf"{shared.name}: .*t\.json shares .*beside the table"
    ) as caught:
        read_table(path)
    assert caught.value.path == shared
    with pytest.raises(AnnotationError, match="missing or damaged"):
        TableWriter(path, ["AU12"], metadata(), resume=True).__enter__()
    assert is_ours(path)
    write(path)  # replaces it
    assert read_table(path)["AU12"][0] == 0.75


def test_a_table_of_openface_may_be_sent_alone(tmp_path):
    path = write(tmp_path / "t.csv", "openface")
    next(tmp_path.glob("_shared_*.json")).unlink()
    assert read_openface(path)["AU12_c"].tolist() == [1.0, 0.0]
    assert ClipTable(path).warning is None


def test_the_warning_is_in_every_row(tmp_path):
    path = write(tmp_path / "t.csv")
    alone = pd.read_csv(path)
    assert alone.columns[-1] == "warning"
    assert alone["warning"].tolist() == [TEXT, TEXT]
    assert read_table(path).columns[-1] == "AU12"
    assert read_table(path).attrs["affectkit"]["columns"][-1] == "warning"
    for format in ("openface", "openface-release"):
        path = write(tmp_path / f"{format}.csv", format)
        frame = pd.read_csv(path, skipinitialspace=True)
        assert frame.columns[-1] == "warning_not_validated"
        assert frame["warning_not_validated"].tolist() == [1, 1]
        assert read_openface(path)["warning_not_validated"].tolist() == [1.0, 1.0]
    free = write(tmp_path / "free.csv", warning=None, trained_on="BP4D")
    assert pd.read_csv(free).columns[-1] == "AU12"
    assert list(read_table(write(tmp_path / "t.parquet")).columns)[-1] == "AU12"  # its metadata are inside
    with pytest.raises(ConfigError, match="'warning' is reserved"):
        write(tmp_path / "x.csv", columns=("warning",))


def test_an_interrupted_table_keeps_its_warning(tmp_path):
    about = {key: value for key, value in metadata().items() if key != "complete"}
    row = Row(0, 0.0, True, {"AU12": 0.75}, face=0)
    path = tmp_path / "t.csv"

    def interrupted():
        with TableWriter(path, ["AU12"], about) as writer:
            writer.write(row)
            writer.write(Row(1, 0.04, True, {"AU12": 0.5}, face=0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert pd.read_csv(path)["warning"].tolist() == [TEXT, TEXT]
    with TableWriter(path, ["AU12"], about, resume=True) as writer:
        assert writer.next_frame == 1
        writer.write(Row(1, 0.04, True, {"AU12": 0.5}, face=0))
    assert read_table(path)["AU12"].tolist() == [0.75, 0.5]
    assert pd.read_csv(path)["warning"].tolist() == [TEXT, TEXT]
