"""Base of all datasets: turns records into clips.

A corpus defines its records and their labels. The base class selects frames, reads them (or takes them from the cache
or from prepared crops), adds the labels and applies the transform, in this order.
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

from affectkit.data.captions import read_captions
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
from affectkit.datasets.bases.signals import ClipSignals, NoFaceError, default_folder
from affectkit.datasets.bases.table_signals import TableSignals
from affectkit.datasets.reading.openface_signals import OPENFACE_SIGNALS
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError, VideoError
from affectkit.faces import SIGNALS, FacePicture, PictureSpec, face_landmarks, margin_of
from affectkit.faces.cropper import ALIGNED

if TYPE_CHECKING:
    from affectkit.data.shards import CropShards

__all__ = ["AffectDataset", "Split"]

Split = Literal["train", "val", "test", "all"]

_log = logging.getLogger(__name__)


class AffectDataset(Dataset[Clip], ABC):
    """A dataset of annotated clips.

    A subclass sets the class attributes, fills `spaces`, and implements `records` and `labels`. It stores its own
    constructor arguments before `super().__init__`, which calls `records` once.

    Args:
        root: Folder of the corpus.
        split: The split to read.
        sampler: Selects the frames of a clip; all of them by default.
        transform: Transform of the clip; random only for draws with a seed.
        backend: Video reader, see `affectkit.data.video.open_video`.
        on_error: "raise" the `VideoError` of an unreadable video, or "skip" it: a blank clip with masked targets and
            `valid=False` takes its place, and `skipped_report` lists it. A clip without a face is always skipped in
            this way if faces are cropped.
        cache: "memory" keeps every decoded clip, uint8 and untransformed, once per process.
        prepared: Folder or URI written by `affectkit data prepare`: frames and landmarks are read from its crops, the
            annotation still from `root`. Aligned crops of frames without landmarks get those of the mean face.
        targets: Names of the annotations to return; all by default. A mapping also renames them:
            `{"au": "micro_au"}` returns action units alone, as the target "micro_au".
        signals: Measurements of the face to return, names of `affectkit.faces.SIGNALS`. They are measured on the
            original frames, before crops and transforms, when a clip is first read, and kept on disk.
        signal_tables: Folder of tables that OpenFace wrote, one per clip and named like its media. `signals` then are
            those of `affectkit.datasets.reading.openface_signals.OPENFACE_SIGNALS`, and nothing is measured.
        signals_root: Folder of the kept signals; by default the folder `.signals` beside the corpus if it is writable,
            else the user's cache.
        pictures: Pictures of a clip: its frames ("frames"); the face of each frame, cropped as this input of a model
            says (an integer: the aligned face at this size), at the measured place or at that of the nearest frame with
            a face; or black pictures of one pixel without any transform ("none"), for models that read signals alone.
        captions: JSON Lines with captions by name of clip, see `affectkit.data.read_captions`.

    Raises:
        DatasetNotFoundError: `root` does not exist, or `prepared` holds no finished crops.
        ConfigError: The crops in `prepared` belong to another corpus or to other media, `targets` is unknown, empty or
            ambiguous, a signal is unknown, faces are to be cropped from prepared crops or by tables, or no caption is
            of a clip.

    Attributes:
        name: Published name of the corpus.
        citation: Its reference.
        licence: Its terms, one line.
        has_subjects: Whether subjects are known.
        spaces: Label space of each annotation, by the corpus's name for it.
        names: Name under which each annotation is returned, by the corpus's name for it.
        targets: Label space of each target of a clip.
        subjects: Subjects of this split, sorted; empty if unknown.
        unread: Columns or files that look like annotation and are not read.
        align_per: Alignment of prepared crops: each "frame", or a whole "clip" like its onset, for movements smaller
            than the jitter of the alignment.
        media_options: Arguments, stored as attributes, that select the pictures of a clip; crops prepared with other
            values are refused.
        crop: Default face search of `affectkit.datasets.preparing`; "none" for pictures cropped to the face.
        clip_frames: Default number of frames of a clip.
        crops_faces: Whether datamodules crop the faces by default.
    """

    name: str
    citation: str
    licence: str
    has_subjects: bool = True
    align_per: ClassVar[Literal["clip", "frame"]] = "frame"
    media_options: ClassVar[tuple[str, ...]] = ()
    crop: str = "auto"
    clip_frames: ClassVar[int] = 8
    crops_faces: ClassVar[bool] = False
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
        signals: Sequence[str] = (),
        signal_tables: str | Path | None = None,
        signals_root: str | Path | None = None,
        pictures: Literal["frames", "none"] | int | PictureSpec = "frames",
        captions: str | Path | None = None,
    ) -> None:
        self.root = Path(root)
        if not self.root.exists():
            remedy = f"Correct the root of {self.name}, or obtain the corpus (see its card)."
            raise DatasetNotFoundError("The root does not exist.", path=self.root, remedy=remedy)
        self.split = split
        self.sampler = AllFrames() if sampler is None else sampler
        self.transform = transform
        self.backend = backend
        self.on_error = on_error
        self._cache: dict[int, Tensor] | None = {} if cache == "memory" else None
        self._lengths: dict[int, int] = {}
        self._verified: set[str] = set()  # clips whose crops were made from the same media
        self.pictures = FacePicture(pictures) if isinstance(pictures, int) else pictures
        self.signals = tuple(signals)
        known = SIGNALS if signal_tables is None else OPENFACE_SIGNALS
        if unknown := set(signals) - known.keys():
            raise ConfigError(
                f"There is no signal {', '.join(sorted(unknown))}{' in tables' if signal_tables else ''}.",
                remedy=f"Choose from {', '.join(known)}.",
            )
        if not isinstance(self.pictures, str) and prepared is not None:
            raise ConfigError(
                "Faces cannot be cropped from prepared crops.",
                remedy="Leave out `prepared` or the crops by mesh.",
            )
        if not isinstance(self.pictures, str) and signal_tables is not None:
            raise ConfigError(
                "Faces cannot be cropped by the tables of OpenFace.",
                remedy="Leave out `signal_tables` or the crops by mesh.",
            )
        self.measured: ClipSignals | None = None
        folder = self.signals_folder if signals_root is None else Path(signals_root)
        if signal_tables is not None:
            self.measured = TableSignals(self, folder, Path(signal_tables))
        elif signals or not isinstance(self.pictures, str):
            self.measured = ClipSignals(self, folder)
        self.clips = self.records()
        self._captions = {} if captions is None else read_captions(captions)
        if self._captions and self._captions.keys().isdisjoint(record.clip for record in self.clips):
            raise ConfigError(
                f"None of the captions belongs to a clip of {self.name}.",
                path=captions,
                remedy=f"Name the clips as the corpus does, such as {self.clips[0].clip!r}.",
            )
        self._crops = None if prepared is None else self._open_prepared(prepared)
        # One flag per clip in shared memory, so that data-loader workers report to the main process.
        self._skipped = torch.zeros(len(self.clips), dtype=torch.bool)
        self._skipped.share_memory_()  # type: ignore[no-untyped-call]
        names = {record.subject for record in self.clips}
        self.subjects = tuple(sorted(name for name in names if name is not None)) if None not in names else ()
        groups = self.subjects or dict.fromkeys(self.group_of(record) for record in self.clips)
        self._groups = {name: index for index, name in enumerate(groups)}
        self._chosen = targets
        unknown, given = self.names.keys() - self.spaces.keys(), list(self.names.values())
        if unknown or len(set(given)) < len(given) or (targets is not None and not given):
            raise ConfigError(
                f"{self.name} does not have the targets {self.names if unknown else given}.",
                remedy=f"Choose from {', '.join(self.spaces) or 'none'}, each under a different name.",
            )

    @classmethod
    def sampling(cls, num_frames: int) -> dict[str, Any]:
        """Arguments for clips of `num_frames` frames, one from each of as many equal segments."""
        return {"sampler": UniformSegments(num_frames)}

    @classmethod
    def default_transform(cls, size: int, *, train: bool) -> ClipTransform:
        """Transform to square pictures of `size` pixels, with the corpus's usual augmentation in training."""
        if train:
            return Compose([RandomResizedCrop(size), HorizontalFlip(), ColorJitter()])
        return Compose([Resize(size), CenterCrop(size)])

    @abstractmethod
    def records(self) -> list[ClipRecord]:
        """Parse the annotation of the chosen split."""

    @abstractmethod
    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """Labels of a clip for all `spaces`; call `annotate` for the chosen targets.

        Args:
            record: The clip.
            indices: T positions in its media.

        Returns:
            Targets of the clip ([A] or []) or of each frame ([T, A] or [T]).
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
        """Chosen and renamed targets of a clip; arguments as in `labels`."""
        found = self.labels(record, indices)
        return {given: found[name] for name, given in self.names.items() if name in found}

    def label_frames(self, record: ClipRecord) -> Sequence[int]:
        """Frames whose labels are counted in statistics, without opening the media."""
        return range(record.start, record.stop or record.num_frames or record.start + 1)

    def sampling_keys(self, record: ClipRecord) -> tuple[int | None, int | None, int | None]:
        """Onset, apex and offset for the frame sampler."""
        return record.key_frames

    def landmarks(self, record: ClipRecord, indices: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """Landmarks of the frames `indices`; None if the corpus has none.

        Returns:
            Points float [T, 68, 2] in pixels of the original frames, and their mask bool [T, 68].
        """
        return None

    def captions(self, record: ClipRecord) -> dict[str, str]:
        """Captions of a clip by part, see `Clip`; empty without any."""
        return self._captions.get(record.clip, {})

    def load(self, record: ClipRecord, indices: Sequence[int]) -> Tensor:
        """Read frames.

        Returns:
            uint8 [T, 3, H, W], RGB.

        Raises:
            VideoError: A frame cannot be read.
        """
        with open_video(record.path, self.backend) as reader:
            return reader.read(indices)

    @property
    def rendered(self) -> bool:
        """Whether the faces are rendered (a rehearsal): a model trained on them does not fit real faces."""
        return (self.root / "rehearsal.json").is_file()

    @property
    def signals_folder(self) -> Path:
        """Default of `signals_root`."""
        return default_folder(self.root)

    @property
    def face_picture(self) -> FacePicture | Literal["frame"] | None:
        """Place of the face in the pictures before the transform.

        "frame" if pictures are used as they are; None for pictures that the corpus distributes cropped to the face
        without stating how.
        """
        if not isinstance(self.pictures, str):
            return FacePicture(self.pictures.size, margin_of(self.pictures), self.pictures.alignment)
        settings = {} if self._crops is None else self._crops.manifest.settings
        if settings.get("crop") in ALIGNED:
            return FacePicture(settings["size"], settings["margin"])
        return None if self.crop == "none" else "frame"

    def people(self) -> dict[str, tuple[str | None, ...]]:
        """Attributes of the subjects for results per group, such as "sex".

        Returns:
            One value per entry of `subjects`, None if unknown, by attribute; empty by default.
        """
        return {}

    def crop_key(self, record: ClipRecord) -> str:
        """Key of a record's frames in prepared crops; records of one recording share it."""
        return str(record.extra.get("sequence", record.clip))

    def media_name(self, record: ClipRecord) -> str:
        """Path of the media, relative to `root` if inside it."""
        folder = self.root.parent if self.root.is_file() else self.root
        inside = record.path.is_relative_to(folder)
        return (record.path.relative_to(folder) if inside else record.path).as_posix()

    def length(self, index: int) -> int:
        """Number of frames of the record `clips[index]`, determined once.

        Raises:
            VideoError: The media cannot be read, or end before the record starts.
        """
        if index not in self._lengths:
            record = self.clips[index]
            stop = record.num_frames if record.stop is None else record.stop
            if stop is None and self._crops is not None:
                stop = self._crops.stop(self.crop_key(record))
            elif stop is None and self.measured is not None:
                stop = self.measured.num_frames(index)
            if stop is None:
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
            return self._load_clip(draw)
        except VideoError as fault:
            if self.on_error == "raise" and not isinstance(fault, NoFaceError):
                raise
            if not self._skipped[draw.index]:
                _log.warning("Skipped: %s", fault)
            self._skipped[draw.index] = True
        return self._make_blank(draw)

    @property
    def num_groups(self) -> int:
        """Number of independent groups of clips, see `groups_are`."""
        return len(self.subjects) or len(self._groups)

    @property
    def groups_are(self) -> Literal["subjects", "clips", "videos"]:
        """Groups of clips that intervals leave out: subjects or, if they are unknown, clips or whole videos."""
        return "subjects" if self.has_subjects else "clips"

    def group_of(self, record: ClipRecord) -> str:
        """Name of the independent group of a clip if subjects are unknown; by default the clip."""
        return record.clip

    @property
    def skipped(self) -> tuple[str, ...]:
        """Clips skipped so far as unreadable, by any worker of this process."""
        return tuple(self.clips[index].clip for index in self._skipped.nonzero().flatten().tolist())

    def skipped_report(self) -> str:
        """Number and names of the skipped clips, one sentence."""
        names = self.skipped
        if not names:
            return f"{self.name}: no clip was skipped."
        were = "clip was" if len(self) == 1 else "clips were"
        some = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        why = "as unreadable" if isinstance(self.pictures, str) else "as unreadable or without a face"
        return f"{self.name}: {len(names)} of {len(self)} {were} skipped {why}: {some}."

    def _load_clip(self, draw: Draw) -> Clip:
        record = self.clips[draw.index]
        rng = None if draw.seed is None else torch.Generator().manual_seed(draw.seed)
        keys = [None if key is None else key - record.start for key in self.sampling_keys(record)]
        try:
            positions = self.sampler(
                self.length(draw.index), rng=rng, onset=keys[0], apex=keys[1], offset=keys[2]
            )
        except AnnotationError as error:
            raise AnnotationError(error.fault, path=record.path, remedy=error.remedy) from error
        indices = [record.start + position for position in positions]
        points = self._read_landmarks(draw.index, indices)
        clip = Clip.make(
            self._read_frames(draw.index, positions),
            self.annotate(record, indices),
            landmarks=None if points is None else points[0],
            landmarks_mask=None if points is None else points[1],
            signals=self._read_signals(draw.index, indices, self.signals),
            key_frames=[indices.index(key) if key in indices else -1 for key in record.key_frames],
            valid=draw.valid,
            subject=self._group_index(draw.index),
            meta={"dataset": self.name, "clip": record.clip, "subject": record.subject, "indices": indices},
            captions=self.captions(record),
        )
        return clip if self.transform is None or self.pictures == "none" else self.transform(clip, rng)

    def _read_frames(self, index: int, positions: Sequence[int]) -> Tensor:
        start = self.clips[index].start
        if self.pictures == "none":
            return torch.zeros(len(positions), 3, 1, 1, dtype=torch.uint8)
        if self._cache is None:
            return self._read_media(index, [start + position for position in positions])
        if index not in self._cache:
            self._cache[index] = self._read_media(index, range(start, start + self.length(index)))
        return self._cache[index][list(positions)]

    def _read_media(self, index: int, indices: Sequence[int]) -> Tensor:
        record = self.clips[index]
        if self._crops is not None:
            return self._crops.read(self.crop_key(record), indices)
        frames = self.load(record, indices)
        if self.measured is None or isinstance(self.pictures, str):
            return frames
        return self.measured.crop(frames, self.measured.faces(index, indices), self.pictures)

    def _read_signals(self, index: int, indices: Sequence[int], names: Sequence[str]) -> dict[str, Tensor]:
        if self.measured is None or not names:
            return {}
        return self.measured.read(index, indices, names)

    def _read_landmarks(self, index: int, indices: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        record = self.clips[index]
        if self.measured is not None and not isinstance(self.pictures, str):
            measured = self._read_signals(index, indices, ["landmarks"])["landmarks"]
            placed = self.measured.place(measured, self.measured.faces(index, indices), self.pictures)
            return placed, placed.isfinite().all(-1)
        if self._crops is None:
            return self.landmarks(record, indices)
        key = self.crop_key(record)
        if key not in self._verified:
            source, here = self._crops.media(key), self.media_name(record)
            # The root may have been a folder above or below at that time.
            same = f"/{source}".endswith(f"/{here}") or f"/{here}".endswith(f"/{source}")
            if not same and record.path.exists():
                remedy = "Prepare it again into another folder, or choose the same media."
                raise ConfigError(f"The crops were prepared from {source}.", path=record.path, remedy=remedy)
            self._verified.add(key)
        points = self._crops.landmarks(key, indices)
        settings = self._crops.manifest.settings
        if points[1].any() or settings["crop"] not in ALIGNED:
            return points
        # Aligned crops place every face like the mean face, even without marked points.
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
                    path=crops.folder.location,
                    remedy="Correct `prepared`, or prepare the corpus into another folder.",
                )
        return crops

    def _make_blank(self, draw: Draw) -> Clip:
        """An invalid, masked clip of the shape of the next readable one."""
        for step in range(1, len(self)):
            try:
                like = self._load_clip(draw._replace(index=(draw.index + step) % len(self)))
                break
            except VideoError:
                continue
        else:
            raise VideoError("None of the clips can be read.", path=self.root, remedy="Check its videos.")
        record = self.clips[draw.index]
        targets = {name: target.map(torch.zeros_like) for name, target in like.targets.items()}
        meta = {**like.meta, "clip": record.clip, "subject": record.subject}
        return Clip.make(
            torch.zeros_like(like.frames),
            targets,
            valid=False,
            subject=self._group_index(draw.index),
            meta=meta,
            signals={name: torch.full_like(values, torch.nan) for name, values in like.signals.items()},
        )

    def _group_index(self, index: int) -> int:
        record = self.clips[index]
        subject = record.subject if self.subjects else None
        return self._groups[self.group_of(record) if subject is None else subject]
