"""Retrieval of texts by pictures and of pictures by texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from affectkit.metrics.intervals import Tally, estimate
from affectkit.metrics.results import Result

__all__ = ["RANKS", "retrieval_ranks", "retrieval_results"]

RANKS: tuple[int, ...] = (1, 5, 10)
"""Numbers of the first candidates of which one must be right."""


def retrieval_ranks(scores: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """Rank of the first right candidate of every query, from 1.

    A clip with the same text as the query is right too. Wrong candidates with an equal score come first.

    Args:
        scores: [N, N], of queries (rows) and candidates (columns) of the same clips.
        texts: int64 [N], equal for equal texts.

    Returns:
        Ranks int64 [N], and the number of right candidates int64 [N].

    Example:
        >>> retrieval_ranks(torch.tensor([[0.9, 0.5], [0.9, 0.9]]), torch.tensor([1, 2]))
        (tensor([1, 2]), tensor([1, 1]))
    """
    right = texts[:, None] == texts
    best = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + ((scores >= best) & ~right).sum(dim=1), right.sum(dim=1)


def retrieval_results(
    scores: Tensor, texts: Tensor, group: Tensor, name: str, *, protocol: str, by_subject: bool = True
) -> list[Result]:
    """R@1, R@5 and R@10 in both directions, with intervals and chance.

    Results: `NAME/text_r1`, the share of pictures whose text is found first; `NAME/picture_r1`, the share of texts
    whose picture is found first; and those of the first 5 and 10. The baseline is the expected value of a random
    order. The intervals leave out the queries of one group after the other; the candidates stay.

    Args:
        scores: [N, N], of pictures (rows) and texts (columns).
        texts: int64 [N], equal for equal texts.
        group: int64 [N], subject of each clip.
        name: First part of the names.
        protocol: The data.
        by_subject: Whether groups are subjects, else clips.

    Example:
        >>> rows = retrieval_results(torch.eye(4), torch.arange(4), torch.arange(4), "captions", protocol="test")
        >>> rows[0].name, rows[0].estimate.value, rows[0].baseline
        ('captions/text_r1', 1.0, 0.25)
    """
    groups, place = torch.unique(group.cpu(), return_inverse=True)
    columns, chance = {}, {}
    for direction, its_scores in (("text", scores), ("picture", scores.T)):
        rank, num_right = (part.cpu() for part in retrieval_ranks(its_scores, texts))
        for k in RANKS:
            columns[f"{direction}_r{k}"] = (rank <= k).double()
            chance[f"{direction}_r{k}"] = _chance(num_right.tolist(), k)
    hits = torch.stack([*columns.values(), torch.ones(len(place), dtype=torch.float64)], dim=1)
    sums = torch.zeros(len(groups), hits.shape[1], dtype=torch.float64).index_add_(0, place, hits)
    tally = Tally(
        tuple(columns),
        sums,
        lambda total, _: {key: total[:, i] / total[:, -1] for i, key in enumerate(columns)},
    )
    return [
        Result(f"{name}/{key}", value, chance[key], protocol, None, "subjects" if by_subject else "clips")
        for key, value in estimate(tally).items()
    ]


def _chance(num_right: Sequence[int], k: int) -> float:
    """Mean probability that one of the first k of N candidates in random order is right, N queries in all."""
    n = len(num_right)
    ways = math.comb(n, min(k, n))
    return math.fsum(1 - math.comb(n - right, min(k, n)) / ways for right in num_right) / n
