"""Statistics of signals over the segments of a clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.models.backbones.base import Backbone
from affectkit.models.backbones.signals import join_signals
from affectkit.models.features import Features, InputSpec
from affectkit.models.registry import register
from affectkit.registry import plain

__all__ = ["SegmentBackbone"]


@register("backbone", "signal_segments")
class SegmentBackbone(Backbone):
    """Mean and deviation of signals in equal segments of a clip, standardised and projected; one vector per segment.

    Segments, not frames, are the frames of a temporal module. Standardisation is by running statistics of the training
    data, with values beyond ±`limit` clipped. Frames without known signals do not count, and segments without any known
    frame are masked.

    Args:
        signals: Number of values per frame of each signal, such as `{"openface_pose": 6}`.
        segments: Number of segments; a clip of fewer frames has as many as it has frames.
        width: Width of the vectors.
        limit: Largest standardised value.

    Attributes:
        num_features: `width`.

    Raises:
        ConfigError: There is no signal, or a size below 1.

    Example:
        >>> backbone = SegmentBackbone({"pose": 3}, segments=5, width=8)
        >>> backbone(torch.zeros(2, 30, 3, 1, 1), signals={"pose": torch.randn(2, 30, 3)}).frames.shape
        torch.Size([2, 5, 8])

    References:
        M. Singh et al., "Do I have your attention", ICMI 2023, the features of the transformer baseline (50 segments;
        here with a learned projection, and running statistics instead of robust scaling).
    """

    def __init__(
        self, signals: Mapping[str, int], *, segments: int = 50, width: int = 96, limit: float = 5.0
    ) -> None:
        super().__init__()
        if not signals or min(*signals.values(), segments, width) < 1:
            raise ConfigError(
                f"The sizes {dict(signals)}, segments={segments} and width={width} must be at least 1.",
                remedy="Name at least one signal.",
            )
        self.signals, self.sizes = tuple(signals), dict(signals)
        self.reads_pictures = False
        self.segments, self.limit = segments, limit
        values = 2 * sum(signals.values())
        self.standardize = nn.BatchNorm1d(values, affine=False, momentum=0.01)
        self.project = nn.Linear(values, width)
        self.num_features = width
        self.input_spec = InputSpec(size=1)
        self.config = {
            "type": "signal_segments",
            "signals": plain(dict(signals)),
            "segments": segments,
            "width": width,
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
            frame_mask: bool [B, T], True where a frame is real; None if all are. Real frames come first.
            signals: [B, T, ...] by name, all of `self.signals`.
            signals_mask: bool [B, T], True where the signals of a frame are known; None if all are.

        Returns:
            `pooled` [B, D] and `frames` [B, S, D] with their mask, S segments.

        Raises:
            ConfigError: A signal is missing or has another size.
        """
        values = join_signals(signals or {}, self.sizes).float()
        real = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        real = real if frame_mask is None else frame_mask
        known = real if signals_mask is None else real & signals_mask
        statistics, mask = self._statistics(values.masked_fill(~known[..., None], 0.0), real, known)
        mean = cast("Tensor", self.standardize.running_mean)
        flat = torch.where(mask[..., None], statistics.to(mean.dtype), mean).flatten(0, 1)
        vectors = self.project(self.standardize(flat).clamp(-self.limit, self.limit))
        return Features.of_frames(vectors.reshape(*mask.shape, -1), mask)

    def _statistics(self, values: Tensor, real: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Means and deviations [B, S, 2F] of the known frames of each segment, and which segments have any [B, S]."""
        places = torch.arange(values.shape[1], device=values.device)
        lengths = real.sum(1, keepdim=True).clamp(min=1)
        count = min(self.segments, values.shape[1])
        own = (
            places * lengths.clamp(max=count) // lengths
        )  # segment of each frame; short clips use the first ones
        member = (own[..., None] == torch.arange(count, device=values.device)) & known[..., None]
        share = rearrange(member.float(), "b t s -> b s t")
        total = share.sum(-1, keepdim=True).clamp(min=1)
        mean = share @ values / total
        centred = values - rearrange(share, "b s t -> b t s") @ mean
        deviation = (share @ centred.square() / total).clamp(min=1e-12).sqrt()
        return torch.cat([mean, deviation], dim=-1), member.any(1)
