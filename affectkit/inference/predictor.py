"""From a photo or a video of any length to one row of numbers a frame, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from math import isfinite, nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import affectkit
from affectkit.data.video import Backend, VideoReader, open_video
from affectkit.errors import ConfigError, VideoError
from affectkit.inference.crop import Crop
from affectkit.models import AffectModel, Head, PrototypeHead, hub

__all__ = ["NO_FACE_DETECTION", "RENDERED_WARNING", "Predictor", "Row"]

RENDERED_WARNING = (
    "This model was trained on rendered faces only. On real faces its numbers are a demonstration, "
    "not a measurement."
)
NO_FACE_DETECTION = (
    "Faces are not detected: the crop (the centred square unless a box is given) must show one upright face "
    "that fills it."
)


@dataclass(frozen=True, slots=True)
class Row:
    """The numbers of one frame.

    Args:
        frame: Frame number from 0.
        timestamp: Seconds from the first frame; NaN where the media does not say.
        success: Whether the frame could be read.
        values: By column name; NaN where `success` is false.
        reason: Why not, where `success` is false.
    """

    frame: int
    timestamp: float
    success: bool
    values: dict[str, float]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Frame:
    """A decoded frame as the model will see it, or the reason why there is none."""

    number: int
    timestamp: float
    picture: Tensor | None
    reason: str | None = None


class Predictor:
    """Runs a model over photos, videos and folders of frames, a row for every frame.

    A model made for clips of T frames sees, for each frame, the T frames around it: ⌊(T − 1)/2⌋ before and
    ⌊T/2⌋ after, s frames apart, where s = 1 unless the model and the video both state a frame rate (then s is
    their ratio, rounded). The row holds the clip heads' answers for that window and the frame heads' answers
    at its middle. So a value depends on no frame farther away than that, and cutting the video changes no
    value farther from the cut. Frames that a window lacks, beyond the ends or unreadable, are replaced by the
    next one towards the middle; a photo is a clip that stands still.

    Args:
        model: A model, or the folder or Hub name of a saved one.
        device: Where to run, for example "cpu" or "cuda:1".
        batch_size: Frames that go through the model at once.
        crop: The part of the frame that shows the face; see `Crop`.
        classes: Ask the expression head about these classes instead of its own, without training: names, or free
            texts. It then answers by prototypes alone; see `AffectModel.use_classes`.
        prototype_only: Let every head that has prototypes answer by them alone; see `AffectModel.prototype_only`.

    Attributes:
        columns: Names of the values: `AU01` … (probabilities), then `AU01_i` … (intensities 0–5), then the
            expressions by name (probabilities). Where two heads have a name in common, the second head's is
            preceded by its own name and a dot.
        warning: What a user must know about the model, or None.

    Raises:
        WeightsError: The folder is not a model that can be loaded.
        ConfigError: `batch_size` below 1, a device that is not there, or no prototypes to answer by.
        LabelSpaceError: `classes` name fewer than two classes, or one twice.

    Example:
        >>> from PIL import Image
        >>> photo = getfixture("tmp_path") / "face.png"
        >>> Image.new("RGB", (40, 32)).save(photo)
        >>> model = AffectModel(
        ...     {"type": "timm", "model_name": "test_resnet", "size": 32},
        ...     {"au": {"type": "au", "space": "AU12"}},
        ... )
        >>> [(row.frame, list(row.values)) for row in Predictor(model).predict_file(photo)]
        [(0, ['AU12'])]
    """

    def __init__(
        self,
        model: AffectModel | str | Path,
        *,
        device: str | torch.device = "cpu",
        batch_size: int = 16,
        crop: Crop | None = None,
        classes: Sequence[str] | None = None,
        prototype_only: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {batch_size}.")
        self.source = None if isinstance(model, AffectModel) else str(model)
        model = model if isinstance(model, AffectModel) else AffectModel.from_pretrained(model)
        self.classes = None if classes is None else tuple(classes)
        if classes is not None or prototype_only:
            model = _by_prototypes(model, classes, everywhere=prototype_only)
        try:
            self.device = torch.device(device)
            self.model = model.to(self.device).eval()
        except (RuntimeError, AssertionError) as error:  # torch says it either way
            fault = f"The device {str(device)!r} cannot be used: {' '.join(str(error).split())[:200]}."
            raise ConfigError(fault, remedy="Choose cpu, or an accelerator that torch finds.") from error
        self.batch_size = batch_size
        self.crop = crop or Crop()
        kinds = ["multilabel", "ordinal", "multiclass"]
        self._heads = sorted(model.heads, key=lambda name: kinds.index(model.head(name).kind))
        self._columns: dict[str, str] = {}  # column -> its head
        for name in self._heads:
            for column in model.head(name).columns:
                self._columns[f"{name}.{column}" if column in self._columns else column] = name
        self.columns = tuple(self._columns)
        self.warning = RENDERED_WARNING if model.metadata.get("rendered") else None

    def predict_file(self, path: str | Path, *, backend: Backend = "auto") -> Iterator[Row]:
        """Predict a photo, a video file or a folder of images.

        Args:
            path: The media. Photos are turned upright as their EXIF data say.
            backend: Reader of video files; see `open_video`.

        Yields:
            A row for every frame, in order.

        Raises:
            VideoError: Nothing at all can be read.
            ConfigError: The crop reaches beyond the frame.
        """
        with open_video(path, backend) as video:
            yield from self.predict_video(video)

    def predict_video(self, video: VideoReader) -> Iterator[Row]:
        """Predict an opened video.

        Args:
            video: From `open_video`; it stays open.

        Yields:
            A row for every frame, in order. Where a frame cannot be read the row says why.

        Raises:
            ConfigError: The crop reaches beyond the frame.
        """
        clips = self._clips(video)
        while batch := list(islice(clips, self.batch_size)):
            pictures = [clip for _, clip in batch if clip is not None]
            values = iter(self._run(torch.stack(pictures)) if pictures else ())
            for frame, clip in batch:
                numbers = [nan] * len(self.columns) if clip is None else next(values)
                named = dict(zip(self.columns, numbers, strict=True))
                yield Row(frame.number, frame.timestamp, clip is not None, named, frame.reason)

    def window(self, fps: float = nan) -> tuple[int, int]:
        """How many frames before and after a frame its values depend on.

        Args:
            fps: Frames a second of the video; NaN where unknown.
        """
        frames, step = self.model.input_spec.frames, self._step(fps)
        return (frames - 1) // 2 * step, frames // 2 * step

    def metadata(self) -> dict[str, Any]:
        """What belongs beside the numbers, in plain values: model, hash, thresholds, licence, warning."""
        heads = {}
        for name in self._heads:
            head, columns = self.model.head(name), [c for c, home in self._columns.items() if home == name]
            heads[name] = {
                "columns": columns,
                "values": "intensity 0-5" if head.kind == "ordinal" else "probability",
                "answers_by": _answers_by(head),
                "thresholds": dict(zip(columns, head.thresholds, strict=False)),
            }
        digest = None if self.source is None else _sha256(hub.locate(self.source) / "model.safetensors")
        return {
            "affectkit": affectkit.__version__,
            "model": self.source,
            "model_sha256": digest,
            "licence": self.model.metadata.get("licence"),
            "trained_on": "rendered faces" if self.warning else self.model.metadata.get("trained_on"),
            "warning": self.warning,
            "model_metadata": self.model.metadata,
            "input": self.model.input_spec.to_dict(),
            "crop": str(self.crop),
            "face_detection": NO_FACE_DETECTION,
            "zero_shot_classes": None if self.classes is None else list(self.classes),
            "heads": heads,
        }

    def _step(self, fps: float) -> int:
        """Frames from one to the next in a window."""
        wanted = self.model.input_spec.fps
        return max(1, round(fps / wanted)) if wanted and isfinite(fps) else 1

    def _run(self, clips: Tensor) -> list[list[float]]:
        """Values [n][columns] of clips [n, T, 3, S, S], at the middle frame."""
        answers = self.model.predict(clips.to(self.device))
        middle = (clips.shape[1] - 1) // 2
        per_frame = {name: self.model.head(name).per_frame for name in self._heads}
        parts = [answers[name][:, middle] if per_frame[name] else answers[name] for name in self._heads]
        values: list[list[float]] = torch.cat(parts, dim=1).cpu().tolist()
        return values

    def _clips(self, video: VideoReader) -> Iterator[tuple[_Frame, Tensor | None]]:
        """Each frame with its window [T, 3, S, S], or None where the frame itself cannot be read."""
        before, after = self.window(video.fps)
        step = self._step(video.fps)
        near: dict[int, _Frame] = {}
        row = 0

        def emit() -> tuple[_Frame, Tensor | None]:
            frame = near[row]
            if frame.picture is None:
                return frame, None
            past = _fill(near, range(row, row - before - 1, -step))
            future = _fill(near, range(row, row + after + 1, step))
            return frame, torch.stack([*reversed(past), *future[1:]])

        for frame in self._frames(video):
            near[frame.number] = frame
            if frame.number >= row + after:
                yield emit()
                near.pop(row - before, None)
                row += 1
        while row in near:
            yield emit()
            row += 1

    def _frames(self, video: VideoReader) -> Iterator[_Frame]:
        """Every frame, cropped and resized; after one that fails, reading goes on with the next."""
        number = 0
        while number < video.num_frames:
            try:
                for index, timestamp, frame in video.frames(number):
                    yield _Frame(index, timestamp, self.crop(frame, self.model.input_spec.size))
                    number = index + 1
                return
            except (VideoError, ConfigError) as error:
                if isinstance(error, ConfigError) and number == 0:
                    raise  # the crop fits no frame; a later one may be of another size, in a folder of photos
                yield _Frame(number, float(video.timestamps[number]), None, error.fault)
                number += 1


def _fill(near: Mapping[int, _Frame], numbers: Sequence[int]) -> list[Tensor]:
    """The pictures of frames from the middle outwards; where one is lacking, the one before it again."""
    pictures: list[Tensor] = []
    for number in numbers:
        picture = near[number].picture if number in near else None
        pictures.append(pictures[-1] if picture is None else picture)
    return pictures


def _by_prototypes(model: AffectModel, classes: Sequence[str] | None, *, everywhere: bool) -> AffectModel:
    """A copy of a model whose heads answer by prototypes alone: that of expressions, or every one that has any."""
    model = deepcopy(model).eval()
    heads = {name: model.head(name) for name in model.heads}
    having = [
        name for name, head in heads.items() if isinstance(head, PrototypeHead) and head.uses_prototypes
    ]
    if not having:
        raise ConfigError(
            "No head of this model has prototypes.",
            remedy="Take a model with a semantic bridge, such as one of the recipes joint/ssm_*.",
        )
    expressions = [name for name in having if heads[name].kind == "multiclass"]
    if classes is not None and not expressions:
        raise ConfigError("This model has no expression head with prototypes, so it cannot take new classes.")
    if everywhere:
        for name in having:
            model.prototype_only(name)
    if classes is not None:
        model.use_classes(expressions[0], classes)
    return model


def _answers_by(head: Head) -> str:
    """What a head's answers rest on."""
    if not isinstance(head, PrototypeHead) or not head.uses_prototypes:
        return "linear layer"
    return "linear layer and prototypes" if head.linear else "prototypes"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
