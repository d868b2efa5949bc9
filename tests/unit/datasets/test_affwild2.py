"""Aff-Wild2: frames, what is not annotated, and whom the lists divide."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from affectkit.datasets import AffWild2
from affectkit.datasets.affwild2 import CLASSES, UNITS
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError
from affectkit.rehearse.acting.studio import PLACES
from affectkit.rehearse.affwild2 import write_affwild2

AU = "annotations/AU_Detection_Challenge/Train_Set"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return root, write_affwild2(root, pixels=16)


def labels_of(dataset, target):
    """{(video, frame, column): value} of all that is annotated."""
    found = {}
    for record in dataset.clips:
        its = dataset.labels(record, range(record.start, record.stop))[target]
        values, mask = (t.numpy().reshape(record.stop - record.start, -1) for t in (its.value, its.mask))
        for row, column in np.argwhere(mask):
            key = record.extra["sequence"], record.start + int(row) + 1, int(column)
            found[key] = float(values[row, column])
    return found


def truth_of(manifest, target, *, shown=True):
    invalid = -5 if target == "va" else -1
    return {
        (name, frame, column): pytest.approx(value, abs=1e-6)
        for name, its in manifest["recordings"].items()
        for frame, row in enumerate(its["labels"].get(target, ()), start=1)
        for column, value in enumerate(row)
        if value != invalid and not (shown and frame in its["hidden"])
    }


def test_labels_of_a_frame_agree_and_videos_of_both_parts_have_all(tmp_path):
    manifest = write_affwild2(tmp_path, size="small", media=False)
    videos = [its for its in manifest["recordings"].values() if len(its["labels"]) == 3]
    assert {its["part"] for its in videos} == {"train", "validation"}
    codes, places, units = (
        np.concatenate([its["labels"][target] for its in videos]) for target in ("expression", "va", "au")
    )
    known = (codes[:, 0] >= 0) & (places[:, 0] > -5) & (units[:, 2] >= 0)
    smiles = {}
    for code, word in enumerate(CLASSES.classes):
        rows = known & (codes[:, 0] == code)
        valence, arousal = places[rows].mean(0)
        smiles[word] = units[rows, UNITS.labels.index("AU12")].mean()
        if word in PLACES:
            assert (valence, arousal) == pytest.approx(np.array(PLACES[word]) * 0.75, abs=0.12)
    assert smiles["happiness"] > 0.6
    assert max(smiles[word] for word in ("anger", "disgust", "sadness", "neutral")) < 0.2


@pytest.mark.parametrize("target", ["au", "expression", "va"])
def test_every_label_is_the_one_that_was_written(tiny, tmp_path, target):
    root, manifest = tiny
    dataset = AffWild2(root)
    assert labels_of(dataset, target) == truth_of(manifest, target)
    assert AffWild2(root).clips == dataset.clips  # from the cache
    shutil.copytree(root / "annotations", tmp_path / "annotations")
    assert labels_of(AffWild2(tmp_path), target) == truth_of(manifest, target, shown=False)
    assert AffWild2(root, space="AU12,AU1").spaces["au"] == "AU12,AU1"


def test_row_k_is_image_k_and_hidden_frames_are_left_out(tiny):
    root, _ = tiny
    dataset = AffWild2(root, window=4)
    own = [(r.start, r.stop) for r in dataset.clips if r.extra["sequence"] == "video2"]
    assert own[:2] == [(0, 2), (4, 8)]
    assert dataset.count().missing == ()
    first = dataset[0]
    from affectkit.data import open_video

    name = dataset.clips[0].extra["sequence"]
    with open_video(root / "cropped_aligned" / name / "00001.jpg") as reader:
        assert (first.frames[0] == reader.read([0])[0]).all()


def test_lists_divide_videos(tiny):
    root, manifest = tiny
    parts = {split: AffWild2(root, split=split) for split in ("train", "val", "test")}
    videos = {split: {r.extra["sequence"] for r in part.clips} for split, part in parts.items()}
    tested = {name for name, its in manifest["recordings"].items() if its["part"] == "validation"}
    assert videos["test"] == tested
    assert not videos["train"] & videos["val"]
    both = {"video2", "video2_right"}
    assert both <= videos["train"] or both <= videos["val"]
    assert any("one challenge trains on it" in warning for warning in parts["test"].warnings)
    alone = AffWild2(root, task="va", split="test")
    assert "3-30-640x360" not in {r.extra["sequence"] for r in alone.clips}
    assert set(alone.spaces) == {"va"}
    assert AffWild2(root, task="au").count(media=False).classes == {}


def test_intervals_are_over_videos(tiny):
    root, _ = tiny
    dataset = AffWild2(root, split="train", window=4)
    videos = {r.extra["sequence"].removesuffix("_right") for r in dataset.clips}
    assert "video2" in videos
    assert (dataset.num_groups, dataset.groups_are) == (len(videos), "videos")
    groups = {}
    for index, record in enumerate(dataset.clips):
        groups.setdefault(record.extra["sequence"].removesuffix("_right"), set()).add(dataset[index].subject)
    assert sorted(groups.values(), key=min) == [{i} for i in range(len(videos))]


def test_what_is_not_there(tiny, tmp_path):
    root, _ = tiny
    with pytest.raises(ConfigError, match="task='pain'"):
        AffWild2(root, task="pain")
    with pytest.raises(ConfigError, match=r"No folder 'faces'.*cropped_aligned"):
        AffWild2(root, media="faces")
    assert len(AffWild2(root, media="cropped_aligned")) > 5
    with pytest.raises(DatasetNotFoundError, match="no labels of AffWild2"):
        AffWild2(tmp_path)
    shutil.copytree(root / AU, tmp_path / AU)
    with pytest.raises(DatasetNotFoundError, match="no va labels"):
        AffWild2(tmp_path, task="va")
    with pytest.raises(ConfigError, match="media: none"):
        AffWild2(tmp_path, media="cropped")
    dataset = AffWild2(tmp_path)
    assert dataset.clips[0].path.parent == tmp_path / "cropped_aligned"
    assert any("cannot be opened" in line or "no such" in line.lower() for line in dataset.missing())


@pytest.mark.parametrize(
    ("folder", "content", "line", "fault"),
    [
        ("AU_Detection_Challenge", "0,1,0,0,0,0,0,0,0,0,0,0\n", 1, "no header"),
        ("AU_Detection_Challenge", "AU1,AU2\n0,1\n", 2, "2 cells, not 12"),
        ("AU_Detection_Challenge", "AU1\n" + ",".join("0" * 11) + ",2\n", 2, "value 2 is not possible"),
        ("AU_Detection_Challenge", "AU1\n" + ",".join("0" * 11) + ",x\n", 2, "'x' is not a number"),
        ("AU_Detection_Challenge", "AU1,AU4,AU2\n", 1, "columns are AU1,AU4,AU2, not au1,au2"),
        ("EXPR_Classification_Challenge", "Neutral\n1\n8\n\n", 3, "value 8 is not possible"),
        ("EXPR_Classification_Challenge", "Neutral\n1\n\n2\n", 3, "'' is not a number"),
        ("EXPR_Classification_Challenge", "Neutral\n\n", 1, "no rows"),
        ("EXPR_Classification_Challenge", "Neutral\n0.5\n", 2, "value 0.5 is not possible"),
        ("VA_Estimation_Challenge", "valence,arousal\n0.1,-5\n0.2,1.5\n", 3, "value 1.5 is not possible"),
        ("VA_Estimation_Challenge", "valence,arousal\n0.1\n", 2, "1 cell, not 2"),
        ("VA_Estimation_Challenge", "arousal,valence\n0.1,0.2\n", 1, "arousal,valence, not valence,arousal"),
    ],
)
def test_faults_of_a_list_are_named(tmp_path, folder, content, line, fault):
    path = tmp_path / "annotations" / folder / "Train_Set" / "video1.txt"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(AnnotationError, match=fault) as caught:
        AffWild2(tmp_path)
    assert (caught.value.path, caught.value.line) == (path, line)


def test_half_a_place_is_not_annotated_and_nothing_is_no_recording(tmp_path):
    folder = tmp_path / "VA_Estimation_Challenge/Train_Set"
    folder.mkdir(parents=True)
    (folder / "video1.txt").write_text("valence,arousal\n0.5,-5\n0.25,-0.5\n")
    (folder / "video2.txt").write_text("valence,arousal\n-5,-5\n")
    dataset = AffWild2(tmp_path)
    assert labels_of(dataset, "va") == {("video1", 2, 0): 0.25, ("video1", 2, 1): -0.5}
    assert [r.clip for r in dataset.everything] == ["video1"]


def test_lists_of_other_lengths_are_reported(tmp_path):
    for folder, content in (("VA_", "valence,arousal\n0,0\n"), ("EXPR", "Neutral\n1\n2\n")):
        path = tmp_path / folder / "Train_Set" / "video1.txt"
        path.parent.mkdir(parents=True)
        path.write_text(content)
    dataset = AffWild2(tmp_path)
    assert dataset.warnings == ["video1: its lists have 1 and 2 rows; a missing row shifts all later frames"]


def test_two_lists_of_one_video(tmp_path):
    for part in ("Train_Set", "Validation_Set"):
        folder = tmp_path / "VA_Estimation_Challenge" / part
        folder.mkdir(parents=True)
        (folder / "video1.txt").write_text("valence,arousal\n0.5,0.5\n")
    with pytest.raises(AnnotationError, match="another list of video1"):
        AffWild2(tmp_path)
