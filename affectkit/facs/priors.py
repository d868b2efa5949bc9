"""Association tables: how strongly each action unit goes with each expression, to start learning from.

`affectkit.facs.rules.prior` gives probabilities; the tables here only say "goes with" or "does not", as models
that learn the rest want it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from affectkit.errors import AnnotationError, ConfigError, LabelSpaceError
from affectkit.facs.expressions import ExpressionSet, canonical_expression
from affectkit.facs.rules import DU_2014, EMFACS
from affectkit.facs.sets import AU_SETS, AUSet
from affectkit.facs.units import ActionUnit

__all__ = ["ABSENT", "LISTED", "PRIORS", "association", "read_association", "typical_units"]

LISTED, ABSENT = 1.0, 0.02
_HALF = 0.5  # a unit is typical when more subjects than this share showed it

Row = tuple[float, ...]


def _table(text: str) -> Mapping[str, tuple[int, ...]]:
    """Read `happiness 6 12; neutral`: classes by semicolons, each with its units."""
    rows = (entry.split() for entry in text.split(";"))
    return MappingProxyType({name: tuple(map(int, units)) for name, *units in rows})


# The tables of SSM (arXiv 2604.10541): the units they cover, and for each class those that go with it.
PRIORS: Mapping[str, tuple[AUSet, Mapping[str, tuple[int, ...]]]] = MappingProxyType(
    {
        "ssm_bp4d7": (
            AU_SETS["bp4d12"],
            _table(
                "happiness 6 12; sadness 1 4 15; neutral; anger 4 7 23; surprise 1 2; disgust 10 17; fear 1 2 4 7"
            ),
        ),
        "ssm_bp4d11": (
            AU_SETS["bp4d12"],
            _table(
                "happiness 6 12; sadness 1 4 15; neutral; anger 4 7 23; surprise 1 2; disgust 10 15; "
                "fear 1 2 4 7; contempt 12 14; anxiety 1 4; helplessness 1 4 15; disappointment 1 4 15"
            ),
        ),
        "ssm_disfa7": (
            AU_SETS["disfa8"],
            _table(
                "happiness 6 12; sadness 1 4; neutral; anger 4; surprise 1 2 25 26; disgust 9; "
                "fear 1 2 4 25 26"
            ),
        ),
        "ssm_disfa11": (
            AU_SETS["disfa8"],
            _table(
                "happiness 6 12; sadness 1 4; neutral; anger 4; surprise 1 2 26; disgust 9; fear 1 2 4 26; "
                "contempt 12; anxiety 1 4 25; helplessness 1 4 26; disappointment 1 4 25"
            ),
        ),
    }
)


def typical_units(expression: str) -> tuple[int, ...]:
    """FACS numbers of the units that go with an expression, ascending; empty where no rule is published.

    They are the units that more than half of the subjects of `DU_2014` showed; for a class which that study
    lacks, every unit that `EMFACS` names.

    Args:
        expression: The class, in any spelling that `canonical_expression` knows.

    Example:
        >>> typical_units("happiness"), typical_units("contempt"), typical_units("neutral")
        ((6, 12, 25), (12, 14), ())
    """
    name = canonical_expression(expression)
    if name in DU_2014:
        category = DU_2014[name]
        often = [unit for unit, fraction in category.variants.items() if fraction > _HALF]
        return tuple(sorted((*category.prototypical, *often)))
    return tuple(sorted({unit.id for combination in EMFACS.get(name, ()) for unit in combination}))


def association(expressions: ExpressionSet, units: AUSet, source: str = "facs") -> tuple[Row, ...]:
    """The association of each expression (rows) with each unit (columns).

    A unit on one side of the face has the association of the unit.

    Args:
        expressions: The rows.
        units: The columns.
        source: "facs" for any pair (1 for the `typical_units` of a class, 0.02 elsewhere), the name of a
            published table (`PRIORS`; the same two values), or the path of a CSV file whose header is
            `expression,AU1,AU2,...` and whose cells are numbers from 0 to 1. A file may hold more classes and
            units than are asked for.

    Returns:
        A row for each expression; the values 0 to 1.

    Raises:
        LabelSpaceError: The published table lacks a class or a unit.
        AnnotationError: The file is damaged, or lacks a class or a unit; the message names its line.
        ConfigError: `source` is neither a name nor a file.

    Example:
        >>> association(ExpressionSet.parse("happiness,neutral"), AUSet.of(1, 6, 12))
        ((0.02, 1.0, 1.0), (0.02, 0.02, 0.02))
        >>> association(ExpressionSet.parse("disgust,anger"), AUSet.of(4, 10), "ssm_bp4d7")
        ((0.02, 1.0), (1.0, 0.02))
    """
    if source == "facs":
        return tuple(_row(typical_units(name), units) for name in expressions.classes)
    if source in PRIORS:
        covered, table = PRIORS[source]
        lacking = [name for name in expressions.classes if name not in table]
        lacking += [str(unit) for unit in units if unit.unsided() not in covered]
        if lacking:
            raise LabelSpaceError(
                f"The prior {source!r} has no {', '.join(lacking)}.",
                remedy=f"It covers {', '.join(table)} and {', '.join(covered.labels)}; "
                "'facs' covers every class and unit.",
            )
        return tuple(_row(table[name], units) for name in expressions.classes)
    path = Path(source)
    if not path.is_file():
        raise ConfigError(
            f"There is no prior {source!r}.",
            remedy=f"Give the path of a CSV file, or one of: facs, {', '.join(PRIORS)}.",
        )
    return _from_file(path, expressions, units)


def _row(listed: tuple[int, ...], units: AUSet) -> Row:
    return tuple(LISTED if unit.id in listed else ABSENT for unit in units)


def read_association(path: Path) -> tuple[list[ActionUnit], dict[str, dict[ActionUnit, float]]]:
    """Read a CSV file of associations: its units, and its numbers from 0 to 1 by class and unit.

    Raises:
        AnnotationError: The file is damaged; the message names its line.
    """
    lines = _lines(path)
    _, header = next(lines, (1, []))
    if len(header) < 2 or header[0].casefold() != "expression":
        raise AnnotationError(
            f"The header {','.join(header)!r} is not that of a prior.",
            path=path,
            line=1,
            remedy="Write 'expression,AU1,AU2,...', separated by commas.",
        )
    columns = _columns(header[1:], path)
    table: dict[str, dict[ActionUnit, float]] = {}
    for line, (first, *cells) in lines:
        name = canonical_expression(first)
        if not name or name in table:
            fault = f"The class {name!r} has a second row." if name else "A row names no class."
            raise AnnotationError(fault, path=path, line=line)
        if len(cells) != len(columns):
            raise AnnotationError(
                f"{len(cells)} numbers stand under {len(columns)} units.", path=path, line=line
            )
        table[name] = {
            unit: _number(cell, unit, path, line) for unit, cell in zip(columns, cells, strict=True)
        }
    return columns, table


def _from_file(path: Path, expressions: ExpressionSet, units: AUSet) -> tuple[Row, ...]:
    columns, table = read_association(path)
    if lacking := [str(unit) for unit in units if unit not in columns and unit.unsided() not in columns]:
        raise AnnotationError(f"There is no column for {', '.join(lacking)}.", path=path, line=1)
    if lost := [name for name in expressions.classes if name not in table]:
        raise AnnotationError(
            f"There is no row for {', '.join(lost)}.",
            path=path,
            remedy=f"It has: {', '.join(table) or 'none'}.",
        )
    chosen = [unit if unit in columns else unit.unsided() for unit in units]
    return tuple(tuple(table[name][unit] for unit in chosen) for name in expressions.classes)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                if any(map(str.strip, cells)):
                    yield reader.line_num, [cell.strip() for cell in cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(
            f"The prior cannot be read: {error}.", path=path, remedy="Save it as a CSV file in UTF-8."
        ) from error


def _columns(names: list[str], path: Path) -> list[ActionUnit]:
    columns: list[ActionUnit] = []
    for name in names:
        try:
            unit = ActionUnit.parse(name)
        except LabelSpaceError as error:
            raise AnnotationError(error.fault, path=path, line=1, remedy=error.remedy) from error
        if unit in columns:
            raise AnnotationError(f"The unit {unit} has a second column.", path=path, line=1)
        columns.append(unit)
    return columns


def _number(cell: str, unit: ActionUnit, path: Path, line: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise AnnotationError(
            f"{cell!r} under {unit} is not a number from 0 to 1.",
            path=path,
            line=line,
            remedy="Write it with a decimal point.",
        )
    return value
