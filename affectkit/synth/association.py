"""Probability of each action unit given the expression: from FACS, or given by the user."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from affectkit.errors import AnnotationError, ConfigError, LabelSpaceError
from affectkit.facs.expressions import ExpressionSet
from affectkit.facs.rules import prior
from affectkit.facs.sets import AUSet
from affectkit.facs.units import ActionUnit

__all__ = ["Association", "association_table"]

Association = str | Path | Mapping[str, Mapping[str, float]]
"""Path of a CSV file (`expression,AU1,AU2,…`), or a mapping expression -> unit -> probability."""


def association_table(
    association: Association | None, expressions: ExpressionSet, units: AUSet, *, absent: float
) -> npt.NDArray[np.float64]:
    """Tabulate P(unit active | expression).

    Args:
        association: A CSV file with a row for each expression and a column for each unit with its own
            probabilities, or the same as nested mappings; None for `affectkit.facs.rules.prior`.
        expressions: The rows. Each needs an entry in `association`.
        units: The columns.
        absent: Probability of a unit without an entry, from 0 to 1.

    Returns:
        float64 [E, U].

    Raises:
        AnnotationError: The file cannot be read, or a cell is invalid.
        ConfigError: The mapping is invalid, or an expression is missing.

    Example:
        >>> from affectkit.facs import EXPRESSION_SETS
        >>> classes = EXPRESSION_SETS["megc3"]
        >>> planted = {name: {"AU4": 0.9} for name in classes.labels}
        >>> association_table(planted, classes, AUSet.parse("AU1,AU4"), absent=0.1)[0].tolist()
        [0.1, 0.9]
    """
    if association is None:
        return np.array(prior(expressions, units, absent=absent, neutral=absent))
    path = Path(association) if isinstance(association, str | Path) else None
    error = ConfigError if path is None else AnnotationError
    table = np.full((len(expressions), len(units)), float(absent))
    missing = dict.fromkeys(expressions.labels)
    for line, expression, cells in _rows(association):
        if expression not in expressions.labels:
            remedy = f"Use one of: {', '.join(expressions.labels)}."
            raise error(f"Unknown expression {expression!r}.", path=path, line=line, remedy=remedy)
        for unit, cell in cells.items():
            try:
                column, probability = units.index(ActionUnit.parse(str(unit))), float(cell)
            except (LabelSpaceError, TypeError, ValueError):
                column, probability = 0, math.nan
            if not 0.0 <= probability <= 1.0:
                fault = f"{unit} = {cell!r} is not a rendered unit with a probability."
                raise error(fault, path=path, line=line, remedy="Give numbers from 0 to 1.")
            table[expressions.labels.index(expression), column] = probability
        missing.pop(expression, None)
    if missing:
        fault = f"The association has no row for {', '.join(missing)}."
        raise ConfigError(fault, path=path, remedy="Add a row for every expression.")
    return table


def _rows(association: Association) -> Iterator[tuple[int | None, str, Mapping[str, Any]]]:
    """Line, expression, and cells by unit."""
    if isinstance(association, Mapping):
        yield from ((None, expression, cells) for expression, cells in association.items())
        return
    try:
        with Path(association).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if (reader.fieldnames or [""])[0] != "expression":
                fault = "The header is not `expression,AU1,AU2,…`."
                raise AnnotationError(fault, path=association, line=1, remedy="Correct the header.")
            for row in reader:
                yield reader.line_num, row.pop("expression"), row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        fault = f"Cannot read the association: {error}"
        raise AnnotationError(fault, path=association, remedy="Give a CSV file in UTF-8.") from error
