"""The panel beside an overlay: for each face its expression and a bar for every value."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from math import ceil, isnan
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from affectkit.inference.pictures.clip_table import Reading, Signal

__all__ = ["FACE_COLORS", "Panel"]

Color = tuple[int, int, int]

PAGE: Final[Color] = (27, 33, 42)
INK: Final[Color] = (230, 234, 240)
MUTED: Final[Color] = (154, 166, 182)
TRACK: Final[Color] = (50, 59, 72)
BELOW: Final[Color] = (110, 168, 230)
ABOVE: Final[Color] = (240, 151, 90)  # blue and orange differ for every kind of colour vision
FACE_COLORS: Final[tuple[Color, ...]] = tuple(
    (value >> 16, value >> 8 & 255, value & 255)
    for value in (0x56B4E9, 0xF0E442, 0x009E73, 0xCC79A7, 0xE69F00, 0xD55E00)
)
"""Palette of Okabe and Ito."""

_MAX_SLOTS: Final = 4  # faces with bars; other faces only have boxes
_ROW, _COLUMN, _LEFT, _RIGHT = 20, 314, 176, 264  # a row's height, width and bar, at a height of 480 pixels


class Panel:
    """Layout and drawing of the bars.

    Each face has a slot while it is in view, and each bar a fixed place; columns that are too short continue in
    another one.

    Args:
        signals: The values; of expressions only the likeliest is drawn.
        height: Height in pixels.
        faces: Number of slots, at least 1; at most four are made.
        note: Text at the bottom.

    Attributes:
        width: Width in pixels, even.
        slots: Identity in each slot, or None.
    """

    def __init__(self, signals: Sequence[Signal], height: int, faces: int, note: str | None = None) -> None:
        self.height, self.unit = height, min(2.25, max(0.7, height / 480))
        self.bars = [(k, s) for k, s in enumerate(signals) if s.kind != "expression"]
        self.classes = [(k, s) for k, s in enumerate(signals) if s.kind == "expression"]
        self.slots: list[int | None] = [None] * min(_MAX_SLOTS, max(1, faces))
        self.row, self.column = self.px(_ROW), self.px(_COLUMN)
        self.font, self.bold, self.small = (
            load_font(self.px(size), bold) for size, bold in ((12.5, False), (12.5, True), (10.5, False))
        )
        room = (height - self.px(8)) / self.row - (3.5 if note else 2)
        layouts = []  # area, columns of a slot, slots below each other with half a row between them, rows of a slot
        for columns in range(1, 9):
            rows = 2 + ceil(len(self.bars) / columns)
            deep = min(len(self.slots), int((room + 0.5) // (rows + 0.5)))
            if deep:
                layouts.append((ceil(len(self.slots) / deep) * columns, columns, deep, rows))
        smallest = (len(self.slots) * 8, 8, 1, 2 + ceil(len(self.bars) / 8))  # cut off at the bottom
        total, self._columns, self._deep, self._slot_rows = min(
            layouts, key=lambda one: one[0], default=smallest
        )
        self.width = total * self.column // 2 * 2
        self._empty = Image.new("RGB", (self.width, height), PAGE)
        lines = textwrap.wrap(note or "", int((self.width - self.px(24)) / self.small.getlength("n")))
        draw, line_height = ImageDraw.Draw(self._empty), self.px(14)
        for k, line in enumerate(lines):
            y = height - self.row - self.px(4) - (len(lines) - k - 0.5) * line_height
            draw.text((self.px(12), y), line, ABOVE, self.small, anchor="lm")
        size = (self._columns * self.column, self._slot_rows * self.row)
        self._slot = Image.new("RGB", size, PAGE)  # the parts of a slot that never change
        self._draw = ImageDraw.Draw(self._slot)
        left, top = self._slot_place(0)
        for number, (_, signal) in enumerate(self.bars):
            x, y = self.bar_place(0, number)
            self._draw_track(x - left, y - top, signal)

    def draw(self, readings: Sequence[Reading], status: Sequence[str], reason: str | None) -> Image.Image:
        """Draw one frame.

        Args:
            readings: The faces in view.
            status: Parts of the last line, such as the time.
            reason: Why there is no face.
        """
        image = self._empty.copy()
        self._draw = ImageDraw.Draw(image)
        shown = {reading.face: reading for reading in readings}
        self._assign_slots([*shown])
        for slot, face in enumerate(self.slots):
            x, y = self._slot_place(slot)
            if face in shown:
                image.paste(self._slot, (x, y))
                self._draw_face(slot, shown[face])
            elif face is not None and reason is None:
                self._text(x, y, f"Face {face}: not in view", MUTED)
            elif slot == 0:
                self._text(x, y, "No values", ABOVE if reason else MUTED, self.bold)
                width = int((self._columns * self.column - self.px(24)) / self.small.getlength("n"))
                for k, line in enumerate(textwrap.wrap(reason or "", width)[: self._slot_rows - 1]):
                    self._text(x, y + (k + 1) * self.row, line, MUTED, self.small)
        extra = len(shown.keys() - {*self.slots})
        line = "  ·  ".join([*status, *([f"{extra} more in view"] if extra else [])])
        self._text(0, self.height - self.row - self.px(4), line, MUTED, self.small)
        return image

    def expression(self, reading: Reading) -> str | None:
        """The likeliest expression with its probability."""
        values = [(float(reading.values[k]), s.name) for k, s in self.classes if not isnan(reading.values[k])]
        return "{1} {0:.2f}".format(*max(values)) if values else None

    def px(self, units: float) -> int:
        """Pixels for a length at a height of 480 pixels."""
        return max(1, round(units * self.unit))

    def _slot_place(self, slot: int) -> tuple[int, int]:
        """Left and top of a slot."""
        stack, depth = divmod(slot, self._deep)
        top = self.px(8) + round(depth * (self._slot_rows + 0.5) * self.row)
        return stack * self._columns * self.column, top

    def bar_place(self, slot: int, number: int) -> tuple[int, int]:
        """Left and top of a bar's row."""
        (x, y), (column, row) = self._slot_place(slot), divmod(number, self._slot_rows - 2)
        return x + column * self.column, y + (row + 2) * self.row

    def bar_box(self, x: int, y: int, share: float = 1.0) -> tuple[int, int, int, int]:
        """Edges of a bar in the row at (x, y), both included."""
        left, right, thick = x + self.px(_LEFT), x + self.px(_RIGHT), self.px(8)
        top = y + (self.row - thick) // 2
        return left, top, left + round((right - left) * share) - 1, top + thick - 1

    def _assign_slots(self, faces: Sequence[int]) -> None:
        """Faces keep their slots; others take free ones, or those of faces out of view."""
        for face in faces:
            if face not in self.slots:
                free = [k for k, other in enumerate(self.slots) if other is None]
                free += [k for k, other in enumerate(self.slots) if other is not None and other not in faces]
                if free:
                    self.slots[free[0]] = face

    def _draw_track(self, x: int, y: int, signal: Signal) -> None:
        """The parts of a bar that never change: name, meaning and track."""
        self._text(x, y, signal.name, MUTED)
        meaning = "intensity, 0 to 5" if signal.kind == "intensity" else signal.meaning
        left = self.font.getlength(signal.name) + self.px(6)
        room = self.px(_LEFT - 18) - left
        while meaning and self.small.getlength(meaning) > room:
            meaning = meaning.rstrip(" ,…")[:-1] + "…" if len(meaning) > 1 else ""
        self._text(round(x + left), y, meaning, MUTED, self.small)
        self._draw.rectangle(self.bar_box(x, y), TRACK)

    def _draw_face(self, slot: int, reading: Reading) -> None:
        x, y = self._slot_place(slot)
        mark, top = self.px(10), y + (self.row - self.px(10)) // 2
        box = (x + self.px(12), top, x + self.px(12) + mark - 1, top + mark - 1)
        self._draw.rectangle(box, FACE_COLORS[reading.face % len(FACE_COLORS)])
        self._text(x + self.px(16), y, f"Face {reading.face}", INK, self.bold)
        self._text(x, y + self.row, self.expression(reading) or "", INK)
        for number, (k, signal) in enumerate(self.bars):
            x, y = self.bar_place(slot, number)
            value = float(reading.values[k])
            above = signal.threshold is not None and value >= signal.threshold
            if above:
                self._text(x, y, signal.name, INK)
            left, top, right, bottom = self.bar_box(x, y, 0.0 if isnan(value) else signal.scale(value))
            if right >= left:
                self._draw.rectangle((left, top, right, bottom), ABOVE if above else BELOW)
            if signal.threshold is not None:
                tick, at = max(2, self.px(1.5)), self.bar_box(x, y, signal.threshold)[2] + 1
                self._draw.rectangle(
                    (at - tick // 2, top - self.px(3), at - tick // 2 + tick - 1, bottom + self.px(3)), INK
                )
            text = "–" if isnan(value) else f"{value:.1f}" if signal.kind == "intensity" else f"{value:.2f}"
            self._text(x + self.px(_RIGHT - 4), y, text, INK if above else MUTED)

    def _text(
        self, x: int, y: int, text: str, color: Color, font: ImageFont.FreeTypeFont | None = None
    ) -> None:
        """A line of text in the middle of a row."""
        self._draw.text((x + self.px(12), y + self.row / 2), text, color, font or self.font, anchor="lm")


def draw_label(text: str, size: int, color: Color, background: Color) -> NDArray[np.uint8]:
    """A line of bold text on a background, uint8 [H, W, 3]."""
    font = load_font(size, True)
    pad, height = max(2, size // 4), sum(font.getmetrics()) + max(2, size // 4)
    image = Image.new("RGB", (round(font.getlength(text)) + 2 * pad, height), background)
    ImageDraw.Draw(image).text((pad, height / 2), text, color, font, anchor="lm")
    return np.asarray(image)


@lru_cache(maxsize=8)
def load_font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which is part of matplotlib and has the letters of most languages."""
    import matplotlib as mpl

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
