"""SMIC: micro-expressions whose labels are the folders they lie in."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from affectkit.datasets.bases.corpus import Counts, check_choice
from affectkit.datasets.bases.micro import MicroCorpus
from affectkit.datasets.bases.movements import Movement
from affectkit.datasets.bases.protocols import leave_one_subject_out
from affectkit.datasets.reading.folders import ClipTree, subfolders
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError, DatasetNotFoundError

__all__ = ["SMIC"]

Part = Literal["HS", "VIS", "NIR"]

_CLIP: Final = re.compile(r"s(\d{1,2})_(ne|po|sur)_(\d{1,3})", re.IGNORECASE | re.ASCII)
CLASSES: Final = {"ne": "negative", "po": "positive", "sur": "surprise"}
_FPS: Final = {"HS": 100.0, "VIS": 25.0, "NIR": 25.0}
ROWS: Final = {
    1: 6, 2: 6, 3: 39, 4: 19, 5: 2, 6: 4, 8: 13, 9: 4, 11: 7, 12: 9, 13: 10, 14: 10, 15: 4, 18: 7, 19: 2, 20: 22,
}  # fmt: skip


@register
class SMIC(MicroCorpus):
    """SMIC: 164 micro-expressions of 16 people at 100 fps (HS), 71 of 8 people at 25 fps (VIS and NIR).

    VIS is in colour, NIR in near infrared. There are three classes and no action units. There is no table: clips and
    classes are given by the folders. A clip begins with the onset and ends with the offset; no apex is annotated.
    Target: "expression" in `megc3`. Subjects are `s01` to `s20`, clips `s01/s1_ne_01`. See `datasets/smic/README.md`.

    Args:
        root: Folder that holds `SMIC_all_cropped` or `SMIC_all_raw`, or a folder in these.
        part: Camera of the recordings.
        **options: See `MicroCorpus`.
    """

    name = "SMIC"
    citation = "Li, Pfister, Huang, Zhao & Pietikäinen, SMIC, FG 2013."
    licence = "Research only, on a signed agreement with the University of Oulu."
    protocols = (leave_one_subject_out("SMIC", "SMIC-HS"),)
    native = "megc3"
    default_classes = "megc3"
    subject_form = "s%02d"
    folder_form = re.compile(r"s(\d{1,2})", re.IGNORECASE | re.ASCII)
    expected = MappingProxyType(
        {
            "HS": Counts(
                subjects=16,
                clips=164,
                classes={"negative": 70, "positive": 51, "surprise": 43},
                parts={f"s{person:02d}": Counts(clips=rows) for person, rows in ROWS.items()},
            ),
            "VIS": Counts(subjects=8, clips=71),
            "NIR": Counts(subjects=8, clips=71),
        }
    )

    def __init__(self, root: str | Path, *, part: Part = "HS", **options: Any) -> None:
        check_choice("part", part, get_args(Part))
        self.part = part
        self.fps = _FPS[part]
        super().__init__(root, **options)

    def movements(self) -> list[Movement]:
        """See `MicroCorpus`; the clips on disk."""
        if self.tree is None:
            raise DatasetNotFoundError(
                f"There are no clips of {self.part} here, in folders like {self.part}/s1/micro/negative/s1_ne_01.",
                path=self.root,
                remedy="Unpack SMIC_all_cropped or SMIC_all_raw there.",
            )
        return [
            Movement(person, name, no_apex="SMIC annotates none", emotion=CLASSES[name.split("_")[1]])
            for person in sorted(self.tree.clips)
            for name in self.tree.clips[person]
        ]

    def revisions(self) -> tuple[str, ...]:
        """See `MicroCorpus`."""
        return (self.part,)

    def select_tree(self, tree: ClipTree) -> ClipTree | None:
        """See `MicroCorpus`: a tree of this part with micro-expressions."""
        names = {name.upper() for name in tree.root.relative_to(self.root.parent).parts}
        if names & set(get_args(Part)) not in (set(), {self.part}):
            return None
        clips = {
            person: _list_clips(person, entries["micro"])
            for person, entries in tree.clips.items()
            if "micro" in entries
        }
        return ClipTree(tree.root, clips) if clips else None


def _list_clips(subject: int, folder: Path) -> dict[str, Path]:
    """Clips in the folders of the classes, by name."""
    found: dict[str, Path] = {}
    for path in (folder / kind / clip for kind in subfolders(folder) for clip in subfolders(folder / kind)):
        match, kind = _CLIP.fullmatch(path.name), path.parent.name
        if match is None or int(match[1]) != subject or CLASSES[match[2].lower()] != kind.lower():
            fault = f"The name of the folder does not fit class {kind} of subject {subject}."
            remedy = "Clips are called like s1_ne_01, with ne, po or sur for the class."
            raise AnnotationError(fault, path=path, remedy=remedy)
        name = f"s{subject}_{match[2].lower()}_{int(match[3]):02d}"
        if found.setdefault(name, path) != path:
            fault = f"This is the same clip as {found[name].name}."
            raise AnnotationError(fault, path=path, remedy="Remove one of them.")
    return found
