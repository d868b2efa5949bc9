"""What the study of multi-threshold metric learning compares, and every number it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

ASSOCIATION: dict[str, dict[str, float]] = {
    "neutral": {},
    "happiness": {"AU6": 0.9, "AU12": 0.95},
    "sadness": {"AU1": 0.9, "AU15": 0.95},
    "surprise": {"AU2": 0.95, "AU5": 0.9, "AU26": 0.95},
    "fear": {"AU2": 0.95, "AU5": 0.9, "AU26": 0.95, "AU20": 0.9},
    "anger": {"AU4": 0.95, "AU17": 0.9},
    "disgust": {"AU4": 0.95, "AU17": 0.9, "AU9": 0.9},
}
"""P(unit | expression). Surprise and fear share all units but AU20; anger and disgust all but AU9."""
NEAR = (("surprise", "fear"), ("anger", "disgust"))


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Args:
        title: What the table calls it.
        task: Options of the task that differ from the method's.
        slices: Number of slices; their width is that of all divided by it.
        threshold: The only threshold, if there is one.
        collapse: Whether the run asks for collapse: triplet loss alone, by SGD at a large rate.
    """

    title: str
    task: Mapping[str, Any] = field(default_factory=dict)
    slices: int = 16
    threshold: float | None = None
    collapse: bool = False


def _single(tau: float, title: str, **options: Any) -> Variant:
    return Variant(title, {"thresholds": [tau], **options.pop("task", {})}, threshold=tau, **options)


_BARE = {"mining": "batch_hard", "warm_start": 0.0, "weights": {"expression": 0.0}}
VARIANTS = {
    "multi": Variant("16 thresholds, 0.1 to 2.1"),
    "tau_02": _single(0.2, "all slices at 0.2"),
    "tau_05": _single(0.5, "all slices at 0.5"),
    "tau_10": _single(1.0, "all slices at 1.0"),
    "tau_15": _single(1.5, "all slices at 1.5"),
    "no_slices": _single(1.0, "one slice of the same width, at 1.0", slices=1),
    "no_dual": Variant("16 thresholds, without the dual term", {"dual": "none"}),
    "batch_hard": Variant("16 thresholds, batch-hard mining", {"mining": "batch_hard"}),
    "ce_only": Variant("cross-entropy alone", {"triplet_weight": 0.0}),
    "identity_aware": Variant("16 thresholds, identity-aware pairs", {"identity_aware": True}),
    "collapse_dual": _single(1.5, "dual term", task={**_BARE, "dual": "shared"}, collapse=True),
    "collapse_none": _single(1.5, "no dual term", task={**_BARE, "dual": "none"}, collapse=True),
}
SINGLE = ("tau_02", "tau_05", "tau_10", "tau_15")


@dataclass(frozen=True)
class Setup:
    """Corpus, model and training, the same for every variant.

    Args:
        people: People of the corpus; two fifths of them test.
        clips: Clips of a person.
        rendered_size: Side of the rendered pictures, of which only the landmarks are read.
        width: Width of the embedding, over all slices.
        batch_size: Clips of a step, the seven classes in equal numbers.
        steps: Steps of a run.
        collapse_steps: Steps of a run on collapse.
        lr: Learning rate of AdamW.
        collapse_lr: Learning rate of SGD in the runs on collapse.
        neighbours: Number of neighbours in retrieval.
    """

    people: int = 120
    clips: int = 7
    rendered_size: int = 56
    width: int = 512
    batch_size: int = 56
    steps: int = 120
    collapse_steps: int = 50
    lr: float = 3e-3
    collapse_lr: float = 0.05
    neighbours: int = 5

    @staticmethod
    def rehearsal() -> Setup:
        """A minute's work, whose numbers mean nothing."""
        return Setup(people=10, batch_size=14, steps=2, collapse_steps=2, width=64)

    @property
    def name(self) -> str:
        """Hash of all settings, those of the variants included: runs of others are not mixed with these."""
        variants = {name: asdict(variant) for name, variant in VARIANTS.items()}
        content = json.dumps([asdict(self), variants, ASSOCIATION], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]
