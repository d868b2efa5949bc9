"""Video corpora whose folds are lists of clips: what DFEW, FERV39k and MAFW share."""

from __future__ import annotations

import functools
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NamedTuple

import torch

from affectkit.data.frames import UniformSegments
from affectkit.data.record import ClipRecord
from affectkit.data.target import Target
from affectkit.data.transforms import ClipTransform, Compose, HorizontalFlip, RandomResizedCrop
from affectkit.data.video import open_video
from affectkit.datasets.bases.corpus import Corpus, Counts, Expected
from affectkit.datasets.bases.protocols import Protocol, listed_folds
from affectkit.datasets.reading.clip_lists import ClipList, read_clip_list
from affectkit.datasets.reading.image_folders import walk
from affectkit.datasets.registry import corpora
from affectkit.errors import ConfigError, DatasetNotFoundError, VideoError
from affectkit.facs.expressions import ExpressionSet, canonical_expression

__all__ = ["ListedCorpus", "Role", "expected_folds", "five_folds", "fold_role", "number_key", "word_class"]

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
_LIST_SUFFIXES = frozenset({".csv", ".txt"})
_CLIP_FOLDER = re.compile(r"\d{1,8}", re.ASCII)
_NUMBER = re.compile(r"\d{1,6}", re.ASCII)
_FOLD = re.compile(r"(?:set|split|fold)[ _-]?0?([1-5])(?!\d)", re.ASCII)
_PART = re.compile(r"(?<![a-z])(?:single_)?(train|test)(?:set)?(?![a-z])")
_DEPTH = 8


class Role(NamedTuple):
    """What a list is for: the part of a fold, `train` or `test`."""

    fold: str
    split: str


