"""Charts of a report as inline SVG in the colours of the page's light or dark theme, and as figures for loggers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from itertools import product
from math import isnan
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from affectkit.metrics import Result

__all__ = [
    "bar_chart",
    "confusion_chart",
    "curve_charts",
    "draw_bars",
    "draw_confusion",
    "fold_chart",
    "label_metrics",
]

# Colours of the light theme. In pages, matplotlib draws with stand-ins, which CSS variables replace in the SVG.
_LIGHT = {
    "ink": "#1b2330",
    "muted": "#5c6778",
    "line": "#dfe3ea",
    "accent": "#2f6fb5",
    "on-accent": "#ffffff",
    "warn": "#c2571a",
    "c1": "#2f6fb5",
    "c2": "#c2571a",
    "c3": "#1c7c54",
    "c4": "#7d4fa8",
}
_THEME = {name: f"#1000{k:02x}" for k, name in enumerate(_LIGHT, start=1)}
_WIDTH = 5.2  # inches: narrow enough to stay legible when a phone shrinks it
_NAMED_FOLDS = 30  # more names do not fit


def label_metrics(results: Sequence[Result]) -> list[str]:
    """First metric of each target that has results of single labels, such as "au/f1_pos"."""
    found: dict[str, str] = {}
    for r in results:
        if r.name.count("/") == 2:
            metric = r.name.rpartition("/")[0]
            found.setdefault(metric.partition("/")[0], metric)
    return list(found.values())


def bar_chart(results: Sequence[Result], metric: str) -> str | None:
    """SVG element of `draw_bars`; None if there is nothing to draw."""
    figure = draw_bars(results, metric, _THEME)
    return None if figure is None else _svg(figure, f"{metric} of each label with its interval and baseline")


def draw_bars(results: Sequence[Result], metric: str, colors: Mapping[str, str] = _LIGHT) -> Figure | None:
    """Draw one horizontal bar per label, with its interval and the trivial baseline.

    Bars that are not better than their baseline have the colour of the baseline.

    Args:
        results: Those named `metric/label` are drawn, in their order; of several threshold rules, the first.
        metric: Target and metric, for example "au/f1_pos".
        colors: Colours by name.

    Returns:
        The figure, or None if there is nothing to draw.
    """
    bars = list({r.name: r for r in reversed(results) if r.name.startswith(f"{metric}/")}.values())[::-1]
    if not bars:
        return None
    figure, axes = _canvas(0.27 * len(bars) + 0.9, colors)
    for row, r in enumerate(bars):
        value, low, high = r.estimate
        if isnan(value):
            axes.text(0.01, row, "not annotated", va="center", fontsize=8, color=colors["muted"])
            continue
        fill = colors["warn" if r.beats_baseline is False else "accent"]
        axes.barh(row, value, height=0.62, color=fill, alpha=0.85, linewidth=0)
        axes.plot([low, high], [row, row], color=colors["ink"], linewidth=1.4, solid_capstyle="butt")
        axes.plot([r.baseline] * 2, [row - 0.4, row + 0.4], color=colors["warn"], linewidth=2)
        place = 0.02 + (max(value, r.baseline) if isnan(high) else max(high, r.baseline))
        axes.text(place, row, f"{value:.2f}", va="center", fontsize=8.5, color=colors["ink"])
    axes.set_yticks(range(len(bars)), [r.name.rpartition("/")[2] for r in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(min([0.0, *(r.estimate.value for r in bars if r.estimate.value < 0)]), 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.grid(axis="x", color=colors["line"], linewidth=0.8)
    axes.spines["left"].set_visible(False)
    return figure


def fold_chart(scores: Mapping[str, float]) -> str:
    """Draw the score of each fold as SVG, with mean and standard deviation; folds without a score are left out."""
    known = {name: value for name, value in scores.items() if not isnan(value)}
    figure, axes = _canvas(2.9, _THEME)
    if known:
        mean, spread = fmean(known.values()), pstdev(known.values())
        axes.axhspan(mean - spread, mean + spread, color=_THEME["accent"], alpha=0.15, linewidth=0)
        axes.axhline(mean, color=_THEME["accent"], linewidth=1.4)
        axes.plot(range(len(known)), [*known.values()], "o", color=_THEME["accent"], markersize=5)
    shown = [*known] if len(known) <= _NAMED_FOLDS else []
    axes.set_xticks(range(len(shown)), shown, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
    axes.set_ylim(min([0.0, *known.values()]) - 0.04, 1.04)
    axes.grid(axis="y", color=_THEME["line"], linewidth=0.8)
    return _svg(figure, "score of each fold with mean and standard deviation")


def confusion_chart(labels: Sequence[str], counts: Tensor) -> str:
    """SVG element of `draw_confusion`."""
    figure = draw_confusion(labels, counts, _THEME)
    return _svg(figure, "confusion matrix, rows true and columns predicted")


def draw_confusion(labels: Sequence[str], counts: Tensor, colors: Mapping[str, str] = _LIGHT) -> Figure:
    """Draw a confusion matrix: shares of each row as shades, counts [E, E] (rows true) as text."""
    shares = counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
    size = len(labels)
    figure, axes = _canvas(0.44 * size + 1.5, colors)
    for row, column in product(range(size), repeat=2):
        share = shares[row, column].item()
        color, ink = colors["accent"], colors["on-accent" if share > 0.55 else "ink"]
        axes.barh(row, 0.96, 0.92, column, align="edge", color=color, alpha=max(share, 0.05), linewidth=0)
        place = (column + 0.48, row + 0.46)
        axes.text(*place, f"{counts[row, column]:g}", ha="center", va="center", fontsize=9, color=ink)
    axes.set_xlim(0, size)
    axes.set_ylim(size, 0)
    axes.set_yticks([i + 0.46 for i in range(size)], labels)
    axes.set_xticks([i + 0.48 for i in range(size)], labels, rotation=40, ha="left", rotation_mode="anchor")
    axes.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xlabel("predicted", fontsize=8.5, color=colors["muted"])
    axes.set_ylabel("true", fontsize=8.5, color=colors["muted"])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


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
        figure, axes = _canvas(2.9, _THEME)
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


def _canvas(height: float, colors: Mapping[str, str]) -> tuple[Figure, Axes]:
    """A transparent figure, independent of pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.tick_params(colors=colors["ink"], labelsize=8.5, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(colors["line"])
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
