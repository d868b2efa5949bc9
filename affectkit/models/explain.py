"""What a part of a model can show of what it learned."""

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
    """A figure, with its table, that a head or a bridge offers.

    Args:
        name: What it is called, such as "map".
        about: What it shows, in one line.
        draw: Writes it to a folder, made if absent, and returns the files and what is most remarkable. After the
            folder it takes frames uint8 [T, 3, S, S] and landmarks float [T, 68, 2] of a clip, unless there is none.
        clip: Whether it is about a clip.
    """

    name: str
    about: str
    draw: Callable[[Path, Tensor | None, Tensor | None], tuple[tuple[Path, ...], tuple[str, ...]]]
    clip: Literal["needed", "optional", "unused"] = "unused"


def explanations(model: AffectModel, head: str | None = None) -> dict[str, tuple[Explanation, ...]]:
    """What a model can show of what it learned, by the part that offers it: "bridge", or a head's name.

    Args:
        model: The model.
        head: One head's alone; by default those of every part.

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
    """A white figure that belongs to no global state.

    Args:
        width: In inches.
        height: In inches.
    """
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
    """Draw a matrix with its numbers; with a sign where values may be negative.

    Args:
        axes: Where.
        values: [rows, columns], on the CPU.
        rows: Their names.
        columns: Their names.
        colours: Colour map of matplotlib.
        limits: Values at the ends of the colour map.

    Returns:
        The image, for a colour bar.
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
