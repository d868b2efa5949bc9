"""Figures of predictions: a strip over time for every value, and for a photo a bar."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ConfigError
from affectkit.inference.pictures.clip_table import ASSUMED_FPS, ClipTable, Signal, Stretches
from affectkit.inference.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["timeline_figure", "write_timelines"]

SUFFIXES: Final = (".png", ".svg", ".pdf")
_MOST: Final = 1200  # stretches: about as many as the figure has pixels
_WIDTH, _STRIP, _BAR = 8.0, 0.36, 0.24  # inches
# Blue and orange differ for every kind of colour vision, and in grey.
_INK, _MUTED, _LINE = "#1b2330", "#5c6778", "#dfe3ea"
_COLORS: Final = {"unit": "#2f6fb5", "intensity": "#1c7c54", "dimension": "#1c7c54", "expression": "#5c6778"}
_ABOVE, _GAP = "#d9722e", "#eceef2"
_KEY: Final = (
    "Strips show 0 to 1 unless labelled. Dashed: threshold; orange: at or above it; hatched: no values."
)
_BAR_KEY: Final = "Bars show 0 to 1 unless labelled. Line: threshold; orange: at or above it."


def write_timelines(
    table: ClipTable | DataFrame | str | Path, path: str | Path, *, face: int | None = None
) -> list[Path]:
    """Write a figure for each face.

    Each value has a strip over its range. A dashed line marks the threshold of an action unit, and values from it on
    are orange; frames without values are hatched. For long clips, strips show the lowest and highest values of
    stretches of frames, and the title says so. The figure of a photo has a bar for each value.

    Args:
        table: Predictions; see `ClipTable`.
        path: A name that ends in .png, .svg or .pdf; with several faces, `_face0` … is put before the suffix.
        face: Draw only this identity, under the given name.

    Returns:
        The files written.

    Raises:
        ConfigError: The file name is invalid, or there is no such face.
        AnnotationError: The table cannot be used.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"frame": [0, 1], "timestamp": [0.0, 0.04], "success": True, "AU12": [0.2, 0.75]})
        >>> [file.name for file in write_timelines(table, getfixture("tmp_path") / "smile.png")]
        ['smile.png']
    """
    clip = table if isinstance(table, ClipTable) else ClipTable(table)
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path.name!r} is not the name of a figure.", remedy=f"Use {', '.join(SUFFIXES)}.")
    if face is not None and face not in clip.faces:
        there = ", ".join(map(str, clip.faces)) or "none"
        raise ConfigError(f"The table has no face {face}.", path=clip.path, remedy=f"Its faces: {there}.")
    faces: Sequence[int | None] = [face] if face is not None else clip.faces or [None]
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for one in faces:
        name = path if len(faces) == 1 else path.with_name(f"{path.stem}_face{one}{path.suffix}")
        with warnings.catch_warnings():
            # Letters that the font lacks are drawn as boxes.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            metadata = {"Date": None} if name.suffix.lower() == ".svg" else {}
            timeline_figure(clip, one).savefig(name, dpi=150, metadata=metadata)
        written.append(name)
    return written


def timeline_figure(clip: ClipTable, face: int | None) -> Figure:
    """Draw the figure of one face, for further use with matplotlib.

    Args:
        clip: The predictions.
        face: The identity; None for a clip without faces.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    count, is_photo = max(1, len(clip.signals)), len(clip) == 1
    layout = ConstrainedLayoutEngine(h_pad=0.01, hspace=0.0)
    height = (_BAR if is_photo else _STRIP) * count + 1.35
    figure = Figure(figsize=(_WIDTH, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    title = [clip.name] if clip.name else []
    title += [f"model {Path(str(clip.metadata['model'])).name}"] if clip.metadata.get("model") else []
    who = "no face has values" if face is None else f"face {face}"
    key, after = _BAR_KEY, ""
    if is_photo:
        title.append(who)
        _bars(figure, clip, clip.values(-1 if face is None else face)[0])
    else:
        present = 0 if face is None else int(clip.present(face).sum())
        title.append(f"{who}: values in {present:,} of {counted(len(clip), 'frame', grouped=True)}")
        course = clip.stretches(-1 if face is None else face, _MOST)
        _strips(figure, clip, course, count)
        key = _KEY
        if course.frames > 1:
            after = f"; bands span the lowest and highest of every {course.frames} frames"
    text = f"{', '.join(title)}{after}\n{key}"
    figure.suptitle(text, x=0.01, ha="left", fontsize=9, color=_INK, parse_math=False)
    text = "\n".join(line for note in (clip.caution, *clip.notes) for line in textwrap.wrap(note, 120))
    figure.supxlabel(text, fontsize=7.5, color="#8a3b0c", parse_math=False)
    return figure


def _strips(figure: Figure, clip: ClipTable, course: Stretches, count: int) -> None:
    """All values over time, below each other."""
    scale = 1.0 if clip.timed else ASSUMED_FPS
    panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for k, (axes, signal) in enumerate(zip(panels, clip.signals, strict=False)):
        _strip(axes, signal, course, k, scale)
    last = panels[-1]
    last.set_xlim(course.edges[0] * scale, course.edges[-1] * scale)
    last.tick_params(axis="x", length=3, labelsize=8, colors=_MUTED)
    last.spines["bottom"].set_visible(True)
    last.set_xlabel("seconds" if clip.timed else "frame", fontsize=8.5, color=_MUTED)


def _bars(figure: Figure, clip: ClipTable, values: NDArray[np.float32]) -> None:
    """One bar for every value, each over its own range."""
    axes = figure.subplots()
    for k, (signal, value) in enumerate(zip(clip.signals, values.tolist(), strict=True)):
        low, high = sorted((float(signal.scale(0.0)), float(signal.scale(value))))  # NaN comes last or first
        is_active = signal.threshold is not None and value >= signal.threshold
        axes.barh(k, 1, height=0.5, color=_GAP)
        if isfinite(value):
            axes.barh(
                k, high - low, left=low, height=0.5, color=_ABOVE if is_active else _COLORS[signal.kind]
            )
        if signal.threshold is not None:
            at = float(signal.scale(signal.threshold))
            axes.plot([at, at], [k - 0.38, k + 0.38], color=_INK, linewidth=1.2)
        text = "no value" if not isfinite(value) else f"{value:.2f}"
        text += f" of {signal.top:g}" if signal.kind == "intensity" and isfinite(value) else ""
        weight = "bold" if is_active else "normal"
        axes.text(1.02, k, text, fontsize=8, color=_INK, va="center", fontweight=weight, parse_math=False)
    axes.set_ylim(len(clip.signals) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.set_yticks(range(len(clip.signals)), [_words(signal) for signal in clip.signals], parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=8, labelcolor=_INK)
    axes.spines[:].set_visible(False)


def _words(signal: Signal) -> str:
    """Name and meaning of a value."""
    words = f"{signal.name}  {signal.meaning}".rstrip()
    words += ", intensity" if signal.kind == "intensity" else ""
    return words if len(words) <= 44 else words[:43] + "…"


def _strip(axes: Axes, signal: Signal, course: Stretches, k: int, scale: float) -> None:
    """One value over time."""
    edges, low, high = course.edges * scale, course.low[:, k], course.high[:, k]
    for begin, end in np.multiply(course.gaps, scale):
        axes.axvspan(begin, end, facecolor=_GAP, edgecolor="#c3c9d3", hatch="////", linewidth=0)
    color = _COLORS[signal.kind]
    zero = min(max(signal.low, 0.0), signal.top)
    axes.stairs(high, edges, baseline=zero, fill=True, color=color, alpha=0.3, linewidth=0)
    if signal.threshold is not None:
        above = np.where(high >= signal.threshold, high, np.nan)
        axes.stairs(above, edges, baseline=signal.threshold, fill=True, color=_ABOVE, linewidth=0)
        axes.axhline(signal.threshold, color=_INK, linewidth=0.8, dashes=(3, 2))
    if zero > signal.low:
        axes.axhline(zero, color=_LINE, linewidth=0.8)
    if course.frames > 1:
        axes.stairs(high, edges, baseline=low, fill=True, color=color, linewidth=0)
    axes.stairs(high, edges, baseline=None, color=color, linewidth=1.1)
    axes.set_ylim(signal.low, signal.top + 0.04 * (signal.top - signal.low))
    axes.set_yticks([signal.low, signal.top], ["", f"{signal.top:g}"], va="top")
    axes.tick_params(axis="both", length=0, labelsize=6.5, colors=_MUTED)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_LINE)
    place: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "va": "center"}
    axes.text(-0.03, 0.5, _words(signal), fontsize=8, color=_INK, parse_math=False, **place)
