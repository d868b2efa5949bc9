"""Backbone of AU-TTT: a ViT whose blocks learn from each picture while they read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, get_args

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import AUSet
from affectkit.methods.au_ttt.perception import MultiScalePerception
from affectkit.methods.au_ttt.pretrained import start_from_vit
from affectkit.methods.au_ttt.regions import UnitMaps
from affectkit.methods.au_ttt.scans import (
    GlobalScan,
    RegionScan,
    RowScan,
    ScanKind,
    make_scan,
    rank_patches,
)
from affectkit.models.backbones import Backbone
from affectkit.models.features import Features, InputSpec, Normalization, Normalize
from affectkit.models.registry import register

__all__ = ["AUTTTBackbone", "TTTBlock"]


class TTTBlock(nn.Module):
    r"""Block of `AUTTTBackbone`: three branches in parallel, then an MLP.

    :math:`x' = x + \sum_i S_i(\mathrm{LN}(x))`, and the output is :math:`x' + \mathrm{MLP}(\mathrm{LN}(x'))`.

    The branches S are the scan of the picture, the scan of regions and multi-scale perception. The scans share queries,
    keys and values.

    Args:
        width: Width C of the tokens.
        heads: Heads of the scans.
        grid: Patches per row.
        hidden: Width of the MLP's hidden layer.
        scan: Kind of scan of the picture.
        region: Patches per region; None for no scan of regions.
        msp: Use multi-scale perception.
        layer_drop: Probability of skipping a branch for a picture while training.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        grid: int,
        *,
        hidden: int,
        scan: ScanKind = "bidirectional",
        region: int | None = None,
        msp: bool = True,
        layer_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.layer_drop = layer_drop
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.scan = make_scan(scan, width, heads, grid)
        self.regions = None if region is None else RegionScan(width, heads, region)
        self.msp = MultiScalePerception(width, grid) if msp else None
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor, ranked: tuple[Tensor, Tensor] | None) -> Tensor:
        """Encode tokens [B, N + 1, C] with the ranked patches of the units, see `rank_patches`."""
        normal = self.norm1(tokens)
        qkv = self.qkv(normal)
        mixed = self.scan(normal, qkv)
        if self.regions is not None:
            mixed = mixed + self.regions(normal, qkv, ranked)
        if self.msp is not None:
            mixed = mixed + self.msp(normal)
        tokens = tokens + self._drop(mixed)
        out: Tensor = tokens + self._drop(self.mlp(self.norm2(tokens)))
        return out

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training or self.layer_drop == 0:
            return branch
        return branch * F.dropout(branch.new_ones(len(branch), 1, 1), self.layer_drop)


