"""Check of a table of one's own before training: labels, subjects, media and faces."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from affectkit.datasets.preparing import measure
from affectkit.datasets.table import TableDataset
from affectkit.errors import VideoError
from affectkit.faces import CenterFace, MeshDetector, find_faces
from affectkit.facs import label_space
from affectkit.facs.spaces import LabelSpace

__all__ = ["SPLITS", "FaceSearch", "LabelCounts", "count_labels", "find_unreadable", "search_faces"]

SPLITS: Final = ("train", "val", "test", "no split")


@dataclass(frozen=True)
class LabelCounts:
    """Labels of one target.

    Args:
        space: Label space of the target.
        unit: What is counted: "clips" or "frames".
        annotated: Annotated clips or frames by (label, split), with "" for all labels together.
        shown: Clips or frames by (label, split) that show a unit, or have a class or level; empty for dimensions.
        sums: Sum of the values by (label, split), of intensities and dimensions.
    """

    space: LabelSpace
    unit: str
    annotated: Counter[tuple[str, str]]
    shown: Counter[tuple[str, str]]
    sums: defaultdict[tuple[str, str], float]


@dataclass(frozen=True)
class FaceSearch:
    """Result of a search of faces.

    Args:
        clips: Number of clips that were searched.
        frames: Number of frames that were searched.
        seen: Number of frames with a face.
        faceless: Names of clips without a face in the searched frames.
    """

    clips: int
    frames: int
    seen: int
    faceless: tuple[str, ...]


def count_labels(dataset: TableDataset) -> dict[str, LabelCounts]:
    """Count the labels of a table with all splits, by target."""
    counts: dict[str, LabelCounts] = {}
    for record in dataset.clips:
        split = split_of(dataset, record.extra["row"])
        frames = dataset.label_frames(record)
        for name, target in dataset.labels(record, frames).items():
            space = label_space(dataset.spaces[name])
            unit = "frames" if target.leading else "clips"
            found = counts.setdefault(
                name, LabelCounts(space, unit, Counter(), Counter(), defaultdict(float))
            )
            if target.indexed:
                known = target.value[target.mask].flatten().tolist()
                found.annotated["", split] += len(known)
                found.shown.update((space.labels[index], split) for index in known)
                continue
            value, mask = (part.reshape(-1, len(space)) for part in (target.value, target.mask))
            for place, label in enumerate(space.labels):
                found.annotated[label, split] += int(mask[:, place].sum())
                found.shown[label, split] += int((value[:, place] > 0).sum())
                found.sums[label, split] += float(value[:, place].sum())
    return counts


def split_of(dataset: TableDataset, row: int) -> str:
    """Split of a row, or "no split"."""
    return dataset.index.text("split", row) or SPLITS[-1]


def find_unreadable(dataset: TableDataset) -> dict[str, str]:
    """Faults of clips whose first frame cannot be read, by clip."""
    faults = {}
    for index, record in enumerate(dataset.clips):
        try:
            dataset.length(index)
            dataset.load(record, [record.start])
        except VideoError as error:
            faults[record.clip] = error.fault
    return faults


def search_faces(
    dataset: TableDataset,
    skip: Sequence[str],
    *,
    sample: int | None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> FaceSearch:
    """Search the faces of a table.

    Args:
        dataset: The table, with all splits; opened with cropped `pictures` if all frames are searched.
        skip: Names of clips that cannot be read.
        sample: Number of clips, evenly chosen, whose middle frame is searched; None for all frames of all clips, whose
            measurements are kept for training.
        workers: Number of processes that measure all frames.
        progress: Called with the numbers of finished and of all clips or recordings.
    """
    readable = [index for index, record in enumerate(dataset.clips) if record.clip not in skip]
    if sample is None:
        measure([dataset], workers=workers, progress=progress)
        every = [] if dataset.measured is None else dataset.measured.count_faces()
        counts = {index: every[index] for index in readable}
    else:
        detector = MeshDetector(detector=CenterFace())
        number = min(sample, len(readable))
        counts = {}
        for index in (readable[k * len(readable) // number] for k in range(number)):
            middle = dataset.clips[index].start + dataset.length(index) // 2
            frame = dataset.load(dataset.clips[index], [middle])
            counts[index] = (1, int(bool(find_faces(detector, frame)[0])))
            if progress is not None:
                progress(len(counts), number)
    faceless = tuple(dataset.clips[index].clip for index, (_, seen) in counts.items() if not seen)
    frames, seen = (sum(count[place] for count in counts.values()) for place in (0, 1))
    return FaceSearch(len(counts), frames, seen, faceless)
