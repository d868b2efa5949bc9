"""Identities of faces from frame to frame."""

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

__all__ = ["FaceTracker", "appearance_similarity", "face_appearance", "face_similarity", "valid_rate"]

Box = tuple[float, float, float, float]

_PICTURE: Final = FacePicture(size=16, crop_margin=0.3)  # hair and collar differ more than facial features
_AXIS: Final = torch.arange(16.0)
_GRID: Final = torch.cartesian_prod(_AXIS, _AXIS).flip(-1)  # [256, 2], (x, y) row by row
_ELLIPSE: Final = ((_GRID - 7.5) / 8).square().sum(-1) <= 1
_UNKNOWN: Final = torch.zeros(4, 256)  # appearance of an invisible face
_SHARED: Final = 0.25  # share of the ellipse that two appearances must have in common to be compared
_THUMBNAIL: Final = 12  # side of the thumbnails that show scene cuts, in pixels
_SAMPLED: Final = 96  # side of the pictures that thumbnails are made from
_SECONDS: Final = {"patience": 0.5, "memory": 5.0}


@dataclass(slots=True)
class _Track:
    """A person seen recently."""

    identity: int
    box: Box | None  # None after a scene cut
    appearance: Tensor
    missed: int = 0


def face_similarity(one: Box, other: Box) -> float:
    """Compare two boxes (left, top, width, height) in place and size.

    The result is `(1 − d / s) · min(a, b) / max(a, b)`, clipped to 0 to 1, where d is the distance between the centres,
    a and b are the square roots of the areas, and s is their mean.

    Example:
        >>> face_similarity((0, 0, 10, 10), (5, 0, 10, 10))
        0.5
    """
    (x, y, w, h), (left, top, width, height) = one, other
    distance = ((x + w / 2 - left - width / 2) ** 2 + (y + h / 2 - top - height / 2) ** 2) ** 0.5
    a, b = (w * h) ** 0.5, (width * height) ** 0.5
    return float(max(0.0, 1 - 2 * distance / (a + b)) * min(a, b) / max(a, b))


def face_appearance(frame: Tensor, face: Face) -> Tensor:
    """Describe a face by its aligned picture of 16 pixels, an ellipse with hair and collar.

    Args:
        frame: uint8 [3, H, W].
        face: A face of the frame.

    Returns:
        float32 [4, 256]: red, green and blue, 0 to 255, and 1 for pixels inside the ellipse and the frame, else 0.
    """
    try:
        picture = align_face(frame, face, _PICTURE).float().cpu()
    except AnnotationError:  # not visible
        return _UNKNOWN
    height, width = frame.shape[1:]
    matrix = picture_transform(face, _PICTURE)
    places = (_GRID - matrix[:, 2]) @ torch.linalg.inv(matrix[:, :2]).T
    inside = ((places >= 0) & (places <= torch.tensor([width - 1.0, height - 1.0]))).all(-1)
    return torch.cat([picture.flatten(1), (inside & _ELLIPSE).float()[None]])


def appearance_similarity(appearances: Tensor, others: Tensor) -> Tensor:
    """Correlate all pairs of appearances over the pixels that both have; brightness and contrast have no effect.

    Args:
        appearances: float32 [N, 4, 256], from `face_appearance`.
        others: float32 [M, 4, 256].

    Returns:
        float64 [N, M], -1 to 1; NaN for pairs with too few common pixels or without contrast.
    """
    (a, m), (b, k) = (_masked(part) for part in (appearances, others))
    count, sum_a, sum_b = m @ k.T, a @ k.T, m @ b.T
    common = a @ b.T - sum_a * sum_b / count
    spread_a = (a * a) @ k.T - sum_a.square() / count
    spread_b = m @ (b * b).T - sum_b.square() / count
    known = (count >= 3 * _SHARED * _ELLIPSE.sum()) & (torch.minimum(spread_a, spread_b) > count)
    return torch.where(known, common / (spread_a * spread_b).sqrt(), torch.nan)


def _masked(appearances: Tensor) -> tuple[Tensor, Tensor]:
    """Values, 0 if unknown, and the mask of known ones: float64 [N, 768] each."""
    known = appearances[:, 3:].expand(-1, 3, -1).flatten(1).double()
    return appearances[:, :3].flatten(1).double() * known, known


def valid_rate(fps: float) -> float:
    """Return a frame rate, or 25 if it is unknown (NaN, infinite, 0 or less)."""
    return fps if isfinite(fps) and fps > 0 else 25.0


