"""SMIC: clips are folders, and folders say what they are."""

from __future__ import annotations

import random
import shutil
from collections import Counter

import pytest
from fakes.files import cut
from helpers.corruption import attempt

from affectkit.data.frames import OnsetApex
from affectkit.datasets import BP4D, CASME2, MEGC2019
from affectkit.datasets.bases.corpus import compare_counts
from affectkit.datasets.smic import SMIC
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError
from affectkit.rehearse.smic import write_smic


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("smic") / "tiny"
    return root, write_smic(root)


@pytest.mark.parametrize(("part", "clips", "subjects"), [("HS", 164, 16), ("VIS", 71, 8), ("NIR", 71, 8)])
@pytest.mark.parametrize("padded", [False, True])
def test_published_counts_come_out(tmp_path, part, clips, subjects, padded):
    manifest = write_smic(tmp_path, size="full", media=False, part=part, padded_subjects=padded)
    data = SMIC(tmp_path, part=part)
    found = data.count(media=False)
    assert (data.revision, data.fps) == (part, 100.0 if part == "HS" else 25.0)
    assert compare_counts(SMIC.expected[part], found) == []
    assert (found.clips, found.subjects, found.frames) == (clips, subjects, None)
    assert [record.clip for record in data.everything] == [truth["clip"] for truth in manifest["clips"]]
    assert data.warnings == []


def test_hs_by_subject_and_class(tmp_path):
    write_smic(tmp_path, size="full", media=False)
    data = SMIC(tmp_path)
    assert Counter(record.extra["class"] for record in data.clips) == {0: 70, 1: 51, 2: 43}
    counts = Counter(record.subject for record in data.clips)
    assert (counts["s03"], counts["s20"], counts["s05"]) == (39, 22, 2)
    assert not {"s07", "s10", "s16", "s17"} & counts.keys()


@pytest.mark.parametrize("variant", ["cropped", "raw"])
def test_a_clip_is_all_of_its_frames(tmp_path, variant):
    manifest = write_smic(tmp_path, variant=variant)
    data = SMIC(tmp_path, sampler=OnsetApex(3))
    assert data.find_variant(data.tree) == variant
    assert data.spaces == {"expression": "megc3"}
    assert data.correct([], "none") == []
    assert data.count().missing == ()
    assert data.count().frames == manifest["counts"]["frames"]
    for clip, record, truth in zip(data, data.clips, manifest["clips"], strict=True):
        length = truth["frames"]
        assert (record.clip, record.expression, record.apex) == (truth["clip"], truth["emotion"], None)
        assert (record.onset, record.offset, record.num_frames) == (0, length - 1, length)
        assert clip.meta["indices"][-1] == (length - 1) // 2
        assert ("negative", "positive", "surprise")[clip.targets["expression"].value] == truth["emotion"]
        numbers = [int(path.stem.rsplit("e", 1)[1]) for path in data._files[record.clip]]
        assert numbers == list(range(numbers[0], numbers[0] + length))


@pytest.mark.parametrize("place", [(), ("SMIC_all_cropped",), ("SMIC_all_cropped", "HS")])
def test_the_root_may_be_any_folder_above(tiny, place):
    assert len(SMIC(tiny[0].joinpath(*place))) == len(tiny[1]["clips"])


def test_other_parts_and_long_clips_are_not_taken(tiny, tmp_path):
    with pytest.raises(DatasetNotFoundError, match="no clips of VIS"):
        SMIC(tiny[0], part="VIS")
    (tmp_path / "HS_long" / "SMIC_HS_E" / "s20" / "s20_ne_01").mkdir(parents=True)
    with pytest.raises(DatasetNotFoundError, match="no clips of HS"):
        SMIC(tmp_path)
    with pytest.raises(ConfigError, match="part='E'"):
        SMIC(tiny[0], part="E")


def test_defects_are_reported(tmp_path):
    write_smic(tmp_path)
    data = SMIC(tmp_path)
    broken = cut(data._files[data.clips[0].clip][2])
    for file in data._files[data.clips[3].clip]:
        file.unlink()
    missing = SMIC(tmp_path).count().missing
    assert len(missing) == 2
    assert broken.name in missing[0]
    assert "there is no frame" in missing[1]


def test_two_images_with_one_number(tmp_path):
    write_smic(tmp_path)
    data = SMIC(tmp_path)
    file = data._files[data.clips[0].clip][0]
    shutil.copy(file, file.with_name(f"reg_image00{file.stem[9:]}.bmp"))
    with pytest.raises(AnnotationError, match="are both frame") as caught:
        SMIC(tmp_path)
    assert caught.value.path == file.parent


def _truths(manifest):
    return {truth["clip"]: truth["emotion"] for truth in manifest["clips"]}


def test_corrupted_trees_give_an_error_or_the_truth(tmp_path):
    manifest = write_smic(tmp_path / "sound", media=False)
    truths = _truths(manifest)
    outcomes: Counter[str] = Counter()
    for seed in range(200):
        rng = random.Random(seed)
        root = tmp_path / str(seed)
        folders = [
            path.relative_to(tmp_path / "sound")
            for path in sorted((tmp_path / "sound").rglob("s*_*_*"))
            if rng.random() < 0.8
        ]
        victim = rng.choice(folders)
        kind = rng.choice(
            ["renamed", "other class", "other subject", "doubled", "missing", "odd folder", "file"]
        )
        for folder in folders:
            (root / folder).mkdir(parents=True)
        if kind == "renamed":
            (root / victim).rename(
                root / victim.parent / rng.choice(["s1_xx_01", "copy", "s99_ne_01", "s1_ne"])
            )
        elif kind == "other class":
            goal = rng.choice(["negative", "positive", "surprise", "happy"])
            (root / victim.parent.parent / goal).mkdir(exist_ok=True)
            if not (root / victim.parent.parent / goal / victim.name).exists():
                (root / victim).rename(root / victim.parent.parent / goal / victim.name)
        elif kind == "other subject":
            (root / victim.parents[2]).rename(root / victim.parents[3] / rng.choice(["s77", "s05", "x"]))
        elif kind == "doubled":
            name = victim.name.replace("_0", "_00")
            (root / victim.parent / name).mkdir()
        elif kind == "missing":
            (root / victim).rmdir()
        elif kind == "odd folder":
            (root / victim.parents[3] / f"S{int(victim.parents[2].name[1:]):02d}").mkdir(exist_ok=True)
        else:
            (root / victim.parent / "s1_ne_01.txt").touch()
        records, error = attempt(lambda root=root: SMIC(root).everything)
        outcomes["read" if error is None else "error"] += 1
        if error is None:
            assert all(truths[record.clip] == record.expression for record in records)
        else:
            assert error.path is not None
    assert outcomes["error"] > 50
    assert outcomes["read"] > 50


def test_clips_are_aligned_as_a_whole():
    """What moves within a micro-expression is smaller than what aligning each frame would move."""
    assert SMIC.align_per == CASME2.align_per == MEGC2019.align_per == "clip"
    assert BP4D.align_per == "frame"
