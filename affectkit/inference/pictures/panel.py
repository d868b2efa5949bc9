"""The panel beside an overlay video: for each face its expression and a bar for every value."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from affectkit.inference.pictures.clip_table import Reading, Signal

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

__all__ = ["FACE_COLORS", "Panel", "draw_text", "text_size", "wrap"]

Color = tuple[int, int, int]
Image = NDArray[np.uint8]

PAGE: Final[Color] = (27, 33, 42)
INK: Final[Color] = (230, 234, 240)
MUTED: Final[Color] = (154, 166, 182)
TRACK: Final[Color] = (50, 59, 72)
BELOW: Final[Color] = (110, 168, 230)
ABOVE: Final[Color] = (240, 151, 90)  # blue and orange differ for every kind of colour vision
FACE_COLORS: Final[tuple[Color, ...]] = (
    (86, 180, 233), (240, 228, 66), (0, 158, 115), (204, 121, 167), (230, 159, 0), (213, 94, 0),
)  # fmt: skip
"""Okabe and Ito's palette."""

_MAX_SLOTS: Final = 4  # faces that have bars; of further ones only the boxes are drawn
_ROW, _COLUMN, _FONT, _SMALL = 20, 314, 12.5, 10.5  # in units, of which a panel of 480 pixels has 480


