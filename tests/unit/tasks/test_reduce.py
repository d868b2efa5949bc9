"""From the terms of groups of clips to the losses of a step."""

from __future__ import annotations

import pytest
import torch

from affectkit.losses import CCCLoss
from affectkit.tasks.base import reduce_losses


def pair(total, count):
    return torch.tensor(total, requires_grad=True), torch.tensor(count)


@pytest.mark.parametrize("normalize", ["global", "local"])
def test_sums_are_divided_by_all_their_labels(normalize):
    parts = [pair(6.0, 3), pair(2.0, 1)]
    found = reduce_losses({"au": parts, "empty": [pair(0.0, 0)]}, normalize)
    assert {name: one.loss.item() for name, one in found.items()} == {"au": 2.0, "empty": 0.0}
    assert {name: one.count.item() for name, one in found.items()} == {"au": 4, "empty": 0}
    assert found["au"].mean == 2.0
    assert not found["au"].mean.requires_grad
    sum(one.loss for one in found.values()).backward()
    assert [total.grad.item() for total, _ in parts] == [0.25, 0.25]


@pytest.mark.parametrize("normalize", ["global", "local"])
def test_statistics_are_added_up_before_they_are_finished(normalize):
    rng = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 10, 2, generator=rng)
    mask = torch.rand(10, 2, generator=rng) < 0.8
    x.requires_grad_()
    loss = CCCLoss()
    whole = loss(x, y, mask)
    expected = whole.finish(whole.sums)
    (gradient,) = torch.autograd.grad(expected, x)
    parts = [loss(x[:3], y[:3], mask[:3]), loss.nothing(x), loss(x[3:], y[3:], mask[3:])]
    terms = {"va": parts, "au": [pair(6.0, 3)]}
    found = reduce_losses(terms, normalize)
    assert list(found) == ["va", "au"]
    torch.testing.assert_close(found["va"].loss, expected.float())
    torch.testing.assert_close(found["va"].mean, expected.detach().float())
    assert not found["va"].mean.requires_grad
    assert (found["va"].count, found["au"].loss) == (mask.sum(), 2.0)
    torch.testing.assert_close(torch.autograd.grad(found["va"].loss, x)[0], gradient)
