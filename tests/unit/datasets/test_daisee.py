"""DAiSEE: what the lists say, and every fault of them."""

import pytest

from affectkit.datasets import DAiSEE
from affectkit.errors import AnnotationError, DatasetNotFoundError
from affectkit.rehearse.daisee import write_daisee

STATES = ("engagement", "boredom", "confusion", "frustration")


def test_every_label_is_the_one_that_was_written(tmp_path):
    manifest = write_daisee(tmp_path, media=False, openface=False)
    dataset = DAiSEE(tmp_path)
    found = {
        r.clip: {state: int(dataset.labels(r, [0])[state].value) for state in STATES} for r in dataset.clips
    }
    assert found == manifest["labels"]
    assert dataset.spaces == dict.fromkeys(STATES, "levels:very low,low,high,very high")
    assert {r.subject for r in dataset.clips} == {str(110001 + number) for number in range(7)}
    assert dataset.clips[0].path == tmp_path / "DataSet/Train/110001/1100011002/1100011002.avi"


def test_videos_of_either_kind_are_found(tmp_path):
    write_daisee(tmp_path, pixels=16, openface=False)
    dataset = DAiSEE(tmp_path, split="val")
    assert {r.path.suffix for r in dataset.clips} == {".avi", ".mp4"}
    assert all(dataset[index].frames.shape == (8, 3, 16, 16) for index in (0, len(dataset) - 1))


def test_an_empty_level_is_masked(tmp_path):
    write_daisee(tmp_path, media=False, openface=False)
    path = tmp_path / "Labels" / "TrainLabels.csv"
    header, first, *rest = path.read_text().splitlines()
    clip, *levels = first.split(",")
    path.write_text("\n".join([header, ",".join([clip, levels[0], "", *levels[2:]]), *rest]) + "\n")
    dataset = DAiSEE(tmp_path)
    labels = dataset.labels(dataset.clips[0], [0])
    assert not labels["engagement"].mask
    assert labels["boredom"].mask


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("ClipID", "Clip", "lacks the column clipid"),
        ("1100011002.avi", "first.avi", "'first.avi' is not a clip"),
        ("1100011002.avi,", "1100011002.avi,4", "Boredom is 4"),
    ],
)
def test_faults_name_file_and_line(tmp_path, old, new, fault):
    write_daisee(tmp_path, media=False, openface=False)
    path = tmp_path / "Labels" / "TrainLabels.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(AnnotationError, match=fault) as caught:
        DAiSEE(tmp_path)
    assert caught.value.path == path
    assert caught.value.line is not None


def test_a_folder_without_lists(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="no labels of DAiSEE"):
        DAiSEE(tmp_path)
