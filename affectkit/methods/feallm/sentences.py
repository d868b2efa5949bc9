"""Metrics of sentences: what they state against labels, and whether they hold together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from affectkit.errors import AnnotationError
from affectkit.facs import typical_units
from affectkit.methods.feallm.answers import Answer, likeliest_expression, parse_answer
from affectkit.methods.feallm.head import FEALLMHead
from affectkit.metrics import Result, Tally, estimate

__all__ = ["SentenceMetrics"]

_SHARES = ("parsed", "agreement", "typical_cues", "follows", "both_right")


class SentenceMetrics:
    """Counts over the sentences of one corpus, by subject.

    Results: `parsed`, the share of sentences that parse; `agreement`, that of units whose mention agrees with
    probability and threshold; `f1_pos`, the mean F1 of the listed units, without units that are neither listed nor
    active; `uar`, the mean recall of the named expressions; `typical_cues`, the share of sentences whose every cue is
    typical of the named expression; `follows`, that of sentences whose expression is the likeliest one for the listed
    units, see `likeliest_expression`; `both_right`, that of completely labelled clips with the right expression and
    exactly the right units.

    Args:
        head: The head that answers.
    """

    def __init__(self, head: FEALLMHead) -> None:
        self.head = head
        self.rows: list[tuple[int, Tensor]] = []  # subject, counts

    def update(
        self,
        texts: Sequence[str],
        active: Tensor,
        units: tuple[Tensor, Tensor],
        expressions: tuple[Tensor, Tensor],
        subject: Tensor,
    ) -> None:
        """Add the sentences of B clips.

        Args:
            texts: B sentences.
            active: bool [B, A], decisions by probability and threshold.
            units: Values and mask [B, A] of the labels of units.
            expressions: Classes and mask [B] of the labels of expressions.
            subject: int64 [B].
        """
        columns = (part.cpu() for part in (active, *units, *expressions, subject))
        for text, decided, value, mask, expression, labelled, person in zip(texts, *columns, strict=True):
            try:
                answer: Answer | None = parse_answer(text, self.head.units, self.head.expressions)
            except AnnotationError:
                answer = None
            named = torch.tensor([answer is not None and unit in answer.units for unit in self.head.units])
            truth = value >= 0.5
            counts = [named & truth & mask, named & ~truth & mask, ~named & truth & mask, mask]
            having, right = torch.zeros(2, len(self.head.expressions), dtype=torch.float64)
            is_right = False
            if labelled:
                having[int(expression)] = 1
                is_right = (
                    answer is not None and self.head.expressions.classes[int(expression)] == answer.expression
                )
                right[int(expression)] = is_right
            complete = bool(mask.all() and labelled)
            both = complete and is_right and torch.equal(named, truth)
            shares = [*self._shares(answer, named, decided), both, 1, complete]
            row = [
                *(one.double() for one in counts),
                right,
                having,
                torch.tensor(shares, dtype=torch.float64),
            ]
            self.rows.append((int(person), torch.cat(row)))

    def _shares(self, answer: Answer | None, named: Tensor, decided: Tensor) -> list[float]:
        if answer is None:
            return [0.0] * 4
        typical = typical_units(answer.expression)
        likeliest = likeliest_expression(answer.units, self.head.units, self.head.expressions)
        return [
            1.0,
            float((named == decided).double().mean()),
            float(all(cue.id in typical for cue in answer.cues)),
            float(likeliest == answer.expression),
        ]

    def gather(self) -> None:
        """Collect the sentences of all processes in each of them; all must call it."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            rows: list[list[tuple[int, Tensor]]] = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(rows, self.rows)
            self.rows = [one for part in rows for one in part]

    def results(self, protocol: str, *, by_subject: bool) -> list[Result]:
        """Results as `sentences/NAME` with intervals; empty without sentences.

        The baseline of the F1 lists every unit, that of the recall always names one class; the others have none.

        Args:
            protocol: The data.
            by_subject: Whether the clips' subjects are known.
        """
        if not self.rows:
            return []
        A, E = len(self.head.units), len(self.head.expressions)
        subjects = torch.tensor([subject for subject, _ in self.rows])
        groups, place = torch.unique(subjects, return_inverse=True)
        rows = torch.stack([row for _, row in self.rows])
        sums = torch.zeros(len(groups), rows.shape[1], dtype=torch.float64).index_add_(0, place, rows)

        def summarise(total: Tensor, _: Tensor | None) -> dict[str, Tensor]:
            hit, false, missed, known, right, having, shares = torch.split(
                total, [A, A, A, A, E, E, 7], dim=1
            )
            counts = shares[:, [5, 5, 5, 5, 6]]
            return {
                "f1_pos": _ratio(2 * hit, 2 * hit + false + missed).nanmean(dim=1),
                "trivial": _ratio(2 * (hit + missed), known + hit + missed).nanmean(dim=1),
                "uar": _ratio(right, having).nanmean(dim=1),
                "chance": 1 / (having > 0).sum(dim=1).double(),
                **dict(zip(_SHARES, _ratio(shares[:, :5], counts).unbind(1), strict=True)),
            }

        found = estimate(Tally(("sentences",), sums, summarise))
        baselines = {"f1_pos": found.pop("trivial").value, "uar": found.pop("chance").value}
        return [
            Result(
                f"sentences/{name}",
                value,
                baselines.get(name, float("nan")),
                protocol,
                resampled="subjects" if by_subject else "clips",
            )
            for name, value in found.items()
        ]


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Ratio, NaN without anything."""
    return torch.where(whole > 0, part / whole.clamp(min=1), torch.nan)
