"""The evidential loss against sums over samples of Dirichlet distributions, and weights of clips."""

import pytest
import torch
from torch.distributions import Dirichlet, kl_divergence

from affectkit.errors import ConfigError
from affectkit.losses import EvidentialLoss, MaskedCrossEntropy

LOGITS = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -0.5]])
SOFT = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
ALL = torch.ones(2, dtype=torch.bool)


def test_it_is_the_expected_cross_entropy_with_the_divergence_from_uniform():
    torch.manual_seed(0)
    total, count = EvidentialLoss(penalty=0.4)(LOGITS, SOFT, ALL)
    samples = Dirichlet(LOGITS.exp().double()).sample((400_000,)).clamp(min=1e-300)
    expected = -(SOFT * samples.log()).sum(-1).mean(0)
    wrong = Dirichlet(SOFT + (1 - SOFT) * LOGITS.exp())
    divergence = kl_divergence(wrong, Dirichlet(torch.ones(2, 3)))
    assert total.item() == pytest.approx((expected + 0.4 * divergence).sum().item(), rel=0.01)
    assert count == 2


def test_a_class_is_a_distribution_with_one_entry():
    classes = torch.tensor([2, 0])
    one_hot = torch.eye(3)[classes]
    loss = EvidentialLoss()
    torch.testing.assert_close(loss(LOGITS, classes, ALL), loss(LOGITS, one_hot, ALL))


def test_a_negative_penalty_is_refused():
    with pytest.raises(ConfigError, match="penalty=-1"):
        EvidentialLoss(penalty=-1)


def test_weights_of_clips_weigh_losses_and_counts():
    weight = torch.tensor([0.25, 2.0])
    total, count = MaskedCrossEntropy()(LOGITS, SOFT, ALL, weight)
    single = [-(q * z.log_softmax(-1)).sum() for q, z in zip(SOFT, LOGITS, strict=True)]
    torch.testing.assert_close(total, 0.25 * single[0] + 2 * single[1])
    assert count == 2.25
    _, count = MaskedCrossEntropy()(LOGITS, SOFT, torch.tensor([True, False]), weight)
    assert count == 0.25
