"""TCCT-Net: two streams over signals of the face, one over time and one over scales of wavelets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Final, Literal, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.methods.engagement.wavelets import MorletMagnitude
from affectkit.models import Backbone, Features, InputSpec, NominalLevelsHead, register
from affectkit.models.backbones.signals import join_signals
from affectkit.registry import plain

__all__ = ["TCCTBackbone", "TCCTHead"]

_WIDTH: Final = 40  # channels of the temporal stream
_MAPS: Final = 32  # channels of the stream of scales
_SCALES: Final = tuple(3.0 + 4.0 * k / 19 for k in range(20))


def _num_tokens(length: int) -> int:
    """Tokens of the temporal stream: after a convolution of 25 frames, means of 75 frames every 15."""
    return (length - 24 - 75) // 15 + 1


@register("backbone", "tcctnet")
class TCCTBackbone(Backbone):
    """Both streams of TCCT-Net, without their classifiers.

    The temporal stream convolves the signals over time and over each other, averages the result to tokens and relates
    the tokens with a transformer. The other one reads the magnitudes of a wavelet transform as pictures of scales and
    frames. Use it with `TCCTHead`: the clip vector joins the tokens of the one with the means of the other.

    Args:
        signals: Number of values per frame of each signal, such as `{"pose": 3}`.
        columns: Values to use, as positions in the joined signals, such as `[0, 1]` for pitch and yaw; all by default.
        length: Frames that the network reads. Shorter clips are repeated, longer ones cut off.
        standardize: Whether all values share one mean and deviation ("joint"), or each value of a frame has its own
            ("each"), for signals with different units. Both are running statistics of the training data.
        depth: Number of transformer blocks.

    Attributes:
        num_features: 40 values of each token, and 32 means; 552 for 280 frames.

    Raises:
        ConfigError: There is no signal, a size is below 1, a column does not exist, or the length is below 99.

    Example:
        >>> backbone = TCCTBackbone({"pose": 3}, columns=[0, 1])
        >>> frames = torch.zeros(2, 50, 3, 1, 1)
        >>> backbone(frames, signals={"pose": torch.randn(2, 50, 3)}).pooled.shape
        torch.Size([2, 552])

    References:
        A. Vedernikov et al., "TCCT-Net: two-stream network architecture for fast and efficient engagement estimation
        via behavioral feature signals", CVPR Workshops 2024. Frames with unknown signals hold the mean of the training
        data; statistics are those of the batch while training. Where the paper is silent, the activation of the
        transformer is GELU.
    """

    def __init__(
        self,
        signals: Mapping[str, int],
        *,
        columns: Sequence[int] | None = None,
        length: int = 280,
        standardize: Literal["joint", "each"] = "joint",
        depth: int = 5,
    ) -> None:
        super().__init__()
        total = sum(signals.values())
        chosen = list(range(total)) if columns is None else list(columns)
        if not signals or min(signals.values()) < 1 or not chosen or not set(chosen) <= set(range(total)):
            raise ConfigError(
                f"The signals {dict(signals)} have no columns {chosen}.",
                remedy=f"Columns are 0 to {total - 1}.",
            )
        if length < 99 or depth < 1:
            raise ConfigError(f"length={length} must be at least 99 and depth={depth} at least 1.")
        self.signals, self.sizes = tuple(signals), dict(signals)
        self.reads_pictures = False
        self.columns, self.length, self.joint = chosen, length, standardize == "joint"
        self.num_features = _WIDTH * _num_tokens(length) + _MAPS
        self.input_spec = InputSpec(size=1)
        self.config = {
            "type": "tcctnet",
            "signals": plain(dict(signals)),
            "columns": None if columns is None else chosen,
            "length": length,
            "standardize": standardize,
            "depth": depth,
        }
        width = len(chosen)
        self.standardize = nn.BatchNorm1d(1 if self.joint else width, affine=False, momentum=0.01)
        self.over_time = nn.Sequential(
            nn.Conv2d(1, _WIDTH, (1, 25)),
            nn.Conv2d(_WIDTH, _WIDTH, (width, 1)),
            nn.BatchNorm2d(_WIDTH),
            nn.ELU(),
            nn.AvgPool2d((1, 75), (1, 15)),
            nn.Dropout(0.5),
            nn.Conv2d(_WIDTH, _WIDTH, 1),
        )
        self.blocks = nn.Sequential(*(_Block() for _ in range(depth)))
        self.wavelets = MorletMagnitude(_SCALES)
        self.over_scales = nn.Sequential(
            nn.Conv2d(width, 16, (1, 10), padding=2),
            nn.Conv2d(16, _MAPS, (2, 1)),
            nn.BatchNorm2d(_MAPS),
            nn.ELU(),
            nn.AvgPool2d((1, 20), (1, 15)),
            nn.Dropout(0.6),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

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
            frame_mask: bool [B, T], True where a frame is real; None if all are. Real frames come first.
            signals: [B, T, ...] by name, all of `self.signals`.
            signals_mask: bool [B, T], True where the signals of a frame are known; None if all are.

        Returns:
            `pooled` [B, `num_features`], and no vectors of frames.

        Raises:
            ConfigError: A signal is missing or has another size.
        """
        values = self._repeat(self._standardized(signals or {}, signals_mask), frame_mask)
        series = rearrange(values, "b t f -> b f t")
        tokens = rearrange(self.over_time(series[:, None]), "b c 1 n -> b n c")
        pooled = torch.cat([self.blocks(tokens).flatten(1), self.over_scales(self.wavelets(series))], dim=1)
        return Features(pooled)

    def _standardized(self, signals: Mapping[str, Tensor], mask: Tensor | None) -> Tensor:
        """Chosen columns [B, T, F], standardised; 0 where unknown."""
        mean = cast("Tensor", self.standardize.running_mean)
        values = join_signals(signals, self.sizes)[..., self.columns].to(mean.dtype)
        known = torch.ones_like(values[..., :1], dtype=torch.bool) if mask is None else mask[..., None]
        values = torch.where(known, values, mean)
        flat = values.reshape(-1, len(mean))
        standardized: Tensor = self.standardize(flat)
        return standardized.reshape(values.shape).masked_fill(~known, 0.0)

    def _repeat(self, values: Tensor, frame_mask: Tensor | None) -> Tensor:
        """Repeat or cut the real frames of each clip to `length`: [B, length, F]."""
        places = torch.arange(self.length, device=values.device).expand(len(values), -1)
        if frame_mask is None:
            places = places % values.shape[1]
        else:
            places = places % frame_mask.sum(1, keepdim=True).clamp(min=1)
        return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))


