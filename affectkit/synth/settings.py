"""Settings of rendered corpora, and the table of units and expressions that their clips are drawn from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from affectkit.errors import AnnotationError, ConfigError
from affectkit.facs.expressions import EXPRESSION_SETS, ExpressionSet
from affectkit.facs.priors import read_association
from affectkit.facs.rules import prior
from affectkit.facs.sets import AU_SETS, AUSet
from affectkit.facs.units import ActionUnit
from affectkit.synth.domains import Domain
from affectkit.synth.render import RENDERER_VERSION
from affectkit.synth.sampling import Regime
from affectkit.synth.varied import VARIED_UNITS

__all__ = ["EXPRESSIONS", "UNITS", "UNIT_IDS", "Association", "CorpusSettings", "association_table"]

Association = str | Path | Mapping[str, Mapping[str, float]]
"""Path of a CSV file (`expression,AU1,AU2,…`), or a mapping expression -> unit -> probability."""

EXPRESSIONS: Final = EXPRESSION_SETS["basic7"]
UNITS: Final = AU_SETS["rendered"]
UNIT_IDS: Final = tuple(unit.id for unit in UNITS)


@dataclass(frozen=True, slots=True)
class CorpusSettings:
    """Settings that determine the content of a corpus.

    Args:
        identities: Number of people, at least 3; each appears in one split only.
        clips: Clips per person; every split gets even numbers of all expressions.
        frames_per_clip: Frames per clip, at least 4.
        size: Side of a frame in pixels, even, at least 16.
        seed: Seed of all random choices.
        regime: "macro", "micro" (small movements of at most half a second), "varied" (free combinations of units,
            turned heads, speech, poor pictures; see `affectkit.synth.varied`) or "engagement" (people in front of a
            screen; see `affectkit.synth.engagement`). In "varied" clips, half of the clips show an expression, and the
            others have none. "engagement" clips have none, and a quarter of their training and validation labels is
            wrong.
        fps: Frames per second.
        val: Fraction of people in the validation split.
        test: Fraction of people in the test split.
        independent: P(unit | expression) of units outside the expression's table, at most 0.05.
        media: "video" (H.264) or "frames" (a folder of PNG files per clip).
        association: P(unit | expression) instead of that of FACS, see `association_table`.
        domain: Recording conditions: "studio" or "webcam", see `affectkit.synth.domains`. Corpora of one seed show the
            same people and movements in every domain.

    Raises:
        ConfigError: A setting is out of range.
    """

    identities: int
    clips: int
    frames_per_clip: int
    size: int
    seed: int
    regime: Regime = "macro"
    fps: float = 25.0
    val: float = 0.1
    test: float = 0.2
    independent: float = 0.05
    media: Literal["video", "frames"] = "video"
    association: Association | None = None
    domain: Domain = "studio"

    def __post_init__(self) -> None:
        for name, least in (("identities", 3), ("clips", 1), ("frames_per_clip", 4), ("size", 16)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name}={getattr(self, name)} is too small.", remedy=f"Use at least {least}."
                )
        if self.size % 2:
            raise ConfigError(f"size={self.size} is odd.", remedy="Use an even number of pixels.")
        if self.domain not in get_args(Domain):
            raise ConfigError(
                f"Unknown domain {self.domain!r}.", remedy=f"Known: {', '.join(get_args(Domain))}."
            )
        if not 0.0 <= self.independent <= 0.05:
            raise ConfigError(f"independent={self.independent} is out of range.", remedy="Use 0 to 0.05.")
        if not (self.val > 0.0 and self.test > 0.0 and self.val + self.test < 1.0):
            raise ConfigError(
                f"val={self.val} and test={self.test} leave an empty split.",
                remedy="Use positive fractions that add up to less than 1.",
            )

    def content_hash(self) -> str:
        """Hash the settings, the renderer's version, the mesh and the table of probabilities."""
        mesh = (resources.files("affectkit.synth") / "assets" / "facs_head.npz").read_bytes()
        parts = {
            "settings": self.plain(),
            "renderer": RENDERER_VERSION,
            "mesh": hashlib.sha256(mesh).hexdigest(),
            "units": self.units.name,
            "prior": self.table().tolist(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def units(self) -> AUSet:
        """Labelled action units."""
        return VARIED_UNITS if self.regime == "varied" else UNITS

    def plain(self) -> dict[str, Any]:
        """All settings but the association, which `table` contains."""
        return {name: value for name, value in asdict(self).items() if name != "association"}

    def table(self) -> npt.NDArray[np.float64]:
        """P(unit | expression) that clips are drawn from: [7, U]."""
        return association_table(self.association, EXPRESSIONS, UNITS, absent=self.independent)


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
        AnnotationError: The file cannot be read, or lacks an expression, or a cell is invalid.
        ConfigError: The mapping lacks an expression, or an entry is invalid.

    Example:
        >>> from affectkit.facs import EXPRESSION_SETS
        >>> classes = EXPRESSION_SETS["megc3"]
        >>> planted = {name: {"AU4": 0.9} for name in classes.labels}
        >>> association_table(planted, classes, AUSet.parse("AU1,AU4"), absent=0.1)[0].tolist()
        [0.1, 0.9]
    """
    if association is None:
        return np.array(prior(expressions, units, absent=absent, neutral=absent))
    is_table = isinstance(association, Mapping)
    rows: Any = association if is_table else read_association(Path(association))[1]  # type: ignore[arg-type]
    fault = ""
    table = np.full((len(expressions), len(units)), float(absent))
    if set(rows) != set(expressions.labels):
        fault = f"The association has rows for: {', '.join(rows)}; it needs: {', '.join(expressions.labels)}."
    for expression, cells in rows.items() if not fault else ():
        for unit, probability in cells.items():
            parsed = ActionUnit.parse(str(unit))
            if parsed in units and 0.0 <= probability <= 1.0:
                table[expressions.labels.index(expression), units.index(parsed)] = probability
            else:
                fault = f"{unit} = {probability} is not a rendered unit with a probability from 0 to 1."
    if fault and is_table:
        raise ConfigError(fault, remedy="Correct the association.")
    if fault:
        raise AnnotationError(fault, path=Path(str(association)), remedy="Correct the association.")
    return table
