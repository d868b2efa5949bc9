"""Small videos whose frames carry their own number, as eight black or white blocks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

HEIGHT, WIDTH, BLOCK = 32, 64, 8


def picture(number: int) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), 60, dtype=np.uint8)
    image[..., 0] = np.linspace(20, 220, WIDTH)  # brighter red to the right: tells left from right
    for bit in range(8):
        image[8:16, bit * BLOCK : (bit + 1) * BLOCK] = 255 if number >> bit & 1 else 0
    return image


def number_of(frame: torch.Tensor) -> int:
    return sum(int(frame[:, 11, bit * BLOCK + 4].float().mean() > 128) << bit for bit in range(8))


def encode_video(
    path, *, frames=30, codec="libx264", options=None, fps=25, pts=None, pixels="yuv420p", mux=None
):
    import av

    with av.open(str(path), "w", options=mux or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for position in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(position), format="rgb24")
            frame.pts = position if pts is None else pts[position]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


KINDS = {
    # name: suffix, arguments
    "closed": (".mp4", {"options": {"x264-params": "keyint=10:scenecut=0"}}),
    "faststart": (".mp4", {"options": {"x264-params": "keyint=10"}, "mux": {"movflags": "faststart"}}),
    "matroska": (".mkv", {"options": {"x264-params": "keyint=10:bframes=0"}}),
    "variable": (
        ".mkv",
        {"options": {"x264-params": "keyint=10:bframes=0"}, "pts": [i + (i * i) // 20 for i in range(30)]},
    ),
    "intra": (".avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
    "gaps": (".avi", {"codec": "mpeg4", "pts": [i + i // 5 for i in range(30)]}),
    "one": (".mp4", {"frames": 1}),
    # Beyond decord: frames that depend on others across a key frame, and transport streams.
    "open": (
        ".mp4",
        {"options": {"x264-params": "keyint=10:open-gop=1:bframes=3:b-adapt=0:scenecut=0:b-pyramid=normal"}},
    ),
    "hevc": (".mp4", {"codec": "libx265", "options": {"x265-params": "keyint=10:log-level=none"}}),
    "mpeg4": (".avi", {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}}),
    "transport": (".ts", {"options": {"x264-params": "keyint=10"}}),
}


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Path of each kind of video, made once."""
    folder = tmp_path_factory.mktemp("videos")
    return {
        kind: encode_video(folder / f"{kind}{suffix}", **options) for kind, (suffix, options) in KINDS.items()
    }


@pytest.fixture
def damaged(videos, tmp_path):
    """Copies of a video with its end cut off or one frame overwritten."""

    def damage(kind: str, *, keep: float = 1.0, frame: int | None = None) -> Path:
        import av

        source = videos[kind]
        content = bytearray(source.read_bytes())
        if frame is not None:
            with av.open(str(source)) as container:
                packets = [packet for packet in container.demux(video=0) if packet.size]
            packet = sorted(packets, key=lambda packet: packet.pts)[frame]
            content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
        path = tmp_path / f"damaged-{source.name}"
        path.write_bytes(content[: int(keep * len(content))])
        return path

    return damage


@pytest.fixture
def copy_of(videos, tmp_path):
    def copy(kind: str, name: str) -> Path:
        return Path(shutil.copy(videos[kind], tmp_path / name))

    return copy


@pytest.fixture(scope="session")
def number():
    """Reads the number in a frame."""
    return number_of


@pytest.fixture(scope="session")
def write_video():
    return encode_video


@pytest.fixture(scope="session")
def draw_picture():
    return picture
