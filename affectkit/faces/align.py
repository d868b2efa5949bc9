"""Aligned face pictures with the geometry that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

import torch
from torch import Tensor

from affectkit.errors import AnnotationError, ConfigError
from affectkit.faces.face import Face
from affectkit.faces.geometry import align_frames, estimate_similarity, reference_points

__all__ = [
    "EYES_MOUTH_SIDE",
    "MARGINS",
    "WHOLE_FRAMES",
    "FacePicture",
    "PictureSpec",
    "align_face",
    "box_transform",
    "face_transform",
    "margin_of",
    "picture_transform",
]

Alignment = Literal["five_points", "eyes_mouth", "ffhq", "box", "raised_box", "frame"]

MARGINS: Final = {
    "five_points": 0.15,
    "eyes_mouth": 0.125,
    "ffhq": 0.0,
    "box": 0.0,
    "raised_box": 0.0,
    "frame": 0.0,
}
"""Default margins: that of `affectkit data prepare`, that of the rendered demo, and none."""

WHOLE_FRAMES: Final = (
    'The model was trained on pictures as they are (alignment "frame"), not on aligned faces.'
)
"""Fault of searching faces for a model with the alignment "frame"."""

EYES_MOUTH_SIDE: Final = 5 / 3
"""Side of the tight "eyes_mouth" picture, in distances from eyes to mouth."""
# Typical faces in a detector's box, as shares of its height, for faces without points.
_MIDDLE: Final = 0.57  # from the top to the point midway between eyes and mouth
_DISTANCE: Final = 0.4  # from eyes to mouth
_RAISED: Final = 0.15  # of a raised box, as a share of its side


class PictureSpec(Protocol):
    """Size and placement of a face in a square picture; `FacePicture` and a model's `InputSpec` are examples."""

    @property
    def size(self) -> int:
        """Side of the picture in pixels."""
        ...

    @property
    def alignment(self) -> Alignment:
        """Definition of the tight picture, see `affectkit.models.InputSpec`."""
        ...

    @property
    def crop_margin(self) -> float | None:
        """Margin added at each side, as a share of the side; None for the default in `MARGINS`."""
        ...


@dataclass(frozen=True, slots=True)
class FacePicture:
    """Settings of an aligned face picture that no model defines.

    Args:
        size: Side of the picture in pixels.
        crop_margin: Margin around the tight picture at each side, as a share of its side; None for the default in
            `MARGINS`.
        alignment: "five_points", "eyes_mouth", "ffhq", "box" or "raised_box", see `affectkit.models.InputSpec`; or
            "frame" for pictures whose faces have no known place.
    """

    size: int
    crop_margin: float | None = None
    alignment: Alignment = "five_points"


def margin_of(spec: PictureSpec) -> float:
    """Return the margin of a specification, or the default of its alignment."""
    return MARGINS[spec.alignment] if spec.crop_margin is None else spec.crop_margin


