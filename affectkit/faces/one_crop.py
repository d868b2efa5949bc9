"""Crops that stay fixed for a whole clip, so that motion within the face is preserved."""

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
    """Read frames of a video and cut the face out of all of them with one crop.

    Args:
        video: From `open_video`.
        numbers: Frame numbers, the onset first. The face is detected in the first frame, or else in the last.
        source: A crop or a detector.
        spec: The model's input.

    Returns:
        uint8 [T, 3, S, S], and approximate landmarks, float [68, 2] in pixels of these pictures: those of the mesh, or
        of an average face fitted to the detected points.

    Raises:
        VideoError: A frame cannot be read.
        AnnotationError: No face was found.
        ConfigError: The crop exceeds the frame.
    """
    frames = video.read(numbers)
    if isinstance(source, Crop):
        return torch.stack([source(frame, spec.size) for frame in frames]), face_landmarks(spec)
    for index in (0, len(frames) - 1):
        if (found := _largest(frames[index], source, spec)) is not None:
            face, matrix = found
            pictures = align_frames(frames, matrix, spec.size)
            if face.mesh is not None:
                return pictures, transform_points(face.mesh.landmarks, matrix)
            points = None if face.points is None else transform_points(face.points.float().cpu(), matrix)
            return pictures, face_landmarks(spec, points)
    raise AnnotationError(NO_FACE, path=video.path, frame=numbers[0])


def face_landmarks(spec: PictureSpec, points: Tensor | None = None) -> Tensor:
    """Estimate the 68 landmarks in a model's pictures from an average face.

    Args:
        spec: The model's input, which defines the place of faces; with the alignment "frame", the face fills the
            picture.
        points: float [5, 2], eyes, nose tip and mouth corners of the face in the picture; an affine map fits the
            average face to them.

    Returns:
        float [68, 2], in pixels, integers at pixel centres.

    Example:
        >>> from affectkit.faces import FacePicture
        >>> face_landmarks(FacePicture(size=112, crop_margin=0.0))[48].round().tolist()  # a corner of the mouth
        [42.0, 93.0]
    """
    if spec.alignment == "frame":
        return torch.tensor(MEAN_SHAPE_68) * spec.size - 0.5
    shape = torch.tensor(MEAN_SHAPE_68) * 112
    known = five_points(shape)
    if points is None:
        return transform_points(shape, picture_transform(Face((0.0, 0.0, 112.0, 112.0), 1.0, known), spec))
    ones = torch.ones(5, 1)
    matrix = torch.linalg.lstsq(torch.cat([known, ones], dim=1), points.float()).solution.T
    return transform_points(shape, matrix)


def place_face(frame: Tensor, source: FaceSource, spec: PictureSpec) -> Callable[[Tensor], Tensor] | None:
    """Make a function that crops frames around the largest face of one frame.

    Args:
        frame: uint8 [3, H, W].
        source: A crop or a detector.
        spec: The model's input.

    Returns:
        A function from frames, uint8 [3, H, W], to pictures, uint8 [3, S, S]; None if the frame has no face.
    """
    if isinstance(source, Crop):
        return lambda other: source(other, spec.size)
    found = _largest(frame, source, spec)
    if found is None:
        return None
    matrix = found[1]
    return lambda other: align_frames(other[None], matrix, spec.size)[0]


def _largest(frame: Tensor, source: FaceDetector, spec: PictureSpec) -> tuple[Face, Tensor] | None:
    """The largest face of a frame and the similarity to its picture."""
    face = largest_face(find_faces(source, frame[None])[0])
    if face is None:
        return None
    try:
        return face, picture_transform(face, spec)
    except AnnotationError:  # coincident points, or not finite
        return None
