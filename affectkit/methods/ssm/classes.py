"""New expression classes: names, prompt texts, and associations with action units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from affectkit.facs import (
    PRIORS,
    PROMPT_STYLES,
    AUSet,
    ExpressionSet,
    association,
    canonical_expression,
    class_name,
    prompt_text,
    typical_units,
)

__all__ = ["NewClass", "read_classes"]

_NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class NewClass:
    """One class to predict.

    Args:
        name: The class name.
        text: The text of its prompt.
        row: Its association with each unit, 0 to 1; empty without units.
        trained: Whether the model was trained on this class with this text.
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
    """Parse the classes that a user gave.

    Args:
        texts: Class names or free texts, whose letters then name the class; or texts by class name.
        trained: The classes that the model was trained on.
        units: The action units of the rows.
        style: Style of the texts; "facs" for classes that a published style lacks.
        prior: Source of the rows; "facs" for classes that it lacks.

    Raises:
        LabelSpaceError: There are fewer than two classes, two classes are the same, or a text gives no class name.

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
            name = class_name(given)
            classes.append((name, given if own is None else own, False))
    ExpressionSet(tuple(name for name, *_ in classes))  # checks the class names
    return [NewClass(name, text, _row(name, units, prior), known) for name, text, known in classes]


def _row(name: str, units: AUSet | None, prior: str) -> tuple[float, ...]:
    if units is None:
        return ()
    covered = PRIORS[prior][1] if prior in PRIORS else ()
    pair = ExpressionSet((name, "happiness" if name == _NEUTRAL else _NEUTRAL))
    return association(pair, units, prior if name in covered else "facs")[0]
