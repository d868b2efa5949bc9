"""Contrast with soft targets, against loops."""

from __future__ import annotations

import math

import pytest
import torch

from affectkit.errors import ConfigError
from affectkit.losses import SoftContrast

B = 6


@pytest.fixture
def given():
    rng = torch.Generator().manual_seed(0)
    pictures, texts = (
        torch.nn.functional.normalize(torch.randn(B, 4, generator=rng), dim=1) for _ in range(2)
    )
    return {
        "scores": (pictures @ texts.T).requires_grad_(),
        "texts": torch.tensor([3, 1, 4, 1, 5, 9]),  # clips 1 and 3 have one text
        "temperature": torch.tensor(0.2, requires_grad=True),
        "mask": torch.tensor([True, True, True, True, True, False]),
        "similar_pictures": pictures @ pictures.T,
        "similar_texts": texts @ texts.T,
    }


def reference(loss, scores, texts, temperature, mask, similar_pictures, similar_texts):
    """The definition, one clip after the other."""
    both = (similar_pictures + similar_texts) / 2
    guides = {
        "other": (similar_texts, similar_pictures),
        "text": (similar_texts, similar_texts),
        "both": (both, both),
        "off": (None, None),
    }[loss.guide]
    total = 0.0
    for logits, guide in zip((scores / temperature, scores.T / temperature), guides, strict=True):
        for i in range(B):
            if not mask[i]:
                continue
            others = [j for j in range(B) if mask[j] and texts[j] != texts[i]]
            near = sorted(others, key=lambda j: -guide[i, j] if guide is not None else 0)[: loss.most]
            near = [j for j in near if guide is not None and guide[i, j] > loss.least]
            target = {i: 1.0}
            if near:
                shares = {j: math.exp(guide[i, j] / loss.sharpness) for j in near}
                target = {j: loss.beta * share / sum(shares.values()) for j, share in shares.items()}
                target[i] = 1 - loss.beta
            whole = torch.stack([logits[i, j] for j in [i, *others]]).logsumexp(0)
            total = total - sum(q * (logits[i, j] - whole) for j, q in target.items()) / 2
    return total, mask.sum()


@pytest.mark.parametrize("guide", ["other", "text", "both", "off"])
def test_it_is_the_definition(given, guide):
    loss = SoftContrast(guide=guide, least=-0.2, most=2, sharpness=0.3)
    total, count = loss(**given)
    wanted, number = reference(loss, **given)
    assert count == number == 5
    torch.testing.assert_close(total, wanted.float())


def test_processes_sum_to_the_whole_with_its_gradient(given):
    loss = SoftContrast(least=0.0)
    whole, count = loss(**given)
    parts = [loss(**given, local=slice(start, start + 2)) for start in range(0, B, 2)]
    torch.testing.assert_close(sum(total for total, _ in parts), whole)
    assert sum(number for _, number in parts) == count
    inputs = (given["scores"], given["temperature"])
    wanted = torch.autograd.grad(whole, inputs, retain_graph=True)
    got = torch.autograd.grad(sum(total for total, _ in parts), inputs)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("guide", ["other", "off"])
def test_equal_sentences_are_no_negatives(given, guide):
    total, _ = SoftContrast(guide=guide, least=-1.0)(**given)
    (gradient,) = torch.autograd.grad(total, given["scores"])
    assert gradient[1, 3] == gradient[3, 1] == 0  # no step moves them apart
    assert (gradient[0, 1:5] != 0).all()
    given["texts"] = torch.arange(B)
    (gradient,) = torch.autograd.grad(SoftContrast(guide="off")(**given)[0], given["scores"])
    assert gradient[1, 3] > 0


def test_clips_without_a_text_take_no_part(given):
    total, _ = SoftContrast(least=-1.0)(**given)
    (gradient,) = torch.autograd.grad(total, given["scores"])
    assert (gradient[5] == 0).all()
    assert (gradient[:, 5] == 0).all()


def test_nothing_annotated_is_zero_with_zero_gradients(given):
    given["mask"] = torch.zeros(B, dtype=torch.bool)
    total, count = SoftContrast()(**given)
    assert total == count == 0
    grads = torch.autograd.grad(total, (given["scores"], given["temperature"]))
    assert all((one == 0).all() for one in grads)


def test_targets_sum_to_one_and_mine_only_similar_clips():
    guide = torch.tensor(
        [[1.0, 0.9, 0.95, 0.1], [0.9, 1.0, 0.2, 0.1], [0.95, 0.2, 1.0, 0.1], [0.1, 0.1, 0.1, 1.0]]
    )
    other = ~torch.eye(4, dtype=torch.bool)
    targets = SoftContrast(beta=0.4, least=0.8, most=1).targets(guide, other)
    torch.testing.assert_close(targets.sum(1), torch.ones(4))
    wanted = [[0.6, 0, 0.4, 0], [0.4, 0.6, 0, 0], [0.4, 0, 0.6, 0], [0, 0, 0, 1]]
    torch.testing.assert_close(targets, torch.tensor(wanted))


def test_one_clip_has_no_loss():
    total, count = SoftContrast()(torch.ones(1, 1), torch.tensor([1]), torch.tensor(0.1))
    assert (total, count) == (0, 1)


@pytest.mark.parametrize("options", [{"beta": 1.0}, {"most": 0}, {"least": 2.0}, {"sharpness": 0.0}])
def test_options_have_ranges(options):
    with pytest.raises(ConfigError, match="must be in"):
        SoftContrast(**options)
