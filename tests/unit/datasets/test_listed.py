"""DFEW, FERV39k and MAFW: what is parsed is what the layout writer put there, and the published counts come out."""

from __future__ import annotations

import random
import shutil

import pytest
from fakes.listed import cut_clip, write_few
from helpers.corruption import attempt, corrupt_list

from affectkit.data import UniformSegments, check_disjoint
from affectkit.datasets import DFEW, MAFW, FERV39k, find_corpus
from affectkit.datasets.bases.corpus import compare_counts
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError, VideoError
from affectkit.facs import ExpressionSet
from affectkit.rehearse.dfew import write_dfew
from affectkit.rehearse.ferv39k import write_ferv39k
from affectkit.rehearse.mafw import write_mafw

CORPORA = {
    "DFEW": (DFEW, write_dfew, "EmoLabel_DataSplit/test(single-labeled)/set_1.csv"),
    "FERV39k": (FERV39k, write_ferv39k, "4_setups/All_scenes/test_All.csv"),
    "MAFW": (MAFW, write_mafw, "Train & Test Set/single/no_caption/set_1/test.txt"),
}
# Clips of each class as the corpora's papers or lists give them: happiness, sadness, neutral, anger, surprise, …
TOTALS = {
    "DFEW": (11_697, (2445, 1894, 2669, 2173, 1469, 145, 902)),
    "FERV39k": (38_935, (7327, 6916, 9748, 7393, 3140, 2300, 2111)),
    "MAFW": (9_172, (1242, 1470, 1138, 1390, 1072, 639, 625, 236, 916, 262, 182)),
}
FOLDS = {
    "DFEW": [(9356, 2341), (9356, 2341), (9357, 2340), (9358, 2339), (9361, 2336)],
    "MAFW": [(7333, 1839), (7335, 1837), (7339, 1833), (7340, 1832), (7341, 1831)],
    "FERV39k": [(31_088, 7_847)],
}
FIRST_TRAIN = {
    "DFEW": (1956, 1515, 2135, 1738, 1175, 116, 721),
    "MAFW": (993, 1176, 910, 1112, 857, 511, 500, 188, 732, 209, 145),
    "FERV39k": (5854, 5523, 7790, 5906, 2502, 1833, 1680),
}
FIRST_TEST = {
    "DFEW": (489, 379, 534, 435, 294, 29, 181),
    "MAFW": (249, 294, 228, 278, 215, 128, 125, 48, 184, 53, 37),
    "FERV39k": (1473, 1393, 1958, 1487, 638, 467, 431),
}


