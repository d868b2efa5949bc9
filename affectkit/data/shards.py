"""Prepared crops: encoded face pictures with landmarks, in Arrow files that other programs can open.

A folder, local or in any store that pyarrow reaches by a URI, holds

- `shards/00000.arrow`, …: Arrow IPC files with one row per frame: `corpus`, `subject`, `clip`, `media` (path of the
  original below the root of the corpus), `frame` (position there, from 0), `image` (encoded picture), `landmarks`
  (x0, y0, …, x67, y67 in pixels of the picture), `landmarks_mask`, `transform` (matrix [2, 3], row by row, from
  original to picture pixels), `success`, and `reason` if the frame is unreadable or shows no face. Such a row
  has no picture, unless a neighbouring frame replaces it;
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
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
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
"""Rows that are fetched together from remote files."""
_OPEN: Final = 32  # shards kept open at once: some systems limit open files to 256
_KEPT: Final = 8  # batches kept in memory: media, landmarks and frames of a clip are read one after the other
_REMEDY: Final = "Delete the file and run `affectkit data prepare` again; it makes only missing files."
_CHANGED: Final = "Prepare the current state of the corpus into another folder."


@dataclass(frozen=True)
class Shard:
    """Manifest entry of one file.

    Args:
        name: File name below the folder.
        rows: Number of frames.
        failed: Number of frames without a picture.
        bytes: File size.
        sha256: Checksum of the content.
        clips: Frames `start` to `stop - 1` of each clip, `(clip, start, stop)`, in row order.
    """

    name: str
    rows: int
    failed: int
    bytes: int
    sha256: str
    clips: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Manifest:
    """Content of a finished folder.

    Args:
        corpus: Name of the corpus.
        settings: Settings of the crops, plain values.
        plan: Digest of the settings and the requested frames.
        shards: All files.
    """

    corpus: str
    settings: dict[str, Any]
    plan: str
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """Number of frames in all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def failed(self) -> int:
        """Number of frames without a picture."""
        return sum(shard.failed for shard in self.shards)

    def to_json(self) -> bytes:
        """Serialise to the content of `manifest.json`."""
        content = {"format_version": FORMAT_VERSION, "rows": self.rows, "failed": self.failed, **asdict(self)}
        return json.dumps(content).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """Parse the content of `manifest.json`.

        Raises:
            ValueError: The content is not a manifest.
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
    """Return the file name of a shard."""
    return f"shards/{number:05d}.arrow"


def shard_schema(metadata: dict[str, str] | None = None) -> pa.Schema:
    """Return the columns of a shard."""
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
    """Serialise a shard deterministically.

    Args:
        number: Index of the shard.
        rows: Values by column, see `shard_schema`.
        plan: Digest of the plan, stored in the file.

    Returns:
        Manifest entry and content.
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
    """Describe a shard on disk, whether a manifest lists it or not.

    Returns:
        Manifest entry and digest of the plan, or None if the file is absent or damaged.
    """
    import pyarrow as pa

    content = folder.read(shard_name(number))
    if content is None:
        return None
    try:
        table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        plan = str(json.loads(table.schema.metadata[b"affectkit"])["plan"])
        rows = _columns(table, "clip", "frame", "success")
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return _describe(number, memoryview(content), rows), plan


def read_failures(folder: Folder, shard: Shard) -> list[tuple[str, int, str]]:
    """Return clip, frame and reason of the rows without a picture."""
    import pyarrow as pa

    with folder.open(shard.name) as file:
        rows = _columns(pa.ipc.open_file(file).read_all(), "clip", "frame", "reason", "success")
    return [(clip, frame, reason) for clip, frame, reason, success in rows if not success]


