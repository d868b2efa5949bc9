"""Media with predictions drawn in: face boxes, bars of action units, expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from affectkit.data.video import IMAGE_SUFFIXES, Backend, VideoReader, open_video
from affectkit.errors import ConfigError, VideoError
from affectkit.inference.pictures.clip_table import ASSUMED_FPS, ClipTable, Reading
from affectkit.inference.pictures.drawing import Draw, Drawing
from affectkit.inference.pictures.encode import VideoWriter
from affectkit.inference.pictures.panel import FACE_COLORS, MUTED, PAGE, Panel, draw_label
from affectkit.inference.wording import counted

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Overlay", "first_size", "read_frames", "write_overlay"]

_SMALLEST, _LARGEST = 480, 1080


@dataclass(frozen=True, slots=True)
class Overlay:
    """Result of `write_overlay`.

    Args:
        path: The file.
        frames: Number of frames.
        width: Width in pixels.
        height: Height in pixels.
        codec: "libx264" or "libopenh264" (both H.264), "mpeg4", or "image".
        notes: Notes for the user, a sentence each.
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
    draw: Sequence[Draw] = (),
    sound: bool = True,
    backend: Backend = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Overlay:
    """Draw predictions onto and beside their media.

    The left part shows the frame with the box of every face and its likeliest expression; the right part is a panel
    with a bar for every other value, orange from the threshold of an action unit on. Frames keep their times, sound is
    copied if an MP4 file can hold it, and one frame is in memory at a time. A frame that cannot be read is dark and
    says so.

    Args:
        table: Predictions; see `ClipTable`.
        video: The photo, video or folder of frames that the table was made from.
        path: The file: .mp4, .mov or .mkv; for a photo also an image, such as .png.
        height: Height in pixels, at least 120; by default that of the media, between 480 and 1080.
        draw: Parts to draw onto the faces from the table's columns: "mesh" (68 landmarks), "gaze", "pose"; see
            `affectkit.inference.pictures.drawing.Drawing`.
        sound: Whether to copy the sound.
        backend: Reader of video files.
        progress: Called after each frame with the numbers of frames written and in all.

    Raises:
        ConfigError: The table is not of this video or lacks columns to draw, the height is too small, or the file name
            is invalid.
        VideoError: The media cannot be read.
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
        raise ConfigError(f"The height {height} pixels is too small.", remedy="Give 120 or more.")
    if path.exists() and Path(video).exists() and path.samefile(video):
        raise ConfigError("The overlay would replace its video.", path=path, remedy="Give another name.")
    with open_video(video, backend) as reader:
        clip.check_video(reader)
        is_image = path.suffix.lower() in IMAGE_SUFFIXES - {".heic", ".heif"}  # which can only be read
        if is_image and reader.num_frames > 1:
            raise ConfigError(
                f"An image cannot hold {reader.num_frames} frames.",
                path=path,
                remedy="Use a name that ends in .mp4.",
            )
        canvas = _Canvas(clip, first_size(reader), height, draw)
        if is_image:
            _, time, pixels = next(read_frames(reader))
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(canvas.draw(0, time, pixels)).save(path)
            return Overlay(path, 1, canvas.width, canvas.height, "image", clip.notes)
        source = Path(video) if sound and Path(video).is_file() else None
        with VideoWriter(path, canvas.width, canvas.height, reader.fps, sound=source) as writer:
            for number, time, pixels in read_frames(reader):
                writer.write(canvas.draw(number, time, pixels), time)
                if progress is not None:
                    progress(number + 1, reader.num_frames)
        notes = list(clip.notes)
        if writer.codec == "mpeg4":
            notes.append("This FFmpeg has no H.264 encoder; the video is MPEG-4, which browsers do not play.")
        if not isfinite(reader.fps):
            notes.append(f"The frames have no times; they are shown at {ASSUMED_FPS:g} a second.")
        if len(clip) < reader.num_frames:
            length = counted(reader.num_frames, "frame", grouped=True)
            notes.append(f"The table has {len(clip):,} of {length} of the video.")
        return Overlay(path, reader.num_frames, canvas.width, canvas.height, writer.codec, tuple(notes))


def read_frames(video: VideoReader) -> Iterator[tuple[int, float, NDArray[np.uint8] | str]]:
    """Read every frame in order, also after frames that cannot be read.

    Yields:
        Number, time in seconds (at `ASSUMED_FPS` if the media has no times), and uint8 [H, W, 3] or the fault.
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


def first_size(video: VideoReader) -> tuple[int, int]:
    """Height and width of the first frame that can be read."""
    fault = "The video has no frames."
    for _, _, pixels in read_frames(video):
        if not isinstance(pixels, str):
            return pixels.shape[0], pixels.shape[1]
        fault = pixels
    raise video.error(f"No frame can be read: {fault}")


