"""Ordered sets of expression classes, and the crosswalks between them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from affectkit.errors import LabelSpaceError
from affectkit.facs.sides import mirror_text
from affectkit.facs.spaces import LabelSpace, Projection, register_space

__all__ = ["CROSSWALKS", "EXPRESSION_SETS", "ExpressionSet", "canonical_expression", "crosswalk"]

_UNIT = re.compile(r"au ?[0-9]")
_OTHER = "other"

# Spellings of the same class in the label files of corpora.
_SYNONYMS: Mapping[str, str] = {
    "happy": "happiness", "sad": "sadness", "angry": "anger", "surprised": "surprise", "disgusted": "disgust",
    "fearful": "fear", "contemptuous": "contempt", "others": "other",
}  # fmt: skip


def canonical_expression(text: str) -> str:
    """Convert the spelling of a corpus, in any script, to the class name in affectkit: a lower-case noun.

    Example:
        >>> canonical_expression(" Happy "), canonical_expression("Others"), canonical_expression("tense")
        ('happiness', 'other', 'tense')
    """
    word = unicodedata.normalize("NFC", " ".join(unicodedata.normalize("NFC", text).casefold().split()))
    return _SYNONYMS.get(word, word)


@register_space
@dataclass(frozen=True, slots=True)
class ExpressionSet(LabelSpace):
    """An ordered, immutable set of expression classes; each clip has one class.

    A target is the index of a class or a distribution over the classes.

    Args:
        classes: At least two unique class names, spelled as by `canonical_expression`, in index order.

    Raises:
        LabelSpaceError: The names are invalid.

    Example:
        >>> ExpressionSet.parse("rafdb7").classes[:3]
        ('surprise', 'fear', 'disgust')
        >>> ExpressionSet(("happiness", "anger")).name
        'happiness,anger'
    """

    kind = "categories"
    bare = True
    indexed = True
    soft = True
    over_frames = "agree"

    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise LabelSpaceError(
                "A set of expressions has fewer than two classes.", remedy="Name two or more."
            )
        for name in self.classes:
            if not _is_class_name(name):
                raise LabelSpaceError(
                    f"{name!r} is not the name of an expression class.",
                    remedy="Write it as a lower-case noun, such as 'happiness'.",
                )
            if self.classes.count(name) > 1:
                raise LabelSpaceError(f"{name!r} is named more than once.", remedy="Name every class once.")

    @classmethod
    def parse(cls, text: str) -> ExpressionSet:
        """See `LabelSpace`: such as `rafdb7` or `happiness,anger,neutral`."""
        if text.strip() in EXPRESSION_SETS:
            return EXPRESSION_SETS[text.strip()]
        try:
            return cls(tuple(map(canonical_expression, text.split(","))))
        except LabelSpaceError as error:
            raise LabelSpaceError(
                f"{text!r} is not a set of expressions: {error.fault}",
                remedy=f"Use a list such as happiness,anger or one of: {', '.join(EXPRESSION_SETS)}.",
            ) from error

    @classmethod
    def named(cls) -> tuple[str, ...]:
        """See `LabelSpace`: the keys of `EXPRESSION_SETS`."""
        return tuple(EXPRESSION_SETS)

    @property
    def name(self) -> str:
        """See `LabelSpace`: the registered name if there is one, else the classes."""
        return _NAMES.get(self.classes, ",".join(self.classes))

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in index order."""
        return self.classes

    def project(self, other: LabelSpace) -> Projection:
        """See `LabelSpace` and `crosswalk`."""
        self.check_same(other)
        return crosswalk(self, cast("ExpressionSet", other))

    def flip_permutation(self) -> tuple[int, ...]:
        """See `LabelSpace`: a class whose name has a side becomes that of the other side, if the set has it.

        Example:
            >>> ExpressionSet.parse("left wink,right wink,smile").flip_permutation()
            (1, 0, 2)
        """
        places = {name: place for place, name in enumerate(self.classes)}
        return tuple(places.get(mirror_text(name), place) for name, place in places.items())

    def index(self, expression: str) -> int:
        """Return the index of a class, given in any spelling that `canonical_expression` knows.

        Raises:
            LabelSpaceError: The class is not in the set.
        """
        name = canonical_expression(expression)
        if name not in self.classes:
            raise LabelSpaceError(
                f"{expression!r} is not a class of {self.name}.",
                remedy=f"It holds: {', '.join(self.classes)}.",
            )
        return self.classes.index(name)


