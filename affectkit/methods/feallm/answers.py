"""Answers about a face: units, expression and reason in a fixed grammar that always parses."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from affectkit.errors import AnnotationError
from affectkit.facs import ActionUnit, AUSet, ExpressionSet, typical_units
from affectkit.facs.prompts import au_name
from affectkit.facs.rules import DU_2014, prior

__all__ = ["INSTRUCTION", "MOST_CUES", "Answer", "answer_from_labels", "likeliest_expression", "parse_answer"]

INSTRUCTION = "Which action units act on this face, and which expression do they form?"
"""Instruction of every answer."""

MOST_CUES = 3
"""Most units in the reason of an answer."""

START, NONE, NO_CUE = "AUs:", " none", " no typical unit"
NEXT, STOP, EXPRESSION, REASON, AND, END = ",", ";", " emotion:", " because", " and", "."


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer states.

    Args:
        units: Active units.
        expression: Expression class.
        cues: Units that speak for the expression, at most `MOST_CUES` of `units`; may be empty.

    Example:
        >>> Answer((ActionUnit(6), ActionUnit(12)), "happiness", (ActionUnit(12),)).text
        'AUs: cheek raiser, lip corner puller; emotion: happiness; because lip corner puller.'
        >>> Answer((), "neutral", ()).text
        'AUs: none; emotion: neutral; because no typical unit.'
    """

    units: tuple[ActionUnit, ...]
    expression: str
    cues: tuple[ActionUnit, ...]

    @property
    def text(self) -> str:
        """The answer in words."""
        return "".join(self.pieces)

    @property
    def pieces(self) -> tuple[str, ...]:
        """Pieces of the text: names, classes and fixed words."""
        reason = [piece for cue in self.cues for piece in (AND, f" {au_name(cue)}")][1:] or [NO_CUE]
        return (*unit_pieces(self.units), f" {self.expression}", STOP, REASON, *reason, END)


def unit_pieces(units: Sequence[ActionUnit]) -> tuple[str, ...]:
    """Pieces of the text of an answer with these units, up to its expression."""
    names: list[str] = []
    for unit in units:
        names += [f" {au_name(unit)}", NEXT]
    return (START, *(names[:-1] or [NONE]), STOP, EXPRESSION)


def answer_from_labels(units: Sequence[ActionUnit], expression: str) -> Answer:
    """Write the answer for exact labels: the cues are the first active units that are typical of the expression.

    Args:
        units: Active units, in the order of the label space.
        expression: Expression class.

    Example:
        >>> answer_from_labels([ActionUnit(4), ActionUnit(12), ActionUnit(25)], "happiness").cues
        (ActionUnit(id=12, side=None), ActionUnit(id=25, side=None))
    """
    typical = typical_units(expression)
    cues = [unit for unit in units if unit.id in typical]
    return Answer(tuple(units), expression, tuple(cues[:MOST_CUES]))


def parse_answer(text: str, units: AUSet, expressions: ExpressionSet) -> Answer:
    """Read the text of an answer.

    Args:
        text: The text, as `Answer.text` writes it.
        units: Units that it may name.
        expressions: Classes that it may name.

    Raises:
        AnnotationError: The text differs from the grammar, names another unit or class or one twice, or has a cue that
            is not among its units.

    Example:
        >>> text = "AUs: cheek raiser, lip corner puller; emotion: happiness; because lip corner puller."
        >>> parse_answer(text, AUSet.of(6, 12), ExpressionSet.parse("basic7")).expression
        'happiness'
    """
    remedy = "Write: AUs: NAME, NAME; emotion: CLASS; because NAME and NAME."
    parts = text.strip().split(f"{STOP} ")
    starts = (START, EXPRESSION.strip(), REASON.strip())
    if len(parts) != 3 or not text.rstrip().endswith(END):
        raise AnnotationError("The answer does not have three parts and a full stop.", remedy=remedy)
    for part, start in zip(parts, starts, strict=True):
        if not part.startswith(f"{start} "):
            raise AnnotationError(f"A part of the answer does not start with {start!r}.", remedy=remedy)
    listed, expression, reason = (part[len(start) + 1 :] for part, start in zip(parts, starts, strict=True))
    by_name = {au_name(unit): unit for unit in units}
    found = () if listed == NONE.strip() else _named(listed.split(f"{NEXT} "), by_name)
    reason = reason.removesuffix(END)
    named = {au_name(unit): unit for unit in found}
    cues = () if reason == NO_CUE.strip() else _named(reason.split(f"{AND} "), named)
    if expression not in expressions.classes:
        raise AnnotationError(
            f"The answer names the expression {expression!r}.",
            remedy=f"Known: {', '.join(expressions.classes)}.",
        )
    if len(cues) > MOST_CUES:
        raise AnnotationError(f"The reason names {len(cues)} units.", remedy=f"Name at most {MOST_CUES}.")
    return Answer(found, expression, cues)


def _named(names: Sequence[str], known: Mapping[str, ActionUnit]) -> tuple[ActionUnit, ...]:
    """Units of these names."""
    for name in names:
        if name not in known or names.count(name) > 1:
            fault = (
                f"names {name!r} twice" if name in known else f"names {name!r}, which is not possible there"
            )
            raise AnnotationError(
                f"The answer {fault}.", remedy=f"Possible: {', '.join(known) or NONE.strip()}."
            )
    return tuple(known[name] for name in names)


def likeliest_expression(
    active: Collection[ActionUnit], units: AUSet, expressions: ExpressionSet
) -> str | None:
    """Class for which exactly these units are likeliest, by the table `affectkit.facs.rules.prior`.

    Args:
        active: Active units.
        units: All units that could be active.
        expressions: The classes.

    Returns:
        The first of the likeliest classes; None if the table has none of the classes.

    Example:
        >>> units, classes = AUSet.of(4, 6, 12, 15), ExpressionSet.parse("basic7")
        >>> likeliest_expression([ActionUnit(6), ActionUnit(12)], units, classes)
        'happiness'
    """
    known = tuple(name for name in expressions.classes if name == "neutral" or name in DU_2014)
    if not known:
        return None
    acts = [unit in active for unit in units]
    scores = [
        sum(math.log(p if on else 1 - p) for p, on in zip(row, acts, strict=True))
        for row in prior(ExpressionSet(known), units)
    ]
    return known[scores.index(max(scores))]
