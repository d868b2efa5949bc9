"""Ways in which tokens of a picture see each other: scans of rows, of regions, of the whole picture, and attention.

All read the same queries, keys and values, and return tokens of the same shape.
"""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.methods.au_ttt.kernel import InnerModel

__all__ = [
    "AttentionScan",
    "GlobalScan",
    "RegionScan",
    "RowScan",
    "Scan",
    "ScanKind",
    "make_scan",
    "rank_patches",
]


class RowScan(nn.Module):
    """TTT-Linear over rows of patches, from top to bottom and, concatenated, from bottom to top.

    One row is one mini-batch, and the class token, the last one in both directions, a mini-batch of its own. Queries
    and keys have rotary position embeddings of the column.

    Args:
        width: Width C of the tokens.
        heads: Inner models per direction.
        grid: Patches per row.
        both: Scan in both directions.

    References:
        AU-TTT, arXiv 2503.23450. The directions share queries, keys and values; the paper does not say whether.
    """

    cosine: Tensor
    sine: Tensor
    orders: Tensor

    def __init__(self, width: int, heads: int, grid: int, *, both: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.directions = 2 if both else 1
        self.inner = InnerModel(width, heads, grid, scans=self.directions)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(self.directions))
        self.out = nn.Linear(self.directions * width, width, bias=False)
        half = self.inner.features // 2
        angles = torch.arange(grid)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        angles = torch.cat([angles.repeat(grid, 1), angles[:1]])[:, None]  # the class token is not rotated
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)
        down = torch.arange(grid**2 + 1)
        up = torch.cat([down[:-1].flip(0), down[-1:]])  # its own inverse
        self.register_buffer("orders", torch.stack([down, up])[: self.directions], persistent=False)

    def start_from(self, projection: Tensor) -> None:
        """Start the output from that of an attention block, [C, C], halved for each direction."""
        self.out.weight.copy_((projection / self.directions).repeat(1, self.directions))

    def forward(self, tokens: Tensor, qkv: Tensor) -> Tensor:
        """Scan tokens.

        Args:
            tokens: [B, N + 1, C], patches row by row, then the class token.
            qkv: [B, N + 1, 3 C], their queries, keys and values.

        Returns:
            [B, N + 1, C].
        """
        rates = rearrange(self.inner.rates(tokens), "b n (s h) -> b s h n", s=self.directions)
        rates = torch.stack(
            [one[..., order] for one, order in zip(rates.unbind(1), self.orders, strict=True)], dim=1
        )
        vectors = torch.unflatten(
            self._rotate(qkv).index_select(1, self.orders.flatten()), 1, (self.directions, -1)
        )
        query, key, value = rearrange(vectors, "b s n (three h f) -> three b s h n f", three=3, h=self.heads)
        out = rearrange(self.inner(query, key, value, rates), "b s h n f -> s b n (h f)")
        ways = [
            norm(way.index_select(1, order))
            for norm, way, order in zip(self.norms, out, self.orders, strict=True)
        ]
        read: Tensor = self.out(torch.cat(ways, dim=-1))
        return read

    def _rotate(self, qkv: Tensor) -> Tensor:
        """Rotate pairs of features of queries and keys, in [B, N + 1, 3 C], by angles proportional to the column."""
        width = qkv.shape[-1] // 3
        parts = rearrange(
            qkv[..., : 2 * width], "b n (v two f) -> b n v two f", two=2, f=self.cosine.shape[-1]
        )
        first, second = parts.unbind(3)
        rotated = torch.stack(
            [first * self.cosine - second * self.sine, first * self.sine + second * self.cosine], dim=3
        )
        return torch.cat([rotated.flatten(2), qkv[..., 2 * width :]], dim=-1)


