"""Image networks of timm as frame encoders."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError, WeightsError
from affectkit.models.backbones.base import Backbone
from affectkit.models.features import Features, InputSpec, Normalization, Normalize, TokenLayers
from affectkit.models.hub import is_hub_reachable, weights_wanted, why_unavailable
from affectkit.models.registry import register
from affectkit.registry import plain

__all__ = ["TimmBackbone"]

_WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".bin")


@register("backbone", "timm")
class TimmBackbone(Backbone):
    """timm network applied to every frame.

    The network encodes B x T pictures as one batch; the clip vector is the mean over real frames. Batch normalisation
    includes padding frames in its statistics during training.

    Args:
        model_name: timm architecture, optionally with a weight tag: "resnet18", "vit_small_patch16_224.dino".
        pretrained: Start from timm's weights, downloaded to the usual cache.
        weights: Start from this local file instead: safetensors, or a `.pth` that contains tensors only.
        size: Height and width of the pictures in pixels; the architecture's own by default.
        model_args: Further arguments of the architecture, such as `{"channels": [24, 48, 96, 128]}`.
        grid: Average the last feature map over grid × grid cells and concatenate their vectors, instead of averaging
            over the whole picture: in aligned faces, places have a meaning. 1 is the network's own pooling.
        tokens: Also return one vector for each place of the last feature map.
        token_block: Number, from 1, of the feature map whose places are returned instead, through a learned
            `TokenLayers`; timm counts the output of the stem of a convolutional network as the first one.
        grad_checkpointing: Recompute activations in the backward pass to save memory.
        normalize: "mean_std" or "per_image", see `affectkit.models.InputSpec`.
        mean: Channel means on the 0-1 scale; the architecture's own by default.
        std: Channel deviations on the 0-1 scale; the architecture's own by default.

    Attributes:
        num_features: Width D of clip and frame vectors; grid² times that of tokens if a grid is used.
        num_token_features: Width D' of tokens; some architectures have wider vectors after pooling. With `token_block`
            it is D.
        token_layers: Layers after `token_block`, or None.

    Raises:
        ConfigError: timm does not have the architecture, it does not take `model_args`, or it has no feature map
            `token_block`, or this is given without `tokens`.
        WeightsError: The weights cannot be loaded, or do not fit.

    Example:
        >>> backbone = TimmBackbone("test_resnet", size=32)
        >>> backbone(torch.zeros(2, 5, 3, 32, 32, dtype=torch.uint8)).pooled.shape
        torch.Size([2, 96])

    References:
        R. Wightman, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models, 2019.
    """

    def __init__(
        self,
        model_name: str,
        *,
        pretrained: bool = False,
        weights: str | None = None,
        size: int | None = None,
        model_args: Mapping[str, Any] | None = None,
        grid: int = 1,
        tokens: bool = False,
        token_block: int | None = None,
        grad_checkpointing: bool = False,
        normalize: Normalization = "mean_std",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if grid < 1:
            raise ConfigError(f"The grid must be at least 1, not {grid}.")
        arguments = plain(model_args or {})
        net, defaults = _create(model_name, arguments, size, pretrained=pretrained, weights=weights)
        if grad_checkpointing:
            net.set_grad_checkpointing(True)
        self.net = net.to(memory_format=torch.channels_last)
        self.num_token_features = int(net.num_features)
        self.num_features = int(net.head_hidden_size) if grid == 1 else grid**2 * self.num_token_features
        self.input_spec = InputSpec(
            size=size or int(defaults["input_size"][-1]),
            mean=tuple(mean or defaults["mean"]),
            std=tuple(std or defaults["std"]),
            normalize=normalize,
        )
        self.normalize = Normalize(self.input_spec)
        self.grid = grid
        self.tokens, self.token_block = tokens, token_block
        self.token_layers: TokenLayers | None = None
        if token_block is not None:
            self.token_layers = TokenLayers(self._width_of_map(token_block), self.num_features)
            self.num_token_features = self.num_features
        self.config = {
            "type": "timm",
            "model_name": model_name,
            "size": self.input_spec.size,
            "model_args": arguments,
            "grid": grid,
            "tokens": tokens,
            **({} if token_block is None else {"token_block": token_block}),
            "grad_checkpointing": grad_checkpointing,
            "normalize": normalize,
            "mean": list(self.input_spec.mean),
            "std": list(self.input_spec.std),
        }

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Features:
        """Encode a batch of clips; `tokens` [B, T, N, D'] are row by row."""
        B = frames.shape[0]
        pictures = self.normalize(rearrange(frames, "b t c h w -> (b t) c h w"))
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        if self.token_layers is None or self.token_block is None:
            maps = self.net.forward_features(pictures)
            places = self._places(maps) if self.tokens else None
        else:
            maps, (middle,) = self.net.forward_intermediates(
                pictures, indices=[self.token_block - 1], norm=False, output_fmt="NCHW"
            )
            places = self.token_layers(rearrange(middle, "n d h w -> n (h w) d"))
        vectors = self.net.forward_head(maps, pre_logits=True) if self.grid == 1 else self._cells(maps)
        tokens = None if places is None else rearrange(places, "(b t) n d -> b t n d", b=B)
        return Features.of_frames(rearrange(vectors, "(b t) d -> b t d", b=B), frame_mask, tokens)

    def levels(self, frames: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """See `Backbone`."""
        taken = getattr(self.net, "forward_intermediates", None)
        if taken is None:
            return super().levels(frames, blocks)
        available = len(self.net.feature_info)
        if not all(1 <= block <= available for block in blocks):
            raise ConfigError(
                f"The network has the blocks 1 to {available}, not {', '.join(map(str, blocks))}."
            )
        pictures = self.normalize(rearrange(frames, "b t c h w -> (b t) c h w"))
        maps = taken(
            pictures.contiguous(memory_format=torch.channels_last),
            indices=[block - 1 for block in blocks],
            intermediates_only=True,
        )
        return [rearrange(one, "(b t) d h w -> b t (h w) d", b=frames.shape[0]) for one in maps]

    def _width_of_map(self, number: int) -> int:
        """Number of channels of a feature map."""
        if not self.tokens:
            raise ConfigError("`token_block` chooses among tokens.", remedy="Set `tokens: true`.")
        size = self.input_spec.size
        self.net.eval()  # keeps the running statistics
        with torch.no_grad():
            (middle,) = self.levels(torch.zeros(1, 1, 3, size, size), [number])
        self.net.train()
        return middle.shape[-1]

    def _cells(self, maps: Tensor) -> Tensor:
        """[N, D grid²] from a feature map: for each channel, the averages of the cells."""
        places = self._places(maps)
        square = rearrange(places, "n (h w) d -> n d h w", h=math.isqrt(places.shape[1]))
        return rearrange(F.adaptive_avg_pool2d(square, self.grid), "n d h w -> n (d h w)")

    def _places(self, maps: Tensor) -> Tensor:
        """[N, places, D'] from a feature map, row by row and without class tokens."""
        if maps.ndim == 3:
            return maps[:, getattr(self.net, "num_prefix_tokens", 0) :]
        layout = "n h w d" if getattr(self.net, "output_fmt", "NCHW") == "NHWC" else "n d h w"
        return rearrange(maps, f"{layout} -> n (h w) d")


def _create(
    model_name: str, arguments: dict[str, Any], size: int | None, *, pretrained: bool, weights: str | None
) -> tuple[Any, Mapping[str, Any]]:
    """Create the network without its classifier; also return timm's defaults (input size, mean, std)."""
    import timm  # 0.8 s, and only needed here

    if not weights_wanted():
        pretrained, weights = False, None
    # timm also accepts "hf-hub:" and "local-dir:" names, and arguments that name files. Configuration files may not
    # use them.
    architecture = model_name.partition(".")[0]
    if not timm.is_model(architecture):
        similar = get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.0)
        raise ConfigError(
            f"timm has no architecture {architecture!r}.", remedy=f"Similar: {', '.join(similar)}."
        )
    if reserved := sorted(set(arguments) & {*inspect.signature(timm.create_model).parameters, "num_classes"}):
        raise ConfigError(
            f"model_args may not set {', '.join(reserved)}.",
            remedy="Set only arguments of the architecture.",
        )
    if weights is not None and (not Path(weights).is_file() or Path(weights).suffix not in _WEIGHT_FILES):
        raise WeightsError("This is not a weight file.", path=weights, remedy=f"Give one of {_WEIGHT_FILES}.")

    start = pretrained or weights is not None
    if pretrained and weights is None:
        is_hub_reachable()
    try:
        defaults: Any = timm.get_pretrained_cfg(model_name)
        fixed = {"img_size": size} if size is not None and defaults.fixed_input_size else {}
        classes, overlay = defaults.num_classes if start else 0, {}
        if weights is not None:
            classes = _count_classes(timm.models.load_state_dict(weights), defaults.classifier)
            overlay = {"file": weights, "custom_load": False, "num_classes": classes}
        # timm loads strictly only into a network with the classifier of the weights; it is removed afterwards.
        net: Any = timm.create_model(
            model_name,
            pretrained=start,
            pretrained_cfg_overlay=overlay,
            num_classes=classes,
            **{**fixed, **arguments},
        )
        net.reset_classifier(0)
    except TypeError as error:
        raise ConfigError(f"{architecture!r} does not take these model_args: {error}.") from error
    except Exception as error:  # timm, torch and the Hub raise many kinds
        if start:
            # torch lists hundreds of missing names, then the unexpected ones
            text = " ".join(str(error).split()) if weights is not None else why_unavailable(error)
            raise WeightsError(
                f"Cannot load weights for {model_name!r}: "
                f"{text if len(text) <= 600 else f'{text[:300]} … {text[-300:]}'}",
                path=weights,
                remedy="Give a local file that fits as `weights`, or train from scratch.",
            ) from error
        raise ConfigError(f"Cannot build {architecture!r} with {arguments}: {error}") from error
    return net, defaults.to_dict()


def _count_classes(tensors: Mapping[str, Tensor], classifier: str | Sequence[str] | None) -> int:
    """Number of classes of the classifier in a weight file; 0 without one."""
    names = [classifier] if isinstance(classifier, str) else list(classifier or ())
    found = [len(tensors[f"{name}.bias"]) for name in names if f"{name}.bias" in tensors]
    return found[0] if found else 0
