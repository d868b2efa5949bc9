"""What all datasets share: from a record to a clip.

A corpus says what its records are, and what is labelled in them. Everything else happens here, in one order:
frames are chosen, read (or taken from the cache, or from prepared crops), joined with their labels, and transformed.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from affectkit.data.clip import Clip
from affectkit.data.frames import AllFrames, FrameSampler, UniformSegments
from affectkit.data.record import ClipRecord
from affectkit.data.samplers import Draw
from affectkit.data.target import Target
from affectkit.data.transforms import (
    CenterCrop,
    ClipTransform,
    ColorJitter,
    Compose,
    HorizontalFlip,
    RandomResizedCrop,
    Resize,
)
from affectkit.data.video import Backend, open_video
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError, VideoError
from affectkit.faces import FacePicture, face_landmarks

if TYPE_CHECKING:
    from affectkit.data.shards import CropShards

__all__ = ["AffectDataset", "Split"]

Split = Literal["train", "val", "test", "all"]

_log = logging.getLogger(__name__)


class AffectDataset(Dataset[Clip], ABC):
    """A corpus of annotated clips.

    A subclass sets the class attributes, fills `spaces`, and implements `records` and `labels`. Its own
    constructor arguments are stored before `super().__init__`, which calls `records` once.

    Args:
        root: Folder of the corpus.
        split: The part to read.
        sampler: Chooses the frames of a clip; all of them by default.
        transform: Changes the clip; random only for draws that carry a seed.
        backend: Video reader, see `affectkit.data.video.open_video`.
        on_error: What happens where a video cannot be read: "raise" its `VideoError`, or "skip": a blank clip
            takes its place, masked and not valid, and `skipped_report` tells of it.
        cache: "memory" keeps every decoded clip, uint8 and before any transform, once in each process.
        prepared: Folder or URI that `affectkit data prepare` wrote: frames and landmarks are read from its crops,
            instead of from the media. The annotation is still read from `root`. Aligned crops of frames without
            landmarks have those of a mean face, where faces are brought to.
        targets: The annotations to give, as a corpus that lacks the others would; all by default. A mapping also
            renames them: `{"au": "micro_au"}` gives action units alone, for heads whose target is "micro_au".

    Raises:
        DatasetNotFoundError: `root` does not exist, or `prepared` holds no finished crops.
        ConfigError: The crops in `prepared` are of another corpus, or of other media of it; or `targets` names what is
            not annotated, or gives two annotations one name.

    Attributes:
        name: Name of the corpus, as published.
        citation: How to cite it.
        licence: Its terms, one line.
        has_subjects: Whether it says who is seen.
        spaces: Name of the label space of each annotation, by the corpus's own name for it.
        names: By its own name, what each annotation that is given is called.
        targets: Name of the label space of each target of a clip.
        subjects: Subjects of this split, sorted; empty where unknown.
        unread: What looks like annotation and is not read, such as columns of a table with unknown names.
        align_per: Whether preparing crops aligns each "frame", or the whole "clip" as its onset: in small movements
            the alignment of each frame would move more than the face does.
        media_options: Arguments, kept as attributes, that decide which pictures a clip has; crops that were prepared
            with others are refused.
        crop: How preparing finds the face where nobody says otherwise, see `affectkit.datasets.preparing`; "none" for
            pictures that show nothing but a face.
        clip_frames: Frames of a clip where nobody says otherwise.
    """

    name: str
    citation: str
    licence: str
    has_subjects: bool = True
    align_per: ClassVar[Literal["clip", "frame"]] = "frame"
    media_options: ClassVar[tuple[str, ...]] = ()
    crop: str = "auto"
    clip_frames: ClassVar[int] = 8
    unread: tuple[str, ...] = ()
    spaces: dict[str, str]

    def __init__(
        self,
        root: str | Path,
        *,
        split: Split = "all",
        sampler: FrameSampler | None = None,
        transform: ClipTransform | None = None,
        backend: Backend = "auto",
        on_error: Literal["raise", "skip"] = "raise",
        cache: Literal["none", "memory"] = "none",
        prepared: str | Path | None = None,
        targets: Sequence[str] | Mapping[str, str] | None = None,
    ) -> None:
        self.root = Path(root)
        if not self.root.exists():
            remedy = f"Correct the root of {self.name}, or obtain the corpus (see its card)."
            raise DatasetNotFoundError("This does not exist.", path=self.root, remedy=remedy)
        self.split = split
        self.sampler = AllFrames() if sampler is None else sampler
        self.transform = transform
        self.backend = backend
        self.on_error = on_error
        self._cache: dict[int, Tensor] | None = {} if cache == "memory" else None
        self._lengths: dict[int, int] = {}
        self._compared: set[str] = set()  # clips whose crops were found to be of the same media
        self.clips = self.records()
        self._crops = None if prepared is None else self._open_prepared(prepared)
        # One flag a clip in shared memory, so that the workers of a data loader report to the main process.
        self._skipped = torch.zeros(len(self.clips), dtype=torch.bool)
        self._skipped.share_memory_()  # type: ignore[no-untyped-call]
        names = {record.subject for record in self.clips}
        self.subjects = tuple(sorted(name for name in names if name is not None)) if None not in names else ()
        self._subject_index = {name: index for index, name in enumerate(self.subjects)}
        self._chosen = targets
        self._check_targets()

    @classmethod
    def sampling(cls, num_frames: int) -> dict[str, Any]:
        """Arguments that give clips of a number of frames: one of each of as many equal segments."""
        return {"sampler": UniformSegments(num_frames)}

    @classmethod
    def default_transform(cls, size: int, *, train: bool) -> ClipTransform:
        """Transform for pictures of a side in pixels; the corpus's usual augmentation in training."""
        if train:
            return Compose([RandomResizedCrop(size), HorizontalFlip(), ColorJitter()])
        return Compose([Resize(size), CenterCrop(size)])

    @abstractmethod
    def records(self) -> list[ClipRecord]:
        """Parse the annotation of the chosen split."""

    @abstractmethod
    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """Labels of a clip, all annotations of `spaces`; readers want `annotate`.

        Args:
            record: The clip.
            indices: The T positions in its media that are read.

        Returns:
            Targets for the clip ([A], []) or for each of the frames ([T, A], [T]).
        """

    @property
    def names(self) -> dict[str, str]:
        """See the class."""
        if isinstance(self._chosen, Mapping):
            return dict(self._chosen)
        return {name: name for name in (self.spaces if self._chosen is None else self._chosen)}

    @property
    def targets(self) -> dict[str, str]:
        """See the class."""
        return {given: self.spaces[name] for name, given in self.names.items()}

    def annotate(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """The targets of a clip: its labels, chosen and renamed.

        Args:
            record: The clip.
            indices: The T positions in its media that are read.
        """
        found = self.labels(record, indices)
        return {given: found[name] for name, given in self.names.items() if name in found}

    def label_frames(self, record: ClipRecord) -> Sequence[int]:
        """The frames of a clip whose labels count where labels are counted without opening its media."""
        return range(record.start, record.stop or record.num_frames or record.start + 1)

    def landmarks(self, record: ClipRecord, indices: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """Landmarks of the frames `indices`, if the corpus has them.

        Returns:
            Points float [T, 68, 2] in pixels of the unchanged frames, and their mask bool [T, 68].
        """
        return None

    def load(self, record: ClipRecord, indices: Sequence[int]) -> Tensor:
        """Read frames.

        Args:
            record: The clip.
            indices: T positions in its media.

        Returns:
            uint8 [T, 3, H, W], RGB.

        Raises:
            VideoError: A frame cannot be read.
        """
        with open_video(record.path, self.backend) as reader:
            return reader.read(indices)

    @property
    def rendered(self) -> bool:
        """Whether its faces are rendered, as a rehearsal's are: what is learned from them is not fit for real ones."""
        return (self.root / "rehearsal.json").is_file()

    def people(self) -> dict[str, tuple[str | None, ...]]:
        """What the corpus says of its people, for results by group: an attribute's value for each of `subjects`.

        Returns:
            By attribute, such as "sex": a value a subject, None where unknown; nothing by default.
        """
        return {}

    def crop_key(self, record: ClipRecord) -> str:
        """What the frames of a record are filed under in prepared crops; records of one recording share it."""
        return str(record.extra.get("sequence", record.clip))

    def media_name(self, record: ClipRecord) -> str:
        """The media of a record, relative to `root` where it lies in there."""
        folder = self.root.parent if self.root.is_file() else self.root
        inside = record.path.is_relative_to(folder)
        return (record.path.relative_to(folder) if inside else record.path).as_posix()

    def length(self, index: int) -> int:
        """How many frames a record covers, asking its media, or its prepared crops, once.

        Args:
            index: Its place in `clips`.

        Raises:
            VideoError: The media cannot be read, or end before the record starts.
        """
        if index not in self._lengths:
            record = self.clips[index]
            stop = record.num_frames if record.stop is None else record.stop
            if stop is None and self._crops is not None:
                stop = self._crops.stop(self.crop_key(record))
            elif stop is None:
                with open_video(record.path, self.backend) as reader:
                    stop = reader.num_frames
            if stop <= record.start:
                raise VideoError(f"The media has only {stop} frames.", path=record.path, frame=record.start)
            self._lengths[index] = stop - record.start
        return self._lengths[index]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: int | Draw) -> Clip:
        draw = key if isinstance(key, Draw) else Draw(range(len(self))[key])
        try:
            clip = self._read(draw)
        except VideoError as fault:
            if self.on_error == "raise":
                raise
            if not self._skipped[draw.index]:
                _log.warning("Skipped: %s", fault)
            self._skipped[draw.index] = True
            clip = self._blank(draw)
        return clip

    @property
    def num_groups(self) -> int:
        """How many independent groups the clips form: subjects, or clips where subjects are unknown."""
        return len(self.subjects) or len(self)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Clips skipped so far because their video cannot be read, by any worker of this process."""
        return tuple(self.clips[index].clip for index in self._skipped.nonzero().flatten().tolist())

    def skipped_report(self) -> str:
        """Say in one sentence how many clips were skipped, and which."""
        names = self.skipped
        if not names:
            return f"{self.name}: no clip was skipped."
        some = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        return f"{self.name}: {len(names)} of {len(self)} clips were skipped as unreadable: {some}."

    def _check_targets(self) -> None:
        given = list(self.names.values())
        unknown = sorted(set(self.names) - set(self.spaces))
        if unknown or len(set(given)) < len(given) or (self._chosen is not None and not given):
            raise ConfigError(
                f"{self.name} cannot give the targets {self.names if unknown else given}.",
                remedy=f"Choose among {', '.join(self.spaces) or 'none'}, each under a name of its own.",
            )

    def _read(self, draw: Draw) -> Clip:
        record = self.clips[draw.index]
        rng = None if draw.seed is None else torch.Generator().manual_seed(draw.seed)
        keys = [None if key is None else key - record.start for key in record.key_frames]
        try:
            positions = self.sampler(
                self.length(draw.index), rng=rng, onset=keys[0], apex=keys[1], offset=keys[2]
            )
        except AnnotationError as error:
            raise AnnotationError(error.fault, path=record.path, remedy=error.remedy) from error
        indices = [record.start + position for position in positions]
        points = self._points(record, indices)
        clip = Clip.make(
            self._frames(draw.index, positions),
            self.annotate(record, indices),
            landmarks=None if points is None else points[0],
            landmarks_mask=None if points is None else points[1],
            key_frames=[indices.index(key) if key in indices else -1 for key in record.key_frames],
            valid=draw.valid,
            subject=self._group(draw.index),
            meta={"dataset": self.name, "clip": record.clip, "subject": record.subject, "indices": indices},
        )
        return clip if self.transform is None else self.transform(clip, rng)

    def _frames(self, index: int, positions: Sequence[int]) -> Tensor:
        record = self.clips[index]
        if self._cache is None:
            return self._pictures(record, [record.start + position for position in positions])
        if index not in self._cache:
            stop = record.start + self.length(index)
            self._cache[index] = self._pictures(record, range(record.start, stop))
        return self._cache[index][list(positions)]

    def _pictures(self, record: ClipRecord, indices: Sequence[int]) -> Tensor:
        if self._crops is None:
            return self.load(record, indices)
        return self._crops.read(self.crop_key(record), indices)

    def _points(self, record: ClipRecord, indices: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        if self._crops is None:
            return self.landmarks(record, indices)
        key = self.crop_key(record)
        if key not in self._compared:
            source, here = self._crops.media(key), self.media_name(record)
            # The root may have been the folder above or below then.
            same = f"/{source}".endswith(f"/{here}") or f"/{here}".endswith(f"/{source}")
            if not same and record.path.exists():
                remedy = "Prepare it again into another folder, or choose these media."
                raise ConfigError(f"Its crops were prepared from {source}.", path=record.path, remedy=remedy)
            self._compared.add(key)
        points = self._crops.landmarks(key, indices)
        settings = self._crops.manifest.settings
        if points[1].any() or settings["crop"] not in ("auto", "landmarks", "detect"):
            return points
        # Aligned crops say where a face is even where nobody marked it: as a mean face brought to the same place.
        mean = face_landmarks(FacePicture(settings["size"], settings["margin"]))
        return mean.expand_as(points[0]).clone(), torch.ones_like(points[1])

    def _open_prepared(self, location: str | Path) -> CropShards:
        from affectkit.data.shards import CropShards

        crops = CropShards(location)
        settings = {"corpus": self.name, **{name: getattr(self, name) for name in self.media_options}}
        there = {"corpus": crops.manifest.corpus, **crops.manifest.settings.get("options", {})}
        for name, value in settings.items():
            if there.get(name) != value:
                raise ConfigError(
                    f"These crops were prepared with {name} {there.get(name)!r}, not {value!r}.",
                    path=str(location),
                    remedy="Correct `prepared`, or prepare the corpus into another folder.",
                )
        return crops

    def _blank(self, draw: Draw) -> Clip:
        """A clip that counts for nothing, shaped as the next one that can be read."""
        for step in range(1, len(self)):
            try:
                like = self._read(draw._replace(index=(draw.index + step) % len(self)))
                break
            except VideoError:
                continue
        else:
            raise VideoError("None of the clips can be read.", path=self.root, remedy="Check its videos.")
        record = self.clips[draw.index]
        targets = {name: target.map(torch.zeros_like) for name, target in like.targets.items()}
        meta = {**like.meta, "clip": record.clip, "subject": record.subject}
        return Clip.make(
            torch.zeros_like(like.frames), targets, valid=False, subject=self._group(draw.index), meta=meta
        )

    def _group(self, index: int) -> int:
        subject = self.clips[index].subject
        return self._subject_index[subject] if subject is not None and self.subjects else index
