"""Measurement of the signals of a whole dataset, so that training does not search faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import torch

from affectkit.data.record import ClipRecord
from affectkit.datasets.bases.dataset import AffectDataset
from affectkit.datasets.bases.signals import ClipSignals
from affectkit.errors import VideoError
from affectkit.workers import Handler, run_here, run_in_processes

__all__ = ["measure", "report_faces"]

_SHOWN: Final = 5  # names in a report


def measure(
    datasets: Sequence[AffectDataset],
    *,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Measure the signals of all clips that are not on disk yet.

    An interrupted run continues with the same call. Unreadable frames are masked.

    Args:
        datasets: Datasets, such as the splits of a corpus; those without signals are left out.
        workers: Number of processes; 0 uses the current one.
        progress: Called with the numbers of finished recordings and of all recordings to measure.

    Returns:
        Number of recordings measured.

    Raises:
        ConfigError: The folder is not writable.
    """
    sources = tuple(dataset.measured for dataset in datasets if dataset.measured is not None)
    jobs = [(number, index) for number, source in enumerate(sources) for index in source.missing()]
    if not jobs:
        return 0
    report = progress or (lambda done, total: None)
    done = 0
    report(done, len(jobs))
    start = _Start(sources, single=workers > 0)
    events = run_in_processes(start, jobs, processes=workers) if workers else run_here(start, jobs)
    with closing(events):
        for event in events:
            if event.kind == "failed":
                raise event.content
            if event.kind == "done":
                done += 1
                report(done, len(jobs))
    return done


def report_faces(datasets: Sequence[AffectDataset]) -> None:
    """Print in how many frames a face was found, for measured datasets that crop faces.

    Raises:
        VideoError: The media of a clip without a face cannot be read and the dataset does not skip such clips, or no
            clip of a dataset shows a face.
    """
    counts = {
        data: data.measured.count_faces()
        for data in datasets
        if data.measured is not None and not isinstance(data.pictures, str)
    }
    faceless: list[ClipRecord] = []
    for data, found in counts.items():
        missing = [record for record, (_, seen) in zip(data.clips, found, strict=True) if not seen]
        for record in missing if data.on_error == "raise" else ():
            data.load(record, [record.start])  # raises if the media is the reason
        if len(missing) == len(data):
            raise VideoError(
                f"No face was found in any clip of the split '{data.split}' ({len(data)}).",
                path=data.root,
                remedy="If the media are face crops already, set `crop_faces: false` (--data.crop_faces false).",
            )
        faceless += missing
    if not counts:
        return
    every = [count for found in counts.values() for count in found]
    frames, seen = (sum(column) for column in zip(*every, strict=True))
    line = f"{next(iter(counts)).name}: a face in {seen:,} of {frames:,} frames of {len(every):,} clips"
    if faceless:
        some = ", ".join(record.clip for record in faceless[:_SHOWN]) + ", …" * (len(faceless) > _SHOWN)
        line += f"; left out without a face: {len(faceless)} ({some})"
    print(line)


@dataclass(frozen=True)
class _Start:
    """Starts a worker, with a single thread if there are several."""

    sources: tuple[ClipSignals, ...]
    single: bool

    def __call__(self, place: int) -> Handler:
        if self.single:
            torch.set_num_threads(1)
        return self.handle

    def handle(self, job: tuple[int, int], report: Callable[[Any], None]) -> None:
        number, index = job
        self.sources[number].measure(index)
