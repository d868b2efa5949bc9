"""From a photo or a video of any length to a row of numbers for every frame and face, in constant memory."""

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
from affectkit.errors import ConfigError
from affectkit.faces import FrameFaces, SeenFace, face_landmarks, frame_faces
from affectkit.faces.frames import FaceSource, describe, face_source
from affectkit.facs import AUSet, ExpressionSet, UnitSpace
from affectkit.models import AffectModel, hub
from affectkit.models.zero_shot import heads_with_prototypes, prototype_only, use_classes

__all__ = ["RENDERED_WARNING", "Predictor", "Row"]

RENDERED_WARNING = (
    "This model was trained on rendered faces only. On real faces its numbers are a demonstration, "
    "not a measurement."
)


@dataclass(frozen=True, slots=True)
class Row:
    """The numbers of one face in one frame; or of a frame without a face, that there is none.

    Args:
        frame: Frame number from 0.
        timestamp: Seconds from the first frame, by the container; NaN where the media does not say.
        success: Whether the frame could be read and the face be seen.
        values: By column name; NaN where `success` is false.
        reason: Why not, where `success` is false.
        face: Whose face, from 0, in order of appearance in this video; None where there is no face.
        score: How sure the detector is of the face, 0 to 1; NaN where none was asked.
        box: Left, top, width and height of the face in pixels of the frame; None where none was detected.
        points: Eyes, nose tip and mouth corners (x, y) in pixels of the frame, left ones first as in the picture;
            None where they are not known.
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


class Predictor:
    """Runs a model over photos, videos and folders of frames, a row for every frame and face.

    Faces are found, told apart from frame to frame, and cut out with the geometry that is stored with the model, so
    that it sees them as it did in training. A model made for clips of T frames sees, for each frame, the same face in
    the T frames around it: ⌊(T − 1)/2⌋ before and ⌊T/2⌋ after, s frames apart, where s = 1 unless the model and the
    video both state a frame rate (then s is their ratio, rounded). The row holds the clip heads' answers for that
    window and the frame heads' answers at its middle. So a value depends on no frame farther away than that, and
    cutting the video changes no value farther from the cut. Frames that a window lacks, beyond the ends, unreadable
    or without the face, are replaced by the next one towards the middle; a photo is a clip that stands still.

    Args:
        model: A model, or the folder or Hub name of a saved one.
        device: Where to run, for example "cpu" or "cuda:1".
        batch_size: Faces that go through the model at once, of one frame or of several.
        faces: How faces are found: "detect" (the default) with the detector that comes with the
            package; "center", the centred square of every frame is one face; "x,y,w,h", that box in pixels
            is; or a `Crop` or any `FaceDetector`.
        classes: Ask the expression head about these classes instead of its own, without training: names, or free
            texts. It then answers by prototypes alone; see `affectkit.models.use_classes`.
        prototype_only: Let every head that has prototypes answer by them alone; see `affectkit.models.prototype_only`.
        detector_size: Longest side in pixels of the pictures that the detector of "detect" gets; larger frames are
            made smaller for it (default: 640). Larger values find smaller faces; see `CenterFace`.

    Attributes:
        columns: Names of the values: `AU01` … (probabilities), then `AU01_i` … (intensities 0–5), then those of the
            other heads by name: expressions and levels (probabilities), dimensions. Where two heads have a name in
            common, the second head's is preceded by its own name and a dot.
        warning: What a user must know about the model, or None.
        faces: What finds the faces.

    Raises:
        WeightsError: The folder is not a model that can be loaded.
        ConfigError: `batch_size` below 1, a device that is not there, `faces` that cannot be read, or no prototypes to
            answer by.
        LabelSpaceError: `classes` name fewer than two classes, or one twice.

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
        self._landmarks = face_landmarks(self.model.input_spec).to(self.device)  # faces have one place there
        self.batch_size = batch_size
        self.faces = face_source("detect" if faces is None else faces, self.device, detector_size)
        spaces = {name: model.head(name).space for name in model.heads}
        self._heads = sorted(
            spaces, key=lambda name: [not isinstance(spaces[name], kind) for kind in (AUSet, UnitSpace)]
        )
        self._columns: dict[str, str] = {}  # column -> its head
        for name in self._heads:
            for column in model.head(name).columns:
                self._columns[f"{name}.{column}" if column in self._columns else column] = name
        self.columns = tuple(self._columns)
        self.warning = RENDERED_WARNING if model.metadata.get("rendered") else None

    def predict_file(self, path: str | Path, *, backend: Backend = "auto", start: int = 0) -> Iterator[Row]:
        """Predict a photo, a video file or a folder of images.

        Args:
            path: The media. Photos are turned upright as their EXIF data say.
            backend: Reader of video files; see `open_video`.
            start: First frame to give rows of.

        Yields:
            A row for every frame and face, in order.

        Raises:
            VideoError: Nothing at all can be read.
            ConfigError: A fixed box reaches beyond the first frame.
        """
        with open_video(path, backend) as video:
            yield from self.predict_video(video, start=start)

    def predict_video(self, video: VideoReader, *, start: int = 0) -> Iterator[Row]:
        """Predict an opened video.

        Args:
            video: From `open_video`; it stays open.
            start: First frame to give rows of, to go on with work that was interrupted: rows are those of a whole
                run. Where faces are detected, those of earlier frames are too, or nobody would know who is who.

        Yields:
            A row for every frame and face, by frame and then by `face`. A frame that cannot be read, or shows no
            face, has one row that says so.

        Raises:
            ConfigError: A fixed box reaches beyond the first frame.
        """
        clips = self._clips(video, start)
        while batch := list(islice(clips, self.batch_size)):
            pictures = [clip for _, _, clip in batch if clip is not None]
            values = iter(self._run(torch.stack(pictures)) if pictures else ())
            for frame, face, clip in batch:
                numbers = [nan] * len(self.columns) if clip is None else next(values)
                yield _row(frame, face, dict(zip(self.columns, numbers, strict=True)))

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
                "values": head.values,
                "answers_by": head.answers_by,
                "thresholds": dict(zip(columns, head.thresholds, strict=False)),
            }
        return {
            "affectkit": affectkit.__version__,
            "model": self.source,
            "model_sha256": self._sha256(),
            "licence": self.model.metadata.get("licence"),
            "trained_on": "rendered faces" if self.warning else self.model.metadata.get("trained_on"),
            "warning": self.warning,
            "model_metadata": self.model.metadata,
            "input": self.model.input_spec.to_dict(),
            "faces": describe(self.faces, self.model.input_spec),
            "zero_shot_classes": None if self.classes is None else list(self.classes),
            "heads": heads,
        }

    def _sha256(self) -> str:
        """Of the weights' file; of a model in memory, of its tensors."""
        if self.source is not None:
            with (hub.locate(self.source) / "model.safetensors").open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def _step(self, fps: float) -> int:
        """Frames from one to the next in a window."""
        wanted = self.model.input_spec.fps
        return max(1, round(fps / wanted)) if wanted and isfinite(fps) else 1

    def _run(self, clips: Tensor) -> list[list[float]]:
        """Values [n][columns] of clips [n, T, 3, S, S], at the middle frame."""
        answers = self.model.predict(
            clips.to(self.device), landmarks=self._landmarks.expand(*clips.shape[:2], -1, -1)
        )
        middle = (clips.shape[1] - 1) // 2
        per_frame = {name: self.model.head(name).per_frame for name in self._heads}
        parts = [answers[name][:, middle] if per_frame[name] else answers[name] for name in self._heads]
        values: list[list[float]] = torch.cat(parts, dim=1).cpu().tolist()
        return values

    def _clips(
        self, video: VideoReader, start: int
    ) -> Iterator[tuple[FrameFaces, SeenFace | None, Tensor | None]]:
        """Each frame's faces with their windows [T, 3, S, S]; None where there is no face or no picture of it."""
        before, after = self.window(video.fps)
        step = self._step(video.fps)
        near: dict[int, FrameFaces] = {}
        row = start

        def emit() -> Iterator[tuple[FrameFaces, SeenFace | None, Tensor | None]]:
            frame = near[row]
            if not frame.faces:
                yield frame, None, None
            for identity, face in frame.faces.items():
                if face.picture is None:
                    yield frame, face, None
                    continue
                past = _fill(near, identity, range(row, row - before - 1, -step))
                future = _fill(near, identity, range(row, row + after + 1, step))
                yield frame, face, torch.stack([*reversed(past), *future[1:]])

        for frame in frame_faces(video, self.faces, self.model.input_spec, start=max(0, start - before)):
            near[frame.number] = frame
            if frame.number >= row + after:
                yield from emit()
                row += 1
            near.pop(frame.number - before - after, None)
        while row in near:
            yield from emit()
            row += 1


