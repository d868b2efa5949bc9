"""The rehearsal of CASME II has the published numbers, whatever the seed, and faces that move as it says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from affectkit.errors import ConfigError
from affectkit.rehearse import rehearse
from affectkit.rehearse.acting.micro import Cell, Clip, Unit, act, deal_units
from affectkit.rehearse.casme2 import write_casme2
from affectkit.rehearse.registry import Job


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_full_has_the_published_numbers(tmp_path, seed):
    manifest = write_casme2(tmp_path, size="full", seed=seed, media=False)
    counts = manifest["counts"]
    assert (counts["clips"], counts["subjects"]) == (255, 26)
    assert counts["positives"] == {
        "AU1": 26, "AU2": 21, "AU4": 129, "AU5": 2, "AU6": 13, "AU7": 38, "AU9": 13, "AU10": 17, "AU12": 34,
        "AU14": 27, "AU15": 16, "AU16": 1, "AU17": 25, "AU18": 1, "AU20": 1, "AU24": 2, "AU25": 2, "AU26": 1,
        "AU38": 2,
    }  # fmt: skip
    assert counts["classes"] == {
        "others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25, "sadness": 7, "fear": 2
    }  # fmt: skip
    assert counts["parts"]["sub17"] == {"clips": 36}
    assert len({clip["clip"] for clip in manifest["clips"]}) == 255
    lengths = [clip["offset"] - clip["onset"] + 1 for clip in manifest["clips"]]
    assert (min(lengths), max(lengths)) == (24, 141)
    assert 60 < np.mean(lengths) < 75
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "CASME2-coding-20140508.xlsx",
        "rehearsal.json",
    ]


def test_emotions_go_with_units(tmp_path):
    clips = write_casme2(tmp_path, size="full", media=False)["clips"]
    happy = [clip for clip in clips if clip["emotion"] == "happiness" and clip["units"]]
    assert sum(bool({"AU6", "AU12"} & set(clip["units"])) for clip in happy) > 0.7 * len(happy)


@pytest.mark.parametrize(("size", "people", "clips"), [("tiny", 4, 12), ("small", 8, None)])
def test_smaller_sizes_keep_the_quirks(tmp_path, size, people, clips):
    manifest = write_casme2(tmp_path, size=size, media=False)
    assert manifest["counts"]["subjects"] == people
    assert clips in (None, manifest["counts"]["clips"])
    assert any(clip["apex"] is None for clip in manifest["clips"])
    assert any(clip["units"] is None for clip in manifest["clips"])
    words = Counter(clip["emotion"] for clip in manifest["clips"])
    assert len(words) >= 3


def test_faces_move_to_the_apex_and_back(tmp_path):
    manifest = write_casme2(tmp_path)
    truth = next(
        c for c in manifest["clips"] if c["apex"] and c["units"] and c["onset"] < c["apex"] < c["offset"]
    )
    folder = tmp_path / "Cropped" / truth["clip"]
    frames = []
    for number in range(truth["onset"], truth["offset"] + 1):
        with Image.open(folder / f"reg_img{number}.jpg") as image:
            frames.append(np.asarray(image, np.float64))
    apart = [np.abs(frame - frames[0]).mean() for frame in frames]
    assert len(frames) == len(list(folder.iterdir()))
    assert apart[truth["apex"] - truth["onset"]] > 0


def test_sides_move_on_their_side(tmp_path):
    def half(side):
        clip = Clip(1, "c", 1, 5, 9, "happiness", Cell("", (Unit(12, side), Unit(38))))
        ((_, _, frames),) = act(Job(tmp_path), [clip])
        images = dict(frames)
        change = np.abs(images[5].astype(int) - images[1].astype(int)).sum((0, 2))
        return change[:32].sum(), change[32:].sum()

    seen_left, seen_right = half("L"), half("R")
    assert seen_left[1] > seen_left[0]  # the subject's left is on the right of the picture
    assert seen_right[0] > seen_right[1]


def test_wrong_arguments(tmp_path):
    with pytest.raises(ConfigError, match="size"):
        rehearse("casme2", tmp_path, size="huge")
    for name in ("revision", "variant"):
        with pytest.raises(ConfigError, match=f"{name}='x'"):
            rehearse("casme2", tmp_path, **{name: "x"})
    (tmp_path / "mine").touch()
    with pytest.raises(ConfigError, match="not empty"):
        rehearse("casme2", tmp_path)
    with pytest.raises(ConfigError, match="no option 'variants'"):
        rehearse("casme2", tmp_path, variants="raw")
    with pytest.raises(ConfigError, match="Unknown corpus"):
        rehearse("CK+", tmp_path)
    with pytest.raises(ValueError, match="do not agree"):
        deal_units(np.random.default_rng(0), [2, 1], {4: 2})
