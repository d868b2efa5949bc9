"""EngageNet: what the lists say, and every fault of them."""

import openpyxl
import pytest

from affectkit.datasets import EngageNet
from affectkit.datasets.engagenet import LEVELS
from affectkit.errors import AnnotationError, DatasetNotFoundError, SubjectLeakError
from affectkit.rehearse.engagenet import write_engagenet

TEST = "test_engagement_labels.csv"


@pytest.fixture
def root(tmp_path):
    write_engagenet(tmp_path, media=False, openface=False)
    return tmp_path


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_every_label_is_the_one_that_was_written(tmp_path):
    manifest = write_engagenet(tmp_path, media=False, openface=False)
    dataset = EngageNet(tmp_path)
    labels = {r.clip: dataset.labels(r, [0])["engagement"] for r in dataset.clips}
    assert {clip: int(t.value) if t.mask else -1 for clip, t in labels.items()} == manifest["labels"]
    assert -1 in manifest["labels"].values()
    assert dataset.spaces == {"engagement": "levels:not engaged,barely engaged,engaged,highly engaged"}
    assert {r.subject for r in dataset.clips} == {f"subject_{number}" for number in range(1, 8)}
    assert dataset.clips[0].path.parent.name == "Train"


def test_videos_are_found_in_other_folders(tmp_path):
    write_engagenet(tmp_path, pixels=16)
    moved = tmp_path / "videos"
    moved.mkdir()
    (tmp_path / "Train").rename(moved / "all")
    dataset = EngageNet(tmp_path, split="train")
    assert all(r.path.parent == moved / "all" for r in dataset.clips)
    assert dataset[0].frames.shape[1:] == (3, 16, 16)


def test_parts_are_those_of_the_lists(root):
    parts = {split: EngageNet(root, split=split) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 12, "val": 8, "test": 8}
    assert {r.extra["part"] for r in parts["val"].clips} == {"validation"}
    (fold,) = parts["train"].folds()
    assert fold.name == "official"


def test_published_counts():
    counts = EngageNet.expected["EngageNet"]
    assert (counts.subjects, counts.clips) == (127, 11_311)
    assert [(part.subjects, part.clips) for part in counts.parts.values()] == [
        (90, 7983), (11, 1071), (26, 2257)
    ]  # fmt: skip
    assert sum(part.subjects for part in counts.parts.values()) == counts.subjects
    assert sum(part.clips for part in counts.parts.values()) == counts.clips


def test_full_size_has_the_published_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("affectkit.rehearse.engagenet.film", lambda *_: None)
    manifest = write_engagenet(tmp_path, size="full", media=False)
    expected = EngageNet.expected["EngageNet"]
    assert (manifest["subjects"], manifest["clips"]) == (expected.subjects, expected.clips)
    assert {part: own["clips"] for part, own in manifest["parts"].items()} == {
        part: own.clips for part, own in expected.parts.items()
    }


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("Not-Engaged", "Bored", "The label is 'Bored'"),
        ("subject_6", "person_6", "is not a clip of EngageNet"),
        (",chunk,", ",file,", "lacks the column chunk"),
    ],
)
def test_faults_name_file_and_line(root, old, new, fault):
    edit(root / TEST, old, new)
    with pytest.raises(AnnotationError, match=fault) as caught:
        EngageNet(root)
    assert caught.value.path == root / TEST
    assert caught.value.line is not None


def test_a_person_in_two_parts_is_a_leak(root):
    edit(root / TEST, "subject_6", "subject_1")
    with pytest.raises(SubjectLeakError, match="Subject 'subject_1' appears in both 'train' and 'test'"):
        EngageNet(root)


def test_a_clip_listed_twice_counts_once(root):
    path = root / "train_engagement_labels.xlsx"
    book = openpyxl.load_workbook(path)
    sheet = book.active
    sheet.append([cell.value for cell in sheet[2]])
    book.save(path)
    dataset = EngageNet(root)
    assert len(dataset) == 28
    assert dataset.warnings == [
        f"{sheet['A2'].value.removesuffix('.mp4')} is listed twice; the first row counts"
    ]


def test_a_folder_without_lists(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="no labels of EngageNet"):
        EngageNet(tmp_path)


def test_levels_are_ordered():
    assert LEVELS.levels[0] == "not engaged"
    assert LEVELS.levels[-1] == "highly engaged"
