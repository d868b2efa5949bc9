"""The grammar in which corpora write action units into a table cell: `R1+L2`, `ref(L10)`, `R14A or 17`.

One grammar reads all of them::

    cell   = unknown | "0" | part (("+" | ",") part)*
    part   = "ref(" choice ")" | "(" choice ")" | choice | "soft focus"
    choice = atom (("or" | "/") atom)*
    atom   = ["A/"] [L | R | T | B | A | AD | M] ["AU"] number [L | R] [grade ["/" grade]]

A number has one or two digits, a grade is a letter from A to E. Full-width characters, capitals, blanks
around a sign, and the form in which a spreadsheet writes a whole cell (`4.0`) do not matter. `unknown` is an
empty cell or one of `?`, `*`, `none`, `null`, `nan`: nobody coded the clip, and its labels must be masked.
`0`, the FACS code of the neutral face, says that the clip was coded and that nothing was active.
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

_UNKNOWN = frozenset({"", "?", "*", "none", "null", "nan", "<na>", "nat"})  # the last two are pandas'
_NEUTRAL = "0"
_REMARKS = frozenset({"soft focus"})  # said in place of a unit, and naming none
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
# How many of an "or"'s readings each policy takes; None is all of them.
_TAKEN: Mapping[AlternativePolicy, int | None] = {"first": 1, "all": None, "drop": 0, "mask": 0}


@dataclass(frozen=True, slots=True)
class CodedUnit:
    """One unit as the coder wrote it.

    Args:
        unit: The action unit with its side.
        placement: `T` top lip, `B` bottom lip, `A` asymmetric, `AD` action descriptor, `M` movement, or None.
        intensity: The grades A to E: none, one, or the two ends of a range.
        is_reference: Written as `ref(...)`: there before the movement began.
        alternatives: The further readings of an "or", in the coder's order; they have none themselves.

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
        """Every unit that the coder held possible, the first one first."""
        return (self.unit, *(other.unit for other in self.alternatives))

    def __str__(self) -> str:
        choice = " or ".join([_spell(self), *map(_spell, self.alternatives)])
        return f"ref({choice})" if self.is_reference else choice