def _is_class_name(name: str) -> bool:
    """Check for a canonical lower-case word of any script that is not an action unit."""
    return (
        name[:1].isalpha()
        and all(sign in " '-_" or unicodedata.category(sign)[0] in "LMN" for sign in name)
        and _UNIT.match(name) is None
        and name == canonical_expression(name)
    )


def _set(text: str) -> ExpressionSet:
    return ExpressionSet(tuple(text.split(", ")))


# In the index order of the label files; labels that count from 1 are shifted to 0.
EXPRESSION_SETS: Mapping[str, ExpressionSet] = MappingProxyType(
    {
        # Ekman's six, without and with neutral, in affectkit's own order.
        "basic6": _set("happiness, sadness, anger, surprise, disgust, fear"),
        "basic7": _set("neutral, happiness, sadness, anger, surprise, disgust, fear"),
        # RAF-DB basic (Li et al. 2017), labels 1 to 7.
        "rafdb7": _set("surprise, fear, disgust, happiness, sadness, anger, neutral"),
        # RAF-DB compound, labels 1 to 11.
        "rafdb11": _set(
            "happily surprised, happily disgusted, sadly fearful, sadly angry, sadly surprised, "
            "sadly disgusted, fearfully angry, fearfully surprised, angrily surprised, angrily disgusted, "
            "disgustedly surprised"
        ),
        # RAF-CE, labels 0 to 13.
        "rafce14": _set(
            "happily surprised, happily disgusted, sadly fearful, sadly angry, sadly surprised, "
            "sadly disgusted, fearfully angry, fearfully surprised, fearfully disgusted, angrily surprised, "
            "angrily disgusted, disgustedly surprised, happily fearful, happily sad"
        ),
        # DFEW (Jiang et al. 2020), labels 1 to 7; FERV39k has the same classes.
        "dfew7": _set("happiness, sadness, neutral, anger, surprise, disgust, fear"),
        # MAFW (Liu et al. 2022), order of the commonly shared single-label lists.
        "mafw11": _set(
            "happiness, sadness, neutral, anger, surprise, disgust, fear, contempt, anxiety, helplessness, "
            "disappointment"
        ),
        # AffectNet (Mollahosseini et al. 2017).
        "affectnet7": _set("neutral, happiness, sadness, surprise, fear, disgust, anger"),
        "affectnet8": _set("neutral, happiness, sadness, surprise, fear, disgust, anger, contempt"),
        # Aff-Wild2 (EXPR challenge files).
        "affwild2_8": _set("neutral, anger, disgust, fear, happiness, sadness, surprise, other"),
        # FER2013 and FER+ (column order).
        "fer2013_7": _set("anger, disgust, fear, happiness, sadness, surprise, neutral"),
        "ferplus8": _set("neutral, happiness, surprise, sadness, anger, disgust, fear, contempt"),
        # CK+ (labels 0 to 7).
        "ckplus8": _set("neutral, anger, contempt, disgust, fear, happiness, sadness, surprise"),
        # CASME II (Yan et al. 2014): five classes of the protocols, and all seven of the coding table.
        "casme2_5": _set("happiness, disgust, repression, surprise, other"),
        "casme2_7": _set("happiness, disgust, repression, surprise, other, sadness, fear"),
        # SAMM (Davison et al. 2018): five classes of the protocols, and all eight of the coding table.
        "samm_5": _set("anger, happiness, contempt, surprise, other"),
        "samm_8": _set("anger, happiness, contempt, surprise, other, disgust, fear, sadness"),
        # MEGC 2019 composite, labels 0 to 2; also the classes of SMIC.
        "megc3": _set("negative, positive, surprise"),
        # Micro-gestures, not expressions: SMG (Chen et al. 2023), labels 1 to 17.
        "smg17": _set(
            "turtling neck and shoulder, rubbing eyes and forehead, folding arms, "
            "touching or covering suprasternal notch, moving legs, touching or scratching neck, "
            "folding arms behind body, rubbing hands and crossing fingers, arms akimbo, crossing legs, "
            "scratching some part of body, scratching or touching facial parts other than eyes, "
            "playing or adjusting hair, holding arms, pulling shirt collar, playing with jewellery or objects, "
            "illustrative hand gestures"
        ),
        # iMiGUE (Liu et al. 2021), labels 1 to 31, and 99 for illustrative gestures; spelling corrected.
        "imigue32": _set(
            "turtling neck, bulging face or deep breath, touching hat, touching or scratching head, "
            "touching or scratching forehead, covering face, rubbing eyes, touching or scratching facial parts, "
            "touching ears, biting nails, touching jaw, touching or scratching neck, playing or adjusting hair, "
            "buckling button or pulling shirt collar or adjusting tie, touching or covering suprasternal notch, "
            "scratching back, folding arms, dusting off clothes, putting arms behind body, moving torso, "
            "sitting upright, scratching or touching arms, rubbing or holding hands, crossing fingers, "
            "minaret gesture, playing or manipulating objects, holding back arms, head up, pressing lips, "
            "arms akimbo, shaking shoulders, illustrative hand gestures"
        ),
    }
)

