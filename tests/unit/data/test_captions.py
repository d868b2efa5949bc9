"""Captions as a field of clips."""

from __future__ import annotations

import json

import pytest
import torch

from affectkit.data import (
    HELD_OUT,
    Clip,
    HorizontalFlip,
    Target,
    WriteCaptions,
    collate,
    concat,
    read_captions,
)
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError

SPACE = "intensity:AU4,AU12,AU12L,AU12R"


def clip(values=(0.0, 4.0, 3.0, 0.0), captions=None, name="a"):
    target = Target.make(torch.tensor(values), space=SPACE)
    frames = torch.randint(0, 255, (1, 3, 4, 6), dtype=torch.uint8)
    return Clip.make(frames, {"intensity": target}, captions=captions, meta={"dataset": "d", "clip": name})


def lines(path, *entries):
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in entries))
    return path


class TestFile:
    def test_parts_are_read_and_empty_ones_left_out(self, tmp_path):
        path = lines(
            tmp_path / "captions.jsonl",
            {"clip": "a", "global": " Calm. ", "local": {"brows": "Raised.", "mouth": ""}, "summary": None},
            "",
            {"clip": "b", "summary": "Sad."},
        )
        assert read_captions(path) == {
            "a": {"global": "Calm.", "brows": "Raised."},
            "b": {"summary": "Sad."},
        }

    def test_texts_may_hold_line_separators_of_unicode(self, tmp_path):
        path = tmp_path / "captions.jsonl"
        path.write_text('{"clip": "a", "global": "Calm.\u2028Still."}\n', encoding="utf-8")
        assert read_captions(path) == {"a": {"global": "Calm.\u2028Still."}}

    @pytest.mark.parametrize(
        ("entry", "fault"),
        [
            ("{", "Expecting"),
            ("[1]", "no object with the name"),
            ({"global": "x"}, "no object with the name"),
            ({"clip": "b", "mouth": "x"}, "unknown entries mouth"),
            ({"clip": "b", "local": {"global": "x"}}, "'local' is no object"),
            ({"clip": "b", "local": ["x"]}, "'local' is no object"),
            ({"clip": "b", "global": 3}, "A caption is no text"),
            ({"clip": "a", "global": "x"}, "earlier line"),
        ],
    )
    def test_a_fault_names_the_line(self, tmp_path, entry, fault):
        path = lines(tmp_path / "captions.jsonl", {"clip": "a", "global": "x"}, entry)
        with pytest.raises(AnnotationError, match=fault) as caught:
            read_captions(path)
        assert caught.value.line == 2

    def test_a_missing_file_is_an_error(self, tmp_path):
        with pytest.raises(DatasetNotFoundError, match="no file with captions"):
            read_captions(tmp_path / "absent.jsonl")


class TestBatch:
    def test_absent_captions_are_masked(self):
        batch = collate([clip(captions={"global": "x"}), clip(captions={"mouth": "y"}), clip()])
        assert batch.captions == {"global": ["x", "", ""], "mouth": ["", "y", ""]}
        assert batch.caption_mask("mouth").tolist() == [False, True, False]
        assert batch.caption_mask("brows").tolist() == [False, False, False]
        assert batch.to("cpu").captions == batch.captions

    def test_batches_join(self):
        joined = concat([collate([clip(captions={"global": "x"})]), collate([clip(captions={"mouth": "y"})])])
        assert joined.captions == {"global": ["x", ""], "mouth": ["", "y"]}

    def test_a_flip_exchanges_side_words(self):
        flipped = HorizontalFlip(p=1)(clip(captions={"mouth": "Left corner up."}), torch.Generator())
        assert flipped.captions == {"mouth": "Right corner up."}


class TestWriting:
    def test_a_flip_before_equals_a_flip_after(self):
        def rng():
            return torch.Generator().manual_seed(3)

        one, flip = clip(), HorizontalFlip(p=1)
        before = WriteCaptions()(flip(one, torch.Generator()), rng())
        after = flip(WriteCaptions()(one, rng()), torch.Generator())
        assert before.captions == after.captions
        assert "on the right" in before.captions["mouth"]

    def test_wordings_vary_in_training_and_not_in_evaluation(self):
        rng, write = torch.Generator().manual_seed(0), WriteCaptions()
        assert len({write(clip(), rng).captions["mouth"] for _ in range(20)}) > 5
        first, again, other = (write(clip(name=name)).captions for name in ("a", "a", "b"))
        assert first == again != other
        assert {part.removeprefix(HELD_OUT) for part in first} == {"global", "brows", "mouth", "summary"}
        assert first[f"{HELD_OUT}mouth"] != first["mouth"]
        assert not any(part.startswith(HELD_OUT) for part in write(clip(), rng).captions)

    def test_unknown_units_are_not_mentioned(self):
        captions = WriteCaptions()(clip((float("nan"), 4.0, 0.0, 0.0))).captions
        assert "brows" not in captions
        assert "mouth" in captions

    def test_frames_count_by_their_strongest(self):
        target = Target.make(torch.tensor([[0.0], [4.0]]), space="intensity:AU4")
        two = Clip.make(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), {"intensity": target})
        one = Clip.make(
            two.frames[:1], {"intensity": Target.make(torch.tensor([4.0]), space="intensity:AU4")}
        )
        assert WriteCaptions()(two).captions == WriteCaptions()(one).captions

    def test_intensities_are_needed(self):
        with pytest.raises(ConfigError, match="no target 'strength'"):
            WriteCaptions("strength")(clip())
