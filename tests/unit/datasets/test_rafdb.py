"""RAF-DB: what is parsed is what the layout writer put there, and the published counts come out."""

from __future__ import annotations

import random
import shutil

import pytest
from fakes.files import cut, edit_lines
from helpers.corruption import attempt

from affectkit.data import open_video
from affectkit.datasets.bases.corpus import compare_counts
from affectkit.datasets.rafdb import RAFDB
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError, VideoError
from affectkit.rehearse.rafdb import write_rafdb


@pytest.fixture(scope="module", params=["basic", "compound"])
def tiny(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return root, write_rafdb(root, kind=request.param, pixels=32)


def labels_of(dataset):
    """{clip: class} as the targets say."""
    classes = dataset.classes.classes
    return {r.clip: classes[dataset.labels(r, [0])["expression"].value.item()] for r in dataset.clips}


@pytest.mark.parametrize(("kind", "train", "test"), [("basic", 12_271, 3_068), ("compound", 3_162, 792)])
def test_the_full_corpus_has_the_published_counts(tmp_path, kind, train, test):
    manifest = write_rafdb(tmp_path, kind=kind, size="full", media=False)
    dataset = RAFDB(tmp_path, kind=kind)
    found = dataset.count(media=False)
    assert dataset.revision == f"RAF-DB {kind}"
    assert compare_counts(RAFDB.expected[dataset.revision], found) == []
    assert (found.clips, found.frames, found.subjects) == (train + test, train + test, None)
    assert (found.parts["train"].clips, found.parts["test"].clips) == (train, test)
    assert found.classes == manifest["classes"]
    assert dataset.warnings == []
    assert labels_of(dataset) == manifest["labels"]


def test_published_class_counts():
    basic = RAFDB.expected["RAF-DB basic"]
    train = basic.parts["train"].classes
    assert basic.classes["happiness"] == 4772 + 1185
    shares = [max(train.values()) / n for n in train.values()]
    assert [round(share, 2) for share in shares] == [3.70, 16.98, 6.66, 1.00, 2.41, 6.77, 1.89]
    compound = RAFDB.expected["RAF-DB compound"]
    assert list(compound.classes.values()) == [697, 266, 129, 163, 86, 738, 150, 560, 176, 841, 148]


@pytest.mark.parametrize("images", ["aligned", "original"])
def test_every_label_and_image_is_the_one_that_was_written(tiny, images):
    root, manifest = tiny
    kind = manifest["kind"]
    dataset = RAFDB(root, kind=kind, images=images)
    assert labels_of(dataset) == manifest["labels"]
    assert dataset.subjects == ()
    assert dataset.num_groups == len(dataset)
    ending = "_aligned" if images == "aligned" else ""
    record = dataset.clips[-1]
    assert record.path == root / kind / "Image" / images / f"{record.clip}{ending}.jpg"
    clip = dataset[len(dataset) - 1]
    with open_video(record.path) as reader:
        assert (clip.frames == reader.read([0])).all()
    assert clip.frames.shape == ((1, 3, 32, 32) if images == "aligned" else (1, 3, 48, 48))
    assert clip.targets["expression"].space == ("rafdb7" if kind == "basic" else "rafdb11")
    assert dataset.count().missing == ()


def test_the_official_split(tiny):
    root, manifest = tiny
    names = {
        split: {r.clip for r in RAFDB(root, kind=manifest["kind"], split=split).clips}
        for split in ("train", "val", "test")
    }
    assert names["test"] == {name for name in manifest["labels"] if name.startswith("test_")}
    assert names["val"]
    assert names["train"] | names["val"] == manifest["labels"].keys() - names["test"]
    assert not names["train"] & names["val"]


def test_other_classes(tiny):
    root, manifest = tiny
    if manifest["kind"] == "basic":
        dataset = RAFDB(root, space="basic6")
        masked = {r.expression for r in dataset.clips if not dataset.labels(r, [0])["expression"].mask}
        assert masked == {"neutral"}


def test_the_root_may_be_the_part_itself(tiny):
    root, manifest = tiny
    kind = manifest["kind"]
    assert labels_of(RAFDB(root / kind, kind=kind)) == manifest["labels"]
    other = "compound" if kind == "basic" else "basic"
    with pytest.raises(DatasetNotFoundError, match=f"no {other} labels"):
        RAFDB(root, kind=other)


def test_both_kinds_lie_side_by_side(tmp_path):
    basic = write_rafdb(tmp_path / "RAF-DB", kind="basic", pixels=32)
    compound = write_rafdb(tmp_path / "RAF-DB", kind="compound", pixels=32)
    for kind, manifest in (("basic", basic), ("compound", compound)):
        dataset = RAFDB(tmp_path, kind=kind)
        assert labels_of(dataset) == manifest["labels"]
        assert {record.path.parent.parent.parent.name for record in dataset.clips} == {kind}


@pytest.mark.parametrize("layout", ["nested", "class_folders"])
def test_other_layouts(tmp_path, layout):
    manifest = write_rafdb(tmp_path, layout=layout, pixels=32)
    dataset = RAFDB(tmp_path)
    assert labels_of(dataset) == manifest["labels"]
    assert list(dataset.missing()) == []
    assert dataset.revision == ("RAF-DB basic" if layout == "nested" else "RAF-DB basic, class folders")


def test_a_list_and_class_folders_that_disagree(tmp_path):
    write_rafdb(tmp_path, layout="class_folders", pixels=32)
    manifest = write_rafdb(tmp_path, media=False)
    assert RAFDB(tmp_path).conflicts == []
    path = next((tmp_path / "basic/train/4").iterdir())
    shutil.move(path, tmp_path / "basic/train/5")
    (tmp_path / "basic/train/9").mkdir()
    shutil.move(next((tmp_path / "basic/train/1").iterdir()), tmp_path / "basic/train/9")
    dataset = RAFDB(tmp_path)
    assert dataset.count(media=False).conflicts == (f"{path.name[:11]}: the list says 4, its folder 5",)
    assert labels_of(dataset) == manifest["labels"]


@pytest.mark.parametrize("name", ["list_partition_label.txt", "LIST_PATITION_LABEL.TXT"])
def test_spellings_of_the_list(tmp_path, name):
    manifest = write_rafdb(tmp_path, media=False)
    path = tmp_path / "basic/EmoLabel/list_patition_label.txt"
    shutil.move(path, tmp_path / name)
    lines = (tmp_path / name).read_text().splitlines()
    (tmp_path / name).write_text("\ufeff" + "\r\n".join(["", *lines, " "]).replace(".jpg ", "_aligned.JPG\t"))
    assert labels_of(RAFDB(tmp_path)) == manifest["labels"]


def test_two_lists_must_agree(tmp_path):
    write_rafdb(tmp_path, media=False)
    path = tmp_path / "basic/EmoLabel/list_patition_label.txt"
    copy = shutil.copy(path, path.with_name("list_partition_label.txt"))
    assert len(RAFDB(tmp_path)) == 28
    copy.write_text(path.read_text() + "\n")
    with pytest.raises(AnnotationError, match="differs from"):
        RAFDB(tmp_path)


def test_missing_and_damaged_images_are_listed(tmp_path):
    names = list(write_rafdb(tmp_path, pixels=32)["labels"])
    folder = tmp_path / "basic/Image/aligned"
    cut(folder / f"{names[0]}_aligned.jpg")
    for name in names[-2:]:
        (folder / f"{name}_aligned.jpg").unlink()
    dataset = RAFDB(tmp_path)
    faults = dataset.count().missing
    assert len(faults) == 3
    assert names[0] in faults[0]
    assert [name in fault for name, fault in zip(names[-2:], faults[1:], strict=True)] == [True, True]
    assert "no such file" in faults[2]
    with pytest.raises(VideoError):
        dataset[0]
    assert dataset.count(media=False).missing == ()


@pytest.mark.parametrize(
    ("content", "line", "fault"),
    [
        ("", 1, "empty"),
        ("train_00001.jpg 5\ntrain_00002.jpg\n", 2, "row is 'train_00002.jpg'"),
        ("train_00001.jpg,5\n", 1, "row is"),
        ("5 train_00001.jpg\n", 1, "row is"),
        ("val_00001.jpg 5\n", 1, "row is"),
        ("train_00001.txt 5\n", 1, "row is"),
        ("train_00001.jpg 8\n", 1, "label is 8"),
        ("train_00001.jpg 0\n", 1, "label is 0"),
        ("train_00001.jpg 5\n\ntrain_1.jpg 5\n", 3, "twice"),
        ("train_00001.jpg 5 5\n", 1, "row is"),
    ],
)
def test_faults_of_the_list_are_named(tmp_path, content, line, fault):
    path = tmp_path / "list_patition_label.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(AnnotationError, match=fault) as caught:
        RAFDB(tmp_path)
    assert (caught.value.path, caught.value.line) == (path, line)


def test_the_same_image_twice(tmp_path):
    write_rafdb(tmp_path, media=False)
    path = tmp_path / "basic/EmoLabel/list_patition_label.txt"
    edit_lines(path, lambda lines: [lines[0], lines[0][:-1] + b"7", *lines[1:]])
    with pytest.raises(AnnotationError, match="line 2: train_00001 is listed twice"):
        RAFDB(tmp_path)


def test_a_last_label_that_may_be_cut_off_is_not_believed(tmp_path):
    path = tmp_path / "list_patition_label.txt"
    path.write_bytes(b"train_0001.jpg 10\r\ntrain_0002.jpg 1")
    with pytest.raises(AnnotationError, match=r"line 2: .*truncated"):
        RAFDB(tmp_path, kind="compound")
    path.write_bytes(b"train_0001.jpg 10\r\ntrain_0002.jpg 11")
    assert len(RAFDB(tmp_path, kind="compound")) == 2
    path.write_bytes(b"train_0001.jpg 10\r\ntrain_0002.jpg 1\r\n")
    assert len(RAFDB(tmp_path, kind="compound")) == 2


def test_oddities_are_named(tmp_path):
    path = tmp_path / "list_patition_label.txt"
    path.write_text("train_0001.jpg 1\ntrain_0003.jpg 2\ntest_002.jpg 1\n")
    dataset = RAFDB(tmp_path)
    assert dataset.warnings == [
        "There are no train labels of the images 2",
        "There are no test labels of the images 1",
        "Training images of RAF-DB basic have numbers of 5 digits, these have others: check `kind`",
    ]
    path.write_text("test_0001.jpg 1\n")
    assert RAFDB(tmp_path).warnings == ["There are no train labels"]
    path.write_text("".join(f"train_{n:05d}.jpg 1\n" for n in range(1, 12_271)) + "test_0001.jpg 1\n")
    assert RAFDB(tmp_path).warnings == ["There are 12270 train labels, 12271 are published"]


def test_arguments_are_checked(tmp_path):
    for options in ({"kind": "complex"}, {"images": "cropped"}):
        with pytest.raises(ConfigError, match="is not known"):
            RAFDB(tmp_path, **options)
    with pytest.raises(DatasetNotFoundError, match="no basic labels"):
        RAFDB(tmp_path)


def corrupted(rng, content):
    """A structurally damaged list (bytes)."""
    rows = [line.split() for line in content.decode().splitlines()]
    place, other = rng.randrange(len(rows)), rng.randrange(len(rows))
    kind = rng.randrange(11)
    if kind == 0:
        return content[: rng.randrange(len(content))]
    if kind == 1:
        del rows[place]
    elif kind == 2:
        rows.insert(other, rows[place])
    elif kind == 3:
        rows[place], rows[other] = rows[other], rows[place]
    elif kind == 4:
        rows = [row[: rng.randrange(1, 2)] for row in rows]
    elif kind == 5:
        rows = [row[::-1] for row in rows]
    elif kind == 6:
        rows = [[*row, row[1]] for row in rows]
    elif kind == 7:
        return content.replace(b" ", rng.choice([b";", b"\t", b",", b""]))
    elif kind == 8:
        return content.decode().encode(rng.choice(["utf-16", "utf-16-be", "utf-8-sig"]))
    elif kind == 9:
        rows[place][rng.randrange(2)] = rng.choice(["x", "-1", "2.5", "0", "77", "999", "", "nan", "é"])
    else:
        start = rng.randrange(len(content))
        return content[:start] + rng.choice([b"\xff", b"\0", b"\x80\x80"]) + content[start:]
    return "\n".join(" ".join(row) for row in rows).encode("latin-1")


@pytest.mark.parametrize("kind", ["basic", "compound"])
def test_damaged_lists_give_an_error_or_right_labels(tmp_path, kind):
    manifest = write_rafdb(tmp_path, kind=kind, media=False)
    path = tmp_path / kind / "EmoLabel/list_patition_label.txt"
    content = path.read_bytes()
    rng = random.Random(6)
    outcomes = {"error": 0, "read": 0}
    for _ in range(220):
        damaged = corrupted(rng, content)
        path.write_bytes(damaged)
        dataset, error = attempt(lambda: RAFDB(tmp_path, kind=kind))
        if error is not None:
            assert error.path == path
            assert error.line is not None
            assert error.line >= 1
            assert error.remedy
            outcomes["error"] += 1
        else:
            found = labels_of(dataset)
            assert found.items() <= manifest["labels"].items()
            lost = [name for name in manifest["labels"] if name not in found]
            # What is cut off cleanly at the end of a split leaves no trace but its number.
            last = {
                split: max((n for n in found if n.startswith(split)), default="")
                for split in ("train", "test")
            }
            assert dataset.warnings or all(name > last[name.partition("_")[0]] for name in lost)
            outcomes["read"] += 1
    assert min(outcomes.values()) > 5, outcomes
