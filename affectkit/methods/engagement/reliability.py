"""Reliability of labels: how well they agree with the answers of a rater."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.data import ClipLabels
from affectkit.errors import ConfigError
from affectkit.methods.engagement.ratings import Ratings

__all__ = ["Curriculum", "Reliability", "assess", "cross_fit", "fold_of", "keep_if_skilled", "rate_others"]

_PENALTY = 1.0  # of squared weights on standardised answers, against the sum over clips
_NEIGHBOUR = (
    0.05  # share of a label that may as well be the next level; others have twice that for all classes
)


def fold_of(subjects: Sequence[str], folds: int, seed: int = 0) -> Tensor:
    """Fold of each clip, int64 [N]: people are dealt to folds in a random order.

    Example:
        >>> fold_of(["a", "a", "b"], folds=2).unique().tolist()
        [0, 1]
    """
    people = sorted(set(subjects))
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(seed)).tolist()
    dealt = {people[person]: place % folds for place, person in enumerate(order)}
    return torch.tensor([dealt[subject] for subject in subjects], dtype=torch.int64)


def cross_fit(
    ratings: Ratings,
    labels: Tensor,
    subjects: Sequence[str],
    *,
    ordered: bool,
    folds: int = 5,
    seed: int = 0,
) -> Tensor:
    r"""Predict the label of each clip from the answers about it, by a model that was fitted on other people.

    The model is a logistic regression with an L2 penalty on standardised answers: with proportional odds,
    :math:`P(y \ge k) = \sigma(w \cdot x - \theta_k)`, if the labels are ordered, otherwise multinomial. An answer
    that is not given counts as the mean, and an answer with a small weight is moved towards it.

    Args:
        ratings: Answers about N clips. Distributions that the rater gives directly replace the prediction.
        labels: int64 [N], -1 if unknown.
        subjects: Person of each clip.
        ordered: Whether labels are levels.
        folds: Number of groups of people.
        seed: Seed of the groups.

    Returns:
        float64 [N, K], distributions. A clip without any rating has its own label, so that it counts as reliable.

    Raises:
        ConfigError: There is only one person.
    """
    if len(set(subjects)) < 2:
        raise ConfigError("Labels of one person cannot be rated by a model of other people.")
    count = ratings.given.shape[1]
    fold = fold_of(subjects, min(folds, len(set(subjects))), seed)
    found = torch.full((len(labels), count), 1.0 / count, dtype=torch.float64)
    for held_out in sorted(set(fold.tolist())) if ratings.questions else ():
        inside, outside = fold != held_out, fold == held_out
        found[outside] = _predict(
            _rows(ratings, inside), labels[inside], _rows(ratings, outside), ordered=ordered
        )
    direct = ratings.given.isfinite().all(1)
    found[direct] = ratings.given[direct]
    unrated = ~direct & ratings.answers.isnan().all(1) & (labels >= 0)
    found[unrated] = F.one_hot(labels[unrated], count).double()
    return found


def rate_others(ratings: Ratings, labels: Tensor, others: Ratings, *, ordered: bool) -> Tensor:
    """Predict the labels of other people's clips, by the model of `cross_fit`, fitted on all clips.

    Args:
        ratings: Answers about N clips.
        labels: int64 [N], -1 if unknown.
        others: Answers about M clips of other people, to the same questions.
        ordered: Whether labels are levels.

    Returns:
        float64 [M, K], distributions; NaN for clips without any rating.
    """
    found = torch.full((len(others.clips), ratings.given.shape[1]), torch.nan, dtype=torch.float64)
    answered = others.answers.isfinite().any(1)
    if ratings.questions:
        found[answered] = _predict(ratings, labels, _rows(others, answered), ordered=ordered)
    direct = others.given.isfinite().all(1)
    found[direct] = others.given[direct]
    return found


def _rows(ratings: Ratings, rows: Tensor) -> Ratings:
    """Ratings of the clips that are True in bool [N]."""
    clips = tuple(clip for clip, wanted in zip(ratings.clips, rows.tolist(), strict=True) if wanted)
    return Ratings(
        clips, ratings.questions, ratings.answers[rows], ratings.weights[rows], ratings.given[rows]
    )


def _predict(ratings: Ratings, labels: Tensor, others: Ratings, *, ordered: bool) -> Tensor:
    """Distributions [M, K] of other clips, by a model of the answers about clips with known labels."""
    known = labels >= 0
    answers = ratings.answers[known]
    mean = answers.nanmean(0).nan_to_num(0.0)
    spread = (answers - mean).square().nanmean(0).nan_to_num(0.0).sqrt().clamp(min=1e-3)
    values, wanted = (
        ((part.answers - mean) / spread).nan_to_num(0.0) * part.weights for part in (ratings, others)
    )
    fit = _fit_levels if ordered else _fit_classes
    return fit(values[known], labels[known], wanted, ratings.given.shape[1])


def keep_if_skilled(rated: Tensor, labels: Tensor) -> Tensor:
    """Return the distributions of a rater if they are likelier than the frequencies of the labels.

    Otherwise the rater knows nothing about the labels, and doubting them would only discard rare ones: then every
    clip has its own label as distribution, so that all labels are accepted.

    Args:
        rated: float64 [N, K], predicted by models of other people's clips.
        labels: int64 [N], -1 if unknown.

    Example:
        >>> rated = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
        >>> keep_if_skilled(rated, torch.tensor([0, 1])).tolist(), keep_if_skilled(rated, torch.tensor([1, 0])).tolist()
        ([[0.9, 0.1], [0.2, 0.8]], [[0.0, 1.0], [1.0, 0.0]])
    """
    known = labels >= 0
    own = F.one_hot(labels.clamp(min=0), rated.shape[1]).double()
    frequencies = own[known].mean(0).expand_as(rated)
    likelihood = [(own * table.clamp(min=1e-9).log()).sum(1)[known].mean() for table in (rated, frequencies)]
    return rated if likelihood[0] > likelihood[1] else own


def _minimize(parameters: list[Tensor], loss: Callable[[], Tensor]) -> None:
    optimizer = torch.optim.LBFGS(parameters, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _fit_levels(values: Tensor, labels: Tensor, others: Tensor, count: int) -> Tensor:
    """Proportional odds: distributions [M, K] of other rows [M, Q]."""
    weight = torch.zeros(values.shape[1], dtype=torch.float64, requires_grad=True)
    first = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    gaps = torch.zeros(count - 2, dtype=torch.float64, requires_grad=True)

    def distribution(rows: Tensor) -> Tensor:
        thresholds = torch.cat([first, first + F.softplus(gaps).cumsum(0)])
        reached = F.pad((rows @ weight[:, None] - thresholds).sigmoid(), (1, 0), value=1.0)
        return reached - F.pad(reached[:, 1:], (0, 1))

    def loss() -> Tensor:
        right = distribution(values).gather(1, labels[:, None]).clamp(min=1e-9)
        return -right.log().sum() + _PENALTY / 2 * weight.square().sum()

    _minimize([weight, first, gaps], loss)
    return distribution(others).detach().clamp(min=0.0)


def _fit_classes(values: Tensor, labels: Tensor, others: Tensor, count: int) -> Tensor:
    """Multinomial logistic regression: distributions [M, K] of other rows [M, Q]."""
    weight = torch.zeros(values.shape[1], count, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(count, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        fit = F.cross_entropy(values @ weight + bias, labels, reduction="sum")
        return fit + _PENALTY / 2 * (weight.square().sum() + bias.square().sum())

    _minimize([weight, bias], loss)
    return (others @ weight + bias).detach().softmax(1)


@dataclass(frozen=True, eq=False)
class Reliability:
    r"""Reliability of the labels of N clips, and labels refined by it.

    Attributes:
        labels: int64 [N], as given; -1 if unknown.
        rated: float64 [N, K], the rater's distribution :math:`p`.
        value: float64 [N], reliability ρ of the given label y: :math:`p_y`, for levels with half the probability of its
            neighbours, :math:`\min(1, p_y + (p_{y-1} + p_{y+1}) / 2)`.
        accepted: bool [N].
        soft: float64 [N, K], refined labels; 0 if the label is unknown.
    """

    labels: Tensor
    rated: Tensor
    value: Tensor
    accepted: Tensor
    soft: Tensor

    def write(self, path: Path, clips: ClipLabels, names: Sequence[str]) -> None:
        """Write a row per clip with a label: dataset, clip, label, reliability, whether it is accepted, and p."""
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["dataset", "clip", "label", "reliability", "accepted", *names])
            for row in (self.labels >= 0).nonzero()[:, 0].tolist():
                label, value = names[int(self.labels[row])], f"{self.value[row]:.4f}"
                shares = [f"{share:.4f}" for share in self.rated[row].tolist()]
                table.writerow([*clips.clips[row], label, value, int(self.accepted[row]), *shares])


def assess(
    labels: Tensor,
    rated: Tensor,
    *,
    ordered: bool,
    threshold: float = 0.5,
    trust: float = 0.6,
    accepted_trust: float = 0.12,
) -> Reliability:
    r"""Compare given labels with the distributions of a rater.

    A label y is accepted if it is the rater's likeliest one, or, for levels, a neighbour of it with ρ of at least
    `threshold`. The refined label is :math:`(1 - \alpha) o(y) + \alpha p`, with :math:`\alpha = a (1 - \rho)`, a being
    `trust` for rejected labels and `accepted_trust` for others. For levels, :math:`o(y)` is 0.9 at y and 0.05 at each
    neighbour, and for classes 0.9 at y and the rest at all others.

    Args:
        labels: int64 [N], -1 if unknown.
        rated: float64 [N, K].
        ordered: Whether labels are levels.
        threshold: See above.
        trust: See above.
        accepted_trust: See above.

    Example:
        >>> rated = torch.tensor([[0.1, 0.7, 0.2], [0.9, 0.1, 0.0]], dtype=torch.float64)
        >>> found = assess(torch.tensor([2, 2]), rated, ordered=True)
        >>> found.value.tolist(), found.accepted.tolist()
        ([0.55, 0.05], [True, False])
    """
    known = labels >= 0
    count = rated.shape[1]
    own = F.one_hot(labels.clamp(min=0), count).double()
    near = F.pad(own[:, 1:], (0, 1)) + F.pad(own[:, :-1], (1, 0))
    near = near if ordered else torch.zeros_like(near)
    value = (rated * (own + near / 2)).sum(1).clamp(max=1.0)
    likeliest = rated.argmax(1)
    accepted = likeliest == labels
    accepted |= (near.gather(1, likeliest[:, None])[:, 0] > 0) & (value >= threshold)
    spread = near * _NEIGHBOUR if ordered else (1 - own) * 2 * _NEIGHBOUR / (count - 1)
    smooth = spread + own * (1 - spread.sum(1, keepdim=True))
    alpha = (torch.where(accepted, accepted_trust, trust) * (1 - value))[:, None]
    soft = ((1 - alpha) * smooth + alpha * rated) * known[:, None]
    return Reliability(labels, rated, value, accepted & known, soft)


@dataclass(frozen=True)
class Curriculum:
    r"""Weights of clips by epoch, e = 0, …, E - 1.

    In the first stage, up to the share `first` of the epochs, accepted clips count alone. Rejected ones then enter by
    falling reliability, until all take part after a further share `ramp`. A clip that takes part has the weight
    :math:`\max(\text{floor}, \rho)`.

    Args:
        stages: "two" as above, "accepted" for accepted clips alone in all epochs, or "none" for all clips.
        first: Share of the epochs.
        ramp: Share of the epochs.
        floor: Smallest weight of a clip that takes part.
    """

    stages: Literal["two", "accepted", "none"] = "two"
    first: float = 0.4
    ramp: float = 0.4
    floor: float = 0.3

    def __post_init__(self) -> None:
        if self.stages not in ("two", "accepted", "none"):
            raise ConfigError(f"stages={self.stages!r} is unknown.", remedy="Use two, accepted or none.")
        if not (0 <= self.first <= 1 and 0 <= self.ramp <= 1 and 0 <= self.floor <= 1):
            raise ConfigError("first, ramp and floor of a curriculum must be in [0, 1].")

    def entered(self, epoch: int, epochs: int) -> float:
        """Share of the rejected clips that take part.

        Example:
            >>> [round(Curriculum().entered(epoch, 10), 2) for epoch in (3, 4, 5, 6, 7, 9)]
            [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
        """
        if self.stages != "two":
            return float(self.stages == "none")
        start = round(self.first * epochs)
        if epoch < start:
            return 0.0
        return min(1.0, (epoch + 1 - start) / max(1.0, self.ramp * epochs))

    def weights(self, found: Reliability, epoch: int, epochs: int) -> Tensor:
        """Weights float64 [N]; 0 for clips that do not take part."""
        rejected = ~found.accepted & (found.labels >= 0)
        order = torch.where(rejected, found.value, -1.0).argsort(descending=True, stable=True)
        enters = torch.zeros_like(found.accepted)
        enters[order[: round(self.entered(epoch, epochs) * int(rejected.sum()))]] = True
        return torch.where(found.accepted | enters, found.value.clamp(min=self.floor), 0.0)
