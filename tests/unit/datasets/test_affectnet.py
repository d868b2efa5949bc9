"""AffectNet: what lists and folders say, and every fault of them."""

from __future__ import annotations

import numpy as np
import pytest
from fakes.files import cut

from affectkit.datasets import AffectNet
from affectkit.datasets.affectnet import COLUMNS
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError, VideoError
from affectkit.rehearse.affectnet import write_affectnet

CLASSES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")


def spoken(dataset, record):
    """Class and place as the targets say; None where masked."""
    labels = dataset.labels(record, [0])
    names = dataset.classes.classes
    own = names[labels["expression"].value.item()] if labels["expression"].mask else None
    return own, labels["va"].value.tolist() if labels["va"].mask.all() else None


def wanted(truth, classes=CLASSES):
    word = truth["class"] if truth["class"] in classes else None
    return word, None if truth["va"] is None else pytest.approx(truth["va"], abs=1e-6)


@pytest.mark.parametrize("options", [{"header": False}, {"layout": "folders", "pixels": 16}])
def test_every_label_is_the_one_that_was_written(tmp_path, options):
    manifest = write_affectnet(tmp_path, media="layout" in options, **options)
    dataset = AffectNet(tmp_path, require=[])
    assert {r.clip: spoken(dataset, r) for r in dataset.clips} == {
        clip: wanted(truth) for clip, truth in manifest["labels"].items()
    }
    again = AffectNet(tmp_path, require=[])  # from the cache, where files were many
    assert again.clips == dataset.clips
    assert len(AffectNet(tmp_path, require=["va"])) == len(AffectNet(tmp_path)) == manifest["clips"]
    if "layout" in options:
        assert dataset[0].frames.shape == (1, 3, 16, 16)


def test_seven_classes_leave_contempt_out(tmp_path):
    manifest = write_affectnet(tmp_path, media=False)
    dataset = AffectNet(tmp_path, space="affectnet7")
    assert dataset.revision == "AffectNet, 7 classes"
    assert len(dataset) == manifest["clips"] - manifest["classes"]["contempt"]
    masked = AffectNet(tmp_path, space="affectnet7", require=["va"])
    assert len(masked) == manifest["clips"]
    contempt = next(r for r in masked.clips if r.expression == "contempt")
    assert spoken(masked, contempt) == wanted(manifest["labels"][contempt.clip], CLASSES[:7])
    with pytest.raises(ConfigError, match="require"):
        AffectNet(tmp_path, require=["au"])


def test_the_validation_list_is_tested(tmp_path):
    write_affectnet(tmp_path, media=False)
    parts = {split: AffectNet(tmp_path, split=split) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 14, "val": 2, "test": 8}
    assert all(r.clip.startswith("validation/") for r in parts["test"].clips)
    assert all(r.clip.startswith("train/") for s in ("train", "val") for r in parts[s].clips)
    assert not AffectNet.has_subjects
    assert parts["train"].subjects == ()


def test_seven_class_counts_are_the_published_ones():
    eight, seven = AffectNet.expected.values()
    assert (eight.parts["train"].clips, eight.parts["validation"].clips) == (287_651, 4_000)
    assert (seven.parts["train"].clips, seven.parts["validation"].clips) == (283_901, 3_500)


def test_missing_and_damaged_images_are_listed(tmp_path):
    write_affectnet(tmp_path, pixels=16)
    dataset = AffectNet(tmp_path)
    cut(dataset.clips[0].path)
    dataset.clips[1].path.unlink()
    missing = dataset.count().missing
    assert len(missing) == 2
    assert "no such file" in missing[1]
    with pytest.raises(VideoError):
        dataset[0]


