"""HEIF photos (HEIC), which phones store as a grid of tiles."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import VideoError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["read_heif"]


class _Bytes(io.BytesIO):
    """Content of a box."""

    def number(self, size: int) -> int:
        """Read an unsigned number of `size` bytes."""
        data = self.read(size)
        if len(data) < size:
            raise EOFError
        return int.from_bytes(data)

    def boxes(self) -> Iterator[tuple[bytes, bytes]]:
        """Read the following boxes as type and content."""
        while head := self.read(8):
            size, kind = int.from_bytes(head[:4]), head[4:]
            size = self.number(8) - 16 if size == 1 else size - 8
            content = self.read() if size == -8 else self.read(max(0, size))
            yield kind, content


class _File:
    """Items of a HEIF file.

    Attributes:
        primary: Item of the photo.
        kinds: Coding of each item, such as b"hvc1" or b"grid".
        tiles: Items of each grid, row by row.
        properties: Properties of each item in order, as type and content.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        meta = _Bytes(dict(_Bytes(data).boxes())[b"meta"])
        meta.seek(4)
        boxes = dict(meta.boxes())
        self._inside = boxes.get(b"idat", b"")
        version, box = _open(boxes[b"pitm"])
        self.primary = box.number(4 if version else 2)
        self.kinds: dict[int, bytes] = {}
        version, box = _open(boxes[b"iinf"])
        box.number(4 if version else 2)
        for _, content in box.boxes():
            version, entry = _open(content)
            item = entry.number(4 if version == 3 else 2)
            entry.number(2)
            self.kinds[item] = entry.read(4)
        self.tiles: dict[int, list[int]] = {}
        version, box = _open(boxes.get(b"iref", bytes(4)))
        size = 4 if version else 2
        for kind, content in box.boxes():
            entry = _Bytes(content)
            item = entry.number(size)
            if kind == b"dimg":  # the item is derived from these
                self.tiles[item] = [entry.number(size) for _ in range(entry.number(2))]
        self.properties: dict[int, list[tuple[bytes, bytes]]] = {}
        known: list[tuple[bytes, bytes]] = []
        for kind, content in _Bytes(boxes[b"iprp"]).boxes():
            if kind == b"ipco":
                known = list(_Bytes(content).boxes())
            elif kind == b"ipma":
                version, entry = _open(content)
                wide = content[3] & 1
                for _ in range(entry.number(4)):
                    item = entry.number(4 if version else 2)
                    # The highest bit marks an essential property.
                    indices = [
                        entry.number(1 + wide) % (0x8000 if wide else 0x80) for _ in range(entry.number(1))
                    ]
                    self.properties[item] = [known[index - 1] for index in indices if index]
        self._places: dict[int, tuple[bool, list[tuple[int, int]]]] = {}
        version, box = _open(boxes[b"iloc"])
        sizes = box.number(2)
        offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        for _ in range(box.number(4 if version == 2 else 2)):
            item = box.number(4 if version == 2 else 2)
            inside = version > 0 and box.number(2) & 15 == 1
            box.number(2)
            base, extents = box.number(base_size), []
            for _ in range(box.number(2)):
                box.number(index_size if version else 0)
                extents.append((base + box.number(offset_size), box.number(length_size)))
            self._places[item] = inside, extents

    def content(self, item: int) -> bytes:
        """Bytes of an item."""
        inside, extents = self._places[item]
        source = self._inside if inside else self._data
        if any(start + size > len(source) for start, size in extents):
            raise EOFError
        return b"".join(source[start : start + size if size else None] for start, size in extents)


def _open(content: bytes) -> tuple[int, _Bytes]:
    """Version and content of a box with a version and flags."""
    box = _Bytes(content)
    return box.number(4) >> 24, box


def read_heif(path: Path) -> Image.Image:
    """Read the photo of a HEIF file for display: tiles joined, cropped, turned and mirrored.

    Raises `VideoError` if the file is damaged or has an unsupported coding, and Pillow's `DecompressionBombError`.
    """
    import av
    from PIL import Image

    try:
        file = _File(path.read_bytes())
        kind = file.kinds[file.primary]
        if kind not in (b"grid", b"hvc1"):
            raise VideoError(
                f"HEIF pictures of type '{kind.decode('latin-1')}' are not supported.",
                remedy="Save it as JPEG.",
            )
        pixels = _join(file) if kind == b"grid" else _decode(file, file.primary)
        for name, content in file.properties[file.primary]:
            pixels = _transform(pixels, name, content)
        if pixels.size == 0:
            raise ValueError
    except (EOFError, IndexError, KeyError, ValueError, ZeroDivisionError, av.FFmpegError) as fault:
        raise VideoError("The HEIF file is damaged.", remedy="Obtain it again.") from fault
    return Image.fromarray(np.ascontiguousarray(pixels))


def _join(file: _File) -> NDArray[np.uint8]:
    """Decode the tiles of a grid into one picture."""
    from PIL import Image

    grid = _Bytes(file.content(file.primary))
    size = 4 if grid.number(2) & 1 else 2
    rows, columns = grid.number(1) + 1, grid.number(1) + 1
    width, height = grid.number(size), grid.number(size)
    if Image.MAX_IMAGE_PIXELS is not None and width * height > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    tiles = file.tiles[file.primary]
    first = _decode(file, tiles[0])
    tall, wide = first.shape[:2]
    spare = rows * tall - height, columns * wide - width
    if len(tiles) != rows * columns or not (0 <= spare[0] < tall and 0 <= spare[1] < wide):
        raise ValueError  # the tiles do not fill the picture
    pixels = np.empty((rows * tall, columns * wide, 3), np.uint8)
    for place, item in enumerate(tiles):
        row, column = divmod(place, columns)
        tile = first if place == 0 else _decode(file, item)
        pixels[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide] = tile
    return pixels[:height, :width]


def _decode(file: _File, item: int) -> NDArray[np.uint8]:
    import av

    decoder = av.CodecContext.create("hevc", "r")
    decoder.extradata = dict(file.properties[item])[b"hvcC"]
    decoder.thread_count = 1
    frame = (decoder.decode(av.Packet(file.content(item))) + decoder.decode(None))[0]
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _transform(pixels: NDArray[np.uint8], name: bytes, content: bytes) -> NDArray[np.uint8]:
    if name == b"irot":
        return np.rot90(pixels, content[0] & 3)
    if name == b"imir":
        return pixels[:, ::-1] if content[0] & 1 else pixels[::-1]
    if name == b"clap":
        numbers = np.frombuffer(content[:32], ">i4").tolist()
        width, height, right, down = (numbers[k] / numbers[k + 1] for k in (0, 2, 4, 6))
        left = round((pixels.shape[1] - width) / 2 + right)
        top = round((pixels.shape[0] - height) / 2 + down)
        return pixels[max(0, top) : top + round(height), max(0, left) : left + round(width)]
    return pixels
