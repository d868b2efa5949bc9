"""DISFA: intensity of twelve action units in every frame of 27 videos."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.data.record import ClipRecord
from affectkit.data.video import IMAGE_SUFFIXES
from affectkit.datasets.bases.corpus import Counts
from affectkit.datasets.bases.protocols import three_folds
from affectkit.datasets.bases.recordings import CodedCorpus, Recording, add_table, find_gaps, join_tables
from affectkit.datasets.bases.sequences import SequenceCorpus
from affectkit.datasets.reading.codes import CodeTable, frame_ranges, read_codes
from affectkit.datasets.reading.landmarks import PointFiles
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError, ConfigError
from affectkit.facs.regions import POINTS_66
from affectkit.facs.sets import AUSet

__all__ = ["DISFA"]

Camera = Literal["left", "right"]

_VIDEO = re.compile(r"(left|right)_?video_?(SN\d{3})(?:_comp)?\.(avi|mp4|mov|mkv)", re.ASCII | re.IGNORECASE)
_IMAGES = re.compile(r"(?:(left|right)_?video_?)?(SN\d{3})(?:_comp)?", re.ASCII | re.IGNORECASE)
_POINTS = re.compile(r".*_lm\.mat", re.IGNORECASE)
_PICTURE = (1024, 768)
_UNITS = AUSet.parse("disfa12")
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "part1": ("SN001", "SN002", "SN009", "SN010", "SN016", "SN026", "SN027", "SN030", "SN032"),
    "part2": ("SN006", "SN011", "SN012", "SN013", "SN018", "SN021", "SN024", "SN028", "SN031"),
    "part3": ("SN003", "SN004", "SN005", "SN007", "SN008", "SN017", "SN023", "SN025", "SN029"),
}  # fmt: skip
_SUBJECTS = tuple(sorted(subject for part in PARTS.values() for subject in part))
_LENGTHS = {"SN010": 4844}
_LENGTH = 4845
_THRESHOLD = 2

# Frames at intensity 2 or more, in the order of disfa8; and AU5, which that set leaves out.
_PART_POSITIVES = {
    "part1": (43604, (1839, 1125, 5119, 2360, 1218, 4503, 10850, 4902)),
    "part2": (43605, (1469, 879, 6653, 3558, 1287, 6187, 13206, 4123)),
    "part3": (43605, (3198, 3640, 8161, 4409, 2968, 6161, 12191, 2508)),
}
POSITIVES: Mapping[int, Mapping[int, int]] = {
    2: {1: 6506, 2: 5644, 4: 19933, 5: 1150, 6: 10327, 9: 5473, 12: 16851, 25: 36247, 26: 11533},
    3: {1: 4757, 2: 4710, 4: 12297, 5: 431, 12: 9982, 25: 22312, 26: 4060},
    4: {1: 1948, 2: 1205, 4: 5711, 5: 138, 12: 2749, 25: 6619, 26: 531},
    5: {1: 555, 2: 369, 4: 1383, 5: 34, 12: 172, 25: 1039, 26: 217},
}

# Label frames in which the shipped landmarks are off the face: the 4,670 frames that benchmarks leave out.
_LOST: Mapping[str, Sequence[tuple[int, int]]] = {
    "SN001": ((398, 420), (3190, 3243)),
    "SN002": ((800, 826),),
    "SN004": ((4541, 4555),),
    "SN006": ((1349, 1405),),
    "SN009": ((1736, 1808), (1851, 1885)),
    "SN011": ((4529, 4533), (4830, 4845)),
    "SN021": ((574, 616), (985, 1164), (1190, 1205), (1305, 1338), (1665, 1710), (1862, 2477), (2554, 4657),
              (4710, 4722)),
    "SN023": ((1021, 1049), (3378, 3557), (3584, 3668), (4547, 4621), (4741, 4772), (4825, 4845)),
    "SN025": ((4596, 4662), (4816, 4835)),
    "SN027": ((3461, 3494), (4738, 4785)),
    "SN028": ((1875, 1885), (4571, 4690)),
    "SN029": ((4090, 4543),),
    "SN030": ((939, 962), (1406, 1422), (2100, 2132), (2893, 2955)),
}  # fmt: skip


def _revision(threshold: int) -> str:
    return "DISFA" if threshold == _THRESHOLD else f"DISFA, positive at {threshold} or more"


def _expected(threshold: int) -> Counts:
    """The published counts at a threshold; the parts' are known at 2 only."""
    return Counts(
        subjects=27,
        clips=27,
        frames=130_814,
        positives={f"AU{unit}": n for unit, n in POSITIVES.get(threshold, {}).items()},
        parts={
            part: Counts(
                subjects=9,
                clips=9,
                frames=frames,
                positives=dict(zip(AUSet.parse("disfa8").labels, positives, strict=True))
                if threshold == _THRESHOLD
                else {},
            )
            for part, (frames, positives) in _PART_POSITIVES.items()
        },
    )


