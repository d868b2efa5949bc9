"""Media of any kind as readers: paths, bytes, PIL pictures, arrays and tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affectkit.data.video import Backend, VideoReader, open_video
from affectkit.data.video.pictures import to_rgb
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    pass

__all__ = ["Picture", "as_list", "open_media"]

Picture = "str | Path | bytes | Image.Image | NDArray[np.uint8] | Tensor"
"""A photo or video: path, content of a file, PIL picture, uint8 array [H, W, 3] or tensor [3, H, W]."""


class _Photo(VideoReader):
    """One picture in memory."""

    def __init__(self, pixels: NDArray[np.uint8], name: str) -> None:
        self.path, self.num_frames, self.fps = Path(name), 1, float("nan")
        self.timestamps = np.zeros(1)
        self._pixels = pixels

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        yield from ((index, self._pixels) for index in indices)


def as_list(media: Any) -> list[Any] | None:
    """Several media as a list; None for a single one.

    An array or tensor with four axes is a batch of pictures.
    """
    if isinstance(media, (np.ndarray, Tensor)):
        return list(media) if media.ndim == 4 else None
    return list(media) if isinstance(media, (list, tuple)) else None


@contextmanager
def open_media(media: Any, backend: Backend = "auto", name: str = "picture") -> Iterator[VideoReader]:
    """Open one photo or video.

    Args:
        media: A path; `bytes`, the content of a file; a PIL picture; an array, uint8 [H, W, 3]; or a tensor, uint8
            [3, H, W]. RGB.
        backend: Reader of video files.
        name: Name of pictures in memory, for messages.

    Raises:
        ConfigError: The object is none of these.
        VideoError: The media cannot be read.

    Example:
        >>> with open_media(np.zeros((4, 6, 3), np.uint8)) as reader:
        ...     reader.read([0]).shape
        torch.Size([1, 3, 4, 6])
    """
    if isinstance(media, (str, Path)):
        with open_video(media, backend) as video:
            yield video
    elif isinstance(media, (bytes, bytearray, memoryview)):
        with TemporaryDirectory(prefix="affectkit-") as folder:
            path = Path(folder) / name
            path.write_bytes(media)
            with open_video(path, backend) as video:
                yield video
    else:
        yield _Photo(_pixels(media), name)


def _pixels(media: Any) -> NDArray[np.uint8]:
    """A picture as uint8 [H, W, 3]."""
    if isinstance(media, np.ndarray):
        shape, kind, is_last = media.shape, media.dtype, True
    elif isinstance(media, Tensor):
        shape, kind, is_last = tuple(media.shape), media.dtype, False
    else:
        from PIL import Image

        if isinstance(media, Image.Image):
            return to_rgb(media)
        raise ConfigError(
            f"A {type(media).__name__} is not a photo or video.",
            remedy="Give a path, the bytes of a file, a PIL picture, a NumPy array [H, W, 3] or a tensor [3, H, W].",
        )
    channels = shape[2 if is_last else 0] if len(shape) == 3 else 0
    if channels != 3 or kind not in (np.uint8, torch.uint8) or 0 in shape:
        wanted = (
            "A NumPy picture must be uint8 [H, W, 3]"
            if is_last
            else "A torch picture must be uint8 [3, H, W]"
        )
        raise ConfigError(
            f"{wanted}, not {kind} {list(shape)}.", remedy="Convert it; values range from 0 to 255, RGB."
        )
    if is_last:
        return np.ascontiguousarray(media)
    pixels: NDArray[np.uint8] = media.detach().cpu().permute(1, 2, 0).contiguous().numpy()
    return pixels
