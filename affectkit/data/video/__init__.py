"""Frame readers for video files, picture files and folders of pictures.

All readers number frames by presentation time from 0, return RGB, and raise `VideoError` with file and frame for faulty
media, as far as the decoder reports damage: it may repair a little in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from affectkit.data.video.reader import IMAGE_SUFFIXES, VideoReader
from affectkit.data.video.signatures import is_still, is_video_head, picture_format, read_head
from affectkit.errors import ConfigError, VideoError

__all__ = ["IMAGE_SUFFIXES", "Backend", "VideoReader", "media_kind", "open_video"]

Backend = Literal["auto", "pyav", "decord"]


def open_video(path: str | Path | Sequence[Path], backend: Backend = "auto") -> VideoReader:
    """Open a video file, a picture file, a folder of pictures (one per frame, in numeric order) or a list of them.

    The content decides the kind of a file; the suffix counts only where the content is damaged.

    Args:
        path: The media. A list holds one picture file per frame; they are opened when they are read.
        backend: Reader of video files. "auto" is "pyav", exact on all files that FFmpeg reads. "decord" may silently
            return a neighbouring frame from files whose frames depend on others across a key frame (open-GOP H.264,
            HEVC, MPEG-4 with B frames) and from MPEG transport streams.

    Raises:
        ConfigError: The backend does not exist.
        VideoError: The media is missing, empty, damaged or not a video.
        MissingDependencyError: decord is not installed.

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
    path = Path(path) if isinstance(path, (str, Path)) else list(path)
    if isinstance(path, Path) and not path.is_dir():
        if not path.is_file():  # a pipe or a device would block
            raise VideoError("There is no such file.", path=path, remedy="Check the path.")
        head = read_head(path)
        is_picture = picture_format(path, head) is not None
        if not is_picture and (is_video_head(head) or path.suffix.lower() not in IMAGE_SUFFIXES):
            if backend == "decord":
                from affectkit.data.video.decord import DecordReader

                return DecordReader(path)
            from affectkit.data.video.pyav import PyAVReader

            return PyAVReader(path)
    from affectkit.data.video.pictures import ImageReader

    return ImageReader(path)


def media_kind(path: str | Path) -> Literal["image", "video"] | None:
    """Tell by its content whether a file is a picture, a video, or neither, without decoding it.

    Pictures with several frames (animated GIF, PNG, WebP and AVIF, multi-page TIFF) are videos. Only the first bytes
    are read, so the file may still be damaged, and an mp4 file may hold sound alone.

    Folders, pipes, devices and unreadable files are neither.
    """
    path = Path(path)
    head = read_head(path)
    picture = picture_format(path, head)
    if picture is None:
        return "video" if is_video_head(head) else None
    if is_still(picture, head):
        return "image"
    from affectkit.data.video.pictures import has_frames, open_picture, picture_errors

    try:
        with picture_errors(path, 0), open_picture(path) as image:
            return "video" if has_frames(image) else "image"
    except VideoError:
        return "image"
