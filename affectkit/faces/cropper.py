"""Face crops of a dataset's frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import AnnotationError, ConfigError
from affectkit.faces.align import FacePicture, box_transform, face_transform, picture_transform
from affectkit.faces.crop import Crop
from affectkit.faces.face import Face, FaceDetector, find_faces, largest_face
from affectkit.faces.geometry import align_frames, five_points

__all__ = ["ALIGNED", "Cropper"]

ALIGNED: Final = ("auto", "landmarks", "detect")
"""Crops that follow the face."""


@dataclass(frozen=True)
class Cropper:
    """Locate the face in each frame and cut it out.

    Args:
        crop: "landmarks" to use the dataset's landmarks, "detect" to use the detector, "auto" to use the detector only
            in frames without landmarks; or a fixed crop: "center" for the centred square, "x,y,w,h" for a box in
            pixels, "none" for the whole frame, reduced if its shorter side exceeds `size`.
        size: Side of the pictures in pixels.
        margin: Margin around the tight picture of a face at each side, as a share of its side.
        detector: The face detector, for "detect" and "auto".

    Raises:
        ConfigError: A setting is not valid, or "detect" has no detector.
    """

    crop: str
    size: int
    margin: float
    detector: FaceDetector | None = None

    def __post_init__(self) -> None:
        words = (*ALIGNED, "center", "none")
        if self.crop not in words:
            try:
                Crop.parse(self.crop)
            except ConfigError:
                remedy = f"Use one of {', '.join(words)}, or x,y,w,h in pixels."
                raise ConfigError(f"The crop {self.crop!r} cannot be read.", remedy=remedy) from None
        if self.size < 1 or not 0 <= self.margin < 10:
            fault = f"The picture size {self.size} or margin {self.margin} is out of range."
            raise ConfigError(fault, remedy="Give a size of 1 or more and a margin from 0 to 10.")
        if self.crop == "detect" and self.detector is None:
            raise ConfigError("There is no face detector.", remedy="Give one, or choose another --crop.")

    @property
    def aligns(self) -> bool:
        """Whether crops follow the face."""
        return self.crop in ALIGNED

    def find(self, frames: Tensor, points: tuple[Tensor, Tensor] | None) -> list[Tensor | str]:
        """Locate the picture in each frame.

        Args:
            frames: uint8 [T, 3, H, W].
            points: Landmarks, float [T, 68, 2], and their mask, bool [T, 68], if the dataset has them.

        Returns:
            For each frame, the matrix float [2, 3] from its pixels to those of the picture, or the reason why there is
            none.
        """
        if not self.aligns:
            return [self._fixed(*frames.shape[-2:])] * len(frames)
        places: list[Tensor | str] = ["no landmarks"] * len(frames)
        if points is not None and self.crop != "detect":
            places = [self._by_points(*pair) for pair in zip(*points, strict=True)]
        left = [place for place, found in enumerate(places) if isinstance(found, str)]
        if left and self.detector is not None and self.crop != "landmarks":
            for place, faces in zip(left, find_faces(self.detector, frames[left]), strict=True):
                face = largest_face(faces)
                if face is None:
                    places[place] = "no face"
                else:
                    places[place] = self._by_face(face)
        return places

    def cut(self, frame: Tensor, matrix: Tensor) -> Tensor:
        """Cut a picture out of a frame.

        Args:
            frame: uint8 [3, H, W].
            matrix: float [2, 3], from `find`.

        Returns:
            uint8 [3, size, size]; with the crop "none", height and width follow the frame.
        """
        if self.crop != "none":
            return align_frames(frame[None], matrix, self.size)[0]
        height, width = frame.shape[-2:]
        goal = _shrunk(height, width, self.size)
        if goal == (height, width):
            return frame
        return F.interpolate(frame[None], goal, mode="bilinear", antialias=True)[0]

    def _fixed(self, height: int, width: int) -> Tensor | str:
        if self.crop == "none":
            return box_transform((0, 0, width, height), _shrunk(height, width, self.size))
        try:
            left, top, side = Crop.parse(self.crop).square(height, width)
        except ConfigError as error:
            return error.fault
        return box_transform((left, top, side, side), self.size)

    def _by_face(self, face: Face) -> Tensor | str:
        try:
            return picture_transform(face, FacePicture(self.size, self.margin))
        except AnnotationError as error:
            return error.fault

    def _by_points(self, points: Tensor, mask: Tensor) -> Tensor | str:
        known = five_points(mask[:, None].expand(-1, 2).float())[:, 0] == 1
        if known.sum() < 3:
            return "no landmarks"
        try:
            return face_transform(five_points(points.float()), self.size, margin=self.margin, mask=known)
        except AnnotationError:  # coincident points
            return "no landmarks"


def _shrunk(height: int, width: int, size: int) -> tuple[int, int]:
    shorter = min(height, width)
    if shorter <= size:
        return height, width
    return max(1, round(height * size / shorter)), max(1, round(width * size / shorter))
