"""DISFA: what is parsed is what the layout writer put there, and the published counts come out."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest
import torch
from fakes.coded import disfa_absent_unit, disfa_gap
from helpers.corruption import attempt

from affectkit.data import open_video
from affectkit.datasets.disfa import DISFA
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError
from affectkit.facs import AU_SETS
from affectkit.losses import inverse_frequency_weights
from affectkit.rehearse.disfa import write_disfa
from affectkit.synth import write_video

UNITS = AU_SETS["disfa12"].labels
# Published with ME-GraphAU and JAA-Net, by training parts.
WEIGHTS = {
    ("part1", "part2"): "1.422290 2.347771 .399672 .795021 1.878217 .440125 .195583 .521322",
    ("part1", "part3"): "1.390215 1.469573 .527298 1.034498 1.672842 .656650 .303915 .945009",
    ("part2", "part3"): "1.510590 1.560063 .475896 .884891 1.656857 .570937 .277589 1.063177",
}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    root = tmp_path_factory.mktemp("full")
    return root, write_disfa(root, size="full", media=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return root, write_disfa(root, pixels=32)


@pytest.mark.parametrize("threshold", [2, 3, 4, 5])
def test_the_full_corpus_has_the_published_counts(full, threshold):
    root, manifest = full
    dataset = DISFA(root, threshold=threshold)
    found = dataset.count(media=False)
    published = DISFA.expected[dataset.revision]
    assert dataset.revision == ("DISFA" if threshold == 2 else f"DISFA, positive at {threshold} or more")
    assert (found.subjects, found.clips, found.frames) == (27, 27, 130_814)
    assert {unit: found.positives[unit] for unit in published.positives} == published.positives
    assert found.positives == manifest["at_least"][str(threshold)]
    for part, counts in published.parts.items():
        there = found.parts[part]
        assert (there.subjects, there.frames) == (9, counts.frames)
        assert {unit: there.positives[unit] for unit in counts.positives} == counts.positives
    assert dataset.warnings == []


@pytest.mark.parametrize("training", WEIGHTS)
def test_inverse_frequency_weights_are_the_published_ones(full, training):
    parts = DISFA(full[0]).count(media=False).parts
    rates = [
        sum(parts[part].positives[unit] for part in training) / sum(parts[part].frames for part in training)
        for unit in AU_SETS["disfa8"].labels
    ]
    published = list(map(float, WEIGHTS[training].split()))
    assert [round(weight, 6) for weight in inverse_frequency_weights(rates)] == published


def truth(recording):
    return {
        (frame, unit): int(level)
        for unit, levels in recording["intensity"].items()
        for frame, level in zip(recording["frames"], levels, strict=True)
    }


def parsed(dataset, target="intensity"):
    found = {}
    for record in dataset.clips:
        labels = dataset.labels(record, range(record.start, record.stop))[target]
        its = found.setdefault(record.extra["sequence"], {})
        for row, column in labels.mask.nonzero().tolist():
            its[record.start + row + 1, UNITS[column]] = int(labels.value[row, column])
    return found


@pytest.mark.parametrize("options", [{}, {"quirks": False, "seed": 3}])
@pytest.mark.parametrize("defect", [None, disfa_gap, disfa_absent_unit])
def test_every_label_is_the_one_that_was_written(tmp_path, options, defect):
    manifest = write_disfa(tmp_path, media=False, **options)
    if defect is not None:
        defect(tmp_path, manifest)
    dataset = DISFA(tmp_path, space="disfa12")
    assert dataset.spaces == {"au": "disfa12", "intensity": "intensity:disfa12"}
    assert parsed(dataset) == {name: truth(its) for name, its in manifest["recordings"].items()}
    for threshold in (1, 2, 5):
        wanted = {
            name: {key: int(level >= threshold) for key, level in truth(its).items()}
            for name, its in manifest["recordings"].items()
        }
        assert parsed(DISFA(tmp_path, space="disfa12", threshold=threshold), "au") == wanted
    found = dataset.count(media=False)
    assert (found.subjects, found.frames, found.positives) == (3, manifest["frames"], manifest["positives"])
    assert found.parts["part1"].frames == manifest["parts"]["part1"]["frames"]


def test_gaps_and_absent_files_are_named(tmp_path):
    manifest = write_disfa(tmp_path, media=False)
    disfa_gap(tmp_path, manifest)
    disfa_absent_unit(tmp_path, manifest)
    dataset = DISFA(tmp_path)
    assert "SN001: frames 11-13 are not coded; no clip crosses them" in dataset.warnings
    assert "SN003: there is no file of AU4; it is masked" in dataset.warnings
    own = [(r.start, r.stop) for r in dataset.clips if r.subject == "SN001"]
    assert own == [(0, 10), (13, 29), (29, 40)]


def test_rows_that_one_unit_lacks_are_masked(tmp_path):
    manifest = write_disfa(tmp_path, media=False, quirks=False)
    path = tmp_path / "ActionUnit_Labels/SN001/SN001_au4.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:5] + lines[7:]))
    dataset = DISFA(tmp_path)
    assert "SN001: AU4 is not coded in frames 6-7; it is masked there" in dataset.warnings
    right = truth(manifest["recordings"]["SN001"])
    assert parsed(dataset)["SN001"] == {k: v for k, v in right.items() if k not in {(6, "AU4"), (7, "AU4")}}


@pytest.mark.parametrize("camera", ["left", "right"])
def test_label_frame_one_is_the_first_of_the_chosen_cameras_video(tiny, camera):
    root, _ = tiny
    dataset = DISFA(root, camera=camera)
    folder = "Videos_LeftCamera" if camera == "left" else "Video_RightCamera"
    assert dataset.clips[0].path == root / folder / f"{camera.capitalize()}VideoSN001_comp.avi"
    with open_video(dataset.clips[0].path) as reader:
        assert reader.num_frames == 40
        assert torch.equal(dataset[0].frames, reader.read(range(16)))
    assert list(dataset.missing()) == []
    assert (root / folder / f"{camera}VideoSN003_Comp.avi").is_file()


@pytest.mark.parametrize(
    "folder", ["videos_leftcamera", "Video_LeftCamera", "Videos_LeftCamera/more", "left camera"]
)
def test_any_spelling_of_folders_and_files(tiny, tmp_path, folder):
    root, manifest = tiny
    shutil.copytree(root / "ActionUnit_Labels", tmp_path / "disfa/actionunit_labels")
    (tmp_path / "disfa" / folder).mkdir(parents=True)
    for path in (root / "Videos_LeftCamera").iterdir():
        shutil.copy(path, tmp_path / "disfa" / folder / path.name.swapcase())
    (tmp_path / "disfa/Landmark_Points/SN001/tmp_frame_lm").mkdir(parents=True)
    dataset = DISFA(tmp_path)
    assert list(dataset.missing()) == []
    assert dataset.count(media=False).positives == manifest["positives"]


@pytest.mark.parametrize(("images", "base"), [("zero", 0), ("one", 1)])
def test_extracted_images_count_from_zero_or_one(tmp_path, images, base):
    write_disfa(tmp_path, images=images, pixels=32)
    dataset = DISFA(tmp_path)
    name = "SN001/0.png" if base == 0 else "LeftVideoSN001/frame_1.jpg"
    with open_video(tmp_path / "images_left" / name) as reader:
        assert torch.equal(dataset[0].frames[:1], reader.read([0]))
    right = DISFA(tmp_path, camera="right", media="images_right")
    assert not torch.equal(right[0].frames, dataset[0].frames)
    assert list(dataset.missing()) == []
    if base == 0:
        shifted = DISFA(tmp_path, image_base=1)
        assert torch.equal(shifted[0].frames[0], dataset[0].frames[1])
        assert any("SN001: label frames 40 have no image" in warning for warning in shifted.warnings)
    with pytest.raises(ConfigError, match="images_left"):
        DISFA(tmp_path, media="images_right")


def test_a_second_tree_of_images_is_named(tmp_path):
    write_disfa(tmp_path, images="zero", cameras=("left",), pixels=32)
    shutil.copytree(tmp_path / "images_left", tmp_path / "more")
    dataset = DISFA(tmp_path)
    assert any("there are others in" in warning for warning in dataset.warnings)


def test_videos_that_end_early_or_are_absent_are_listed(tmp_path):
    write_disfa(tmp_path, cameras=("left",), pixels=32)
    (tmp_path / "Videos_LeftCamera/LeftVideoSN006_comp.avi").unlink()
    images = np.zeros((38, 24, 32, 3), dtype=np.uint8)
    write_video(tmp_path / "Videos_LeftCamera/LeftVideoSN001_comp.avi", images, fps=20)
    faults = DISFA(tmp_path).count().missing
    assert "frame 40 is annotated, the video has 38" in faults[0]
    assert "SN006" in faults[1]
    assert len(faults) == 2
    assert len(list(DISFA(tmp_path, camera="right").missing())) == 3


def test_odd_subjects_and_lengths_are_named(full, tmp_path):
    for subject in ("SN001", "SN002"):
        shutil.copytree(full[0] / "ActionUnit_Labels" / subject, tmp_path / subject)
    for path in (tmp_path / "SN001").iterdir():
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        path.write_text("\n".join(lines[:4840]))
    for path in (tmp_path / "SN002").iterdir():
        path.rename(path.with_name(path.name.replace("SN002", "SN033")))
    dataset = DISFA(tmp_path)
    assert "SN001: 4840 coded frames, 4845 are published" in dataset.warnings
    assert "SN033 is not a subject of DISFA" in dataset.warnings
    assert dataset.count(media=False).parts == {}


def test_subjects_that_are_absent_are_named(full, tmp_path):
    shutil.copytree(full[0] / "ActionUnit_Labels", tmp_path / "labels")
    shutil.rmtree(tmp_path / "labels/SN010")
    assert DISFA(tmp_path).warnings == ["There are no labels of SN010"]


def test_names_must_make_sense(tmp_path):
    write_disfa(tmp_path, media=False)
    folder = tmp_path / "ActionUnit_Labels/SN001"
    (tmp_path / "copy").mkdir()
    copy = shutil.copy(folder / "SN001_au1.txt", tmp_path / "copy")
    assert any("this is a copy of" in warning for warning in DISFA(tmp_path).warnings)
    shutil.copy(folder / "SN001_au25.txt", copy)
    with pytest.raises(AnnotationError, match="differs from"):
        DISFA(tmp_path)
    shutil.rmtree(tmp_path / "copy")
    (folder / "SN001_au25.txt").rename(folder / "SN001_au7.txt")
    with pytest.raises(AnnotationError, match="does not code AU7"):
        DISFA(tmp_path)


def test_arguments_are_checked(tiny, tmp_path):
    for options in ({"threshold": 0}, {"threshold": 6}, {"camera": "top"}, {"image_base": 2}):
        with pytest.raises(ConfigError, match="does not exist"):
            DISFA(tiny[0], **options)
    with pytest.raises(DatasetNotFoundError, match="no labels of DISFA"):
        DISFA(tmp_path)


def corrupted(rng, content):
    """A structurally damaged label file (bytes)."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    place, other = rng.randrange(len(rows)), rng.randrange(len(rows))
    kind = rng.randrange(12)
    if kind == 0:
        return content[: rng.randrange(len(content))]
    if kind == 1:
        del rows[place]
    elif kind == 2:
        rows.insert(place, rows[place])
    elif kind == 3:
        rows[place], rows[other] = rows[other], rows[place]
    elif kind == 4:
        rows = [row[:1] for row in rows]
    elif kind == 5:
        rows = [row[::-1] for row in rows]
    elif kind == 6:
        rows = [[*row, row[1]] for row in rows]
    elif kind == 7:
        return content.replace(b",", rng.choice([b";", b"\t", b" ", b"."]))
    elif kind == 8:
        return content.decode().encode(rng.choice(["utf-16", "utf-16-be", "utf-8-sig"]))
    elif kind == 9:
        rows[place][rng.randrange(2)] = rng.choice(["x", "-1", "2.5", "6", "77", "99999", "", "nan", "é"])
    elif kind == 10:
        start = rng.randrange(len(content))
        return content[:start] + rng.choice([b"\xff", b"\0", b"\x80\x80"]) + content[start:]
    else:
        rows = rows[min(place, other) : max(place, other)]
    return "\n".join(",".join(row) for row in rows).encode("latin-1")


def test_damaged_files_give_an_error_or_right_labels(tmp_path, monkeypatch):
    manifest = write_disfa(tmp_path, media=False, quirks=False)
    files = sorted((tmp_path / "ActionUnit_Labels").glob("*/*.txt"))
    monkeypatch.setenv("AFFECTKIT_CACHE", "")
    rng = random.Random(5)
    outcomes = {"error": 0, "warned": 0, "right": 0}
    clean = DISFA(tmp_path).warnings
    for _ in range(200):
        path = rng.choice(files)
        content = path.read_bytes()
        path.write_bytes(corrupted(rng, content))
        dataset, error = attempt(lambda: DISFA(tmp_path))
        if error is not None:
            assert error.path == path
            assert error.line is not None
            assert error.line >= 1
            assert error.remedy
            outcomes["error"] += 1
        else:
            found = parsed(dataset)
            lost = 0
            for name, recording in manifest["recordings"].items():
                right = truth(recording)
                assert found[name].items() <= right.items()
                lost += len(right) - len(found[name])
            if lost:
                assert dataset.warnings != clean
            outcomes["warned" if lost else "right"] += 1
        path.write_bytes(content)
    assert min(outcomes.values()) > 5, outcomes
