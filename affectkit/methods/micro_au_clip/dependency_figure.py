"""Figure and table of the dependencies between units in a model of micro-expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from affectkit.errors import ConfigError
from affectkit.methods.micro_au_clip.region_figure import micro_head
from affectkit.models import AffectModel, Explanation
from affectkit.models.explain import canvas, draw_matrix

__all__ = ["Dependencies", "dependencies", "explain_dependencies", "write_dependencies"]

_CELL: Final = 0.5  # inches; keeps two digits and a point legible


@dataclass(frozen=True)
class Dependencies:
    """Dependencies between units, on the CPU.

    Args:
        units: The units, such as AU12.
        cooccurrence: float [A, A], P(j | i) among the training labels, in row i and column j.
        drawn: float [A, A + 1], attention of unit i due to co-occurrence alone; the last column is the whole face.
        learned: float [A, A + 1], attention of unit i, averaged over layers and heads.
        gate: Weight of the attended units.
        at_rest: Whether the attention is that of a still face instead of a clip.
    """

    units: tuple[str, ...]
    cooccurrence: Tensor
    drawn: Tensor
    learned: Tensor
    gate: float
    at_rest: bool


@torch.inference_mode()
def dependencies(
    model: AffectModel,
    frames: Tensor | None = None,
    landmarks: Tensor | None = None,
    *,
    head: str | None = None,
) -> Dependencies:
    """Compute the dependencies between the units of a model.

    Args:
        model: In evaluation mode, with a head for micro-expressions whose units attend to each other.
        frames: uint8 [T, 3, S, S], a clip from onset to apex; a still face by default.
        landmarks: float [T, 68, 2] in pixels of the frames.
        head: Name of the head; the first one by default.

    Raises:
        ConfigError: There is no such head, or its units do not attend to each other.
    """
    _, found = micro_head(model, head)
    if found.depend is None:
        raise ConfigError(
            "The units of this model do not depend on each other.", remedy="Train a head with `gda: true`."
        )
    spec = model.input_spec
    device = next(found.parameters()).device
    clip = frames
    if clip is None:
        clip = torch.full((max(2, spec.frames), 3, spec.size, spec.size), 128, dtype=torch.uint8)
    given = None if landmarks is None else landmarks[None].to(device)
    features = model.features(clip[None].to(device), None, given)
    local = found.outputs(features).local
    assert features.frames is not None
    whole = found.motion(features.frames, features.frame_mask)
    return Dependencies(
        units=tuple(found.labels),
        cooccurrence=found.depend.cooccurrence.float().cpu(),
        drawn=found.depend.bias.float().softmax(dim=-1)[:-1].cpu(),
        learned=found.depend.attention(local, whole)[0].float().cpu(),
        gate=found.depend.gate.item(),
        at_rest=frames is None,
    )


def write_dependencies(found: Dependencies, folder: str | Path) -> tuple[Path, Path]:
    """Write `dependencies.csv` and `dependencies.png`.

    The table has one row for each pair of units, with the whole face as `face`. The figure has three panels:
    co-occurrence of the labels, learned attention, and the part of it that co-occurrence does not explain.

    Args:
        found: The dependencies.
        folder: Created if absent.

    Returns:
        Paths of the table and the figure.

    Example:
        >>> both = torch.tensor([[1.0, 0.5], [0.2, 1.0]])
        >>> looks = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
        >>> found = Dependencies(("AU1", "AU2"), both, looks, looks, 0.1, True)
        >>> table, _ = write_dependencies(found, getfixture("tmp_path"))
        >>> table.read_text().splitlines()[2]
        'AU1,AU2,0.500000,0.300000,0.300000,0.000000'
    """
    import pandas as pd

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table, figure = folder / "dependencies.csv", folder / "dependencies.png"
    frame = pd.DataFrame(
        {
            "unit": unit,
            "looks_at": other,
            "cooccurrence": None if other == "face" else found.cooccurrence[i, j].item(),
            "drawn": found.drawn[i, j].item(),
            "learned": found.learned[i, j].item(),
        }
        for i, unit in enumerate(found.units)
        for j, other in enumerate((*found.units, "face"))
    )
    frame["difference"] = frame["learned"] - frame["drawn"]
    frame.to_csv(table, index=False, float_format="%.6f", lineterminator="\n")
    _draw_dependencies(found, figure)
    return table, figure


def explain_dependencies(model: AffectModel, head: str) -> Explanation:
    """Dependencies of a head as an explanation of `affectkit model explain`."""

    def draw(
        folder: Path, frames: Tensor | None, landmarks: Tensor | None
    ) -> tuple[tuple[Path, ...], tuple[str, ...]]:
        found = dependencies(model, frames, landmarks, head=head)
        moved = found.learned - found.drawn
        i, j = divmod(int(moved.argmax()), moved.shape[1])
        finding = (
            f"largest change beyond co-occurrence: {found.units[i]} looks at {(*found.units, 'the whole face')[j]}, "
            f"{found.drawn[i, j]:.2f} -> {found.learned[i, j]:.2f}; gate {found.gate:.2f}"
        )
        return write_dependencies(found, folder), (finding,)

    return Explanation(
        "dependencies",
        "attention between action units, compared with their co-occurrence",
        draw,
        "optional",
    )


def _draw_dependencies(found: Dependencies, path: Path) -> None:
    n = len(found.units)
    width, height = (n + 1) * _CELL + 1.6, n * _CELL * 0.85 + 1.9
    figure = canvas(3 * width, height)
    panels = figure.subplots(1, 3)
    moved = found.learned - found.drawn
    far = float(moved.abs().max()) or 1.0
    where = "a face at rest" if found.at_rest else "this clip"
    names = [*found.units, "face"]
    shown: Sequence[tuple[str, Tensor, Sequence[str], str, tuple[float, float]]] = (
        ("labels: P(column | row)", found.cooccurrence, names[:-1], "Blues", (0.0, 1.0)),
        (
            f"attention of the row's unit, {where}",
            found.learned,
            names,
            "Greens",
            (0.0, float(found.learned.max())),
        ),
        (f"beyond co-occurrence (gate {found.gate:.2f})", moved, names, "RdBu_r", (-far, far)),
    )
    for axes, (title, values, columns, colours, limits) in zip(panels, shown, strict=True):
        draw_matrix(axes, values, found.units, columns, colours, limits)
        axes.set_title(title, fontsize=9.5)
    figure.savefig(path, dpi=150)
