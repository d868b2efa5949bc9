"""The files of pictures that are cut out of the frames of a corpus."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor

from affectkit.data.record import ClipRecord
from affectkit.data.shards import Shard, pack_shard
from affectkit.data.storage import Folder
from affectkit.datasets.bases.dataset import AffectDataset
from affectkit.errors import AnnotationError, VideoError
from affectkit.faces import Cropper, transform_points

__all__ = ["Codec", "Piece", "ShardMaker", "encode"]

Codec = Literal["jpeg", "png", "webp"]

_BLOCK: Final = 256 * 2**20  # bytes of frames that are held at once
_FEW: Final = 8  # frames that a detector gets at once


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
