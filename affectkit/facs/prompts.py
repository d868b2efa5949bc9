"""Texts for the text tower of a vision-language model."""

from __future__ import annotations

from collections.abc import Iterable

from affectkit.facs.units import ActionUnit

__all__ = ["au_name", "au_prompt", "au_prompt_pair", "expression_prompt"]

_SIDES = {"L": "left ", "R": "right ", None: ""}


def au_name(unit: ActionUnit) -> str:
    """The FACS name of a unit, with its side in front.

    Args:
        unit: The unit.

    Example:
        >>> au_name(ActionUnit(12, "L"))
        'left lip corner puller'
    """
    return f"{_SIDES[unit.side]}{unit.name}"


def au_prompt(unit: ActionUnit) -> str:
    """A description of a unit: number, name, what one sees, and where.

    Args:
        unit: The unit.

    Example:
        >>> au_prompt(ActionUnit(12))
        'AU12 lip corner puller: lip corners drawn back and up (lip corners and cheeks)'
    """
    return f"AU{unit.id} {au_name(unit)}: {unit.cue} ({unit.region})"


def au_prompt_pair(unit: ActionUnit) -> tuple[str, str]:
    """Two texts to tell a unit's presence from its absence by: with the unit, and without it.

    Args:
        unit: The unit.

    Example:
        >>> for text in au_prompt_pair(ActionUnit(25)):
        ...     print(text)
        a face with AU25 (lips part) activated: lips parted
        a face without AU25 (lips part)
    """
    named = f"AU{unit.id} ({au_name(unit)})"
    return f"a face with {named} activated: {unit.cue}", f"a face without {named}"


def expression_prompt(expression: str, units: Iterable[ActionUnit] = ()) -> str:
    """A text for an expression class: the class and the names of its units, or a sentence when none is given.

    Args:
        expression: The class name.
        units: Units that describe the class, in the order they are to be named.

    Example:
        >>> expression_prompt("happiness", [ActionUnit(6), ActionUnit(12)])
        'happiness, cheek raiser, lip corner puller'
        >>> expression_prompt("happiness")
        'an expression of happiness'
    """
    names = [au_name(unit) for unit in units]
    return ", ".join([expression, *names]) if names else f"an expression of {expression}"
