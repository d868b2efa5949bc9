"""DAiSEE: engagement, boredom, confusion and frustration of people who watch lessons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Final

from affectkit.data.record import ClipRecord
from affectkit.data.tables import read_table
from affectkit.datasets.bases.leveled import LeveledCorpus, fixed_parts
from affectkit.datasets.registry import register
from affectkit.facs.scales import Levels

__all__ = ["DAiSEE"]

LEVELS: Final = Levels(("very low", "low", "high", "very high"))
STATES: Final = ("engagement", "boredom", "confusion", "frustration")
_LIST: Final = re.compile(r"(train|validation|test)labels\.csv", re.IGNORECASE)
_CLIP: Final = re.compile(r"(\d{6})\d{2,6}", re.ASCII)


@register
class DAiSEE(LeveledCorpus):
    """DAiSEE, videos of ten seconds of people who watch lessons at home or in a laboratory.

    9,068 videos of 112 people, most with labels, in three parts. Targets "engagement", "boredom", "confusion" and
    "frustration": one of four levels each, from "very low" to "very high". The first six digits of a clip name its
    person.

    Args:
        root: Folder of the corpus: `Labels` with a list for each part, and `DataSet` with the videos.
        **options: See `Corpus`.

    References:
        A. Gupta, A. D'Cunha, K. Awasthi, V. Balasubramanian, "DAiSEE: towards user engagement recognition in the wild",
        arXiv 1609.01885.
    """

    name = "DAiSEE"
    citation = (
        "A. Gupta, A. D'Cunha, K. Awasthi, V. Balasubramanian: DAiSEE: towards user engagement recognition in "
        "the wild. arXiv:1609.01885."
    )
    licence = "For research; not redistributable."
    protocols = (fixed_parts("DAiSEE"),)
    lists = _LIST
    scales: ClassVar[Mapping[str, Levels]] = dict.fromkeys(STATES, LEVELS)
    labels_hint = "Labels/TrainLabels.csv, ValidationLabels.csv and TestLabels.csv"
    closed = re.compile("(?!)")  # none

    def read_list(self, path: Path, part: str) -> Iterator[ClipRecord]:
        """See `LeveledCorpus`."""
        table = read_table(path).with_names(("clipid", *STATES))
        if missing := sorted({"clipid", *STATES} - table.columns.keys()):
            raise table.error(f"The list lacks the column {missing[0]}.", remedy="Get the original list.")
        for row in range(len(table)):
            name = table.text("clipid", row) or ""
            clip = name.partition(".")[0]
            match = _CLIP.fullmatch(clip)
            if match is None:
                fault = f"'{name[:60]}' is not a clip of DAiSEE."
                raise table.error(fault, row, remedy="Names are like 1100011002.avi.")
            levels = {}
            for state in STATES:
                level = table.count(state, row)
                if level is not None and level >= len(LEVELS):
                    remedy = "Levels are 0 to 3; leave unknown ones empty."
                    raise table.error(f"{state.capitalize()} is {level}.", row, remedy=remedy)
                levels[state] = -1 if level is None else level
            folder = self.root / "DataSet" / part.capitalize() / match[1] / clip
            place = self.media_files.get(clip, folder / f"{clip}.avi")
            yield ClipRecord(clip, place, subject=match[1], extra={"part": part, **levels})
