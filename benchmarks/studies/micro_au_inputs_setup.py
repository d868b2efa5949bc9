"""What the study of the inputs of Micro-AU CLIP compares; corpora, model and training are those of `micro_au`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from micro_au_setup import VARIANTS as MAIN
from micro_au_setup import Setup, Variant

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

LEVEL = {
    "full": MAIN["full"],
    "scratch": Variant("Micro-AU CLIP, tower from nothing", pretrained=False, lr=1e-3, tower_lr=1e-3),
    "scratch_long": Variant(
        "the same, twice the steps", pretrained=False, lr=1e-3, tower_lr=1e-3, epochs=2 * Setup.epochs
    ),
    "led": MAIN["led"],
    "led_two": replace(MAIN["led"], title="LED, onset and apex", frames=2),
}
"""Micro-AU CLIP and LED: is it the tower, or the frames? Rates from nothing are those of the recipe."""


class InputsSetup(Setup):
    """`Setup` with other rows."""

    @property
    def variants(self) -> Mapping[str, Variant]:
        """See `Setup`."""
        return OPTIONS | LEVEL
