"""Head of AU-TTT: action units from the class token and each unit's region, and their heat maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.facs import AUSet, LabelSpace
from affectkit.methods.au_ttt.regions import UnitMaps
from affectkit.models.features import Features, masked_mean
from affectkit.models.heads import AUHead
from affectkit.models.registry import register

__all__ = ["AUTTTHead", "AUTTTOutputs"]

_FINER = 4  # cells of a heat map per patch, in each direction


@dataclass(frozen=True, slots=True)
class AUTTTOutputs:
    """Outputs of an `AUTTTHead` for a batch.

    Args:
        logits: [B, A], or [B, T, A] per frame.
        maps: [B, T, A, S, S], predicted heat maps; S is four times the number of patches per row.
        heat: float32 [B, T, A, S, S] in [0, 1], heat maps of the units' regions, without sign.
    """

    logits: Tensor
    maps: Tensor
    heat: Tensor


@register("head", "au_ttt")
class AUTTTHead(AUHead):
    r"""Occurrence of action units from the class token and the patches of each unit's region.

    The logit of unit i is :math:`w_i \cdot (f + \sum_u H_i(u) z_u / \sum_u H_i(u)) + b_i` with the vector f of the
    frame, the patches z and the heat map :math:`H_i` of the unit's region. A second linear layer predicts the signed
    heat map :math:`\pm H_i` from the patches, for the loss.

    Features must have patches (`tokens`). Without landmarks, those of a mean face are used.

    Args:
        in_features: Width C of patches and frames.
        space: An `AUSet`, or its name: "bp4d12", "AU1,AU12".
        per_frame: Predict for every frame instead of once per clip, by the mean over real frames.
        sigma: Standard deviation of the heat maps, as a fraction of the picture's side.
        landmarks: Find regions by the landmarks of each picture where they are known, instead of a mean face.
        dropout: Probability, before the logits.
        target: Name of the annotation to learn from.

    Raises:
        LabelSpaceError: A unit has no known region.

    Example:
        >>> import torch
        >>> head = AUTTTHead(8, "AU4,AU12")
        >>> clips = Features(torch.zeros(2, 8), torch.zeros(2, 3, 8), torch.zeros(2, 3, 16, 8))
        >>> head(clips).shape, head.outputs(clips).maps.shape
        (torch.Size([2, 3, 2]), torch.Size([2, 3, 2, 16, 16]))

    References:
        AU-TTT, arXiv 2503.23450. The figure shows both supervisions; how logits are read is ours.
    """

    def __init__(
        self,
        in_features: int,
        space: str | LabelSpace,
        *,
        per_frame: bool = True,
        sigma: float = 20 / 128,
        landmarks: bool = True,
        dropout: float = 0.0,
        target: str = "au",
    ) -> None:
        super().__init__(in_features, space, per_frame=per_frame, dropout=dropout, target=target)
        self.reads_landmarks = landmarks
        self.regions = UnitMaps(tuple(cast("AUSet", self.space)), sigma=sigma)
        self.maps = nn.Linear(in_features, len(self.space))
        del self.arguments["hidden"]
        self.arguments |= {"sigma": sigma, "landmarks": landmarks}

    def outputs(self, features: Features) -> AUTTTOutputs:
        """Compute all outputs.

        Args:
            features: With `frames` [B, T, C] and `tokens` [B, T, N, C]; N must be a square number.

        Raises:
            ValueError: The backbone gives no patches, or they do not form a square.
        """
        tokens, grid = self._patches(features)
        heat = self._heat(features, grid * _FINER)
        maps = rearrange(self.maps(tokens), "b t (y x) a -> (b t) a y x", y=grid)
        maps = F.interpolate(maps, scale_factor=_FINER, mode="bilinear")
        return AUTTTOutputs(
            self(features), rearrange(maps, "(b t) a y x -> b t a y x", b=tokens.shape[0]), heat
        )

    def forward(self, features: Features | Tensor) -> Tensor:
        """Logits [B, T, A], or [B, A] per clip, of `Features` with patches; see `outputs`.

        Raises:
            ValueError: There are no patches, or `features` is a plain tensor.
        """
        if not isinstance(features, Features):
            raise ValueError("A head of AU-TTT needs patches: give it Features with `tokens`.")
        tokens, grid = self._patches(features)
        heat = self._heat(features, grid).flatten(3).to(tokens.dtype)
        weights = heat / heat.sum(dim=-1, keepdim=True)
        regions = einsum(weights, tokens, "b t a n, b t n c -> b t a c")
        frames = rearrange(cast("Tensor", features.frames), "b t c -> b t 1 c")
        logits = (self.body(frames + regions) * self.out.weight).sum(dim=-1) + self.out.bias
        return logits if self.per_frame else masked_mean(logits, features.frame_mask)

    def _patches(self, features: Features) -> tuple[Tensor, int]:
        tokens = features.tokens
        if tokens is None or features.frames is None:
            raise ValueError("A head of AU-TTT needs patches: use the backbone of AU-TTT, or `tokens: true`.")
        grid = round(tokens.shape[2] ** 0.5)
        if grid * grid != tokens.shape[2]:
            raise ValueError(f"{tokens.shape[2]} patches do not form a square.")
        return tokens, grid

    def _heat(self, features: Features, cells: int) -> Tensor:
        """Heat maps [B, T, A, cells, cells]."""
        B, T = cast("Tensor", features.tokens).shape[:2]
        points, mask = features.landmarks, features.landmarks_mask
        if not self.reads_landmarks:
            points = None
        heat = self.regions.heat(
            None if points is None else points.flatten(0, 1),
            None if points is None or mask is None else mask.flatten(0, 1),
            clips=B * T,
            picture=features.picture or cells,
            grid=cells,
        )
        return rearrange(heat, "(b t) a y x -> b t a y x", b=B)
