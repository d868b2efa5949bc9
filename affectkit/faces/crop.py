"""Which part of a frame the model sees."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError

__all__ = ["Crop"]


@dataclass(frozen=True, slots=True)
class Crop:
    """A box in pixels around one face, cut out as a square; without a box, the centred square of the frame.

    No face is looked for: the box, or the whole centred square, must be filled by one upright face.

    Args:
        box: Left, top, width and height in pixels, or None. A box that is not square is widened along its
            shorter side, about its centre, as far as the frame goes.

    Raises:
        ConfigError: A box without area or beyond the left or upper border.

    Example:
        >>> import torch
        >>> Crop.parse("30,10,40,40")(torch.zeros(3, 60, 100, dtype=torch.uint8), size=8).shape
        torch.Size([3, 8, 8])
    """

    box: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.box is not None and (min(self.box[:2]) < 0 or min(self.box[2:]) < 1):
            raise ConfigError(
                f"The crop {self} is not a box in a frame.", remedy="Give left,top,width,height in pixels."
            )

    @classmethod
    def parse(cls, text: str) -> Crop:
        """Read "center" or "x,y,w,h".

        Raises:
            ConfigError: Anything else.
        """
        if text == "center":
            return cls()
        try:
            x, y, w, h = (int(part) for part in text.split(","))
        except ValueError:
            raise ConfigError(
                f"The crop {text!r} cannot be read.",
                remedy='Give "center" or x,y,w,h in pixels, or "detect" to have faces found.',
            ) from None
        return cls((x, y, w, h))

    def __str__(self) -> str:
        return "center" if self.box is None else ",".join(map(str, self.box))

    def __call__(self, frame: Tensor, size: int) -> Tensor:
        """Cut the square out and resize it.

        Args:
            frame: Uint8 [3, H, W].
            size: Height and width of the result.

        Returns:
            Uint8 [3, size, size].

        Raises:
            ConfigError: The box reaches beyond the frame.
        """
        left, top, side = self.square(*frame.shape[1:])
        square = frame[None, :, top : top + side, left : left + side]
        return F.interpolate(square, (size, size), mode="bilinear", antialias=True)[0]

    def square(self, height: int, width: int) -> tuple[int, int, int]:
        """The square in a frame.

        Args:
            height: Of the frame, in pixels.
            width: Of the frame.

        Returns:
            Left, top and side in pixels.

        Raises:
            ConfigError: The box reaches beyond the frame.
        """
        x, y, w, h = self.box or (0, 0, width, height)
        if x + w > width or y + h > height:
            raise ConfigError(
                f"The crop {self} reaches beyond the frame of {width} by {height} pixels.",
                remedy="Give left,top,width,height in pixels, inside the frame.",
            )
        side = min(width, height, max(w, h))
        left = min(max(0, x + (w - side) // 2), width - side)
        top = min(max(0, y + (h - side) // 2), height - side)
        return left, top, side