def write_list(root, *rows, header=True):
    path = root / "training.csv"
    path.write_text("\n".join([*([",".join(COLUMNS)] if header else []), *rows]))
    return path


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("1/a.jpg,0,0,9,9,1;2,11,0.1,0.2", "are 11, 0.1, 0.2"),
        ("1/a.jpg,0,0,9,9,1;2,1.5,0.1,0.2", "are 1.5"),
        ("1/a.jpg,0,0,9,9,1;2,happy,0.1,0.2", "are happy"),
        ("1/a.jpg,0,0,9,9,1;2,1,1.2,0.2", "are 1, 1.2"),
        ("1/a.jpg,0,0,9,9,1;2,1,nan,0.2", "are 1, nan"),
        ("1/a.jpg,0,0,9,9,1,2,1,0.1,0.2", "10 cells"),
        ("1/a.jpg,0,0,9", "4 cells"),
    ],
)
def test_faults_of_a_list_are_named(tmp_path, row, fault):
    path = write_list(tmp_path, "1/b.jpg,0,0,9,9,,1,0.1,0.2", "", row)
    with pytest.raises(AnnotationError, match=fault) as caught:
        AffectNet(tmp_path)
    assert (caught.value.path, caught.value.line) == (path, 4)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "no rows"),
        (",".join(COLUMNS), "no rows"),
        (",".join((*COLUMNS[:-2], "arousal", "valence")), "ends in expression, arousal"),
        ("1/a.jpg,0,0,9,9," + "1;" * 70_000 + ",1,0.1,0.2", "not CSV"),
    ],
)
def test_lists_that_cannot_be_read(tmp_path, content, fault):
    path = tmp_path / "training.csv"
    path.write_text(content)
    with pytest.raises(AnnotationError, match=fault) as caught:
        AffectNet(tmp_path)
    assert (caught.value.path, caught.value.line) == (path, 1)


def test_a_photograph_that_is_listed_twice(tmp_path):
    write_list(tmp_path, "1/a.jpg,0,0,9,9,,1,0.1,0.2", "1/a.jpg,0,0,9,9,,2,0.1,0.2", header=False)
    dataset = AffectNet(tmp_path)
    assert [r.expression for r in dataset.clips] == ["happiness"]
    assert dataset.warnings == ["train/1/a.jpg is listed twice; the first row counts"]


def test_annotations_of_a_folder_that_are_no_numbers(tmp_path):
    write_affectnet(tmp_path, layout="folders", pixels=16)
    (tmp_path / "train_set/images/.hidden").touch()
    path = tmp_path / "train_set/annotations/3_val.npy"
    np.save(path, np.array([0.1, 0.2]))
    with pytest.raises(AnnotationError, match="cannot be read") as caught:
        AffectNet(tmp_path)
    assert caught.value.path == path
    np.save(path, np.array("7"))
    with pytest.raises(AnnotationError, match="Expression, valence and arousal"):
        AffectNet(tmp_path)
    np.save(path, np.array({"a": 1}), allow_pickle=True)
    with pytest.raises(AnnotationError, match="cannot be read"):
        AffectNet(tmp_path)


@pytest.mark.parametrize(
    ("found", "damaged"), [(b"'shape'", b"(shape'"), (b"()", b"(99999999999999,)"), (b"", b"PK")]
)
def test_damaged_annotations_of_a_folder(tmp_path, found, damaged):
    (tmp_path / "train_set/images").mkdir(parents=True)
    (tmp_path / "train_set/images/3.jpg").touch()
    path = tmp_path / "train_set/annotations/3_exp.npy"
    path.parent.mkdir()
    np.save(path, np.array("1"))
    path.write_bytes(path.read_bytes().replace(found, damaged, 1))
    with pytest.raises(AnnotationError, match="cannot be read") as caught:
        AffectNet(tmp_path)
    assert caught.value.path == path
    np.savez(tmp_path / "archive.npz", 0.1)
    (tmp_path / "archive.npz").replace(path)
    with pytest.raises(AnnotationError, match="cannot be read"):
        AffectNet(tmp_path)


def test_annotations_without_photographs(tmp_path):
    (tmp_path / "train_set/annotations").mkdir(parents=True)
    with pytest.raises(DatasetNotFoundError, match="annotations without photographs") as caught:
        AffectNet(tmp_path)
    assert caught.value.path == tmp_path / "train_set/images"


def test_photographs_without_annotations(tmp_path):
    write_affectnet(tmp_path, layout="folders", pixels=16)
    path = tmp_path / "val_set/annotations"
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetNotFoundError, match="photographs without annotations") as caught:
        AffectNet(tmp_path)
    assert caught.value.path == path


def test_nothing_there(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="no labels"):
        AffectNet(tmp_path)
