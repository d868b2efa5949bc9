"""What flows through a model: the picture format it expects, and the features its backbone hands to heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError

__all__ = ["Features", "InputSpec", "Normalize", "masked_mean"]

Normalization = Literal["mean_std", "per_image"]
Alignment = Literal["five_points", "eyes_mouth"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The pictures a model was made for; training, prediction and export all read it from the model.

    Args:
        size: Height and width in pixels.
        frames: Frames of a clip; 1 for stills.
        fps: Frames a second that motion was learned at; None where it does not matter.
        mean: Mean of each RGB channel on the 0-1 scale.
        std: Standard deviation of each RGB channel on the 0-1 scale.
        normalize: "mean_std" subtracts and divides by the two above; "per_image" standardises each picture by
            its own mean and deviation, which removes exposure and contrast.
        crop_margin: What was kept around the face box at each side, as a fraction of its side; None where faces
            came cropped.
        alignment: What the face box is. "five_points" is the tight picture of `affectkit.faces.reference_points`,
            as `affectkit data prepare` makes; "eyes_mouth" the square midway between eyes and mouth whose side is 5/3
            times their distance, as in rendered faces.

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> InputSpec(size=64).to_dict()["size"]
        64
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
                f"Mean {self.mean} and std {self.std} must be three numbers, and std positive.",
                remedy="Give one number for each of red, green and blue.",
            )
        if self.normalize not in ("mean_std", "per_image"):
            raise ConfigError(
                f"There is no normalisation {self.normalize!r}.", remedy="Known: mean_std, per_image."
            )
        if self.alignment not in get_args(Alignment):
            raise ConfigError(
                f"There is no alignment {self.alignment!r}.",
                remedy=f"Known: {', '.join(get_args(Alignment))}.",
            )
        if self.crop_margin is not None and not -0.5 < self.crop_margin < 10:
            raise ConfigError(
                f"The crop margin {self.crop_margin} leaves no picture.", remedy="Give a share of the side."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InputSpec:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: A key is unknown or a value is out of range.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ConfigError(
                f"An input has no field {', '.join(map(repr, unknown))}.",
                remedy=f"Known: {', '.join(known)}.",
            )
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arguments)


class Normalize(nn.Module):
    """Turn pictures into what a network reads, once, inside the model.

    Args:
        spec: Which normalisation, and its numbers.

    Example:
        >>> Normalize(InputSpec(normalize="per_image"))(torch.rand(2, 3, 8, 8)).std().round(decimals=1)
        tensor(1.)
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.per_image = spec.normalize == "per_image"
        std = torch.tensor(spec.std).view(3, 1, 1)
        # x / std - mean / std as one multiply-add; not persistent, because the configuration holds the
        # numbers.
        self.register_buffer("scale", 1.0 / std, persistent=False)
        self.register_buffer("shift", -torch.tensor(spec.mean).view(3, 1, 1) / std, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalise.

        Args:
            frames: [..., 3, H, W] RGB, uint8 in 0-255 or floating point in 0-1.

        Returns:
            The same shape, in the floating-point type of the module (float32 unless it was cast).

        Raises:
            TypeError: Another integer type.
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


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over frames, leaving padding out.

    Args:
        values: [B, T, D].
        mask: bool [B, T], True where a frame is real; None where all are.

    Returns:
        [B, D]; zeros for a clip without any real frame.

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([[True, True, False]]))
        tensor([[2.]])
    """
    if mask is None:
        return values.mean(dim=1)
    kept = mask.unsqueeze(-1)
    total = torch.where(kept, values, torch.zeros_like(values)).sum(dim=1)
    return total / kept.sum(dim=1).clamp(min=1).to(values.dtype)


@dataclass(frozen=True, slots=True)
class Features:
    """What a backbone says about a clip; what it does not give is None.

    Args:
        pooled: [B, D], one vector a clip. Padding frames have no part in it.
        frames: [B, T, D], one vector a frame. Those of padding frames are finite but mean nothing.
        tokens: [B, T, N, D'], one vector a place in the picture, row by row.
        frame_mask: bool [B, T], True where a frame is real; None where all are.
        landmarks: float [B, T, 68, 2], in pixels of the pictures; None where there are none.
        landmarks_mask: bool [B, T, 68], True where a landmark is known; None where all are.
        picture: Side of the pictures in pixels; None where no model said so.
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
        """Features whose clip vector is the mean over real frames.

        Args:
            frames: [B, T, D].
            frame_mask: bool [B, T] or None.
            tokens: [B, T, N, D'] or None.
        """
        return cls(
            pooled=masked_mean(frames, frame_mask), frames=frames, tokens=tokens, frame_mask=frame_mask
        )
