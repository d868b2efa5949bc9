"""MAFW: clips of films and shows with eleven expressions, in five folds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from affectkit.datasets.bases.corpus import Expected
from affectkit.datasets.bases.listed import (
    ListedCorpus,
    Role,
    expected_folds,
    five_folds,
    fold_role,
    number_key,
    word_class,
)
from affectkit.datasets.reading.clip_lists import ClipList
from affectkit.datasets.registry import register
from affectkit.errors import ConfigError
from affectkit.facs.expressions import ExpressionSet

__all__ = ["MAFW"]

Order = Literal["happiness_first", "anger_first"]

NUMBERS = 10045  # of all clips, those without a single label included
_CLASSES = ExpressionSet.parse("mafw11")
# Lists of numbers are rewritten by others, who do not agree on what the numbers mean.
_ORDERS: Mapping[str, tuple[str, ...]] = {
    "happiness_first": _CLASSES.classes,
    "anger_first": (
        "anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "contempt", "anxiety",
        "helplessness", "disappointment",
    ),
}  # fmt: skip
TOTALS = (1242, 1470, 1138, 1390, 1072, 639, 625, 236, 916, 262, 182)
TESTS = (1839, 1837, 1833, 1832, 1831)  # clips tested in each fold
FIRST = (249, 294, 228, 278, 215, 128, 125, 48, 184, 53, 37)  # of each class in the first
_OTHERS = re.compile("compound|multi|with_caption")  # tasks


@register
class MAFW(ListedCorpus):
    """MAFW, a multi-modal affective database in the wild; its single-labelled clips.

    9,172 clips (of 10,045) with one of eleven expressions, in five folds of about 1,835. Target "expression" in the
    space `mafw11`. Clips are `00001` to `10045`. The lists as distributed name the classes; in rewritten lists of
    numbers, two orders are in use, of which the class counts of the whole corpus tell the right one.

    Args:
        root: Folder of the corpus, or one above it.
        class_order: What the numbers in lists of numbers (from 0) mean: happiness, sadness, neutral, anger, … or
            anger, disgust, fear, happiness, …; None tells it from the class counts of the whole corpus.
        **options: See `ListedCorpus`.

    References:
        Y. Liu et al., "MAFW: a large-scale, multi-modal, compound affective database for dynamic facial expression
        recognition in the wild", ACM Multimedia 2022.
    """

    name = "MAFW"
    citation = (
        "Y. Liu, W. Dai, C. Feng, W. Wang, G. Yin, J. Zeng, S. Shan: MAFW: a large-scale, multi-modal, compound "
        "affective database for dynamic facial expression recognition in the wild. ACM Multimedia 2022."
    )
    licence = "On request for non-commercial research; not redistributable."
    protocols = (five_folds("MAFW"),)
    classes = _CLASSES
    media_folders = ("clips", "frames")
    lists_hint = "Train & Test Set/single/no_caption/set_1/train.txt and so on"
    expected: ClassVar[Mapping[str, Expected]] = expected_folds(
        "MAFW",
        _CLASSES,
        totals=TOTALS,
        tests=TESTS,
        first=FIRST,
    )

    def __init__(self, root: str | Path, *, class_order: Order | None = None, **options: Any) -> None:
        if class_order is not None and class_order not in _ORDERS:
            raise ConfigError(
                f"class_order={class_order!r} is not known.", remedy=f"Use one of: {', '.join(_ORDERS)}."
            )
        self.class_order = class_order
        self._numbers: tuple[str, ...] | None = None if class_order is None else _ORDERS[class_order]
        super().__init__(root, **options)

    def own_role(self, path: PurePosixPath) -> Role | None:
        """See `ListedCorpus`."""
        return fold_role(path, _OTHERS)

    def clip_of(self, name: str) -> str | None:
        """See `ListedCorpus`."""
        return number_key(name, NUMBERS)

    def place_of(self, folder: Path, name: str) -> tuple[Path, str] | None:
        """See `ListedCorpus`."""
        clip = number_key(name, NUMBERS)
        return None if clip is None else (folder, clip)

    def prepare(self, lists: Mapping[Role, ClipList]) -> None:
        """See `ListedCorpus`: find out what numbers mean."""
        if self.class_order is not None:
            return
        numbers = {
            name: label
            for listed in lists.values()
            for name, label in zip(listed.names, listed.labels, strict=True)
        }
        counts = Counter(numbers.values())
        published = dict(zip(_CLASSES.classes, TOTALS, strict=True))
        for order in _ORDERS.values():
            if counts == {str(number): published[name] for number, name in enumerate(order)}:
                self._numbers = order

    def class_of(self, listed: ClipList, row: int) -> str:
        """See `ListedCorpus`."""
        label = listed.labels[row]
        if not (label.isascii() and label.isdecimal()):
            return word_class(listed, row, _CLASSES)
        if self._numbers is None:
            raise listed.error(
                "The list gives classes as numbers, which mean one thing or another.",
                row,
                remedy=f"Use the lists that name them, or say class_order={' or '.join(map(repr, _ORDERS))}.",
            )
        if row == len(listed) - 1 and not listed.ended and label == "1":
            remedy = "Unpack the list again; if it is whole, end it with an empty line."
            raise listed.error("The last label may be cut off: is it 10?", row, remedy=remedy)
        if int(label) >= len(_CLASSES):
            raise listed.error(f"The label is {label[:9]}.", row, remedy="Numbers of classes are 0 to 10.")
        return self._numbers[int(label)]
