"""The faces of a video, frame by frame, cut out as a model expects them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Final

import torch
from torch import Tensor

from affectkit.data.video import VideoReader
from affectkit.errors import AnnotationError, ConfigError, VideoError
from affectkit.faces.align import PictureSpec, align_face, margin_of
from affectkit.faces.crop import Crop
from affectkit.faces.detect import CenterFace
from affectkit.faces.face import Face, FaceDetector, detector_name, find_faces, largest_face
from affectkit.faces.mesh import FaceMesh
from affectkit.faces.mesh_detector import MeshDetector, Region, region_of_face
from affectkit.faces.mesh_tracker import MeshTracker
from affectkit.faces.track import FaceTracker

__all__ = [
    "NO_FACE",
    "NO_MESH",
    "REDUCED",
    "FaceSource",
    "FrameFaces",
    "MeshFaces",
    "SeenFace",
    "describe",
    "face_source",
    "frame_faces",
]

NO_FACE: Final = "No face was found."
NO_MESH: Final = "The mesh of the face could not be measured."
REDUCED: Final = "No face was found in the frame, which was made smaller for the detector."

FaceSource = Crop | FaceDetector

# A detector gets this many pixels and frames at most at once.
_MAX_PIXELS: Final = 2**22
_MAX_FRAMES: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace:
    """A face in a frame.

    Args:
        identity: Number of the person in the video.
        picture: uint8 [3, S, S], the model's input; None if the face cannot be cut out.
        box: Left, top, width and height of the detected face in pixels; None for a crop.
        score: Confidence of the detector, 0 to 1; NaN for a crop.
        points: Eyes, nose tip and mouth corners (x, y) in pixels; None if unknown.
        reason: Why there is no picture.
        mesh: The face's mesh; None if the detector does not provide one.
        signals: Measurements of the mesh, see `FaceMesh.signals`; None unless they were asked for.
    """

    identity: int
    picture: Tensor | None
    box: tuple[float, float, float, float] | None = None
    score: float = nan
    points: tuple[tuple[float, float], ...] | None = None
    reason: str | None = None
    mesh: FaceMesh | None = None
    signals: dict[str, Tensor] | None = None


@dataclass(frozen=True, eq=False)
class MeshFaces:
    """Faces with meshes: one detector for photos, a faster one for videos.

    A face that a video's detector misses in one frame may be found in a later one, and is then followed; a photo has
    one chance only, and often shows many small faces.

    Args:
        photos: Finds the faces of single pictures.
        videos: Finds the faces that `MeshTracker` follows.

    Example:
        >>> MeshFaces(MeshDetector(), MeshDetector())(torch.zeros(1, 3, 48, 64, dtype=torch.uint8))
        [[]]
    """

    photos: MeshDetector
    videos: MeshDetector

    def __str__(self) -> str:
        if str(self.photos) == str(self.videos):
            return str(self.videos)
        return f"{self.videos}; in photos {self.photos}"

    def __call__(self, frames: Tensor) -> list[list[Face]]:
        """Find the faces of single pictures; see `MeshDetector`."""
        return self.photos(frames)


@dataclass(frozen=True, slots=True, eq=False)
class FrameFaces:
    """The faces of a frame, or the reason why there is none.

    Args:
        number: Frame number, from 0.
        timestamp: Seconds; NaN if unknown.
        faces: Faces by identity, in ascending order.
        reason: Why there is no face.
    """

    number: int
    timestamp: float
    faces: dict[int, SeenFace]
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """A frame, or the reason why it cannot be read."""

    number: int
    timestamp: float
    pixels: Tensor | None
    reason: str | None = None


def face_source(
    faces: FaceSource | str, device: torch.device | str = "cpu", detector_size: int | None = None
) -> FaceSource:
    """Make the source of faces that an option describes.

    Args:
        faces: "mesh" for `MeshFaces`, which finds the faces of photos with `CenterFace` and those of videos with the
            mesh's own detector; "centerface" or "detect" for `CenterFace` alone; "center" or "x,y,w,h" in pixels for a
            `Crop`; a crop or a detector is returned as it is.
        device: Device of the detector, if onnxruntime supports it.
        detector_size: `CenterFace.longest`; 640 by default. With "mesh", `CenterFace` then finds the faces of videos
            too.

    Raises:
        ConfigError: The text is not valid, or `detector_size` is given without detection.

    Example:
        >>> print(face_source("10,20,64,64"))
        10,20,64,64
    """
    if faces not in ("mesh", "centerface", "detect"):
        if detector_size is not None:
            raise ConfigError(
                f"A detector size has no effect on {str(faces)!r}.",
                remedy='Omit it, or choose "mesh" or "centerface".',
            )
        return Crop.parse(faces) if isinstance(faces, str) else faces
    finder = CenterFace(device=device, **({} if detector_size is None else {"longest": detector_size}))
    if faces != "mesh":
        return finder
    photos = MeshDetector(detector=finder, device=device)
    return MeshFaces(photos, MeshDetector(device=device) if detector_size is None else photos)


def describe(source: FaceSource, spec: PictureSpec) -> dict[str, Any]:
    """Describe for metadata how faces are found and cut out.

    Args:
        source: A crop or a detector.
        spec: The model's input.

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
    video: VideoReader,
    source: FaceSource,
    spec: PictureSpec,
    *,
    start: int = 0,
    mesh: MeshDetector | None = None,
) -> Iterator[FrameFaces]:
    """Iterate over all frames of a video with their faces, in constant memory.

    Frames that cannot be read are skipped over and reported without faces. A crop is one face with identity 0. Detected
    faces are tracked by `FaceTracker`, those with meshes by `MeshTracker`, and aligned by `picture_transform`.

    Args:
        video: From `open_video`.
        source: A crop or a detector.
        spec: The model's input.
        start: First frame to return. Earlier frames are still detected, since identities depend on them.
        mesh: Measures signals. Faces without a mesh get one from inside their box or the crop; those where this fails
            have no picture. None if no signals are needed.

    Yields:
        Every frame from `start` on.

    Raises:
        ConfigError: A crop exceeds the first frame.
    """
    if isinstance(source, Crop):
        yield from _cropped(video, source, spec.size, start, mesh)
        return
    for frame, faces in _followed(video, source):
        if frame.number < start:
            continue
        if mesh is not None and frame.pixels is not None:
            faces = _with_meshes(frame.pixels, faces, mesh)
        seen = {
            identity: _seen(frame.pixels, identity, face, spec, has_signals=mesh is not None)
            for identity, face in faces.items()
            if frame.pixels is not None
        }
        reason = None if seen else frame.reason or _without_face(frame.pixels, source)
        yield FrameFaces(frame.number, frame.timestamp, seen, reason)