def picture_transform(face: Face, spec: PictureSpec) -> Tensor:
    """Compute the similarity from a frame to an aligned picture.

    It levels the eyes and places the face as `spec.alignment` and `spec.crop_margin` define. A face without points is
    scaled and shifted by its box, but not turned. With the alignments
    "box", which stretches the box to a square, and "raised_box", no face is turned.

    Args:
        face: The face.
        spec: Size, alignment and margin of the picture.

    Returns:
        float [2, 3].

    Raises:
        AnnotationError: The face's points coincide or are not finite.
        ConfigError: The alignment is "frame", which does not follow faces.

    Example:
        >>> face = Face((0, 0, 112, 112), 1.0, reference_points(size=112))
        >>> matrix = picture_transform(face, FacePicture(size=112, crop_margin=0.0))
        >>> matrix.abs().round().tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    margin = margin_of(spec)
    if spec.alignment == "frame":
        raise ConfigError(WHOLE_FRAMES, remedy='Use the centred square of the picture (faces "center").')
    if face.points is not None and not face.points.isfinite().all():
        raise AnnotationError("The face has landmarks that are not finite.")
    x, y, w, h = face.box
    if spec.alignment == "box":
        return box_transform(face.box, (spec.size, spec.size), margin=margin)
    if spec.alignment == "raised_box":
        side = (w + h) / 2
        raised = (x + (w - side) / 2, y + (h - side) / 2 - _RAISED * side, side, side)
        return box_transform(raised, spec.size, margin=margin)
    if spec.alignment == "ffhq":
        return _ffhq_transform(face, spec.size, margin)
    if spec.alignment == "five_points":
        if face.points is None:
            return box_transform(face.box, spec.size, margin=margin)
        return face_transform(face.points.float().cpu(), spec.size, margin=margin)
    if face.points is None:
        side = EYES_MOUTH_SIDE * _DISTANCE * h
        box = (x + (w - side) / 2, y + _MIDDLE * h - side / 2, side, side)
        return box_transform(box, spec.size, margin=margin)
    shape = reference_points()
    eyes, mouth = shape[:2].mean(0), shape[3:].mean(0)
    tight = spec.size / (1 + 2 * margin)
    scale = tight / (EYES_MOUTH_SIDE * (eyes - mouth).norm())
    goal = (shape - (eyes + mouth) / 2) * scale + (spec.size - 1) / 2
    return estimate_similarity(face.points.float().cpu(), goal)


def _ffhq_transform(face: Face, size: int, margin: float) -> Tensor:
    """The similarity to the square of FFHQ (Karras et al., CVPR 2019).

    The centre is below the eyes by a tenth of the distance to the mouth. The horizontal axis is the sum of the vector
    between the eyes and of that from eyes to mouth, turned by 90 degrees. The side is 4 times the distance of the eyes,
    or 3.6 times that from eyes to mouth if this is longer.
    """
    if face.points is None:
        x, y, w, h = face.box
        side = 3.6 * _DISTANCE * h
        middle = _MIDDLE - 0.4 * _DISTANCE
        return box_transform((x + (w - side) / 2, y + middle * h - side / 2, side, side), size, margin=margin)
    points = face.points.float().cpu()
    eyes, across = points[:2].mean(0), points[1] - points[0]
    down = points[3:].mean(0) - eyes
    level = across + torch.stack([down[1], -down[0]])
    side = 2 * max(float(across.norm()) * 2, float(down.norm()) * 1.8)
    if not min(side, float(level.norm())) > 0:
        raise AnnotationError("The landmarks of the face are all at one place.")
    cos, sin = (level / level.norm() * (size / (1 + 2 * margin) / side)).tolist()
    turn = torch.tensor([[cos, sin], [-sin, cos]])
    shift = (size - 1) / 2 - turn @ (eyes + 0.1 * down)
    return torch.cat([turn, shift[:, None]], dim=1)


def face_transform(points: Tensor, size: int, *, margin: float = 0.0, mask: Tensor | None = None) -> Tensor:
    """Compute the similarity from five points of a face to a square picture.

    Args:
        points: float [..., 5, 2], in the order of `affectkit.faces.five_points`.
        size: Side of the picture in pixels.
        margin: Margin around the tight picture of `reference_points` at each side, as a share of its side.
        mask: bool [..., 5], True for known points; all by default.

    Returns:
        float [..., 2, 3].

    Raises:
        AnnotationError: Fewer than two distinct points are known.

    Example:
        >>> matrix = face_transform(reference_points(size=112), 224)
        >>> matrix[:, :2].abs().round().tolist()
        [[2.0, 0.0], [0.0, 2.0]]
    """
    tight = size / (1 + 2 * margin)
    # The margin moves edges; pixel centres lie half a pixel inside.
    goal = (reference_points(size=112) + 0.5) * (tight / 112) + margin * tight - 0.5
    return estimate_similarity(points, goal, mask)


def box_transform(
    box: tuple[float, float, float, float], size: int | tuple[int, int], *, margin: float = 0.0
) -> Tensor:
    """Compute the scale and shift from a box to a picture.

    Args:
        box: Left, top, width and height in pixels.
        size: Side of a square picture in pixels, for which the box is widened to a square about its centre; or height
            and width, to which the box is stretched.
        margin: Margin at each side, as a share of the box's side.

    Returns:
        float [2, 3].

    Example:
        >>> box_transform((10, 20, 4, 8), 16).tolist()
        [[2.0, 0.0, -15.5], [0.0, 2.0, -39.5]]
    """
    x, y, w, h = box
    height, width = (size, size) if isinstance(size, int) else size
    if isinstance(size, int):
        x, y, w, h = x + (w - max(w, h)) / 2, y + (h - max(w, h)) / 2, max(w, h), max(w, h)
    across, down = width / ((1 + 2 * margin) * w), height / ((1 + 2 * margin) * h)
    left, top = x - margin * w, y - margin * h
    return torch.tensor(
        [
            [across, 0.0, (0.5 - left) * across - 0.5],
            [0.0, down, (0.5 - top) * down - 0.5],
        ]
    )


def align_face(frame: Tensor, face: Face, spec: PictureSpec) -> Tensor:
    """Cut an aligned face out of a frame; pixels outside the frame are black.

    The result equals that of `align_frames`, but only the pixels around the face are processed.

    Args:
        frame: uint8 [3, H, W].
        face: A face of the frame.
        spec: Size, alignment and margin of the picture.

    Returns:
        uint8 [3, size, size].

    Raises:
        AnnotationError: The face's points coincide or are not finite, or the face lies outside the frame.
    """
    matrix = picture_transform(face, spec)
    edges = torch.tensor([-0.5, spec.size - 0.5])
    corners = torch.cartesian_prod(edges, edges) - matrix[:, 2]
    corners = corners @ torch.linalg.inv(matrix[:, :2]).T
    # `align_frames` averages whole blocks of pixels before it interpolates: keep their grid, and one block more.
    block = max(1, int(1 / float(matrix[0, :2].norm())))
    low = (corners.amin(0) / block).floor().clamp(min=0)
    high = (corners.amax(0) / block).floor() + 2
    left, top, right, bottom = (int(edge) * block for edge in (*low, *high))
    part = frame[:, top : max(0, bottom), left : max(0, right)]
    if part.numel() == 0:
        raise AnnotationError("The face lies outside the frame.")
    shift = matrix[:, :2] @ torch.tensor([float(left), float(top)])
    moved = torch.cat([matrix[:, :2], (matrix[:, 2] + shift)[:, None]], dim=1)
    return align_frames(part[None], moved.to(frame.device), spec.size)[0]
