"""MAFW: clips of films and shows with eleven expressions, in five folds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from affectkit.datasets.bases.corpus import Counts, check_choice
from affectkit.datasets.bases.listed import ListedCorpus, Role, expected_folds, five_folds
from affectkit.datasets.reading.clip_lists import ClipList
from affectkit.datasets.registry import register
from affectkit.facs.expressions import ExpressionSet

__all__ = ["MAFW"]

Order = Literal["happiness_first", "anger_first"]

NUMBERS = 10045  # of all clips, including those without a single label
_CLASSES = ExpressionSet.parse("mafw11")
_ORDERS: Mapping[str, tuple[str, ...]] = {
    "happiness_first": _CLASSES.classes,
    "anger_first": (
        "anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "contempt", "anxiety",
        "helplessness", "disappointment",
    ),
}  # fmt: skip
TOTALS = (1242, 1470, 1138, 1390, 1072, 639, 625, 236, 916, 262, 182)
TESTS = (1839, 1837, 1833, 1832, 1831)  # test clips of each fold
FIRST = (249, 294, 228, 278, 215, 128, 125, 48, 184, 53, 37)  # test clips of each class in the first fold


@register
class MAFW(ListedCorpus):
    """MAFW, a multi-modal affective database in the wild; its single-labelled clips.

    9,172 clips (of 10,045) with one of eleven expressions, in five folds of about 1,835. Target "expression" in the
    space `mafw11`. Clips are `00001` to `10045`. The distributed lists name the classes; rewritten lists of numbers use
    one of two orders, recognised by the class counts of the complete corpus.

    Args:
        class_order: Order of the numbers, from 0, in lists of numbers: happiness, sadness, neutral, anger, … or anger,
            disgust, fear, happiness, …; None recognises it.
        **options: See `ListedCorpus`.
    """

    name = "MAFW"
    citation = (
        "Y. Liu, W. Dai, C. Feng, W. Wang, G. Yin, J. Zeng, S. Shan: MAFW: a large-scale, multi-modal, compound "
        "affective database for dynamic facial expression recognition in the wild. ACM Multimedia 2022."
    )
    licence = "On request for non-commercial research; not redistributable."
    protocols = (five_folds("MAFW"),)
    classes = _CLASSES
    last_number = NUMBERS
    other_lists = re.compile("compound|multi|with_caption")
    media_folders = ("clips", "frames")
    labels_hint = "Train & Test Set/single/no_caption/set_1/train.txt and so on"
    expected: ClassVar[Mapping[str, Counts]] = expected_folds("MAFW", _CLASSES, TOTALS, TESTS, FIRST)

    def __init__(self, root: str | Path, *, class_order: Order | None = None, **options: Any) -> None:
        check_choice("class_order", class_order, (None, *_ORDERS))
        self.class_order = class_order
        self._numbers: tuple[str, ...] | None = None if class_order is None else _ORDERS[class_order]
        super().__init__(root, **options)

    def prepare(self, lists: Mapping[Role, ClipList]) -> None:
        """See `ListedCorpus`; recognise the order of the classes."""
        if self.class_order is not None:
            return
        labels: dict[str, str] = {}
        for listed in lists.values():
            labels |= zip(listed.names, listed.labels, strict=True)
        counts = Counter(labels.values())
        published = dict(zip(_CLASSES.classes, TOTALS, strict=True))
        for order in _ORDERS.values():
            if counts == {str(number): published[name] for number, name in enumerate(order)}:
                self._numbers = order

    def decode_number(self, listed: ClipList, row: int, number: int) -> str:
        """See `ListedCorpus`."""
        if self._numbers is None:
            remedy = f"Use the lists that name them, or set class_order={' or '.join(map(repr, _ORDERS))}."
            raise listed.error(
                "The list gives classes as numbers, whose order is unknown.", row, remedy=remedy
            )
        if row == len(listed) - 1 and not listed.ended and listed.labels[row] == "1":
            remedy = "Unpack the list again; if it is complete, end it with an empty line."
            raise listed.error("The last label, 1, may be a truncated 10.", row, remedy=remedy)
        if number >= len(_CLASSES):
            raise listed.error(
                f"The label is {listed.labels[row][:9]}.", row, remedy="Class numbers are 0 to 10."
            )
        return self._numbers[number]
