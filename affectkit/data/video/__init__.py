"""One way to read frames, wherever they are: video files, image files, folders of images.

`open_video` chooses the reader; all of them number frames by presentation time from 0, return RGB, and raise
`VideoError`, naming file and frame, for whatever is wrong with the media, as far as the decoder says so: it
may repair a little damage in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from affectkit.data.video.reader import IMAGE_SUFFIXES, VideoReader
from affectkit.errors import ConfigError, VideoError

__all__ = ["IMAGE_SUFFIXES", "Backend", "VideoReader", "media_kind", "open_video"]

Backend = Literal["auto", "pyav", "decord"]


def open_video(path: str | Path, backend: Backend = "auto") -> VideoReader:
    """Open a video file, an image file (one frame), or a folder of images (one a frame, in numeric order).

    Args:
        path: The media.
        backend: Reader of video files. "auto" is "pyav", exact on every file that FFmpeg reads. "decord" may
            return a neighbouring frame, silently, from files whose frames depend on others across a key frame
            (open-GOP H.264, HEVC, MPEG-4 with B frames) and from MPEG transport streams.

    Raises:
        ConfigError: There is no such backend.
        VideoError: The media is missing, empty, damaged or not a video.
        MissingDependencyError: decord is asked for and not installed.

    Example:
        >>> from PIL import Image
        >>> folder = getfixture("tmp_path")
        >>> for number in (2, 10, 1):
        ...     Image.new("RGB", (8, 6), (number, 0, 0)).save(folder / f"img{number}.png")
        >>> with open_video(folder) as reader:
        ...     reader.read([0, 1, 2])[:, 0, 0, 0].tolist()
        [1, 2, 10]
    """
    if backend not in get_args(Backend):
        raise ConfigError(
            f"There is no video backend '{backend}'.", remedy=f"Use one of {get_args(Backend)}."
        )
    path = Path(path)
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        from affectkit.data.video.images import ImageReader

        return ImageReader(path)
    if not path.is_file():  # a pipe or a device would block
        raise VideoError("There is no such file.", path=path, remedy="Check the path.")
    if backend == "decord":
        from affectkit.data.video.decord import DecordReader

        return DecordReader(path)
    from affectkit.data.video.pyav import PyAVReader

    return PyAVReader(path)


def media_kind(path: str | Path) -> Literal["image", "video"] | None:
    """Tell a photo from a video by content, without decoding; None for any other file.

    Args:
        path: A file.
    """
    from PIL import Image

    from affectkit.data.video.index import open_container

    try:
        with Image.open(path):
            return "image"
    except (OSError, SyntaxError, ValueError):
        pass
    try:
        open_container(Path(path))[0].close()
    except VideoError:
        return None
    return "video"
