"""Grammar of action-unit codes in the tables of corpora: `R1+L2`, `ref(L10)`, `R14A or 17`.

One grammar covers all corpora::

    cell   = unknown | "0" | part (("+" | ",") part)*
    part   = "ref(" choice ")" | "(" choice ")" | choice | "soft focus"
    choice = atom (("or" | "/") atom)*
    atom   = ["A/"] [L | R | T | B | A | AD | M] ["AU"] number [L | R] [grade ["/" grade]]

A number has one or two digits, a grade is a letter from A to E. Full-width characters, case, spaces around a sign,
and spreadsheet numbers (`4.0`) are accepted. `unknown` is an empty cell or one of `?`, `*`, `none`, `null`, `nan`: the
clip was not coded, and labels must be masked. `0`, the FACS code of the neutral face, means that no unit was active.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Real
from os import PathLike
from typing import Literal, cast

from affectkit.errors import AnnotationError
from affectkit.facs.sets import AUSet
from affectkit.facs.units import ACTION_UNITS, ActionUnit, Side

__all__ = ["AlternativePolicy", "CodedUnit", "Coding", "Placement", "parse_coding"]

Placement = Literal["T", "B", "A", "AD", "M"]
AlternativePolicy = Literal["first", "all", "drop", "mask"]

_UNKNOWN = frozenset({"", "?", "*", "none", "null", "nan", "<na>", "nat"})  # the last two from pandas
_NEUTRAL = "0"
_REMARKS = frozenset({"soft focus"})  # written in place of a unit
_WHOLE_NUMBER = re.compile(r"([0-9]{1,2})\.0+")
_PART = re.compile(r"(?P<ref>ref ?(?=\())?(?:\((?P<inside>[^()]*)\)|(?P<plain>[^()]*))", re.IGNORECASE)
_ATOM = re.compile(
    r"""[ ]?
    (?P<asymmetric>A/(?=[LR]))?
    (?P<prefix>AD|[LRTBAM])?[ ]?
    (?:AU)?[ ]?(?P<number>[0-9]{1,2})(?![0-9])[ ]?
    (?P<suffix>[LR])?
    (?P<grades>[A-E](?:/[A-E](?![ ]?[0-9]|[A-Z]))?)?[ ]?""",
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
_OR = re.compile(r"or|/", re.IGNORECASE)
# Number of readings of an "or" that each policy takes; None for all.
_TAKEN: Mapping[AlternativePolicy, int | None] = {"first": 1, "all": None, "drop": 0, "mask": 0}


@dataclass(frozen=True, slots=True)
class CodedUnit:
    """One unit as written by the coder.

    Args:
        unit: Action unit with its side.
        placement: `T` top lip, `B` bottom lip, `A` asymmetric, `AD` action descriptor, `M` movement, or None.
        intensity: Grades A to E: none, one, or the two ends of a range.
        is_reference: Whether it is written as `ref(...)`, present before the movement began.
        alternatives: Further readings of an "or", in order; they have no alternatives themselves.

    Example:
        >>> coded = parse_coding("R14A or 17").units[0]
        >>> str(coded.unit), coded.intensity, [str(other.unit) for other in coded.alternatives]
        ('AU14R', ('A',), ['AU17'])
    """

    unit: ActionUnit
    placement: Placement | None = None
    intensity: tuple[str, ...] = ()
    is_reference: bool = False
    alternatives: tuple[CodedUnit, ...] = ()

    @property
    def readings(self) -> tuple[ActionUnit, ...]:
        """All units that the coder considered possible, the first reading first."""
        return (self.unit, *(other.unit for other in self.alternatives))

    def __str__(self) -> str:
        choice = " or ".join([_spell(self), *map(_spell, self.alternatives)])
        return f"ref({choice})" if self.is_reference else choice


@dataclass(frozen=True, slots=True)
class Coding:
    """Content of a cell: the coded units, or unknown.

    Args:
        units: Units in the order of the coder; empty when none was active or when the clip was not coded.
        known: False when the clip was not coded: labels must be masked, not 0.
        text: The cell as read.
    """

    units: tuple[CodedUnit, ...]
    known: bool
    text: str

    def active(
        self, alternatives: AlternativePolicy = "first", *, references: bool = True
    ) -> frozenset[ActionUnit]:
        """Return the active units, with their sides.

        Args:
            alternatives: Readings of an "or" that count: the `"first"`, `"all"`, or none (`"drop"`, `"mask"`).
            references: Whether units written as `ref(...)` count.

        Example:
            >>> coding = parse_coding("R14A or 17 + ref(4)")
            >>> sorted(map(str, coding.active()))
            ['AU14R', 'AU4']
            >>> coding.active("drop", references=False)
            frozenset()
        """
        return frozenset(
            unit
            for coded in self.units
            if references or not coded.is_reference
            for unit in coded.readings[: _TAKEN[alternatives] if coded.alternatives else None]
        )

    def occurrence(
        self, units: AUSet, alternatives: AlternativePolicy = "first", *, references: bool = True
    ) -> tuple[tuple[float, ...], tuple[bool, ...]]:
        """Convert the cell to a label vector.

        One-sided units count for the unsided unit of the set, and unsided codes for both sides (`ActionUnit.covers`).
        With `"mask"`, a unit is active if all readings of some "or" name it, and unknown if only some do.

        Args:
            units: Label space.
            alternatives: Policy for an "or", see `active`.
            references: Whether units written as `ref(...)` count.

        Returns:
            For each unit of the set, 0.0 or 1.0, and whether it is known; unknown units are 0.0.

        Example:
            >>> parse_coding("L12 or R12").occurrence(AUSet.of(4, 12), "mask")
            ((0.0, 1.0), (True, True))
            >>> parse_coding("R14 or 17").occurrence(AUSet.of(12, 14, 17), "mask")
            ((0.0, 0.0, 0.0), (True, False, False))
            >>> parse_coding("?").occurrence(AUSet.of(4, 12))
            ((0.0, 0.0), (False, False))
        """
        active = self.active(alternatives, references=references)
        choices = [
            coded.readings
            for coded in self.units
            if alternatives == "mask" and (references or not coded.is_reference)
        ]
        values, mask = [], []
        for unit in units:
            named = [[reading.covers(unit) for reading in readings] for readings in choices]
            on = any(other.covers(unit) for other in active) or any(map(all, named))
            values.append(float(on))
            mask.append(self.known and (on or not any(map(any, named))))
        return tuple(values), tuple(mask)


def parse_coding(cell: object, *, path: str | PathLike[str] | None = None, line: int | None = None) -> Coding:
    """Parse the action-unit cell of a table.

    Args:
        cell: Text, a whole number (also of numpy), None or NaN.
        path: Table file, for error messages.
        line: Line in the table, for error messages.

    Raises:
        AnnotationError: The cell does not follow the grammar of this module, or names a number unknown to FACS.

    Example:
        >>> [str(coded) for coded in parse_coding("R1 + L2B+ref(4)").units]
        ['R1', 'L2B', 'ref(4)']
        >>> parse_coding(4.0).units == parse_coding("4").units
        True
        >>> parse_coding("?").known, parse_coding("0").known, parse_coding("0").units
        (False, True, ())
        >>> parse_coding("612")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        affectkit.errors.AnnotationError: Not an action-unit code: '612' is not a unit. Write it like ...
    """
    try:
        text = _read_text(cell)
        code = " ".join(unicodedata.normalize("NFKC", text).split())
        if number := _WHOLE_NUMBER.fullmatch(code):
            code = number[1]
        if code.casefold() in _UNKNOWN:
            return Coding((), known=False, text=text)
        parts = [] if code == _NEUTRAL else [part.strip() for part in _split(code)]
        units = tuple(_parse_part(part) for part in parts if part.casefold() not in _REMARKS)
        return Coding(units, known=True, text=text)
    except _UnreadableError as error:
        raise AnnotationError(
            f"Not an action-unit code: {error}.",
            path=path,
            line=line,
            remedy="Write it like 1+R2+L12B, ref(4), L14 or R14; 0 when none is active, empty if unknown.",
        ) from None


class _UnreadableError(Exception):
    """Fault of a cell."""


def _read_text(cell: object) -> str:
    if isinstance(cell, str):
        return cell
    if cell is None or type(cell).__name__ in {"NAType", "NaTType"}:  # missing values of pandas
        return ""
    if isinstance(cell, bool) or not isinstance(cell, Real):
        raise _UnreadableError(f"a cell holds text or a number, not {type(cell).__name__}")
    try:
        number = float(cell)
    except OverflowError:
        raise _UnreadableError("the number is too large") from None
    return str(int(number)) if number.is_integer() else repr(number)  # 1e+08 would read as 1E+8


def _split(code: str) -> Iterator[str]:
    """Split at the `+` and `,` outside parentheses."""
    start = depth = 0
    for position, character in enumerate(code):
        depth += (character == "(") - (character == ")")
        if character in "+," and depth == 0:
            yield code[start:position]
            start = position + 1
    yield code[start:]


def _parse_part(part: str) -> CodedUnit:
    match = _PART.fullmatch(part)
    if match is None:
        raise _UnreadableError(f"the parentheses of {_quote(part)} do not match")
    choice = match["plain"] if match["inside"] is None else match["inside"]
    first, *others = (_parse_atom(atom, match["ref"] is not None) for atom in _find_atoms(choice))
    return replace(first, alternatives=tuple(others))


def _find_atoms(choice: str) -> Iterator[re.Match[str]]:
    position = 0
    while True:
        atom = _ATOM.match(choice, position)
        if atom is None:
            rest = choice[position:]
            raise _UnreadableError(
                f"{_quote(rest)} is not a unit" if rest else "a unit is missing beside a sign"
            )
        yield atom
        if atom.end() == len(choice):
            return
        word = _OR.match(choice, atom.end())
        if word is None:
            raise _UnreadableError(f"{_quote(atom[0])} is followed by {_quote(choice[atom.end() :])}")
        position = word.end()


def _parse_atom(match: re.Match[str], is_reference: bool) -> CodedUnit:
    number, prefix, suffix = (
        int(match["number"]),
        *((match[name] or "").upper() for name in ("prefix", "suffix")),
    )
    if number not in ACTION_UNITS:
        raise _UnreadableError(f"FACS has no unit {number}")
    if prefix in {"L", "R"}:
        if suffix:
            raise _UnreadableError(f"{_quote(match[0])} names a side twice")
        prefix, suffix = "A" if match["asymmetric"] else "", prefix
    return CodedUnit(
        ActionUnit(number, cast("Side | None", suffix or None)),
        placement=cast("Placement | None", prefix or None),
        intensity=tuple((match["grades"] or "").upper().replace("/", "")),
        is_reference=is_reference,
    )


def _spell(coded: CodedUnit) -> str:
    """Inverse of `_parse_atom`."""
    number, side, grades = coded.unit.id, coded.unit.side or "", "/".join(coded.intensity)
    if coded.placement in (None, "A") and side:
        return f"{'A/' if coded.placement else ''}{side}{number}{grades}"
    return f"{coded.placement or ''}{number}{side}{grades}"


def _quote(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
