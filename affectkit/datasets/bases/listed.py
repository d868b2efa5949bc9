"""Base of video corpora whose folds are lists of clips."""

from __future__ import annotations

import functools
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NamedTuple

from affectkit.data.frames import UniformSegments
from affectkit.data.record import ClipRecord
from affectkit.data.transforms import ClipTransform, Compose, HorizontalFlip, RandomResizedCrop
from affectkit.datasets.bases.corpus import Corpus, Counts, class_counts
from affectkit.datasets.bases.protocols import Protocol
from affectkit.datasets.reading.clip_lists import ClipList, read_clip_list
from affectkit.datasets.registry import corpora
from affectkit.facs.expressions import ExpressionSet, canonical_expression

__all__ = ["ListedCorpus", "Role", "expected_folds", "five_folds"]

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
_LIST = re.compile(r".*\.(?:csv|txt)", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,6}", re.ASCII)
_FOLD = re.compile(r"(?:set|split|fold)[ _-]?0?([1-5])(?!\d)", re.ASCII)
_PART = re.compile(r"(?<![a-z])(?:single_)?(train|test)(?:set)?(?![a-z])")


class Role(NamedTuple):
    """Use of a list: the part of a fold, `train` or `test`."""

    fold: str
    split: str


class ListedCorpus(Corpus):
    """A corpus of short videos with one class each, whose folds are defined by lists.

    The lists are the distributed ones: a clip is tested in the fold whose test list names it and belongs to training
    in all other folds. All lists must agree on its class. Subjects are unknown. Target "expression": one class per
    clip, [].

    By default clips are named by a number, and the names of a list and of its folder contain fold (1 to 5) and part. A
    subclass sets the class attributes and implements `decode_number`; it overrides `find_role`,
    `find_clip` and `find_place` if its clips or lists are named differently.

    Args:
        root: Folder of the corpus, or a folder above it.
        space: Classes of "expression", those of the corpus by default; labels that it lacks are masked.
        media: Name of the folder of clips, such as `clip_224x224`; "auto" uses the first of `media_folders` on disk,
            else the folder with most of the listed clips.
        **options: See `Corpus`.

    Attributes:
        last_number: Number of the last clip; the first is 1.
        other_lists: Pattern in the lower-case paths of lists for other tasks.
        media_folders: Usual names of the folders of clips, the best first.
    """

    has_subjects = False
    media_options = ("media",)
    clip_frames = 16
    last_number: ClassVar[int] = 0
    other_lists: ClassVar[re.Pattern[str]]
    media_folders: ClassVar[tuple[str, ...]]
    closed = re.compile(r"\d{1,8}", re.ASCII)
    depth = 8

    def __init__(
        self, root: str | Path, *, space: str | None = None, media: str = "auto", **options: Any
    ) -> None:
        self.media = media
        self.spaces = {"expression": self.classes.name if space is None else ExpressionSet.parse(space).name}
        super().__init__(root, **options)

    @classmethod
    def sampling(cls, num_frames: int) -> dict[str, Any]:
        """See `AffectDataset`; shorter clips repeat their last frame."""
        return {"sampler": UniformSegments(num_frames, short="hold")}

    @classmethod
    def default_transform(cls, size: int, *, train: bool) -> ClipTransform:
        """See `AffectDataset`: in training `training_distortions`, a crop of 8 to 100 % of the picture, and a flip."""
        if not train:
            return super().default_transform(size, train=False)
        crop = RandomResizedCrop(size, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
        return Compose([*cls.training_distortions(), crop, HorizontalFlip()])

    @classmethod
    def training_distortions(cls) -> list[ClipTransform]:
        """Training augmentation before the crop, as in the corpus's publications."""
        return []

    def role(self, path: PurePosixPath) -> Role | None:
        """Role of a list, from its lower-case path below the root; None for other files.

        Rewritten lists of several corpora may be in one folder, with the names of the corpora in their own names.
        """
        names = {name.lower() for name, cls in corpora().items() if issubclass(cls, ListedCorpus)}
        other = any(name in str(path) for name in names - {self.name.lower()})
        return None if other else self.find_role(path)

    def find_role(self, path: PurePosixPath) -> Role | None:
        """The role of a list of this corpus."""
        if self.other_lists.search(str(path)):
            return None
        names = (path.stem, path.parent.name)
        fold = next((match[1] for name in names if (match := _FOLD.search(name))), None)
        split = next((match[1] for name in names if (match := _PART.search(name))), None)
        return None if fold is None or split is None else Role(f"set_{fold}", split)

    def find_clip(self, name: str) -> str | None:
        """Clip named by a cell of a list; None for other text."""
        return _five_digits(name, self.last_number)

    def find_place(self, folder: Path, name: str) -> tuple[Path, str] | None:
        """Folder of media that an entry of a folder belongs to, and its clip; None for other entries."""
        clip = self.find_clip(name)
        return None if clip is None else (folder, clip)

    @abstractmethod
    def decode_number(self, listed: ClipList, row: int, number: int) -> str:
        """Class of a row whose label is a number; raises an AnnotationError if there is none."""

    def find_class(self, listed: ClipList, row: int) -> str:
        """Class of a row; raises an AnnotationError if there is none."""
        label = listed.labels[row]
        if label.isascii() and label.isdecimal():
            return self.decode_number(listed, row, int(label))
        name = canonical_expression(label)
        if name not in self.classes.classes:
            remedy = f"Classes are {', '.join(self.classes.classes)}."
            raise listed.error(f"'{label[:30]}' is not a class.", row, remedy=remedy)
        return name

    def prepare(self, lists: Mapping[Role, ClipList]) -> None:
        """Inspect all lists before the rows are read."""

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`."""
        found = self._read_lists()
        lists = {role: listed[0] for role, listed in found.items()}
        self.prepare(lists)
        known: dict[str, tuple[str, ClipList]] = {}
        members = {role: self._read_members(listed[0], known) for role, listed in found.items()}
        for role, listed in found.items():
            for other in listed[1:]:
                if self._read_members(other, known).keys() != members[role].keys():
                    fault = f"It names other clips than {listed[0].path}, which is for {' '.join(role)} too."
                    raise other.error(fault, 0, remedy="Keep one of the lists.")
        folds = list(dict.fromkeys(role.fold for role in lists))
        for fold in folds:
            train, test = members[Role(fold, "train")], members[Role(fold, "test")]
            if both := [clip for clip in test if clip in train]:
                fault = f"{both[0]} is in the test list and in the training list of {fold}."
                remedy = f"Look for it in {lists[Role(fold, 'train')].path}; unpack both lists again."
                raise lists[Role(fold, "test")].error(fault, test[both[0]], remedy=remedy)
            if absent := len(known) - len(train) - len(test):
                clips = "clip" if absent == 1 else "clips"
                self.warnings.append(f"The lists of {fold} lack {absent} {clips} of other folds")
        numbered = [fold for fold in folds if fold != "official"]
        self.revision = _title(self.name, numbered, len(numbered) in (0, 5))
        tested = {clip: [f for f in folds if clip in members[Role(f, "test")]] for clip in known}
        trained = {clip: [f for f in folds if clip in members[Role(f, "train")]] for clip in known}
        twice = [clip for clip, own in tested.items() if len(own) > 1]
        if twice:
            self.warnings.append(f"Clips tested in several folds: {len(twice)}, such as {twice[0]}")
        published = self.expected[self.revision].parts if self.revision in self.expected else {}
        for role, rows in members.items():
            wanted = published[role.split if role.fold == "official" else " ".join(role)].clips or 0
            if 0 < abs(len(rows) - wanted) < wanted // 10:
                self.warnings.append(f"{lists[role].path} names {len(rows)} clips, {wanted} are published")
        places = self._find_places(known)
        return [
            ClipRecord(
                clip=clip,
                path=places.get(clip, self.root / self.media_folders[0] / clip),
                expression=known[clip][0],
                extra={"test": tested[clip], "train": trained[clip]},
            )
            for clip in sorted(known)
        ]

    def parts(self) -> dict[str, list[ClipRecord]]:
        """See `Corpus`; the clips of each list, for example `set_1 train`."""
        folds = {fold for r in self.everything for fold in (*r.extra["train"], *r.extra["test"])}
        return {
            split if fold == "official" else f"{fold} {split}": [
                record for record in self.everything if fold in record.extra[split]
            ]
            for fold in sorted(folds)
            for split in ("train", "test")
        }

    def split_unit(self, record: ClipRecord) -> str:
        """See `Corpus`; the folds that test a clip, and its name."""
        return f"{'+'.join(record.extra['test'])}/{record.clip}"

    def _read_lists(self) -> dict[Role, list[ClipList]]:
        """Lists by role; every fold has two."""
        found: dict[Role, list[ClipList]] = {}
        for path, _ in self.find_files(_LIST):
            role = self.role(PurePosixPath(path.relative_to(self.root).as_posix().lower()))
            if role is not None:
                found.setdefault(role, []).append(read_clip_list(path))
        if not found:
            raise self.no_labels()
        for role, listed in found.items():
            partner = Role(role.fold, "train" if role.split == "test" else "test")
            if partner not in found:
                fault = f"There is no {partner.split} list of {role.fold} beside this one."
                raise listed[0].error(fault, 0, remedy="Unpack both lists of every fold, or delete this one.")
        return dict(sorted(found.items()))

    def _read_members(self, listed: ClipList, known: dict[str, tuple[str, ClipList]]) -> dict[str, int]:
        """Row of each clip of a list; new clips are added to the classes that are `known`."""
        rows: dict[str, int] = {}
        for row, name in enumerate(listed.names):
            clip = self.find_clip(name)
            if clip is None:
                fault = f"'{name[:60]}' is not a clip of {self.name}."
                raise listed.error(fault, row, remedy="Correct it, or unpack the list again.")
            label = self.find_class(listed, row)
            other, elsewhere = known.setdefault(clip, (label, listed))
            if other != label:
                place = "above" if elsewhere is listed else f"in {elsewhere.path}"
                raise listed.error(
                    f"{clip} is {label} here and {other} {place}.", row, remedy="Correct one of them."
                )
            if rows.setdefault(clip, row) != row:
                self.warnings.append(f"{clip} is listed twice in {listed.path}")
        return rows

    def _find_places(self, clips: Mapping[str, Any]) -> Mapping[str, Path]:
        """Paths of the clips on disk."""
        folders: dict[Path, dict[str, Path]] = {}
        for folder, files, below in self.folders:
            for name in (*(file for file in files if Path(file).suffix.lower() in VIDEO_SUFFIXES), *below):
                place = self.find_place(folder, name)
                if place is not None and place[1] in clips:
                    folders.setdefault(place[0], {}).setdefault(place[1], folder / name)
        usual = [name.casefold() for name in self.media_folders]

        def rank(folder: Path) -> tuple[int, int, str]:
            name = folder.name.casefold()
            return usual.index(name) if name in usual else len(usual), -len(folders[folder]), str(folder)

        return self.choose_media({folder: folders[folder] for folder in sorted(folders, key=rank)})


@functools.lru_cache(maxsize=1 << 15)  # a clip is listed in every fold
def _five_digits(name: str, last: int) -> str | None:
    """The number at the end of a path, 1 to `last`, with five digits; None for other names.

    Example:
        >>> _five_digits("frames/151", 9999), _five_digits("00151.mp4", 9999), _five_digits("151b", 9999)
        ('00151', '00151', None)
    """
    stem = re.sub(r"\.(?:mp4|avi|mov|mkv|webm)$", "", name.replace("\\", "/").rpartition("/")[2].lower())
    return f"{int(stem):05d}" if _NUMBER.fullmatch(stem) and 1 <= int(stem) <= last else None


def _title(name: str, folds: Sequence[str], complete: bool) -> str:
    """Name of the revision with some or all folds."""
    return name if complete else f"{name}, {' '.join(folds)} only"


def five_folds(corpus: str) -> Protocol:
    """Protocol of five folds defined by lists."""
    description = f"{corpus}, the 5 folds of its lists; epoch chosen on a tenth of each training list"
    aliases = {str(fold): f"set_{fold}" for fold in range(1, 6)}
    return Protocol("5fold", corpus, description, listed=True, aliases=aliases)


def expected_folds(
    name: str, classes: ExpressionSet, totals: Sequence[int], tests: Sequence[int], first: Sequence[int]
) -> dict[str, Counts]:
    """Published counts of all five folds, and of any of them.

    Args:
        name: Name of the corpus.
        classes: Its classes.
        totals: Clips of each class.
        tests: Test clips of each fold.
        first: Test clips of each class in the first fold.
    """
    rest = [total - own for total, own in zip(totals, first, strict=True)]
    parts = {}
    for fold, size in enumerate(tests, start=1):
        parts[f"set_{fold} train"] = Counts(clips=sum(totals) - size)
        parts[f"set_{fold} test"] = Counts(clips=size)
    parts |= {"set_1 test": class_counts(classes, first), "set_1 train": class_counts(classes, rest)}
    folds = [f"set_{fold}" for fold in range(1, len(tests) + 1)]
    return {
        _title(name, own, len(own) == len(folds)): class_counts(
            classes, totals, parts={part: counts for part, counts in parts.items() if part.split()[0] in own}
        )
        for size in range(1, len(folds) + 1)
        for own in combinations(folds, size)
    }
