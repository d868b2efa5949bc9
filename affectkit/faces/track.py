"""Who is who from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from math import isfinite, isnan
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import AnnotationError, ConfigError
from affectkit.faces.align import FacePicture, align_face, picture_transform
from affectkit.faces.face import Face

__all__ = ["FaceTracker", "face_look", "face_similarity", "look_similarity"]

Box = tuple[float, float, float, float]

_LOOK: Final = FacePicture(size=16, crop_margin=0.3)  # with hair and collar, which tell more than features do
_AXIS: Final = torch.arange(16.0)
_GRID: Final = torch.cartesian_prod(_AXIS, _AXIS).flip(-1)  # [256, 2], (x, y) row by row
_ELLIPSE: Final = ((_GRID - 7.5) / 8).square().sum(-1) <= 1
_UNKNOWN: Final = torch.zeros(4, 256)  # the look of what cannot be seen
_SHARED: Final = 0.25  # of the ellipse, that two looks must have in common to be compared
_THUMBNAIL: Final = 12  # pixels of the sides of what scene cuts are seen in
_SAMPLED: Final = 96  # pixels of the sides of what thumbnails are made of
_SECONDS: Final = {"patience": 0.5, "memory": 5.0}


@dataclass(slots=True)
class _Track:
    """Somebody who was seen not long ago."""

    identity: int
    box: Box | None  # where; None after a scene cut, when it says nothing any more
    look: Tensor
    missed: int = 0


def face_similarity(one: Box, other: Box) -> float:
    """How alike two boxes are in place and size.

    `(1 − d / s) · min(a, b) / max(a, b)`, where d is the distance of their centres, a and b are the square roots
    of their areas, and s is their mean; no less than 0.

    Args:
        one: Left, top, width and height.
        other: The same.

    Returns:
        0 to 1.

    Example:
        >>> face_similarity((0, 0, 10, 10), (5, 0, 10, 10))
        0.5
    """
    (x, y, w, h), (left, top, width, height) = one, other
    distance = ((x + w / 2 - left - width / 2) ** 2 + (y + h / 2 - top - height / 2) ** 2) ** 0.5
    a, b = (w * h) ** 0.5, (width * height) ** 0.5
    return float(max(0.0, 1 - 2 * distance / (a + b)) * min(a, b) / max(a, b))


def face_look(frame: Tensor, face: Face) -> Tensor:
    """What a face looks like, coarsely: its aligned picture of 16 pixels, an ellipse with hair and collar.

    Args:
        frame: uint8 [3, H, W].
        face: A face in it.

    Returns:
        float32 [4, 256]: red, green and blue, 0 to 255, and 1 where they are in the ellipse and in the frame, else 0.
    """
    try:
        picture = align_face(frame, face, _LOOK).float().cpu()
    except AnnotationError:  # nothing to see
        return _UNKNOWN
    height, width = frame.shape[1:]
    matrix = picture_transform(face, _LOOK)
    places = (_GRID - matrix[:, 2]) @ torch.linalg.inv(matrix[:, :2]).T
    inside = ((places >= 0) & (places <= torch.tensor([width - 1.0, height - 1.0]))).all(-1)
    return torch.cat([picture.flatten(1), (inside & _ELLIPSE).float()[None]])


def look_similarity(looks: Tensor, others: Tensor) -> Tensor:
    """The correlations of looks, each with each, where both are known: brightness and contrast do not change them.

    Args:
        looks: float32 [N, 4, 256], from `face_look`.
        others: float32 [M, 4, 256].

    Returns:
        float64 [N, M], -1 to 1; NaN where two have too little in common, or show nothing but one colour.
    """
    (a, m), (b, k) = (_masked(part) for part in (looks, others))
    count, sum_a, sum_b = m @ k.T, a @ k.T, m @ b.T
    common = a @ b.T - sum_a * sum_b / count
    spread_a = (a * a) @ k.T - sum_a.square() / count
    spread_b = m @ (b * b).T - sum_b.square() / count
    known = (count >= 3 * _SHARED * _ELLIPSE.sum()) & (torch.minimum(spread_a, spread_b) > count)
    return torch.where(known, common / (spread_a * spread_b).sqrt(), torch.nan)


def _masked(looks: Tensor) -> tuple[Tensor, Tensor]:
    """Values, 0 where unknown, and 1 where known: float64 [N, 768] each."""
    known = looks[:, 3:].expand(-1, 3, -1).flatten(1).double()
    return looks[:, :3].flatten(1).double() * known, known


def valid_rate(fps: float) -> float:
    """A frame rate; 25 where it is unknown (NaN, infinite, 0 or less)."""
    return fps if isfinite(fps) and fps > 0 else 25.0


class FaceTracker:
    """Gives faces identities that stay, from frame to frame.

    A face goes on the track whose last face was most like it in place (`face_similarity`) and in look
    (`look_similarity`), the pairs with the greatest sum of both first. It must be near in place and not unlike in
    look, if that track was seen at most `patience` frames ago; or, wherever it is, very like in look, if that was at
    most `memory` frames ago: whoever was hidden, turned away or out of the picture for a short while gets the same
    identity back. A face without such a track begins a new one. Places before a scene cut count for nothing; a cut is
    a frame that differs from the last one by more than `cut` on average when both are blurred.

    Identities count from 0 in order of appearance, and from left to right in one frame. People are not recognised:
    somebody who comes back after longer, or looks different, is somebody new. What is kept is four kilobytes a
    track, and no track longer than `memory` frames.

    Args:
        patience: Frames that a face may be missing and still be known by its place.
        memory: Frames that a face may be missing and still be known by its look.
        similarity: What `face_similarity` must be at least for a face to be near.
        alike: What `look_similarity` must be at least for a near face, where it is known.
        same: What it must be at least for a face anywhere.
        cut: Difference that makes a scene cut, 0 to 255.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> tracker = FaceTracker()
        >>> left, right = Face((0, 0, 10, 10), 0.9), Face((50, 0, 10, 10), 0.9)
        >>> tracker.update([right, left])
        [1, 0]
        >>> tracker.update([Face((52, 0, 10, 10), 0.9)])
        [1]
    """

    def __init__(
        self,
        *,
        patience: int = 12,
        memory: int = 125,
        similarity: float = 0.25,
        alike: float = 0.3,
        same: float = 0.8,
        cut: float = 30.0,
    ) -> None:
        shares = 0 < similarity <= 1 and -1 <= alike <= same <= 1
        if not (0 <= patience <= memory and shares and cut > 0):
            raise ConfigError(
                f"Faces cannot be tracked with patience {patience}, memory {memory}, similarity {similarity}, "
                f"alike {alike}, same {same} and cut {cut}.",
                remedy="Give frames, patience up to memory, shares up to 1 and a difference above 0.",
            )
        self.patience, self.memory = patience, memory
        self.similarity, self.alike, self.same = similarity, alike, same
        self.cut = cut
        self._tracks: list[_Track] = []
        self._identities = count()
        self._thumbnail: Tensor | None = None

    @classmethod
    def for_video(cls, fps: float) -> FaceTracker:
        """The tracker for a frame rate: a patience of half a second, a memory of five; of 25 frames where unknown.

        Args:
            fps: Frames a second; NaN where unknown.
        """
        rate = valid_rate(fps)
        return cls(**{name: max(1, round(seconds * rate)) for name, seconds in _SECONDS.items()})

    @property
    def active(self) -> int:
        """How many tracks are kept."""
        return len(self._tracks)

    def update(
        self, faces: Sequence[Face], frame: Tensor | None = None, *, is_cut: bool | None = None
    ) -> list[int]:
        """Take the next frame.

        Args:
            faces: Its faces; none where it could not be read.
            frame: uint8 [3, H, W], to see looks and scene cuts in; without it, only places count.
            is_cut: The answer of `is_cut` for this frame, if it was asked already.

        Returns:
            The identity of each face.
        """
        if is_cut if is_cut is not None else frame is not None and self.is_cut(frame):
            for track in self._tracks:
                track.box = None
        looks = [_UNKNOWN if frame is None else face_look(frame, face) for face in faces]
        found: dict[int, _Track] = {}
        taken: set[int] = set()
        for _, identity, k, track in sorted(self._pairs(faces, looks), key=lambda pair: pair[:3]):
            if k not in found and identity not in taken:
                found[k] = track
                taken.add(identity)
        for k in sorted(range(len(faces)), key=lambda k: faces[k].box[:2]):
            if k not in found:
                found[k] = _Track(next(self._identities), None, looks[k])
                self._tracks.append(found[k])
        for track in self._tracks:
            track.missed += 1
        for k, track in found.items():
            track.box, track.missed = faces[k].box, 0
            if frame is not None:
                track.look = looks[k]
        self._tracks = [track for track in self._tracks if track.missed <= self.memory]
        return [found[k].identity for k in range(len(faces))]

    def _pairs(self, faces: Sequence[Face], looks: Sequence[Tensor]) -> list[tuple[float, int, int, _Track]]:
        """Each pair of face and track that may belong together: (what sorts first, identity, face, track)."""
        if not faces or not self._tracks:
            return []
        known = torch.stack([track.look for track in self._tracks])
        likeness = look_similarity(torch.stack(list(looks)), known).tolist()
        pairs = []
        for column, track in enumerate(self._tracks):
            for k, face in enumerate(faces):
                place, look = 0.0, likeness[k][column]
                if track.box is not None and track.missed <= self.patience:
                    place = face_similarity(track.box, face.box)
                near = place >= self.similarity and not look < self.alike  # NaN is no objection
                if near or look >= self.same:
                    pairs.append((-place - (0.0 if isnan(look) else look), track.identity, k, track))
        return pairs

    def is_cut(self, frame: Tensor) -> bool:
        """Whether a frame differs much from the one of the last call.

        Args:
            frame: uint8 [3, H, W].
        """
        before = self._thumbnail
        step_y, step_x = (max(1, side // _SAMPLED) for side in frame.shape[1:])
        sampled = frame[:, ::step_y, ::step_x].float()
        self._thumbnail = F.adaptive_avg_pool2d(sampled[None], _THUMBNAIL)[0].cpu()
        return (
            before is not None and float(torch.dist(self._thumbnail, before, p=1)) > self.cut * before.numel()
        )
