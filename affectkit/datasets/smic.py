"""SMIC: micro-expressions whose labels are the folders they lie in."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from affectkit.datasets.bases.corpus import Expected
from affectkit.datasets.bases.micro import MicroCorpus
from affectkit.datasets.bases.movements import Movement
from affectkit.datasets.bases.protocols import leave_one_subject_out
from affectkit.datasets.reading.folders import ClipTree, subfolders
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError

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

    VIS is in colour, NIR in near infrared. There are three classes and no action units. There is no table: the
    clips are the folders that are there. A clip begins with the onset and ends with the offset; no apex is
    annotated. Target: "expression" in `megc3`. Subjects are `s01` to `s20`, clips `s01/s1_ne_01`. See
    `datasets/smic/README.md`.

    Args:
        root: Folder that holds `SMIC_all_cropped` or `SMIC_all_raw`, or a folder in these.
        part: The recordings of which camera.
        **options: Those of `MicroCorpus`.

    References:
        Li et al., A spontaneous micro-expression database: Inducement, collection and baseline, FG 2013.
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
            "HS": Expected(
                subjects=16,
                clips=164,
                classes={"negative": 70, "positive": 51, "surprise": 43},
                parts={f"s{person:02d}": Expected(clips=rows) for person, rows in ROWS.items()},
            ),
            "VIS": Expected(subjects=8, clips=71),
            "NIR": Expected(subjects=8, clips=71),
        }
    )

    def __init__(self, root: str | Path, *, part: Part = "HS", **options: Any) -> None:
        if part not in get_args(Part):
            raise ConfigError(
                f"part={part!r} is not known.", remedy=f"Use one of: {', '.join(get_args(Part))}."
            )
        self.part = part
        self.fps = _FPS[part]
        super().__init__(root, **options)

    def movements(self) -> list[Movement]:
        """The clips that are there."""
        if self.tree is None:
            raise DatasetNotFoundError(
                f"There are no clips of {self.part} here, in folders like {self.part}/s1/micro/negative/s1_ne_01.",
                path=self.root,
                remedy="Unpack SMIC_all_cropped or SMIC_all_raw there.",
            )
        return [
            Movement(person, name, no_apex="SMIC annotates none", emotion=CLASSES[name.split("_")[1]])
            for person in sorted(self.tree.people)
            for name in self.tree.clips(person)
        ]

    def revisions(self) -> tuple[str, ...]:
        """See `MicroCorpus`."""
        return (self.part,)

    def usable(self, tree: ClipTree) -> ClipTree | None:
        """See `MicroCorpus`: a tree of this part, with short clips."""
        names = {name.upper() for name in tree.root.relative_to(self.root.parent).parts}
        if names & set(get_args(Part)) not in (set(), {self.part}):
            return None
        people = {
            person: micro
            for person, folder in tree.people.items()
            for micro in subfolders(folder)
            if micro.name.lower() == "micro"
        }
        return _ClipTree(tree.root, people) if people else None


class _ClipTree(ClipTree):
    """Clips lie one level deeper, in a folder for each class."""

    def _list(self, subject: int) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for kind in subfolders(self.people[subject]):
            for clip in subfolders(kind):
                match = _CLIP.fullmatch(clip.name)
                if (
                    match is None
                    or int(match[1]) != subject
                    or CLASSES[match[2].lower()] != kind.name.lower()
                ):
                    raise AnnotationError(
                        f"The folder does not fit its place, class {kind.name} of subject {subject}.",
                        path=clip,
                        remedy="Clips are called like s1_ne_01, with ne, po or sur for the class.",
                    )
                name = f"s{subject}_{match[2].lower()}_{int(match[3]):02d}"
                if found.setdefault(name, clip) != clip:
                    raise AnnotationError(
                        f"This is the same clip as {found[name].name}.",
                        path=clip,
                        remedy="Remove one of them.",
                    )
        return found
