"""Fixed crops of a frame."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError

__all__ = ["Crop"]


@dataclass(frozen=True, slots=True)
class Crop:
    """Square crop around a box in pixels, or the centred square of the frame.

    No detection takes place: one upright face should fill the crop.

    Args:
        box: Left, top, width and height in pixels; None for the centred square. The shorter side is widened about its
            centre as far as the frame allows.

    Raises:
        ConfigError: The box has no area or begins outside the frame.

    Example:
        >>> import torch
        >>> Crop.parse("30,10,40,40")(torch.zeros(3, 60, 100, dtype=torch.uint8), size=8).shape
        torch.Size([3, 8, 8])
    """

    box: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.box is not None and (min(self.box[:2]) < 0 or min(self.box[2:]) < 1):
            raise ConfigError(
                f"The crop {self} is not a valid box.",
                remedy="Give left,top,width,height in pixels: offsets of 0 or more and sides of 1 or more.",
            )

    @classmethod
    def parse(cls, text: str) -> Crop:
        """Read "center" or "x,y,w,h".

        Raises:
            ConfigError: The text is neither.
        """
        if text == "center":
            return cls()
        try:
            x, y, w, h = (int(part) for part in text.split(","))
        except ValueError:
            raise ConfigError(
                f"The crop {text!r} cannot be read.",
                remedy='Give "center", x,y,w,h in pixels, or "mesh" or "centerface" to detect faces.',
            ) from None
        return cls((x, y, w, h))

    def __str__(self) -> str:
        return "center" if self.box is None else ",".join(map(str, self.box))

    def __call__(self, frame: Tensor, size: int) -> Tensor:
        """Cut out the square and resize it.

        Args:
            frame: uint8 [3, H, W].
            size: Side of the result in pixels.

        Returns:
            uint8 [3, size, size].

        Raises:
            ConfigError: The box exceeds the frame.
        """
        left, top, side = self.square(*frame.shape[1:])
        square = frame[None, :, top : top + side, left : left + side]
        return F.interpolate(square, (size, size), mode="bilinear", antialias=True)[0]

    def square(self, height: int, width: int) -> tuple[int, int, int]:
        """Return left, top and side in pixels of the square in a frame of `height` by `width` pixels.

        Raises:
            ConfigError: The box exceeds the frame.
        """
        x, y, w, h = self.box or (0, 0, width, height)
        if x + w > width or y + h > height:
            raise ConfigError(
                f"The crop {self} reaches beyond the frame of {width} by {height} pixels.",
                remedy="Give a box inside the frame.",
            )
        side = min(width, height, max(w, h))
        left = min(max(0, x + (w - side) // 2), width - side)
        top = min(max(0, y + (h - side) // 2), height - side)
        return left, top, side
