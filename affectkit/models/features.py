"""The input format of a model, and the features that its backbone passes to the heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from affectkit.errors import ConfigError

__all__ = ["Features", "InputSpec", "Normalize", "Settings", "TokenLayers", "masked_mean"]

Normalization = Literal["mean_std", "per_image"]
Alignment = Literal["five_points", "eyes_mouth", "ffhq", "box", "raised_box", "frame"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Base of dataclasses that configurations contain as plain values."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values; absent fields keep their defaults.

        Raises:
            ConfigError: A key is unknown or a value is out of range.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ConfigError(
                f"{cls.__name__} has no field {', '.join(map(repr, unknown))}.",
                remedy=f"Known: {', '.join(known)}.",
            )
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True, slots=True)
class InputSpec(Settings):
    """Format of a model's input pictures; training, prediction and export read it from the model.

    Args:
        size: Height and width in pixels.
        frames: Frames per clip; 1 for stills.
        fps: Frame rate of the training clips; None if it does not matter.
        mean: Mean of each RGB channel on the 0-1 scale.
        std: Standard deviation of each RGB channel on the 0-1 scale.
        normalize: "mean_std" subtracts `mean` and divides by `std`; "per_image" standardises each picture by its own
            mean and deviation, which removes exposure and contrast.
        crop_margin: Margin around the face box on each side, as a fraction of the box's side; None for the default of
            the alignment, see `affectkit.faces.MARGINS`.
        alignment: Definition of the face box. "five_points" is the tight picture of `affectkit.faces.reference_points`,
            as made by `affectkit data prepare`; "eyes_mouth" is the square midway between eyes and mouth with a side
            of 5/3 times their distance, as in rendered faces. Other programs' models use "ffhq", the square of the
            data set FFHQ; "box", the detector's box, stretched to a square; "raised_box", a square whose side is the
            mean of the box's sides, raised by 15 % of it. "frame" is the centred square of the picture as it is, for
            media of unknown geometry; no face is searched.

    Raises:
        ConfigError: A value is out of range.
    """

    size: int = 224
    frames: int = 1
    fps: float | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    normalize: Normalization = "mean_std"
    crop_margin: float | None = None
    alignment: Alignment = "five_points"

    def __post_init__(self) -> None:
        if self.size < 1 or self.frames < 1:
            raise ConfigError(f"Size {self.size} and frames {self.frames} must be at least 1.")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigError(
                f"Mean {self.mean} and std {self.std} must have three numbers each, and std must be positive.",
                remedy="Give one number for each of red, green and blue.",
            )
        for name, value, known in (
            ("normalisation", self.normalize, get_args(Normalization)),
            ("alignment", self.alignment, get_args(Alignment)),
        ):
            if value not in known:
                raise ConfigError(f"Unknown {name} {value!r}.", remedy=f"Known: {', '.join(known)}.")
        if self.crop_margin is not None and not -0.5 < self.crop_margin < 10:
            raise ConfigError(
                f"The crop margin {self.crop_margin} is out of range.",
                remedy="Give a fraction of the side between -0.5 and 10.",
            )


class Normalize(nn.Module):
    """Normalise pictures for a network, once, inside the model.

    Args:
        spec: The kind of normalisation, with its mean and std.

    Example:
        >>> Normalize(InputSpec(normalize="per_image"))(torch.rand(2, 3, 8, 8)).std().round(decimals=1)
        tensor(1.)
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.per_image = spec.normalize == "per_image"
        mean, std = (rearrange(torch.tensor(values), "c -> c 1 1") for values in (spec.mean, spec.std))
        # x / std - mean / std as one multiply-add; not persistent, because the configuration has the numbers.
        self.register_buffer("scale", 1.0 / std, persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalise frames [..., 3, H, W] RGB, uint8 in 0-255 or floating point in 0-1, to the module's type.

        Raises:
            TypeError: The frames have another integer type.
        """
        if frames.dtype == torch.uint8:
            unit = frames.to(torch.float32) / 255.0
        elif frames.is_floating_point():
            unit = frames.to(torch.float32)
        else:
            raise TypeError(f"Frames must be uint8 in 0-255 or floating point in 0-1, not {frames.dtype}.")
        if self.per_image:
            centred = unit - unit.mean(dim=(-3, -2, -1), keepdim=True)
            variance = centred.square().mean(dim=(-3, -2, -1), keepdim=True)
            normal = centred * (variance + 1e-6).rsqrt()  # a quarter of a grey level: flat pictures stay flat
        else:
            normal = unit * self.scale.float() + self.shift.float()
        return normal.to(self.scale.dtype)


class TokenLayers(nn.Sequential):
    """Normalisation and linear layer from the tokens of a middle block, [..., W], to the width D of the clip vectors.

    Args:
        width: W.
        features: D.
    """

    def __init__(self, width: int, features: int) -> None:
        super().__init__(nn.LayerNorm(width), nn.Linear(width, features))


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean [B, D] of values [B, T, D] over real frames, True in the mask [B, T]; zeros for a clip without any.

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([[True, True, False]]))
        tensor([[2.]])
    """
    if mask is None:
        return values.mean(dim=1)
    kept = rearrange(mask, "b t -> b t 1")
    total = torch.where(kept, values, torch.zeros_like(values)).sum(dim=1)
    return total / kept.sum(dim=1).clamp(min=1).to(values.dtype)


@dataclass(frozen=True, slots=True)
class Features:
    """Features of a batch of clips; None for those that a backbone does not provide.

    Args:
        pooled: [B, D], one vector per clip, without padding frames.
        frames: [B, T, D], one vector per frame; finite but meaningless for padding frames.
        tokens: [B, T, N, D'], one vector per place in the picture, row by row.
        frame_mask: bool [B, T], True for real frames; None if all are real.
        landmarks: float [B, T, 68, 2], in pixels of the pictures.
        landmarks_mask: bool [B, T, 68], True for known landmarks; None if all are known.
        picture: Side of the pictures in pixels.
    """

    pooled: Tensor
    frames: Tensor | None = None
    tokens: Tensor | None = None
    frame_mask: Tensor | None = None
    landmarks: Tensor | None = None
    landmarks_mask: Tensor | None = None
    picture: int | None = None

    @classmethod
    def of_frames(cls, frames: Tensor, frame_mask: Tensor | None, tokens: Tensor | None = None) -> Features:
        """Features with the mean over real frames as clip vector; arguments as in the class."""
        return cls(masked_mean(frames, frame_mask), frames, tokens, frame_mask)