class FaceTracker:
    """Assign identities to faces that persist from frame to frame.

    A face continues the track with the most similar last face, in place (`face_similarity`) and in appearance
    (`appearance_similarity`); pairs with the greatest sum are matched first. A track seen within the last `patience`
    frames matches a face that is near and not dissimilar. A track seen within the last `memory` frames also matches a
    face anywhere that is very similar, so a person who was hidden, turned away or out of the picture for a short while
    gets the same identity back. Other faces start new tracks. Places before a scene cut are ignored; a cut is a frame
    that differs from the previous one by more than `cut` on average when both are blurred.

    Identities count from 0 in order of appearance, and from left to right within a frame. People are not recognised:
    a person who returns later, or looks different, gets a new identity. A track takes four kilobytes and is dropped
    after `memory` frames.

    Args:
        patience: Frames for which a missing face is matched by place.
        memory: Frames for which a missing face is matched by appearance.
        similarity: Minimum `face_similarity` of a near face.
        alike: Minimum `appearance_similarity` of a near face, if it is known.
        same: Minimum `appearance_similarity` of a face anywhere.
        cut: Difference from which a frame is a scene cut, 0 to 255.

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
                f"The patience {patience}, memory {memory}, similarity {similarity}, alike {alike}, same {same} or "
                f"cut {cut} is out of range.",
                remedy="Give a patience from 0 to memory, similarities up to 1 with alike <= same, and a cut above 0.",
            )
        self.patience, self.memory = patience, memory
        self.similarity, self.alike, self.same = similarity, alike, same
        self.cut = cut
        self._tracks: list[_Track] = []
        self._identities = count()
        self._thumbnail: Tensor | None = None

    @classmethod
    def for_video(cls, fps: float) -> FaceTracker:
        """Make a tracker with a patience of half a second and a memory of five seconds.

        Args:
            fps: Frames per second; 25 is assumed if it is NaN.
        """
        rate = valid_rate(fps)
        return cls(**{name: max(1, round(seconds * rate)) for name, seconds in _SECONDS.items()})

    @property
    def active(self) -> int:
        """Number of tracks in memory."""
        return len(self._tracks)

    def update(
        self, faces: Sequence[Face], frame: Tensor | None = None, *, is_cut: bool | None = None
    ) -> list[int]:
        """Assign identities to the faces of the next frame.

        Args:
            faces: The faces; none if the frame cannot be read.
            frame: uint8 [3, H, W], for appearances and scene cuts; without it, only places are compared.
            is_cut: Result of `is_cut` for this frame, if it was called already.

        Returns:
            The identity of each face.
        """
        if is_cut if is_cut is not None else frame is not None and self.is_cut(frame):
            for track in self._tracks:
                track.box = None
        appearances = [_UNKNOWN if frame is None else face_appearance(frame, face) for face in faces]
        found: dict[int, _Track] = {}
        taken: set[int] = set()
        for _, identity, k, track in sorted(self._pairs(faces, appearances), key=lambda pair: pair[:3]):
            if k not in found and identity not in taken:
                found[k] = track
                taken.add(identity)
        for k in sorted(range(len(faces)), key=lambda k: faces[k].box[:2]):
            if k not in found:
                found[k] = _Track(next(self._identities), None, appearances[k])
                self._tracks.append(found[k])
        for track in self._tracks:
            track.missed += 1
        for k, track in found.items():
            track.box, track.missed = faces[k].box, 0
            if frame is not None:
                track.appearance = appearances[k]
        self._tracks = [track for track in self._tracks if track.missed <= self.memory]
        return [found[k].identity for k in range(len(faces))]

    def _pairs(
        self, faces: Sequence[Face], appearances: Sequence[Tensor]
    ) -> list[tuple[float, int, int, _Track]]:
        """Matching pairs of face and track: (negative similarity, identity, index of the face, track)."""
        if not faces or not self._tracks:
            return []
        known = torch.stack([track.appearance for track in self._tracks])
        similarities = appearance_similarity(torch.stack(list(appearances)), known).tolist()
        pairs = []
        for column, track in enumerate(self._tracks):
            for k, face in enumerate(faces):
                place, appearance = 0.0, similarities[k][column]
                if track.box is not None and track.missed <= self.patience:
                    place = face_similarity(track.box, face.box)
                is_near = place >= self.similarity and not appearance < self.alike  # also if it is NaN
                if is_near or appearance >= self.same:
                    total = place + (0.0 if isnan(appearance) else appearance)
                    pairs.append((-total, track.identity, k, track))
        return pairs

    def is_cut(self, frame: Tensor) -> bool:
        """Whether a frame starts a new scene: it differs much from the frame of the previous call.

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
