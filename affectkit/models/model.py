"""The model: one backbone, an optional temporal module, any number of heads, and a bridge between them."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace as with_values
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import torch
from torch import Tensor

from affectkit.errors import ConfigError, WeightsError
from affectkit.models import hub
from affectkit.models.backbones import Backbone
from affectkit.models.bridge import Bridge
from affectkit.models.bridged import BridgedHeads
from affectkit.models.features import Features, InputSpec
from affectkit.models.heads import Head
from affectkit.models.registry import build
from affectkit.models.temporal import Temporal
from affectkit.registry import plain

__all__ = ["AffectModel"]

_CLIP_FIELDS = (
    "frames",
    "fps",
    "crop_margin",
    "alignment",
)  # of InputSpec: what training decides, not the backbone
_PARTS = ("temporal", "bridge")  # that `init_from` can leave out, beside heads


class AffectModel(BridgedHeads):
    """A shared video backbone with named heads, and nothing of training in it.

    Args:
        backbone: A `Backbone`, or its configuration: `{"type": "timm", "model_name": "resnet18"}`.
        heads: By name, a `Head` or its configuration, without a width: `{"type": "au", "space": "bp4d12"}`.
        temporal: A `Temporal` or its configuration: `{"type": "transformer"}`; the mean over frames by
            default.
        bridge: A `Bridge` or its configuration, without label spaces: `{"type": "semantic", "text": {...}}`. It gives
            the heads that use prototypes theirs: at every step while training, and otherwise
            from a copy that each head keeps and that is renewed whenever training stops.
        input_spec: What training decides about the input: `frames`, `fps`, `crop_margin`, `alignment`.

    Attributes:
        backbone: The frame encoder.
        temporal: The temporal module or None.
        bridge: The bridge or None.
        heads: The heads by name, an `nn.ModuleDict`.
        input_spec: The pictures the model was made for.
        metadata: What is known about a saved model: training data, licence, results. Plain values.

    Raises:
        ConfigError: A part is unknown, or parts do not fit together.

    Example:
        >>> model = AffectModel(
        ...     {"type": "timm", "model_name": "test_resnet", "size": 32},
        ...     {
        ...         "au": {"type": "au", "space": "AU1,AU12", "per_frame": True},
        ...         "smile": {"type": "au", "space": "AU12"},
        ...     },
        ... )
        >>> {name: tuple(logits.shape) for name, logits in model(torch.zeros(2, 4, 3, 32, 32)).items()}
        {'au': (2, 4, 2), 'smile': (2, 1)}
    """

    def __init__(
        self,
        backbone: Backbone | Mapping[str, Any],
        heads: Mapping[str, Head | Mapping[str, Any]],
        temporal: Temporal | Mapping[str, Any] | None = None,
        bridge: Bridge | Mapping[str, Any] | None = None,
        *,
        input_spec: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone: Backbone = build("backbone", backbone) if isinstance(backbone, Mapping) else backbone
        self.temporal: Temporal | None = (
            build("temporal", temporal, in_features=self.backbone.num_features)
            if isinstance(temporal, Mapping)
            else temporal
        )
        if unknown := sorted(set(input_spec or {}) - set(_CLIP_FIELDS)):
            raise ConfigError(
                f"A model's input has no {', '.join(unknown)} to set.",
                remedy=f"Set {', '.join(_CLIP_FIELDS)} here; the rest belongs to the backbone.",
            )
        self.input_spec: InputSpec = with_values(self.backbone.input_spec, **(input_spec or {}))
        self.metadata: dict[str, Any] = {}
        self._hold(heads, bridge)

    @property
    def num_features(self) -> int:
        """The width that heads read."""
        return self.backbone.num_features if self.temporal is None else self.temporal.num_features

    @property
    def config(self) -> dict[str, Any]:
        """The constructor arguments that build a model of the same shape, plain values only."""
        return {
            "backbone": self.backbone.config,
            "heads": {name: self.head(name).config for name in self.heads},
            "temporal": None if self.temporal is None else self.temporal.config,
            "bridge": None if self.bridge is None else self.bridge.config,
            "input_spec": {key: getattr(self.input_spec, key) for key in _CLIP_FIELDS},
        }

    def features(
        self,
        frames: Tensor,
        frame_mask: Tensor | None = None,
        landmarks: Tensor | None = None,
        landmarks_mask: Tensor | None = None,
    ) -> Features:
        """What the heads read.

        Args:
            frames: [B, T, 3, H, W] RGB, uint8 in 0-255 or floating point in 0-1; a still is T = 1.
            frame_mask: bool [B, T], True where a frame is real; None where all are.
            landmarks: float [B, T, 68, 2] in pixels of the frames, for heads that look at places of the face; None
                where there are none.
            landmarks_mask: bool [B, T, 68], True where a landmark is known; None where all are.

        Raises:
            ValueError: `frames` has another number of axes.
        """
        if frames.ndim != 5:
            raise ValueError(f"Frames must be [B, T, 3, H, W], not {list(frames.shape)}.")
        features: Features = self.backbone(frames, frame_mask)
        if self.temporal is not None:
            features = self.temporal(features)
        return with_values(
            features, landmarks=landmarks, landmarks_mask=landmarks_mask, picture=frames.shape[-1]
        )

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor | None = None,
        landmarks: Tensor | None = None,
        landmarks_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Logits of every head.

        Args:
            frames: [B, T, 3, H, W] RGB, uint8 in 0-255 or floating point in 0-1; a still is T = 1.
            frame_mask: bool [B, T], True where a frame is real; None where all are.
            landmarks: float [B, T, 68, 2] in pixels of the frames, for heads that look at places of the face; None
                where there are none.
            landmarks_mask: bool [B, T, 68], True where a landmark is known; None where all are.

        Returns:
            By head name, [B, ...] or, where the head works on frames, [B, T, ...].
        """
        features = self.features(frames, frame_mask, landmarks, landmarks_mask)
        given = self.prototypes() if self.training else {}
        return {
            name: head(features, given[name]) if name in given else head(features)
            for name, head in self.heads.items()
        }

    @torch.inference_mode()
    def predict(
        self,
        frames: Tensor,
        frame_mask: Tensor | None = None,
        landmarks: Tensor | None = None,
        landmarks_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What each head says, in evaluation mode and without gradients.

        Args:
            frames: [B, T, 3, H, W] RGB, uint8 in 0-255 or floating point in 0-1; a still is T = 1.
            frame_mask: bool [B, T], True where a frame is real; None where all are.
            landmarks: float [B, T, 68, 2] in pixels of the frames, for heads that look at places of the face; None
                where there are none.
            landmarks_mask: bool [B, T, 68], True where a landmark is known; None where all are.

        Returns:
            By head name, float32 [B, labels] or [B, T, labels] in the order of `labels(name)`: probabilities,
            or intensities 0-5 of an ordinal head.
        """
        training = self.training
        self.eval()
        try:
            answers = self(frames, frame_mask, landmarks, landmarks_mask)
            return {name: self.head(name).predict(logits) for name, logits in answers.items()}
        finally:
            self.train(training)

    def freeze(self, patterns: Sequence[str]) -> None:
        """Stop training the parameters whose names match. Wholly frozen parts stay in evaluation mode.

        Args:
            patterns: Shell patterns over names such as "backbone.net.conv1.weight": "backbone.*",
                "heads.au.*".

        Raises:
            ConfigError: A pattern matches nothing.
        """
        for pattern in patterns:
            matching = [p for name, p in self.named_parameters() if fnmatch.fnmatchcase(name, pattern)]
            if not matching:
                raise ConfigError(
                    f"The pattern {pattern!r} matches no parameter.",
                    remedy="Compare it with `named_parameters()`.",
                )
            for parameter in matching:
                parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch to training or back; frozen parts keep their batch statistics and use no dropout.

        Going back, heads get new copies of prototypes that training has changed.
        """
        super().train(mode)
        if mode:
            for module in self.modules():
                parameters = list(module.parameters())
                if module is not self and parameters and not any(p.requires_grad for p in parameters):
                    module.eval()
        return self

    def save_pretrained(
        self, folder: str | Path, *, metadata: Mapping[str, Any] | None = None, half: bool = False
    ) -> None:
        """Save to a folder; see `affectkit.models.hub` for what it holds.

        Args:
            folder: Created when absent.
            metadata: Plain values about data, licence and results; those the model was loaded with by
                default. See `affectkit.models.card` for those that the model card shows.
            half: Store numbers in half precision: half the size, answers that differ in the third decimal at most.

        Raises:
            ConfigError: A value is not plain.
        """
        if metadata is not None:
            self.metadata = plain(metadata)
        folder = Path(folder)
        hub.write_tensors(folder / "model.safetensors", self, half=half)
        for name in self.heads:
            hub.write_tensors(folder / "heads" / f"{name}.safetensors", self.head(name), half=half)
        entries = {
            "backbone": self.backbone.config,
            "temporal": self.config["temporal"],
            "bridge": self.config["bridge"],
            "heads": {name: self.head(name).description() for name in self.heads},
            "input": self.input_spec.to_dict(),
            "metadata": self.metadata,
        }
        hub.write_config(folder, entries)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, revision: str | None = None) -> Self:
        """Load a saved model, in evaluation mode. Every tensor must fit by name and shape.

        Args:
            folder: Local folder, or "owner/name" on the Hub.
            revision: Branch, tag or commit on the Hub.

        Raises:
            WeightsError: The folder is unsafe, damaged, of an unknown format, or its tensors do not fit.
            ConfigError: The configuration names parts or arguments that do not exist.
        """
        path = hub.locate(folder, revision)
        config = _of_a_whole_model(path)
        given, source = config["input"], path / "config.json"
        with hub.explained_by(source):
            model = cls(
                config["backbone"],
                {name: Head.from_description(entry, source) for name, entry in config["heads"].items()},
                config["temporal"],
                config["bridge"],
                input_spec={key: given.get(key) for key in _CLIP_FIELDS if key in given},
            )
        tensors = path / "model.safetensors"
        model._stale = False  # the copies of prototypes come with the tensors
        hub.load_strictly(model, hub.read_tensors(tensors), tensors)
        model.metadata = config.get("metadata") or {}
        return model.eval()

    def init_from(
        self, folder: str | Path, *, replace: Sequence[str] = (), revision: str | None = None
    ) -> None:
        """Start fine-tuning from a saved model: take over its tensors, and say what to leave out.

        Args:
            folder: Local folder, or "owner/name" on the Hub.
            replace: Heads, "temporal" or "bridge", to leave as they are here; with a head, those parts of the bridge
                that hang on its labels. All else must fit by name, shape and labels.
            revision: Branch, tag or commit on the Hub.

        Raises:
            WeightsError: Tensors, labels or normalisation differ.
            ConfigError: `replace` names nothing here or there.
        """
        path = hub.locate(folder, revision)
        config = _of_a_whole_model(path)
        known = {*self.heads, *config["heads"], *_PARTS}
        if unknown := sorted(set(replace) - known):
            raise ConfigError(
                f"There is no {', '.join(unknown)} to replace.", remedy=f"Known: {', '.join(sorted(known))}."
            )
        for name in self.heads:
            labels = config["heads"].get(name, {}).get("labels", list(self.labels(name)))
            if name not in replace and labels != list(self.labels(name)):
                raise WeightsError(
                    f"The head {name!r} was trained on {labels}, and here it has {list(self.labels(name))}.",
                    path=path,
                    remedy=f"Let it start anew: `replace_heads: [{name}]` in a recipe.",
                )
        here, there = self.input_spec.to_dict(), config["input"]
        for key in ("mean", "std", "normalize"):
            if there.get(key) != here[key]:
                raise WeightsError(
                    f"The backbone was trained with {key} = {there.get(key)}, and here it is {here[key]}.",
                    path=path,
                    remedy="Give the backbone the same normalisation.",
                )
        skip = [f"{part}." if part in _PARTS else f"heads.{part}." for part in replace]
        if self.bridge is not None:
            skip += [f"bridge.{prefix}" for part in replace for prefix in self.bridge.parts_of(part)]
        tensors = path / "model.safetensors"
        self._stale = False
        hub.load_strictly(self, hub.read_tensors(tensors), tensors, skip=skip)
        self._stale = self.bridge is not None  # parts of it may be new here

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool = False,
        metadata: Mapping[str, Any] | None = None,
        half: bool = False,
    ) -> str:
        """Save to the Hugging Face Hub, with the token that `hf auth login` stored.

        Args:
            repo: "owner/name"; created when absent.
            private: Whether a new repository is private.
            metadata: See `save_pretrained`.
            half: See `save_pretrained`.

        Returns:
            The web address of the commit.

        Raises:
            WeightsError: The Hub refuses, or cannot be reached.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, metadata=metadata, half=half)
            return hub.upload(Path(folder), repo, private=private)


def _of_a_whole_model(path: Path) -> dict[str, Any]:
    """The configuration in a folder, which must have a backbone."""
    config = hub.read_config(path)
    if not config["backbone"] or not config.get("input"):
        raise WeightsError(
            "This folder holds heads without a backbone.",
            path=path,
            remedy="Load one with `AUHead.from_pretrained`, or give a whole model's folder.",
        )
    return config
