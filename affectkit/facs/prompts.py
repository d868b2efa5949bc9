"""Texts for the text tower of a vision-language model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs.captions import describe_expression
from affectkit.facs.expressions import ExpressionSet, canonical_expression
from affectkit.facs.priors import typical_units
from affectkit.facs.sets import AUSet
from affectkit.facs.units import ActionUnit

__all__ = [
    "PROMPT_STYLES",
    "PROMPT_TEMPLATES",
    "au_name",
    "au_prompt_pair",
    "class_name",
    "prompt_ensemble",
    "prompt_text",
    "prompt_texts",
    "unit_texts",
]

PROMPT_TEMPLATES: tuple[str, ...] = (
    "a photo of a face that shows {name}.",
    "a close-up of a face with an expression of {name}.",
    "a person whose face expresses {name}.",
    "{description}",
)
"""Texts of a class for a model that has read both names and descriptions of expressions."""

_NOT_IN_NAMES = re.compile(r"[^a-z0-9' -]+", re.ASCII)
_SIDES = {"L": "left ", "R": "right ", None: ""}


def _style(text: str) -> Mapping[str, str]:
    """Parse lines of `class: text`, in which numbers are replaced by unit names."""
    style = {}
    for line in text.strip().splitlines():
        name, _, rest = line.strip().partition(": ")
        words = [ActionUnit(int(word)).name if word.isdigit() else word for word in rest.split(", ")]
        style[name] = ", ".join([name, *words])
    return MappingProxyType(style)


# The texts of SSM (arXiv 2604.10541), one style per pair of corpora. Learned contexts depend on the exact characters.
PROMPT_STYLES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "ssm_bp4d": _style("""
            happiness: 6, 12
            sadness: 1, 4, 15
            neutral: no active AUs
            anger: 4, 7, 23
            surprise: 1, 2
            disgust: 10
            fear: 1, 2, 4
        """),
        "ssm_disfa": _style("""
            happiness: 6, 12
            sadness: 1, 4
            neutral: relaxed facial muscles, straight mouth, smooth forehead, unremarkable eyebrows
            anger: 4
            surprise: 1, 2, 26
            disgust: 9
            fear: 1, 2, 4, 26
        """),
        "ssm_mafw": _style("""
            happiness: 6, 12
            sadness: 1, 4, 15
            neutral: relaxed facial muscles, no significant action units
            anger: 4, 5, 23, 25
            surprise: 1, 2, 5, 26
            disgust: 9, 10, 15
            fear: 1, 2, 4, 5, 26, 20
            contempt: unilateral lip corner tightener
            anxiety: 1, 4, 20, 25
            helplessness: 1, 4, 15, 26
            disappointment: 1, 4, slight lip corner depressor, 25
        """),
    }
)
_SSM_NAMES = {24: "lip presser"}  # the spelling of SSM; FACS has "lip pressor"


def au_name(unit: ActionUnit) -> str:
    """Return the FACS name of a unit with its side in front.

    Example:
        >>> au_name(ActionUnit(12, "L"))
        'left lip corner puller'
    """
    return f"{_SIDES[unit.side]}{unit.name}"


def au_prompt_pair(unit: ActionUnit) -> tuple[str, str]:
    """Return two texts: a face with the unit, and a face without it.

    Example:
        >>> for text in au_prompt_pair(ActionUnit(25)):
        ...     print(text)
        a face with AU25 (lips part) activated: lips parted
        a face without AU25 (lips part)
    """
    named = f"AU{unit.id} ({au_name(unit)})"
    return f"a face with {named} activated: {unit.facts.cue}", f"a face without {named}"


def prompt_text(expression: str, units: AUSet | None = None, style: str = "facs") -> str:
    """Return the text for an expression class.

    Args:
        expression: Class name.
        units: Action units that the style "facs" may name; None for all.
        style: "facs" for the class name and its `typical_units`, available for every class, or a key of
            `PROMPT_STYLES`.

    Raises:
        LabelSpaceError: The published style has no text for the class.
        ConfigError: The style does not exist.

    Example:
        >>> prompt_text("disgust", AUSet.of(1, 10, 17)), prompt_text("other")
        ('disgust, upper lip raiser, chin raiser', 'other')
        >>> prompt_text("disgust", style="ssm_bp4d")
        'disgust, upper lip raiser'
    """
    if _is_published(style):
        if expression not in PROMPT_STYLES[style]:
            raise LabelSpaceError(
                f"The prompts {style!r} have no text for {expression!r}.",
                remedy=f"They cover {', '.join(PROMPT_STYLES[style])}; 'facs' covers every class.",
            )
        return PROMPT_STYLES[style][expression]
    if expression == "neutral":
        return "neutral, relaxed face, no active units"
    coded = None if units is None else {unit.id for unit in units}
    typical = [number for number in typical_units(expression) if coded is None or number in coded]
    return ", ".join([expression, *(ActionUnit(number).name for number in typical)])


def prompt_texts(expressions: ExpressionSet, units: AUSet | None = None, style: str = "facs") -> list[str]:
    """Return the texts for all classes of a set, see `prompt_text`.

    Example:
        >>> prompt_texts(ExpressionSet.parse("happiness,surprise"), AUSet.of(1, 2, 12))
        ['happiness, lip corner puller', 'surprise, inner brow raiser, outer brow raiser']
    """
    return [prompt_text(name, units, style) for name in expressions.classes]


def class_name(text: str) -> str:
    """Make a class name of a free text, from its letters.

    Example:
        >>> class_name("A smirk, barely visible"), class_name("Angry")
        ('a smirk barely visible', 'anger')
    """
    return canonical_expression(_NOT_IN_NAMES.sub(" ", text.casefold()))


def prompt_ensemble(
    expression: str, templates: Sequence[str] = PROMPT_TEMPLATES, *, descriptions: int = 6
) -> tuple[str, ...]:
    """Return the texts whose mean vector represents a class.

    Args:
        expression: Class name.
        templates: Texts in which `{name}` is replaced by the class name, and `{description}` by each of the sentences
            of `describe_expression`. A class without description uses only the other templates, or if there are none,
            the first of `PROMPT_TEMPLATES`.
        descriptions: See `count` of `describe_expression`.

    Example:
        >>> prompt_ensemble("envy")[0]
        'a photo of a face that shows envy.'
        >>> prompt_ensemble("disgust", ["{name}", "{description}"], descriptions=1)[:2]
        ('disgust', 'The overall impression is very much unpleasant.')
    """
    sentences = describe_expression(expression, descriptions)
    texts = [
        template.format(name=expression, description=sentence)
        for template in templates
        for sentence in (sentences if "{description}" in template else [""])
    ]
    return tuple(dict.fromkeys(texts)) or (PROMPT_TEMPLATES[0].format(name=expression),)


def unit_texts(units: AUSet, style: str = "facs") -> list[str]:
    """Return the texts for action units: their FACS names; published styles spell unit 24 "lip presser".

    Raises:
        ConfigError: The style does not exist.

    Example:
        >>> unit_texts(AUSet.of(1, 24)), unit_texts(AUSet.of(24), "ssm_bp4d")
        (['inner brow raiser', 'lip pressor'], ['lip presser'])
    """
    names = _SSM_NAMES if _is_published(style) else {}
    return [f"{_SIDES[unit.side]}{names.get(unit.id, unit.name)}" for unit in units]


def _is_published(style: str) -> bool:
    if style != "facs" and style not in PROMPT_STYLES:
        raise ConfigError(
            f"There is no prompt style {style!r}.", remedy=f"Known: facs, {', '.join(PROMPT_STYLES)}."
        )
    return style != "facs"
