"""Action units: the facial movements that the Facial Action Coding System (FACS) numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import total_ordering
from types import MappingProxyType
from typing import Literal, cast

from affectkit.errors import LabelSpaceError

__all__ = ["ACTION_UNITS", "ActionUnit", "Area", "Side", "UnitFacts"]

Side = Literal["L", "R"]
Area = Literal["upper", "mid", "lower", "head", "eye", "other"]

_SPELLING = re.compile(r"\s*(?:AU)?\s*([0-9]{1,2})\s*([LR])?\s*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """FACS facts about one unit number.

    Args:
        name: FACS name, in lower case.
        muscles: Muscles involved; empty where FACS names an action and no muscle.
        region: Part of the face that shows the unit.
        cue: Visible change, a phrase that can follow a colon.
        area: Coarse part of the face, used for grouping.
    """

    name: str
    muscles: tuple[str, ...]
    region: str
    cue: str
    area: Area


def _facts(area: Area, name: str, muscles: str, region: str, cue: str) -> UnitFacts:
    return UnitFacts(name, tuple(filter(None, muscles.split("; "))), region, cue, area)


# Numbers, names and muscles: Ekman, Friesen & Hager, Facial Action Coding System, 2002; 41, 42 and 44 from the
# 1978 edition (in 2002 they are degrees of 43 and 7). Regions and cues are our own wording. Codes 70 to 74 mark
# invisible parts and 0 the neutral face; they are not actions.
ACTION_UNITS: Mapping[int, UnitFacts] = MappingProxyType(
    {
        1: _facts("upper", "inner brow raiser", "frontalis, medial part",
                  "inner brows and middle of the forehead",
                  "inner ends of the brows lifted, short wrinkles in the middle of the forehead"),
        2: _facts("upper", "outer brow raiser", "frontalis, lateral part",
                  "outer brows and sides of the forehead",
                  "outer ends of the brows arched upwards"),
        4: _facts("upper", "brow lowerer", "corrugator supercilii; depressor supercilii; procerus",
                  "brows and glabella",
                  "brows drawn down and together, upright furrows between them"),
        5: _facts("upper", "upper lid raiser", "levator palpebrae superioris",
                  "upper eyelids",
                  "eyes opened wide, white visible above the iris"),
        6: _facts("upper", "cheek raiser", "orbicularis oculi, orbital part",
                  "cheeks, below and beside the eyes",
                  "cheeks lifted, crow's feet, a bulge under the eye"),
        7: _facts("upper", "lid tightener", "orbicularis oculi, palpebral part",
                  "eyelids",
                  "lids tensed, eye opening narrowed"),
        8: _facts("lower", "lips toward each other", "orbicularis oris",
                  "lips",
                  "lips brought towards each other over an open jaw"),
        9: _facts("mid", "nose wrinkler", "levator labii superioris alaeque nasi",
                  "root and sides of the nose",
                  "wrinkles along the nose, nostril wings lifted"),
        10: _facts("mid", "upper lip raiser", "levator labii superioris",
                   "upper lip and nasolabial folds",
                   "middle of the upper lip lifted, nasolabial folds deepened"),
        11: _facts("mid", "nasolabial deepener", "zygomaticus minor",
                   "nasolabial folds",
                   "middle part of the nasolabial folds deepened"),
        12: _facts("lower", "lip corner puller", "zygomaticus major",
                   "lip corners and cheeks",
                   "lip corners drawn back and up"),
        13: _facts("lower", "sharp lip puller", "levator anguli oris",
                   "lip corners",
                   "lip corners drawn sharply upwards, cheeks puffed above them"),
        14: _facts("lower", "dimpler", "buccinator",
                   "lip corners",
                   "lip corners pressed inwards, dimples beside them"),
        15: _facts("lower", "lip corner depressor", "depressor anguli oris",
                   "lip corners",
                   "lip corners drawn down"),
        16: _facts("lower", "lower lip depressor", "depressor labii inferioris",
                   "lower lip",
                   "lower lip drawn down, lower teeth visible"),
        17: _facts("lower", "chin raiser", "mentalis",
                   "chin and lower lip",
                   "chin pushed up and wrinkled, lower lip lifted"),
        18: _facts("lower", "lip pucker", "incisivii labii superioris; incisivii labii inferioris",
                   "lips",
                   "lips pushed forward and drawn together"),
        19: _facts("lower", "tongue show", "",
                   "mouth",
                   "tongue visible between the lips"),
        20: _facts("lower", "lip stretcher", "risorius; platysma",
                   "lip corners",
                   "lips stretched sideways"),
        21: _facts("lower", "neck tightener", "platysma",
                   "neck",
                   "cords of the neck tensed"),
        22: _facts("lower", "lip funneler", "orbicularis oris",
                   "lips",
                   "lips turned outwards like a funnel"),
        23: _facts("lower", "lip tightener", "orbicularis oris",
                   "lips",
                   "lips tightened, their red part narrowed"),
        24: _facts("lower", "lip pressor", "orbicularis oris",
                   "lips",
                   "lips pressed together"),
        25: _facts("lower", "lips part",
                   "depressor labii inferioris; mentalis, relaxed; orbicularis oris, relaxed",
                   "mouth",
                   "lips parted"),
        26: _facts("lower", "jaw drop", "masseter, relaxed; temporalis, relaxed; internal pterygoid, relaxed",
                   "jaw and mouth",
                   "jaw dropped loosely"),
        27: _facts("lower", "mouth stretch", "pterygoids; digastric",
                   "jaw and mouth",
                   "mouth pulled wide open"),
        28: _facts("lower", "lip suck", "orbicularis oris",
                   "lips",
                   "lips rolled in over the teeth"),
        29: _facts("lower", "jaw thrust", "", "jaw", "lower jaw pushed forward"),
        30: _facts("lower", "jaw sideways", "", "jaw", "lower jaw moved to one side"),
        31: _facts("lower", "jaw clencher", "masseter", "jaw", "jaw muscles bulging, teeth clenched"),
        32: _facts("lower", "lip bite", "", "lips", "lip held between the teeth"),
        33: _facts("lower", "cheek blow", "", "cheeks and lips", "air blown out through the lips"),
        34: _facts("lower", "cheek puff", "", "cheeks", "cheeks filled with air"),
        35: _facts("lower", "cheek suck", "", "cheeks", "cheeks sucked in between the teeth"),
        36: _facts("lower", "tongue bulge", "", "cheeks and lips", "tongue bulging behind a cheek or lip"),
        37: _facts("lower", "lip wipe", "", "lips", "tongue wiped over the lips"),
        38: _facts("mid", "nostril dilator", "nasalis, alar part", "nostrils", "nostril wings flared"),
        39: _facts("mid", "nostril compressor", "nasalis, transverse part; depressor septi nasi",
                   "nostrils", "nostrils narrowed"),
        40: _facts("other", "sniff", "", "nose", "air drawn in through the nose"),
        41: _facts("upper", "lid droop", "levator palpebrae superioris, relaxed", "upper eyelids",
                   "upper lids hanging lower"),
        42: _facts("upper", "slit", "orbicularis oculi", "eyelids", "eyes open only by a slit"),
        43: _facts("upper", "eyes closed", "levator palpebrae superioris, relaxed", "eyelids", "eyes closed"),
        44: _facts("upper", "squint", "orbicularis oculi, palpebral part", "eyelids", "eyes squinted"),
        45: _facts("upper", "blink",
                   "levator palpebrae superioris, relaxed; orbicularis oculi, palpebral part",
                   "eyelids", "eyes closed and opened again at once"),
        46: _facts("upper", "wink", "orbicularis oculi", "eyelids of one eye", "one eye closed for a moment"),
        50: _facts("other", "speech", "", "mouth", "mouth shaped by speech"),
        51: _facts("head", "head turn left", "", "head", "head turned to the left"),
        52: _facts("head", "head turn right", "", "head", "head turned to the right"),
        53: _facts("head", "head up", "", "head", "head raised"),
        54: _facts("head", "head down", "", "head", "head lowered"),
        55: _facts("head", "head tilt left", "", "head", "head tilted to the left"),
        56: _facts("head", "head tilt right", "", "head", "head tilted to the right"),
        57: _facts("head", "head forward", "", "head", "head pushed forward"),
        58: _facts("head", "head back", "", "head", "head pulled back"),
        59: _facts("head", "head shake up and down", "", "head", "head nodding, lips pressed"),
        60: _facts("head", "head shake side to side", "", "head", "head shaking, lips pressed"),
        61: _facts("eye", "eyes turn left", "", "eyes", "gaze to the left"),
        62: _facts("eye", "eyes turn right", "", "eyes", "gaze to the right"),
        63: _facts("eye", "eyes up", "", "eyes", "gaze upwards"),
        64: _facts("eye", "eyes down", "", "eyes", "gaze downwards"),
        65: _facts("eye", "walleye", "", "eyes", "eyes turned apart"),
        66: _facts("eye", "cross-eye", "", "eyes", "eyes turned towards each other"),
        68: _facts("eye", "upward rolling of eyes", "", "eyes", "eyes rolled upwards"),
        69: _facts("eye", "eyes to look at other person", "", "eyes", "gaze towards another person"),
        80: _facts("other", "swallow", "", "throat", "swallowing"),
        81: _facts("other", "chewing", "", "jaw", "chewing"),
        82: _facts("other", "shoulder shrug", "", "shoulders", "shoulders lifted"),
        83: _facts("head", "head upward and to the side", "", "head", "head moved up and to one side"),
        84: _facts("head", "head shake back and forth", "", "head", "head shaking from side to side"),
        85: _facts("head", "head nod up and down", "", "head", "head nodding"),
        91: _facts("other", "flash", "", "face", "an expression that flashes up"),
        92: _facts("other", "partial flash", "", "face", "part of an expression that flashes up"),
        97: _facts("other", "shiver", "", "face", "trembling"),
        98: _facts("other", "fast up-down look", "", "eyes", "a quick look up and down"),
    }
)  # fmt: skip


@total_ordering
@dataclass(frozen=True, slots=True)
class ActionUnit:
    """One FACS action unit, on both sides of the face or on one side.

    Sides are the subject's: `L` appears on the right of the picture. A unit without a side is the movement on both
    sides. Units sort by number, the unit without a side first.

    Args:
        id: FACS number, a key of `ACTION_UNITS`.
        side: `"L"`, `"R"`, or None for both sides.

    Raises:
        LabelSpaceError: The number or the side does not exist.

    Example:
        >>> unit = ActionUnit(12, "L")
        >>> str(unit), unit.column, unit.name
        ('AU12L', 'AU12L', 'lip corner puller')
        >>> str(unit.mirrored()), ActionUnit(1).column
        ('AU12R', 'AU01')
    """

    id: int
    side: Side | None = None

    def __post_init__(self) -> None:
        if self.id not in ACTION_UNITS:
            known = ", ".join(map(str, ACTION_UNITS))
            raise LabelSpaceError(
                f"There is no action unit {self.id!r}.", remedy=f"FACS numbers are: {known}."
            )
        if self.side not in (None, "L", "R"):
            raise LabelSpaceError(f"{self.side!r} is not a side of the face.", remedy="Use 'L', 'R' or None.")

    @classmethod
    def parse(cls, text: str) -> ActionUnit:
        """Parse a unit such as `AU12`, `12`, `au12l` or `AU01`; spaces around it are ignored.

        Raises:
            LabelSpaceError: The text is not an action unit.

        Example:
            >>> ActionUnit.parse("au01") == ActionUnit(1)
            True
        """
        match = _SPELLING.fullmatch(text)
        if match is None:
            raise LabelSpaceError(f"{text!r} is not an action unit.", remedy="Write it as AU12, 12 or AU12L.")
        return cls(int(match[1]), cast("Side | None", match[2] and match[2].upper()))

    def __str__(self) -> str:
        return f"AU{self.id}{self.side or ''}"

    def __lt__(self, other: ActionUnit) -> bool:
        return (self.id, self.side or "") < (other.id, other.side or "")

    @property
    def column(self) -> str:
        """Zero-padded name for table columns, such as `AU01` or `AU12L`."""
        return f"AU{self.id:02d}{self.side or ''}"

    @property
    def facts(self) -> UnitFacts:
        """FACS facts: muscles, region, cue and area of the face."""
        return ACTION_UNITS[self.id]

    @property
    def name(self) -> str:
        """FACS name, such as `lip corner puller`."""
        return self.facts.name

    def mirrored(self) -> ActionUnit:
        """Return the unit on the other side; a unit without a side stays the same."""
        return self if self.side is None else ActionUnit(self.id, "R" if self.side == "L" else "L")

    def unsided(self) -> ActionUnit:
        """Return the unit without its side."""
        return self if self.side is None else ActionUnit(self.id)

    def covers(self, other: ActionUnit) -> bool:
        """Check whether this unit being active implies that `other` is active.

        A one-sided movement counts for the unit without a side; a movement on both sides counts for each side.

        Example:
            >>> left, both = ActionUnit(12, "L"), ActionUnit(12)
            >>> left.covers(both), both.covers(left), left.covers(left.mirrored())
            (True, True, False)
        """
        return self.id == other.id and (self.side is None or other.side in (None, self.side))