def rank_patches(heat: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Rank the patches of each heat map.

    Args:
        heat: [B, A, N], heat maps of the units.
        size: Number of patches P per map.

    Returns:
        The P highest values of each map in descending order and their places, both [B, A, P]. Of equal values, the
        earlier place comes first.
    """
    if torch.onnx.is_in_onnx_export():  # ONNX has no stable sort, but its TopK prefers earlier places
        values, places = heat.topk(size)
        return values, places
    values, places = heat.sort(dim=-1, descending=True, stable=True)
    return values[..., :size], places[..., :size]


class RegionScan(nn.Module):
    """TTT-Linear over the regions of action units, one mini-batch each.

    The mini-batch of a unit is the patches with the highest values of its heat map, in descending order. Their inputs
    are weighted by the map. The inner model is carried from unit to unit. The output of a patch is the mean over the
    units that contain it, and 0 for patches in none and for the class token. The last projection starts at 0.

    Args:
        width: Width C of the tokens.
        heads: Inner models.
        size: Patches per region.
        least: Smallest value of the map; patches below it are padding.

    References:
        AU-TTT, arXiv 2503.23450, whose figure shows soft regions in FACS order. Size, threshold and mean are ours.
    """

    def __init__(self, width: int, heads: int, size: int, *, least: float = 0.15) -> None:
        super().__init__()
        self.size, self.least = size, least
        self.inner = InnerModel(width, heads, size)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, tokens: Tensor, qkv: Tensor, ranked: tuple[Tensor, Tensor]) -> Tensor:
        """Scan tokens.

        Args:
            tokens: [B, N + 1, C], patches row by row, then the class token.
            qkv: [B, N + 1, 3 C], their queries, keys and values.
            ranked: Values in [0, 1] and places of the patches of each unit, from `rank_patches`.

        Returns:
            [B, N + 1, C].
        """
        B, N, _ = tokens.shape
        values, places = ranked
        weights = rearrange(values.to(qkv.dtype), "b a p -> b (a p) 1")
        valid = weights > self.least
        rows = rearrange(places, "b a p -> b (a p)")
        count = rows.shape[1]
        rows = (rows + N * torch.arange(B, device=rows.device)[:, None]).flatten()

        def gather(values: Tensor) -> Tensor:
            return torch.unflatten(values.flatten(0, 1).index_select(0, rows), 0, (B, count))

        # The projections have no bias, so weighting their outputs is weighting their inputs.
        query, key, value = rearrange(
            gather(qkv) * weights, "b n (three h f) -> three b 1 h n f", three=3, h=self.inner.heads
        )
        logits = gather(tokens @ self.inner.rate.weight.T) * weights + self.inner.rate.bias
        out = self.inner(
            query, key, value, rearrange(logits, "b n h -> b 1 h n"), rearrange(valid, "b n 1 -> b 1 1 n")
        )
        read = self.norm(rearrange(out, "b 1 h n f -> b n (h f)")) * valid
        total = read.new_zeros(B * N, read.shape[-1]).index_add(0, rows, read.flatten(0, 1))
        number = read.new_zeros(B * N, 1).index_add(0, rows, valid.to(read.dtype).flatten(0, 1))
        mean: Tensor = self.out(total / number.clamp(min=1))
        return torch.unflatten(mean, 0, (B, N))


class GlobalScan(nn.Module):
    r"""One inner step on all tokens at once, then all are read: two inner models, without causality.

    The heads of the width C learn a gated linear unit :math:`\hat v = kW_1 \odot \mathrm{SiLU}(kW_2)`, and one further
    head, over the patches, a depthwise 3 × 3 convolution. The inner loss is :math:`-\langle \hat v, v\rangle / 3N`, the
    rate 1; gradients are divided by their norm plus 1, per column or kernel.

    Args:
        width: Width C of the tokens.
        heads: Heads of the gated linear unit.
        grid: Patches per row.

    References:
        "ViT³: Unlocking Test-Time Training in Vision", CVPR 2026. The class token has no part in the convolution.
    """

    def __init__(self, width: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads, self.grid, self.features = heads, grid, width // heads
        self.active = True
        self.first = nn.Parameter(0.02 * torch.randn(heads, self.features, self.features))
        self.second = nn.Parameter(0.02 * torch.randn(heads, self.features, self.features))
        self.kernel = nn.Parameter(0.02 * torch.randn(self.features, 1, 3, 3))
        self.local = nn.Linear(width, 3 * self.features, bias=False)
        self.out = nn.Linear(width + self.features, width, bias=False)

    def start_from(self, projection: Tensor) -> None:
        """Start the output from that of an attention block, [C, C]; the convolution starts at 0."""
        self.out.weight.zero_()
        self.out.weight[:, : projection.shape[1]] = projection

    def forward(self, tokens: Tensor, qkv: Tensor) -> Tensor:
        """Scan tokens; arguments and result as for `RowScan`."""
        query, key, value = rearrange(qkv, "b n (three h f) -> three b h n f", three=3, h=self.heads)
        share = float(self.active) / (3 * tokens.shape[1])
        gate = key @ self.second
        bent = gate.sigmoid()
        first = -share * key.mT @ (value * gate * bent)
        second = -share * key.mT @ (value * (key @ self.first) * bent * (1 + gate * (1 - bent)))
        one, two = self.first - _bounded(first, -2), self.second - _bounded(second, -2)
        read = rearrange((query @ one) * F.silu(query @ two), "b h n f -> b n (h f)")
        return self._join(read, self._convolve(tokens, share))

    def _convolve(self, tokens: Tensor, share: float) -> Tensor:
        """[B, N + 1, F] of the convolution, 0 for the class token."""
        query, key, value = rearrange(
            self.local(tokens[:, :-1]), "b (y x) (three f) -> three b f y x", three=3, y=self.grid
        )
        B = query.shape[0]
        # Each kernel entry's gradient is the product of the shifted keys with the values.
        shifted = torch.unflatten(F.unfold(key, 3, padding=1), 1, (self.features, 9))
        gradient = -share * (shifted @ value.flatten(2)[..., None])[..., 0]  # [B, F, 9]
        kernels = self.kernel.flatten(1) - _bounded(gradient, -1)
        read = F.conv2d(
            rearrange(query, "b f y x -> 1 (b f) y x"),
            kernels.reshape(-1, 1, 3, 3),
            padding=1,
            groups=B * self.features,
        )
        return F.pad(rearrange(read, "1 (b f) y x -> b (y x) f", b=B), (0, 0, 0, 1))

    def _join(self, read: Tensor, local: Tensor) -> Tensor:
        out: Tensor = self.out(torch.cat([read, local], dim=-1))
        return out


def _bounded(gradient: Tensor, axis: int) -> Tensor:
    bounded: Tensor = gradient / (torch.linalg.vector_norm(gradient, dim=axis, keepdim=True) + 1)
    return bounded


class AttentionScan(nn.Module):
    """Softmax attention, without an inner model: the reference that the scans are compared with.

    Args:
        width: Width C of the tokens.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.out = nn.Linear(width, width, bias=False)

    def start_from(self, projection: Tensor) -> None:
        """Start the output from that of another attention block, [C, C]."""
        self.out.weight.copy_(projection)

    def forward(self, tokens: Tensor, qkv: Tensor) -> Tensor:
        """Attend; arguments and result as for `RowScan`."""
        query, key, value = rearrange(qkv, "b n (three h f) -> three b h n f", three=3, h=self.heads)
        read = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out(rearrange(read, "b h n f -> b n (h f)"))
        return out


Scan = RowScan | GlobalScan | AttentionScan
ScanKind = Literal["bidirectional", "forward", "global", "attention"]


def make_scan(kind: ScanKind, width: int, heads: int, grid: int) -> Scan:
    """Build the scan of a kind, see `AUTTTBackbone`."""
    if kind == "global":
        return GlobalScan(width, heads, grid)
    if kind == "attention":
        return AttentionScan(width, heads)
    return RowScan(width, heads, grid, both=kind == "bidirectional")
