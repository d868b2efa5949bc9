"""Prepared crops: encoded pictures of faces with landmarks, in Arrow files that other programs open as well.

A folder, on disk or in any store that pyarrow reaches by a URI, holds

- `shards/00000.arrow`, …: Arrow IPC files with a row a frame: `corpus`, `subject`, `clip`, `media` (path of the
  original below the corpus's root), `frame` (its position there, from 0), `image` (an encoded picture), `landmarks`
  (x0, y0, …, x67, y67 in pixels of the picture), `landmarks_mask`, `transform` (the matrix [2, 3], row by row, from
  pixels of the original to those of the picture), `success`, and `reason` where a frame could not be read or shows no
  face: it has a row too, without a picture, unless it takes the place of a neighbour;
- `manifest.json`: the settings, and rows, bytes, sha256 and clips of every shard. It is written last, so a folder
  without it is unfinished.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from affectkit.data.storage import Folder
from affectkit.errors import DatasetNotFoundError, VideoError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "FORMAT_VERSION",
    "CropShards",
    "Manifest",
    "Shard",
    "load_shard",
    "pack_shard",
    "read_failures",
    "shard_name",
    "shard_schema",
]

FORMAT_VERSION: Final = 1
BATCH_ROWS: Final = 64
"""Rows that are fetched together where files are not local."""
_OPEN: Final = 32  # shards kept open at once: some systems allow no more than 256 open files
_REMEDY: Final = "Delete the file and run `affectkit data prepare` again, it makes only what is missing."


@dataclass(frozen=True)
class Shard:
    """What a manifest says about one file.

    Args:
        name: Place of the file in the folder.
        rows: Frames it holds.
        failed: Those of them without a picture.
        bytes: Size of the file.
        sha256: Of its content.
        clips: Frames `start` to `stop - 1` of a clip, `(clip, start, stop)`, in the order of its rows.
    """

    name: str
    rows: int
    failed: int
    bytes: int
    sha256: str
    clips: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Manifest:
    """What a finished folder holds.

    Args:
        corpus: Name of the corpus.
        settings: What the crops were made with, plain values.
        plan: Digest of the settings and of the frames asked for.
        shards: Every file.
    """

    corpus: str
    settings: dict[str, Any]
    plan: str
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """Frames in all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def failed(self) -> int:
        """Frames without a picture."""
        return sum(shard.failed for shard in self.shards)

    def to_json(self) -> bytes:
        """The content of `manifest.json`."""
        content = {"format_version": FORMAT_VERSION, "rows": self.rows, "failed": self.failed, **asdict(self)}
        return json.dumps(content).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """The inverse of `to_json`.

        Raises:
            ValueError: It is not such a content.
        """
        try:
            known = json.loads(content)
            if known["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format {known['format_version']!r}")
            shards = [
                Shard(
                    name=str(item["name"]),
                    sha256=str(item["sha256"]),
                    clips=tuple((str(clip), int(start), int(stop)) for clip, start, stop in item["clips"]),
                    **{name: int(item[name]) for name in ("rows", "failed", "bytes")},
                )
                for item in known["shards"]
            ]
            if any(shard.name != shard_name(number) for number, shard in enumerate(shards)):
                raise ValueError("shards with other names")
            return cls(str(known["corpus"]), dict(known["settings"]), str(known["plan"]), tuple(shards))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def shard_name(number: int) -> str:
    """Place of a shard in its folder."""
    return f"shards/{number:05d}.arrow"