class ListedCorpus(Corpus):
    """A corpus of short videos, with one class each, whose folds stand in lists.

    The lists are the user's own, as distributed: a clip is tested in the fold whose test list names it and belongs
    to training everywhere else. All lists must agree on its class. Nobody is told who is seen, so every clip counts
    as a person of its own. Target "expression": one class a clip, [].

    A subclass sets the class attributes and implements `own_role`, `clip_of`, `place_of` and `class_of`.

    Args:
        root: Folder of the corpus.
        space: Classes of "expression", the corpus's own by default; labels it lacks are masked.
        media: Name of the folder that holds the clips to read, such as `clip_224x224`; "auto" takes the first of
            `media_folders` that is there, or else whichever holds most of the listed clips.
        **options: See `Corpus`.

    Raises:
        DatasetNotFoundError: There are no lists.
        AnnotationError: A list cannot be read without guessing; names file and line.
        ConfigError: There is no folder of clips with the name given.

    Attributes:
        classes: The corpus's own classes.
        media_folders: Usual names of the folders that hold the clips, the best first.
        lists_hint: Where the lists usually are.
    """

    has_subjects = False
    media_options = ("media",)
    clip_frames = 16
    classes: ClassVar[ExpressionSet]
    media_folders: ClassVar[tuple[str, ...]]
    lists_hint: ClassVar[str]

    def __init__(
        self, root: str | Path, *, space: str | None = None, media: str = "auto", **options: Any
    ) -> None:
        self.media = media
        self.spaces = {"expression": self.classes.name if space is None else ExpressionSet.parse(space).name}
        super().__init__(root, **options)

    @classmethod
    def sampling(cls, num_frames: int) -> dict[str, Any]:
        """See `AffectDataset`; clips that are shorter hold their last frame."""
        return {"sampler": UniformSegments(num_frames, short="hold")}

    @classmethod
    def default_transform(cls, size: int, *, train: bool) -> ClipTransform:
        """See `AffectDataset`: in training a crop of 8 to 100 % of the picture, a flip and `distortions`."""
        if not train:
            return super().default_transform(size, train=False)
        crop = RandomResizedCrop(size, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
        return Compose([*cls.distortions(), crop, HorizontalFlip()])

    @classmethod
    def distortions(cls) -> list[ClipTransform]:
        """What training does to pictures before they are cropped, after the corpus's publications."""
        return []

    def role(self, path: PurePosixPath) -> Role | None:
        """What a file is a list of, by its path below the root in lower case; None for other files.

        Lists that others have rewritten lie in one folder, and the names of corpora tell them apart.
        """
        names = (cls.name.lower() for cls in corpora().values() if issubclass(cls, ListedCorpus))
        others = [name for name in names if name != self.name.lower() and name in str(path)]
        return None if others else self.own_role(path)

    @abstractmethod
    def own_role(self, path: PurePosixPath) -> Role | None:
        """The same, for a path that names no other corpus."""

    @abstractmethod
    def clip_of(self, name: str) -> str | None:
        """The clip that a cell of a list names; None where it names none."""

    @abstractmethod
    def place_of(self, folder: Path, name: str) -> tuple[Path, str] | None:
        """The folder of media that an entry of a folder belongs to, and its clip; None for other entries."""

    @abstractmethod
    def class_of(self, listed: ClipList, row: int) -> str:
        """The class that a row gives, one of `classes`.

        Raises:
            AnnotationError: It gives none.
        """

    def prepare(self, lists: Mapping[Role, ClipList]) -> None:
        """Look at all lists before the first row is read."""

    def title(self, folds: Sequence[str]) -> str:
        """Name of the revision that has these folds."""
        return self.name if len(folds) in (0, 5) else f"{self.name}, {' '.join(folds)} only"

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`."""
        found = self._read_lists()
        lists = {role: listed[0] for role, listed in found.items()}
        self.prepare(lists)
        known: dict[str, tuple[str, ClipList]] = {}
        members = {role: self._members(listed[0], known) for role, listed in found.items()}
        for role, listed in found.items():
            for other in listed[1:]:
                if self._members(other, known).keys() != members[role].keys():
                    fault = f"It names other clips than {listed[0].path}, which is for {' '.join(role)} too."
                    raise other.error(fault, 0, remedy="Keep one of the lists.")
        folds = list(dict.fromkeys(role.fold for role in lists))
        for fold in folds:
            self._check_fold(fold, lists, members, len(known))
        self.revision = self.title([fold for fold in folds if fold != "official"])
        tested = {clip: [f for f in folds if clip in members[Role(f, "test")]] for clip in known}
        twice = [clip for clip, own in tested.items() if len(own) > 1]
        if twice:
            self.warnings.append(f"Clips tested in several folds: {len(twice)}, such as {twice[0]}")
        published = self.expected[self.revision].parts if self.revision in self.expected else {}
        for role, rows in members.items():
            wanted = published[role.split if role.fold == "official" else " ".join(role)].clips or 0
            if 0 < abs(len(rows) - wanted) < wanted // 10:
                self.warnings.append(f"{lists[role].path} names {len(rows)} clips, {wanted} are published")
        places = self._places(known)
        nowhere = self.root / self.media_folders[0]
        return [
            ClipRecord(
                clip=clip,
                path=places.get(clip, nowhere / clip),
                expression=known[clip][0],
                extra={
                    "test": tested[clip],
                    "train": [fold for fold in folds if clip in members[Role(fold, "train")]],
                },
            )
            for clip in sorted(known)
        ]

    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """See `AffectDataset`: one class a clip, []."""
        label = torch.tensor(self.classes.index(str(record.expression)))
        target = Target.make(label, space=self.classes.name)
        return {"expression": target.project(self.spaces["expression"])}

    def positives(self, record: ClipRecord) -> dict[str, int]:
        """See `Corpus`: no action units are coded."""
        return {}

    def parts(self) -> dict[str, list[ClipRecord]]:
        """See `Corpus`: what each list holds, `set_1 train` for example."""
        folds = dict.fromkeys(fold for r in self.everything for fold in (*r.extra["train"], *r.extra["test"]))
        return {
            split if fold == "official" else f"{fold} {split}": [
                record for record in self.everything if fold in record.extra[split]
            ]
            for fold in sorted(folds)
            for split in ("train", "test")
        }

    def missing(self) -> Iterator[str]:
        """See `Corpus`: the first and the last frame of every clip are decoded."""
        with ThreadPoolExecutor() as pool:
            for record, fault in zip(self.everything, pool.map(self._fault, self.everything), strict=True):
                if fault is not None:
                    yield f"{record.clip} ({record.path}): {fault}"

    def _fault(self, record: ClipRecord) -> str | None:
        if not record.path.exists():
            return "there is no such file"
        try:
            with open_video(record.path, self.backend) as reader:
                reader.read(sorted({0, reader.num_frames - 1}))
        except VideoError as fault:
            return fault.fault
        return None

    def _unit_of_split(self, record: ClipRecord) -> str:
        # A protocol sees nothing but names, so the names say where a clip is tested.
        return f"{'+'.join(record.extra['test'])}/{record.clip}"

    @functools.cached_property
    def _tree(self) -> list[tuple[Path, list[str], list[str]]]:
        return list(walk(self.root, _CLIP_FOLDER, _DEPTH))

    def _read_lists(self) -> dict[Role, list[ClipList]]:
        """Every list by what it is for; every fold has two."""
        found: dict[Role, list[ClipList]] = {}
        for folder, files, _ in self._tree:
            for file in files:
                below = PurePosixPath(folder.relative_to(self.root).as_posix().lower(), file.lower())
                role = self.role(below) if below.suffix in _LIST_SUFFIXES else None
                if role is not None:
                    found.setdefault(role, []).append(read_clip_list(folder / file))
        if not found:
            raise DatasetNotFoundError(
                f"There are no lists of {self.name} here.",
                path=self.root,
                remedy=f"Unpack its labels there: {self.lists_hint}.",
            )
        for role, listed in found.items():
            partner = Role(role.fold, "train" if role.split == "test" else "test")
            if partner not in found:
                fault = f"There is no {partner.split} list of {role.fold} beside this one."
                raise listed[0].error(fault, 0, remedy="Unpack both lists of every fold, or delete this one.")
        return dict(sorted(found.items()))

    def _members(self, listed: ClipList, known: dict[str, tuple[str, ClipList]]) -> dict[str, int]:
        """The row of each clip of a list; what is new is added to the classes that are `known`."""
        rows: dict[str, int] = {}
        for row, name in enumerate(listed.names):
            clip = self.clip_of(name)
            if clip is None:
                raise listed.error(
                    f"'{name[:60]}' is not the name of a clip of {self.name}.",
                    row,
                    remedy="Correct it, or unpack the list again.",
                )
            label = self.class_of(listed, row)
            said, elsewhere = known.setdefault(clip, (label, listed))
            if said != label:
                place = "above" if elsewhere is listed else f"in {elsewhere.path}"
                raise listed.error(
                    f"{clip} is {label} here and {said} {place}.", row, remedy="Find out which is right."
                )
            if rows.setdefault(clip, row) != row:
                self.warnings.append(f"{clip} stands twice in {listed.path}")
        return rows

    def _check_fold(
        self,
        fold: str,
        lists: Mapping[Role, ClipList],
        members: Mapping[Role, Mapping[str, int]],
        total: int,
    ) -> None:
        train, test = members[Role(fold, "train")], members[Role(fold, "test")]
        for clip, row in test.items():
            if clip in train:
                raise lists[Role(fold, "test")].error(
                    f"{clip} is to be tested in {fold} and to be trained on in it too.",
                    row,
                    remedy=f"Look for it in {lists[Role(fold, 'train')].path}; unpack both lists again.",
                )
        absent = total - len(train) - len(test)
        if absent:
            self.warnings.append(f"The lists of {fold} lack {absent} clips of other folds")

    def _places(self, clips: Mapping[str, Any]) -> dict[str, Path]:
        """Where the clips are."""
        folders: dict[Path, dict[str, Path]] = {}
        for folder, files, below in self._tree:
            for name in (*(file for file in files if Path(file).suffix.lower() in VIDEO_SUFFIXES), *below):
                place = self.place_of(folder, name)
                if place is not None and place[1] in clips:
                    folders.setdefault(place[0], {}).setdefault(place[1], folder / name)
        if self.media != "auto":
            chosen = [folder for folder in folders if folder.name.casefold() == self.media.casefold()]
            if not chosen:
                there = ", ".join(sorted({folder.name for folder in folders})) or "none"
                raise ConfigError(
                    f"No folder {self.media!r} holds clips of {self.name}.",
                    path=self.root,
                    remedy=f"Folders with clips: {there}.",
                )
            return folders[chosen[0]]
        usual = [name.casefold() for name in self.media_folders]

        def rank(folder: Path) -> tuple[int, int, str]:
            name = folder.name.casefold()
            return usual.index(name) if name in usual else len(usual), -len(folders[folder]), str(folder)

        return folders[min(folders, key=rank)] if folders else {}


def fold_role(path: PurePosixPath, skip: re.Pattern[str]) -> Role | None:
    """The role of a list whose name, with that of its folder, says fold (1 to 5) and part.

    Args:
        path: In lower case.
        skip: Found in paths of lists for other tasks.

    Example:
        >>> fold_role(PurePosixPath("emolabel/test(single-labeled)/set_3.csv"), re.compile("compound"))
        Role(fold='set_3', split='test')
        >>> fold_role(PurePosixPath("label/single_trainset_1.csv"), re.compile("compound"))
        Role(fold='set_1', split='train')
    """
    if skip.search(str(path)):
        return None
    names = (path.stem, path.parent.name)
    fold = next((match[1] for name in names if (match := _FOLD.search(name))), None)
    split = next((match[1] for name in names if (match := _PART.search(name))), None)
    return None if fold is None or split is None else Role(f"set_{fold}", split)


@functools.lru_cache(maxsize=1 << 15)  # a clip stands in every fold
def number_key(name: str, highest: int) -> str | None:
    """The clip that the number at the end of a path stands for, with five digits.

    Args:
        name: A name or a path, with or without the suffix of a video.
        highest: The last number that there is; the first is 1.

    Example:
        >>> number_key("frames/151", 9999), number_key("00151.mp4", 9999), number_key("151b", 9999)
        ('00151', '00151', None)
    """
    stem = re.sub(r"\.(?:mp4|avi|mov|mkv|webm)$", "", name.replace("\\", "/").rpartition("/")[2].lower())
    return f"{int(stem):05d}" if _NUMBER.fullmatch(stem) and 1 <= int(stem) <= highest else None


def word_class(listed: ClipList, row: int, classes: ExpressionSet) -> str:
    """The class that a word in a row names.

    Raises:
        AnnotationError: It names none.
    """
    name = canonical_expression(listed.labels[row])
    if name not in classes.classes:
        raise listed.error(
            f"'{listed.labels[row][:30]}' is not a class.",
            row,
            remedy=f"Classes are {', '.join(classes.classes)}.",
        )
    return name


def five_folds(corpus: str) -> Protocol:
    """The five folds of a corpus's own lists."""
    return listed_folds(
        corpus,
        "5fold",
        f"{corpus}, the 5 folds of its lists; epoch chosen on a tenth of each training list",
        **{str(fold): f"set_{fold}" for fold in range(1, 6)},
    )


def expected_folds(
    name: str, classes: ExpressionSet, totals: Sequence[int], tests: Sequence[int], first: Sequence[int]
) -> dict[str, Expected]:
    """Published counts, for all five folds or some of them.

    Args:
        name: Name of the corpus.
        classes: Its classes.
        totals: Clips of each class.
        tests: Clips tested in each fold.
        first: Clips of each class tested in the first fold.
    """
    whole = sum(totals)

    def by_class(counts: Sequence[int]) -> dict[str, int]:
        return dict(zip(classes.classes, counts, strict=True))

    parts = {}
    for fold, size in enumerate(tests, start=1):
        rest = [total - own for total, own in zip(totals, first, strict=True)]
        parts[f"set_{fold} train"] = Counts(clips=whole - size, classes=by_class(rest) if fold == 1 else {})
        parts[f"set_{fold} test"] = Counts(clips=size, classes=by_class(first) if fold == 1 else {})
    folds = [f"set_{fold}" for fold in range(1, len(tests) + 1)]
    return {
        name if len(own) == len(folds) else f"{name}, {' '.join(own)} only": Expected(
            clips=whole,
            classes=by_class(totals),
            parts={part: counts for part, counts in parts.items() if part.split()[0] in own},
        )
        for size in range(1, len(folds) + 1)
        for own in combinations(folds, size)
    }
