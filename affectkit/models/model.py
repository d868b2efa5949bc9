"""The model: one backbone, an optional temporal module, any number of heads, and a bridge between them."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace as with_values
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.models import hub
from affectkit.models.backbones import Backbone
from affectkit.models.bridge import Bridge
from affectkit.models.features import Features, InputSpec
from affectkit.models.heads import Head
from affectkit.models.registry import build
from affectkit.models.temporal import Temporal
from affectkit.models.transfer import config_of_model, take_over
from affectkit.registry import plain

__all__ = ["AffectModel"]

# Of InputSpec: what training decides, not the backbone.
_CLIP_FIELDS = ("frames", "fps", "crop_margin", "alignment")


class AffectModel(nn.Module):
    """A shared video backbone with named heads, and nothing of training in it.

    Args:
        backbone: A `Backbone`, or its configuration: `{"type": "timm", "model_name": "resnet18"}`.
        heads: By name, a `Head` or its configuration, without a width: `{"type": "au", "space": "bp4d12"}`.
        temporal: A `Temporal` or its configuration: `{"type": "transformer"}`; the mean over frames by
            default.
        bridge: A `Bridge` or its configuration, without label spaces: `{"type": "semantic", "text": {...}}`. It gives
            the heads that use prototypes theirs: at every step while training, and otherwise from a copy that each
            head keeps, see `refresh_prototypes`.
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
        self.heads: nn.ModuleDict = nn.ModuleDict()
        self.bridge: Bridge | None = None
        for name, head in heads.items():
            self.replace_head(name, head)
        if bridge is not None:
            heads_with = [name for name in self.heads if self.head(name).uses_prototypes]
            spaces = {name: self.head(name).space for name in heads_with}
            self.bridge = build("bridge", bridge, spaces=spaces) if isinstance(bridge, Mapping) else bridge
            for name in {**heads, **self.bridge.spaces}:
                self.bridge.check(name, self.head(name))
        self.register_state_dict_pre_hook(_bake)  # type: ignore[no-untyped-call]

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

    @property
    def thresholds(self) -> dict[str, Tensor]:
        """Decision thresholds [A] of each multilabel head, float32 on the CPU; see `Head.calibrate`."""
        heads = {name: self.head(name) for name in self.heads}
        return {name: torch.tensor(head.thresholds) for name, head in heads.items() if head.thresholds}

    def head(self, name: str) -> Head:
        """The head of this name.

        Raises:
            ConfigError: There is none.
        """
        if name not in self.heads:
            raise ConfigError(
                f"There is no head {name!r}.", remedy=f"Heads: {', '.join(self.heads) or 'none'}."
            )
        head: Head = self.heads[name]  # type: ignore[assignment]  # a ModuleDict does not say what it holds
        return head

    def labels(self, name: str) -> tuple[str, ...]:
        """Label names of a head, in the order of its outputs.

        Raises:
            ConfigError: There is no such head.
        """
        return self.head(name).labels

    def replace_head(self, name: str, head: Head | Mapping[str, Any]) -> None:
        """Add a head with fresh weights, or put one in another's place.

        Args:
            name: Lower-case letters, digits and underscores.
            head: A head or its configuration.

        Raises:
            ConfigError: The name is not allowed, the head's width is not the model's, or the model's bridge does
                not fit the head.
        """
        built: Head = (
            build("head", head, in_features=self.num_features) if isinstance(head, Mapping) else head
        )
        if built.in_features != self.num_features:
            raise ConfigError(
                f"The head {name!r} reads {built.in_features} features; the model gives {self.num_features}.",
                remedy="Build the head with the model's width.",
            )
        if self.bridge is not None:
            self.bridge.check(name, built)
        self.heads[hub.check_head_name(name)] = built

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
        """Logits of every head; for what `features` takes.

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
        """What each head says of what `features` takes, in evaluation mode and without gradients.

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

    def prototypes(self) -> dict[str, Tensor]:
        """The prototypes [L, D] of heads that use them, by name, computed with gradients by the bridge.

        Costs a pass through the text tower: to be called once a step.
        """
        return {} if self.bridge is None else self.bridge()

    @torch.no_grad()
    def refresh_prototypes(self) -> None:
        """Copy the bridge's prototypes into the heads, which use them outside training.

        It happens by itself when the model leaves training mode, and when a model in training mode is saved. Call it
        after parameters were changed in evaluation mode.
        """
        for name, vectors in self.prototypes().items():
            self.head(name).prototypes.copy_(vectors)

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

        Going back, heads get new copies of the bridge's prototypes.
        """
        left_training = self.training and not mode
        super().train(mode)
        if left_training:
            self.refresh_prototypes()
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
        config = config_of_model(path)
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
        nn.Module.train(model, False)  # without `refresh_prototypes`: prototypes come with the tensors
        hub.load_strictly(model, hub.read_tensors(tensors), tensors)
        model.metadata = config.get("metadata") or {}
        return model

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
        take_over(self, hub.locate(folder, revision), replace)

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


def _bake(model: AffectModel, *_: Any) -> None:
    """Before a state dict is made: saved prototypes are those of the weights that they are saved with."""
    if model.training:
        model.refresh_prototypes()
