"""Figures of what the parts of a model learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from affectkit.models.model import AffectModel

__all__ = ["Explanation", "canvas", "draw_matrix", "explanations"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A figure, with its table, that a head or a bridge can draw.

    Args:
        name: Name of the figure, such as "map".
        about: Description in one line.
        draw: Function that writes the figure. It takes the output folder (created if absent), and the frames
            uint8 [T, 3, S, S] and landmarks float [T, 68, 2] of a clip, or None. It returns the written files and the
            main findings.
        clip: Whether the figure needs a clip.
    """

    name: str
    about: str
    draw: Callable[[Path, Tensor | None, Tensor | None], tuple[tuple[Path, ...], tuple[str, ...]]]
    clip: Literal["needed", "optional", "unused"] = "unused"


def explanations(model: AffectModel, head: str | None = None) -> dict[str, tuple[Explanation, ...]]:
    """Figures that a model offers, by part: "bridge" or the name of a head.

    Args:
        model: The model.
        head: Only this head; all parts by default.

    Raises:
        ConfigError: There is no such head.
    """
    found = {
        name: model.head(name).explanations(model, name) for name in (model.heads if head is None else [head])
    }
    if head is None and model.bridge is not None:
        found = {"bridge": model.bridge.explanations(model), **found}
    return {part: offered for part, offered in found.items() if offered}


def canvas(width: float, height: float) -> Figure:
    """Create a white figure, sized in inches, without global matplotlib state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def draw_matrix(
    axes: Axes,
    values: Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    colours: str,
    limits: tuple[float, float],
) -> Any:
    """Draw a matrix on the CPU with its numbers, signed if `limits` allow negative values; returns the image.

    `colours` is a colour map of matplotlib, and `limits` are the values at its ends.
    """
    low, high = limits
    image = axes.imshow(values.numpy(), cmap=colours, vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=7.5)
    axes.set_yticks(range(len(rows)), rows, fontsize=8.5)
    axes.tick_params(length=0)
    for i, row in enumerate(values.tolist()):
        for j, value in enumerate(row):
            signed = f"{value:+.2f}" if abs(value) >= 0.005 else "·"
            colour = "white" if abs(value) > 0.6 * high else "black"
            text = signed if low < 0 else f"{value:.2f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=6.5, color=colour)
    return image
