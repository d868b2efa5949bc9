"""Encoders of signals per frame, such as a face mesh, and their fusion with pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.models.backbones.base import Backbone
from affectkit.models.features import Features, InputSpec
from affectkit.models.registry import build, register
from affectkit.registry import plain

__all__ = ["FusedBackbone", "SignalBackbone", "join_signals"]


def join_signals(signals: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Tensor:
    """Flatten and join signals to [B, T, F].

    Args:
        signals: [B, T, ...] by name.
        sizes: Number of values per frame of each signal to join.

    Raises:
        ConfigError: A signal is missing or has another size.

    Example:
        >>> join_signals({"mesh": torch.zeros(2, 5, 4, 3), "pose": torch.zeros(2, 5, 3)}, {"pose": 3, "mesh": 12}).shape
        torch.Size([2, 5, 15])
    """
    for name, size in sizes.items():
        found = signals[name].flatten(2).shape[2] if name in signals else None
        if found != size:
            fault = "is missing" if found is None else f"has {found} values per frame, not {size}"
            raise ConfigError(
                f"The signal {name!r} {fault}.", remedy="Use a dataset that measures the model's signals."
            )
    return torch.cat([signals[name].flatten(2) for name in sizes], dim=2)


@register("backbone", "signals")
class SignalBackbone(Backbone):
    """Encode signals of a face, frame by frame, with a multilayer perceptron.

    The signals of a frame are flattened, joined and standardised by running statistics of the training data, so
    that their units do not matter. Values beyond ±`limit` standard deviations are clipped: a face unlike all
    faces of the training data then moves the features by a bounded amount.

    Args:
        signals: Number of values per frame of each signal, such as `{"mesh": 1434, "blendshapes": 52, "pose": 3}`;
            see `affectkit.faces.FaceMesh.signals` for those that the library measures.
        width: Width of the hidden layers and of the features.
        depth: Number of hidden layers; 0 for the standardised values themselves.
        dropout: Probability of zeroing a hidden unit while training.
        noise: Standard deviation of Gaussian noise on standardised values while training.
        limit: Largest standardised value.

    Attributes:
        num_features: `width`, or the number of values if `depth` is 0.

    Raises:
        ConfigError: There is no signal, a size below 1, or a depth below 0.

    Example:
        >>> backbone = SignalBackbone({"pose": 3}, width=8)
        >>> backbone(torch.zeros(2, 5, 3, 1, 1), signals={"pose": torch.zeros(2, 5, 3)}).frames.shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        signals: Mapping[str, int],
        *,
        width: int = 256,
        depth: int = 2,
        dropout: float = 0.2,
        noise: float = 0.1,
        limit: float = 5.0,
    ) -> None:
        super().__init__()
        if not signals or min(signals.values()) < 1 or width < 1 or depth < 0:
            raise ConfigError(
                f"The sizes {dict(signals)}, width={width} or depth={depth} are out of range.",
                remedy="Name at least one signal; give sizes of 1 or more, and a depth of 0 or more.",
            )
        self.signals = tuple(signals)
        self.reads_pictures = False
        self.sizes = dict(signals)
        self.noise, self.limit = noise, limit
        self.standardize = nn.BatchNorm1d(sum(signals.values()), affine=False, momentum=0.01)
        layers: list[nn.Module] = []
        self.num_features = sum(signals.values())
        for _ in range(depth):
            layers += [nn.Linear(self.num_features, width), nn.GELU(), nn.Dropout(dropout)]
            self.num_features = width
        self.layers = nn.Sequential(*layers)
        self.input_spec = InputSpec(size=1)
        self.config = {
            "type": "signals",
            "signals": plain(dict(signals)),
            "width": width,
            "depth": depth,
            "dropout": dropout,
            "noise": noise,
            "limit": limit,
        }

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor | None = None,
        signals: Mapping[str, Tensor] | None = None,
        signals_mask: Tensor | None = None,
    ) -> Features:
        """Encode a batch of clips.

        Args:
            frames: [B, T, 3, H, W]; only the number of clips and frames is read.
            frame_mask: bool [B, T], True where a frame is real; None if all are.
            signals: [B, T, ...] by name, all of `self.signals`.
            signals_mask: bool [B, T], True where the signals of a frame are known; None if all are. Unknown values
                are replaced by the mean of the training data.

        Returns:
            `pooled` [B, D] and `frames` [B, T, D].

        Raises:
            ConfigError: A signal is missing or has another size.
        """
        mean = cast("Tensor", self.standardize.running_mean)
        values = join_signals(signals or {}, self.sizes).flatten(0, 1).to(mean.dtype)
        if signals_mask is not None:
            values = torch.where(signals_mask.reshape(-1, 1), values, mean)
        values = self.standardize(values).clamp(-self.limit, self.limit)
        if self.training and self.noise:
            values = values + self.noise * torch.randn_like(values)
        vectors = self.layers(values)
        return Features.of_frames(vectors.reshape(*frames.shape[:2], -1), frame_mask)


@register("backbone", "fused")
class FusedBackbone(Backbone):
    """Join the features of several backbones that see the same clips.

    Args:
        parts: Backbones by name, or their configurations. The first one decides the pictures.
        part_dropout: Probability of zeroing all features of one randomly chosen part while training, so that heads
            learn to do with each alone.

    Attributes:
        num_features: The sum of the parts' widths.

    Raises:
        ConfigError: There are fewer than two parts, or a name is not an identifier.
    """

    def __init__(
        self, parts: Mapping[str, Backbone | Mapping[str, Any]], *, part_dropout: float = 0.0
    ) -> None:
        super().__init__()
        if len(parts) < 2 or not all(name.isidentifier() for name in parts):
            raise ConfigError(f"The parts {list(parts)} are not two names or more.", remedy="Name each part.")
        built = {n: build("backbone", p) if isinstance(p, Mapping) else p for n, p in parts.items()}
        self.parts = nn.ModuleDict(built)
        self.part_dropout = part_dropout
        self.reads_pictures = any(part.reads_pictures for part in built.values())
        self.signals = tuple(dict.fromkeys(name for part in built.values() for name in part.signals))
        self.num_features = sum(part.num_features for part in built.values())
        self.input_spec = next(iter(built.values())).input_spec
        self.config = {
            "type": "fused",
            "parts": {name: part.config for name, part in built.items()},
            "part_dropout": part_dropout,
        }

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor | None = None,
        signals: Mapping[str, Tensor] | None = None,
        signals_mask: Tensor | None = None,
    ) -> Features:
        """Encode a batch of clips; see `SignalBackbone.forward`."""
        vectors = []
        for part in self.parts.values():
            given = {"signals": signals, "signals_mask": signals_mask} if part.signals else {}
            features = part(frames, frame_mask, **given)
            vectors.append(features.frames)
        if self.training and self.part_dropout:
            kept = torch.ones(len(vectors), *frames.shape[:2], 1, device=frames.device)
            dropped = torch.rand(frames.shape[:2], device=frames.device) < self.part_dropout
            chosen = torch.randint(len(vectors), frames.shape[:2], device=frames.device)
            kept.scatter_(0, chosen[None, ..., None], 1.0 - dropped.float()[None, ..., None])
            vectors = [v * k for v, k in zip(vectors, kept, strict=True)]
        return Features.of_frames(torch.cat(vectors, dim=2), frame_mask)