@dataclass(frozen=True, slots=True)
class Coding:
    """What a cell says: the coded units, or that nothing is known.

    Args:
        units: The units in the coder's order; empty when none was active, and when nothing is known.
        known: False when nobody coded the clip: its labels must be masked, and are not zero.
        text: The cell as it was read.
    """

    units: tuple[CodedUnit, ...]
    known: bool
    text: str

    def active(
        self, alternatives: AlternativePolicy = "first", *, references: bool = True
    ) -> frozenset[ActionUnit]:
        """The units that were active, with their sides.

        Args:
            alternatives: What an "or" stands for: its `"first"` reading, `"all"` of them, or none of them
                (`"drop"`, `"mask"`; see `uncertain`).
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
            for coded in self._counted(references)
            for unit in coded.readings[: _TAKEN[alternatives] if coded.alternatives else None]
        )

    def uncertain(self, *, references: bool = True) -> frozenset[ActionUnit]:
        """The units that only an "or" names.

        Args:
            references: Whether units written as `ref(...)` count.
        """
        return self.active("all", references=references) - self.active("drop", references=references)

    def occurrence(
        self, units: AUSet, alternatives: AlternativePolicy = "first", *, references: bool = True
    ) -> tuple[tuple[float, ...], tuple[bool, ...]]:
        """The cell as a label vector.

        A unit on one side counts for the unsided unit of the set, and an unsided code counts for both sides
        (`ActionUnit.covers`). Under `"mask"` a unit is active when every reading of some "or" names it, and
        unknown when only some do.

        Args:
            units: The label space.
            alternatives: How an "or" is read, as in `active`.
            references: Whether units written as `ref(...)` count.

        Returns:
            For each unit of the set 0.0 or 1.0, and whether that is known; what is not known is 0.0.

        Example:
            >>> parse_coding("L12 or R12").occurrence(AUSet.of(4, 12), "mask")
            ((0.0, 1.0), (True, True))
            >>> parse_coding("R14 or 17").occurrence(AUSet.of(12, 14, 17), "mask")
            ((0.0, 0.0, 0.0), (True, False, False))
            >>> parse_coding("?").occurrence(AUSet.of(4, 12))
            ((0.0, 0.0), (False, False))
        """
        active = self.active(alternatives, references=references)
        choices = [coded.readings for coded in self._counted(references)] if alternatives == "mask" else []
        values, mask = [], []
        for unit in units:
            named = [[reading.covers(unit) for reading in readings] for readings in choices]
            on = any(other.covers(unit) for other in active) or any(map(all, named))
            values.append(float(on))
            mask.append(self.known and (on or not any(map(any, named))))
        return tuple(values), tuple(mask)

    def _counted(self, references: bool) -> Iterator[CodedUnit]:
        return (coded for coded in self.units if references or not coded.is_reference)


def parse_coding(cell: object, *, path: str | PathLike[str] | None = None, line: int | None = None) -> Coding:
    """Read the action-unit cell of a table.

    Args:
        cell: The cell as a reader gives it: text, a whole number (numpy's too), None or NaN.
        path: The table, for the error message.
        line: The line in it, for the error message.

    Raises:
        AnnotationError: The cell is not in the grammar of this module, or names a number that FACS lacks.
            Nothing else is ever raised, whatever the cell holds.

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
        affectkit.errors.AnnotationError: Not an action-unit code: '612' is no unit. Write it like ...
    """
    try:
        return _parse(_text(cell))
    except _UnreadableError as error:
        raise AnnotationError(
            f"Not an action-unit code: {error}.",
            path=path,
            line=line,
            remedy="Write it like 1+R2+L12B, ref(4), L14 or R14; 0 when none is active, empty if unknown.",
        ) from None


class _UnreadableError(Exception):
    """What is wrong with a cell."""


def _text(cell: object) -> str:
    if isinstance(cell, str):
        return cell
    if cell is None or type(cell).__name__ in {"NAType", "NaTType"}:  # pandas' own missing values
        return ""
    if not isinstance(cell, bool) and isinstance(cell, Real):
        try:
            number = float(cell)
        except OverflowError:
            raise _UnreadableError("the number is too large") from None
        return (
            str(int(number)) if number.is_integer() else repr(number)
        )  # never 1e+08, which would read as 1E+8
    raise _UnreadableError(f"a cell holds text or a number, not {type(cell).__name__}")


def _parse(text: str) -> Coding:
    code = " ".join(unicodedata.normalize("NFKC", text).split())
    if number := _WHOLE_NUMBER.fullmatch(code):
        code = number[1]
    if code.casefold() in _UNKNOWN:
        return Coding((), known=False, text=text)
    parts = [] if code == _NEUTRAL else [part.strip() for part in _split(code)]
    return Coding(tuple(_unit(part) for part in parts if part.casefold() not in _REMARKS), True, text)


def _split(code: str) -> Iterator[str]:
    """The parts between the `+` and `,` that stand outside parentheses."""
    start = depth = 0
    for position, character in enumerate(code):
        depth += (character == "(") - (character == ")")
        if character in "+," and depth == 0:
            yield code[start:position]
            start = position + 1
    yield code[start:]


def _unit(part: str) -> CodedUnit:
    match = _PART.fullmatch(part)
    if match is None:
        raise _UnreadableError(f"the parentheses of {_shown(part)} do not match")
    choice = match["plain"] if match["inside"] is None else match["inside"]
    first, *others = _atoms(choice, is_reference=match["ref"] is not None)
    return replace(first, alternatives=tuple(others))


def _atoms(choice: str, *, is_reference: bool) -> Iterator[CodedUnit]:
    position = 0
    while True:
        atom = _ATOM.match(choice, position)
        if atom is None:
            rest = choice[position:]
            raise _UnreadableError(
                f"{_shown(rest)} is no unit" if rest else "a unit is missing beside a sign"
            )
        yield _atom(atom, is_reference)
        if atom.end() == len(choice):
            return
        word = _OR.match(choice, atom.end())
        if word is None:
            raise _UnreadableError(f"{_shown(atom[0])} is followed by {_shown(choice[atom.end() :])}")
        position = word.end()


def _atom(match: re.Match[str], is_reference: bool) -> CodedUnit:
    number, prefix, suffix = (
        int(match["number"]),
        (match["prefix"] or "").upper(),
        (match["suffix"] or "").upper(),
    )
    if number not in ACTION_UNITS:
        raise _UnreadableError(f"FACS has no unit {number}")
    if prefix in {"L", "R"}:
        if suffix:
            raise _UnreadableError(f"{_shown(match[0])} names a side twice")
        prefix, suffix = "A" if match["asymmetric"] else "", prefix
    return CodedUnit(
        ActionUnit(number, cast("Side | None", suffix or None)),
        placement=cast("Placement | None", prefix or None),
        intensity=tuple((match["grades"] or "").upper().replace("/", "")),
        is_reference=is_reference,
    )


def _spell(coded: CodedUnit) -> str:
    """One reading in the grammar: the inverse of `_atom`."""
    number, side, grades = coded.unit.id, coded.unit.side or "", "/".join(coded.intensity)
    if coded.placement in (None, "A") and side:
        return f"{'A/' if coded.placement else ''}{side}{number}{grades}"
    return f"{coded.placement or ''}{number}{side}{grades}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
