"""Texts on the course of a movement in four parts: what moves, how, how far or to what, and in which rhythm."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from affectkit.errors import AnnotationError, LabelSpaceError
from affectkit.facs.expressions import canonical_expression
from affectkit.facs.priors import typical_units
from affectkit.facs.sides import mirror_text
from affectkit.facs.units import ActionUnit

__all__ = [
    "PROCESS_PARTS",
    "Process",
    "class_processes",
    "expression_process",
    "gesture_processes",
    "read_processes",
    "unit_process",
]

PROCESS_PARTS: tuple[str, ...] = ("part", "motion", "target", "dynamics")
"""The four parts of a text, which are also the columns of a table of texts."""

Amplitude = Literal["slight", "clear", "strong"]
Course = Literal["brief", "quick", "slow", "held"]

# Direction of the movement that FACS describes; equal directions have equal words, whatever part of the face moves.
_MOTIONS: Mapping[int, str] = MappingProxyType(
    {
        1: "pulled upwards", 2: "pulled upwards", 4: "drawn downwards and together", 5: "opened wide",
        6: "pushed upwards", 7: "narrowed", 9: "wrinkled upwards", 10: "pulled upwards", 12: "pulled upwards",
        14: "pressed inwards", 15: "pulled downwards", 16: "pulled downwards", 17: "pushed upwards",
        18: "pushed forwards and together", 20: "stretched sideways", 22: "turned outwards", 23: "narrowed",
        24: "pressed together", 25: "parted", 26: "dropped downwards", 27: "opened wide", 28: "rolled inwards",
        43: "closed", 45: "closed and opened again",
    }
)  # fmt: skip
_AMPLITUDES: Mapping[str, str] = MappingProxyType(
    {
        "slight": "a slight movement, hardly visible",
        "clear": "a clear movement",
        "strong": "a strong movement, up to the limit",
    }
)
_COURSES: Mapping[str, str] = MappingProxyType(
    {
        "brief": "a brief movement of less than half a second",
        "quick": "a quick rise that fades at once",
        "slow": "a slow rise that goes on to the end",
        "held": "a quick rise that is held",
    }
)
_SIDES = {"L": " on the left", "R": " on the right", None: ""}


@dataclass(frozen=True, slots=True)
class Process:
    """Text on the course of a movement, in four parts.

    Args:
        part: What moves: the part of the body, or the region of the face with its side.
        motion: How it moves, with the direction.
        target: What it touches or where it ends; for a face, how far it moves.
        dynamics: How the movement unfolds: onset, repetition, duration.
    """

    part: str
    motion: str
    target: str
    dynamics: str

    @property
    def sentences(self) -> tuple[str, ...]:
        """The texts in the order of `PROCESS_PARTS`."""
        return self.part, self.motion, self.target, self.dynamics

    @classmethod
    def of(cls, sentences: Sequence[str]) -> Self:
        """Make a text of its four parts, in the order of `PROCESS_PARTS`.

        Raises:
            LabelSpaceError: There are not four parts, or one is empty.
        """
        stripped = [" ".join(text.split()) for text in sentences]
        if len(stripped) != len(PROCESS_PARTS) or not all(stripped):
            raise LabelSpaceError(
                f"{list(sentences)} is not the course of a movement.",
                remedy=f"Give four texts: {', '.join(PROCESS_PARTS)}.",
            )
        return cls(*stripped)

    def mirrored(self) -> Self:
        """The text of a mirrored picture: left and right are exchanged."""
        return type(self)(*map(mirror_text, self.sentences))


def unit_process(unit: ActionUnit, amplitude: Amplitude = "slight", course: Course = "brief") -> Process:
    """Describe the course of an action unit.

    Example:
        >>> print("; ".join(unit_process(ActionUnit(15, "L"), "strong").sentences[:3]))
        lip corners on the left; pulled downwards; a strong movement, up to the limit
    """
    facts = unit.facts
    motion = _MOTIONS.get(unit.id, facts.cue)
    return Process(facts.region + _SIDES[unit.side], motion, _AMPLITUDES[amplitude], _COURSES[course])


def expression_process(expression: str, amplitude: Amplitude = "slight", course: Course = "brief") -> Process:
    """Describe the course of an expression by its `typical_units`; `neutral` is a face without movement.

    Raises:
        LabelSpaceError: No rule names units of the expression.

    Example:
        >>> expression_process("happiness").part
        'cheeks, below and beside the eyes; lip corners and cheeks; mouth'
    """
    if expression == "neutral":
        return Process("the whole face", "no movement", "no part leaves its place", "at rest all the time")
    units = [unit_process(ActionUnit(number), amplitude, course) for number in typical_units(expression)]
    if not units:
        raise LabelSpaceError(
            f"No rule describes the movements of {expression!r}.",
            remedy=f"Describe it in a CSV file with the columns class, {', '.join(PROCESS_PARTS)}.",
        )
    parts, motions = (
        "; ".join(dict.fromkeys(texts)) for texts in zip(*((u.part, u.motion) for u in units), strict=True)
    )
    return Process(parts, motions, units[0].target, units[0].dynamics)


@cache
def gesture_processes() -> Mapping[str, Process]:
    """Describe the classes of `smg17` and `imigue32`, by name.

    Example:
        >>> gesture_processes()["folding arms"].target
        'the forearms lie on the chest'

    References:
        FG-SGL, arXiv 2603.16269, describes micro-gestures in four dimensions. Neither its texts nor the names of its
        dimensions were available: both are our own.
    """
    file = resources.files("affectkit.facs") / "gestures.csv"
    return MappingProxyType(_parse(file.read_text(encoding="utf-8"), Path(str(file))))


def class_processes(classes: Iterable[str], own: Mapping[str, Process] | None = None) -> dict[str, Process]:
    """Describe the courses of classes: expressions by their units, micro-gestures by a table.

    Args:
        classes: Class names.
        own: Descriptions by class name, which have priority.

    Raises:
        LabelSpaceError: There is no description of some classes; names them all.

    Example:
        >>> list(class_processes(["happiness", "head up"]))
        ['happiness', 'head up']
    """
    known = {**gesture_processes(), **(own or {})}
    found: dict[str, Process] = {}
    missing = []
    for name in classes:
        if name in known:
            found[name] = known[name]
        elif name == "neutral" or typical_units(name):
            found[name] = expression_process(name)
        else:
            missing.append(name)
    if missing:
        raise LabelSpaceError(
            f"There is no description of the course of {', '.join(map(repr, missing))}.",
            remedy=f"Describe each class in a CSV file with the columns class, {', '.join(PROCESS_PARTS)}.",
        )
    return found


def read_processes(path: str | Path) -> dict[str, Process]:
    r"""Read a CSV file with the columns `class`, `part`, `motion`, `target` and `dynamics`, one row per class.

    The order of the columns is free, further columns are ignored, and class names are spelled in any way that
    `canonical_expression` knows.

    Raises:
        AnnotationError: The file cannot be read, a column is missing, a cell is empty, or a class has two rows; names
            file and line.

    Example:
        >>> path = getfixture("tmp_path") / "texts.csv"
        >>> _ = path.write_text("class,part,motion,target,dynamics\nnod,the head,dips,the chest,twice\n")
        >>> read_processes(path)["nod"].motion
        'dips'
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(
            f"The table of texts cannot be read: {error}.", path=path, remedy="Save it as CSV in UTF-8."
        ) from error
    return _parse(text, path)


