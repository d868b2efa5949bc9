"""DFEW: clips of films with seven expressions, in five folds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar

from affectkit.data.transforms import ClipTransform, ColorJitter
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
from affectkit.facs.expressions import ExpressionSet

__all__ = ["DFEW"]

NUMBERS = 16372  # of all clips, those without a single label included
TOTALS = (2445, 1894, 2669, 2173, 1469, 145, 902)
TESTS = (2341, 2341, 2340, 2339, 2336)  # clips tested in each fold
FIRST = (489, 379, 534, 435, 294, 29, 181)  # of each class in the first
_CLASSES = ExpressionSet.parse("dfew7")
_OTHERS = re.compile("multi")  # labels


@register
class DFEW(ListedCorpus):
    """DFEW, dynamic facial expressions in the wild.

    11,697 clips of films with one of seven expressions (of 16,372; the others carry no single label), in five
    folds of about 2,340. Target "expression" in the space `dfew7`. Clips are `00001` to `16372`. Lists with a
    header number the classes from 1, as distributed; lists without one from 0, as others have rewritten them.

    Args:
        root: Folder of the corpus, or one above it.
        **options: See `ListedCorpus`.

    References:
        X. Jiang et al., "DFEW: a large-scale database for recognizing dynamic facial expressions in the wild",
        ACM Multimedia 2020.
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
    media_folders = ("clip_224x224", "data", "frames", "clip_224x224_avi", "original", "clip_224x224_16f")
    lists_hint = "EmoLabel_DataSplit/train(single-labeled)/set_1.csv and so on"
    expected: ClassVar[Mapping[str, Expected]] = expected_folds(
        "DFEW",
        _CLASSES,
        totals=TOTALS,
        tests=TESTS,
        first=FIRST,
    )

    @classmethod
    def distortions(cls) -> list[ClipTransform]:
        """See `ListedCorpus`: brightness by up to a half."""
        return [ColorJitter(brightness=0.5, contrast=0.0, saturation=0.0)]

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

    def class_of(self, listed: ClipList, row: int) -> str:
        """See `ListedCorpus`."""
        label = listed.labels[row]
        if not (label.isascii() and label.isdecimal()):
            return word_class(listed, row, _CLASSES)
        first = 1 if listed.header else 0
        if not first <= int(label) < first + len(_CLASSES):
            kind = "with" if listed.header else "without"
            raise listed.error(
                f"The label is {label[:9]}.",
                row,
                remedy=f"Lists {kind} a header `video_name,label` number the classes from {first} to {first + 6}.",
            )
        return _CLASSES.classes[int(label) - first]
