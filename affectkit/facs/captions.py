"""Sentences about a face, from the intensities of its action units.

The sentences name movements, never expressions. Some paraphrases are held out: a model trained on the others can be
tested on wordings that it has not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType

from affectkit.facs.priors import typical_units
from affectkit.facs.units import ActionUnit

__all__ = ["CAPTION_REGIONS", "describe_expression", "write_captions"]

CAPTION_REGIONS: tuple[str, ...] = ("brows", "eyes", "cheeks", "nose", "mouth")
"""Regions of the face with a caption of their own."""

_VISIBLE = 1.0  # lowest intensity that is mentioned, FACS level A
_CLEAR, _STRONG = 2.0, 3.5

# In every tuple of wordings, the last ones are held out.
_DEGREES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "slight": ("slightly", "faintly", "a little"),
        "clear": ("clearly", "visibly", "distinctly"),
        "strong": ("strongly", "very much", "intensely"),
    }
)
_MOVEMENTS: Mapping[str, Mapping[int, tuple[str, str, str]]] = MappingProxyType(
    {
        "brows": {
            1: ("inner brows {how} raised", "inner ends of the brows {how} lifted", "middle of the forehead {how} up"),
            2: ("outer brows {how} raised", "outer ends of the brows {how} arched", "sides of the forehead {how} up"),
            4: ("brows {how} lowered", "brows {how} drawn together", "forehead {how} knitted into a frown"),
        },
        "eyes": {
            5: ("eyes {how} widened", "upper lids {how} raised", "eyes {how} wide open"),
            7: ("lids {how} tightened", "eyes {how} narrowed", "eyelids {how} squinting"),
            43: ("eyes closed", "lids shut", "eyelids down"),
            45: ("eyes {how} closing in a blink", "lids {how} shut for a blink", "eyelids {how} blinking"),
        },
        "cheeks": {
            6: ("cheeks {how} raised", "cheeks {how} lifted under the eyes", "skin below the eyes {how} bunched"),
        },
        "nose": {
            9: ("nose {how} wrinkled", "root of the nose {how} creased", "bridge of the nose {how} crinkled"),
            10: ("upper lip {how} raised", "folds beside the nose {how} deepened", "upper lip {how} curled"),
        },
        "mouth": {
            12: ("lip corners {how} pulled up", "mouth corners {how} raised", "mouth {how} curved upwards"),
            14: ("lip corners {how} tightened", "mouth corners {how} dimpled", "mouth {how} pressed in at its ends"),
            15: ("lip corners {how} pulled down", "mouth corners {how} lowered", "mouth {how} curved downwards"),
            16: ("lower lip {how} pulled down", "lower lip {how} lowered", "lower teeth {how} bared"),
            17: ("chin {how} raised", "chin {how} pushed up", "skin of the chin {how} bunched"),
            18: ("lips {how} puckered", "lips {how} pushed forward", "mouth {how} drawn into a point"),
            20: ("lips {how} stretched sideways", "mouth {how} stretched", "mouth {how} widened to its sides"),
            22: ("lips {how} funnelled", "lips {how} turned outwards", "mouth {how} rounded like a funnel"),
            23: ("lips {how} tightened", "lips {how} narrowed", "red of the lips {how} thinned"),
            24: ("lips {how} pressed together", "lips {how} pressed", "mouth {how} squeezed shut"),
            25: ("lips {how} parted", "lips {how} apart", "mouth {how} open"),
            26: ("jaw {how} dropped", "jaw {how} lowered", "chin {how} hanging"),
            28: ("lips {how} sucked in", "lips {how} rolled in", "lips {how} hidden behind the teeth"),
        },
    }
)  # fmt: skip
_NUM_HELD_OUT = 2  # of sentence frames
_FRAMES: tuple[str, ...] = (
    "The {region}: {what}.",
    "Around the {region}, {what}.",
    "One sees {what} at the {region}.",
    "In the area of the {region}: {what}.",
    "Looking at the {region}, one notices {what}.",
    "With regard to the {region}: {what}.",
)
_REST: tuple[str, ...] = ("no movement", "nothing tense", "everything at ease")
_TONES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "calm": ("calm", "still", "at rest"),
        "alert": ("alert", "attentive", "awake"),
        "pleasant": ("pleasant", "friendly", "positive"),
        "unpleasant": ("unpleasant", "tense", "negative"),
        "mixed": ("mixed", "ambiguous", "divided"),
    }
)
_GLOBAL: tuple[str, ...] = (
    "The face looks {how} {tone}.",
    "This face is {how} {tone}.",
    "A face that seems {how} {tone}.",
    "The overall impression is {how} {tone}.",
    "Taken as a whole, the face appears {how} {tone}.",
    "One would call this face {how} {tone}.",
)
_SUMMARY: tuple[str, ...] = (
    "Most telling: {what}.",
    "The face shows {what}.",
    "A face with {what}.",
    "The strongest signs are {what}.",
    "What stands out most is {what}.",
    "In short, {what}.",
)
_POSITIVE, _NEGATIVE = frozenset({6, 12}), frozenset({4, 9, 10, 14, 15, 16, 17, 20, 23, 24})
_CUES = 3  # movements in a summary


def write_captions(
    intensities: Mapping[str, float], rng: Random, *, held_out: bool = False
) -> dict[str, str]:
    """Write captions of a face.

    Args:
        intensities: By unit (`AU4`, `AU12L`), the intensity from 0 to 5. Units that are absent are unknown and are not
            mentioned. That of a one-sided unit is by how much its side exceeds the other one.
        rng: Chooses the wordings.
        held_out: Use the held-out wordings instead of the others.

    Returns:
        By part: `global`, one sentence on pleasantness and strength; each of `CAPTION_REGIONS` with a known unit, one
        sentence on its movements; `summary`, the strongest movements. Empty if no unit is known.

    Example:
        >>> captions = write_captions({"AU6": 2.0, "AU12": 4.0, "AU12L": 3.0, "AU4": 0.0}, Random(0))
        >>> for part, text in captions.items():
        ...     print(f"{part}: {text}")
        global: The overall impression is very much pleasant.
        brows: In the area of the brows: nothing tense.
        cheeks: In the area of the cheeks: cheeks visibly lifted under the eyes.
        mouth: Around the mouth, mouth corners strongly raised on the left.
        summary: The face shows mouth corners strongly raised on the left and cheeks visibly raised.
    """
    units = {ActionUnit.parse(name): value for name, value in intensities.items()}
    whole = {unit.id: value for unit, value in units.items() if unit.side is None}
    sides = {unit: value for unit, value in units.items() if unit.side is not None}
    if not whole:
        return {}

    def pick(wordings: Sequence[str], num_held_out: int = 1) -> str:
        return rng.choice(wordings[-num_held_out:] if held_out else wordings[:-num_held_out])

    def name(unit: int, movements: Mapping[int, tuple[str, str, str]]) -> str:
        text = pick(movements[unit]).format(how=pick(_DEGREES[_degree(whole[unit])]))
        for side, word in (("L", "left"), ("R", "right")):
            if sides.get(ActionUnit(unit, side), 0.0) >= max(_VISIBLE, whole[unit] / 2):  # type: ignore[arg-type]
                text += f" on the {word}"
        return text

    active = {unit: value for unit, value in whole.items() if value >= _VISIBLE}
    tone, degree = _tone(active), _degree(max(active.values(), default=0.0))
    how = "" if tone == "calm" else f"{pick(_DEGREES[degree])} "
    captions = {
        "global": pick(_GLOBAL, _NUM_HELD_OUT).format(how=how, tone=pick(_TONES[tone])).replace("  ", " ")
    }
    for region, movements in _MOVEMENTS.items():
        if known := [unit for unit in movements if unit in whole]:
            what = _join([name(unit, movements) for unit in known if unit in active]) or pick(_REST)
            captions[region] = pick(_FRAMES, _NUM_HELD_OUT).format(region=region, what=what)
    every = {unit: text for movements in _MOVEMENTS.values() for unit, text in movements.items()}
    strongest = sorted((unit for unit in active if unit in every), key=lambda unit: (-active[unit], unit))
    what = _join([name(unit, every) for unit in strongest[:_CUES]]) or pick(_REST)
    captions["summary"] = pick(_SUMMARY, _NUM_HELD_OUT).format(what=what)
    return captions


def describe_expression(expression: str, count: int = 6) -> list[str]:
    """Describe a class by the movements of its `typical_units`, without its name.

    Args:
        expression: Class in any spelling that `canonical_expression` knows.
        count: Number of paraphrases of each of two sentences, those on the whole face and on its strongest movements.

    Returns:
        Distinct sentences; empty for a class that no rule describes.

    Example:
        >>> describe_expression("disgust", 1)[0]
        'The overall impression is very much unpleasant.'
    """
    typical = typical_units(expression)
    if not typical and expression != "neutral":
        return []
    known = {f"AU{unit}": 0.0 for movements in _MOVEMENTS.values() for unit in movements}
    strengths = known | {f"AU{unit}": 4.0 for unit in typical}
    written = (write_captions(strengths, Random(seed)) for seed in range(count))
    return list(dict.fromkeys(text for one in written for text in (one["global"], one["summary"])))


def _degree(intensity: float) -> str:
    return "slight" if intensity < _CLEAR else "clear" if intensity < _STRONG else "strong"


def _tone(active: Mapping[int, float]) -> str:
    """Valence-like tone of a face: more positive or negative movement, by intensity."""
    pleasant, unpleasant = (
        sum(value for unit, value in active.items() if unit in units) for units in (_POSITIVE, _NEGATIVE)
    )
    if not active:
        return "calm"
    if not pleasant and not unpleasant:
        return "alert"
    if min(pleasant, unpleasant) > max(pleasant, unpleasant) / 2:
        return "mixed"
    return "pleasant" if pleasant > unpleasant else "unpleasant"


def _join(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))
