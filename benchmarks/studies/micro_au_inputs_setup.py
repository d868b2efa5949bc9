"""What the study of the inputs of Micro-AU CLIP compares; corpora, model and training are those of `micro_au`."""

from __future__ import annotations

from collections.abc import Mapping
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
"""Options of the method, at the steps of the main study."""

_LED = {"kind": "baseline", "backbone": "led", "head": None, "contrast": 0.0, "dependency": 0.0}
_LED |= {"lr": MAIN["led"].lr, "groups": MAIN["led"].groups, "epochs": LONG}
LEVEL = {
    "scratch": Variant("tower from nothing", pretrained=False, lr=1e-3, tower_lr=1e-3, epochs=LONG),
    "scratch_long": Variant(
        "tower from nothing, twice the steps", pretrained=False, lr=1e-3, tower_lr=1e-3, epochs=2 * LONG
    ),
    "pretrained": Variant("tower pretrained on landmarks", epochs=LONG),
    "led_six": Variant("LED, six frames", frames=6, **_LED),
    "led_two": Variant("LED, onset and apex", **_LED),
}
"""Micro-AU CLIP and LED at the steps of the recipe: is it the tower, or the frames?"""


class InputsSetup(Setup):
    """`Setup` with other rows."""

    @property
    def variants(self) -> Mapping[str, Variant]:
        """See `Setup`."""
        return OPTIONS | LEVEL
