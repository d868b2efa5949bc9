"""Write rendered clips: H.264 video or folders of PNG files."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["write_frames", "write_video"]

# One thread, so that the bytes do not depend on the number of cores. No look-ahead and no redistribution of bits:
# with these, x264 encoded the last block of small frames differently about once in a thousand clips.
_REPEATABLE = {
    "preset": "veryfast",
    "bf": "0",
    "x264-params": "threads=1:rc-lookahead=0:mbtree=0:weightp=0:scenecut=0:trellis=0:aq-mode=0",
}


def write_video(
    path: Path,
    images: Iterable[npt.NDArray[np.uint8]],
    *,
    fps: float,
    quality: int = 18,
    codec: Literal["libx264", "mpeg4"] = "libx264",
) -> None:
    """Encode a clip.

    Args:
        path: File to write or replace; its suffix chooses the container.
        images: uint8 [T, H, W, 3], RGB, H and W even.
        fps: Frames per second.
        quality: Constant rate factor of libx264, 0 (lossless) to 51; 18 is visually lossless.
        codec: Encoder.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        if codec == "libx264":
            stream.options = {"crf": str(quality), **_REPEATABLE}
        else:
            stream.bit_rate = 4_000_000
        for number, image in enumerate(images):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            # `encode` converts too, but with different bytes once in a hundred clips.
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_frames(folder: Path, images: npt.NDArray[np.uint8]) -> None:
    """Write a clip, uint8 [T, H, W, 3] in RGB, to a new folder as `000001.png`, `000002.png`, ..."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number, image in enumerate(images, start=1):
        Image.fromarray(image).save(folder / f"{number:06d}.png")
