"""The faces of a video, one frame after the other, cut out as a model expects them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from typing import Any, Final

import torch
from torch import Tensor

from affectkit.data.video import VideoReader
from affectkit.errors import AnnotationError, ConfigError, VideoError
from affectkit.faces.align import PictureSpec, align_face, margin_of
from affectkit.faces.crop import Crop
from affectkit.faces.detect import CenterFace
from affectkit.faces.face import Face, FaceDetector, detector_name, find_faces
from affectkit.faces.mesh import FaceMesh
from affectkit.faces.mesh_detector import MeshDetector
from affectkit.faces.mesh_tracker import MeshTracker
from affectkit.faces.track import FaceTracker

__all__ = [
    "NO_FACE",
    "REDUCED",
    "FaceSource",
    "FrameFaces",
    "SeenFace",
    "describe",
    "face_source",
    "frame_faces",
]

NO_FACE: Final = "No face was found."
REDUCED: Final = "No face was found in the frame, which was made smaller for the detector."

FaceSource = Crop | FaceDetector

_TOGETHER: Final = 2**22  # pixels of the frames that a detector gets at once
_MOST: Final = 8  # and their number


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace:
    """A face in a frame.

    Args:
        identity: Who, among those in the video.
        picture: uint8 [3, S, S], as the model sees it; None where it cannot be cut out.
        box: Left, top, width and height in pixels as detected; None for a crop.
        score: How sure the detector is, 0 to 1; NaN for a crop.
        points: Eyes, nose tip and mouth corners (x, y) in pixels; None where they are not known.
        reason: Why there is no picture.
        mesh: 478 points, blendshapes, pose and gaze; None where the detector has none.
    """

    identity: int
    picture: Tensor | None
    box: tuple[float, float, float, float] | None = None
    score: float = nan
    points: tuple[tuple[float, float], ...] | None = None
    reason: str | None = None
    mesh: FaceMesh | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameFaces:
    """A frame's faces, or the reason why there is none.

    Args:
        number: Frame number from 0.
        timestamp: Seconds; NaN where the media does not say.
        faces: By identity, in ascending order.
        reason: Why there is none.
    """

    number: int
    timestamp: float
    faces: dict[int, SeenFace]
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """A frame, or the fault that took its place."""

    number: int
    timestamp: float
    pixels: Tensor | None
    reason: str | None = None


def face_source(
    faces: FaceSource | str, device: torch.device | str = "cpu", detector_size: int | None = None
) -> FaceSource:
    """Where faces come from: "detect", "mesh", "center", "x,y,w,h" in pixels, or what is one already.

    Args:
        faces: The text, a `Crop`, or a detector.
        device: Where the detector that comes with the package runs, if onnxruntime can use it.
        detector_size: `CenterFace.longest`; 640 by default for "detect". With "mesh", faces are found by `CenterFace`
            instead of the mesh's own detector, which misses small ones.

    Raises:
        ConfigError: Another text, or a `detector_size` for faces that are not detected.

    Example:
        >>> print(face_source("10,20,64,64"))
        10,20,64,64
    """
    if faces == "detect":
        return CenterFace(device=device, **({} if detector_size is None else {"longest": detector_size}))
    if faces == "mesh":
        finder = None if detector_size is None else CenterFace(device=device, longest=detector_size)
        return MeshDetector(detector=finder, device=device)
    if detector_size is not None:
        raise ConfigError(
            f"A detector size belongs to faces that are detected, not to {str(faces)!r}.",
            remedy="Leave one of the two out.",
        )
    return Crop.parse(faces) if isinstance(faces, str) else faces


def describe(source: FaceSource, spec: PictureSpec) -> dict[str, Any]:
    """How faces were found and cut out, in plain values.

    Args:
        source: A crop or a detector.
        spec: Of the model.

    Example:
        >>> from affectkit.faces import FacePicture
        >>> describe(Crop(), FacePicture(size=224))["crop"]
        'center'
    """
    if isinstance(source, Crop):
        return {"found_by": "crop", "crop": str(source)}
    return {
        "found_by": "detector",
        "detector": detector_name(source),
        "alignment": spec.alignment,
        "crop_margin": margin_of(spec),
    }


def frame_faces(
    video: VideoReader, source: FaceSource, spec: PictureSpec, *, start: int = 0
) -> Iterator[FrameFaces]:
    """Every frame of a video with its faces, in order, in constant memory.

    After a frame that cannot be read, reading goes on with the next. A crop is one face whose identity is 0; a
    detector's faces are tracked (`FaceTracker`) and aligned (`picture_transform`).

    Args:
        video: From `open_video`.
        source: A crop or a detector.
        spec: Of the model.
        start: First frame to give. A detector sees the earlier ones too, since identities depend on them.

    Yields:
        The frames; without a face where none is found, or the frame cannot be read.

    Raises:
        ConfigError: A crop reaches beyond the first frame.
    """
    if isinstance(source, Crop):
        yield from _cropped(video, source, spec.size, start)
        return
    for frame, faces in _followed(video, source):
        if frame.number < start:
            continue
        seen = {
            identity: _seen(frame.pixels, identity, face, spec)
            for identity, face in faces.items()
            if frame.pixels is not None
        }
        reason = None if seen else frame.reason or _without_face(frame.pixels, source)
        yield FrameFaces(frame.number, frame.timestamp, seen, reason)


def _followed(video: VideoReader, source: FaceDetector) -> Iterator[tuple[_Frame, dict[int, Face]]]:
    """Every frame with its faces by identity, in ascending order."""
    if isinstance(source, MeshDetector):
        meshes = MeshTracker.for_video(video.fps, source)
        for frame in _read(video):
            yield frame, meshes.update(frame.pixels)
        return
    tracker = FaceTracker.for_video(video.fps)
    for batch in _batches(video):
        pixels = [frame.pixels for frame in batch if frame.pixels is not None]
        found = iter(find_faces(source, torch.stack(pixels)) if pixels else ())
        for frame in batch:
            faces = [] if frame.pixels is None else next(found)
            identities = tracker.update(faces, frame.pixels)
            yield frame, dict(sorted(zip(identities, faces, strict=True), key=lambda pair: pair[0]))


def _without_face(frame: Tensor | None, detector: FaceDetector) -> str:
    """The reason of a frame without faces: a small one may be missed in a large frame."""
    large = isinstance(detector, CenterFace) and frame is not None and max(frame.shape[1:]) > detector.longest
    return REDUCED if large else NO_FACE


def _seen(frame: Tensor, identity: int, face: Face, spec: PictureSpec) -> SeenFace:
    """A detected face with its picture, or why it has none."""
    picture, reason = None, None
    try:
        picture = align_face(frame, face, spec)
    except AnnotationError as error:
        reason = error.fault
    points = None if face.points is None else tuple((float(x), float(y)) for x, y in face.points.tolist())
    return SeenFace(identity, picture, face.box, face.score, points, reason, face.mesh)


def _cropped(video: VideoReader, crop: Crop, size: int, start: int) -> Iterator[FrameFaces]:
    for frame in _read(video, start):
        if frame.pixels is None:
            yield FrameFaces(frame.number, frame.timestamp, {}, frame.reason)
            continue
        try:
            picture = crop(frame.pixels, size)
        except ConfigError as error:
            if frame.number == 0:
                raise  # the crop fits no frame; a later one may be of another size, in a folder of photos
            yield FrameFaces(frame.number, frame.timestamp, {}, error.fault)
            continue
        yield FrameFaces(frame.number, frame.timestamp, {0: SeenFace(0, picture)})


def _read(video: VideoReader, start: int = 0) -> Iterator[_Frame]:
    """Every frame; after one that fails, reading goes on with the next."""
    number = start
    while number < video.num_frames:
        try:
            for index, timestamp, pixels in video.frames(number):
                yield _Frame(index, timestamp, pixels)
                number = index + 1
            return
        except VideoError as error:
            yield _Frame(number, float(video.timestamps[number]), None, error.fault)
            number += 1


def _batches(video: VideoReader) -> Iterator[list[_Frame]]:
    """Frames of one size that follow each other, a few at a time."""
    batch: list[_Frame] = []
    shape: torch.Size | None = None
    for frame in _read(video):
        if frame.pixels is not None and shape is not None and frame.pixels.shape != shape:
            yield batch
            batch, shape = [], None
        batch.append(frame)
        if frame.pixels is not None:
            shape = frame.pixels.shape
        most = 1 if shape is None else max(1, min(_MOST, _TOGETHER // (shape[-1] * shape[-2])))
        if len(batch) >= most:
            yield batch
            batch, shape = [], None
    if batch:
        yield batch
