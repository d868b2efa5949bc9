"""Figure and table of a micro-expression model's attention within a clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from einops import rearrange
from torch import Tensor

from affectkit.errors import ConfigError
from affectkit.facs import ActionUnit
from affectkit.methods.micro_au_clip.head import MicroAUHead
from affectkit.models import AffectModel, Explanation
from affectkit.models.explain import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RegionAttention", "explain_regions", "micro_head", "region_attention", "write_regions"]

_COLUMNS: Final = 4  # panels in a row
_PANEL: Final = 2.6  # inches
_SHADE: Final = 0.55  # opacity of the colours over the face


@dataclass(frozen=True)
class RegionAttention:
    """Attention of each unit within a clip, on the CPU.

    Args:
        units: The units, such as AU12.
        probabilities: float [A].
        thresholds: float [A], from which a unit counts as active.
        weights: float [A, G, G], the region of each unit by rows and columns of patches, 0 outside.
        attention: float [A, G, G], contribution of each patch, with sum 1.
        onset: uint8 [3, S, S], the first picture of the clip.
        apex: uint8 [3, S, S], the last picture of the clip.
        learned: Whether the attention was learned or is the regions' weights.
    """

    units: tuple[str, ...]
    probabilities: Tensor
    thresholds: Tensor
    weights: Tensor
    attention: Tensor
    onset: Tensor
    apex: Tensor
    learned: bool


def micro_head(model: AffectModel, name: str | None = None) -> tuple[str, MicroAUHead]:
    """Find a model's head for micro-expressions, with its name.

    Args:
        model: The model.
        name: Name of the head; the first one by default.

    Raises:
        ConfigError: There is none, or none of this name.
    """
    found = {key: head for key, head in model.heads.items() if isinstance(head, MicroAUHead)}
    if not found:
        raise ConfigError(
            "This model has no head for micro-expressions.",
            remedy="Train a MicroAUHead, as in the recipes micro/*microauclip*.",
        )
    if name is not None and name not in found:
        raise ConfigError(
            f"There is no head for micro-expressions {name!r}.", remedy=f"Choose one of {', '.join(found)}."
        )
    key = next(iter(found)) if name is None else name
    return key, found[key]


@torch.inference_mode()
def region_attention(
    model: AffectModel, frames: Tensor, landmarks: Tensor | None = None, *, head: str | None = None
) -> RegionAttention:
    """Compute the attention of the units of one clip.

    Args:
        model: In evaluation mode, with a head for micro-expressions.
        frames: uint8 [T, 3, S, S], from onset to apex, cropped as the model expects.
        landmarks: float [T, 68, 2] in pixels of the frames; those of the mean face by default.
        head: Name of the head; the first one by default.

    Raises:
        ConfigError: There is no such head.
    """
    _, found = micro_head(model, head)
    device = next(found.parameters()).device
    given = None if landmarks is None else landmarks[None].to(device)
    features = model.features(frames[None].to(device), None, given)
    out = found.outputs(features)
    assert features.tokens is not None
    side = round(features.tokens.shape[2] ** 0.5)

    def grid(values: Tensor) -> Tensor:
        flat = torch.zeros(len(values), side * side)
        flat = flat.scatter_add(1, out.places[0].cpu(), values.float().cpu())
        return rearrange(flat, "a (row column) -> a row column", row=side)

    return RegionAttention(
        units=tuple(found.labels),
        probabilities=found.predict(out.logits)[0].float().cpu(),
        thresholds=torch.tensor(found.thresholds),
        weights=grid(out.weights[0]),
        attention=grid(out.attention[0]),
        onset=frames[0].cpu(),
        apex=frames[-1].cpu(),
        learned=found.attend is not None,
    )


def write_regions(found: RegionAttention, folder: str | Path) -> tuple[Path, Path]:
    """Write `regions.csv` and `regions.png`.

    The table has one row for each patch in each unit's region. The figure shows onset, apex and their difference, and
    one panel for each unit: the apex, the outline of the region, and the attention in colour.

    Args:
        found: The attention.
        folder: Created if absent.

    Returns:
        Paths of the table and the figure.

    Example:
        >>> one = torch.tensor([[[0.0, 1.0], [0.0, 0.5]]])
        >>> face, p = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.tensor([0.9])
        >>> found = RegionAttention(("AU12",), p, p, one, one / one.sum(), face, face, True)
        >>> table, _ = write_regions(found, getfixture("tmp_path"))
        >>> print(table.read_text(), end="")
        unit,unit_name,probability,threshold,row,column,weight,attention
        AU12,lip corner puller,0.900000,0.900000,0,1,1.000000,0.666667
        AU12,lip corner puller,0.900000,0.900000,1,1,0.500000,0.333333
    """
    import pandas as pd

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table, figure = folder / "regions.csv", folder / "regions.png"
    frame = pd.DataFrame(
        {
            "unit": found.units[a],
            "unit_name": ActionUnit.parse(found.units[a]).name,
            "probability": found.probabilities[a].item(),
            "threshold": found.thresholds[a].item(),
            "row": row,
            "column": column,
            "weight": found.weights[a, row, column].item(),
            "attention": found.attention[a, row, column].item(),
        }
        for a, row, column in found.weights.nonzero().tolist()
    )
    frame.to_csv(table, index=False, float_format="%.6f", lineterminator="\n")
    _draw_regions(found, figure)
    return table, figure


def explain_regions(model: AffectModel, head: str) -> Explanation:
    """Attention of a head as an explanation of `affectkit model explain`."""

    def draw(
        folder: Path, frames: Tensor | None, landmarks: Tensor | None
    ) -> tuple[tuple[Path, ...], tuple[str, ...]]:
        assert frames is not None  # because the clip is "needed"
        found = region_attention(model, frames, landmarks, head=head)
        rows = zip(found.units, found.probabilities, found.thresholds, strict=True)
        acting = ", ".join(f"{unit} {p:.2f}" for unit, p, threshold in rows if p >= threshold)
        return write_regions(found, folder), (f"units above their thresholds: {acting or 'none'}",)

    return Explanation("regions", "attention of each action unit within a clip", draw, "needed")


def _draw_regions(found: RegionAttention, path: Path) -> None:
    rows = 1 + -(-len(found.units) // _COLUMNS)
    figure = canvas(_COLUMNS * _PANEL + 0.5, rows * (_PANEL + 0.35))
    panels = figure.subplots(rows, _COLUMNS, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    onset, apex = (_picture(picture) for picture in (found.onset, found.apex))
    moved = (found.apex.float() - found.onset.float()).abs().mean(dim=0)
    side = apex.shape[0]
    for axes, (title, picture) in zip(panels[0], (("onset", onset), ("apex", apex)), strict=False):
        axes.imshow(picture)
        axes.set_title(title, fontsize=10)
    panels[0, 2].imshow(moved.numpy(), cmap="magma", vmin=0, vmax=max(8.0, float(moved.max())))
    panels[0, 2].set_title(f"change (grey levels, up to {float(moved.max()):.0f})", fontsize=10)
    what = "where the unit looked" if found.learned else "weights of the region (no attention)"
    legend = panels[0, 3].inset_axes((0.05, 0.62, 0.9, 0.07))
    legend.imshow(torch.linspace(0, 1, 64)[None].numpy(), cmap="inferno", aspect="auto", alpha=_SHADE)
    legend.set_xticks([0, 63], ["nowhere", "its strongest patch"], fontsize=8.5)
    for tick, end in zip(legend.get_xticklabels(), ("left", "right"), strict=True):
        tick.set_horizontalalignment(
            end
        )  # keeps labels within the panel, so that columns have the same width
    legend.set_yticks([])
    legend.set_title(f"{what}:", fontsize=9.5)
    panels[0, 3].text(
        0.5,
        0.3,
        "outline: the unit's region\nbold: at or above its threshold",
        fontsize=9,
        ha="center",
        va="center",
        transform=panels[0, 3].transAxes,
    )
    for axes, a in zip(panels[1:].flat, range(len(found.units)), strict=False):
        _region_panel(axes, found, a, apex, side)
    figure.savefig(path, dpi=130)


def _region_panel(axes: Axes, found: RegionAttention, a: int, face: Any, side: int) -> None:
    """Draw one unit: the face in grey, the attention in colour within the region, and its outline."""
    import numpy as np

    attention, inside = found.attention[a], found.weights[a] > 0
    top = float(attention.max())
    axes.imshow(face.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    shades = np.ma.masked_array(attention.numpy(), mask=~inside.numpy())
    extent = (-0.5, side - 0.5, side - 0.5, -0.5)
    axes.imshow(
        shades, cmap="inferno", vmin=0, vmax=top, alpha=_SHADE, extent=extent, interpolation="nearest"
    )
    for points in _outline(inside, side / inside.shape[0]):
        axes.plot(*points, color="white", linewidth=1.2, solid_capstyle="round")
    unit, p = found.units[a], float(found.probabilities[a])
    active = p >= float(found.thresholds[a])
    axes.set_title(
        f"{unit} {ActionUnit.parse(unit).name}\np = {p:.2f}, up to {100 * top:.0f} % in a patch",
        fontsize=8.5,
        fontweight="bold" if active else "normal",
    )
    axes.set_xlim(-0.5, side - 0.5)
    axes.set_ylim(side - 0.5, -0.5)


def _outline(inside: Tensor, cell: float) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Edges between patches inside and outside, as (xs, ys) in pixels."""
    lines = []
    for row, column in inside.nonzero().tolist():
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            r, c = row + down, column + right
            if 0 <= r < inside.shape[0] and 0 <= c < inside.shape[1] and inside[r, c]:
                continue
            x0, y0 = column + (right == 1), row + (down == 1)
            x1, y1 = x0 + (right == 0), y0 + (down == 0)
            xs, ys = ((v * cell - 0.5, w * cell - 0.5) for v, w in ((x0, x1), (y0, y1)))
            lines.append((xs, ys))
    return lines


def _picture(picture: Tensor) -> Any:
    return rearrange(picture, "c h w -> h w c").numpy()
