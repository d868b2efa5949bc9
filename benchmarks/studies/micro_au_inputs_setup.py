"""What the study of the inputs of Micro-AU CLIP compares: the study `micro_au` with fewer people and steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from micro_au_setup import VARIANTS as MAIN
from micro_au_setup import Setup, Variant

LONG = 8  # epochs: as many clips as the recipe micro/microauclip_rendered sees
TEXT_LR = 2e-3  # that of the image tower


def _tuned(title: str, tuning: Mapping[str, Any]) -> Variant:
    groups = ({"pattern": "heads.au.tower.*", "lr": TEXT_LR},)
    return Variant(title, head={"text_tuning": dict(tuning)}, groups=groups)


OPTIONS = {
    "full": MAIN["full"],
    "flow": Variant("optical flow", head={"motion": "apex"}, flow=True),
    "region2": Variant("regions of 2 × 2 patches", head={"region": 2}),
    "wide": Variant(
        "patches of twice the width, regions of 2 × 2", head={"region": 2}, tower="affectkit-tiny"
    ),
    "text_last": _tuned("last block of the text tower trained", {"trainable": 1}),
    "text_lora": _tuned("text tower trained by LoRA", {"lora": {"rank": 8}}),
    "text_all": _tuned("whole text tower trained", {"trainable": "all"}),
}
"""Options of the method."""

_SCRATCH = Variant("Micro-AU CLIP, tower from nothing", pretrained=False, lr=1e-3, tower_lr=1e-3)
LEVEL = {
    "full": MAIN["full"],
    "scratch": _SCRATCH,
    "led": MAIN["led"],
    "led_two": replace(MAIN["led"], title="LED, onset and apex", frames=2),
    "scratch_long": replace(_SCRATCH, title=f"{_SCRATCH.title}, four times the steps", epochs=LONG),
    "led_long": replace(MAIN["led"], title="LED, six frames, four times the steps", epochs=LONG),
}
"""Micro-AU CLIP and LED: is it the tower, the frames, or the steps? Rates from nothing are those of the recipe."""


@dataclass(frozen=True)
class InputsSetup(Setup):
    """`Setup` with other rows, and a smaller scale: runs of less than a minute on one core, but for the long ones."""

    people: int = 240
    epochs: int = 2

    @property
    def variants(self) -> Mapping[str, Variant]:
        """See `Setup`."""
        return OPTIONS | LEVEL