class _Block(nn.Module):
    """Pre-norm transformer block with ten heads, whose scores are divided by the root of the whole width."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(_WIDTH) for _ in range(2))
        self.qkv = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.out = nn.Linear(_WIDTH, _WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(_WIDTH, 4 * _WIDTH), nn.GELU(), nn.Dropout(0.5), nn.Linear(4 * _WIDTH, _WIDTH)
        )
        self.dropout = nn.Dropout(0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Relate tokens [B, N, 40]."""
        q, k, v = rearrange(
            self.qkv(self.norms[0](tokens)), "b n (three h d) -> three b h n d", three=3, h=10
        )
        mixed = F.scaled_dot_product_attention(
            q, k, v, dropout_p=0.5 if self.training else 0.0, scale=1 / sqrt(_WIDTH)
        )
        tokens = tokens + self.dropout(self.out(rearrange(mixed, "b h n d -> b n (h d)")))
        result: Tensor = tokens + self.dropout(self.mlp(self.norms[1](tokens)))
        return result


@register("head", "tcct_levels")
class TCCTHead(NominalLevelsHead):
    r"""Classifiers of both streams of TCCT-Net, one logit per level: :math:`z = a z_{time} + b z_{scales}`.

    The factors are learned, from a = 0.5 and b = 4. With `TCCTBackbone` over two signals and 280 frames the model has
    177,586 parameters.

    See `Head` for the arguments; `space` is a `Levels` or its name, and `in_features` that of a `TCCTBackbone`.

    Example:
        >>> TCCTHead(552, "levels:low,medium,high")(torch.zeros(3, 552)).shape
        torch.Size([3, 3])

    References:
        As for `TCCTBackbone`.
    """

    target = "engagement"

    def add_layers(self) -> None:
        """Replace the layers by the classifiers of the streams."""
        tokens, levels = self.in_features - _MAPS, len(self.space)
        if tokens < _WIDTH or tokens % _WIDTH:
            raise ConfigError(
                f"{self.in_features} features are not those of a TCCT-Net.",
                remedy="Use the backbone tcctnet.",
            )
        self.body = nn.Sequential(nn.Linear(tokens, 128), nn.ELU(), nn.Dropout(0.3), nn.Linear(128, levels))
        self.out = nn.Sequential(  # type: ignore[assignment]
            nn.Linear(_MAPS, 64), nn.Linear(64, 32), nn.ELU(), nn.Dropout(0.4), nn.Linear(32, levels)
        )
        self.factors = nn.Parameter(torch.tensor([0.5, 4.0]))

    def forward(self, features: Features | Tensor) -> Tensor:
        """Compute logits [..., K] of the levels."""
        vectors = self.read(features)
        tokens, maps = vectors[..., :-_MAPS], vectors[..., -_MAPS:]
        logits: Tensor = self.factors[0] * self.body(tokens) + self.factors[1] * self.out(maps)
        return logits