def _followed(video: VideoReader, source: FaceDetector) -> Iterator[tuple[_Frame, dict[int, Face]]]:
    """Every frame with its faces by identity, in ascending order."""
    if isinstance(source, MeshFaces):
        source = source.photos if video.num_frames == 1 else source.videos
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


def _with_meshes(frame: Tensor, faces: dict[int, Face], mesh: MeshDetector) -> dict[int, Face]:
    """The same faces, with meshes where they can be measured."""
    without = [identity for identity, face in faces.items() if face.mesh is None]
    read = mesh.read([frame] * len(without), [region_of_face(faces[identity]) for identity in without])
    measured = {
        identity: replace(faces[identity], mesh=found)
        for identity, found in zip(without, read, strict=True)
        if found.presence >= mesh.presence
    }
    return faces | measured


def _without_face(frame: Tensor | None, source: FaceDetector) -> str:
    """Why a frame has no face; reducing it may have hidden a small one."""
    if isinstance(source, MeshFaces):
        source = source.photos
    detector = source.detector if isinstance(source, MeshDetector) else source
    large = isinstance(detector, CenterFace) and frame is not None and max(frame.shape[1:]) > detector.longest
    return REDUCED if large else NO_FACE


def _seen(frame: Tensor, identity: int, face: Face, spec: PictureSpec, *, has_signals: bool) -> SeenFace:
    """A detected face with its picture, or the reason why it has none."""
    picture, reason, signals = None, None, None
    try:
        picture = align_face(frame, face, spec)
    except AnnotationError as error:
        reason = error.fault
    if has_signals and picture is not None:
        if face.mesh is None:
            picture, reason = None, NO_MESH
        else:
            signals = face.mesh.signals()
    points = None if face.points is None else tuple((float(x), float(y)) for x, y in face.points.tolist())
    return SeenFace(identity, picture, face.box, face.score, points, reason, face.mesh, signals)


def _cropped(
    video: VideoReader, crop: Crop, size: int, start: int, mesh: MeshDetector | None
) -> Iterator[FrameFaces]:
    meshes = None if mesh is None else MeshTracker.for_video(video.fps, mesh)
    for frame in _read(video, start if meshes is None else 0):  # a mesh depends on the one before
        if frame.pixels is None:
            yield from _from(start, FrameFaces(frame.number, frame.timestamp, {}, frame.reason))
            continue
        try:
            picture = crop(frame.pixels, size)
        except ConfigError as error:
            if frame.number == 0:
                raise  # later frames may differ in size, in a folder of photos
            yield from _from(start, FrameFaces(frame.number, frame.timestamp, {}, error.fault))
            continue
        face = SeenFace(0, picture)
        if meshes is not None:
            found = _mesh_inside(frame.pixels, crop, meshes)
            face = replace(face, mesh=found, signals=None if found is None else found.signals())
            face = face if found is not None else replace(face, picture=None, reason=NO_MESH)
        yield from _from(start, FrameFaces(frame.number, frame.timestamp, {0: face}))


def _from(start: int, frame: FrameFaces) -> Iterator[FrameFaces]:
    if frame.number >= start:
        yield frame


def _mesh_inside(frame: Tensor, crop: Crop, meshes: MeshTracker) -> FaceMesh | None:
    """The mesh of the largest face of a crop, in pixels of the frame."""
    left, top, side = crop.square(*frame.shape[1:])
    square = frame[:, top : top + side, left : left + side].contiguous()
    mesh = None
    if (face := largest_face(list(meshes.update(square).values()))) is not None:
        mesh = face.mesh
    else:  # the detector needs some room around a face
        (whole,) = meshes.detector.read([square], [Region(side / 2, side / 2, float(side), 0.0)])
        mesh = whole if whole.presence >= meshes.detector.presence else None
    if mesh is None:
        return None
    points = mesh.points + torch.tensor([left, top, 0.0])
    return replace(mesh, points=points, frame_size=(frame.shape[1], frame.shape[2]))


def _read(video: VideoReader, start: int = 0) -> Iterator[_Frame]:
    """Every frame, with a reason in place of pixels if it cannot be read."""
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
    """Batches of consecutive frames of one size."""
    batch: list[_Frame] = []
    shape: torch.Size | None = None
    for frame in _read(video):
        if frame.pixels is not None and shape is not None and frame.pixels.shape != shape:
            yield batch
            batch, shape = [], None
        batch.append(frame)
        if frame.pixels is not None:
            shape = frame.pixels.shape
        most = 1 if shape is None else max(1, min(_MAX_FRAMES, _MAX_PIXELS // (shape[-1] * shape[-2])))
        if len(batch) >= most:
            yield batch
            batch, shape = [], None
    if batch:
        yield batch
