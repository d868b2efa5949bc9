"""The model: a backbone, an optional temporal module, named heads, and an optional bridge between heads."""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace as with_values
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError, WeightsError
from affectkit.models import hub
from affectkit.models.backbones import Backbone
from affectkit.models.bridge import Bridge
from affectkit.models.features import Features, InputSpec
from affectkit.models.heads import Head
from affectkit.models.registry import build
from affectkit.models.temporal import Temporal
from affectkit.registry import plain

__all__ = ["AffectModel", "load"]

_PLACE = frozenset({"alignment", "crop_margin"})  # input settings that place the face
_CLIP_FIELDS = ("frames", "fps", "crop_margin", "alignment")  # input settings fixed at training time


class AffectModel(nn.Module):
    """Shared video backbone with named heads, in plain PyTorch.

    Args:
        backbone: A `Backbone`, or its configuration: `{"type": "timm", "model_name": "resnet18"}`.
        heads: By name, a `Head` or its configuration without a width: `{"type": "au", "space": "bp4d12"}`.
        temporal: A `Temporal` or its configuration: `{"type": "transformer"}`; the mean over frames by default.
        bridge: A `Bridge` or its configuration without label spaces: `{"type": "semantic", "text": {...}}`. It provides
            the prototypes of heads that use them: at every step during training, otherwise from a copy in each head,
            see `refresh_prototypes`.
        input_spec: Input settings fixed at training time: `frames`, `fps`, `crop_margin`, `alignment`. Training takes
            those that are not given from its data.

    Attributes:
        backbone: The frame encoder.
        temporal: The temporal module or None.
        bridge: The bridge or None.
        heads: The heads by name, an `nn.ModuleDict`.
        input_spec: Format of the input pictures.
        stated: Input settings that were given; training takes the others from the data.
        metadata: Training data, licence and results of a saved model; plain values.

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
        width = self.backbone.num_features
        self.temporal: Temporal | None = (
            build("temporal", temporal, in_features=width) if isinstance(temporal, Mapping) else temporal
        )
        if unknown := sorted(set(input_spec or {}) - set(_CLIP_FIELDS)):
            raise ConfigError(
                f"`input_spec` cannot set {', '.join(unknown)}.",
                remedy=f"Set {', '.join(_CLIP_FIELDS)}; the backbone decides the rest.",
            )
        self.stated: dict[str, Any] = dict(input_spec or {})
        self.input_spec: InputSpec = with_values(self.backbone.input_spec, **self.stated)
        self.metadata: dict[str, Any] = {}
        self.heads: nn.ModuleDict = nn.ModuleDict()
        self.bridge: Bridge | None = None
        for name, head in heads.items():
            self.replace_head(name, head)
        if bridge is not None:
            spaces = {name: self.head(name).space for name in heads if self.head(name).uses_prototypes}
            self.bridge = build("bridge", bridge, spaces=spaces) if isinstance(bridge, Mapping) else bridge
            for name in {**heads, **self.bridge.spaces}:
                self.bridge.check(name, self.head(name))
        self.register_state_dict_pre_hook(_refresh)  # type: ignore[no-untyped-call]

    @property
    def num_features(self) -> int:
        """Width of the heads' input."""
        return self.backbone.num_features if self.temporal is None else self.temporal.num_features

    @property
    def unstated(self) -> tuple[str, ...]:
        """Input settings that were not given, so that training takes them from its data."""
        return tuple(key for key in _CLIP_FIELDS if key not in self.stated)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments of a model of the same shape; plain values only."""
        return {
            "backbone": self.backbone.config,
            "heads": {name: self.head(name).config for name in self.heads},
            "temporal": None if self.temporal is None else self.temporal.config,
            "bridge": None if self.bridge is None else self.bridge.config,
            "input_spec": {key: getattr(self.input_spec, key) for key in _CLIP_FIELDS},
        }

    def head(self, name: str) -> Head:
        """The head of this name; raises ConfigError if there is none."""
        if name not in self.heads:
            raise ConfigError(
                f"There is no head {name!r}.", remedy=f"Heads: {', '.join(self.heads) or 'none'}."
            )
        head: Head = self.heads[name]  # type: ignore[assignment]  # the type of a ModuleDict's entries is unknown
        return head

    def labels(self, name: str) -> tuple[str, ...]:
        """Label names of a head, in the order of its outputs; raises ConfigError if there is no such head."""
        return self.head(name).labels

    def replace_head(self, name: str, head: Head | Mapping[str, Any]) -> None:
        """Add or replace a head.

        Args:
            name: Lower-case letters, digits and underscores.
            head: A head or its configuration.

        Raises:
            ConfigError: The name is not valid, the head's width differs from the model's, or the model's bridge does
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

    @property
    def signals(self) -> tuple[str, ...]:
        """Signals that the backbone needs besides the frames."""
        return self.backbone.signals

    @property
    def reads_pictures(self) -> bool:
        """Whether the backbone reads the pixels of the frames."""
        return self.backbone.reads_pictures

    def features(
        self,
        frames: Tensor,
        frame_mask: Tensor | None = None,
        landmarks: Tensor | None = None,
        landmarks_mask: Tensor | None = None,
        signals: Mapping[str, Tensor] | None = None,
        signals_mask: Tensor | None = None,
    ) -> Features:
        """Features for the heads.

        Args:
            frames: [B, T, 3, H, W] RGB, uint8 in 0-255 or floating point in 0-1; T = 1 for stills.
            frame_mask: bool [B, T], True for real frames; None if all are real.
            landmarks: float [B, T, 68, 2] in pixels of the frames, for parts that use places of the face; or None.
            landmarks_mask: bool [B, T, 68], True for known landmarks; None if all are known.
            signals: [B, T, ...] by name, those that `self.signals` names; or None.
            signals_mask: bool [B, T], True for frames with known signals; None if all are known.

        Raises:
            ValueError: `frames` has another number of axes.
            ConfigError: A signal of the backbone is missing.
        """
        if frames.ndim != 5:
            raise ValueError(f"Frames must be [B, T, 3, H, W], not {list(frames.shape)}.")
        given: dict[str, Any] = {}
        if self.signals:
            given |= {"signals": signals, "signals_mask": signals_mask}
        if self.backbone.reads_landmarks:
            given |= {"landmarks": landmarks, "landmarks_mask": landmarks_mask}
        features: Features = self.backbone(frames, frame_mask, **given)
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
        signals: Mapping[str, Tensor] | None = None,
        signals_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Logits by head name, [B, ...] or per frame [B, T, ...]; see `features` for the arguments."""
        features = self.features(frames, frame_mask, landmarks, landmarks_mask, signals, signals_mask)
        given = self.prototypes() if self.training else {}
        return {
            name: head(features, given[name]) if name in given else head(features)
            for name, head in self.heads.items()
        }

    @torch.inference_mode()
    def predict(
        self,
        crops: Tensor,
        frame_mask: Tensor | None = None,
        landmarks: Tensor | None = None,
        landmarks_mask: Tensor | None = None,
        signals: Mapping[str, Tensor] | None = None,
        signals_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Predict aligned face crops in evaluation mode, without gradients.

        No faces are searched: `affectkit.Predictor.predict` takes photos and videos, and finds, aligns and cuts out
        their faces as this model expects them.

        Args:
            crops: [B, T, 3, H, W] RGB, uint8 in 0-255 or floating point in 0-1, of one aligned face per clip; T = 1
                for stills. The size and alignment are those of `input_spec`.
            frame_mask: See `features`, also for the other arguments.
            landmarks: See `features`.
            landmarks_mask: See `features`.
            signals: See `features`.
            signals_mask: See `features`.

        Returns:
            By head name, float32 [B, L] or [B, T, L] for L labels; probabilities, or values on the scale of the labels.

        Raises:
            ConfigError: `crops` is not a tensor, or its channels come last.

        Warns:
            UserWarning: The pictures can hardly be face crops, because they are not square or much larger.
        """
        given = {
            "frame_mask": frame_mask,
            "landmarks": landmarks,
            "landmarks_mask": landmarks_mask,
            "signals": signals,
            "signals_mask": signals_mask,
        }
        return self._predict(crops, given)[0]

    @torch.inference_mode()
    def describe(self, crops: Tensor, **given: Any) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
        """Predict aligned face crops, and describe them in sentences.

        Args:
            crops: See `predict`.
            **given: Further arguments of `predict`.

        Returns:
            The result of `predict`, and B sentences by the name of each head that describes faces.

        Raises:
            ConfigError: As for `predict`.
        """
        return self._predict(crops, given, sentences=True)

    def _predict(
        self, crops: Tensor, given: Mapping[str, Any], *, sentences: bool = False
    ) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
        """Predictions by head, and sentences of the heads that describe faces."""
        self._check_crops(crops)
        training = self.training
        self.eval()
        try:
            features = self.features(crops, **given)
            logits = {name: self.head(name)(features) for name in self.heads}
            talking = [name for name in self.heads if sentences and self.head(name).describes]
            return (
                {name: self.head(name).predict(values) for name, values in logits.items()},
                {name: self.head(name).describe(features, logits[name]) for name in talking},
            )
        finally:
            self.train(training)

    def _check_crops(self, crops: Any) -> None:
        """Raise or warn about pictures that are not face crops."""
        remedy = (
            "For whole pictures, use `affectkit.Predictor(model).predict(picture)`, which finds the faces."
        )
        if not isinstance(crops, Tensor):
            raise ConfigError(
                f"A model predicts a torch tensor of aligned face crops [B, T, 3, H, W], not {type(crops).__name__}.",
                remedy=remedy,
            )
        if crops.ndim >= 3 and crops.shape[-1] == 3 and crops.shape[-3] != 3:
            raise ConfigError(
                f"The channels of face crops come before height and width: [B, T, 3, H, W], not {list(crops.shape)}.",
                remedy=remedy,
            )
        size = self.input_spec.size
        if crops.ndim == 5 and size > 1 and (crops.shape[3] != crops.shape[4] or crops.shape[3] > 2 * size):
            height, width = crops.shape[3:]
            warnings.warn(
                f"Pictures of {height} by {width} pixels are hardly aligned face crops of {size} by {size} pixels. "
                f"{remedy}",
                UserWarning,
                stacklevel=5,
            )

    def prototypes(self) -> dict[str, Tensor]:
        """Prototypes [L, D] by head name, with gradients. Runs the text tower: call it once per step."""
        return {} if self.bridge is None else self.bridge()

    @torch.no_grad()
    def refresh_prototypes(self) -> None:
        """Copy the bridge's prototypes into the heads, which use the copies outside training.

        This happens automatically when the model leaves training mode, and when a model in training mode is saved. Call
        it after changes of parameters in evaluation mode.
        """
        for name, vectors in self.prototypes().items():
            self.head(name).prototypes.copy_(vectors)

    def freeze(self, patterns: Sequence[str]) -> None:
        """Freeze the parameters that match. Completely frozen parts stay in evaluation mode.

        Args:
            patterns: Shell patterns for names such as "backbone.net.conv1.weight": "backbone.*", "heads.au.*".

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
        """Set training or evaluation mode; frozen parts keep their batch statistics and use no dropout.

        Leaving training mode refreshes the heads' copies of the prototypes.
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
        """Save to a folder; `affectkit.models.hub` describes its files.

        Args:
            folder: Created if absent.
            metadata: Plain values about data, licence and results, see `affectkit.models.card`; by default those that
                the model was loaded with.
            half: Store numbers in half precision: half the size, with differences from the third decimal on.

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
            **{part: self.config[part] for part in ("backbone", "temporal", "bridge")},
            "heads": {name: self.head(name).description() for name in self.heads},
            "input": self.input_spec.to_dict(),
            "metadata": self.metadata,
        }
        hub.write_config(folder, entries)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, revision: str | None = None) -> Self:
        """Load a saved model in evaluation mode; see `load` for arguments and errors."""
        path = hub.locate(folder, revision)
        config = _config_of_model(path)
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
        nn.Module.train(model, False)  # without `refresh_prototypes`: the tensors include the prototypes
        hub.load_strictly(model, hub.read_tensors(tensors), tensors)
        model.metadata = config.get("metadata") or {}
        return model

    def init_from(
        self, folder: str | Path, *, replace: Sequence[str] = (), revision: str | None = None
    ) -> None:
        """Initialise from the tensors of a saved model, to fine-tune it.

        The place of the face in the pictures is that of the saved model, unless this model states another.

        Args:
            folder: Local folder, or "owner/name" on the Hub.
            replace: Heads, "temporal" or "bridge", to leave unchanged; for a head, also the parts of the bridge that
                depend on its labels. All other tensors must fit by name, shape and labels.
            revision: Branch, tag or commit on the Hub.

        Raises:
            WeightsError: Tensors, labels or normalisation differ.
            ConfigError: `replace` names no part of either model.
        """
        path = hub.locate(folder, revision)
        config, parts = _config_of_model(path), ("temporal", "bridge")
        known = {*self.heads, *config["heads"], *parts}
        if unknown := sorted(set(replace) - known):
            raise ConfigError(
                f"There is no {', '.join(unknown)} to replace.", remedy=f"Known: {', '.join(sorted(known))}."
            )
        for name in self.heads:
            here = list(self.labels(name))
            there = config["heads"].get(name, {}).get("labels", here)
            if name not in replace and there != here:
                raise WeightsError(
                    f"The head {name!r} was trained on {there}; here it has {here}.",
                    path=path,
                    remedy=f"Train it from scratch: `replace_heads: [{name}]` in a recipe.",
                )
        for key in ("mean", "std", "normalize"):
            here, there = self.input_spec.to_dict()[key], config["input"].get(key)
            if there != here:
                raise WeightsError(
                    f"The backbone was trained with {key} = {there}; here it is {here}.",
                    path=path,
                    remedy="Give the backbone the same normalisation.",
                )
        skip = [f"{part}." if part in parts else f"heads.{part}." for part in replace]
        if self.bridge is not None:
            skip += [f"bridge.{prefix}" for part in replace for prefix in self.bridge.parts_of(part)]
        tensors = path / "model.safetensors"
        hub.load_strictly(self, hub.read_tensors(tensors), tensors, skip=skip)
        place = {key: config["input"].get(key) for key in _PLACE if key in config["input"]}
        if not self.stated.keys() & _PLACE and place.get("alignment") != "frame":  # which places no face
            self.input_spec = with_values(self.input_spec, **place)
        if not self.training:
            self.refresh_prototypes()  # parts of the bridge may be new here

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool = False,
        metadata: Mapping[str, Any] | None = None,
        half: bool = False,
    ) -> str:
        """Save to the Hugging Face Hub; see `affectkit.models.hub.upload` and `save_pretrained`."""
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, metadata=metadata, half=half)
            return hub.upload(Path(folder), repo, private=private)


def load(model: str | Path, *, revision: str | None = None) -> AffectModel:
    """Load a saved model in evaluation mode; every tensor must fit by name and shape.

    Args:
        model: A folder; "owner/name" on the Hugging Face Hub; or a model that is part of affectkit: "mesh", for the
            face mesh, or "demo", for pictures. **Both were trained on rendered faces**: their numbers on real faces
            are a demonstration. A local model folder `demo` has priority.
        revision: Branch, tag or commit on the Hub.

    Raises:
        WeightsError: The model is not available, unsafe, damaged or of an unknown format, or its tensors do not fit.
        ConfigError: The configuration names unknown parts or arguments.

    Example:
        >>> model = load("demo")
        >>> model.metadata["rendered"], model.labels("au")[:3]
        (True, ('AU1', 'AU2', 'AU4'))
    """
    return AffectModel.from_pretrained(model, revision=revision)


def _refresh(model: AffectModel, *_: Any) -> None:
    """Before a state dict is made: saved prototypes must be those of the saved weights."""
    if model.training:
        model.refresh_prototypes()


def _config_of_model(path: Path) -> dict[str, Any]:
    """Configuration of a folder that must contain a backbone."""
    config = hub.read_config(path)
    if not config["backbone"] or not config.get("input"):
        raise WeightsError(
            "This folder contains heads without a backbone.",
            path=path,
            remedy="Load one with `AUHead.from_pretrained`, or give the folder of a whole model.",
        )
    return config