@register
class DISFA(SequenceCorpus):
    """DISFA, the Denver Intensity of Spontaneous Facial Action database.

    27 subjects, one video each from two cameras, 20 fps, 130,814 coded frames. Targets per frame: "intensity", 0 to 5,
    of the units in `intensity_space`; "au", occurrence of the units in `space`: an intensity of at least `threshold`.

    Label frames are numbered from 1: label frame 1 is the first frame of the video. Folders may have any spelling.

    Args:
        space: Units of "au".
        intensity_space: Units of "intensity".
        threshold: Lowest intensity that counts as present, 1 to 5; 2 in the usual protocol.
        camera: Camera of the videos.
        media: "auto" for the videos if there are any, else folders of extracted images (`SN001`, `LeftVideoSN001`); or
            the folder, relative to `root`, that holds such folders.
        image_base: Number of the first extracted image, 0 or 1; by default 0 if there is an image 0.
        **options: See `SequenceCorpus` (`window`) and `Corpus`.
    """

    name = "DISFA"
    citation = (
        "S. M. Mavadati, M. H. Mahoor, K. Bartlett, P. Trinh, J. F. Cohn: DISFA: a spontaneous facial action intensity "
        "database. IEEE Transactions on Affective Computing 4(2), 2013."
    )
    licence = "On a signed agreement with the University of Denver, for research; not redistributable."
    label_files = re.compile(r"(SN\d{3})_au(\d{1,2})\.txt", re.ASCII | re.IGNORECASE)
    labels_hint = "ActionUnit_Labels, with files like SN001_au1.txt"
    closed = re.compile(r"tmp_frame_lm", re.IGNORECASE)
    protocols = (three_folds("DISFA", PARTS),)
    frames_per_second = 20.0
    sources: ClassVar[Mapping[str, str]] = {"au": "intensity"}
    media_options = ("camera", "image_base")
    expected: ClassVar[Mapping[str, Counts]] = {_revision(n): _expected(n) for n in range(1, 6)}

    def __init__(
        self,
        root: str | Path,
        *,
        space: str = "disfa8",
        intensity_space: str = "disfa12",
        threshold: int = _THRESHOLD,
        camera: Camera = "left",
        media: str = "auto",
        image_base: int | None = None,
        **options: Any,
    ) -> None:
        if threshold not in range(1, 6) or camera not in ("left", "right") or image_base not in (None, 0, 1):
            raise ConfigError(
                f"threshold {threshold}, camera {camera!r} or image_base {image_base} does not exist.",
                remedy="Use a threshold from 1 to 5, the camera 'left' or 'right', the image base 0 or 1.",
            )
        intensity = AUSet.parse(intensity_space).as_intensity()
        self.spaces = {"au": AUSet.parse(space).as_occurrence().name, "intensity": intensity.name}
        self.threshold = threshold
        self.camera = camera
        self.media = media
        self.image_base = image_base
        self.frame_offset = None if image_base is None else image_base - 1
        super().__init__(root, **options)

    def decode(self, target: str, codes: NDArray[np.int8]) -> NDArray[np.float32]:
        """See `SequenceCorpus`."""
        return (codes >= self.threshold if target == "au" else codes).astype(np.float32)

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`."""
        records = super().annotations()
        self.revision = _revision(self.threshold)
        return records

    def parse(self, files: Sequence[tuple[Path, re.Match[str]]]) -> CodedCorpus:
        """See `SequenceCorpus`."""
        tables: dict[str, dict[int, CodeTable]] = defaultdict(dict)
        warnings: list[str] = []
        for path, match in files:
            unit = int(match[2])
            if unit not in {known.id for known in _UNITS}:
                remedy = f"Rename the file if it is of one of {', '.join(_UNITS.labels)}."
                raise AnnotationError(f"DISFA does not code AU{unit}.", path=path, line=1, remedy=remedy)
            table = read_codes(path, header=False, allowed=range(6))
            add_table(tables[match[1].upper()], unit, table, warnings)
        units = tuple(unit.id for unit in _UNITS if any(unit.id in own for own in tables.values()))
        columns = {"intensity": units}
        recordings = [join_tables(name, name, columns, own) for name, own in sorted(tables.items())]
        for recording in recordings:
            warnings += _irregularities(recording, units, tables[recording.name])
        absent = [subject for subject in _SUBJECTS if subject not in tables]
        if len(absent) < len(recordings) and absent:
            warnings.append(f"There are no labels of {', '.join(absent)}")
        return CodedCorpus("DISFA", columns, recordings, warnings)

    def find_media(self) -> Mapping[str, Path]:
        """See `SequenceCorpus`."""
        videos = {
            match[2].upper(): path
            for path, match in self.find_files(_VIDEO)
            if match[1].lower() == self.camera
        }
        trees: dict[Path, dict[str, Path]] = defaultdict(dict)
        full = {
            folder
            for folder, files, _ in self.folders
            if any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in files)
        }
        for folder, _, names in self.folders:
            for match in filter(None, map(_IMAGES.fullmatch, names)):
                if folder / match[0] in full and self.camera in _cameras(match[1], folder):
                    trees[folder][match[2].upper()] = folder / match[0]
        if self.media == "auto" and (videos or not trees):
            return videos
        if self.media == "auto" and len(trees) > 1:
            first, *others = map(str, trees)
            self.warnings.append(f"{first}: its images are used; there are others in {', '.join(others)}")
        return self.choose_media(trees)

    def find_landmarks(self) -> PointFiles | None:
        """See `SequenceCorpus`; `Landmark_Points/SN001/tmp_frame_lm` is of the left camera."""
        folders: dict[str, Path] = {}
        for folder, files, below in self.folders:
            if folder.name.upper() in self.recordings:
                inner = [folder / name for name in below if self.closed.fullmatch(name)]
                direct = [folder for name in files[:1] if _POINTS.fullmatch(name)]
                for place in (*inner, *direct):
                    folders.setdefault(folder.name.upper(), place)
        if self.camera != "left" or not folders:
            return None
        lengths = {name: int(recording.frame_ids[-1]) for name, recording in self.recordings.items()}
        return PointFiles(folders, POINTS_66, _PICTURE, lengths)

    def bad_landmarks(self, recording: str) -> Collection[int]:
        """See `SequenceCorpus`."""
        return {frame - 1 for first, last in _LOST.get(recording, ()) for frame in range(first, last + 1)}

    def expected_path(self, recording: Recording) -> Path:
        """See `SequenceCorpus`."""
        side = self.camera.capitalize()
        return self.root / f"Videos_{side}Camera" / f"{side}Video{recording.name}_comp.avi"


def _cameras(side: str | None, folder: Path) -> set[str]:
    """Cameras that a subject's images may be of: the one in the name of their folder or of its parent, or both."""
    named = {side.lower()} if side else {word for word in ("left", "right") if word in folder.name.lower()}
    return named or {"left", "right"}


def _irregularities(
    recording: Recording, units: tuple[int, ...], tables: Mapping[int, CodeTable]
) -> Iterator[str]:
    name, frames = recording.name, recording.frame_ids
    if name not in _SUBJECTS:
        yield f"{name} is not a subject of DISFA"
    published = _LENGTHS.get(name, _LENGTH)
    if 0 < abs(len(frames) - published) < published // 10:
        yield f"{name}: {len(frames)} coded frames, {published} are published"
    yield from find_gaps(recording)
    for unit in units:
        if unit not in tables:
            yield f"{name}: there is no file of AU{unit}; it is masked"
        elif len(absent := np.setdiff1d(frames, tables[unit].frame_ids, assume_unique=True)):
            yield f"{name}: AU{unit} is not coded in frames {frame_ranges(absent)}; it is masked there"
