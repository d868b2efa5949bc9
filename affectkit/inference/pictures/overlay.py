"""A video with what a model said of it drawn in: face boxes, bars of action units, expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video import IMAGE_SUFFIXES, Backend, VideoReader, open_video
from affectkit.errors import ConfigError, VideoError
from affectkit.inference.pictures.clip_table import ASSUMED_FPS, ClipTable, Reading
from affectkit.inference.pictures.encode import VideoWriter
from affectkit.inference.pictures.panel import FACE_COLORS, MUTED, PAGE, Panel, draw_text, text_size

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Overlay", "first_size", "read_frames", "write_overlay"]

_SMALLEST, _LARGEST = 480, 1080


@dataclass(frozen=True, slots=True)
class Overlay:
    """What `write_overlay` made.

    Args:
        path: The file.
        frames: How many frames it has.
        width: Pixels.
        height: Pixels.
        codec: How frames are encoded: "libx264" or "libopenh264" (both H.264), "mpeg4", or "image".
        notes: What a user should know, a sentence each.
    """

    path: Path
    frames: int
    width: int
    height: int
    codec: str
    notes: tuple[str, ...] = ()


def write_overlay(
    table: ClipTable | DataFrame | str | Path,
    video: str | Path,
    path: str | Path,
    *,
    height: int | None = None,
    sound: bool = True,
    backend: Backend = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Overlay:
    """Draw predictions beside and onto the media that they were made from.

    Left is the picture with the box of every face and its likeliest expression; right is a panel with a bar for
    every action unit, orange from its threshold on, and a bar for every intensity. Frames keep their times, sound
    is copied where an MP4 file can hold it, and one frame is held at a time, whatever the length. A frame
    that cannot be read is shown as a dark one that says so.

    Args:
        table: Predictions; see `ClipTable`.
        video: The photo, video or folder of frames that the table was made from.
        path: What to write: .mp4, .mov or .mkv; of a photo also an image, such as .png.
        height: Of the result in pixels, at least 120; that of the media by default, at least 480 and at most 1080.
        sound: Whether to copy the sound.
        backend: Reader of video files.
        progress: Called with the number of frames written and the number in all, after each.

    Returns:
        What was written.

    Raises:
        ConfigError: The table is not of this video, the height is too small, or the name cannot be that of a result.
        VideoError: The media cannot be read at all.
        AnnotationError: The table cannot be used.

    Example:
        >>> import pandas as pd
        >>> from PIL import Image
        >>> folder = getfixture("tmp_path")
        >>> Image.new("RGB", (64, 48)).save(folder / "face.png")
        >>> table = pd.DataFrame({"frame": [0], "timestamp": [0.0], "success": [True], "AU12": [0.75]})
        >>> made = write_overlay(table, folder / "face.png", folder / "overlay.png")
        >>> made.frames, made.height, made.codec
        (1, 480, 'image')
    """
    clip = table if isinstance(table, ClipTable) else ClipTable(table)
    path = Path(path)
    if height is not None and height < 120:
        raise ConfigError(f"An overlay of {height} pixels shows nothing.", remedy="Give 120 or more.")
    if path.exists() and Path(video).exists() and path.samefile(video):
        raise ConfigError("The overlay would replace its video.", path=path, remedy="Give another name.")
    with open_video(video, backend) as reader:
        clip.check_video(reader)
        picture = path.suffix.lower() in IMAGE_SUFFIXES - {".heic", ".heif"}  # which are read only
        if picture and reader.num_frames > 1:
            raise ConfigError(
                f"A picture cannot hold {reader.num_frames} frames.",
                path=path,
                remedy="Use a name that ends in .mp4.",
            )
        canvas = _Canvas(clip, first_size(reader), height)
        if picture:
            _, time, pixels = next(iter(read_frames(reader)))
            path.parent.mkdir(parents=True, exist_ok=True)
            _save(canvas.draw(0, time, pixels), path)
            return Overlay(path, 1, canvas.width, canvas.height, "image")
        source = Path(video) if sound and Path(video).is_file() else None
        writer = VideoWriter(path, canvas.width, canvas.height, reader.fps, sound=source)
        with writer:
            for number, time, pixels in read_frames(reader):
                writer.write(canvas.draw(number, time, pixels), time)
                if progress is not None:
                    progress(number + 1, reader.num_frames)
        notes = _notes(reader, writer, canvas.clip)
        return Overlay(path, reader.num_frames, canvas.width, canvas.height, writer.codec, notes)


def read_frames(video: VideoReader) -> Iterator[tuple[int, float, NDArray[np.uint8] | str]]:
    """Every frame of a video in order; where one cannot be read, why, and reading goes on with the next.

    Yields:
        Number, time in seconds (as of `ASSUMED_FPS` where the media does not say), and uint8 [H, W, 3] or the reason.
    """
    number = 0
    while number < video.num_frames:
        try:
            for index, time, frame in video.frames(number):
                yield index, time if isfinite(time) else index / ASSUMED_FPS, frame.permute(1, 2, 0).numpy()
                number = index + 1
            return
        except VideoError as error:
            time = float(video.timestamps[number])
            yield number, time if isfinite(time) else number / ASSUMED_FPS, error.fault
            number += 1


class _Canvas:
    """Puts a frame, the boxes on it and the panel beside it into one picture.

    Args:
        clip: The predictions.
        size: Height and width of the frames in pixels; frames of another size are fitted in.
        height: Of the result; None to choose.
    """

    def __init__(self, clip: ClipTable, size: tuple[int, int], height: int | None) -> None:
        self.clip = clip
        self.height = (height or min(_LARGEST, max(_SMALLEST, size[0]))) // 2 * 2
        self.view = max(2, round(size[1] * self.height / size[0]) // 2 * 2)
        self.panel = Panel(clip.signals, self.height, clip.concurrent, clip.warning)
        self.width = self.view + self.panel.width
        self._moves = len(clip) > 1
        model = clip.metadata.get("model")
        self._model = [f"model {Path(str(model)).name}"] if model else []
        self._rows = clip.by_frame()
        self._following = next(self._rows, None)

    def draw(self, number: int, time: float, pixels: NDArray[np.uint8] | str) -> NDArray[np.uint8]:
        """The picture of one frame, uint8 [height, width, 3]; frames come in order."""
        canvas = np.empty((self.height, self.width, 3), np.uint8)
        readings: Sequence[Reading] = ()
        reason: str | None = "The table has no such frame."
        while self._following is not None and self._following[0] < number:
            self._following = next(self._rows, None)
        if self._following is not None and self._following[0] == number:
            _, readings, reason = self._following
        scale, left, top = self._fit(canvas, pixels)
        if not isinstance(pixels, str):
            self._mark(canvas[:, : self.view], readings, scale, left, top)
        status = [f"frame {number}"] * self._moves + [f"{time:.2f} s"] * (self._moves and self.clip.timed)
        self.panel.draw(canvas[:, self.view :], readings, status + self._model, reason)
        return canvas

    def _fit(self, canvas: NDArray[np.uint8], pixels: NDArray[np.uint8] | str) -> tuple[float, int, int]:
        """Draw the frame; returns its scale, left and top."""
        view = canvas[:, : self.view]
        if isinstance(pixels, str):
            view[:] = PAGE
            size = max(10, self.height // 40)
            text = "This frame cannot be read."
            draw_text(
                view, (self.view - text_size(text, size)[0]) // 2, self.height // 2 - size, text, size, MUTED
            )
            return 1.0, 0, 0
        import cv2

        height, width = pixels.shape[:2]
        scale = min(self.height / height, self.view / width)
        size_ = max(1, min(self.view, round(width * scale))), max(1, min(self.height, round(height * scale)))
        left, top = (self.view - size_[0]) // 2, (self.height - size_[1]) // 2
        if size_ != (self.view, self.height):
            # Even sizes cost up to a pixel; that much is stretched instead of framed.
            near = self.view - size_[0] < 4 and self.height - size_[1] < 4
            size_, left, top = ((self.view, self.height), 0, 0) if near else (size_, left, top)
            view[:] = PAGE
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        view[top : top + size_[1], left : left + size_[0]] = cv2.resize(
            np.ascontiguousarray(pixels), size_, interpolation=how
        )
        return scale, left, top

    def _mark(
        self, view: NDArray[np.uint8], readings: Sequence[Reading], scale: float, left: int, top: int
    ) -> None:
        """The boxes of faces with their names; nothing of a face whose box is not known."""
        thick = max(2, round(self.height / 240))
        boxes = []
        for reading in readings:
            if not np.isfinite(reading.box).all():
                continue
            color = FACE_COLORS[reading.face % len(FACE_COLORS)]
            x, y, w, h = (float(edge) * scale for edge in reading.box)
            x0, x1 = (int(np.clip(round(edge + left), 0, self.view - 1)) for edge in (x, x + w))
            y0, y1 = (int(np.clip(round(edge + top), 0, self.height - 1)) for edge in (y, y + h))
            view[y0 : y0 + thick, x0 : x1 + 1] = view[max(0, y1 - thick + 1) : y1 + 1, x0 : x1 + 1] = color
            view[y0 : y1 + 1, x0 : x0 + thick] = view[y0 : y1 + 1, max(0, x1 - thick + 1) : x1 + 1] = color
            boxes.append((reading, x0, y0, y1))
        taken: list[tuple[int, int, int]] = []  # left, right and top of the names drawn
        for reading, x0, y0, y1 in boxes:
            self._name(view, reading, x0, (y0, y1), taken)

    def _name(
        self,
        view: NDArray[np.uint8],
        reading: Reading,
        left: int,
        ends: tuple[int, int],
        taken: list[tuple[int, int, int]],
    ) -> None:
        """A face's name above its box; below or in it where there is no room, or another name."""
        name = self.panel.expression(reading)
        text = f"Face {reading.face}" if name is None else f"{reading.face}: {name}"
        size = max(10, round(13 * self.panel.unit))
        width, height = text_size(text, size, bold=True)
        pad = max(2, size // 4)
        tag, wide = height + pad, width + 2 * pad
        x = max(0, min(left, self.view - wide))
        inside = ends[0]
        y = inside
        for place in (ends[0] - tag, ends[1] + 1, inside):
            free = all(
                abs(place - other) >= tag or x >= end or begin >= x + wide for begin, end, other in taken
            )
            if free and 0 <= place <= self.height - tag:
                y = place
                break
        taken.append((x, x + wide, y))
        view[y : y + tag, x : x + wide] = FACE_COLORS[reading.face % len(FACE_COLORS)]
        draw_text(view, x + pad, y + pad // 2, text, size, PAGE, bold=True)


def first_size(video: VideoReader) -> tuple[int, int]:
    """Height and width of the first frame that can be read."""
    fault = "The video has no frames."
    for _, _, pixels in read_frames(video):
        if not isinstance(pixels, str):
            return pixels.shape[0], pixels.shape[1]
        fault = pixels
    raise video.error(f"No frame can be read: {fault}")


def _notes(video: VideoReader, writer: VideoWriter, clip: ClipTable) -> tuple[str, ...]:
    notes = []
    if writer.codec == "mpeg4":
        notes.append("This FFmpeg has no H.264 encoder; the video is MPEG-4, which browsers do not play.")
    if not isfinite(video.fps):
        notes.append(f"The frames have no times; they are shown at {ASSUMED_FPS:g} a second.")
    if len(clip) < video.num_frames:
        notes.append(f"The table has {len(clip)} of the video's {video.num_frames} frames.")
    return tuple(notes)


def _save(image: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    Image.fromarray(image).save(path)