@register("backbone", "au_ttt")
class AUTTTBackbone(Backbone):
    """ViT with test-time training in place of attention, for action units.

    Patches have learned positions, and the class token comes last. Each block adds three branches: a TTT-Linear scan of
    the rows of patches in both directions, a TTT-Linear scan of the regions of the action units in FACS order, and
    multi-scale perception. The inner model of a scan starts anew for every picture and takes its gradient steps also at
    test time; the cost is linear in the number of patches. `frames` are the class tokens, and `tokens` the patches, row
    by row.

    Args:
        units: Action units of the scan of regions: "bp4d12", "AU1,AU12".
        size: Height and width of the pictures in pixels, a multiple of `patch`.
        patch: Height and width of a patch in pixels.
        width: Width C of the tokens.
        depth: Number of blocks.
        heads: Heads of the scans; must divide the width.
        hidden: Width of the hidden layer of each MLP; four times the width by default.
        scan: "bidirectional"; "forward" for one direction; "global" for one inner step on all patches together (ViT³);
            "attention" for softmax attention, without test-time training.
        inner: Whether inner steps are taken; see `take_inner_steps`.
        roi: Use the scan of regions.
        region: Share of the patches in the region of a unit.
        sigma: Standard deviation of the units' heat maps, as a fraction of the picture's side.
        landmarks: Find regions by the landmarks of each picture where they are known, instead of a mean face.
        msp: Use multi-scale perception.
        layer_drop: Probability of skipping a branch for a picture while training.
        pretrained: Start from timm's weights of `vit`.
        weights: Start from this local file of weights of `vit` instead.
        vit: timm architecture of these weights, with the same width, heads, patches and at least this depth.
        normalize: "mean_std" or "per_image", see `affectkit.models.InputSpec`.
        mean: Channel means on the 0-1 scale.
        std: Channel deviations on the 0-1 scale.

    Raises:
        ConfigError: A size does not fit the others, or `scan` is unknown.
        LabelSpaceError: A unit has no known region.
        WeightsError: The weights cannot be loaded, or do not fit.

    Example:
        >>> backbone = AUTTTBackbone("AU1,AU12", size=32, patch=8, width=16, depth=1, heads=2)
        >>> features = backbone(torch.zeros(2, 3, 3, 32, 32, dtype=torch.uint8))
        >>> features.frames.shape, features.tokens.shape
        (torch.Size([2, 3, 16]), torch.Size([2, 3, 16, 16]))

    References:
        X. Xing et al., "AU-TTT", ICME 2025, arXiv 2503.23450. Only the abstract and the figure of the architecture were
        available: skip connections, widths, the size of regions, multi-scale perception, and the sharing of queries,
        keys and values between scans are ours.
    """

    mean_values: Tensor
    mean_places: Tensor

    def __init__(
        self,
        units: str = "bp4d12",
        *,
        size: int = 224,
        patch: int = 16,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        hidden: int | None = None,
        scan: ScanKind = "bidirectional",
        inner: bool = True,
        roi: bool = True,
        region: float = 0.125,
        sigma: float = 20 / 128,
        landmarks: bool = True,
        msp: bool = True,
        layer_drop: float = 0.0,
        pretrained: bool = False,
        weights: str | None = None,
        vit: str = "deit_small_patch16_224",
        normalize: Normalization = "mean_std",
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__()
        if scan not in get_args(ScanKind):
            raise ConfigError(f"Unknown scan {scan!r}.", remedy=f"Known: {', '.join(get_args(ScanKind))}.")
        if size % patch or width % heads or (width // heads) % 2:
            raise ConfigError(
                f"Pictures of {size} pixels with patches of {patch}, or the width {width} with {heads} heads, do not "
                "fit.",
                remedy="Make the size a multiple of the patch, and the width an even multiple of the heads.",
            )
        if not 0 < region <= 1:
            raise ConfigError(f"The region must be a share of the patches in (0, 1], not {region}.")
        self.num_features = width
        self.reads_landmarks = landmarks
        self.input_spec = InputSpec(size=size, mean=tuple(mean), std=tuple(std), normalize=normalize)
        self.normalize = Normalize(self.input_spec)
        self.grid = size // patch
        self.maps = UnitMaps(sorted(AUSet.parse(units)), sigma=sigma)
        places = self.grid**2
        self.region = max(1, round(region * places)) if roi else None
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.class_token = nn.Parameter(0.02 * torch.randn(width))
        self.positions = nn.Parameter(0.02 * torch.randn(places + 1, width))
        self.blocks = nn.ModuleList(
            TTTBlock(
                width,
                heads,
                self.grid,
                hidden=hidden or 4 * width,
                scan=scan,
                region=self.region,
                msp=msp,
                layer_drop=layer_drop,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        if self.region is not None:
            heat = self.maps.heat(None, None, clips=1, picture=size, grid=self.grid)
            for name, part in zip(
                ("mean_values", "mean_places"), rank_patches(heat.flatten(2), self.region), strict=True
            ):
                self.register_buffer(name, part, persistent=False)  # constants, nothing learned
        self.take_inner_steps(inner)
        if pretrained or weights is not None:
            start_from_vit(self, vit, weights)
        self.config = {
            "type": "au_ttt",
            "units": units,
            "size": size,
            "patch": patch,
            "width": width,
            "depth": depth,
            "heads": heads,
            "hidden": hidden,
            "scan": scan,
            "inner": inner,
            "roi": roi,
            "region": region,
            "sigma": sigma,
            "landmarks": landmarks,
            "msp": msp,
            "layer_drop": layer_drop,
            "normalize": normalize,
            "mean": list(mean),
            "std": list(std),
        }

    def take_inner_steps(self, active: bool) -> None:
        """Switch the inner steps on or off. Without them, tokens are read with the learned initial inner models."""
        for block in self.blocks:
            scans = (cast("TTTBlock", block).scan, cast("TTTBlock", block).regions)
            for scan in scans:
                if isinstance(scan, RowScan | RegionScan):
                    scan.inner.active = active
                elif isinstance(scan, GlobalScan):
                    scan.active = active

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor | None = None,
        landmarks: Tensor | None = None,
        landmarks_mask: Tensor | None = None,
    ) -> Features:
        """Encode a batch of clips, frame by frame.

        Args:
            frames: [B, T, 3, H, W] RGB, uint8 in 0-255 or floating point in 0-1.
            frame_mask: bool [B, T], True for real frames; None if all are real.
            landmarks: float [B, T, 68, 2] in pixels of the frames; None for those of a mean face.
            landmarks_mask: bool [B, T, 68], True for known landmarks; None if all are known.

        Raises:
            ValueError: The pictures have another size.
        """
        self.check_size(frames)
        B = frames.shape[0]
        patches = self.embed(self.normalize(rearrange(frames, "b t c h w -> (b t) c h w")))
        tokens = rearrange(patches, "n c y x -> n (y x) c")
        pictures = tokens.shape[0]
        tokens = torch.cat([tokens, self.class_token.expand(pictures, 1, -1)], dim=1) + self.positions
        ranked = None if self.region is None else self._rank(landmarks, landmarks_mask, pictures, self.region)
        for block in self.blocks:
            tokens = block(tokens, ranked)
        encoded = rearrange(self.norm(tokens), "(b t) n c -> b t n c", b=B)
        return Features.of_frames(encoded[:, :, -1], frame_mask, encoded[:, :, :-1])

    def _rank(
        self, landmarks: Tensor | None, mask: Tensor | None, pictures: int, size: int
    ) -> tuple[Tensor, Tensor]:
        """Rank the patches of each unit in each picture."""
        if landmarks is None:
            return self.mean_values.expand(pictures, -1, -1), self.mean_places.expand(pictures, -1, -1)
        heat = self.maps.heat(
            landmarks.flatten(0, 1),
            None if mask is None else mask.flatten(0, 1),
            clips=pictures,
            picture=self.input_spec.size,
            grid=self.grid,
        )
        return rank_patches(heat.flatten(2), size)