def _parse(text: str, path: Path) -> dict[str, Process]:
    fault_at = partial(AnnotationError, path=path)
    try:
        reader = csv.DictReader(StringIO(text, newline=""), strict=True)
        header = [(name or "").strip().casefold() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise fault_at(
            f"The table of texts is damaged: {error}.", remedy="Save it as CSV in UTF-8."
        ) from error
    needed = ("class", *PROCESS_PARTS)
    if missing := [name for name in needed if name not in header]:
        raise fault_at(
            f"The table of texts has no column {', '.join(missing)}.",
            line=1,
            remedy=f"Write the header {','.join(needed)}.",
        )
    found: dict[str, Process] = {}
    for line, row in rows:
        cells = {name: (row[name] or "").strip() for name in needed}
        if empty := [name for name in needed if not cells[name]]:
            raise fault_at(
                f"The cell {', '.join(empty)} is empty.", line=line, remedy="Write a text in every column."
            )
        name = canonical_expression(cells["class"])
        if name in found:
            raise fault_at(f"The class {name!r} has a second row.", line=line, remedy="Keep one of them.")
        found[name] = Process.of([cells[part] for part in PROCESS_PARTS])
    if not found:
        raise fault_at("The table of texts has no row.", remedy="Write one row for each class.")
    return found
