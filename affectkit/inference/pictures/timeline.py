"""Figures of predictions over time: a strip for every value."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

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
_WIDTH, _STRIP = 8.0, 0.36  # inches
# Blue and orange differ for every kind of colour vision, and in grey.
_INK, _MUTED, _LINE = "#1b2330", "#5c6778", "#dfe3ea"
_COLORS: Final = {"unit": "#2f6fb5", "intensity": "#1c7c54", "dimension": "#1c7c54", "expression": "#5c6778"}
_ABOVE, _GAP = "#d9722e", "#eceef2"
_KEY: Final = (
    "Strips show 0 to 1 unless labelled. Dashed: threshold; orange: at or above it; hatched: no values."
)


def write_timelines(
    table: ClipTable | DataFrame | str | Path, path: str | Path, *, face: int | None = None
) -> list[Path]:
    """Write a figure for each face.

    Each value has a strip over its range. A dashed line marks the threshold of an action unit, and values from it on
    are orange; frames without values are hatched. For long clips, strips show the lowest and highest values of
    stretches of frames, and the title says so.

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

    count = max(1, len(clip.signals))
    layout = ConstrainedLayoutEngine(h_pad=0.01, hspace=0.0)
    figure = Figure(figsize=(_WIDTH, _STRIP * count + 1.35), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    course = clip.stretches(-1 if face is None else face, _MOST)
    scale = 1.0 if clip.timed else ASSUMED_FPS
    panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for k, (axes, signal) in enumerate(zip(panels, clip.signals, strict=False)):
        _strip(axes, signal, course, k, scale)
    present = 0 if face is None else int(clip.present(face).sum())
    title = [clip.name] if clip.name else []
    title += [f"model {Path(str(clip.metadata['model'])).name}"] if clip.metadata.get("model") else []
    who = "no face has values" if face is None else f"face {face}"
    title.append(f"{who}: values in {present:,} of {counted(len(clip), 'frame')}")
    text = ", ".join(title)
    if course.frames > 1:
        text += f"; bands span the lowest and highest of every {course.frames} frames"
    figure.suptitle(f"{text}\n{_KEY}", x=0.01, ha="left", fontsize=9, color=_INK, parse_math=False)
    last = panels[-1]
    last.set_xlim(course.edges[0] * scale, course.edges[-1] * scale)
    last.tick_params(axis="x", length=3, labelsize=8, colors=_MUTED)
    last.spines["bottom"].set_visible(True)
    last.set_xlabel("seconds" if clip.timed else "frame", fontsize=8.5, color=_MUTED)
    if notes := [*([clip.warning] if clip.warning else []), *clip.notes]:
        text = "\n".join(line for note in notes for line in textwrap.wrap(note, 120))
        figure.supxlabel(text, fontsize=7.5, color="#8a3b0c", parse_math=False)
    return figure


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
    words = f"{signal.name}  {signal.meaning}".rstrip() + (
        ", intensity" if signal.kind == "intensity" else ""
    )
    words = words if len(words) <= 44 else words[:43] + "…"
    place: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "va": "center"}
    axes.text(-0.03, 0.5, words, fontsize=8, color=_INK, parse_math=False, **place)
