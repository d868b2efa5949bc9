"""DFEW: clips of films with seven expressions, in five folds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from affectkit.data.transforms import ClipTransform, ColorJitter
from affectkit.datasets.bases.corpus import Counts
from affectkit.datasets.bases.listed import ListedCorpus, expected_folds, five_folds
from affectkit.datasets.reading.clip_lists import ClipList
from affectkit.datasets.registry import register
from affectkit.facs.expressions import ExpressionSet

__all__ = ["DFEW"]

NUMBERS = 16372  # of all clips, including those without a single label
TOTALS = (2445, 1894, 2669, 2173, 1469, 145, 902)
TESTS = (2341, 2341, 2340, 2339, 2336)  # test clips of each fold
FIRST = (489, 379, 534, 435, 294, 29, 181)  # test clips of each class in the first fold
_CLASSES = ExpressionSet.parse("dfew7")


@register
class DFEW(ListedCorpus):
    """DFEW, dynamic facial expressions in the wild.

    11,697 clips of films with one of seven expressions (of 16,372; the others have no single label), in five folds of
    about 2,340. Target "expression" in the space `dfew7`. Clips are `00001` to `16372`. Lists with a header number the
    classes from 1, as distributed; rewritten lists without a header from 0.
    """

    name = "DFEW"
    citation = (
        "X. Jiang, Y. Zong, W. Zheng, C. Tang, W. Xia, C. Lu, J. Liu: DFEW: a large-scale database for recognizing "
        "dynamic facial expressions in the wild. ACM Multimedia 2020."
    )
    licence = "On request for non-commercial research; not redistributable."
    protocols = (five_folds("DFEW"),)
    crop = "none"
    classes = _CLASSES
    last_number = NUMBERS
    other_lists = re.compile("multi")
    media_folders = ("clip_224x224", "data", "frames", "clip_224x224_avi", "original", "clip_224x224_16f")
    labels_hint = "EmoLabel_DataSplit/train(single-labeled)/set_1.csv and so on"
    expected: ClassVar[Mapping[str, Counts]] = expected_folds("DFEW", _CLASSES, TOTALS, TESTS, FIRST)

    @classmethod
    def training_distortions(cls) -> list[ClipTransform]:
        """See `ListedCorpus`: brightness by up to a half."""
        return [ColorJitter(brightness=0.5, contrast=0.0, saturation=0.0)]

    def decode_number(self, listed: ClipList, row: int, number: int) -> str:
        """See `ListedCorpus`."""
        first = int(listed.header)
        if not first <= number < first + len(_CLASSES):
            kind = "with" if listed.header else "without"
            remedy = f"Lists {kind} a header number the classes from {first} to {first + 6}."
            raise listed.error(f"The label is {listed.labels[row][:9]}.", row, remedy=remedy)
        return _CLASSES.classes[number - first]