_NAMES: Mapping[tuple[str, ...], str] = {item.classes: name for name, item in EXPRESSION_SETS.items()}

# MEGC 2019 (See et al.): only disgust and repression of CASME II are negative, and sadness and fear are left out; of
# SAMM, all five negative classes count.
_CASME2_TO_MEGC = {
    "happiness": "positive", "disgust": "negative", "repression": "negative", "surprise": "surprise",
}  # fmt: skip
_SAMM_TO_MEGC = {
    "happiness": "positive", "surprise": "surprise", "anger": "negative", "contempt": "negative",
    "disgust": "negative", "fear": "negative", "sadness": "negative",
}  # fmt: skip
CROSSWALKS: Mapping[tuple[str, str], Mapping[str, str]] = MappingProxyType(
    {
        ("casme2_5", "megc3"): _CASME2_TO_MEGC,
        ("casme2_7", "megc3"): _CASME2_TO_MEGC,
        ("samm_5", "megc3"): _SAMM_TO_MEGC,
        ("samm_8", "megc3"): _SAMM_TO_MEGC,
    }
)


def crosswalk(source: ExpressionSet, target: ExpressionSet) -> Projection:
    """Map each class of `source` to its index in `target`, or to None if it must be masked.

    Published crosswalks (`CROSSWALKS`) take precedence. Otherwise a class maps to the class of the same name only:
    `sadly angry` is not `sadness`. `other` means "none of the above", so it maps only to a set whose classes are all
    in the source.

    Example:
        >>> crosswalk(ExpressionSet.parse("casme2_7"), ExpressionSet.parse("megc3"))
        (1, 0, 0, 2, None, None, None)
        >>> crosswalk(ExpressionSet.parse("rafdb7"), ExpressionSet.parse("basic6"))
        (3, 5, 4, 0, 1, 2, None)
    """
    names: Mapping[str, str] = CROSSWALKS.get(
        (source.name, target.name), {name: name for name in source.classes}
    )
    maps_other = set(target.classes) <= set(source.classes)
    return tuple(
        target.classes.index(names[name])
        if names.get(name) in target.classes and (name != _OTHER or maps_other)
        else None
        for name in source.classes
    )
