"""Figure and table of the learned association maps between action units and expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from affectkit.errors import ConfigError
from affectkit.facs import ActionUnit, AUSet, ExpressionSet
from affectkit.methods.ssm.semantic import SemanticBridge
from affectkit.models import AffectModel, Explanation
from affectkit.models.explain import canvas, draw_matrix

__all__ = ["Associations", "associations", "explain_maps", "write_associations"]

Direction = Literal["au_to_expression", "expression_to_au"]

_TITLES: Mapping[Direction, str] = {
    "au_to_expression": "From units to expressions",
    "expression_to_au": "From expressions to units",
}
_CELL = 0.42  # inches; keeps two digits and a point legible


@dataclass(frozen=True)
class Associations:
    """Association maps of a model, float32 [E, A] on the CPU.

    Args:
        expressions: The rows.
        units: The columns, such as AU12.
        prior: The prior.
        learned: The learned map of each direction.
        gates: Weight of the associated prototypes, 0 to 1, by direction.
    """

    expressions: tuple[str, ...]
    units: tuple[str, ...]
    prior: Tensor
    learned: Mapping[Direction, Tensor]
    gates: Mapping[Direction, float]


def associations(model: AffectModel) -> Associations:
    """Read the association maps of a model.

    Args:
        model: A model with a semantic bridge between a head of action units and a head of expressions.

    Raises:
        ConfigError: The model has no association map.
    """
    bridge = model.bridge
    if not isinstance(bridge, SemanticBridge) or bridge.map is None:
        raise ConfigError(
            "This model has no association map.",
            remedy="Train one with a semantic bridge between a head of action units and a head of expressions.",
        )
    labels = {space.kind: space.labels for space in bridge.spaces.values()}
    to_expression, to_unit, prior = (table.detach().float().cpu() for table in bridge.maps())
    found: dict[Direction, Tensor] = {"au_to_expression": to_expression, "expression_to_au": to_unit.T}
    logits: dict[Direction, Tensor | None] = {
        "au_to_expression": bridge.alpha,
        "expression_to_au": bridge.beta,
    }
    gates = {name: logit.sigmoid().item() for name, logit in logits.items() if logit is not None}
    return Associations(
        expressions=tuple(labels[ExpressionSet.kind]),
        units=tuple(labels[AUSet.kind]),
        prior=prior,
        learned={name: table for name, table in found.items() if name in gates},
        gates=gates,
    )


def write_associations(found: Associations, folder: str | Path) -> tuple[Path, Path]:
    """Write `map.csv` and `map.png`.

    The table has one row for each direction, expression and unit, with prior, learned value and difference. The figure
    has one row of panels for each direction: prior and learned map on one colour scale, and their difference.

    Args:
        found: The maps.
        folder: Created if absent.

    Returns:
        Paths of the table and the figure.

    Example:
        >>> import torch
        >>> prior, learned = torch.tensor([[1.0, 0.02]]), torch.tensor([[0.9, 0.12]])
        >>> found = Associations(("fear",), ("AU1", "AU12"), prior, {"au_to_expression": learned}, {})
        >>> table, _ = write_associations(found, getfixture("tmp_path"))
        >>> print(table.read_text(), end="")
        direction,expression,unit,unit_name,prior,learned,difference
        au_to_expression,fear,AU1,inner brow raiser,1.000000,0.900000,-0.100000
        au_to_expression,fear,AU12,lip corner puller,0.020000,0.120000,0.100000
    """
    import pandas as pd

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table, figure = folder / "map.csv", folder / "map.png"
    frame = pd.DataFrame(
        {
            "direction": direction,
            "expression": expression,
            "unit": unit,
            "unit_name": ActionUnit.parse(unit).name,
            "prior": found.prior[i, j].item(),
            "learned": learned[i, j].item(),
        }
        for direction, learned in found.learned.items()
        for i, expression in enumerate(found.expressions)
        for j, unit in enumerate(found.units)
    )
    frame["difference"] = frame["learned"] - frame["prior"]
    frame.to_csv(table, index=False, float_format="%.6f", lineterminator="\n")
    _draw(found, figure)
    return table, figure


def explain_maps(model: AffectModel) -> Explanation:
    """Association maps as an explanation of `affectkit model explain`."""

    def draw(folder: Path, *_: object) -> tuple[tuple[Path, ...], tuple[str, ...]]:
        found = associations(model)
        findings = []
        for direction, learned in found.learned.items():
            i, j = divmod(int((learned - found.prior).abs().argmax()), len(found.units))
            findings.append(
                f"{direction}: largest change from the prior: {found.expressions[i]} with {found.units[j]}, "
                f"{found.prior[i, j]:.2f} -> {learned[i, j]:.2f}"
            )
        return write_associations(found, folder), tuple(findings)

    return Explanation("map", "associations of action units and expressions, compared with the prior", draw)


def _draw(found: Associations, path: Path) -> None:
    rows, columns = found.prior.shape
    count = len(found.learned)
    width, height = columns * _CELL + 0.9, rows * _CELL * 0.8 + 2.0
    figure = canvas(3 * width + 1.6, count * height)
    units = [f"{unit} {ActionUnit.parse(unit).name}" for unit in found.units]
    panels = figure.subplots(count, 3, squeeze=False)
    top = max(table.max().item() for table in (found.prior, *found.learned.values()))
    far = max((table - found.prior).abs().max().item() for table in found.learned.values()) or 1.0
    for row, (direction, learned) in zip(panels, found.learned.items(), strict=True):
        gate = f" (gate {found.gates[direction]:.2f})" if direction in found.gates else ""
        shown = (
            ("prior", found.prior, "Blues", (0.0, top)),
            (f"learned{gate}", learned, "Blues", (0.0, top)),
            ("learned − prior", learned - found.prior, "RdBu_r", (-far, far)),
        )
        for axes, (title, values, colours, limits) in zip(row, shown, strict=True):
            image = draw_matrix(axes, values, found.expressions, units, colours, limits)
            axes.set_title(f"{_TITLES[direction]}: {title}", fontsize=9.5)
            if colours == "RdBu_r" or title != "prior":
                figure.colorbar(image, ax=axes, shrink=0.8)
    figure.savefig(path, dpi=150)
