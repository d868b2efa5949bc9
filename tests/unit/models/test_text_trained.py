"""A text tower that is trained, completely or in part, and texts of any length."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models.text import TextTower

TINY = "affectkit-tiny"
TEXTS = ["brows raised", "lips parted", "brows raised"]


def tower(**options):
    torch.manual_seed(0)
    made = TextTower(TINY, **options)
    torch.manual_seed(1)
    with torch.no_grad():
        made.positional_embedding.normal_(std=0.1)
    return made


def learned(made):
    return {name for name, parameter in made.named_parameters() if parameter.requires_grad}


def test_trained_parts_get_gradients_and_others_do_not():
    blocks = {"transformer.resblocks.1."}
    last = ("ln_final.weight", "ln_final.bias", "text_projection")
    assert learned(tower()) == set()
    assert learned(tower(trainable=0)) == set(last)
    one = tower(trainable=1)
    assert all(name in last or name.startswith(tuple(blocks)) for name in learned(one))
    assert {"ln_final.weight", "transformer.resblocks.1.mlp.c_fc.weight"} <= learned(one)
    whole = tower(trainable="all")
    assert learned(whole) == {name for name, _ in whole.named_parameters()} >= {"token_embedding"}
    low_rank = tower(lora={"rank": 2})
    assert {name.rpartition(".")[2] for name in learned(low_rank)} == {"down", "up"}
    for made in (one, whole, low_rank):
        made.encode_tokens(made.tokenize(TEXTS)).square().sum(1).sin().sum().backward()
        for name, parameter in made.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize(
    "options", [{}, {"trainable": 1}, {"trainable": "all"}, {"lora": {"rank": 2, "last": 1}}]
)
def test_every_choice_begins_with_the_same_vectors_and_is_rebuilt_from_its_configuration(options):
    made = tower(**options)
    torch.testing.assert_close(made.encode(TEXTS), tower().encode(TEXTS))
    twin = TextTower(**json.loads(json.dumps(made.config)))
    twin.load_state_dict(made.state_dict(), strict=True)
    assert torch.equal(twin.encode(TEXTS), made.encode(TEXTS))
    assert not made.train().training


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"trainable": 1, "lora": {}}, "Both `lora` and `trainable`"),
        ({"trainable": 3}, "has 2 blocks"),
        ({"trainable": "some"}, "has 2 blocks"),
        ({"trainable": "all", "keep_tokens": False}, "is not kept"),
    ],
)
def test_contradictions_are_errors(options, fault):
    with pytest.raises(ConfigError, match=fault):
        tower(**options)


def test_a_long_text_is_the_mean_of_its_sentences():
    made = tower()
    first, second = "Brows raised.", "Jaw dropped!"
    vectors = made.encode([first, second])
    got = made.encode_long([f"{first} {second}  {first}", first])
    torch.testing.assert_close(got[0], F.normalize((2 * vectors[0] + vectors[1]) / 3, dim=0))
    torch.testing.assert_close(got[1], vectors[0])


def test_a_sentence_with_too_many_words_is_divided():
    made = tower()
    words = " ".join(f"word{i}" for i in range(60))
    pieces = made._pieces(words)
    assert len(pieces) > 1
    assert " ".join(pieces) == words
    torch.testing.assert_close(made.encode_long([words])[0], F.normalize(made.encode(pieces).mean(0), dim=0))


def test_an_empty_text_has_a_vector():
    assert tower().encode_long(["", "calm"]).isfinite().all()
