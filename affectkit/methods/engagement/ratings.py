"""Answers of a rater about clips, such as of a vision-language model or of people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from affectkit.data.tables import Table, read_table

__all__ = ["Ratings", "read_labels", "read_ratings"]


@dataclass(frozen=True, eq=False)
class Ratings:
    """Answers about N clips to Q questions, or distributions over K labels, or both.

    Attributes:
        clips: Names of the clips.
        questions: Names of the questions.
        answers: float64 [N, Q], 0 to 1, the weighted mean of all answers to a question; NaN if there is none.
        weights: float64 [N, Q], total weight of the answers, at most 1.
        given: float64 [N, K], distribution that the rater gives directly; NaN if it gives none.
    """

    clips: tuple[str, ...]
    questions: tuple[str, ...]
    answers: Tensor
    weights: Tensor
    given: Tensor

    def select(self, clips: list[str]) -> Ratings:
        """Ratings of these clips, in their order; those without a rating have no answers."""
        known = {clip: place for place, clip in enumerate(self.clips)}
        rows = torch.tensor([known.get(clip, len(self.clips)) for clip in clips], dtype=torch.int64)
        return Ratings(
            tuple(clips),
            self.questions,
            _with_last(self.answers, torch.nan)[rows],
            _with_last(self.weights, 0.0)[rows],
            _with_last(self.given, torch.nan)[rows],
        )


def _with_last(values: Tensor, value: float) -> Tensor:
    """Append a row of one value."""
    return torch.cat([values, values.new_full((1, values.shape[1]), value)])


def read_ratings(path: str | Path, num_labels: int) -> Ratings:
    r"""Read a table with one answer per row, or one distribution per row.

    Columns: `clip`; `question` and `answer`, 0 to 1; optionally `weight`, 0 to 1, such as the certainty of the rater;
    optionally `p0`, `p1`, …, the rater's own probability of each label, once per clip. Several answers to one question,
    such as of several raters, are averaged by weight. Empty answers count as not given.

    Args:
        path: A file of the kinds that `affectkit.data.read_table` reads.
        num_labels: Number of classes or levels, K.

    Raises:
        DatasetNotFoundError: The file does not exist.
        AnnotationError: A column is missing, or a value is not from 0 to 1; names file and line.

    Example:
        >>> path = getfixture("tmp_path") / "ratings.csv"
        >>> _ = path.write_text("clip,question,answer,weight\na,yawns,0.2,1\na,yawns,1,0.25\nb,yawns,,1\n")
        >>> ratings = read_ratings(path, 4)
        >>> ratings.clips, ratings.answers.tolist()
        (('a', 'b'), [[0.36], [nan]])
    """
    names = [f"p{label}" for label in range(num_labels)]
    table = read_table(Path(path)).with_names(("clip", "question", "answer", "weight", *names))
    answered = {"question", "answer"} <= table.columns.keys()
    distributed = set(names) <= table.columns.keys()
    if "clip" not in table.columns or not (answered or distributed):
        remedy = f"Write the columns clip, question and answer, or clip and {', '.join(names)}."
        raise table.error(f"The columns are {', '.join(table.columns)}.", remedy=remedy)
    clips: dict[str, int] = {}
    questions: dict[str, int] = {}
    answers: list[tuple[int, int, float, float]] = []
    given: dict[int, list[float]] = {}
    for row in range(len(table)):
        name = table.text("clip", row)
        if name is None:
            raise table.error("The clip is empty.", row, remedy="Name the clip, or delete the row.")
        clip = clips.setdefault(name, len(clips))
        question = table.text("question", row)
        answer = None if question is None else _share(table, "answer", row)
        if question is not None:
            place = questions.setdefault(question, len(questions))
            weight = _share(table, "weight", row)
            if answer is not None:
                answers.append((clip, place, answer, 1.0 if weight is None else weight))
        own = [_share(table, column, row) for column in names] if distributed else [None]
        if None not in own:
            shares = [float(share or 0.0) for share in own]
            if not abs(sum(shares) - 1.0) < 0.02:
                raise table.error(
                    f"The probabilities sum to {sum(shares):.3f}.", row, remedy="They must sum to 1."
                )
            given[clip] = [share / sum(shares) for share in shares]
    totals = torch.zeros(2, len(clips), len(questions), dtype=torch.float64)
    for clip, place, answer, weight in answers:
        totals[0, clip, place] += weight * answer
        totals[1, clip, place] += weight
    rows = [given.get(clip, [torch.nan] * num_labels) for clip in range(len(clips))]
    return Ratings(
        tuple(clips),
        tuple(questions),
        totals[0] / torch.where(totals[1] > 0, totals[1], torch.nan),
        totals[1].clamp(max=1.0),
        torch.tensor(rows, dtype=torch.float64).reshape(-1, num_labels),
    )


def read_labels(path: str | Path, labels: tuple[str, ...]) -> dict[str, int]:
    """Read the true label of clips, columns `clip` and `label`.

    Args:
        path: A file of the kinds that `affectkit.data.read_table` reads.
        labels: Names of the labels.

    Raises:
        DatasetNotFoundError: The file does not exist.
        AnnotationError: A column is missing, or a label is unknown.
    """
    table = read_table(Path(path)).with_names(("clip", "label"))
    if missing := sorted({"clip", "label"} - table.columns.keys()):
        raise table.error(f"The column {missing[0]} is missing.", remedy="Write the columns clip and label.")
    found = {}
    for row in range(len(table)):
        clip, label = (table.text(column, row) or "" for column in ("clip", "label"))
        if label not in labels:
            raise table.error(f"The label is '{label[:40]}'.", row, remedy=f"Labels are {', '.join(labels)}.")
        found[clip] = labels.index(label)
    return found


def _share(table: Table, column: str, row: int) -> float | None:
    """A number from 0 to 1; None if it is empty or the column is absent."""
    value = table.number(column, row) if column in table.columns else None
    if value is not None and not 0 <= value <= 1:
        raise table.error(f"Column '{column}' holds {value:g}.", row, remedy="Write a number from 0 to 1.")
    return value
