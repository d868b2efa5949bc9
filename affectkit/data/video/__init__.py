"""One way to read frames, wherever they are: video files, picture files, folders of pictures.

`open_video` chooses the reader; all of them number frames by presentation time from 0, return RGB, and raise
`VideoError`, naming file and frame, for whatever is wrong with the media, as far as the decoder says so: it
may repair a little damage in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from affectkit.data.video.reader import IMAGE_SUFFIXES, VideoReader
from affectkit.data.video.signatures import is_still, is_video_head, picture_format, read_head
from affectkit.errors import ConfigError, VideoError

__all__ = ["IMAGE_SUFFIXES", "Backend", "VideoReader", "media_kind", "open_video"]

Backend = Literal["auto", "pyav", "decord"]


def open_video(path: str | Path, backend: Backend = "auto") -> VideoReader:
    """Open a video file, a picture file, or a folder of pictures (one a frame, in numeric order).

    What a file is shows in its content; its suffix counts only where that is damaged.

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
    if not path.is_dir():
        if not path.is_file():  # a pipe or a device would block
            raise VideoError("There is no such file.", path=path, remedy="Check the path.")
        head = read_head(path)
        is_picture = picture_format(path, head) is not None
        if not is_picture and (is_video_head(head) or path.suffix.lower() not in IMAGE_SUFFIXES):
            return _open_video_file(path, backend)
    from affectkit.data.video.images import ImageReader

    return ImageReader(path)


def _open_video_file(path: Path, backend: Backend) -> VideoReader:
    if backend == "decord":
        from affectkit.data.video.decord import DecordReader

        return DecordReader(path)
    from affectkit.data.video.pyav import PyAVReader

    return PyAVReader(path)


def media_kind(path: str | Path) -> Literal["image", "video"] | None:
    """Tell whether a file is a picture, a video, or neither, by its content and without decoding it.

    Pictures of several frames (animated GIF, PNG, WebP and AVIF, TIFF of several pages) are videos. The answer rests
    on the first bytes, so the file may still be damaged, and an mp4 file may hold sound alone.

    Args:
        path: A file; folders, pipes, devices and files that cannot be read are neither.

    Example:
        >>> from PIL import Image
        >>> file = getfixture("tmp_path") / "photo.dat"
        >>> Image.new("RGB", (8, 6)).save(file, "JPEG")
        >>> media_kind(file)
        'image'
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