class _Canvas:
    """A frame, the boxes on it and the panel beside it as one picture.

    Args:
        clip: The predictions.
        size: Height and width of the frames in pixels; frames of other sizes are fitted in.
        height: Height of the result in pixels; None to choose.
        draw: Parts to draw onto the faces.
    """

    def __init__(
        self, clip: ClipTable, size: tuple[int, int], height: int | None, draw: Sequence[Draw] = ()
    ) -> None:
        self.clip = clip
        self.drawing = Drawing(clip, draw, size)
        self.height = (height or min(_LARGEST, max(_SMALLEST, size[0]))) // 2 * 2
        self.view = max(2, round(size[1] * self.height / size[0]) // 2 * 2)
        self.panel = Panel(
            clip.signals,
            self.height,
            clip.concurrent,
            clip.caution,
            lines=len({"pose", "gaze"} & {*draw}),
            widest=self.view,
        )
        self.width = self.view + self.panel.width
        self._moves = len(clip) > 1
        model = clip.metadata.get("model")
        self._model = [f"model {Path(str(model)).name}"] if model else []

    def draw(self, number: int, time: float, pixels: NDArray[np.uint8] | str) -> NDArray[np.uint8]:
        """Draw one frame, uint8 [height, width, 3]."""
        readings, reason = self.clip.at(number)
        status = [f"frame {number}"] * self._moves + [f"{time:.2f} s"] * (self._moves and self.clip.timed)
        canvas = np.empty((self.height, self.width, 3), np.uint8)
        self._draw_view(canvas[:, : self.view], readings, pixels)
        texts = {reading.face: self.drawing.describe(reading) for reading in readings}
        canvas[:, self.view :] = np.asarray(self.panel.draw(readings, status + self._model, reason, texts))
        return canvas

    def _draw_view(
        self, view: NDArray[np.uint8], readings: Sequence[Reading], pixels: NDArray[np.uint8] | str
    ) -> None:
        """Draw the frame with boxes and names."""
        import cv2

        if isinstance(pixels, str):
            view[:] = PAGE
            label = draw_label("This frame cannot be read.", max(10, self.height // 40), MUTED, PAGE)
            _paste(view, label, (self.view - label.shape[1]) // 2, (self.height - label.shape[0]) // 2)
            return
        height, width = pixels.shape[:2]
        scale = min(self.height / height, self.view / width)
        size = max(1, min(self.view, round(width * scale))), max(1, min(self.height, round(height * scale)))
        if self.view - size[0] < 4 and self.height - size[1] < 4:
            size = self.view, self.height  # sizes are even: a pixel more or less is stretched
        left, top = (self.view - size[0]) // 2, (self.height - size[1]) // 2
        if left or top:
            view[:] = PAGE
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        frame = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=how)
        view[top : top + size[1], left : left + size[0]] = frame
        boxes = []
        for reading in (one for one in readings if np.isfinite(one.box).all()):
            corners = np.concatenate([reading.box[:2], reading.box[:2] + reading.box[2:]])
            edges = (corners * scale).round() + np.array([left, top] * 2)
            x0, y0, x1, y1 = edges.clip(0, [self.view - 1, self.height - 1] * 2).astype(int).tolist()
            inner = view[y0 : y1 + 1, x0 : x1 + 1]
            thick = max(2, round(self.height / 240))
            for side in (inner[:thick], inner[-thick:], inner[:, :thick], inner[:, -thick:]):
                side[:] = FACE_COLORS[reading.face % len(FACE_COLORS)]
            boxes.append((reading, (x0, y0, x1, y1)))
        for reading in readings:
            self._draw_lines(view[top : top + size[1], left : left + size[0]], reading, size[0] / width)
        names: list[tuple[int, int, int, int]] = []
        for reading, box in boxes:
            self._draw_name(view, reading, box, names)

    def _draw_lines(self, frame: NDArray[np.uint8], reading: Reading, scale: float) -> None:
        """Draw the lines of a face, dark at their edges so that they are seen on any skin."""
        import cv2

        points = (self.drawing.points(reading) + 0.5) * scale - 0.5
        thick = max(1, round(self.height / 480))
        shift = 4  # bits of a pixel's fraction
        limit = 4 * max(frame.shape)
        for line in self.drawing.lines:
            course = points[list(line.places)]
            if not (np.abs(course) < limit).all():  # unknown, or far away
                continue
            course = np.round(course * 2**shift).astype(np.int32)
            width = thick * (2 if line.wide else 1)
            for color, pixels in ((PAGE, width + 2 * thick), (line.color, width)):
                cv2.polylines(frame, [course], False, color, pixels, cv2.LINE_AA, shift)

    def _draw_name(
        self,
        view: NDArray[np.uint8],
        reading: Reading,
        box: Sequence[int],
        names: list[tuple[int, int, int, int]],
    ) -> None:
        """Draw a face's name above its box, or below or inside it if other names or the edge are in the way."""
        expression = self.panel.expression(reading)
        text = f"Face {reading.face}" if expression is None else f"{reading.face}: {expression}"
        color = FACE_COLORS[reading.face % len(FACE_COLORS)]
        label = draw_label(text, max(10, round(13 * self.panel.unit)), PAGE, color)
        height, width = label.shape[:2]
        x, y = max(0, min(box[0], self.view - width)), box[1]
        for place in (box[1] - height, box[3] + 1):
            free = all(
                x >= right or left >= x + width or place >= bottom or top >= place + height
                for left, top, right, bottom in names
            )
            if free and 0 <= place <= self.height - height:
                y = place
                break
        names.append((x, y, x + width, y + height))
        _paste(view, label, x, y)


def _paste(view: NDArray[np.uint8], label: NDArray[np.uint8], x: int, y: int) -> None:
    part = view[y : y + label.shape[0], x : x + label.shape[1]]
    part[:] = label[: part.shape[0], : part.shape[1]]
