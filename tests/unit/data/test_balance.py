"""Drawing rare units more often."""

from collections import Counter

import pytest
import torch

from affectkit.data import ReplaySampler, draw_weights
from affectkit.errors import ConfigError


def shown(*counts, clips=100):
    """bool [clips, units]: unit k is shown by `counts[k]` clips, none by two units."""
    positive = torch.zeros(clips, len(counts), dtype=torch.bool)
    first = 0
    for unit, count in enumerate(counts):
        positive[first : first + count, unit] = True
        first += count
    return positive


def test_rare_units_get_their_share_and_common_ones_keep_their_proportions():
    positive = shown(4, 9, 40)
    weights = draw_weights(positive)
    share = weights @ positive.double() / weights.sum()
    torch.testing.assert_close(share[:2], torch.tensor([0.25, 0.25], dtype=torch.float64), atol=1e-6, rtol=0)
    assert weights.mean() == pytest.approx(1)
    assert len(set(weights[13:].tolist())) == 1  # common and unlabelled clips stay equal to each other


def test_nothing_changes_without_rare_units():
    assert draw_weights(shown(10, 30, 0)).tolist() == [1.0] * 100


def test_shares_that_exclude_each_other_come_near():
    weights = draw_weights(shown(5, 5, 5, 5, 5))
    share = weights @ shown(5, 5, 5, 5, 5).double() / weights.sum()
    assert share.min() > 0.15


def test_impossible_shares():
    with pytest.raises(ConfigError, match="share 1"):
        draw_weights(shown(1), share=1.0)


def test_passes_hold_clips_as_often_as_their_weights_say():
    weights = torch.tensor([4.0, 1.0, 0.5, 0.5, 0.0, 0.0])
    sampler = ReplaySampler(range(6), batch_size=6, steps_per_epoch=50, weights=weights)
    stream = [draw.index for draw in sampler]
    for start in range(0, 300, 6):
        found = Counter(stream[start : start + 6])
        assert found[0] == 4
        assert found[1] == 1
        assert found[2] + found[3] == 1
    assert Counter(stream)[2] == pytest.approx(25, abs=12)
    assert stream[:6] != stream[6:12] or stream[6:12] != stream[12:18]
    assert [draw.index for draw in sampler] == stream


def test_weighted_global_batches_do_not_depend_on_the_number_of_processes():
    weights = torch.rand(17, generator=torch.Generator().manual_seed(0))
    alone = list(ReplaySampler(range(17), batch_size=4, steps_per_epoch=9, weights=weights))
    ranks = [
        list(
            ReplaySampler(
                range(17), batch_size=2, steps_per_epoch=9, weights=weights, num_replicas=2, rank=rank
            )
        )
        for rank in (0, 1)
    ]
    assert [draw for pair in zip(*ranks, strict=True) for draw in pair] == alone


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [1.0, float("nan"), 1.0]])
def test_weights_that_do_not_fit(weights):
    with pytest.raises(ConfigError, match="3 clips need as many weights"):
        ReplaySampler(range(3), batch_size=1, steps_per_epoch=1, weights=torch.tensor(weights))
