"""The face of a clip cut out in one way for all of its frames, as motion needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from affectkit.data.video import VideoReader
from affectkit.errors import AnnotationError
from affectkit.faces.align import PictureSpec, picture_transform
from affectkit.faces.crop import Crop
from affectkit.faces.face import Face, FaceDetector, find_faces, largest_face
from affectkit.faces.frames import NO_FACE, FaceSource
from affectkit.faces.geometry import align_frames, five_points, transform_points
from affectkit.facs.mean_shape import MEAN_SHAPE_68

__all__ = ["face_landmarks", "place_face", "read_clip"]


def read_clip(
    video: VideoReader, numbers: Sequence[int], source: FaceSource, spec: PictureSpec
) -> tuple[Tensor, Tensor]:
    """Some frames of a video as a model sees the face in them, all cut out in the same way.

    Args:
        video: From `open_video`.
        numbers: Which, the onset first. The face is found there, else in the last of them.
        source: A crop or a detector.
        spec: Of the model.

    Returns:
        uint8 [T, 3, S, S], and landmarks of the face, float [68, 2] in pixels of these pictures: those of a mean face
        brought to the five points of a detector.

    Raises:
        VideoError: A frame cannot be read.
        AnnotationError: No face was found.
        ConfigError: The crop reaches beyond the frame.
    """
    frames = video.read(numbers)
    if isinstance(source, Crop):
        return torch.stack([source(frame, spec.size) for frame in frames]), face_landmarks(spec)
    for index in (0, len(frames) - 1):
        if (found := _largest(frames[index], source, spec)) is not None:
            face, matrix = found
            points = None if face.points is None else transform_points(face.points.float().cpu(), matrix)
            return align_frames(frames, matrix, spec.size), face_landmarks(spec, points)
    raise AnnotationError(NO_FACE, path=video.path, frame=numbers[0])


def face_landmarks(spec: PictureSpec, points: Tensor | None = None) -> Tensor:
    """Where the 68 landmarks are in a model's pictures, about: those of a mean face.

    Args:
        spec: The model's; it says where faces are put.
        points: float [5, 2], the eyes, nose tip and mouth corners of this face in the picture; the mean face is
            stretched and turned to meet them.

    Returns:
        float [68, 2], in pixels, integers at pixel centres.

    Example:
        >>> from affectkit.faces import FacePicture
        >>> face_landmarks(FacePicture(size=112, crop_margin=0.0))[48].round().tolist()  # a corner of the mouth
        [42.0, 93.0]
    """
    shape = torch.tensor(MEAN_SHAPE_68) * 112
    known = five_points(shape)
    if points is None:
        return transform_points(shape, picture_transform(Face((0.0, 0.0, 112.0, 112.0), 1.0, known), spec))
    ones = torch.ones(5, 1)
    matrix = torch.linalg.lstsq(torch.cat([known, ones], dim=1), points.float()).solution.T
    return transform_points(shape, matrix)


def place_face(frame: Tensor, source: FaceSource, spec: PictureSpec) -> Callable[[Tensor], Tensor] | None:
    """How to cut the largest face of a frame out of this and other frames.

    Args:
        frame: uint8 [3, H, W].
        source: A crop or a detector.
        spec: Of the model.

    Returns:
        A function from frames, uint8 [3, H, W], to pictures, uint8 [3, S, S]; None where there is no face.
    """
    if isinstance(source, Crop):
        return lambda other: source(other, spec.size)
    found = _largest(frame, source, spec)
    if found is None:
        return None
    matrix = found[1]
    return lambda other: align_frames(other[None], matrix, spec.size)[0]


def _largest(frame: Tensor, source: FaceDetector, spec: PictureSpec) -> tuple[Face, Tensor] | None:
    """The largest face of a frame, and the similarity that brings it to its place."""
    face = largest_face(find_faces(source, frame[None])[0])
    if face is None:
        return None
    try:
        return face, picture_transform(face, spec)
    except AnnotationError:  # points without extent, or not finite: nothing that one could see
        return None
