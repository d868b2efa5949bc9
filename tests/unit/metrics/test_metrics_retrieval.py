"""Recall at k, against a loop over sorted candidates."""

from __future__ import annotations

import pytest
import torch

from affectkit.metrics import retrieval_ranks, retrieval_results

N = 24


@pytest.fixture
def given():
    rng = torch.Generator().manual_seed(0)
    texts = torch.randint(0, 9, (N,), generator=rng)
    scores = torch.rand(N, N, generator=rng) + 0.3 * (texts[:, None] == texts)
    return scores, texts, torch.arange(N) % 6


def test_ranks_are_those_of_a_sorted_list(given):
    scores, texts, _ = given
    ranks, right = retrieval_ranks(scores, texts)
    for i in range(N):
        order = scores[i].argsort(descending=True).tolist()
        assert ranks[i] == 1 + next(place for place, j in enumerate(order) if texts[j] == texts[i])
        assert right[i] == (texts == texts[i]).sum()


def test_ties_count_against_the_query():
    ranks, _ = retrieval_ranks(torch.zeros(3, 3), torch.tensor([0, 1, 1]))
    assert ranks.tolist() == [3, 2, 2]


def test_results_are_shares_of_queries_with_intervals_and_chance(given):
    scores, texts, group = given
    rows = retrieval_results(scores, texts, group, "global", protocol="test split")
    assert [row.name for row in rows] == [f"global/{d}_r{k}" for d in ("text", "picture") for k in (1, 5, 10)]
    ranks, right = retrieval_ranks(scores, texts)
    back, _ = retrieval_ranks(scores.T, texts)
    for row, share in zip(
        rows, [(r <= k).double().mean() for r in (ranks, back) for k in (1, 5, 10)], strict=True
    ):
        assert row.estimate.value == pytest.approx(share.item())
        assert row.estimate.low <= row.estimate.value <= row.estimate.high
        assert row.resampled == "subjects"
    assert rows[0].baseline == pytest.approx((right / N).mean().item())
    rng = torch.Generator().manual_seed(1)
    draws = [
        (retrieval_ranks(torch.rand(N, N, generator=rng), texts)[0] <= 5).double().mean() for _ in range(300)
    ]
    assert rows[1].baseline == pytest.approx(torch.stack(draws).mean().item(), abs=0.02)


def test_fewer_candidates_than_k_are_always_found():
    rows = retrieval_results(
        torch.rand(3, 3), torch.arange(3), torch.arange(3), "x", protocol="p", by_subject=False
    )
    assert [(row.estimate.value, row.baseline) for row in rows if row.name.endswith("r10")] == [
        (1.0, 1.0)
    ] * 2
    assert rows[0].resampled == "clips"
