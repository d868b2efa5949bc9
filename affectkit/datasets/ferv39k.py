"""FERV39k: clips of videos in 22 scenes with seven expressions, in one split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from affectkit.data.transforms import ClipTransform, RandomRotation
from affectkit.datasets.bases.corpus import Counts, count_parts
from affectkit.datasets.bases.listed import ListedCorpus, Role
from affectkit.datasets.bases.protocols import Protocol
from affectkit.datasets.reading.clip_lists import ClipList
from affectkit.datasets.registry import register
from affectkit.facs.expressions import ExpressionSet, canonical_expression

__all__ = ["FERV39k"]

_CLASSES = ExpressionSet.parse("dfew7")
_LIST = re.compile(r"(?:ferv39k_)?(train|test)(?:_all)?", re.ASCII)
_CLIP = re.compile(r"(?:.*/)?([a-z][a-z _-]*)/([a-z]+)/(\d{1,6})(?:\.(?:mp4|avi|mov|mkv|webm))?/?", re.ASCII)
SPLIT: Mapping[str, tuple[int, ...]] = {
    "train": (5854, 5523, 7790, 5906, 2502, 1833, 1680),
    "test": (1473, 1393, 1958, 1487, 638, 467, 431),
}


@register
class FERV39k(ListedCorpus):
    """FERV39k, facial expression recognition in videos of many scenes.

    38,935 clips of 22 scenes with one of seven expressions: 31,088 training and 7,847 test clips. Target "expression"
    in the space `dfew7`, which has the same classes. The name of a clip consists of scene, expression and number,
    `action/happiness/0267`; labels in lists must agree with the expression in the name.
    """

    name = "FERV39k"
    citation = (
        "Y. Wang, Y. Sun, Y. Huang, Z. Liu, S. Gao, W. Zhang, W. Ge, W. Zhang: FERV39k: a large-scale multi-scene "
        "dataset for facial expression recognition in videos. CVPR 2022."
    )
    licence = "On request for non-commercial research; not redistributable."
    protocols = (
        Protocol(
            "official",
            "FERV39k",
            "FERV39k, the split of its lists; epoch chosen on a tenth of the training list",
            listed=True,
        ),
    )
    crop = "none"
    classes = _CLASSES
    other_lists = re.compile(r"(?<!all_)scenes/|(?:set|split|fold)[ _-]?\d")  # other setups and corpora
    media_folders = ("2_ClipsforFaceCrop", "frames")
    labels_hint = "4_setups/All_scenes/train_All.csv and test_All.csv"
    expected: ClassVar[Mapping[str, Counts]] = {"FERV39k": count_parts(_CLASSES, SPLIT)}

    def __init__(self, root: str | Path, **options: Any) -> None:
        self._meaning: dict[int, str] = {}
        super().__init__(root, **options)

    @classmethod
    def training_distortions(cls) -> list[ClipTransform]:
        """See `ListedCorpus`: rotation by up to 4 degrees."""
        return [RandomRotation(4)]

    def find_role(self, path: PurePosixPath) -> Role | None:
        """See `ListedCorpus`."""
        match = _LIST.fullmatch(path.stem)
        return None if match is None or self.other_lists.search(str(path)) else Role("official", match[1])

    def find_clip(self, name: str) -> str | None:
        """See `ListedCorpus`."""
        match = _CLIP.fullmatch(name.replace("\\", "/").lower())
        expression = None if match is None else canonical_expression(match[2])
        if match is None or expression not in _CLASSES.classes:
            return None
        return f"{match[1]}/{expression}/{int(match[3]):04d}"

    def find_place(self, folder: Path, name: str) -> tuple[Path, str] | None:
        """See `ListedCorpus`."""
        clip = self.find_clip(f"{folder.parent.name}/{folder.name}/{name}")
        return None if clip is None else (folder.parent.parent, clip)

    def decode_number(self, listed: ClipList, row: int, number: int) -> str:
        """See `ListedCorpus`; rewritten lists use any order, so a number must only mean the same class everywhere."""
        label = listed.labels[row]
        if len(label) > 1 or number > len(_CLASSES):
            raise listed.error(f"The label is {label[:9]}.", row, remedy="Class numbers have one digit.")
        return self._meaning.setdefault(number, self._named_class(listed, row))

    def find_class(self, listed: ClipList, row: int) -> str:
        """See `ListedCorpus`."""
        label, own = super().find_class(listed, row), self._named_class(listed, row)
        if label != own:
            remedy = "Correct the name or the label: the expression in a clip's name is its class."
            raise listed.error(f"The label of {listed.names[row][:60]} is {label}.", row, remedy=remedy)
        return own

    def _named_class(self, listed: ClipList, row: int) -> str:
        return str(self.find_clip(listed.names[row])).split("/")[1]
