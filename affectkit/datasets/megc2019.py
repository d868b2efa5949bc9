"""The composite of MEGC 2019: SMIC-HS, CASME II and SAMM as one corpus of three classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from affectkit.data.clip import Clip
from affectkit.data.record import ClipRecord
from affectkit.data.samplers import Draw
from affectkit.data.storage import join_location
from affectkit.datasets.bases.corpus import Corpus, Counts, class_counts
from affectkit.datasets.bases.protocols import leave_one_subject_out
from affectkit.datasets.casme2 import CASME2
from affectkit.datasets.registry import register
from affectkit.datasets.samm import SAMM
from affectkit.datasets.smic import SMIC
from affectkit.facs.expressions import ExpressionSet

__all__ = ["MEGC2019"]

_CLASSES = ExpressionSet.parse("megc3")


@register
class MEGC2019(Corpus):
    """442 micro-expressions of 68 people from three corpora, negative, positive or surprise.

    Names of subjects and clips begin with their corpus: `casme2/sub01`, `casme2/sub01/EP02_01f`. The clips are those
    with one of the three classes, without the two of CASME II that the challenge leaves out. Target: "expression" in
    `megc3`.

    Args:
        root: Folder that holds the three corpora.
        casme2: Folder of CASME II, relative to `root`.
        samm: Folder of SAMM.
        smic: Folder of SMIC.
        prepared: Folder or URI that holds the prepared crops of each corpus, in `smic`, `casme2` and `samm`.
        **options: See `Corpus`.
    """

    name = "MEGC2019"
    citation = (
        "See, Yap, Li, Hong & Wang, MEGC 2019 – the Second Facial Micro-Expressions Grand Challenge, FG 2019."
    )
    licence = "That of each of the three corpora."
    protocols = (leave_one_subject_out("MEGC2019", "MEGC 2019 composite of SMIC-HS, CASME II and SAMM"),)
    align_per = "clip"
    expected: ClassVar[Mapping[str, Counts]] = {
        "MEGC2019": class_counts(
            _CLASSES,
            (250, 109, 83),
            subjects=68,
            parts={
                "smic": class_counts(_CLASSES, (70, 51, 43), subjects=16),
                "casme2": class_counts(_CLASSES, (88, 32, 25), subjects=24),
                "samm": class_counts(_CLASSES, (92, 26, 15), subjects=28),
            },
        )
    }

    def __init__(
        self,
        root: str | Path,
        *,
        casme2: str = "CASME2",
        samm: str = "SAMM",
        smic: str = "SMIC",
        prepared: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.classes = _CLASSES
        self.spaces = {"expression": _CLASSES.name}
        self._prepared = prepared
        self._folders = {"smic": smic, "casme2": casme2, "samm": samm}
        super().__init__(root, **options)

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`; the clips of all three corpora."""
        kinds = {"smic": SMIC, "casme2": CASME2, "samm": SAMM}
        self.members: dict[str, Corpus] = {
            name: kind(
                self.root / self._folders[name],
                classes="megc3",
                require=["expression"],
                sampler=self.sampler,
                transform=self.transform,
                backend=self.backend,
                prepared=None if self._prepared is None else join_location(self._prepared, name),
            )
            for name, kind in kinds.items()
        }
        self.revision = "MEGC2019"
        self._origin: dict[str, tuple[Corpus, int]] = {}
        records = []
        for name, member in self.members.items():
            self.warnings += [f"{name}: {warning}" for warning in member.warnings]
            self.conflicts += [f"{name}: {conflict}" for conflict in member.conflicts]
            for index, record in enumerate(member.clips):
                clip = f"{name}/{record.clip}"
                self._origin[clip] = member, index
                label = int(member.labels(record, [0])["expression"].value)
                subject, word = f"{name}/{record.subject}", _CLASSES.classes[label]
                records.append(replace(record, clip=clip, subject=subject, expression=word, au=None))
        return records

    @property
    def rendered(self) -> bool:
        """See `AffectDataset`; whether the faces of all three are rendered."""
        return all(member.rendered for member in self.members.values())

    def parts(self) -> dict[str, list[ClipRecord]]:
        """See `Corpus`; the three corpora."""
        return {name: [r for r in self.everything if r.clip.startswith(f"{name}/")] for name in self.members}

    def missing(self) -> Iterator[str]:
        """See `Corpus`."""
        for name, member in self.members.items():
            yield from (f"{name}: {line}" for line in member.missing())

    def _load_clip(self, draw: Draw) -> Clip:
        record = self.clips[draw.index]
        member, index = self._origin[record.clip]
        clip = member[draw._replace(index=index)]
        meta = {**clip.meta, "dataset": self.name, "clip": record.clip, "subject": record.subject}
        return replace(
            clip, targets=self.annotate(record, []), subject=self._group_index(draw.index), meta=meta
        )
