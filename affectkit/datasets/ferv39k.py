"""FERV39k: clips of videos in 22 scenes with seven expressions, in one split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from affectkit.data.transforms import ClipTransform, RandomRotation
from affectkit.datasets.bases.corpus import Counts, Expected
from affectkit.datasets.bases.listed import ListedCorpus, Role, word_class
from affectkit.datasets.bases.protocols import listed_folds
from affectkit.datasets.reading.clip_lists import ClipList
from affectkit.datasets.registry import register
from affectkit.facs.expressions import ExpressionSet, canonical_expression

__all__ = ["FERV39k"]

_CLASSES = ExpressionSet.parse("dfew7")
_LIST = re.compile(r"(?:ferv39k_)?(train|test)(?:_all)?", re.ASCII)
_OTHERS = re.compile(r"(?<!all_)scenes/|(?:set|split|fold)[ _-]?\d")  # setups, other corpora
_CLIP = re.compile(r"(?:.*/)?([a-z][a-z _-]*)/([a-z]+)/(\d{1,6})(?:\.(?:mp4|avi|mov|mkv|webm))?/?", re.ASCII)
SPLIT: Mapping[str, tuple[int, ...]] = {
    "train": (5854, 5523, 7790, 5906, 2502, 1833, 1680),
    "test": (1473, 1393, 1958, 1487, 638, 467, 431),
}


def _expected() -> Expected:
    parts = {
        split: Counts(clips=sum(counts), classes=dict(zip(_CLASSES.classes, counts, strict=True)))
        for split, counts in SPLIT.items()
    }
    whole = {name: sum(part.classes[name] for part in parts.values()) for name in _CLASSES.classes}
    return Expected(clips=sum(whole.values()), classes=whole, parts=parts)


@register
class FERV39k(ListedCorpus):
    """FERV39k, facial expression recognition in videos of many scenes.

    38,935 clips of 22 scenes with one of seven expressions: 31,088 to train on and 7,847 to test. Target
    "expression" in the space `dfew7`, whose classes these are. A clip is called after scene, expression and number,
    `action/happiness/0267`; the expression in its name is its class, and whatever a list says must agree.

    Args:
        root: Folder of the corpus, or one above it.
        **options: See `ListedCorpus`.

    References:
        Y. Wang et al., "FERV39k: a large-scale multi-scene dataset for facial expression recognition in videos",
        CVPR 2022.
    """

    name = "FERV39k"
    citation = (
        "Y. Wang, Y. Sun, Y. Huang, Z. Liu, S. Gao, W. Zhang, W. Ge, W. Zhang: FERV39k: a large-scale multi-scene "
        "dataset for facial expression recognition in videos. CVPR 2022."
    )
    licence = "On request for non-commercial research; not redistributable."
    protocols = (
        listed_folds(
            "FERV39k",
            "official",
            "FERV39k, the split of its lists; epoch chosen on a tenth of the training list",
        ),
    )
    crop = "none"
    classes = _CLASSES
    media_folders = ("2_ClipsforFaceCrop", "frames")
    lists_hint = "4_setups/All_scenes/train_All.csv and test_All.csv"
    expected: ClassVar[Mapping[str, Expected]] = {"FERV39k": _expected()}

    def __init__(self, root: str | Path, **options: Any) -> None:
        self._meaning: dict[str, str] = {}
        super().__init__(root, **options)

    @classmethod
    def distortions(cls) -> list[ClipTransform]:
        """See `ListedCorpus`: rotation by up to 4 degrees."""
        return [RandomRotation(4)]

    def own_role(self, path: PurePosixPath) -> Role | None:
        """See `ListedCorpus`."""
        match = _LIST.fullmatch(path.stem)
        return None if match is None or _OTHERS.search(str(path)) else Role("official", match[1])

    def clip_of(self, name: str) -> str | None:
        """See `ListedCorpus`."""
        match = _CLIP.fullmatch(name.replace("\\", "/").lower())
        expression = None if match is None else canonical_expression(match[2])
        if match is None or expression not in _CLASSES.classes:
            return None
        return f"{match[1]}/{expression}/{int(match[3]):04d}"

    def place_of(self, folder: Path, name: str) -> tuple[Path, str] | None:
        """See `ListedCorpus`."""
        clip = self.clip_of(f"{folder.parent.name}/{folder.name}/{name}")
        return None if clip is None else (folder.parent.parent, clip)

    def class_of(self, listed: ClipList, row: int) -> str:
        """See `ListedCorpus`."""
        own = str(self.clip_of(listed.names[row])).split("/")[1]
        label = listed.labels[row]
        if not (label.isascii() and label.isdecimal()):
            said = word_class(listed, row, _CLASSES)
        elif len(label) == 1 and int(label) <= len(_CLASSES):
            # Others number the classes as they like: a number must only mean the same everywhere.
            said = self._meaning.setdefault(label, own)
        else:
            raise listed.error(f"The label is {label[:9]}.", row, remedy="Numbers of classes have one digit.")
        if said != own:
            raise listed.error(
                f"The clip {listed.names[row][:60]} is called {said}.",
                row,
                remedy="The expression in a clip's name is its class: correct the name or the label.",
            )
        return own
