"""Charts of a report as inline SVG in the colours of the page's light or dark theme."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from itertools import product
from math import isnan
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from affectkit.metrics import Result

__all__ = ["bar_chart", "confusion_chart", "curve_charts"]

# Matplotlib draws with stand-in colours; the page's CSS variables replace them in the SVG.
_NAMES = ("ink", "muted", "line", "accent", "on-accent", "warn", "c1", "c2", "c3", "c4")
_THEME = {name: f"#1000{k:02x}" for k, name in enumerate(_NAMES, start=1)}
_WIDTH = 5.2  # inches: narrow enough to stay legible when a phone shrinks it


def bar_chart(results: Sequence[Result], metric: str) -> str | None:
    """Draw one horizontal bar per label, with its interval and the trivial baseline.

    Args:
        results: Those named `metric/label` are drawn, in their order; of several threshold rules, the first.
        metric: Target and metric, for example "au/f1_pos".

    Returns:
        An SVG element, or None if there is nothing to draw.
    """
    bars = list({r.name: r for r in reversed(results) if r.name.startswith(f"{metric}/")}.values())[::-1]
    if not bars:
        return None
    figure, axes = _canvas(0.27 * len(bars) + 0.9)
    for row, r in enumerate(bars):
        value, low, high = r.estimate
        if isnan(value):
            axes.text(0.01, row, "not annotated", va="center", fontsize=8, color=_THEME["muted"])
            continue
        axes.barh(row, value, height=0.62, color=_THEME["accent"], alpha=0.85, linewidth=0)
        axes.plot([low, high], [row, row], color=_THEME["ink"], linewidth=1.4, solid_capstyle="butt")
        axes.plot([r.baseline] * 2, [row - 0.4, row + 0.4], color=_THEME["warn"], linewidth=2)
        place = 0.02 + (max(value, r.baseline) if isnan(high) else max(high, r.baseline))
        axes.text(place, row, f"{value:.2f}", va="center", fontsize=8.5, color=_THEME["ink"])
    axes.set_yticks(range(len(bars)), [r.name.rpartition("/")[2] for r in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.grid(axis="x", color=_THEME["line"], linewidth=0.8)
    axes.spines["left"].set_visible(False)
    return _svg(figure, f"{metric} of each label with its interval and baseline")


def confusion_chart(labels: Sequence[str], counts: Tensor) -> str:
    """Draw a confusion matrix as SVG: shares of each row as shades, counts [E, E] (rows true) as text."""
    shares = counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
    size = len(labels)
    figure, axes = _canvas(0.44 * size + 1.5)
    for row, column in product(range(size), repeat=2):
        share = shares[row, column].item()
        color, ink = _THEME["accent"], _THEME["on-accent" if share > 0.55 else "ink"]
        axes.barh(row, 0.96, 0.92, column, align="edge", color=color, alpha=max(share, 0.05), linewidth=0)
        place = (column + 0.48, row + 0.46)
        axes.text(*place, f"{counts[row, column]:g}", ha="center", va="center", fontsize=9, color=ink)
    axes.set_xlim(0, size)
    axes.set_ylim(size, 0)
    axes.set_yticks([i + 0.46 for i in range(size)], labels)
    axes.set_xticks([i + 0.48 for i in range(size)], labels, rotation=40, ha="left", rotation_mode="anchor")
    axes.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xlabel("predicted", fontsize=8.5, color=_THEME["muted"])
    axes.set_ylabel("true", fontsize=8.5, color=_THEME["muted"])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return _svg(figure, "confusion matrix, rows true and columns predicted")


def curve_charts(curves: Mapping[str, Sequence[float]]) -> list[tuple[str, str]]:
    """Draw training curves, losses and scores in charts of their own.

    Args:
        curves: `epoch` (by default row numbers) and one column per curve, NaN where nothing was logged. Names that end
            in "loss" share the first chart.

    Returns:
        Title and SVG element of each chart.
    """
    from matplotlib.ticker import MaxNLocator

    longest = max((len(values) for values in curves.values()), default=0)
    epochs = list(curves.get("epoch", range(longest)))
    names = [name for name in curves if name != "epoch"]
    losses = [name for name in names if name.endswith("loss")]
    panels = {"Loss": losses, "Validation scores": [name for name in names if name not in losses]}
    charts = []
    for title, members in panels.items():
        if not members:
            continue
        figure, axes = _canvas(2.9)
        for i, name in enumerate(members):
            points = [(x, y) for x, y in zip(epochs, curves[name], strict=False) if not isnan(y)]
            if points:
                style = "-" if i < 4 else "--"
                color = _THEME[f"c{i % 4 + 1}"]
                axes.plot(*zip(*points, strict=True), style, color=color, linewidth=1.8, label=name)
        axes.grid(axis="y", color=_THEME["line"], linewidth=0.8)
        axes.set_xlabel("epoch", fontsize=8.5, color=_THEME["muted"])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0}
        axes.legend(ncols=2, fontsize=8, frameon=False, labelcolor=_THEME["ink"], **place)
        charts.append((title, _svg(figure, f"{title} by epoch")))
    return charts


def _canvas(height: float) -> tuple[Figure, Axes]:
    """A transparent figure, independent of pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.tick_params(colors=_THEME["ink"], labelsize=8.5, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_THEME["line"])
    return figure, axes


def _svg(figure: Figure, description: str) -> str:
    """The figure as an SVG element, without XML header and fixed size."""
    file = StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue()
    svg = re.sub(r"<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)
    for name, color in _THEME.items():
        svg = svg.replace(color, f"var(--{name})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)
