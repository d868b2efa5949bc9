"""Captions written from exact labels."""

from __future__ import annotations

import re
from random import Random

import pytest

from affectkit.errors import LabelSpaceError
from affectkit.facs import (
    CAPTION_REGIONS,
    EXPRESSION_SETS,
    class_name,
    describe_expression,
    mirror_text,
    prompt_ensemble,
    write_captions,
)

UNITS = {
    "brows": (1, 2, 4),
    "eyes": (5, 7, 43, 45),
    "cheeks": (6,),
    "nose": (9, 10),
    "mouth": (12, 15, 25, 26),
}
SEEDS = range(150)


@pytest.mark.parametrize("intensity", [0.0, 1.5, 2.5, 4.5])
@pytest.mark.parametrize("region", CAPTION_REGIONS)
def test_a_region_has_six_paraphrases_at_every_intensity_and_others_are_held_out(region, intensity):
    labels = {f"AU{unit}": 0.0 for unit in UNITS[region]} | {f"AU{UNITS[region][0]}": intensity}
    usual, new = (
        {write_captions(labels, Random(seed), held_out=held_out)[region] for seed in SEEDS}
        for held_out in (False, True)
    )
    assert len(usual) >= 6
    assert len(new) >= 2
    assert not usual & new
    assert all(text.endswith(".") and "{" not in text for text in usual | new)


def test_intensities_have_words_of_their_own():
    words = [
        set(re.findall(r"\w+", " ".join(write_captions({"AU12": value}, Random(s))["mouth"] for s in SEEDS)))
        for value in (1.5, 2.5, 4.5)
    ]
    for degree, others in enumerate([words[1] | words[2], words[0] | words[2], words[0] | words[1]]):
        assert words[degree] - others
    assert {"slightly", "faintly"} <= words[0]
    assert {"strongly", "very"} <= words[2]


def test_only_known_movements_are_mentioned():
    captions = write_captions({"AU12": 3.0, "AU25": 0.9}, Random(0))
    assert list(captions) == ["global", "mouth", "summary"]
    assert "lips" not in captions["mouth"].replace("lip corners", "")
    assert write_captions({}, Random(0)) == {}


def test_the_summary_has_the_strongest_movements_first():
    labels = {"AU4": 2.0, "AU9": 5.0, "AU12": 3.0, "AU6": 1.2}
    text = write_captions(labels, Random(1))["summary"]
    places = [re.search(pattern, text).start() for pattern in ("nose", "lip corners|mouth corners", "brows")]
    assert places == sorted(places)
    assert "cheeks" not in text


def test_the_tone_follows_the_units():
    def tones(labels):
        return " ".join(write_captions(labels, Random(seed))["global"] for seed in SEEDS)

    for labels, words in (
        ({"AU6": 3.0, "AU12": 4.0}, "pleasant|friendly"),
        ({"AU4": 3.0, "AU12": 0.0}, "unpleasant|tense"),
        ({"AU4": 3.0, "AU12": 3.0}, "mixed|ambiguous"),
        ({"AU1": 3.0}, "alert|attentive"),
        ({"AU1": 0.0}, "calm|still"),
    ):
        assert len(re.findall(rf"\b({words})\b", tones(labels))) == len(SEEDS)


def test_a_one_sided_movement_names_its_side_and_a_mirrored_face_the_other_one():
    left = {"AU12": 4.0, "AU12L": 3.0, "AU12R": 0.0}
    right = {"AU12": 4.0, "AU12L": 0.0, "AU12R": 3.0}
    for seed in range(20):
        ours, other = (write_captions(labels, Random(seed)) for labels in (left, right))
        assert "on the left" in ours["mouth"]
        assert "on the left" in ours["summary"]
        assert {part: mirror_text(text) for part, text in ours.items()} == other
    assert "left" not in write_captions({"AU12": 4.0, "AU12L": 0.5}, Random(0))["mouth"]


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("the Left, left and right", "the Right, right and left"),
        ("Right now, bright", "Left now, bright"),
        ("", ""),
    ],
)
def test_side_words_change_places(text, mirrored):
    assert mirror_text(text) == mirrored


def test_no_caption_and_no_description_names_a_class():
    words = {name for space in EXPRESSION_SETS.values() for name in space.classes}
    for name in EXPRESSION_SETS["basic7"].classes:
        sentences = describe_expression(name)
        assert len(sentences) == len(set(sentences)) >= 8
        assert not words & set(re.findall(r"\w+", " ".join(sentences).lower()))
    assert describe_expression("helplessness") == []


def test_an_ensemble_fills_its_templates():
    texts = prompt_ensemble("fear", ["{name}!", "{description}"], descriptions=2)
    assert texts[0] == "fear!"
    assert list(texts[1:]) == describe_expression("fear", 2)
    assert prompt_ensemble("envy", ["{description}"]) == ("a photo of a face that shows envy.",)
    assert class_name("Angry!") == "anger"


def test_a_wrong_unit_is_an_error():
    with pytest.raises(LabelSpaceError, match="not an action unit"):
        write_captions({"smile": 1.0}, Random(0))
