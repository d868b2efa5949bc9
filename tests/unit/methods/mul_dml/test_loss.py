"""The triplet loss at many thresholds, against loops written out by hand."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.methods.mul_dml import MultiThresholdTriplet, largest_threshold, mean_distance

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 1, 0])
PEOPLE = torch.tensor([0, 0, 1, 1, 2, 0, 3, 3, 2])
MASK = torch.ones(9, dtype=torch.bool)


def points(slices=1, seed=0, groups=1):
    return torch.randn(9, groups, slices, 5, generator=torch.Generator().manual_seed(seed)).double()


def compute(loss, embeddings, labels=LABELS, mask=MASK, **options):
    return loss(embeddings, labels[:, None], mask[:, None], **options)


def by_hand(embeddings, tau, *, mining, dual, labels=LABELS, people=None):
    """Loss of each anchor of one slice [B, D], with Python loops and squared distances between unit vectors."""
    z = F.normalize(embeddings, dim=-1)
    d = [[float((one - other).square().sum()) for other in z] for one in z]
    everyone = range(len(z))

    def candidates(a):
        same = [p for p in everyone if p != a and labels[p] == labels[a]]
        other = [q for q in everyone if labels[q] != labels[a]]
        if people is not None:
            same = [p for p in same if people[p] != people[a]]
            other = [q for q in other if people[q] == people[a]] or other
        return same, other

    def mined(a, p):
        _, other = candidates(a)
        if mining == "semi_hard":
            beyond = [q for q in other if d[a][q] > d[a][p]]
            return min(beyond, key=lambda q: d[a][q]) if beyond else max(other, key=lambda q: d[a][q])
        return min(other, key=lambda q: d[a][q])

    def cost(a, p, q, q_of_p):
        second = {"none": None, "shared": d[p][q], "mined": d[p][q_of_p]}[dual]
        return max(0, d[a][p] - d[a][q] + tau) + (0 if second is None else max(0, d[a][p] - second + tau))

    losses = []
    for a in everyone:
        same, other = candidates(a)
        if not same or not other:
            continue
        if mining == "all":
            dual_q = dual != "none"
            costs = [
                max(0, d[a][p] - d[a][q] + tau) + (max(0, d[a][p] - d[p][q] + tau) if dual_q else 0)
                for p, q in itertools.product(same, other)
            ]
            costs = [one for one in costs if one > 0] or [0.0]
        else:
            pairs = [max(same, key=lambda p: d[a][p])] if mining == "batch_hard" else same
            costs = [cost(a, p, mined(a, p), mined(p, a)) for p in pairs]
        losses.append(sum(costs) / len(costs))
    return losses


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "all"])
@pytest.mark.parametrize("dual", ["none", "shared", "mined"])
@pytest.mark.parametrize("people", [None, PEOPLE])
def test_one_threshold_is_the_triplet_loss(mining, dual, people):
    loss = MultiThresholdTriplet(
        1, 3, thresholds=[0.75], dual=dual, mining=mining, identity_aware=people is not None
    )
    embeddings = points()
    total, count = compute(loss, embeddings, people=people)
    expected = by_hand(embeddings[:, 0, 0], 0.75, mining=mining, dual=dual, people=people)
    assert total.item() == pytest.approx(sum(expected), abs=1e-9)
    assert sum(expected) > 0
    assert count == len(expected)


def test_slices_are_averaged_and_their_order_changes_nothing():
    taus, embeddings = [0.3, 0.9, 1.4], points(3)
    total, count = compute(MultiThresholdTriplet(3, 3, thresholds=taus), embeddings)
    single = [
        compute(MultiThresholdTriplet(1, 3, thresholds=[tau]), embeddings[:, :, n : n + 1])[0]
        for n, tau in enumerate(taus)
    ]
    torch.testing.assert_close(total, sum(single) / 3)
    permuted = MultiThresholdTriplet(3, 3, thresholds=[taus[n] for n in (2, 0, 1)])
    torch.testing.assert_close(compute(permuted, embeddings[:, :, [2, 0, 1]]), (total, count))


def test_groups_have_labels_of_their_own():
    embeddings, labels = points(2, groups=2), torch.stack([LABELS % 2, LABELS // 2], dim=1)
    loss = MultiThresholdTriplet(2, 2, thresholds=[0.5])
    total, count = loss(embeddings, labels, MASK[:, None].expand(-1, 2))
    parts = [compute(loss, embeddings[:, g : g + 1], labels[:, g]) for g in (0, 1)]
    torch.testing.assert_close(total, parts[0][0] + parts[1][0])
    assert count == parts[0][1] + parts[1][1]


def test_default_thresholds_spread_over_the_valid_range():
    taus = MultiThresholdTriplet(16, 7).thresholds
    assert taus[0].item() == pytest.approx(0.1)
    assert taus[-1].item() == pytest.approx(0.9 * 14 / 6)
    torch.testing.assert_close(taus.diff(), taus.diff().mean().expand(15))
    # Corners of a regular simplex are as far apart as classes can be.
    corners = F.normalize(torch.eye(7) - 1 / 7, dim=-1)
    assert (corners[0] - corners[1]).square().sum().item() == pytest.approx(largest_threshold(7))


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "all"])
@pytest.mark.parametrize("softness", [0.0, 0.1])
def test_masked_clips_get_no_gradient_and_change_nothing(mining, softness):
    loss = MultiThresholdTriplet(2, 3, mining=mining, softness=softness)
    embeddings, mask = points(2), MASK.clone()
    mask[[2, 5]] = False
    given = embeddings.clone()
    given[2] = torch.nan
    given.requires_grad_()
    total, count = compute(loss, given, mask=mask)
    total.backward()
    assert (given.grad[[2, 5]] == 0).all()
    assert given.grad[mask].abs().sum() > 0
    rest = compute(loss, embeddings[mask], LABELS[mask], MASK[mask])
    torch.testing.assert_close((total.detach(), count), rest)


@pytest.mark.parametrize("labels", [torch.zeros(9).long(), torch.arange(9)])
def test_without_a_triplet_the_loss_is_0_with_gradients_of_0(labels):
    for mining in ("batch_hard", "semi_hard", "all"):
        embeddings = points().requires_grad_()
        total, count = compute(MultiThresholdTriplet(1, 9, mining=mining), embeddings, labels)
        total.backward()
        assert (total.item(), count.item()) == (0, 0)
        assert (embeddings.grad == 0).all()


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "all"])
def test_a_collapsed_slice_costs_its_threshold_and_twice_with_the_dual_term(mining):
    embeddings = points(2)
    embeddings[:, :, 1] = torch.tensor([3.0, 0.0, 0.0, 4.0, 0.0])
    for dual, factor in (("none", 1), ("shared", 2), ("mined", 2)):
        loss = MultiThresholdTriplet(1, 3, thresholds=[0.8], dual=dual, mining=mining)
        total, count = compute(loss, embeddings[:, :, 1:])
        assert (total / count).item() == pytest.approx(factor * 0.8)
    spread = mean_distance(embeddings, MASK[:, None])
    assert spread[0, 1].item() == pytest.approx(0, abs=1e-12)
    z = F.normalize(embeddings[:, 0, 0], dim=-1)
    pairs = [(z[i] - z[j]).square().sum() for i, j in itertools.combinations(range(9), 2)]
    torch.testing.assert_close(spread[0, 0], torch.stack(pairs).mean())
    assert mean_distance(embeddings, MASK[:, None] & False).isinf().all()


def test_the_soft_form_nears_the_hinge_and_has_no_dead_zone():
    hard = compute(MultiThresholdTriplet(1, 3, thresholds=[0.5]), points())[0]
    soft = compute(MultiThresholdTriplet(1, 3, thresholds=[0.5], softness=1e-4), points())[0]
    assert soft.item() == pytest.approx(hard.item(), abs=1e-2)
    gradients = []
    for softness in (0.0, 0.1):  # two classes a quarter of a circle apart: farther than the threshold
        apart = F.one_hot((LABELS > 0).long(), 5)[:, None, None].double() + 0.01 * points()
        apart.requires_grad_()
        loss = MultiThresholdTriplet(1, 2, thresholds=[0.5], softness=softness)
        compute(loss, apart, (LABELS > 0).long())[0].backward()
        gradients.append(apart.grad.abs().sum().item())
    assert gradients[0] == 0 < gradients[1]


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "all"])
def test_the_anchors_of_two_processes_are_those_of_one(mining):
    loss, embeddings = MultiThresholdTriplet(2, 3, mining=mining, dual="mined"), points(2)
    parts = [compute(loss, embeddings, local=own) for own in (slice(0, 4), slice(4, 9))]
    torch.testing.assert_close(tuple(map(sum, zip(*parts, strict=True))), compute(loss, embeddings))


def test_arithmetic_is_float32_for_halves():
    embeddings = points().bfloat16()
    total, _ = compute(MultiThresholdTriplet(1, 3), embeddings)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, compute(MultiThresholdTriplet(1, 3), embeddings.float())[0])


def test_one_clip_alone():
    total, count = compute(MultiThresholdTriplet(1, 3), points()[:1], LABELS[:1], MASK[:1])
    assert (total.item(), count.item()) == (0, 0)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"thresholds": [0.1, 0.2]}, "3 slices need as many thresholds, or one, not 2"),
        ({"thresholds": [2.4]}, "at most 2.333"),
        ({"tau_min": 0.0}, "must be positive"),
        ({"tau_max": 2.5}, "at most 2.333"),
        ({"softness": -1.0}, "softness"),
    ],
)
def test_impossible_settings(options, fault):
    with pytest.raises(ConfigError, match=fault):
        MultiThresholdTriplet(3, 7, **options)


def test_identities_need_people():
    with pytest.raises(ValueError, match="people"):
        compute(MultiThresholdTriplet(1, 3, identity_aware=True), points())
