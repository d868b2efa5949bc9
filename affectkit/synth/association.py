"""The table P(unit | expression) that clips are drawn from: that of FACS, or one that a user plants."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from affectkit.errors import AffectKitError, AnnotationError, ConfigError, LabelSpaceError
from affectkit.facs.expressions import ExpressionSet
from affectkit.facs.rules import prior
from affectkit.facs.sets import AUSet
from affectkit.facs.units import ActionUnit

__all__ = ["Association", "association_table"]

Association = str | Path | Mapping[str, Mapping[str, float]]
"""A CSV file (`expression,AU1,AU2,…`), or by expression and unit the probability."""


def association_table(
    association: Association | None, expressions: ExpressionSet, units: AUSet, *, absent: float
) -> npt.NDArray[np.float64]:
    """P(unit active | expression), of FACS (`affectkit.facs.rules.prior`) or as a user gives it.

    Args:
        association: A CSV file with a row for each expression and a column for each unit that it is about, or the
            same as nested mappings; None for the table of FACS.
        expressions: Rows, every one of which must be given.
        units: Columns.
        absent: Probability of what is not given, from 0 to 1.

    Returns:
        float64 [E, U].

    Raises:
        AnnotationError: The file is no such table.
        ConfigError: A mapping is no such table, or an expression is missing.

    Example:
        >>> from affectkit.facs import EXPRESSION_SETS
        >>> classes = EXPRESSION_SETS["megc3"]
        >>> planted = {name: {"AU4": 0.9} for name in classes.labels}
        >>> association_table(planted, classes, AUSet.parse("AU1,AU4"), absent=0.1)[0].tolist()
        [0.1, 0.9]
    """
    if association is None:
        return np.array(prior(expressions, units, absent=absent, neutral=absent))
    table = np.full((len(expressions), len(units)), float(absent))
    given: set[str] = set()
    path = Path(association) if isinstance(association, str | Path) else None
    for line, expression, unit, text in _cells(association):
        if expression not in expressions.labels:
            known = ", ".join(expressions.labels)
            raise _fault(f"There is no expression {expression!r}; expressions are {known}.", path, line)
        try:
            column = units.index(ActionUnit.parse(unit))
            probability = float(text)  # type: ignore[arg-type]  # what is no number is caught
        except (LabelSpaceError, TypeError, ValueError) as error:
            raise _fault(f"{unit} = {text!r} is no rendered unit with a probability.", path, line) from error
        if not 0.0 <= probability <= 1.0:
            raise _fault(f"The probability of {unit} is {probability}, not from 0 to 1.", path, line)
        given.add(expression)
        table[expressions.labels.index(expression), column] = probability
    if missing := [name for name in expressions.labels if name not in given]:
        raise ConfigError(
            f"The association says nothing of {', '.join(missing)}.",
            path=path,
            remedy="Give every expression a row.",
        )
    return table


def _fault(text: str, path: Path | None, line: int | None) -> AffectKitError:
    if path is None:
        return ConfigError(text, remedy="Correct the association.")
    return AnnotationError(text, path=path, line=line, remedy="Correct the association.")


def _cells(association: Association) -> Iterator[tuple[int | None, str, str, object]]:
    """Line, expression, unit and content of every cell."""
    if isinstance(association, Mapping):
        for expression, units in association.items():
            for unit, probability in units.items():
                yield None, expression, unit, probability
        return
    path = Path(association)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(
            f"The association cannot be read: {error}", path=path, remedy="Give a CSV file."
        ) from error
    header = rows[0] if rows else []
    if not header or header[0] != "expression":
        raise AnnotationError(
            "The first line is not `expression,AU1,AU2,…`.", path=path, line=1, remedy="Add a header."
        )
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise AnnotationError(
                f"The line has {len(row)} cells, and the header {len(header)}.",
                path=path,
                line=line,
                remedy="Fill in every cell.",
            )
        for unit, text in zip(header[1:], row[1:], strict=True):
            yield line, row[0], unit, text
