"""HEIF photos as phones write them: a grid of HEVC tiles, turned and mirrored."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np

GRID = 1  # number of the item; the tiles follow


def box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full(kind: bytes, version: int, flags: int, *contents: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *contents)


def encode(tile: np.ndarray) -> tuple[bytes, bytes]:
    """The decoder's configuration and the data of one picture."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(
            "libx265", rate=25, options={"x265-params": "log-level=none:qp=4:bframes=0"}
        )
        stream.height, stream.width, stream.pix_fmt = *tile.shape[:2], "yuv444p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(tile, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        packet = next(container.demux(video=0))
        return bytes(container.streams.video[0].codec_context.extradata), bytes(packet)


def write_heif(
    path: Path,
    image: np.ndarray,
    *,
    tile: int = 64,
    turns: int = 0,
    mirror: int | None = None,
    crop: tuple[int, int] | None = None,
    brand: bytes = b"heic",
    kind: bytes = b"grid",
    wide: bool = False,
    size: tuple[int, int] | None = None,
    tiles: int | None = None,
) -> Path:
    """Write a picture.

    Args:
        path: File.
        image: What the tiles hold; its last rows and columns are repeated to fill them.
        tile: Their side; a picture of this size is one item without a grid.
        turns: Quarter turns counterclockwise at which it is shown (`irot`).
        mirror: Axis (`imir`): 0 swaps top and bottom, 1 left and right.
        crop: Width and height of the middle that is shown (`clap`).
        brand: Of the file.
        kind: Coding of the primary item where it is a grid.
        wide: Use boxes with the wider numbers that the format allows.
        size: Width and height that the grid announces.
        tiles: How many of the tiles are listed.
    """
    height, width = image.shape[:2]
    rows, columns = -(-height // tile), -(-width // tile)
    padding = ((0, rows * tile - height), (0, columns * tile - width), (0, 0))
    padded = np.pad(image, padding, mode="edge")
    parts = [
        encode(np.ascontiguousarray(padded[y : y + tile, x : x + tile]))
        for y in range(0, rows * tile, tile)
        for x in range(0, columns * tile, tile)
    ]
    single = len(parts) == 1
    items = [GRID] if single else list(range(GRID, GRID + 1 + len(parts)))[1:]
    number = ">I" if wide else ">H"
    kinds = [(item, b"hvc1") for item in items] + ([] if single else [(GRID, kind)])
    infe = [
        full(b"infe", 3 if wide else 2, 0, struct.pack(number + "H4s", item, 0, name), b"\0")
        for item, name in kinds
    ]
    announced = size or (width, height)
    grid = struct.pack(">BBBB", 0, wide, rows - 1, columns - 1) + struct.pack(
        ">II" if wide else ">HH", *announced
    )
    properties = [box(b"hvcC", parts[0][0])]
    properties += [full(b"ispe", 0, 0, struct.pack(">II", *side)) for side in ((tile, tile), announced)]
    if crop is not None:
        properties.append(box(b"clap", struct.pack(">8i", crop[0], 1, crop[1], 1, 0, 1, 0, 1)))
    properties.append(box(b"irot", bytes([turns])))
    if mirror is not None:
        properties.append(box(b"imir", bytes([mirror])))
    shown = list(range(3, len(properties) + 1))
    of_items = [(item, [1, 2]) for item in items if not single] + [(GRID, [1, *shown] if single else shown)]
    index = ">H" if wide else ">B"
    ipma = [
        struct.pack(number + "B", item, len(indices)) + b"".join(struct.pack(index, k) for k in indices)
        for item, indices in of_items
    ]
    listed = items[:tiles]
    dimg = box(
        b"dimg", struct.pack(number + "H", GRID, len(listed)), *(struct.pack(number, k) for k in listed)
    )

    def meta(start: int) -> bytes:
        places, at = [], start
        for item, (_, data) in zip(items, parts, strict=True):
            places.append(struct.pack(number + "HHHII", item, 0, 0, 1, at, len(data)))
            at += len(data)
        if not single:
            places.append(struct.pack(number + "HHHII", GRID, 1, 0, 1, 0, len(grid)))
        contents = [
            full(b"hdlr", 0, 0, bytes(4), b"pict", bytes(13)),
            full(b"pitm", int(wide), 0, struct.pack(number, GRID)),
            full(b"iinf", int(wide), 0, struct.pack(number, len(infe)), *infe),
            *([] if single else [full(b"iref", int(wide), 0, dimg)]),
            box(
                b"iprp",
                box(b"ipco", *properties),
                full(b"ipma", int(wide), int(wide), struct.pack(">I", len(ipma)), *ipma),
            ),
            *([] if single else [box(b"idat", grid)]),
            full(b"iloc", 2 if wide else 1, 0, b"\x44\0", struct.pack(number, len(places)), *places),
        ]
        return full(b"meta", 0, 0, *contents)

    head = box(b"ftyp", brand, bytes(4), b"mif1", brand)
    start = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(start) + box(b"mdat", *(data for _, data in parts)))
    return path