def _fill(near: Mapping[int, FrameFaces], identity: int, numbers: Sequence[int]) -> list[Tensor]:
    """The pictures of a face from the middle outwards; where one is lacking, the one before it again."""
    pictures: list[Tensor] = []
    for number in numbers:
        face = near[number].faces.get(identity) if number in near else None
        picture = None if face is None else face.picture
        pictures.append(pictures[-1] if picture is None else picture)
    return pictures


def _row(frame: FrameFaces, face: SeenFace | None, values: dict[str, float]) -> Row:
    if face is None:
        return Row(frame.number, frame.timestamp, False, values, frame.reason)
    return Row(
        frame=frame.number,
        timestamp=frame.timestamp,
        success=face.picture is not None,
        values=values,
        reason=face.reason,
        face=face.identity,
        score=face.score,
        box=face.box,
        points=face.points,
    )


def _by_prototypes(model: AffectModel, classes: Sequence[str] | None, *, everywhere: bool) -> AffectModel:
    """A copy of a model whose heads answer by prototypes alone: that of expressions, or every one that has any."""
    model = deepcopy(model).eval()
    having = heads_with_prototypes(model)
    if not having:
        raise ConfigError(
            "No head of this model has prototypes.",
            remedy="Take a model with a semantic bridge, such as one of the recipes joint/ssm_*.",
        )
    expressions = [name for name, head in having.items() if isinstance(head.space, ExpressionSet)]
    if classes is not None and not expressions:
        raise ConfigError("This model has no expression head with prototypes, so it cannot take new classes.")
    if everywhere:
        for name in having:
            prototype_only(model, name)
    if classes is not None:
        use_classes(model, expressions[0], classes)
    return model