def shard_schema(metadata: dict[str, str] | None = None) -> pa.Schema:
    """The columns of a shard."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("corpus", pa.string(), nullable=False),
            pa.field("subject", pa.string()),
            pa.field("clip", pa.string(), nullable=False),
            pa.field("media", pa.string(), nullable=False),
            pa.field("frame", pa.int32(), nullable=False),
            pa.field("image", pa.binary()),
            pa.field("landmarks", pa.list_(pa.float32(), 136)),
            pa.field("landmarks_mask", pa.list_(pa.bool_(), 68)),
            pa.field("transform", pa.list_(pa.float32(), 6)),
            pa.field("success", pa.bool_(), nullable=False),
            pa.field("reason", pa.string()),
        ],
        metadata=metadata,
    )


def pack_shard(number: int, rows: Sequence[dict[str, Any]], *, plan: str) -> tuple[Shard, memoryview]:
    """Make the content of a shard; the same rows give the same bytes.

    Args:
        number: Its place among the shards.
        rows: Values by column, see `shard_schema`.
        plan: Digest of what all shards are made of, kept in the file.

    Returns:
        What a manifest says of it, and its content.
    """
    import pyarrow as pa

    schema = shard_schema({"affectkit": json.dumps({"format_version": FORMAT_VERSION, "plan": plan})})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        for first in range(0, len(rows), BATCH_ROWS):
            writer.write_batch(pa.RecordBatch.from_pylist(rows[first : first + BATCH_ROWS], schema=schema))
    content = memoryview(sink.getvalue())
    return _describe(number, content, [(row["clip"], row["frame"], row["success"]) for row in rows]), content


def load_shard(folder: Folder, number: int) -> tuple[Shard, str] | None:
    """Look at a shard that is there, whether a manifest names it or not.

    Returns:
        What a manifest says of it, and the digest of its plan; None where there is none or it is damaged.
    """
    import pyarrow as pa

    content = folder.read(shard_name(number))
    if content is None:
        return None
    try:
        table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        plan = str(json.loads(table.schema.metadata[b"affectkit"])["plan"])
        names = ("clip", "frame", "success")
        rows = list(zip(*(table[name].to_pylist() for name in names), strict=True))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return _describe(number, memoryview(content), rows), plan


def read_failures(folder: Folder, shard: Shard) -> list[tuple[str, int, str]]:
    """Clip, frame and reason of the rows without a picture."""
    import pyarrow as pa

    with folder.open(shard.name) as file:
        table = pa.ipc.open_file(file).read_all()
        rows = zip(*(table[name].to_pylist() for name in ("clip", "frame", "reason", "success")), strict=True)
        return [(clip, frame, reason) for clip, frame, reason, success in rows if not success]


def _describe(number: int, content: memoryview, rows: Sequence[tuple[str, int, bool]]) -> Shard:
    clips: list[tuple[str, int, int]] = []
    for clip, frame, _ in rows:
        if clips and clips[-1][0] == clip and clips[-1][2] == frame:
            clips[-1] = (clip, clips[-1][1], frame + 1)
        else:
            clips.append((clip, frame, frame + 1))
    return Shard(
        name=shard_name(number),
        rows=len(rows),
        failed=sum(not success for _, _, success in rows),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        clips=tuple(clips),
    )


class CropShards:
    """Reads prepared crops. Files are opened by each process for itself, when it first needs them.

    Args:
        location: The folder, a path or a URI (see `Folder`).

    Raises:
        DatasetNotFoundError: There is no manifest: nothing was prepared there, or not all of it.
        VideoError: The manifest cannot be read, or a shard is missing or of another size.
    """

    def __init__(self, location: str | Path) -> None:
        self.folder = Folder(location)
        content = self.folder.read("manifest.json")
        if content is None:
            remedy = "Run `affectkit data prepare` with this folder; it goes on where it stopped."
            fault = "There are no prepared crops here, or their preparation is unfinished."
            raise DatasetNotFoundError(fault, path=self.folder.location, remedy=remedy)
        try:
            self.manifest = Manifest.from_json(content)
        except ValueError as error:
            place = self.folder.place("manifest.json")
            raise VideoError(f"The manifest cannot be read ({error}).", path=place, remedy=_REMEDY) from error
        sizes = self.folder.sizes([shard.name for shard in self.manifest.shards])
        for shard, size in zip(self.manifest.shards, sizes, strict=True):
            if size != shard.bytes:
                there = "it is missing" if size is None else f"it has {size}"
                raise self._damaged(shard, f"It should have {shard.bytes} bytes, {there}.")
        self._runs: dict[str, list[tuple[int, int, int, int]]] = {}
        for number, shard in enumerate(self.manifest.shards):
            row = 0
            for clip, start, stop in shard.clips:
                self._runs.setdefault(clip, []).append((start, stop, number, row))
                row += stop - start
        for runs in self._runs.values():
            runs.sort()
        self._readers: dict[int, pa.RecordBatchFileReader] = {}
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}}

    def verify(self) -> None:
        """Compare the content of every shard with its checksum.

        Raises:
            VideoError: One differs.
        """
        for shard in self.manifest.shards:
            content = self.folder.read(shard.name)
            if content is None or hashlib.sha256(content).hexdigest() != shard.sha256:
                raise self._damaged(shard, "Its content differs from its checksum in the manifest.")

    def stop(self, clip: str) -> int:
        """One past the last frame of a clip.

        Raises:
            VideoError: The clip was not prepared.
        """
        return self._of(clip)[-1][1]

    def media(self, clip: str) -> str:
        """The original of a clip, relative to the root of its corpus."""
        start = self._of(clip)[0][0]
        return next(str(batch["media"][row].as_py()) for _, batch, row in self._rows(clip, [start]))

    def read(self, clip: str, frames: Sequence[int]) -> Tensor:
        """Decode crops.

        Args:
            clip: Its key.
            frames: T positions in the original, at least one.

        Returns:
            uint8 [T, 3, H, W], RGB.

        Raises:
            VideoError: A frame was not prepared or could not be, a shard is damaged, or sizes differ.
        """
        result = torch.empty(0)
        for place, batch, row in self._rows(clip, frames):
            if not batch["success"][row].as_py():
                raise VideoError(
                    f"There is no crop of this frame of '{clip}': {batch['reason'][row].as_py()}.",
                    path=self.folder.location,
                    frame=frames[place],
                    remedy="Mend it and run `affectkit data prepare --retry`, or skip such clips with on_error.",
                )
            image = self._decode(batch["image"][row].as_buffer(), clip, frames[place])
            if len(result) == 0:
                result = torch.empty((len(frames), *image.shape), dtype=torch.uint8)
            if result.shape[1:] != image.shape:
                fault = f"The crops of '{clip}' differ in size."
                remedy = "Prepare the corpus with another --crop."
                raise VideoError(fault, path=self.folder.location, frame=frames[place], remedy=remedy)
            result[place] = image
        return result

    def landmarks(self, clip: str, frames: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Landmarks in pixels of the crops, float [T, 68, 2], and their mask bool [T, 68]; masked where unknown."""
        points, mask = torch.zeros(len(frames), 68, 2), torch.zeros(len(frames), 68, dtype=torch.bool)
        for place, batch, row in self._rows(clip, frames):
            if batch["landmarks"][row].is_valid:
                points[place] = torch.tensor(batch["landmarks"][row].as_py()).view(68, 2)
                mask[place] = torch.tensor(batch["landmarks_mask"][row].as_py())
        return points, mask

    def _of(self, clip: str) -> list[tuple[int, int, int, int]]:
        if clip not in self._runs:
            remedy = "Prepare the corpus as it is now, into another folder."
            raise VideoError(f"There are no crops of '{clip}'.", path=self.folder.location, remedy=remedy)
        return self._runs[clip]

    def _rows(self, clip: str, frames: Sequence[int]) -> Iterator[tuple[int, pa.RecordBatch, int]]:
        """The place of each frame in `frames`, its batch and its row there."""
        runs = self._of(clip)
        known: tuple[int, int] | None = None
        for place, frame in enumerate(frames):
            run = bisect_right(runs, frame, key=lambda run: run[0]) - 1
            if run < 0 or frame >= runs[run][1]:
                remedy = "Prepare the corpus as it is now, into another folder."
                fault = f"There is no crop of this frame of '{clip}'."
                raise VideoError(fault, path=self.folder.location, frame=frame, remedy=remedy)
            start, _, number, first = runs[run]
            index, row = divmod(first + frame - start, BATCH_ROWS)
            if known != (number, index):
                batch, known = self._batch(number, index), (number, index)
            if row >= len(batch) or (batch["clip"][row].as_py(), batch["frame"][row].as_py()) != (
                clip,
                frame,
            ):
                raise self._damaged(self.manifest.shards[number], f"Its rows are not those of '{clip}'.")
            yield place, batch, row

    def _batch(self, number: int, index: int) -> pa.RecordBatch:
        import pyarrow as pa

        if self._process != os.getpid():  # forked: handles of other file systems do not survive that
            self._readers, self._process = {}, os.getpid()
        shard = self.manifest.shards[number]
        try:
            if number not in self._readers:
                if len(self._readers) >= _OPEN:
                    del self._readers[next(iter(self._readers))]
                self._readers[number] = pa.ipc.open_file(self.folder.open(shard.name))
            batch = self._readers[number].get_batch(index)
            batch.validate(full=True)  # offsets of a damaged file would lead out of it
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged(shard, f"It cannot be read ({error}).") from error
        if batch.schema != shard_schema():
            raise self._damaged(shard, "Its columns are not those of a shard.")
        return batch

    def _decode(self, data: pa.Buffer, clip: str, frame: int) -> Tensor:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data)) as image:
                return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise VideoError(
                f"The crop of this frame of '{clip}' is damaged ({error}).",
                path=self.folder.location,
                frame=frame,
                remedy="`affectkit data prepare --verify` names the damaged file.",
            ) from error

    def _damaged(self, shard: Shard, fault: str) -> VideoError:
        return VideoError(fault, path=self.folder.place(shard.name), remedy=_REMEDY)
