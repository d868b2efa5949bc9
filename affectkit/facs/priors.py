"""Association tables between action units and expressions, to initialise learned ones.

Unlike the probabilities of `affectkit.facs.rules.prior`, they only mark whether a unit goes with an expression.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from affectkit.errors import AnnotationError, ConfigError, LabelSpaceError
from affectkit.facs.expressions import ExpressionSet, canonical_expression
from affectkit.facs.rules import DU_2014, EMFACS
from affectkit.facs.sets import AU_SETS, AUSet
from affectkit.facs.units import ActionUnit

__all__ = ["ABSENT", "LISTED", "PRIORS", "association", "read_association", "typical_units"]

LISTED, ABSENT = 1.0, 0.02

Row = tuple[float, ...]
Prior = tuple[AUSet, Mapping[str, tuple[int, ...]]]


def _prior(units: str, text: str) -> Prior:
    """Parse classes with their units, such as `happiness 6 12; neutral`."""
    rows = (entry.split() for entry in text.split(";"))
    return AU_SETS[units], MappingProxyType({name: tuple(map(int, numbers)) for name, *numbers in rows})


# The tables of SSM (arXiv 2604.10541): the covered units, and the units of each class.
PRIORS: Mapping[str, Prior] = MappingProxyType(
    {
        "ssm_bp4d7": _prior(
            "bp4d12",
            "happiness 6 12; sadness 1 4 15; neutral; anger 4 7 23; surprise 1 2; disgust 10 17; fear 1 2 4 7",
        ),
        "ssm_bp4d11": _prior(
            "bp4d12",
            "happiness 6 12; sadness 1 4 15; neutral; anger 4 7 23; surprise 1 2; disgust 10 15; "
            "fear 1 2 4 7; contempt 12 14; anxiety 1 4; helplessness 1 4 15; disappointment 1 4 15",
        ),
        "ssm_disfa7": _prior(
            "disfa8",
            "happiness 6 12; sadness 1 4; neutral; anger 4; surprise 1 2 25 26; disgust 9; fear 1 2 4 25 26",
        ),
        "ssm_disfa11": _prior(
            "disfa8",
            "happiness 6 12; sadness 1 4; neutral; anger 4; surprise 1 2 26; disgust 9; fear 1 2 4 26; "
            "contempt 12; anxiety 1 4 25; helplessness 1 4 26; disappointment 1 4 25",
        ),
    }
)


def typical_units(expression: str) -> tuple[int, ...]:
    """Return the FACS numbers that go with an expression, ascending; empty if no rule is published.

    These are the units that more than half of the subjects of `DU_2014` showed, or, for classes absent from that
    study, all units in `EMFACS`.

    Args:
        expression: Class in any spelling that `canonical_expression` knows.

    Example:
        >>> typical_units("happiness"), typical_units("contempt"), typical_units("neutral")
        ((6, 12, 25), (12, 14), ())
    """
    name = canonical_expression(expression)
    if name in DU_2014:
        common = [unit for unit, fraction in DU_2014[name].variants.items() if fraction > 0.5]
        return tuple(sorted((*DU_2014[name].prototypical, *common)))
    return tuple(sorted({unit.id for combination in EMFACS.get(name, ()) for unit in combination}))


def association(expressions: ExpressionSet, units: AUSet, source: str = "facs") -> tuple[Row, ...]:
    """Return the association, 0 to 1, of each expression (rows) with each unit (columns).

    A one-sided unit has the value of the unit.

    Args:
        expressions: Rows.
        units: Columns.
        source: "facs" for 1 at the `typical_units` of a class and 0.02 elsewhere; a key of `PRIORS`, with the same
            two values; or a CSV file with the header `expression,AU1,AU2,...` and numbers from 0 to 1. A file may hold
            further classes and units.

    Raises:
        LabelSpaceError: The published table lacks a class or a unit.
        AnnotationError: The file is damaged or lacks a class or a unit; the message names the line.
        ConfigError: `source` is neither a name nor a file.

    Example:
        >>> association(ExpressionSet.parse("happiness,neutral"), AUSet.of(1, 6, 12))
        ((0.02, 1.0, 1.0), (0.02, 0.02, 0.02))
        >>> association(ExpressionSet.parse("disgust,anger"), AUSet.of(4, 10), "ssm_bp4d7")
        ((0.02, 1.0), (1.0, 0.02))
    """
    names = expressions.classes
    if source == "facs":
        listed = {name: typical_units(name) for name in names}
    elif source in PRIORS:
        covered, table = PRIORS[source]
        lacking = [name for name in names if name not in table]
        lacking += [str(unit) for unit in units if unit.unsided() not in covered]
        if lacking:
            raise LabelSpaceError(
                f"The prior {source!r} lacks {', '.join(lacking)}.",
                remedy=f"It covers {', '.join(table)} and {', '.join(covered.labels)}; "
                "'facs' covers every class and unit.",
            )
        listed = dict(table)
    elif Path(source).is_file():
        return _select(Path(source), expressions, units)
    else:
        raise ConfigError(
            f"There is no prior {source!r}.",
            remedy=f"Give the path of a CSV file, or one of: facs, {', '.join(PRIORS)}.",
        )
    return tuple(tuple(LISTED if unit.id in listed[name] else ABSENT for unit in units) for name in names)


def read_association(path: Path) -> tuple[list[ActionUnit], dict[str, dict[ActionUnit, float]]]:
    """Read a CSV file with the header `expression,AU1,AU2,...`.

    Args:
        path: The file, CSV in UTF-8.

    Returns:
        The units of the header, and the probabilities by class and unit.

    Raises:
        AnnotationError: The file is damaged; the message names its line.
    """
    fault_at = partial(AnnotationError, path=path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise fault_at(f"The prior cannot be read: {error}.", remedy="Save it as CSV in UTF-8.") from error
    (_, header), *lines = [row for row in rows if any(row[1])] or [(1, [""])]
    if len(header) < 2 or header[0].casefold() != "expression":
        raise fault_at(
            f"{','.join(header)!r} is not the header of a prior.",
            line=1,
            remedy="Write 'expression,AU1,AU2,...', separated by commas.",
        )
    try:
        columns = [ActionUnit.parse(name) for name in header[1:]]
    except LabelSpaceError as error:
        raise fault_at(error.fault, line=1, remedy=error.remedy) from error
    if doubled := [str(unit) for unit in dict.fromkeys(columns) if columns.count(unit) > 1]:
        raise fault_at(f"The header names {', '.join(doubled)} twice.", line=1)
    table: dict[str, dict[ActionUnit, float]] = {}
    for line, (first, *cells) in lines:
        name = canonical_expression(first)
        if not name or name in table:
            raise fault_at(
                f"The class {name!r} has a second row." if name else "A row names no class.", line=line
            )
        if len(cells) != len(columns):
            raise fault_at(f"The row has {len(cells)} of {len(columns)} numbers.", line=line)
        table[name] = {}
        for unit, cell in zip(columns, cells, strict=True):
            try:
                table[name][unit] = float(cell)
            except ValueError:
                table[name][unit] = math.nan
            if not 0 <= table[name][unit] <= 1:
                raise fault_at(
                    f"{cell!r} under {unit} is not a number from 0 to 1.",
                    line=line,
                    remedy="Write it with a decimal point.",
                )
    return columns, table


def _select(path: Path, expressions: ExpressionSet, units: AUSet) -> tuple[Row, ...]:
    columns, table = read_association(path)
    chosen = [unit if unit in columns else unit.unsided() for unit in units]
    if lacking := [str(unit) for unit, column in zip(units, chosen, strict=True) if column not in columns]:
        raise AnnotationError(f"There is no column for {', '.join(lacking)}.", path=path, line=1)
    if lost := [name for name in expressions.classes if name not in table]:
        raise AnnotationError(
            f"There is no row for {', '.join(lost)}.",
            path=path,
            remedy=f"It has: {', '.join(table) or 'none'}.",
        )
    return tuple(tuple(table[name][unit] for unit in chosen) for name in expressions.classes)
