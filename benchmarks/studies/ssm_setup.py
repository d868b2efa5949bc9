"""What the study of SSM compares, and every number it depends on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from affectkit.facs import AU_SETS, EXPRESSION_SETS, prior


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Args:
        title: What the table calls it.
        sources: Which corpora teach.
        directions: Of the bridge's maps; None without a bridge.
        planted: Whether P(unit | expression) of the corpora is the planted one.
    """

    title: str
    sources: tuple[str, ...] = ("au", "expression")
    directions: str | None = "both"
    planted: bool = False


VARIANTS = {
    "joint": Variant("SSM"),
    "au_only": Variant("action units alone", ("au",)),
    "expression_only": Variant("expressions alone", ("expression",)),
    "no_tsp": Variant("no text prototypes (TSP)", directions=None),
    "no_dpm": Variant("no maps (DPM)", directions="none"),
    "au_to_expression": Variant("only units → expressions", directions="au_to_expression"),
    "expression_to_au": Variant("only expressions → units", directions="expression_to_au"),
    "planted": Variant("SSM, planted association", planted=True),
}


@dataclass(frozen=True)
class Setup:
    """Corpora, model and training. The same for every variant, and fixed before the variants were compared.

    Args:
        size: Side of the pictures, and of those rendered, from whose middle they are cut.
        au_people: People of corpus A; shares of them validate and test.
        expression_people: Likewise, of corpus B.
    """

    size: int = 64
    rendered_size: int = 112
    units: str = "AU1,AU2,AU4,AU5,AU6,AU7,AU9,AU10,AU12,AU14,AU15,AU17,AU20,AU24,AU25,AU26"
    au_people: int = 70
    au_clips: int = 14
    au_val: float = 0.12
    au_test: float = 0.6
    expression_people: int = 260
    expression_clips: int = 7
    expression_val: float = 0.1
    expression_test: float = 0.2
    frames_per_clip: int = 8
    num_frames: int = 4
    pretraining_people: int = 200
    pretraining_steps: int = 1500
    pretraining_batch: int = 96
    epochs: int = 10
    steps_per_epoch: int = 40
    au_batch: int = 12
    expression_batch: int = 16
    lr: float = 1e-3
    backbone_lr: float = 3e-4
    map_lr: float = 1e-2
    ema: float = 0.99

    @classmethod
    def rehearsal(cls) -> Setup:
        """Everything tiny: shows that the study runs."""
        return replace(
            cls(), au_people=4, au_clips=2, au_val=0.25, au_test=0.25, expression_people=4, expression_clips=2,
            expression_val=0.25, expression_test=0.25, frames_per_clip=4, num_frames=2, pretraining_people=4,
            pretraining_steps=2, pretraining_batch=4, epochs=2, steps_per_epoch=2, au_batch=2, expression_batch=2,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """A hash of all settings; runs of other settings are not mixed with these."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    def corpus(self, source: str, seed: int, *, planted: bool) -> dict[str, Any]:
        """Settings of `affectkit.synth.render_corpus`; no two corpora share people."""
        common = {"frames_per_clip": self.frames_per_clip, "size": self.rendered_size}
        if source == "pretraining":
            return {**common, "identities": self.pretraining_people, "clips": 7, "seed": 900_000}
        kind = {"au": 100_000, "expression": 200_000}[source]
        return {
            **common,
            "identities": self.au_people if source == "au" else self.expression_people,
            "clips": self.au_clips if source == "au" else self.expression_clips,
            "val": self.au_val if source == "au" else self.expression_val,
            "test": self.au_test if source == "au" else self.expression_test,
            "seed": kind + 10_000 * planted + seed,
            **({"association": planted_association()} if planted else {}),
        }


def planted_association() -> dict[str, dict[str, float]]:
    """Every emotion shows the units that FACS gives to the next one; the neutral face stays neutral.

    The faces are as natural as before, only the names are exchanged, so nothing but the association can say which
    units go with which name.
    """
    classes, units = EXPRESSION_SETS["basic7"], AU_SETS["rendered"]
    rows = dict(zip(classes.labels, prior(classes, units, neutral=0.05), strict=True))
    emotions = [name for name in classes.labels if name != "neutral"]
    shown_by = {**dict(zip(emotions, [*emotions[1:], emotions[0]], strict=True)), "neutral": "neutral"}
    return {name: dict(zip(units.labels, rows[shown_by[name]], strict=True)) for name in classes.labels}
