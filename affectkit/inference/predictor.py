"""Prediction of photos and videos: a row of values for every frame and face, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice, repeat
from math import isfinite, nan
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

import affectkit
from affectkit.data.video import Backend, VideoReader, open_video
from affectkit.errors import ConfigError
from affectkit.faces import (
    SIGNALS,
    Crop,
    FaceMesh,
    FrameFaces,
    MeshDetector,
    SeenFace,
    detector_name,
    face_landmarks,
    frame_faces,
    largest_face,
)
from affectkit.faces.align import WHOLE_FRAMES
from affectkit.faces.frames import FaceSource, MeshFaces, describe, face_source
from affectkit.facs import AUSet, Dimensions, UnitSpace
from affectkit.inference.baseline import Baseline, apply_baseline, unit_columns
from affectkit.inference.in_memory import as_list, open_media
from affectkit.inference.measures import MEASURED
from affectkit.models import AffectModel, hub
from affectkit.models.zero_shot import copy_by_prototypes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RENDERED_WARNING", "Predictor", "Row"]

RENDERED_WARNING = (
    "This model was trained on rendered faces only. On real faces its numbers are a demonstration, "
    "not a measurement."
)


@dataclass(frozen=True, slots=True)
class Row:
    """One face in one frame, or a frame without faces.

    Args:
        frame: Frame number from 0.
        timestamp: Seconds from the first frame; NaN if the media has no times.
        success: Whether the frame was decoded and a face was found.
        values: Values by column name; NaN if `success` is false.
        reason: Reason if `success` is false.
        face: Identity of the face in this video, from 0 in order of appearance; None without a face.
        score: Score of the face detector, 0 to 1; NaN if none was used.
        box: Left, top, width and height of the face in pixels of the frame; None if no detector was used.
        points: Eyes, nose tip and mouth corners (x, y) in pixels of the frame, left ones in the picture first; None
            if unknown.
        mesh: Mesh of the face, with head pose, gaze and landmarks; None if it was not measured.
        baseline: Amounts that were subtracted from values, by column: logits for probabilities; None if nothing was
            subtracted. See `RunningBaseline`.
        sentences: Descriptions of the face by column name, of heads that describe faces.
    """

    frame: int
    timestamp: float
    success: bool
    values: dict[str, float]
    reason: str | None = None
    face: int | None = None
    score: float = nan
    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float], ...] | None = None
    mesh: FaceMesh | None = field(default=None, repr=False, compare=False)
    baseline: Mapping[str, float] | None = None
    sentences: Mapping[str, str] = field(default_factory=dict)


class Predictor:
    """Run a model on photos, videos and folders of frames.

    Faces are detected, tracked, and cropped with the geometry stored with the model, as in training. A model for clips
    of T frames sees, for each frame, the same face in the T frames around it: ⌊(T − 1)/2⌋ before and ⌊T/2⌋ after, s
    frames apart, where s = 1 unless both the model and the video state a frame rate (then s is their ratio, rounded).
    The row holds the values of the clip heads for this window and those of the frame heads at its middle. No value
    depends on frames outside the window. Frames missing in a window (beyond the ends, unreadable, or without the face)
    are replaced by the next one towards the middle; a photo is a clip of equal frames.

    A model that needs `signals`, such as the mesh of the face, gets them for the same frames, also if the faces are
    found in another way; a face whose mesh cannot be measured then has no values. A predictor may serve several threads
    at once.

    Args:
        model: A model, or the folder or Hub name of a saved one.
        device: Device of the model, for example "cpu" or "cuda:1".
        batch_size: Number of faces per forward pass, from one or several frames.
        faces: "mesh" finds and follows faces with their meshes, the default unless the model was trained on whole
            pictures, whose default is "center"; "centerface" finds faces from about 11 pixels
            on without meshes; "center" takes the centred square of every frame, "x,y,w,h" this box in pixels, as one
            face; or a `Crop` or `FaceDetector`. See `affectkit.faces.frames.face_source`.
        classes: Classes for the expression head in place of its own, without training: names or free texts. The head
            then predicts by prototypes; see `affectkit.models.use_classes`.
        prototype_only: Whether all heads with prototypes predict by them alone; see `affectkit.models.prototype_only`.
        detector_size: Longest side in pixels of the input of `CenterFace` (default: 640); larger frames are reduced.
            Larger values find smaller faces. With "mesh", `CenterFace` then finds the faces of videos too.
        sentences: Whether to describe every face in a sentence, for models with a head that does. Sentences are about
            the values as the model gives them, before smoothing and baselines.

    Attributes:
        columns: Names of the values: `AU01` … (probabilities), `AU01_i` … (intensities 0–5), then those of the other
            heads: expressions and levels (probabilities), dimensions. A name that an earlier head has is prefixed by
            the head's name and a dot.
        sentences: Columns with sentences, by head: `sentence`, or `HEAD.sentence` if there are several.
        warning: Warning about the model, or None.
        has_baseline: Whether the model states that a person's baseline should be subtracted in videos.
        faces: The source of faces.

    Raises:
        WeightsError: The model cannot be loaded.
        ConfigError: `batch_size` is below 1, the device is not available, `faces` is invalid or does not fit a model
            of whole pictures, there are no prototypes, no head describes faces in sentences, or the model reads
            signals that are not measured in pictures.
        LabelSpaceError: `classes` has fewer than two names, or one twice.

    Example:
        >>> from PIL import Image
        >>> photo = getfixture("tmp_path") / "face.png"
        >>> Image.new("RGB", (40, 32)).save(photo)
        >>> model = AffectModel(
        ...     {"type": "timm", "model_name": "test_resnet", "size": 32},
        ...     {"au": {"type": "au", "space": "AU12"}},
        ... )
        >>> [(row.face, list(row.values)) for row in Predictor(model, faces="center").predict_file(photo)]
        [(0, ['AU12'])]
        >>> [(row.face, row.reason) for row in Predictor(model).predict_file(photo)]
        [(None, 'No face was found.')]
    """

    def __init__(
        self,
        model: AffectModel | str | Path,
        *,
        device: str | torch.device = "cpu",
        batch_size: int = 16,
        faces: FaceSource | str | None = None,
        classes: Sequence[str] | None = None,
        prototype_only: bool = False,
        detector_size: int | None = None,
        sentences: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {batch_size}.")
        self.source = None if isinstance(model, AffectModel) else str(model)
        model = model if isinstance(model, AffectModel) else AffectModel.from_pretrained(model)
        self.classes = None if classes is None else tuple(classes)
        if classes is not None or prototype_only:
            model = copy_by_prototypes(model, classes, everywhere=prototype_only)
        if unknown := sorted(set(model.signals) - SIGNALS.keys()):
            raise ConfigError(
                f"The model reads {', '.join(unknown)}, which is not measured in pictures.",
                remedy="Evaluate it on tables with `affectkit test`, or train a model of the face mesh.",
            )
        try:
            self.device = torch.device(device)
            self.model = model.to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            fault = f"The device {str(device)!r} is not available: {' '.join(str(error).split())[:200]}."
            raise ConfigError(fault, remedy="Choose cpu, or an accelerator that torch supports.") from error
        self._landmarks = face_landmarks(self.model.input_spec).to(self.device)
        self.batch_size = batch_size
        as_it_is = self.model.input_spec.alignment == "frame"
        usual = "center" if as_it_is and detector_size is None else "mesh"
        self.faces = face_source(usual if faces is None else faces, self.device, detector_size)
        if as_it_is and not isinstance(self.faces, Crop):
            raise ConfigError(
                f"{WHOLE_FRAMES} Faces found by {detector_name(self.faces)} would be something else.",
                remedy="Leave out the choice of faces, or train on crops (`crop_faces: true` of the data).",
            )
        self._mesh = MeshDetector(device=self.device) if self.model.signals else None
        self._lock = Lock()
        spaces = {name: model.head(name).space for name in model.heads}
        self._heads = sorted(
            spaces, key=lambda name: [not isinstance(spaces[name], kind) for kind in (AUSet, UnitSpace)]
        )
        self._columns: dict[str, str] = {}  # column -> its head
        for name in self._heads:
            for column in model.head(name).columns:
                self._columns[f"{name}.{column}" if column in self._columns else column] = name
        self.columns = tuple(self._columns)
        talking = [name for name in self._heads if sentences and model.head(name).describes]
        if sentences and not talking:
            raise ConfigError(
                "No head of the model describes faces in sentences.", remedy="Omit the sentences."
            )
        self.sentences = {name: "sentence" if len(talking) == 1 else f"{name}.sentence" for name in talking}
        self.has_baseline = self.model.metadata.get("baseline") is True
        self.warning = RENDERED_WARNING if model.metadata.get("rendered") else None

    def predict_file(self, path: str | Path, *, backend: Backend = "auto", start: int = 0) -> Iterator[Row]:
        """Predict a photo (turned upright by its EXIF data), a video file or a folder of images.

        Args:
            path: The media.
            backend: Reader of video files; see `open_video`.
            start: First frame to predict; see `predict_video`.

        Yields:
            One row per face and frame, or one stating that the frame has no face.

        Raises:
            VideoError: The media cannot be read.
            ConfigError: A fixed box exceeds the first frame.
        """
        with open_video(path, backend) as video:
            yield from self.predict_video(video, start=start)

    def predict_video(self, video: VideoReader, *, start: int = 0) -> Iterator[Row]:
        """Predict an opened video.

        Args:
            video: From `open_video`; it stays open.
            start: First frame to predict, to continue interrupted work with the same rows. If faces are detected,
                earlier frames are read too, for the identities.

        Yields:
            One row per face and frame, by frame and `face`, or one stating that the frame cannot be read or has no
            face.

        Raises:
            ConfigError: A fixed box exceeds the first frame.
        """
        clips = self._clips(video, start)
        while batch := list(islice(clips, self.batch_size)):
            windows = [clip for _, _, clip in batch if clip is not None]
            values = iter(self._run(windows) if windows else ())
            for frame, face, clip in batch:
                numbers, said = ([nan] * len(self.columns), {}) if clip is None else next(values)
                row = dict(zip(self.columns, numbers, strict=True))
                if face is None:
                    yield Row(frame.number, frame.timestamp, False, row, frame.reason)
                else:
                    seen = (face.identity, face.score, face.box, face.points, face.mesh, None, said)
                    yield Row(frame.number, frame.timestamp, clip is not None, row, face.reason, *seen)

    def predict(
        self,
        media: Any,
        *,
        baseline: Baseline | Literal[False] | None = None,
        landmarks: bool = False,
        backend: Backend = "auto",
    ) -> pd.DataFrame:
        """Find and predict all faces of photos and videos, on disk or in memory.

        Args:
            media: A path; `bytes`, the content of a file; a PIL picture; a NumPy array, uint8 [H, W, 3]; or a torch
                tensor, uint8 [3, H, W]; RGB. Or a list of these, or a batch [N, H, W, 3] or [N, 3, H, W].
            baseline: Baseline of each person to subtract; False for none. By default as in `write_predictions`.
            landmarks: Whether to add the 68 landmarks of faces with meshes.
            backend: Reader of video files.

        Returns:
            One row per face and frame, or one row that says why a frame has none; see `to_frame`. For a list or batch,
            the last column `media` counts its entries from 0. `attrs["affectkit"]` describes the model.

        Raises:
            ConfigError: An entry is not a photo or video, there is none, or a fixed box exceeds the frame.
            VideoError: A file cannot be read.

        Example:
            >>> import numpy as np
            >>> frame = Predictor("demo").predict(np.zeros((48, 64, 3), np.uint8))
            >>> frame[["frame", "success", "reason"]].values.tolist()
            [[0, False, 'No face was found.']]
        """
        import pandas as pd

        from affectkit.inference.formats.pandas import to_frame

        several = as_list(media)
        if several is not None and not several:
            raise ConfigError("There are no photos or videos.")
        metadata, entry = self.metadata(), self.describe_baseline(baseline)
        frames = []
        for number, one in enumerate([media] if several is None else several):
            name = "picture" if several is None else f"picture {number}"
            with open_media(one, backend, name) as video:
                rows = list(self.predict_video(video))
                frame = to_frame(rows, metadata, landmarks=landmarks)
                if entry is not None and (video.num_frames > 1 or "neutral_values" in entry):
                    frame = apply_baseline(frame, entry)
            frames.append(frame if several is None else frame.assign(media=number))
        if several is None:
            return frames[0]
        amounts = [frame.attrs["affectkit"].get("baselines", {}) for frame in frames]
        whole = pd.concat(frames, ignore_index=True)
        whole.attrs = {"affectkit": {**frames[0].attrs["affectkit"], "baselines": amounts}}
        return whole

    def describe_baseline(self, baseline: Baseline | Literal[False] | None = None) -> dict[str, Any] | None:
        """Metadata of the baseline of videos; None without one.

        Args:
            baseline: The baseline; False for none; None for `Baseline()` if the model states it.

        Raises:
            ConfigError: The model predicts no action units, or the neutral photo has no face.
        """
        heads = {name: self._describe_head(name) for name in self._heads}
        columns = unit_columns(heads)
        if baseline is None:
            return Baseline().metadata() if self.has_baseline and columns else None
        if baseline is False:
            return None
        if not columns:
            raise ConfigError(
                "The model predicts no action units, so there is no baseline to subtract.",
                remedy="Omit the baseline.",
            )
        if not isinstance(baseline.neutral, Path):
            return baseline.metadata()
        rows = [row for row in self.predict_file(baseline.neutral) if row.success]
        if not rows:
            raise ConfigError("The neutral photo has no face.", path=baseline.neutral, remedy="Give another.")
        largest = max(rows, key=lambda row: 0.0 if row.box is None else row.box[2] * row.box[3])
        return baseline.metadata({name: round(largest.values[name], 6) for name in columns})

    def measure(self, frames: Tensor) -> dict[str, Any]:
        """Measure the signals that the model needs, on the largest face of each frame.

        Args:
            frames: uint8 [T, 3, H, W], whole frames.

        Returns:
            Arguments of `AffectModel.predict`: `signals`, float [1, T, ...] by name, and `signals_mask`, bool [1, T],
            False where no mesh was found; empty if the model needs no signals.
        """
        if self._mesh is None:
            return {}
        found = [largest_face(faces) for faces in self._mesh(frames)]
        measured = [None if face is None or face.mesh is None else face.mesh.signals() for face in found]
        signals = {
            name: torch.stack([torch.zeros(SIGNALS[name]) if one is None else one[name] for one in measured])
            for name in self.model.signals
        }
        mask = torch.tensor([one is not None for one in measured])
        return {
            "signals": {name: values[None].to(self.device) for name, values in signals.items()},
            "signals_mask": mask[None].to(self.device),
        }

    def window(self, fps: float = nan) -> tuple[int, int]:
        """Numbers of frames before and after a frame that its values depend on, for a frame rate (NaN: unknown)."""
        frames, step = self.model.input_spec.frames, self._step(fps)
        return (frames - 1) // 2 * step, frames // 2 * step

    def metadata(self) -> dict[str, Any]:
        """Plain metadata of the predictions: model, hash, thresholds, licence, warning."""
        return {
            "affectkit": affectkit.__version__,
            "model": self.source,
            "model_sha256": self._sha256,
            "licence": self.model.metadata.get("licence"),
            "trained_on": "rendered faces" if self.warning else self.model.metadata.get("trained_on"),
            "warning": self.warning,
            "model_metadata": self.model.metadata,
            "input": self.model.input_spec.to_dict(),
            "signals": list(self.model.signals),
            "faces": describe(self.faces, self.model.input_spec),
            "measured": list(MEASURED) if self.has_meshes else [],
            "zero_shot_classes": None if self.classes is None else list(self.classes),
            "heads": {name: self._describe_head(name) for name in self._heads},
            **({"sentences": list(self.sentences.values())} if self.sentences else {}),
        }

    def _describe_head(self, name: str) -> dict[str, Any]:
        head, columns = self.model.head(name), [c for c, home in self._columns.items() if home == name]
        return {
            "columns": columns,
            "values": head.values,
            "answers_by": head.answers_by,
            "thresholds": dict(zip(columns, head.thresholds, strict=False)),
            **({"range": list(head.space.value_range)} if isinstance(head.space, Dimensions) else {}),
        }

    @property
    def has_meshes(self) -> bool:
        """Whether rows have meshes."""
        return self._mesh is not None or isinstance(self.faces, (MeshFaces, MeshDetector))

    @cached_property
    def _sha256(self) -> str:
        """Hash of the weights file, or of the tensors of a model in memory."""
        if self.source is not None:
            with (hub.locate(self.source) / "model.safetensors").open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def _step(self, fps: float) -> int:
        """Distance of frames in a window."""
        wanted = self.model.input_spec.fps
        return max(1, round(fps / wanted)) if wanted and isfinite(fps) else 1

    def _run(self, windows: Sequence[Sequence[SeenFace]]) -> list[tuple[list[float], dict[str, str]]]:
        """Values [columns] at the middle frame and sentences by column, of each of n windows of faces [n][T]."""
        clips = torch.stack([_stack([face.picture for face in window]) for window in windows])
        given: dict[str, Any] = {}
        if self.model.signals:
            measured = [[face.signals or {} for face in window] for window in windows]
            given["signals"] = {
                name: torch.stack([_stack([face[name] for face in window]) for window in measured]).to(
                    self.device
                )
                for name in self.model.signals
            }
        landmarks = self._landmarks.expand(*clips.shape[:2], -1, -1)
        with self._lock:  # `AffectModel.predict` changes the mode of the model
            crops, texts = clips.to(self.device), dict[str, list[str]]()
            if self.sentences:
                answers, texts = self.model.describe(crops, landmarks=landmarks, **given)
            else:
                answers = self.model.predict(crops, landmarks=landmarks, **given)
        middle = (clips.shape[1] - 1) // 2
        per_frame = {name: self.model.head(name).per_frame for name in self._heads}
        parts = [answers[name][:, middle] if per_frame[name] else answers[name] for name in self._heads]
        values: list[list[float]] = torch.cat(parts, dim=1).cpu().tolist()
        said = [
            {column: texts[name][i] for name, column in self.sentences.items()} for i in range(len(values))
        ]
        return list(zip(values, said, strict=True))

    def _clips(
        self, video: VideoReader, start: int
    ) -> Iterator[tuple[FrameFaces, SeenFace | None, list[SeenFace] | None]]:
        """Each face of each frame with its window [T]; None without a face or a picture of it."""
        before, after = self.window(video.fps)
        step = self._step(video.fps)
        near: dict[int, FrameFaces] = {}
        row = start
        first = max(0, start - before)
        frames = frame_faces(video, self.faces, self.model.input_spec, start=first, mesh=self._mesh)
        for frame in chain(frames, repeat(None, after)):
            if frame is not None:
                near[frame.number] = frame
                if frame.number < row + after:
                    continue
            if (middle := near.get(row)) is None:
                return
            if not middle.faces:
                yield middle, None, None
            for identity, face in middle.faces.items():
                if face.picture is None:
                    yield middle, face, None
                    continue
                past = _fill(near, identity, range(row, row - before - 1, -step))
                future = _fill(near, identity, range(row, row + after + 1, step))
                yield middle, face, [*reversed(past), *future[1:]]
            row += 1
            near.pop(row - 1 - before, None)


def _fill(near: Mapping[int, FrameFaces], identity: int, numbers: Sequence[int]) -> list[SeenFace]:
    """A face with pictures from the middle outwards; where it has none, the one before is repeated."""
    faces: list[SeenFace] = []
    for number in numbers:
        face = near[number].faces.get(identity) if number in near else None
        faces.append(faces[-1] if face is None or face.picture is None else face)
    return faces


def _stack(values: Sequence[Tensor | None]) -> Tensor:
    return torch.stack([value for value in values if value is not None])
