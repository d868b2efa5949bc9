"""Flipped instructions: running means, choice of the unit, and both losses."""

import pytest
import torch

from affectkit.errors import ConfigError
from affectkit.methods.aullm import CounterfactualLoss, UnitPrototypes


def batch(B=6, A=3, D=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    nodes = torch.randn(B, A, D, generator=rng)
    value = (torch.rand(B, A, generator=rng) < 0.5).float()
    mask = torch.rand(B, A, generator=rng) < 0.8
    return nodes, value, mask


def test_prototypes_are_running_means_of_annotated_nodes():
    prototypes = UnitPrototypes(3, 4, momentum=0.75)
    means, known = {}, set()
    for seed in range(5):
        nodes, value, mask = batch(seed=seed)
        prototypes.update(nodes.requires_grad_(), value, mask)
        for state in (0, 1):
            for unit in range(3):
                chosen = [nodes[b, unit] for b in range(6) if mask[b, unit] and value[b, unit] == state]
                if not chosen:
                    continue
                mean = torch.stack(chosen).mean(dim=0).detach()
                before = means.get((state, unit))
                means[state, unit] = mean if before is None else 0.75 * before + 0.25 * mean
                known.add((state, unit))
    for (state, unit), mean in means.items():
        torch.testing.assert_close(prototypes.means[state, unit], mean)
    assert {(s, u) for s in (0, 1) for u in range(3) if prototypes.known[s, u]} == known
    assert not prototypes.means.requires_grad


def test_values_without_annotation_are_ignored():
    one, other = UnitPrototypes(3, 4), UnitPrototypes(3, 4)
    nodes, value, mask = batch()
    one.update(nodes, value, mask)
    other.update(nodes, torch.where(mask, value, torch.nan), mask)
    assert torch.equal(one.means, other.means)
    assert torch.equal(one.known, other.known)
    nothing = UnitPrototypes(3, 4)
    nothing.update(nodes, value, torch.zeros_like(mask))
    assert not nothing.known.any()


def test_a_flip_replaces_one_node_by_the_other_state():
    prototypes = UnitPrototypes(3, 4)
    prototypes.means.copy_(torch.arange(24.0).reshape(2, 3, 4))
    nodes, value, _ = batch(B=2)
    value[0, 2], value[1, 0] = 1, 0
    flipped = prototypes.flip(nodes, value, torch.tensor([2, 0]))
    assert torch.equal(flipped[0, 2], prototypes.means[0, 2])
    assert torch.equal(flipped[1, 0], prototypes.means[1, 0])
    assert torch.equal(flipped[0, :2], nodes[0, :2])
    assert torch.equal(flipped[1, 1:], nodes[1, 1:])


def test_only_annotated_units_with_a_known_other_state_are_chosen():
    prototypes = UnitPrototypes(3, 4)
    prototypes.known.copy_(torch.tensor([[True, True, False], [True, False, True]]))
    value = torch.tensor([[1.0, 0.0, 1.0]] * 400 + [[1.0, 1.0, 0.0]] * 400)
    mask = torch.ones_like(value, dtype=torch.bool)
    mask[400:, 0] = False
    torch.manual_seed(0)
    units, some = prototypes.choose(value, mask)
    assert some.all()
    # Active AU 0 can become inactive; inactive AU 1 has no active mean; active AU 2 has no inactive one.
    assert units[:400].unique().tolist() == [0]
    assert set(units[400:].tolist()) == {1, 2}
    assert 150 < (units[400:] == 1).sum() < 250
    assert not prototypes.choose(value, torch.zeros_like(mask))[1].any()


def test_the_loss_keeps_other_units_and_moves_the_flipped_one():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -2.0], [9.0, 9.0, 9.0]])
    flipped = torch.tensor([[1.8, 0.0, 0.5], [0.3, -1.0, -2.0], [0.0, 0.0, 0.0]])
    value = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    units, some = torch.tensor([0, 1, 0]), torch.tensor([True, True, False])
    first = (1.0**2 + 0.0) / 2 + (0.5 - (2.0 - 1.8))
    second = (0.3**2 + 0.0) / 2 + (0.5 - -(1.0 - -1.0))  # an inactive unit must rise, and fell
    total, count = CounterfactualLoss()(logits, flipped, value, units, some)
    torch.testing.assert_close(total, torch.tensor(first + second))
    assert count == 2


def test_invariance_is_the_divergence_of_both_predictions():
    logits, flipped = torch.randn(2, 4, 3)
    p, q = (torch.distributions.Bernoulli(logits=one) for one in (logits, flipped))
    expected = torch.distributions.kl_divergence(p, q).mean(dim=1)
    some = torch.tensor([True, False, True, True])
    total, count = CounterfactualLoss("invariant")(logits, flipped, logits, torch.zeros(4).long(), some)
    torch.testing.assert_close(total, expected[some].sum())
    assert count == 3


@pytest.mark.parametrize("kind", ["flip", "invariant"])
def test_without_a_unit_the_loss_is_zero_with_zero_gradients(kind):
    logits = torch.randn(4, 3, requires_grad=True)
    flipped = torch.randn(4, 3, requires_grad=True)
    some = torch.zeros(4, dtype=torch.bool)
    total, count = CounterfactualLoss(kind)(logits, flipped, torch.ones(4, 3), torch.zeros(4).long(), some)
    total.backward()
    assert (total, count) == (0, 0)
    assert not logits.grad.any()
    assert not flipped.grad.any()


def test_a_single_unit_has_no_others():
    total, _ = CounterfactualLoss()(
        torch.tensor([[1.0]]),
        torch.tensor([[0.9]]),
        torch.tensor([[1.0]]),
        torch.tensor([0]),
        torch.tensor([True]),
    )
    torch.testing.assert_close(total, torch.tensor(0.4))


def test_unknown_kinds_are_refused():
    with pytest.raises(ConfigError, match="Unknown consistency 'both'"):
        CounterfactualLoss("both")
