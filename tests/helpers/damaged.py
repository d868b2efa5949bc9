"""Media that are damaged in many ways, the same ones for the same seed."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np

KINDS = ("truncated", "flipped", "suffix", "empty", "huge")
VIDEOS = {
    "mp4": "libx264",
    "mkv": "libx264",
    "avi": "mpeg4",
    "mov": "mpeg4",
    "webm": "libvpx",
    "ts": "libx264",
}


def video(kind: str, frames: int = 24) -> bytes:
    """A small video of moving noise."""
    import av

    rng = np.random.default_rng(0)
    file = io.BytesIO()
    container_format = {"mkv": "matroska", "ts": "mpegts"}.get(kind, kind)
    with av.open(file, "w", format=container_format) as container:
        stream = container.add_stream(VIDEOS[kind], rate=25, options={"g": "8"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        picture = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        for k in range(frames):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.roll(picture, 3 * k, 1), format="rgb24"))
            )
        container.mux(stream.encode())
    return file.getvalue()


def photo(kind: str) -> bytes:
    from PIL import Image

    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def sound_media() -> dict[str, bytes]:
    """Undamaged media by suffix."""
    media = {f".{kind}": video(kind) for kind in VIDEOS}
    return media | {".png": photo("png"), ".jpg": photo("jpeg"), ".bmp": photo("bmp"), ".webp": photo("webp")}


def damage(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write so many damaged files; kind of damage and number are in their names."""
    folder.mkdir(parents=True, exist_ok=True)
    media = sound_media()
    suffixes = sorted(media)
    paths = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        kind = KINDS[number % len(KINDS)]
        suffix = suffixes[number // len(KINDS) % len(suffixes)]
        data = media[suffix]
        if kind == "truncated":
            data = data[: int(rng.integers(1, len(data)))]
        elif kind == "flipped":
            data = flip(data, int(rng.choice([1, 8, 64, 512])), rng)
        elif kind == "empty":
            data = b"" if rng.random() < 0.5 else bytes(len(data))
        elif kind == "huge":
            data = inflate(data, suffix, rng)
        shown = str(rng.choice([s for s in suffixes if s != suffix])) if kind == "suffix" else suffix
        path = folder / f"{number:03d}_{kind}_{suffix[1:]}{shown}"
        path.write_bytes(data)
        paths.append(path)
    return paths


def flip(data: bytes, bits: int, rng: np.random.Generator) -> bytes:
    flipped = np.frombuffer(data, np.uint8).copy()
    for place, bit in zip(rng.integers(0, len(data), bits), rng.integers(0, 8, bits), strict=True):
        flipped[place] ^= 1 << bit
    return flipped.tobytes()


def inflate(data: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    """Let a file announce a size that it does not have: of the picture, of a table, or of a part of the file."""
    if suffix == ".png":  # width and height, with the right checksum
        size = int(rng.choice([12_000, 60_000, 2**31 - 1]))
        head = b"IHDR" + struct.pack(">II", size, size) + data[24:29]
        return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    places = {
        ".jpg": [(b"\xff\xc0", 5, b"\xff\xff\xff\xff")],  # height and width
        ".bmp": [(b"BM", 18, b"\x00\x00\x01\x00\x00\x00\x01\x00"), (b"BM", 2, b"\xff\xff\xff\x7f")],
        ".webp": [(b"VP8 ", 14, b"\xff\x3f\xff\x3f"), (b"RIFF", 4, b"\xff\xff\xff\x7f")],
        ".avi": [
            (b"avih", 24, b"\xff\xff\xff\x7f"),  # frames
            (b"strf", 12, b"\xff\xff\x00\x00\xff\xff\x00\x00"),
            (b"movi", -4, b"\xff\xff\xff\x7f"),
        ],
        ".mkv": [
            (b"\xb0\x81", 1, b"\x84\x7f\xff\xff"),
            (b"\x1f\x43\xb6\x75", 4, b"\x01\xff\xff\xff\xff\xff\xff"),
        ],
        ".ts": [(b"\x47", 188, b"\x00" * 188)],
    }
    places[".webm"] = places[".mkv"]
    isomedia = [
        (b"stsz", 12, b"\x7f\xff\xff\xff"),  # entries of tables
        (b"stts", 12, b"\x7f\xff\xff\xff"),
        (b"stco", 8, b"\x7f\xff\xff\xff"),
        (b"mdhd", 20, b"\x7f\xff\xff\xff"),  # duration
        (b"avc1", 28, b"\xff\xff\xff\xff"),  # width and height
        (b"mdat", -4, b"\x7f\xff\xff\xff"),
        (b"moov", -4, b"\x7f\xff\xff\xff"),
    ]
    options = places.get(suffix, isomedia)
    mark, offset, value = options[int(rng.integers(len(options)))]
    place = max(0, data.find(mark)) + offset
    return data[:place] + value + data[place + len(value) :]
