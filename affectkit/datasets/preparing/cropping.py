"""Where the face is in the frames of a corpus, and the files of pictures that are cut out there."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.data.align import align_frames, five_points, transform_points
from affectkit.data.faces import Face, FaceDetector, box_transform, face_transform, largest_face
from affectkit.data.record import ClipRecord
from affectkit.data.shards import Shard, pack_shard
from affectkit.data.storage import Folder
from affectkit.datasets.bases.dataset import AffectDataset
from affectkit.errors import AnnotationError, ConfigError, VideoError

__all__ = ["Codec", "Cropper", "Piece", "ShardMaker", "encode"]

Codec = Literal["jpeg", "png", "webp"]

_BLOCK: Final = 256 * 2**20  # bytes of frames that are held at once
_FEW: Final = 8  # frames that a detector gets at once
_BOX: Final = re.compile(r"\d+(,\d+){3}", re.ASCII)


@dataclass(frozen=True)
class Cropper:
    """Chooses the place of the face in each frame, and cuts it out.

    Args:
        crop: "landmarks" of the corpus, "detect" (by the detector), "auto" (landmarks where a frame has them, else the
            detector); or the same place in all frames: "center", the centred square, "x,y,w,h", a box in pixels,
            "none", the whole frame, made smaller where its shorter side is longer than `size`.
        size: Pixels of the pictures' sides.
        margin: What is added around the tight picture of a face, as a share of its side, at each side.
        detector: Finds faces.

    Raises:
        ConfigError: There is no such crop, or it needs a detector.
    """

    crop: str
    size: int
    margin: float
    detector: FaceDetector | None = None

    def __post_init__(self) -> None:
        words = ("auto", "landmarks", "detect", "center", "none")
        box = _BOX.fullmatch(self.crop) and min(self._box[2:]) > 0
        if self.crop not in words and not box:
            remedy = f"Use one of {', '.join(words)}, or x,y,w,h in pixels."
            raise ConfigError(f"The crop {self.crop!r} cannot be read.", remedy=remedy)
        if self.size < 1 or not 0 <= self.margin < 10:
            fault = f"Pictures of size {self.size} with margin {self.margin} cannot be made."
            raise ConfigError(fault, remedy="Give a size from 1 on and a margin from 0 on, below 10.")
        if self.crop == "detect" and self.detector is None:
            raise ConfigError("There is no face detector.", remedy="Give one, or choose another --crop.")

    @property
    def aligns(self) -> bool:
        """Whether the place depends on the face."""
        return self.crop in ("auto", "landmarks", "detect")

    def find(self, frames: Tensor, points: tuple[Tensor, Tensor] | None) -> list[Tensor | str]:
        """Find the place in each frame.

        Args:
            frames: uint8 [T, 3, H, W].
            points: Landmarks of the frames, float [T, 68, 2], and their mask bool [T, 68], if the corpus has them.

        Returns:
            For each frame the matrix float [2, 3] from its pixels to those of the picture, or why there is none.
        """
        if not self.aligns:
            return [self._fixed(*frames.shape[-2:])] * len(frames)
        places: list[Tensor | str] = ["no landmarks"] * len(frames)
        if points is not None and self.crop != "detect":
            places = [self._by_points(*pair) for pair in zip(*points, strict=True)]
        left = [place for place, found in enumerate(places) if isinstance(found, str)]
        if left and self.detector is not None and self.crop != "landmarks":
            for place, faces in zip(left, self.detector(frames[left]), strict=True):
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
            matrix: float [2, 3], as `find` gives it.

        Returns:
            uint8 [3, size, size]; of another height and width where the crop is "none".
        """
        if self.crop != "none":
            return align_frames(frame[None], matrix, self.size)[0]
        height, width = frame.shape[-2:]
        goal = _shrunk(height, width, self.size)
        if goal == (height, width):
            return frame
        return F.interpolate(frame[None], goal, mode="bilinear", antialias=True)[0]

    @property
    def _box(self) -> tuple[int, int, int, int]:
        x, y, w, h = map(int, self.crop.split(","))
        return x, y, w, h

    def _fixed(self, height: int, width: int) -> Tensor | str:
        if self.crop == "none":
            return box_transform((0, 0, width, height), _shrunk(height, width, self.size))
        if self.crop == "center":
            side = min(height, width)
            return box_transform(((width - side) // 2, (height - side) // 2, side, side), self.size)
        x, y, w, h = self._box
        if x + w > width or y + h > height:
            return f"the crop {self.crop} reaches beyond the frame of {width} by {height} pixels"
        return box_transform((x, y, w, h), self.size)

    def _by_face(self, face: Face) -> Tensor | str:
        if face.points is None:
            return box_transform(face.box, self.size, margin=self.margin)
        try:
            return face_transform(face.points.cpu().float(), self.size, margin=self.margin)
        except AnnotationError as error:  # all at one place
            return error.fault

    def _by_points(self, points: Tensor, mask: Tensor) -> Tensor | str:
        known = five_points(mask[:, None].expand(-1, 2).float())[:, 0] == 1
        if known.sum() < 3:
            return "no landmarks"
        try:
            return face_transform(five_points(points.float()), self.size, margin=self.margin, mask=known)
        except AnnotationError:  # all at one place
            return "no landmarks"


def _shrunk(height: int, width: int, size: int) -> tuple[int, int]:
    shorter = min(height, width)
    if shorter <= size:
        return height, width
    return max(1, round(height * size / shorter)), max(1, round(width * size / shorter))


def encode(picture: Tensor, codec: Codec, quality: int) -> bytes:
    """Compress a picture.

    Args:
        picture: uint8 [3, H, W], RGB.
        codec: "png" keeps every value; "jpeg" and "webp" come close.
        quality: 1 to 100, of "jpeg" and "webp".
    """
    from PIL import Image

    options = {"compress_level": 3} if codec == "png" else {"quality": quality}
    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, format=codec, **options)
    return file.getvalue()


class Piece(NamedTuple):
    """Frames of one recording; `record` is the place among the dataset's clips of one that they are read with."""

    record: int
    clip: str
    frames: tuple[int, ...]


class _Found(NamedTuple):
    """A frame and the place of the face in it, or why there is none."""

    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here
    frame: Tensor | str
    place: Tensor | str
    points: tuple[Tensor, Tensor] | None
    reason: str | None


def _fill(stream: Iterable[_Found], reach: int) -> Iterator[_Found]:
    """Take the place of the nearest frame that has one, at most `reach` frames away, where a frame has none."""
    last: _Found | None = None
    waiting: list[_Found] = []

    def settle(item: _Found, following: _Found | None) -> _Found:
        known = [other for other in (last, following) if other and abs(other.index - item.index) <= reach]
        if not known or isinstance(item.frame, str):
            return item
        nearest = min(known, key=lambda other: abs(other.index - item.index))
        return item._replace(place=nearest.place, reason=f"{item.reason}; placed as frame {nearest.index}")

    for item in stream:
        if isinstance(item.place, Tensor):
            yield from (settle(early, item) for early in waiting)
            yield item
            last, waiting = item, []
        else:
            waiting.append(item)
            while item.index - waiting[0].index > reach:
                yield settle(waiting.pop(0), None)
    yield from (settle(late, None) for late in waiting)


class ShardMaker:
    """Makes files of prepared crops, each out of the frames of some pieces.

    Args:
        dataset: Reads the frames and knows their landmarks.
        cropper: Finds the faces.
        codec: How pictures are compressed.
        quality: 1 to 100, of "jpeg" and "webp".
        fill: How far the nearest frame with a face may be, whose place a frame without one takes.
        folder: Where the files go.
        digest: Names what all the files are made of.
    """

    def __init__(
        self,
        dataset: AffectDataset,
        cropper: Cropper,
        codec: Codec,
        quality: int,
        fill: int,
        folder: Folder,
        digest: str,
    ) -> None:
        self.dataset = dataset
        self.cropper = cropper
        self.codec: Codec = codec
        self.quality = quality
        self.fill = fill
        self.folder = folder
        self.digest = digest

    def __call__(self, number: int, pieces: Sequence[Piece]) -> Shard:
        """Write the file and describe it."""
        rows = [row for piece in pieces for row in self._rows(piece)]
        shard, content = pack_shard(number, rows, plan=self.digest)
        self.folder.write(shard.name, content)
        return shard

    def _rows(self, piece: Piece) -> Iterator[dict[str, Any]]:
        record = self.dataset.clips[piece.record]
        for index, frame, place, points, reason in _fill(self._search(record, piece.frames), self.fill):
            row = dict.fromkeys(("image", "landmarks", "landmarks_mask", "transform"))
            success = isinstance(frame, Tensor) and isinstance(place, Tensor)
            if isinstance(frame, Tensor) and isinstance(place, Tensor):
                row["image"] = encode(self.cropper.cut(frame, place), self.codec, self.quality)
                row["transform"] = place.flatten().tolist()
                if points is not None:
                    moved = transform_points(points[0].float(), place)
                    row["landmarks"] = torch.where(points[1][:, None], moved, 0.0).flatten().tolist()
                    row["landmarks_mask"] = points[1].tolist()
            yield {
                **row,
                "corpus": self.dataset.name,
                "subject": record.subject,
                "clip": piece.clip,
                "media": self.dataset.media_name(record),
                "frame": index,
                "success": success,
                "reason": reason,
            }

    def _search(self, record: ClipRecord, indices: Sequence[int]) -> Iterator[_Found]:
        """Read frames and find the face in each."""
        one_place = self.dataset.align_per == "clip" and self.cropper.aligns
        place = self._onset_place(record, indices) if one_place else None
        for block, frames in self._blocks(record, indices):
            points = self._landmarks(record, block)
            places = self._places(frames, points) if place is None else [place] * len(frames)
            for position, (index, frame, found) in enumerate(zip(block, frames, places, strict=True)):
                own = (points[0][position], points[1][position]) if isinstance(points, tuple) else None
                reason = next((item for item in (frame, found) if isinstance(item, str)), None)
                yield _Found(index, frame, found, own, reason)

    def _blocks(
        self, record: ClipRecord, indices: Sequence[int]
    ) -> Iterator[tuple[Sequence[int], list[Tensor | str]]]:
        """Read frames, as many at once as fit into memory, or say why one cannot be read."""
        step = 1
        while indices:
            block, indices = indices[:step], indices[step:]
            frames = self._load(record, block)
            yield block, frames
            step = max(
                [step, *(_BLOCK // frame.numel() for frame in frames[:1] if isinstance(frame, Tensor))]
            )

    def _load(self, record: ClipRecord, indices: Sequence[int]) -> list[Tensor | str]:
        try:
            return [*self.dataset.load(record, indices)]
        except VideoError as error:
            if len(indices) == 1:
                return [error.fault]
            middle = len(indices) // 2
            return self._load(record, indices[:middle]) + self._load(record, indices[middle:])

    def _landmarks(self, record: ClipRecord, indices: Sequence[int]) -> tuple[Tensor, Tensor] | str | None:
        try:
            points = self.dataset.landmarks(record, indices)
        except AnnotationError as error:
            return error.fault
        if points is None:
            return None
        mask = points[1] & points[0].isfinite().all(-1)
        return torch.where(mask[..., None], points[0], 0.0), mask

    def _places(
        self, frames: Sequence[Tensor | str], points: tuple[Tensor, Tensor] | str | None
    ) -> list[Tensor | str]:
        """Where the face is in each frame, or why it is not known."""
        places: list[Tensor | str] = ["unread"] * len(frames)
        there = [place for place, frame in enumerate(frames) if isinstance(frame, Tensor)]
        for _, group in groupby(there, key=lambda place: frames[place].shape):  # type: ignore[union-attr]
            alike = list(group)
            for few in (alike[first : first + _FEW] for first in range(0, len(alike), _FEW)):
                stack = torch.stack([frame for place in few if isinstance(frame := frames[place], Tensor)])
                own = (points[0][few], points[1][few]) if isinstance(points, tuple) else None
                for place, found in zip(few, self.cropper.find(stack, own), strict=True):
                    places[place] = points if isinstance(found, str) and isinstance(points, str) else found
        return places

    def _onset_place(self, record: ClipRecord, indices: Sequence[int]) -> Tensor | str:
        """The place in the onset; in the next frame that shows a face, where the onset does not."""
        onset = record.start if record.onset is None else record.onset
        place: Tensor | str = "unread"
        for index in sorted(indices, key=lambda index: (index < onset, index)):
            frames, points = self._load(record, [index]), self._landmarks(record, [index])
            place = self._places(frames, points)[0]
            if isinstance(place, Tensor):
                break
        return place