@pytest.fixture(scope="module", params=CORPORA)
def tiny(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    kind, write, _ = CORPORA[request.param]
    manifest = write_few(write, root, pixels=16, missing=2)
    cut_clip(kind(root).clips[0].path)
    return kind, root, manifest


def labels_of(dataset):
    """{clip: class} as the targets say."""
    names = dataset.classes.classes
    return {r.clip: names[dataset.labels(r, [0])["expression"].value.item()] for r in dataset.clips}


def where_tested(dataset):
    """{clip: fold} as the records say."""
    return {r.clip: "".join(r.extra["test"]) for r in dataset.everything}


def truly_tested(manifest):
    name = "official" if manifest["corpus"] == "FERV39k" else "set_{}"
    return {clip: name.format(fold) if fold else "" for clip, fold in manifest["tested"].items()}


def check_all(name, dataset, manifest):
    """Everything that is known of a full corpus."""
    found = dataset.count(media=False)
    assert dataset.revision == name
    assert dataset.warnings == list(found.conflicts) == []
    assert compare_counts(dataset.expected[name], found) == []
    clips, counts = TOTALS[name]
    assert (found.subjects, found.clips, found.frames, found.positives) == (None, clips, None, {})
    assert found.classes == dict(zip(dataset.classes.classes, counts, strict=True))
    assert [(found.parts[a].clips, found.parts[b].clips) for a, b in pairs(found.parts)] == FOLDS[name]
    assert {record.clip: record.expression for record in dataset.clips} == manifest["labels"]
    assert where_tested(dataset) == truly_tested(manifest)
    folds = dataset.folds()
    assert [len(fold.test) for fold in folds] == [test for _, test in FOLDS[name]]
    for fold, (train, _) in zip(folds, FOLDS[name], strict=True):
        assert len(fold.train) + len(fold.val) == train
        assert abs(len(fold.val) - 0.1 * train) <= 1


def test_the_full_corpus_has_the_published_counts(tmp_path):
    manifest = write_dfew(tmp_path, size="full", media=False)
    check_all("DFEW", DFEW(tmp_path), manifest)


def pairs(parts):
    names = list(parts)
    return list(zip(names[::2], names[1::2], strict=True))


@pytest.mark.parametrize("name", CORPORA)
def test_expected_counts_agree_with_one_another(name):
    expected = CORPORA[name][0].expected[name]
    for train, test in pairs(expected.parts):
        assert expected.parts[train].clips + expected.parts[test].clips == expected.clips
        assert train.endswith("train")
        assert test.endswith("test")
    tested = sum(expected.parts[test].clips for _, test in pairs(expected.parts))
    assert tested == (expected.clips if name != "FERV39k" else 7847)
    assert sum(expected.classes.values()) == expected.clips
    assert (expected.clips, tuple(expected.classes.values())) == TOTALS[name]
    assert list(expected.classes) == list(CORPORA[name][0].classes.classes)
    parts = [(expected.parts[a].clips, expected.parts[b].clips) for a, b in pairs(expected.parts)]
    assert parts == FOLDS[name]
    first = [tuple(expected.parts[part].classes.values()) for part in pairs(expected.parts)[0]]
    assert first == [FIRST_TRAIN[name], FIRST_TEST[name]]


def test_every_label_and_clip_is_the_one_that_was_written(tiny):
    kind, root, manifest = tiny
    dataset = kind(root, sampler=UniformSegments(16, short="hold"))
    assert labels_of(dataset) == manifest["labels"]
    assert where_tested(dataset) == truly_tested(manifest)
    assert (dataset.subjects, dataset.num_groups) == ((), len(dataset))
    lengths = manifest["lengths"]
    whole = [place for place, record in enumerate(dataset.clips) if record.clip in sorted(lengths)[1:]]
    for place in (whole[0], whole[4], whole[-1]):
        clip, record = dataset[place], dataset.clips[place]
        length = lengths[record.clip]
        assert clip.frames.shape == (16, 3, 16, 16)
        assert clip.meta["indices"] == UniformSegments(16, short="hold")(length)
    assert clip.targets["expression"].space == dataset.classes.name
    found = dataset.count(media=False)
    assert {name: part.clips for name, part in found.parts.items()} == {
        name: part["clips"] for name, part in manifest["parts"].items()
    }
    assert [dict(part.classes) for part in found.parts.values()] == [
        part["classes"] for part in manifest["parts"].values()
    ]


def test_folds_are_those_of_the_lists(tiny):
    kind, root, manifest = tiny
    truth = truly_tested(manifest)
    everyone = set(truth)
    for fold in kind(root).folds():
        parts = {
            split: {r.clip for r in kind(root, split=split, fold=fold.name).clips}
            for split in ("train", "val", "test")
        }
        check_disjoint(parts)
        assert parts["test"] == {clip for clip, own in truth.items() if own == fold.name}
        assert parts["train"] | parts["val"] == everyone - parts["test"]
        other = {r.clip for r in kind(root, split="val", fold=fold.name, seed=1).clips}
        assert len(other) == len(parts["val"]) > 0
        assert not other & parts["test"]


def test_corpora_may_lie_side_by_side(tmp_path):
    manifests = {name: write(tmp_path / name, media=False) for name, (_, write, _) in CORPORA.items()}
    for name, (kind, _, _) in CORPORA.items():
        dataset = kind(tmp_path)
        assert labels_of(dataset) == manifests[name]["labels"]
        assert where_tested(dataset) == truly_tested(manifests[name])


def test_other_classes_are_masked(tiny):
    kind, root, _ = tiny
    basic = {"neutral", "happiness", "sadness", "anger", "surprise", "disgust", "fear"}
    dataset = kind(root, space="basic7")
    for record in dataset.clips:
        target = dataset.labels(record, [0])["expression"]
        assert target.mask.item() == (record.expression in basic)
        if target.mask:
            assert ExpressionSet.parse("basic7").classes[target.value] == record.expression
    whole = kind(root, space="neutral,fear")
    assert {r.expression for r in whole.clips if whole.labels(r, [0])["expression"].mask} == {
        "neutral",
        "fear",
    }


def test_missing_and_damaged_clips_are_listed(tiny):
    kind, root, manifest = tiny
    dataset = kind(root)
    faults = dataset.count().missing
    assert len(faults) == 3
    assert faults[0].startswith(dataset.clips[0].clip)
    for clip, fault in zip(manifest["missing_clips"], faults[1:], strict=True):
        assert fault.startswith(clip)
        assert "no such file" in fault
    assert dataset.count(media=False).missing == ()
    with pytest.raises(VideoError):
        dataset[0]


def test_folders_of_clips_are_chosen_by_name(tmp_path):
    manifest = write_dfew(tmp_path, media=False)
    usual = tmp_path / "Clip/clip_224x224"
    for clip in manifest["labels"]:
        (usual / clip).mkdir(parents=True)
    some = shutil.copytree(usual, tmp_path / "Clip/clip_224x224_16f")
    shutil.copytree(usual, tmp_path / "Clip/mine")
    assert {r.path.parent for r in DFEW(tmp_path).clips} == {usual}
    assert {r.path.parent for r in DFEW(tmp_path, media="CLIP_224x224_16f").clips} == {some}
    with pytest.raises(ConfigError, match=r"No folder 'raw' holds.*clip_224x224, .*clip_224x224_16f, .*mine"):
        DFEW(tmp_path, media="raw")
    shutil.rmtree(usual)
    assert {r.path.parent for r in DFEW(tmp_path).clips} == {some}
    shutil.rmtree(some)
    gone = next((tmp_path / "Clip/mine").iterdir())
    more = shutil.copytree(tmp_path / "Clip/mine", tmp_path / "Clip/yours")
    shutil.rmtree(gone)
    assert {r.path.parent for r in DFEW(tmp_path).clips} == {more}


@pytest.mark.parametrize("name", CORPORA)
def test_without_media_paths_lead_nowhere(tmp_path, name):
    kind, write, _ = CORPORA[name]
    write(tmp_path, media=False)
    dataset = kind(tmp_path)
    assert not any(record.path.exists() for record in dataset.clips)
    assert len(list(dataset.missing())) == len(dataset)
    with pytest.raises(ConfigError, match="media: none"):
        kind(tmp_path, media="clips")


@pytest.mark.parametrize("name", CORPORA)
def test_what_lists_may_not_do(tmp_path, name):
    kind, write, place = CORPORA[name]
    with pytest.raises(DatasetNotFoundError, match="no labels"):
        kind(tmp_path)
    write(tmp_path, media=False)
    test = tmp_path / place
    parent = test.parent.parent if name == "DFEW" else test.parent
    train = parent / "train(single-labeled)/set_1.csv" if name == "DFEW" else test.with_name(
        test.name.replace("test", "train")
    )  # fmt: skip
    whole = train.read_text()
    train.unlink()
    with pytest.raises(AnnotationError, match="no train list of") as caught:
        kind(tmp_path)
    assert caught.value.path == test
    first, row = test.read_text().splitlines()[:2]
    row = row if name == "DFEW" else first
    train.write_text(f"{whole}{row}\n")
    with pytest.raises(AnnotationError, match="in the training list") as caught:
        kind(tmp_path)
    assert (caught.value.path, caught.value.line) == (test, 2 if name == "DFEW" else 1)
    train.write_text(whole + whole.splitlines()[-1] + "\n")
    assert any("listed twice" in line for line in kind(tmp_path).warnings)
    train.write_text(whole + "nobody,1\n" if name == "DFEW" else whole + "nobody fear\n")
    with pytest.raises(AnnotationError, match="'nobody' is not a clip"):
        kind(tmp_path)


@pytest.mark.parametrize("name", CORPORA)
def test_one_list_twice_must_name_the_same_clips(tmp_path, name):
    kind, write, place = CORPORA[name]
    manifest = write(tmp_path, media=False)
    path = tmp_path / place
    copy = tmp_path / "copy" / "/".join(path.parts[-2:])
    copy.parent.mkdir(parents=True)
    copy.write_text(path.read_text())
    assert labels_of(kind(tmp_path)) == manifest["labels"]
    copy.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(AnnotationError, match="other clips than"):
        kind(tmp_path)


def test_some_folds_are_enough(tmp_path):
    name = "MAFW"
    kind, write, place = CORPORA[name]
    manifest = write(tmp_path, size="full", media=False)
    check_all(name, kind(tmp_path), manifest)
    for path in sorted(tmp_path.rglob("set_*")):
        if path.name not in ("set_1", "set_4"):
            shutil.rmtree(path)
    dataset = kind(tmp_path)
    assert dataset.revision == f"{name}, set_1 set_4 only"
    assert compare_counts(kind.expected[dataset.revision], dataset.count(media=False)) == []
    assert [len(fold.test) for fold in dataset.folds()] == [FOLDS[name][0][1], FOLDS[name][3][1]]
    path = tmp_path / place
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    dataset = kind(tmp_path)
    assert dataset.warnings == [
        "The lists of set_1 lack 3 clips of other folds",
        f"{path} names {FOLDS[name][0][1] - 3} clips, {FOLDS[name][0][1]} are published",
    ]
    assert compare_counts(kind.expected[dataset.revision], dataset.count(media=False))[0] == (
        f"set_1 test clips: {FOLDS[name][0][1]} expected, {FOLDS[name][0][1] - 3} found"
    )


def test_folds_keep_their_numbers_where_some_are_missing(tmp_path):
    manifest = write_dfew(tmp_path, media=False, folds=(1, 4))
    tested = {clip for clip, fold in manifest["tested"].items() if fold == 4}
    for fold in (4, "4", "set_4"):
        assert {r.clip for r in DFEW(tmp_path, split="test", fold=fold).clips} == tested
    with pytest.raises(ConfigError, match="no fold 2"):
        DFEW(tmp_path, split="test", fold=2)
    with pytest.raises(ConfigError, match="needs a fold"):
        DFEW(tmp_path, split="test")


def test_a_clip_may_be_tested_twice():
    protocol = find_corpus("DFEW").find_protocol("5fold")
    folds = protocol.folds(["set_1+set_2/a", "set_1/b", "set_2/c", "/d", "/e"])
    assert [fold.test for fold in folds] == [("set_1+set_2/a", "set_1/b"), ("set_1+set_2/a", "set_2/c")]
    assert set(folds[0].train + folds[0].val) == {"set_2/c", "/d", "/e"}


def test_a_clip_that_is_tested_twice_is_named(tmp_path):
    lists = {
        "set_1/train": "3.mp4 fear\n4.mp4 anger\n",
        "set_1/test": "1.mp4 fear\n2.mp4 anger\n",
        "set_2/train": "2.mp4 anger\n4.mp4 anger\n",
        "set_2/test": "1.mp4 fear\n3.mp4 fear\n",
    }
    for name, content in lists.items():
        path = tmp_path / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    dataset = MAFW(tmp_path)
    assert dataset.warnings == ["Clips tested in several folds: 1, such as 00001"]
    tests = {fold: [r.clip for r in MAFW(tmp_path, split="test", fold=fold).clips] for fold in (1, 2)}
    assert tests == {1: ["00001", "00002"], 2: ["00001", "00003"]}


@pytest.mark.parametrize("name", CORPORA)
def test_damaged_lists_give_an_error_or_right_labels(tmp_path, name):
    kind, write, place = CORPORA[name]
    manifest = write(tmp_path, media=False)
    path = tmp_path / place
    delimiter, header = (",", True) if name == "DFEW" else (" ", False)
    rows = [line.split(delimiter) for line in path.read_text().splitlines()]
    rng = random.Random(6)
    outcomes = {"error": 0, "read": 0}
    for _ in range(200):
        path.write_bytes(corrupt_list(rng, rows, delimiter, header))
        dataset, error = attempt(lambda: kind(tmp_path))
        if error is not None:
            assert isinstance(error, AnnotationError)
            assert error.path.is_file()
            assert error.line >= 1
            assert error.remedy
            outcomes["error"] += 1
            continue
        outcomes["read"] += 1
        found, truth = labels_of(dataset), manifest["labels"]
        assert all(found[clip] == truth[clip] for clip in found.keys() & truth.keys())
        right = found == truth and where_tested(dataset) == truly_tested(manifest)
        # FERV39k names every clip once: nothing else could tell of one that is gone.
        assert right or dataset.warnings or (name == "FERV39k" and found.items() <= truth.items())
    assert min(outcomes.values()) > 15, outcomes
