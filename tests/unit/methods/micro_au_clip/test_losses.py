"""The losses of Micro-AU CLIP against plain loops."""

import math

import pytest
import torch

from affectkit.errors import ConfigError
from affectkit.facs import REGIONS, ActionUnit, AUSet, au_prompt_pair
from affectkit.methods.micro_au_clip import CrossSampleContrast, GlobalDependencyLoss

B, A, D = 5, 4, 6


def given(seed=0):
    rng = torch.Generator().manual_seed(seed)
    units = torch.randn(B, A, D, generator=rng, requires_grad=True)
    value = (torch.rand(B, A, generator=rng) < 0.5).float()
    mask = torch.rand(B, A, generator=rng) < 0.8
    return units, value, mask


def cosine(a, b):
    a, b = a.tolist(), b.tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x**2 for x in a) * sum(y**2 for y in b))


def test_dependency_loss_equals_loops_over_annotated_pairs_that_occur_together():
    units, value, mask = given()
    C = torch.rand(A, A, generator=torch.Generator().manual_seed(3))
    C[0, 1] = C[1, 0] = 0.05
    expected, pairs = 0.0, 0
    for b in range(B):
        for i in range(A):
            for j in range(i + 1, A):
                w = max(float(C[i, j]), float(C[j, i]))
                if w <= 0.1 or not (mask[b, i] and mask[b, j]):
                    continue
                y_i, y_j = value[b, i] == 1, value[b, j] == 1
                R = 1 if y_i and y_j else 0 if not y_i and not y_j else -1
                expected += w * (cosine(units[b, i], units[b, j]) - 0.5 * R) ** 2
                pairs += 1
    total, count = GlobalDependencyLoss()(units, value, mask, C)
    assert total.item() == pytest.approx(expected, abs=1e-5)
    assert count == pairs > 0


def test_dependency_loss_is_least_at_its_target():
    rho, both = 0.5, torch.ones(1, 2)
    angle = math.acos(rho)
    units = torch.tensor([[[1.0, 0.0], [math.cos(angle), math.sin(angle)]]], requires_grad=True)
    C = torch.full((2, 2), 0.8)
    total, _ = GlobalDependencyLoss(rho=rho)(units, both, both.bool(), C)
    total.backward()
    assert total.item() == pytest.approx(0, abs=1e-9)
    assert units.grad.abs().max() < 1e-5
    one = torch.tensor([[1.0, 0.0]])
    assert GlobalDependencyLoss(rho=rho)(units, one, both.bool(), C)[0].item() == pytest.approx(0.8)


def test_dependency_loss_ignores_masked_pairs_whatever_they_hold():
    units, value, mask = given()
    C = torch.full((A, A), 0.5)
    other = torch.where(mask, value, torch.nan)
    assert (
        GlobalDependencyLoss()(units, value, mask, C)[0] == GlobalDependencyLoss()(units, other, mask, C)[0]
    )
    total, count = GlobalDependencyLoss()(units, value, torch.zeros_like(mask), C)
    total.backward()
    assert total == count == 0
    assert not units.grad.any()


def loop_contrast(units, value, mask, tau, anchors):
    total, count = 0.0, 0
    entries = [(b, i) for b in range(B) for i in range(A) if mask[b, i]]
    for b, i in anchors:
        if not (mask[b, i] and value[b, i] == 1):
            continue
        partners = [(c, j) for c, j in entries if j == i and c != b and value[c, j] == 1]
        if not partners:
            continue
        rest = [e for e in entries if e != (b, i)]
        bottom = math.log(sum(math.exp(cosine(units[b, i], units[c, j]) / tau) for c, j in rest))
        total -= sum(cosine(units[b, i], units[c, j]) / tau - bottom for c, j in partners) / len(partners)
        count += 1
    return total, count


@pytest.mark.parametrize("local", [None, slice(1, 3)])
def test_contrast_equals_loops(local):
    units, value, mask = given(1)
    anchors = [(b, i) for b in range(B)[local or slice(None)] for i in range(A)]
    expected, number = loop_contrast(units, value, mask, 0.2, anchors)
    total, count = CrossSampleContrast()(units, value, mask, torch.tensor(0.2), local=local)
    assert total.item() == pytest.approx(expected, abs=1e-5)
    assert count == number > 0


def test_equal_sentences_are_partners_and_never_only_negatives():
    """Partners found by the sentence of each entry: an active and an inactive unit have one each."""
    units, value, mask = given(3)
    labels = AUSet.of(1, 12, 14, 15)
    pairs = [au_prompt_pair(unit) for unit in labels]
    entries = [(b, i) for b in range(B) for i in range(A) if mask[b, i]]
    sentence = {(b, i): pairs[i][0 if value[b, i] == 1 else 1] for b, i in entries}
    expected, count = 0.0, 0
    for anchor in entries:
        partners = [other for other in entries if other != anchor and sentence[other] == sentence[anchor]]
        if value[anchor] == 1 and partners:
            score = {e: cosine(units[anchor], units[e]) / 0.2 for e in entries if e != anchor}
            bottom = math.log(sum(math.exp(s) for s in score.values()))
            expected -= sum(score[p] - bottom for p in partners) / len(partners)
            count += 1
    total, number = CrossSampleContrast()(units, value, mask, torch.tensor(0.2))
    assert total.item() == pytest.approx(expected, abs=1e-5)
    assert number == count > 0


def test_no_two_units_share_a_sentence():
    units = [ActionUnit(number, side) for number in REGIONS["affectkit"].centres for side in (None, "L", "R")]
    sentences = [text for unit in units for text in au_prompt_pair(unit)]
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize("case", ["no positives", "nothing annotated", "no partner"])
def test_contrast_of_nothing_is_zero_with_zero_gradients(case):
    units, value, mask = given(2)
    if case == "no positives":
        value = torch.zeros_like(value)
    elif case == "nothing annotated":
        mask = torch.zeros_like(mask)
    else:
        value = torch.zeros_like(value)
        value[0, 0], mask[0, 0] = 1, True
    total, count = CrossSampleContrast()(units, value, mask, torch.tensor(0.07))
    total.backward()
    assert total == count == 0
    assert not units.grad.any()


@pytest.mark.parametrize("options", [{"rho": 1.5}, {"least": -0.1}])
def test_impossible_settings(options):
    with pytest.raises(ConfigError, match="must be in"):
        GlobalDependencyLoss(**options)
