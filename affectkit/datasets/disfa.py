"""DISFA: intensity of twelve action units in every frame of 27 videos."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.data.record import ClipRecord
from affectkit.data.video import IMAGE_SUFFIXES
from affectkit.datasets.bases.corpus import Counts, Expected
from affectkit.datasets.bases.protocols import three_folds
from affectkit.datasets.bases.recordings import UNKNOWN, CodedCorpus, Recording, find_gaps
from affectkit.datasets.bases.sequences import SequenceCorpus
from affectkit.datasets.reading.codes import CodeTable, frame_ranges, read_codes
from affectkit.datasets.reading.image_folders import walk
from affectkit.datasets.reading.landmarks import PointFiles
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError
from affectkit.facs.regions import POINTS_66
from affectkit.facs.sets import AUSet

__all__ = ["DISFA"]

Camera = Literal["left", "right"]

_LABELS = re.compile(r"(SN\d{3})_au(\d{1,2})\.txt", re.ASCII | re.IGNORECASE)
_VIDEO = re.compile(r"(left|right)_?video_?(SN\d{3})(?:_comp)?\.(avi|mp4|mov|mkv)", re.ASCII | re.IGNORECASE)
_IMAGES = re.compile(r"(?:(left|right)_?video_?)?(SN\d{3})(?:_comp)?", re.ASCII | re.IGNORECASE)
_POINTS = re.compile(r".*_lm\.mat", re.IGNORECASE)
_CLOSED = re.compile(r"tmp_frame_lm", re.IGNORECASE)
_PICTURE = (1024, 768)
_UNITS = AUSet.parse("disfa12")
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "part1": (
        "SN001", "SN002", "SN009", "SN010", "SN016", "SN026", "SN027", "SN030", "SN032",
    ),
    "part2": (
        "SN006", "SN011", "SN012", "SN013", "SN018", "SN021", "SN024", "SN028", "SN031",
    ),
    "part3": (
        "SN003", "SN004", "SN005", "SN007", "SN008", "SN017", "SN023", "SN025", "SN029",
    ),
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


def _expected(threshold: int) -> Expected:
    """The published counts at a threshold; the parts' are known at 2 only."""
    return Expected(
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

    27 subjects, one video each from two cameras, 20 frames a second, 130,814 coded frames. Targets, by frame:
    "intensity", 0 to 5, of the units in `intensity_space`; "au", occurrence of the units in `space`: an intensity
    of at least `threshold`.

    Label frames count from 1: label frame 1 is the first frame of the video.

    Args:
        root: Folder of the corpus, or one above it; folders may be spelled in any way.
        space: Units of "au".
        intensity_space: Units of "intensity".
        threshold: The least intensity that counts as present, 1 to 5; 2 in the usual protocol.
        camera: Which camera's videos are read.
        media: "auto" takes the videos where there are some, else folders of extracted images (`SN001`,
            `LeftVideoSN001`); else the folder, relative to `root`, that holds such folders.
        image_base: Number of the first extracted image, 0 or 1; by default 0 where an image has that number.
        **options: See `SequenceCorpus` (`window`) and `Corpus`.

    Raises:
        DatasetNotFoundError: There are no label files.
        AnnotationError: One of them cannot be read without guessing; names file and line.
        ConfigError: There are no images in `media`, or an argument is out of range.

    References:
        S. M. Mavadati et al., "DISFA: a spontaneous facial action intensity database", IEEE Transactions on Affective
        Computing 4(2), 2013.
    """

    name = "DISFA"
    citation = (
        "S. M. Mavadati, M. H. Mahoor, K. Bartlett, P. Trinh, J. F. Cohn: DISFA: a spontaneous facial action intensity "
        "database. IEEE Transactions on Affective Computing 4(2), 2013."
    )
    licence = "On a signed agreement with the University of Denver, for research; not redistributable."
    protocols = (three_folds("DISFA", PARTS),)
    frames_per_second = 20.0
    media_options = ("camera", "image_base")
    expected: ClassVar[Mapping[str, Expected]] = {_revision(n): _expected(n) for n in range(1, 6)}

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
        self.space = AUSet.parse(space).as_occurrence()
        self.intensity_space = AUSet.parse(intensity_space).as_intensity()
        self.threshold = threshold
        self.camera = camera
        self.media = media
        self.image_base = image_base
        self.frame_offset = None if image_base is None else image_base - 1
        super().__init__(root, **options)

    @functools.cached_property
    def _tree(self) -> list[tuple[Path, list[str], list[str]]]:
        return list(walk(self.root, _CLOSED))

    def annotation_files(self) -> list[Path]:
        """See `SequenceCorpus`."""
        files = [
            folder / name for folder, names, _ in self._tree for name in names if _LABELS.fullmatch(name)
        ]
        if not files:
            remedy = "Unpack ActionUnit_Labels; its files are called SN001_au1.txt."
            raise DatasetNotFoundError("There are no labels of DISFA here.", path=self.root, remedy=remedy)
        return files

    def unit_spaces(self, columns: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
        """See `SequenceCorpus`."""
        return {"au": self.space.name, "intensity": self.intensity_space.name}

    def source(self, target: str) -> str:
        """See `SequenceCorpus`: occurrence comes from intensity."""
        return "intensity"

    def decode(self, target: str, codes: NDArray[np.int8]) -> NDArray[np.float32]:
        """See `SequenceCorpus`."""
        return (codes >= self.threshold if target == "au" else codes).astype(np.float32)

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`."""
        records = super().annotations()
        self.revision = _revision(self.threshold)
        return records

    def parse(self, files: Sequence[Path]) -> CodedCorpus:
        """See `SequenceCorpus`."""
        tables: dict[str, dict[int, CodeTable]] = defaultdict(dict)
        warnings: list[str] = []
        for path, match in [(path, match) for path in files if (match := _LABELS.fullmatch(path.name))]:
            subject, unit = match[1].upper(), int(match[2])
            if unit not in {known.id for known in _UNITS}:
                remedy = f"The files are of {', '.join(_UNITS.labels)}; is one misnamed?"
                raise AnnotationError(f"DISFA does not code AU{unit}.", path=path, line=1, remedy=remedy)
            table = read_codes(path, header=False, allowed=range(6))
            first = tables[subject].setdefault(unit, table)
            if first is not table:
                warnings.append(f"{path}: this is a copy of {first.path}")
                if not (
                    np.array_equal(first.frame_ids, table.frame_ids)
                    and np.array_equal(first.codes, table.codes)
                ):
                    fault = f"It differs from {first.path}, which has the same name."
                    raise AnnotationError(fault, path=path, line=1, remedy="Keep one of the two.")
        columns = tuple(unit.id for unit in _UNITS if any(unit.id in its for its in tables.values()))
        recordings = [_join(subject, columns, its) for subject, its in sorted(tables.items())]
        for recording in recordings:
            warnings += _oddities(recording, columns, tables[recording.name])
        absent = [subject for subject in _SUBJECTS if subject not in tables]
        if len(absent) < len(recordings) and absent:
            warnings.append(f"There are no labels of {', '.join(absent)}")
        return CodedCorpus("DISFA", {"intensity": columns}, recordings, warnings)

    def find_media(self, names: Iterable[str]) -> dict[str, Path]:
        """See `SequenceCorpus`."""
        videos: dict[str, Path] = {}
        trees: dict[Path, dict[str, Path]] = defaultdict(dict)
        full = {folder for folder, files, _ in self._tree if any(_is_image(file) for file in files)}
        for folder, files, folders in self._tree:
            for name in files:
                match = _VIDEO.fullmatch(name)
                if match and match[1].lower() == self.camera:
                    videos[match[2].upper()] = folder / name
            for name in folders:
                match = _IMAGES.fullmatch(name)
                if match and folder / name in full and self.camera in _cameras(match[1], folder):
                    trees[folder][match[2].upper()] = folder / name
        if self.media != "auto":
            tree = self.root / self.media
            if tree not in trees:
                found = ", ".join(str(other.relative_to(self.root)) for other in trees) or "none"
                raise ConfigError(
                    f"There are no images of the {self.camera} camera.",
                    path=tree,
                    remedy=f"There are some in: {found}.",
                )
            return trees[tree]
        if videos or not trees:
            return videos
        first, *others = trees
        if others:
            more = ", ".join(map(str, others))
            self.warnings.append(f"{first}: its images are taken; there are others in {more}")
        return trees[first]

    def find_landmarks(self) -> PointFiles | None:
        """See `SequenceCorpus`: `Landmark_Points/SN001/tmp_frame_lm`, made from the left camera's videos."""
        folders: dict[str, Path] = {}
        for folder, files, below in self._tree:
            subject = folder.name.upper()
            if subject in self.recordings:
                inner = [folder / name for name in below if _CLOSED.fullmatch(name)]
                direct = [folder for name in files[:1] if _POINTS.fullmatch(name)]
                for place in (*inner, *direct):
                    folders.setdefault(subject, place)
        if self.camera != "left" or not folders:
            return None
        lengths = {name: int(recording.frame_ids[-1]) for name, recording in self.recordings.items()}
        return PointFiles(folders, lengths, POINTS_66, _PICTURE)

    def bad_landmarks(self, recording: str) -> Collection[int]:
        """See `SequenceCorpus`."""
        return {frame - 1 for first, last in _LOST.get(recording, ()) for frame in range(first, last + 1)}

    def expected_path(self, recording: Recording) -> Path:
        """See `SequenceCorpus`."""
        side = self.camera.capitalize()
        return self.root / f"Videos_{side}Camera" / f"{side}Video{recording.name}_comp.avi"


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _cameras(side: str | None, folder: Path) -> set[str]:
    """Which cameras a subject's images may be of: what their folder or one above it says, else any."""
    named = {side.lower()} if side else {word for word in ("left", "right") if word in folder.name.lower()}
    return named or {"left", "right"}


def _join(subject: str, columns: tuple[int, ...], tables: Mapping[int, CodeTable]) -> Recording:
    """Bring the files of a subject together by frame number."""
    frames = functools.reduce(np.union1d, [table.frame_ids for table in tables.values()])
    codes = np.full((len(frames), len(columns)), UNKNOWN, dtype=np.int8)
    for unit, table in tables.items():
        codes[np.searchsorted(frames, table.frame_ids), columns.index(unit)] = table.codes[:, 0]
    return Recording(subject, subject, frames, {"intensity": codes}, np.ones(len(frames), dtype=bool))


def _oddities(
    recording: Recording, columns: tuple[int, ...], tables: Mapping[int, CodeTable]
) -> Iterator[str]:
    """What is not as in other recordings."""
    name, frames = recording.name, recording.frame_ids
    if name not in _SUBJECTS:
        yield f"{name} is not a subject of DISFA"
    published = _LENGTHS.get(name, _LENGTH)
    if 0 < abs(len(frames) - published) < published // 10:
        yield f"{name}: {len(frames)} coded frames, {published} are published"
    yield from find_gaps(recording)
    for unit in columns:
        if unit not in tables:
            yield f"{name}: there is no file of AU{unit}; it is masked"
        elif len(absent := np.setdiff1d(frames, tables[unit].frame_ids, assume_unique=True)):
            yield f"{name}: AU{unit} is not coded in frames {frame_ranges(absent.tolist())}; it is masked there"