class Panel:
    """Lays out and draws the bars.

    Every face that fits has a slot, which it keeps while it is in view. All bars have a place of their own in
    every frame: where a column is too short for them, they go on in a second one.

    Args:
        signals: What is drawn; of expressions, only the likeliest one.
        height: Of the panel in pixels.
        faces: Slots wanted, at least 1; at most four are made.
        note: Lines at the bottom.

    Attributes:
        width: Of the panel in pixels, even.
        slots: Identity of each slot, or None.
    """

    def __init__(self, signals: Sequence[Signal], height: int, faces: int, note: str | None = None) -> None:
        self.height = height
        self.unit = min(2.25, max(0.7, height / 480))
        self.bars = [(k, s) for k, s in enumerate(signals) if s.kind != "expression"]
        self.classes = [(k, s) for k, s in enumerate(signals) if s.kind == "expression"]
        self.slots: list[int | None] = [None] * min(_MAX_SLOTS, max(1, faces))
        self._row, self._column = self._px(_ROW), self._px(_COLUMN)
        self._note = note
        room, best = self._rows(0), None
        for columns in range(1, 9):
            rows = 2 + ceil(len(self.bars) / columns)
            # Slots stand below each other with half a row between them.
            deep = min(len(self.slots), int((room + 0.5) // (rows + 0.5)))
            if deep:
                stacks = ceil(len(self.slots) / deep)
                if best is None or stacks * columns < best[0] * best[1]:
                    best = stacks, columns, deep, rows
        if best is None:  # a panel lower than two rows and one bar cannot show more
            best = len(self.slots), 8, 1, 2 + ceil(len(self.bars) / 8)
        stacks, self._columns, self._deep, self._slot_rows = best
        self.width = stacks * self._columns * self._column // 2 * 2
        self._footer = self._foot()
        self._background = self._empty()

    def draw(
        self, target: Image, readings: Sequence[Reading], status: Sequence[str], reason: str | None
    ) -> None:
        """Draw one frame.

        Args:
            target: uint8 [height, width, 3], which is overwritten.
            readings: The faces in view.
            status: Parts of the last line, such as the time.
            reason: Why there is no face.
        """
        target[:] = self._background
        self._seat([reading.face for reading in readings])
        shown = {reading.face: reading for reading in readings}
        extra = len(readings) - sum(face in shown for face in self.slots)
        for slot, face in enumerate(self.slots):
            x, y = self._place(slot)
            if face is not None and face in shown:
                self._face(target, x, y, shown[face])
            elif face is not None and reason is None:
                self._text(target, x, y, f"Face {face}: not in view", MUTED)
            elif slot == 0:
                self._text(target, x, y, "No values", ABOVE if reason else MUTED, bold=True)
                lines = wrap(reason or "", self._px(_SMALL), self._inner)
                for k, line in enumerate(lines[: self._slot_rows - 1]):
                    self._text(target, x, y + (k + 1) * self._row, line, MUTED, size=_SMALL)
        line = "  ·  ".join([*status, *([f"{extra} more in view"] if extra > 0 else [])])
        y = self.height - self._row - self._px(4) + (self._row - text_size("Ag", self._px(_SMALL))[1]) // 2
        if line:
            draw_text(target, self._px(12), y, line, self._px(_SMALL), MUTED, once=True)

    def expression(self, reading: Reading) -> str | None:
        """The likeliest expression with its probability."""
        values = [(float(reading.values[k]), s.name) for k, s in self.classes]
        known = [pair for pair in values if not isnan(pair[0])]
        return f"{max(known)[1]} {max(known)[0]:.2f}" if known else None

    @property
    def _inner(self) -> int:
        """Width of a slot's text."""
        return self._columns * self._column - self._px(24)

    def _px(self, units: float) -> int:
        return max(1, round(units * self.unit))

    def _rows(self, footer: int) -> float:
        return (self.height - footer - self._px(8) - 2 * self._row) / self._row

    def _foot(self) -> list[str]:
        return wrap(self._note, self._px(_SMALL), self.width - self._px(24)) if self._note else []

    def _place(self, slot: int) -> tuple[int, int]:
        """Left and top of a slot."""
        stack, depth = divmod(slot, self._deep)
        return stack * self._columns * self._column, self._px(8) + round(
            depth * (self._slot_rows + 0.5) * self._row
        )

    def _bar(self, x: int, y: int, number: int) -> tuple[int, int]:
        """Left and top of a bar's row."""
        column, row = divmod(number, self._slot_rows - 2)
        return x + column * self._column, y + (row + 2) * self._row

    def _track(self) -> tuple[int, int]:
        """Left and right of a bar within its row."""
        return self._px(176), self._column - self._px(50)

    def _empty(self) -> Image:
        """What never changes: the footer."""
        image = np.empty((self.height, self.width, 3), np.uint8)
        image[:] = PAGE
        top = self.height - self._row - self._px(4) - len(self._footer) * self._px(_SMALL + 3.5)
        for k, line in enumerate(self._footer):
            self._text(image, 0, top + k * self._px(_SMALL + 3.5), line, ABOVE, size=_SMALL)
        return image

    def _seat(self, faces: Sequence[int]) -> None:
        """Give faces slots: those that have one keep it, others take one whose face is out of view."""
        for face in faces:
            if face not in self.slots:
                free = [k for k, other in enumerate(self.slots) if other is None]
                free += [k for k, other in enumerate(self.slots) if other is not None and other not in faces]
                if free:
                    self.slots[free[0]] = face

    def _face(self, target: Image, x: int, y: int, reading: Reading) -> None:
        color = FACE_COLORS[reading.face % len(FACE_COLORS)]
        mark = self._px(10)
        top = y + (self._row - mark) // 2
        target[top : top + mark, x + self._px(12) : x + self._px(12) + mark] = color
        self._text(target, x + self._px(16), y, f"Face {reading.face}", INK, bold=True)
        self._text(target, x, y + self._row, self.expression(reading) or "", INK)
        left, right = self._track()
        for number, (k, signal) in enumerate(self.bars):
            across, down = self._bar(x, y, number)
            value = float(reading.values[k])
            above = signal.threshold is not None and value >= signal.threshold
            self._text(target, across, down, signal.name, INK if above else MUTED, bold=above)
            meaning = "intensity, 0 to 5" if signal.kind == "intensity" else signal.meaning
            name = text_size(signal.name, self._px(_FONT), bold=True)[0] + self._px(6)
            room = left - self._px(18) - name
            short = shorten(meaning, self._px(_SMALL), room)
            self._text(target, across + name, down, short, MUTED, size=_SMALL)
            self._strip(target, across + left, across + right, down, signal, value, above)
            text = "–" if isnan(value) else f"{value:.1f}" if signal.kind == "intensity" else f"{value:.2f}"
            self._text(target, across + right - self._px(4), down, text, INK if above else MUTED)

    def _strip(
        self, target: Image, left: int, right: int, y: int, signal: Signal, value: float, above: bool
    ) -> None:
        """The bar with its threshold."""
        thick = self._px(8)
        top = y + (self._row - thick) // 2
        target[top : top + thick, left:right] = TRACK
        if not isnan(value):
            end = left + round((right - left) * min(1.0, max(0.0, value / signal.top)))
            target[top : top + thick, left:end] = ABOVE if above else BELOW
        if signal.threshold is not None:
            at = left + round((right - left) * signal.threshold)
            tick = max(2, self._px(1.5))
            target[top - self._px(3) : top + thick + self._px(3), at - tick // 2 : at - tick // 2 + tick] = (
                INK
            )

    def _text(
        self,
        target: Image,
        x: int,
        y: int,
        text: str,
        color: Color,
        *,
        size: float = _FONT,
        bold: bool = False,
    ) -> None:
        """A line of text, in the middle of a row."""
        pixels = self._px(size)
        down = (self._row - text_size("Ag", pixels)[1]) // 2
        draw_text(target, x + self._px(12), y + down, text, pixels, color, bold=bold)


def draw_text(
    target: Image,
    x: int,
    y: int,
    text: str,
    size: int,
    color: Color,
    *,
    bold: bool = False,
    once: bool = False,
) -> None:
    """Draw a line of text; what lies outside the picture is cut off.

    Args:
        target: uint8 [H, W, 3], drawn on.
        x: Left.
        y: Top.
        text: One line.
        size: Of the letters in pixels.
        color: RGB.
        bold: Whether in bold.
        once: Whether the text comes once only, so that it need not be kept.
    """
    cover = (_glyphs.__wrapped__ if once else _glyphs)(text, size, bold).astype(np.float32) / 255
    top, left = max(0, -y), max(0, -x)
    part = target[max(0, y) : y + cover.shape[0], max(0, x) : x + cover.shape[1]]
    cover = cover[top : top + part.shape[0], left : left + part.shape[1]]
    if part.size:
        part[:] = (part * (1 - cover) + np.array(color, np.float32) * cover + 0.5).astype(np.uint8)


def text_size(text: str, size: int, *, bold: bool = False) -> tuple[int, int]:
    """Width and height of a line of text in pixels."""
    height, width = _glyphs(text, size, bold).shape[:2]
    return width, height


@lru_cache(maxsize=1024)
def shorten(text: str, size: int, width: int) -> str:
    """The text, or as much of its beginning as fits with an ellipsis."""
    if text_size(text, size)[0] <= width:
        return text
    while text and text_size(text.rstrip() + "…", size)[0] > width:
        text = text[:-1]
    return text.rstrip(" ,") + "…"


@lru_cache(maxsize=256)
def wrap(text: str, size: int, width: int) -> list[str]:
    """The text as lines of at most a width in pixels; a longer word is shortened."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_size(longer, size)[0] <= width:
            lines[-1] = longer
        else:
            lines.append(shorten(word, size, width))
    return lines


@lru_cache(maxsize=2048)
def _glyphs(text: str, size: int, bold: bool) -> Image:
    """How much of each pixel a line of text covers, uint8 [h, w, 1]."""
    from PIL import Image as Pictures
    from PIL import ImageDraw

    font = _font(size, bold)
    ascent, descent = font.getmetrics()
    width = max(1, ceil(font.getlength(text)))
    picture = Pictures.new("L", (width, ascent + descent))
    ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=font)
    return np.asarray(picture, np.uint8)[..., None]


@lru_cache(maxsize=32)
def _font(size: int, bold: bool) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and knows the letters of most languages."""
    import matplotlib as mpl
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / name), size)
