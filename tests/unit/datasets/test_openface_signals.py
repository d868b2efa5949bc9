"""Signals from tables of OpenFace, in a corpus and alone."""

import pytest
import torch

from affectkit.datasets import EngageNet
from affectkit.datasets.preparing import measure
from affectkit.datasets.reading.openface_signals import OPENFACE_SIGNALS, read_openface_signals
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError
from affectkit.faces import FacePicture
from affectkit.rehearse.engagenet import write_engagenet

POSE = ["openface_pose"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("openface") / "EngageNet"
    write_engagenet(root, media=False)
    return root


def open_corpus(root, signals, tmp_path, **options):
    tables = {"signal_tables": root / "OpenFace", "signals_root": tmp_path / "kept"}
    return EngageNet(root, signals=signals, pictures="none", **tables, **options)


def test_columns_are_those_of_openface():
    assert {name: len(columns) for name, columns in OPENFACE_SIGNALS.items()} == {
        "openface_gaze": 8,
        "openface_pose": 6,
        "openface_intensities": 17,
        "openface_occurrences": 18,
    }
    assert OPENFACE_SIGNALS["openface_pose"][3:] == ("pose_Rx", "pose_Ry", "pose_Rz")


def test_clips_have_the_values_of_their_tables_without_media(corpus, tmp_path):
    dataset = open_corpus(corpus, list(OPENFACE_SIGNALS), tmp_path)
    clip = dataset[3]
    table = corpus / "OpenFace" / f"{dataset.clips[3].clip}.csv"
    header, *rows = [line.split(", ") for line in table.read_text().splitlines()]
    for name, columns in OPENFACE_SIGNALS.items():
        expected = torch.tensor([[float(row[header.index(column)]) for column in columns] for row in rows])
        here = clip.signals_mask
        torch.testing.assert_close(clip.signals[name][here], expected[here])
    assert len(clip.frames) == len(rows) == 8


def test_failed_frames_are_masked_and_gaps_are_filled(tmp_path):
    path = tmp_path / "a.csv"
    head = ", ".join(["frame", "confidence", "success", *OPENFACE_SIGNALS["openface_pose"]])
    path.write_text(
        f"{head}\n1, 0.9, 1, 1, 2, 3, 4, 5, 6\n2, 0, 0, 0, 0, 0, 0, 0, 0\n4, 0.8, 1, 7, 8, 9, 1, 2, 3\n"
    )
    found = read_openface_signals(path)
    assert list(found) == POSE
    assert found["openface_pose"].isfinite().all(1).tolist() == [True, False, False, True]
    assert found["openface_pose"][3].tolist() == [7, 8, 9, 1, 2, 3]


def test_tables_are_read_once(corpus, tmp_path, monkeypatch):
    first = open_corpus(corpus, POSE, tmp_path)
    assert measure([first]) == len(first)
    assert measure([first]) == 0
    monkeypatch.setattr("affectkit.datasets.bases.table_signals.read_openface_signals", None)
    again = open_corpus(corpus, POSE, tmp_path)
    assert torch.equal(again[0].signals["openface_pose"], first[0].signals["openface_pose"])


def test_clips_without_a_table_are_named(corpus, tmp_path):
    dataset = EngageNet(corpus, signals=POSE, pictures="none", signal_tables=tmp_path, signals_root=tmp_path)
    with pytest.raises(DatasetNotFoundError, match=r"no table subject_1_\w+\.csv"):
        dataset[0]


def test_tables_without_the_columns_are_named(corpus, tmp_path):
    clip = EngageNet(corpus).clips[0].clip
    (tmp_path / f"{clip}.csv").write_text("frame, confidence, success\n1, 0.9, 1\n")
    dataset = EngageNet(corpus, signals=POSE, pictures="none", signal_tables=tmp_path, signals_root=tmp_path)
    with pytest.raises(AnnotationError, match="lacks columns of openface_pose"):
        dataset[0]


def test_other_tables_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("frame,pose_Rx\n1,0.2\n")
    with pytest.raises(AnnotationError, match="lacks the columns frame, confidence and success"):
        read_openface_signals(path)


def test_options_that_do_not_fit(corpus, tmp_path):
    with pytest.raises(ConfigError, match="no signal mesh in tables"):
        open_corpus(corpus, ["mesh"], tmp_path)
    with pytest.raises(ConfigError, match="no signal openface_pose"):
        EngageNet(corpus, signals=POSE)
    picture = FacePicture(48, 0.125, "eyes_mouth")
    with pytest.raises(ConfigError, match="cannot be cropped by the tables"):
        EngageNet(corpus, signals=POSE, signal_tables=corpus / "OpenFace", pictures=picture)