def _columns(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def _describe(number: int, content: memoryview, rows: Sequence[tuple[Any, ...]]) -> Shard:
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


def _decode(content: bytes) -> NDArray[np.uint8]:
    """Decode a picture to uint8 [H, W, 3], RGB.

    Complete JPEG pictures go to OpenCV, which returns Pillow's pixels in two thirds of the time. PNG does not: where
    decord was loaded first, its zlib replaces OpenCV's, and OpenCV fails.
    """
    import cv2
    from PIL import Image

    if content.startswith(b"\xff\xd8\xff") and content.endswith(b"\xff\xd9"):
        with suppress(cv2.error):  # an impossible size: Pillow explains it
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
            if image is not None:
                return np.asarray(image, np.uint8)
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


class CropShards:
    """Reader of prepared crops; each process opens files when it first needs them.

    Args:
        location: Folder, a path or a URI (see `Folder`).

    Raises:
        DatasetNotFoundError: There is no manifest: the preparation has not run or is unfinished.
        VideoError: The manifest cannot be read, or a shard is missing or has another size.
        StorageError: The folder cannot be reached or read.
    """

    def __init__(self, location: str | Path) -> None:
        self.folder = Folder(location)
        content = self.folder.read("manifest.json")
        if content is None:
            remedy = "Run `affectkit data prepare` with this folder; it continues where it stopped."
            fault = "There are no prepared crops here, or their preparation is unfinished."
            raise DatasetNotFoundError(fault, path=self.folder.location, remedy=remedy)
        try:
            self.manifest = Manifest.from_json(content)
        except ValueError as error:
            raise self._damaged("manifest.json", f"The manifest cannot be read ({error}).") from error
        sizes = self.folder.sizes([shard.name for shard in self.manifest.shards])
        self._runs: dict[str, list[tuple[int, int, int, int]]] = {}
        for number, (shard, size) in enumerate(zip(self.manifest.shards, sizes, strict=True)):
            if size != shard.bytes:
                actual = "it is missing" if size is None else f"it has {size}"
                raise self._damaged(shard.name, f"It should have {shard.bytes} bytes, {actual}.")
            row = 0
            for clip, start, stop in shard.clips:
                self._runs.setdefault(clip, []).append((start, stop, number, row))
                row += stop - start
        for runs in self._runs.values():
            runs.sort()
        self._readers: dict[int, pa.RecordBatchFileReader] = {}
        # By shard and index, the latest last: rows, and clip and frame of each.
        self._batches: dict[tuple[int, int], tuple[pa.RecordBatch, list[tuple[str, int]]]] = {}
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}, "_batches": {}}

    def verify(self) -> None:
        """Compare the content of every shard with its checksum.

        Raises:
            VideoError: A checksum differs.
        """
        for shard in self.manifest.shards:
            content = self.folder.read(shard.name)
            if content is None or hashlib.sha256(content).hexdigest() != shard.sha256:
                raise self._damaged(shard.name, "Its content differs from its checksum in the manifest.")

    def stop(self, clip: str) -> int:
        """Return one past the last frame of a clip.

        Raises:
            VideoError: The clip was not prepared.
        """
        return self._runs_of(clip)[-1][1]

    def media(self, clip: str) -> str:
        """Return the original of a clip, relative to the root of its corpus."""
        start = self._runs_of(clip)[0][0]
        return next(str(batch["media"][row].as_py()) for _, batch, row in self._find_rows(clip, [start]))

    def read(self, clip: str, frames: Sequence[int]) -> Tensor:
        """Decode crops.

        Args:
            clip: Key of the clip.
            frames: T positions in the original, at least one.

        Returns:
            uint8 [T, 3, H, W], RGB.

        Raises:
            VideoError: A frame was not prepared or failed, a shard is damaged, or sizes differ.
        """
        import cv2
        from PIL import Image

        result: NDArray[np.uint8] = np.empty(0, np.uint8)
        for place, batch, row in self._find_rows(clip, frames):
            fault_at = partial(VideoError, path=self.folder.location, frame=frames[place])
            if not batch["success"][row].as_py():
                raise fault_at(
                    f"There is no crop of this frame of '{clip}': {batch['reason'][row].as_py()}.",
                    remedy="Repair it and run `affectkit data prepare --retry`, or skip such clips with on_error.",
                )
            try:
                image = _decode(batch["image"][row].as_py() or b"")
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise fault_at(
                    f"The crop of this frame of '{clip}' is damaged ({error}).",
                    remedy="`affectkit data prepare --verify` names the damaged file.",
                ) from error
            shape = (3, *image.shape[:2])
            if len(result) == 0:
                result = np.empty((len(frames), *shape), np.uint8)
            if result.shape[1:] != shape:
                raise fault_at(
                    f"The crops of '{clip}' differ in size.", remedy="Prepare the corpus with another --crop."
                )
            cv2.split(image, list(result[place]))  # faster than a copy with another order of axes
        return torch.from_numpy(result)

    def landmarks(self, clip: str, frames: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return landmarks in pixels of the crops, float [T, 68, 2], and their mask, bool [T, 68]."""
        points, mask = torch.zeros(len(frames), 68, 2), torch.zeros(len(frames), 68, dtype=torch.bool)
        for place, batch, row in self._find_rows(clip, frames):
            if batch["landmarks"][row].is_valid:
                points[place] = torch.tensor(batch["landmarks"][row].as_py()).view(68, 2)
                mask[place] = torch.tensor(batch["landmarks_mask"][row].as_py())
        return points, mask

    def _runs_of(self, clip: str) -> list[tuple[int, int, int, int]]:
        if clip not in self._runs:
            fault = f"There are no crops of '{clip}'."
            raise VideoError(fault, path=self.folder.location, remedy=_CHANGED)
        return self._runs[clip]

    def _find_rows(self, clip: str, frames: Sequence[int]) -> Iterator[tuple[int, pa.RecordBatch, int]]:
        """Index of each frame in `frames`, its batch, and its row in the batch."""
        runs = self._runs_of(clip)
        for place, frame in enumerate(frames):
            run = bisect_right(runs, frame, key=lambda run: run[0]) - 1
            if run < 0 or frame >= runs[run][1]:
                fault = f"There is no crop of this frame of '{clip}'."
                raise VideoError(fault, path=self.folder.location, frame=frame, remedy=_CHANGED)
            start, _, number, first = runs[run]
            index, row = divmod(first + frame - start, BATCH_ROWS)
            batch, keys = self._batch(number, index)
            if row >= len(keys) or keys[row] != (clip, frame):
                raise self._damaged(shard_name(number), f"Its rows are not those of '{clip}'.")
            yield place, batch, row

    def _batch(self, number: int, index: int) -> tuple[pa.RecordBatch, list[tuple[str, int]]]:
        """One batch of a shard with clip and frame of its rows, fetched unless it is among the latest ones."""
        if self._process != os.getpid():  # file handles of some systems do not survive a fork
            self._readers, self._batches, self._process = {}, {}, os.getpid()
        found = self._batches.pop((number, index), None)
        if found is None:
            batch = self._fetch(number, index)
            found = batch, list(zip(batch["clip"].to_pylist(), batch["frame"].to_pylist(), strict=True))
        self._batches[number, index] = found
        if len(self._batches) > _KEPT:
            del self._batches[next(iter(self._batches))]
        return found

    def _fetch(self, number: int, index: int) -> pa.RecordBatch:
        import pyarrow as pa

        name = shard_name(number)
        try:
            if number not in self._readers:
                if len(self._readers) >= _OPEN:
                    del self._readers[next(iter(self._readers))]
                self._readers[number] = pa.ipc.open_file(self.folder.open(name))
            batch = self._readers[number].get_batch(index)
            batch.validate(full=True)  # damaged offsets could point outside the file
        except (pa.ArrowException, OSError, ValueError) as error:
            self.folder.sizes([name])  # raises the error of a storage that cannot be reached
            raise self._damaged(name, f"It cannot be read ({error}).") from error
        if batch.schema != shard_schema():
            raise self._damaged(name, "Its columns are not those of a shard.")
        return batch

    def _damaged(self, name: str, fault: str) -> VideoError:
        return VideoError(fault, path=self.folder.place(name), remedy=_REMEDY)
