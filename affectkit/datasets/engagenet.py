"""EngageNet: degrees of engagement of people in front of a screen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Final

from affectkit.data.record import ClipRecord
from affectkit.data.tables import read_table
from affectkit.datasets.bases.corpus import Counts
from affectkit.datasets.bases.leveled import LeveledCorpus, fixed_parts
from affectkit.datasets.registry import register
from affectkit.facs.scales import Levels

__all__ = ["LEVELS", "EngageNet"]

LEVELS: Final = Levels(("not engaged", "barely engaged", "engaged", "highly engaged"))
PUBLISHED: Final[Mapping[str, tuple[int, int]]] = {  # people and clips
    "train": (90, 7983),
    "validation": (11, 1071),
    "test": (26, 2257),
}
_ABSENT: Final = re.compile("snp.*")
_LIST: Final = re.compile(r"(train|validation|test)_engagement_labels\.(?:xlsx|csv)", re.IGNORECASE)
_CLIP: Final = re.compile(r"(subject_[^_]+)_.+", re.IGNORECASE)


@register
class EngageNet(LeveledCorpus):
    """EngageNet, videos of ten seconds of people in front of a screen.

    11,311 clips of 127 people in three parts of different people. Target "engagement": one of four levels, from "not
    engaged" to "highly engaged". The label "subject not present" (SNP) means that there is no level, and is masked.

    Args:
        root: Folder of the corpus: the three lists, and the videos in `Train`, `Validation` and `Test`.
        **options: See `Corpus`. Published models read tables of OpenFace, which `signal_tables` names.

    References:
        M. Singh, X. Hoque, D. Zeng, Y. Wang, K. Ikeda, A. Dhall, "Do I have your attention: a large scale engagement
        prediction dataset and baselines", ICMI 2023.
    """

    name = "EngageNet"
    citation = (
        "M. Singh, X. Hoque, D. Zeng, Y. Wang, K. Ikeda, A. Dhall: Do I have your attention: a large scale engagement "
        "prediction dataset and baselines. ICMI 2023."
    )
    licence = "On request by e-mail, for research; not redistributable."
    protocols = (fixed_parts("EngageNet"),)
    lists = _LIST
    scales: ClassVar[Mapping[str, Levels]] = {"engagement": LEVELS}
    labels_hint = (
        "train_engagement_labels.xlsx, validation_engagement_labels.xlsx and test_engagement_labels.csv"
    )
    closed = re.compile("MARLIN_.*", re.IGNORECASE)
    expected: ClassVar[Mapping[str, Counts]] = {
        "EngageNet": Counts(
            subjects=127,
            clips=11311,
            parts={part: Counts(subjects=people, clips=clips) for part, (people, clips) in PUBLISHED.items()},
        )
    }

    def read_list(self, path: Path, part: str) -> Iterator[ClipRecord]:
        """See `LeveledCorpus`."""
        table = read_table(path).with_names(("chunk", "label"))
        if missing := {"chunk", "label"} - table.columns.keys():
            fault = f"The list lacks the column {sorted(missing)[0]}."
            raise table.error(fault, remedy="Get the original list.")
        for row in range(len(table)):
            name, label = (table.text(column, row) or "" for column in ("chunk", "label"))
            clip = name.removesuffix(".mp4")
            match = _CLIP.fullmatch(clip)
            if match is None:
                fault = f"'{name[:60]}' is not a clip of EngageNet."
                raise table.error(fault, row, remedy="Names are like subject_7_as2uk9lhe2_vid_0_0.mp4.")
            word = label.casefold().replace("-", " ")
            if word not in LEVELS.levels and not _ABSENT.fullmatch(word):
                remedy = f"Labels are {', '.join(LEVELS.levels)}, or SNP if the person is not present."
                raise table.error(f"The label is '{label[:40]}'.", row, remedy=remedy)
            level = LEVELS.levels.index(word) if word in LEVELS.levels else -1
            place = self.media_files.get(clip, self.root / part.capitalize() / f"{clip}.mp4")
            extra = {"part": part, "engagement": level}
            yield ClipRecord(clip, place, subject=match[1].lower(), extra=extra)
