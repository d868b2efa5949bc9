"""What the study of Micro-AU CLIP compares, and every number it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

Kind = Literal["method", "ablation", "baseline"]


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Args:
        title: What the table calls it.
        kind: The method, the method without a part, or another method.
        backbone: "clip", the pretrained image tower, or a small network of its own.
        head: What is switched off in the `MicroAUHead`; None for a linear head on the clip's vector.
        contrast: Weight of the contrast across clips.
        dependency: Weight of the loss of dependencies.
        frames: Frames a clip.
        lr: Learning rate of everything but the tower.
        groups: Parameter groups of the optimiser, beside the tower's.
        tower: Architecture of the image tower.
        pretrained: Whether the tower knows landmarks; otherwise it starts from nothing.
        flow: Whether the tower sees the optical flow from onset to apex.
        tower_lr: Learning rate of the tower, the setup's by default.
        epochs: Epochs, the setup's by default.
    """

    title: str
    kind: Kind = "ablation"
    backbone: str = "clip"
    head: Mapping[str, Any] | None = field(default_factory=dict)
    contrast: float = 0.1
    dependency: float = 0.1
    frames: int = 2
    lr: float = 3e-3
    groups: tuple[Mapping[str, Any], ...] = ()
    tower: str = "affectkit-tiny-patch8"
    pretrained: bool = True
    flow: bool = False
    tower_lr: float | None = None
    epochs: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """All that a run depends on; fields that came later only where they are set, so that old runs stay valid."""
        later = {"tower", "pretrained", "flow", "tower_lr", "epochs"}
        usual = {one.name: one.default for one in fields(self) if one.name in later}
        given = {**asdict(self), "title": None}
        return {key: value for key, value in given.items() if key not in usual or value != usual[key]}


def _baseline(title: str, backbone: str, **options: Any) -> Variant:
    return Variant(title, "baseline", backbone, head=None, contrast=0.0, dependency=0.0, **options)


# Learning rates were chosen for each kind of model on validation people of a corpus that is in no run.
_NOTHING = {"pta": False, "gda": False, "text": None}
_FAST_FILTER = {"pattern": "backbone.filter.*", "lr": 0.1}  # as published
VARIANTS = {
    "full": Variant("Micro-AU CLIP", "method"),
    "no_pta": Variant("no PTA: means of the regions", head={"pta": False}),
    "no_gda": Variant("no GDA", head={"gda": False}),
    "no_gdloss": Variant("no GDLoss", dependency=0.0),
    "no_miaucl": Variant("no MiAUCL: linear outputs", head={"text": None}, contrast=0.0),
    "regions": Variant("none of the four", head=_NOTHING, contrast=0.0, dependency=0.0),
    "difference": _baseline("frame-difference CLIP, linear head", "clip"),
    "ststnet": _baseline("STSTNet on optical flow", "ststnet", lr=1e-2),
    "offapexnet": _baseline("Off-ApexNet on optical flow", "offapexnet"),
    "led": _baseline("LED, six frames", "led", frames=6, lr=1e-3, groups=(_FAST_FILTER,)),
}


@dataclass(frozen=True)
class Setup:
    """Corpora, model and training. The same for every variant.

    Args:
        size: Side of the pictures that the networks see, cut from the middle of those rendered.
        margin: Pixels by which a training crop may lie elsewhere.
        rendered_size: Side of the rendered pictures.
        units: Action units, those of CASME II.
        people: People of a micro corpus; shares of them validate and test.
        pretraining_people: People whose landmarks teach the tower; nobody of them is in the micro corpora.
        backbone_lr: Learning rate of the tower.
    """

    size: int = 64
    margin: int = 8
    rendered_size: int = 80
    units: str = "casme2_8"
    people: int = 600
    clips: int = 6
    frames_per_clip: int = 12
    fps: float = 40.0
    val: float = 0.1
    test: float = 0.25
    pretraining_people: int = 240
    pretraining_steps: int = 1500
    pretraining_batch: int = 32
    epochs: int = 4
    steps_per_epoch: int = 75
    batch: int = 32
    backbone_lr: float = 2e-3
    weight_decay: float = 1e-4
    ema: float = 0.99

    @classmethod
    def rehearsal(cls) -> Setup:
        """Everything tiny: shows that the study runs."""
        return replace(
            cls(), people=8, clips=2, val=0.25, test=0.25, frames_per_clip=8, pretraining_people=4,
            pretraining_steps=2, pretraining_batch=4, epochs=2, steps_per_epoch=2, batch=4,
        )  # fmt: skip

    @property
    def variants(self) -> Mapping[str, Variant]:
        """The rows of the table."""
        return VARIANTS

    @property
    def name(self) -> str:
        """A hash of all settings, those of the variants among them; runs of other settings are not mixed with these."""
        variants = {name: variant.settings for name, variant in self.variants.items()}
        content = json.dumps([asdict(self), variants], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def corpus(self, seed: int | None) -> dict[str, Any]:
        """Settings of `affectkit.synth.render_corpus`: brief small movements, or large ones for the tower."""
        common = {"size": self.rendered_size}
        if seed is None:
            return {
                **common, "identities": self.pretraining_people, "clips": 7, "frames_per_clip": 8, "seed": 900_000,
            }  # fmt: skip
        return {
            **common,
            "regime": "micro",
            "media": "frames",  # compression would swallow the movements
            "identities": self.people,
            "clips": self.clips,
            "frames_per_clip": self.frames_per_clip,
            "fps": self.fps,
            "val": self.val,
            "test": self.test,
            "seed": 300_000 + seed,
        }
