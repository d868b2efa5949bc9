"""Corpora of photographs with one face each."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from affectkit.data.record import ClipRecord
from affectkit.datasets.bases.corpus import Corpus
from affectkit.datasets.reading.image_folders import image_fault

__all__ = ["StillCorpus"]


class StillCorpus(Corpus):
    """Base of corpora of photographs, each a clip of one frame, that do not say who is seen.

    Every photograph counts as a person of its own. The record's `extra` holds its "part" of the published split.

    Attributes:
        part_names: The parts of the published split.
    """

    has_subjects = False
    clip_frames = 1
    part_names: tuple[str, ...]

    def positives(self, record: ClipRecord) -> dict[str, int]:
        """See `Corpus`: no action units are coded."""
        return {}

    def coded_frames(self, record: ClipRecord) -> int:
        """See `Corpus`: a photograph is a frame."""
        return 1

    def parts(self) -> dict[str, list[ClipRecord]]:
        """See `Corpus`: the published split."""
        return {
            part: [record for record in self.everything if record.extra["part"] == part]
            for part in self.part_names
        }

    def missing(self) -> Iterator[str]:
        """See `Corpus`: every image is decoded at low resolution."""
        with ThreadPoolExecutor() as pool:
            faults = pool.map(
                lambda path: image_fault(path) if path.is_file() else "is not there",
                [record.path for record in self.everything],
            )
            for record, fault in zip(self.everything, faults, strict=True):
                if fault is not None:
                    yield f"{record.path} {fault}"
