"""How DFEW, FERV39k and MAFW name clips and classes: the spellings in use, and what is refused."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from fakes.listed import edit_list, write_few

from affectkit.datasets import DFEW, MAFW, FERV39k
from affectkit.errors import AnnotationError, ConfigError
from affectkit.rehearse.dfew import write_dfew
from affectkit.rehearse.ferv39k import write_ferv39k
from affectkit.rehearse.mafw import write_mafw


def classes_of(dataset):
    return {record.clip: record.expression for record in dataset.clips}


def write_lists(root, train, test, name="set_1_{}.csv"):
    for split, content in (("train", train), ("test", test)):
        (root / name.format(split)).write_text(content)


@pytest.mark.parametrize("lists", ["official", "single_set", "rewritten"])
def test_lists_of_dfew(tmp_path, lists):
    manifest = write_dfew(tmp_path, media=False, lists=lists, folds=(2, 3))
    dataset = DFEW(tmp_path)
    assert dataset.revision == "DFEW, set_2 set_3 only"
    assert classes_of(dataset) == manifest["labels"]
    tested = {clip: [f"set_{fold}"] if fold in (2, 3) else [] for clip, fold in manifest["tested"].items()}
    assert {r.clip: r.extra["test"] for r in dataset.clips} == tested


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("emolabel_datasplit/train(single-labeled)/set_1.csv", ("set_1", "train")),
        ("emolabel_datasplit/test(single-labeled)/test_set_4.csv", ("set_4", "test")),
        ("emolabel_datasplit/test/set_2.csv", ("set_2", "test")),
        ("label/single_testset_5.csv", ("set_5", "test")),
        ("annotation/dfew_set_3_train.txt", ("set_3", "train")),
        ("org/split02/train.csv", ("set_2", "train")),
        ("org/split02/val.csv", None),
        ("emolabel_datasplit/train(multi-labeled)/set_1.csv", None),
        ("set_1.csv", None),
        ("set_6_train.csv", None),
        ("contest/set_1.csv", None),
        ("mafw_set_1_train.txt", None),
    ],
)
def test_names_of_lists_of_dfew(tmp_path, path, role):
    write_dfew(tmp_path, media=False)
    assert DFEW(tmp_path).role(PurePosixPath(path)) == role


@pytest.mark.parametrize("lists", ["official", "happiness_first", "anger_first"])
def test_lists_of_mafw(tmp_path, lists):
    manifest = write_mafw(tmp_path, media=False, lists=lists)
    order = None if lists == "official" else lists
    assert classes_of(MAFW(tmp_path, class_order=order)) == manifest["labels"]
    if order is not None:
        with pytest.raises(AnnotationError, match="whose order is unknown") as caught:
            MAFW(tmp_path)
        assert "class_order='happiness_first' or 'anger_first'" in str(caught.value)


@pytest.mark.parametrize("lists", ["happiness_first", "anger_first"])
def test_the_class_counts_tell_what_numbers_mean(tmp_path, lists):
    manifest = write_mafw(tmp_path, size="full", media=False, lists=lists)
    for path in tmp_path.glob("MAFW_set_[2-5]*"):
        path.unlink()
    assert classes_of(MAFW(tmp_path)) == manifest["labels"]


@pytest.mark.parametrize("lists", ["official", "rewritten"])
def test_lists_of_ferv39k(tmp_path, lists):
    manifest = write_ferv39k(tmp_path, media=False, lists=lists)
    assert classes_of(FERV39k(tmp_path)) == manifest["labels"]


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("4_setups/all_scenes/train_all.csv", "train"),
        ("test_all.csv", "test"),
        ("annotation/test.csv", "test"),
        ("ferv39k_train.txt", "train"),
        ("4_setups/22_scenes/action/train.csv", None),
        ("train_action.csv", None),
        ("set_1/train.txt", None),
        ("mafw/train.txt", None),
    ],
)
def test_names_of_lists_of_ferv39k(tmp_path, name, role):
    write_ferv39k(tmp_path, media=False)
    found = FERV39k(tmp_path).role(PurePosixPath(name))
    assert found == (None if role is None else ("official", role))


@pytest.mark.parametrize(
    ("train", "test", "line", "fault"),
    [
        ("video_name,label\n1,0\n", "video_name,label\n2,1\n", 2, r"label is 0.*from 1 to 7"),
        ("video_name,label\n1,1\n3,8\n", "video_name,label\n2,1\n", 3, r"label is 8.*from 1 to 7"),
        ("1,7\n", "2,1\n", 1, r"label is 7.*without a header .*from 0 to 6"),
        ("1,sadly\n", "2,1\n", 1, "'sadly' is not a class"),
        ("16373,1\n", "2,1\n", 1, "'16373' is not a clip of DFEW"),
        ("0,1\n", "2,1\n", 1, "'0' is not a clip"),
        ("a/b,1\n", "2,1\n", 1, "'a/b' is not a clip"),
        ("1,1\n1,2\n", "2,1\n", 2, "00001 is neutral here and sadness above"),
        ("1,1\n2,2\n", "2,1\n", 2, r"00002 is neutral here and sadness in .*set_1_test.csv"),
    ],
)
def test_faults_of_lists_of_dfew(tmp_path, train, test, line, fault):
    write_lists(tmp_path, train, test)
    with pytest.raises(AnnotationError, match=fault) as caught:
        DFEW(tmp_path)
    assert caught.value.path.name == "set_1_train.csv"
    assert caught.value.line == line


def test_dfew_may_name_classes(tmp_path):
    write_lists(tmp_path, "label,video\nHappy,1.mp4\nfear,x/0002\n", "3 Angry")
    assert classes_of(DFEW(tmp_path)) == {"00001": "happiness", "00002": "fear", "00003": "anger"}


@pytest.mark.parametrize(
    ("train", "test", "name", "fault"),
    [
        ("1.mp4 anger_disgust\n", "2.mp4 fear\n", "train", "'anger_disgust' is not a class"),
        ("1.mp4 11\n", "2.mp4 3\n", "train", "label is 11.*0 to 10"),
        ("1.mp4 10\n3.mp4 1", "2.mp4 3\n", "train", "may be a truncated 10"),
        ("10046.mp4 3\n", "2.mp4 3\n", "train", "'10046.mp4' is not a clip"),
    ],
)
def test_faults_of_lists_of_mafw(tmp_path, train, test, name, fault):
    write_lists(tmp_path, train, test, "set_1_{}.txt")
    with pytest.raises(AnnotationError, match=fault) as caught:
        MAFW(tmp_path, class_order="anger_first")
    assert caught.value.path.name == f"set_1_{name}.txt"


def test_mafw_may_end_in_a_whole_number(tmp_path):
    write_lists(tmp_path, "1.mp4 10\n3.mp4 1\n", "2.mp4 10", "set_1_{}.txt")
    assert classes_of(MAFW(tmp_path, class_order="anger_first")) == {
        "00001": "disappointment",
        "00002": "disappointment",
        "00003": "disgust",
    }
    with pytest.raises(ConfigError, match="class_order='alphabetic' is not known"):
        MAFW(tmp_path, class_order="alphabetic")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("Action/Happy/0267 Sad", "Action/Happy/0267 is sadness"),
        ("Action/Happy/0267 Grumpy", "'Grumpy' is not a class"),
        ("Action/Grumpy/0267 Sad", "'Action/Grumpy/0267' is not a clip"),
        ("Happy/0267 Happy", "'Happy/0267' is not a clip"),
        ("Action/Happy/first Happy", "is not a clip"),
        ("Action/Happy/0267 12", "label is 12"),
        ("Action/Happy/0267 8", "label is 8"),
        ("Action/Happy/0267 5", "is disgust"),
    ],
)
def test_faults_of_lists_of_ferv39k(tmp_path, row, fault):
    write_lists(tmp_path, f"War/Fear/0001 Fear\n{row}\n", "War/Disgust/1 5\n", "{}_All.csv")
    with pytest.raises(AnnotationError, match=fault) as caught:
        FERV39k(tmp_path)
    assert (caught.value.path.name, caught.value.line) == ("train_All.csv", 2)


def test_ferv39k_in_any_case(tmp_path):
    write_lists(
        tmp_path, "/data/crop/action/HAPPY/267 happy\n", "Action\\angry\\0003.mp4 ANGRY\n", "{}_ALL.CSV"
    )
    assert classes_of(FERV39k(tmp_path)) == {
        "action/happiness/0267": "happiness",
        "action/anger/0003": "anger",
    }
    clip = tmp_path / "Videos" / "ACTION" / "Angry" / "3.MP4"
    clip.parent.mkdir(parents=True)
    clip.touch()
    (clip.parent / "notes.txt").touch()
    found = {record.clip: record.path for record in FERV39k(tmp_path).clips}
    assert found["action/anger/0003"] == clip


def test_videos_of_dfew_lie_under_their_numbers(tmp_path):
    manifest = write_few(write_dfew, tmp_path, clips="video", pixels=16, folds=(1,), missing=30)
    dataset = DFEW(tmp_path)
    for record in dataset.clips[:5]:
        assert record.path == tmp_path / "Clip/original" / f"{int(record.clip)}.mp4"
    assert len(dataset[3].frames) == manifest["lengths"][dataset.clips[3].clip]


def test_defects_of_dfew(tmp_path):
    write_dfew(tmp_path / "a", media=False)
    path = tmp_path / "a/EmoLabel_DataSplit/test(single-labeled)/set_5.csv"
    edit_list(path, lambda cells: cells.__setitem__(1, str(int(cells[1]) % 7 + 1)))
    with pytest.raises(AnnotationError, match=r"is \w+ here and \w+ in") as caught:
        DFEW(tmp_path / "a")
    assert caught.value.path.name.startswith("set_")
    write_dfew(tmp_path / "b", media=False)
    lists = tmp_path / "b/EmoLabel_DataSplit"
    tested = (lists / "test(single-labeled)/set_1.csv").read_text().splitlines()[1]
    with (lists / "train(single-labeled)/set_1.csv").open("a") as file:
        file.write(f"{tested}\n")
    with pytest.raises(AnnotationError, match="in the training list of set_1"):
        DFEW(tmp_path / "b")
    write_ferv39k(tmp_path / "c", media=False)
    edit_list(
        tmp_path / "c/4_setups/All_scenes/test_All.csv",
        lambda cells: cells.__setitem__(1, "Sad" if cells[1] == "Happy" else "Happy"),
    )
    with pytest.raises(AnnotationError, match="The label of"):
        FERV39k(tmp_path / "c")
