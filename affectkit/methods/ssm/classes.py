"""Expression classes that nobody trained: their names, their prompt texts, and the units that go with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from affectkit.facs import (
    PRIORS,
    PROMPT_STYLES,
    AUSet,
    ExpressionSet,
    association,
    canonical_expression,
    prompt_text,
    typical_units,
)

__all__ = ["NewClass", "read_classes"]

_NEUTRAL = "neutral"
_NOT_IN_NAMES = re.compile(r"[^a-z0-9' -]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewClass:
    """One class that a model is asked about.

    Args:
        name: The class name.
        text: What its prompt says.
        row: Its association with each unit, 0 to 1; empty without units.
        trained: Whether it is one that the model was trained on, and its text none of the user's own.
    """

    name: str
    text: str
    row: tuple[float, ...]
    trained: bool = False


def read_classes(
    texts: Sequence[str] | Mapping[str, str],
    trained: Sequence[str],
    units: AUSet | None,
    style: str = "facs",
    prior: str = "facs",
) -> list[NewClass]:
    """Make classes of what a user wrote.

    Args:
        texts: Class names or free texts, whose letters then name the class; or texts by class name.
        trained: The classes that the model was trained on.
        units: The action units that rows are for.
        style: Style of the texts; "facs" stands in for a class that a published style lacks.
        prior: Source of the rows; "facs" stands in likewise.

    Raises:
        LabelSpaceError: There are fewer than two classes, one that a text names is none, or two are the same.

    Example:
        >>> for item in read_classes(["Angry", "contempt", "A smirk, barely visible"], ["anger"], None):
        ...     print(item.name, "|", item.text, "|", item.trained)
        anger | anger, brow lowerer, lid tightener, chin raiser, lip pressor | True
        contempt | contempt, lip corner puller, dimpler | False
        a smirk barely visible | A smirk, barely visible | False
    """
    given_texts = dict(texts) if isinstance(texts, Mapping) else {}
    classes = []
    for given in texts:
        own = given_texts.get(given)
        name = canonical_expression(given)
        ruled = (
            name in trained or name == _NEUTRAL or name in PROMPT_STYLES.get(style, ()) or typical_units(name)
        )
        if own is None and ruled:
            text = prompt_text(name, units, style if name in PROMPT_STYLES.get(style, ()) else "facs")
            classes.append((name, text, name in trained))
        else:
            name = canonical_expression(_NOT_IN_NAMES.sub(" ", given.casefold()))
            classes.append((name, given if own is None else own, False))
    ExpressionSet(tuple(name for name, *_ in classes))  # refuses what cannot be class names
    return [NewClass(name, text, _row(name, units, prior), there) for name, text, there in classes]


def _row(name: str, units: AUSet | None, prior: str) -> tuple[float, ...]:
    if units is None:
        return ()
    covered = PRIORS[prior][1] if prior in PRIORS else ()
    pair = ExpressionSet((name, "happiness" if name == _NEUTRAL else _NEUTRAL))
    return association(pair, units, prior if name in covered else "facs")[0]
