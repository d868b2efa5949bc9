"""The panel beside an overlay: for each face its expression and a bar for every value."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf, isnan
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from affectkit.inference.pictures.clip_table import Reading, Signal
from affectkit.inference.wording import counted

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

_ROW, _COLUMN, _LEFT, _RIGHT = 20, 352, 176, 264  # a row's height, width and bar, at a height of 480 pixels
_LINE: Final = 14  # height of a line of the note
_FEWEST: Final = 3  # bars of a face, if not all fit


class Bar(NamedTuple):
    """Row of a value; an action unit with an intensity has both.

    Args:
        place: Index of the value.
        signal: The value of the bar.
        intensity: Index of the unit's intensity, written behind its probability; else None.
    """

    place: int
    signal: Signal
    intensity: int | None = None


class Panel:
    """Layout and drawing of the bars.

    Each face has a slot while it is in view. If all bars of all faces fit beside each other, each has a fixed place;
    columns that are too short continue in another one. If not, every face shows its strongest values: those at or
    above their thresholds first.

    Args:
        signals: The values; of expressions only the likeliest is drawn.
        height: Height in pixels.
        faces: Number of slots wanted, at least 1; the others of a crowd only have boxes.
        note: Text at the bottom.
        lines: Number of further lines of text of each face.
        widest: Width in pixels that several faces may take, at least three columns; None for no limit.

    Attributes:
        width: Width in pixels, even.
        slots: Identity in each slot, or None.
        shown: Number of bars of each face.
    """

    def __init__(
        self,
        signals: Sequence[Signal],
        height: int,
        faces: int,
        note: str | None = None,
        *,
        lines: int = 0,
        widest: int | None = None,
    ) -> None:
        self.height, self.unit = height, min(2.25, max(0.7, height / 480))
        self.bars = _bars(signals)
        self.classes = [(k, s) for k, s in enumerate(signals) if s.kind == "expression"]
        self.row, self.column = self.px(_ROW), self.px(_COLUMN)
        self.font, self.bold, self.small = (
            load_font(self.px(size), bold) for size, bold in ((12.5, False), (12.5, True), (10.5, False))
        )
        self._note, wanted = note or "", max(1, faces)
        self._head = 1 + bool(self.classes) + lines
        most = inf if widest is None else max(3, widest // self.column)
        layouts = [self._arrange(wanted, columns, len(self.bars)) for columns in range(1, 9)]
        fitting = [
            one for one in layouts if one is not None and (wanted == 1 or one.stacks * one.columns <= most)
        ]
        layout = min(fitting, key=lambda one: one.stacks * one.columns, default=None)
        if layout is None and most < inf:
            layout = self._fit_strongest(wanted, int(most))
        if layout is None:  # cut off at the bottom
            layout = _Layout(8, wanted, 1, self._head + ceil(len(self.bars) / 8), len(self.bars))
        self._layout, self.shown = layout, layout.shown
        self.slots: list[int | None] = [None] * min(wanted, layout.stacks * layout.deep)
        self.width = layout.stacks * layout.columns * self.column // 2 * 2
        self._empty = Image.new("RGB", (self.width, height), PAGE)
        draw, line_height = ImageDraw.Draw(self._empty), self.px(_LINE)
        for k, line in enumerate(reversed(self._wrap(self._note, self.width))):
            y = height - self.row - self.px(4) - (k + 0.5) * line_height
            draw.text((self.px(12), y), line, ABOVE, self.small, anchor="lm")
        self._slot = Image.new("RGB", (layout.columns * self.column, layout.rows * self.row), PAGE)
        if self.shown == len(self.bars):  # the parts of a slot that never change
            self._draw = ImageDraw.Draw(self._slot)
            left, top = self._slot_place(0)
            for number, bar in enumerate(self.bars):
                x, y = self.bar_place(0, number)
                self._draw_track(x - left, y - top, bar)

    def _wrap(self, text: str, width: int) -> list[str]:
        """Lines of small text for a width in pixels."""
        return textwrap.wrap(text, max(8, int((width - self.px(24)) / self.small.getlength("n"))))

    def _arrange(self, faces: int, columns: int, bars: int) -> _Layout | None:
        """The narrowest layout for slots of so many columns; None if one is too high."""
        rows = self._head + ceil(bars / columns)
        for stacks in range(1, faces + 1):
            note = len(self._wrap(self._note, stacks * columns * self.column)) * self.px(_LINE)
            room = (self.height - self.px(8) - note) / self.row - 1.5
            deep = min(faces, int((room + 0.5) // (rows + 0.5)))  # half a row between slots
            if deep > 0 and stacks * deep >= faces:
                return _Layout(columns, stacks, deep, rows, bars)
        return None

    def _fit_strongest(self, faces: int, most: int) -> _Layout | None:
        """The layout with most faces, then most bars for each; None if there is no room for a face."""
        fewest = min(_FEWEST, len(self.bars))
        for shown_faces in range(faces, 0, -1):
            for bars in range(len(self.bars), fewest - 1, -1):
                layout = self._arrange(shown_faces, 1, bars)
                if layout is not None and layout.stacks <= most:
                    return layout
        return None

    def draw(
        self,
        readings: Sequence[Reading],
        status: Sequence[str],
        reason: str | None,
        texts: Mapping[int, Sequence[str]] | None = None,
    ) -> Image.Image:
        """Draw one frame.

        Args:
            readings: The faces in view.
            status: Parts of the last line, such as the time.
            reason: Why there is no face.
            texts: Identity → lines below the expression.
        """
        image = self._empty.copy()
        self._draw = ImageDraw.Draw(image)
        shown = {reading.face: reading for reading in readings}
        self._assign_slots([*shown])
        for slot, face in enumerate(self.slots):
            x, y = self._slot_place(slot)
            if face in shown:
                image.paste(self._slot, (x, y))
                self._draw_face(slot, shown[face], (texts or {}).get(face, ()))
            elif face is not None and reason is None:
                self._text(x, y, f"Face {face}: not in view", MUTED)
            elif slot == 0:
                self._text(x, y, "No values", ABOVE if reason else MUTED, self.bold)
                lines = self._wrap(reason or "", self._layout.columns * self.column)
                for k, line in enumerate(lines[: self._layout.rows - 1]):
                    self._text(x, y + (k + 1) * self.row, line, MUTED, self.small)
        extra = len(shown.keys() - {*self.slots})
        parts = [*status, *([f"{extra} more in view"] if extra else [])]
        if self.shown < len(self.bars):
            parts.append(f"strongest {self.shown} of {counted(len(self.bars), 'value')}")
        line = "  ·  ".join(parts)
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
        stack, depth = divmod(slot, self._layout.deep)
        top = self.px(8) + round(depth * (self._layout.rows + 0.5) * self.row)
        return stack * self._layout.columns * self.column, top

    def bar_place(self, slot: int, number: int) -> tuple[int, int]:
        """Left and top of a bar's row."""
        (x, y), (column, row) = self._slot_place(slot), divmod(number, self._layout.rows - self._head)
        return x + column * self.column, y + (row + self._head) * self.row

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

    def _draw_track(self, x: int, y: int, bar: Bar) -> None:
        """The parts of a bar that never change: name, meaning and track."""
        signal = bar.signal
        self._text(x, y, signal.name, MUTED)
        meaning = "intensity, 0 to 5" if signal.kind == "intensity" else signal.meaning
        left = self.font.getlength(signal.name) + self.px(6)
        room = self.px(_LEFT - 18) - left
        while meaning and self.small.getlength(meaning) > room:
            meaning = meaning.rstrip(" ,…")[:-1] + "…" if len(meaning) > 1 else ""
        self._text(round(x + left), y, meaning, MUTED, self.small)
        self._draw.rectangle(self.bar_box(x, y), TRACK)

    def _strongest(self, reading: Reading) -> list[Bar]:
        """The bars of a face, in the order of the table."""

        def strength(bar: Bar) -> tuple[bool, float]:
            value = float(reading.values[bar.place])
            if isnan(value):
                return False, -1.0
            limit = bar.signal.threshold
            return limit is not None and value >= limit, float(bar.signal.scale(value))

        kept = sorted(self.bars, key=strength, reverse=True)[: self.shown]
        return sorted(kept, key=self.bars.index)

    def _draw_face(self, slot: int, reading: Reading, texts: Sequence[str]) -> None:
        x, y = self._slot_place(slot)
        mark, top = self.px(10), y + (self.row - self.px(10)) // 2
        box = (x + self.px(12), top, x + self.px(12) + mark - 1, top + mark - 1)
        self._draw.rectangle(box, FACE_COLORS[reading.face % len(FACE_COLORS)])
        self._text(x + self.px(16), y, f"Face {reading.face}", INK, self.bold)
        lines = [(self.expression(reading) or "", INK)] if self.classes else []
        for k, (text, color) in enumerate([*lines, *((text, MUTED) for text in texts)], start=1):
            self._text(x, y + k * self.row, text, color)
        whole = self.shown == len(self.bars)
        for number, bar in enumerate(self.bars if whole else self._strongest(reading)):
            x, y = self.bar_place(slot, number)
            if not whole:
                self._draw_track(x, y, bar)
            self._draw_bar(x, y, bar, reading)

    def _draw_bar(self, x: int, y: int, bar: Bar, reading: Reading) -> None:
        """The value of a bar, on its track."""
        signal, value = bar.signal, float(reading.values[bar.place])
        above = signal.threshold is not None and value >= signal.threshold
        if above:
            self._text(x, y, signal.name, INK)
        left, top, right, bottom = self.bar_box(x, y, 0.0 if isnan(value) else signal.scale(value))
        if right >= left:
            self._draw.rectangle((left, top, right, bottom), ABOVE if above else BELOW)
        if signal.threshold is not None:
            tick, at = max(2, self.px(1.5)), self.bar_box(x, y, signal.threshold)[2] + 1
            edges = (at - tick // 2, top - self.px(3), at - tick // 2 + tick - 1, bottom + self.px(3))
            self._draw.rectangle(edges, INK)
        text = "–" if isnan(value) else f"{value:.1f}" if signal.kind == "intensity" else f"{value:.2f}"
        if bar.intensity is not None and not isnan(degree := float(reading.values[bar.intensity])):
            text += f"  {degree:.1f}/5"
        self._text(x + self.px(_RIGHT - 4), y, text, INK if above else MUTED)

    def _text(
        self, x: int, y: int, text: str, color: Color, font: ImageFont.FreeTypeFont | None = None
    ) -> None:
        """A line of text in the middle of a row."""
        self._draw.text((x + self.px(12), y + self.row / 2), text, color, font or self.font, anchor="lm")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Slots in stacks of `deep`, each of so many columns and rows, with so many bars."""

    columns: int
    stacks: int
    deep: int
    rows: int
    shown: int


def _bars(signals: Sequence[Signal]) -> list[Bar]:
    """A bar for every value but expressions; the intensity of a unit with a probability is part of its bar."""
    degrees = {signal.column: k for k, signal in enumerate(signals) if signal.kind == "intensity"}
    bars = []
    for k, signal in enumerate(signals):
        if signal.kind == "unit":
            bars.append(Bar(k, signal, degrees.pop(f"{signal.column}_i", None)))
    bars += [Bar(k, signals[k]) for k in degrees.values()]
    bars += [Bar(k, signal) for k, signal in enumerate(signals) if signal.kind == "dimension"]
    return bars


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
