"""Files of face crops, cut from the frames of a corpus."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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

_BLOCK: Final = 256 * 2**20  # bytes of frames in memory
_FEW: Final = 8  # frames per call of a detector


def encode(picture: Tensor, codec: Codec, quality: int) -> bytes:
    """Compress a picture, uint8 [3, H, W]; "png" is lossless, "jpeg" and "webp" have a quality of 1 to 100."""
    from PIL import Image

    options = {"compress_level": 3} if codec == "png" else {"quality": quality}
    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, format=codec, **options)
    return file.getvalue()


class Piece(NamedTuple):
    """Frames of one recording, read with the dataset's clip number `record`."""

    record: int
    clip: str
    frames: tuple[int, ...]


class _Located(NamedTuple):
    """A frame and the transform of the face in it, or reasons why there is none."""

    number: int
    frame: Tensor | str
    place: Tensor | str
    points: tuple[Tensor, Tensor] | None
    reason: str | None


def _fill_gaps(stream: Iterable[_Located], reach: int) -> Iterator[_Located]:
    """Give frames without a face the place of the nearest frame with one, at most `reach` frames away."""
    last: _Located | None = None
    waiting: list[_Located] = []

    def settle(item: _Located, following: _Located | None) -> _Located:
        known = [other for other in (last, following) if other and abs(other.number - item.number) <= reach]
        if not known or isinstance(item.frame, str):
            return item
        nearest = min(known, key=lambda other: abs(other.number - item.number))
        return item._replace(place=nearest.place, reason=f"{item.reason}; placed as frame {nearest.number}")

    for item in stream:
        if isinstance(item.place, Tensor):
            yield from (settle(early, item) for early in waiting)
            yield item
            last, waiting = item, []
        else:
            waiting.append(item)
            while item.number - waiting[0].number > reach:
                yield settle(waiting.pop(0), None)
    yield from (settle(late, None) for late in waiting)


@dataclass(frozen=True)
class ShardMaker:
    """Makes files of crops; see `prepare` for the arguments. `digest` identifies plan and settings in the files."""

    dataset: AffectDataset
    cropper: Cropper
    codec: Codec
    quality: int
    fill: int
    folder: Folder
    digest: str

    def __call__(self, number: int, pieces: Sequence[Piece]) -> Shard:
        """Write file `number` and describe it."""
        rows = [row for piece in pieces for row in self._make_rows(piece)]
        shard, content = pack_shard(number, rows, plan=self.digest)
        self.folder.write(shard.name, content)
        return shard

    def _make_rows(self, piece: Piece) -> Iterator[dict[str, Any]]:
        record = self.dataset.clips[piece.record]
        for index, frame, place, points, reason in _fill_gaps(
            self._find_frames(record, piece.frames), self.fill
        ):
            row: dict[str, Any] = dict.fromkeys(("image", "landmarks", "landmarks_mask", "transform"))
            row["success"] = isinstance(frame, Tensor) and isinstance(place, Tensor)
            if isinstance(frame, Tensor) and isinstance(place, Tensor):
                row["image"] = encode(self.cropper.cut(frame, place), self.codec, self.quality)
                row["transform"] = place.flatten().tolist()
                if points is not None:
                    moved = transform_points(points[0].float(), place)
                    row["landmarks"] = torch.where(points[1][:, None], moved, 0.0).flatten().tolist()
                    row["landmarks_mask"] = points[1].tolist()
            media = self.dataset.media_name(record)
            row |= {
                "corpus": self.dataset.name,
                "subject": record.subject,
                "clip": piece.clip,
                "media": media,
            }
            yield {**row, "frame": index, "reason": reason}

    def _find_frames(self, record: ClipRecord, indices: Sequence[int]) -> Iterator[_Located]:
        """Read frames in blocks that fit into memory, and find the face in each."""
        one_place = self.dataset.align_per == "clip" and self.cropper.aligns
        place = self._find_onset_place(record, indices) if one_place else None
        step = 1
        while indices:
            block, indices = indices[:step], indices[step:]
            frames, points = self._load_frames(record, block), self._load_landmarks(record, block)
            places = self._find_faces(frames, points) if place is None else [place] * len(frames)
            for position, (index, frame, found) in enumerate(zip(block, frames, places, strict=True)):
                own = (points[0][position], points[1][position]) if isinstance(points, tuple) else None
                reason = next((item for item in (frame, found) if isinstance(item, str)), None)
                yield _Located(index, frame, found, own, reason)
            if isinstance(frames[0], Tensor):
                step = max(step, _BLOCK // frames[0].numel())

    def _load_frames(self, record: ClipRecord, indices: Sequence[int]) -> list[Tensor | str]:
        try:
            return [*self.dataset.load(record, indices)]
        except VideoError as error:
            if len(indices) == 1:
                return [error.fault]
            middle = len(indices) // 2
            return self._load_frames(record, indices[:middle]) + self._load_frames(record, indices[middle:])

    def _load_landmarks(
        self, record: ClipRecord, indices: Sequence[int]
    ) -> tuple[Tensor, Tensor] | str | None:
        try:
            points = self.dataset.landmarks(record, indices)
        except AnnotationError as error:
            return error.fault
        if points is None:
            return None
        mask = points[1] & points[0].isfinite().all(-1)
        return torch.where(mask[..., None], points[0], 0.0), mask

    def _find_faces(
        self, frames: Sequence[Tensor | str], points: tuple[Tensor, Tensor] | str | None
    ) -> list[Tensor | str]:
        """Place of the face in each frame, or the reason why there is none."""
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

    def _find_onset_place(self, record: ClipRecord, indices: Sequence[int]) -> Tensor | str:
        """Place of the face in the onset, or in the next frame with a face."""
        onset = record.start if record.onset is None else record.onset
        place: Tensor | str = "unread"
        for index in sorted(indices, key=lambda index: (index < onset, index)):
            frames, points = self._load_frames(record, [index]), self._load_landmarks(record, [index])
            place = self._find_faces(frames, points)[0]
            if isinstance(place, Tensor):
                break
        return place
