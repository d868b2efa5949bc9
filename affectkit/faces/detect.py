"""CenterFace, a small face detector that ships with the package."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.faces.face import Face
from affectkit.faces.networks import load_network

__all__ = ["CenterFace"]

SHA256: Final = "fb45af9bc3107e578dc60a703f8de086b1238e405075dc49333cd7b4e107ead6"
_STRIDE: Final = 4  # pixels per cell of the network's output maps
_MULTIPLE: Final = 32  # the network needs sides that are multiples of this
_LEAST: Final = (
    160  # pictures whose longer side has fewer pixels are enlarged: the network was trained on larger ones
)


class CenterFace:
    """Detect boxes and five points with CenterFace, in one pass over the whole picture.

    For every fourth pixel, the network predicts the probability of a face centre, the face's size, and the places of
    eyes, nose tip and mouth corners. Non-maximum suppression removes overlapping faces.

    Args:
        threshold: Minimum score of a face, 0 to 1.
        longest: Pictures whose longer side exceeds this many pixels are reduced first. Faces narrower than about 10
            pixels after that are missed. The run time grows with its square.
        overlap: Intersection over union above which the less likely of two faces is dropped.
        device: "cuda:1" if the installed onnxruntime supports it; the processor otherwise.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> CenterFace()(torch.zeros(2, 3, 48, 64, dtype=torch.uint8))
        [[], []]

    References:
        Y. Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019
        (arXiv:1911.03599). The network is the authors', its weights rounded to half precision; see
        `affectkit/faces/assets/NOTICE`.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        longest: int = 640,
        overlap: float = 0.3,
        device: str | torch.device = "cpu",
    ) -> None:
        if not (0 < threshold < 1 and 0 <= overlap <= 1 and longest >= _MULTIPLE):
            raise ConfigError(
                f"The threshold {threshold}, longest side {longest} or overlap {overlap} is out of range.",
                remedy=f"Give a threshold and an overlap between 0 and 1 and at least {_MULTIPLE} pixels.",
            )
        self.threshold, self.longest, self.overlap = threshold, longest, overlap
        self.device = torch.device(device)

    def __str__(self) -> str:
        return f"CenterFace (threshold {self.threshold:g}, longest side {self.longest})"

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the network, which other processes load themselves."""
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __call__(self, frames: Tensor) -> list[list[Face]]:
        """Detect the faces of each frame.

        Args:
            frames: uint8 [T, 3, H, W], RGB.

        Returns:
            T lists of faces, the most likely first.

        Raises:
            WeightsError: The network's file is damaged.
        """
        if not len(frames):
            return []
        height, width = frames.shape[-2:]
        longer = max(height, width)
        scale = min(max(longer, _LEAST), self.longest) / longer
        small = max(1, round(height * scale)), max(1, round(width * scale))
        pixels = frames.cpu()
        if small != (height, width):
            pixels = F.interpolate(pixels, small, mode="bilinear", antialias=True)
        pixels = F.pad(pixels.float(), (0, -small[1] % _MULTIPLE, 0, -small[0] % _MULTIPLE))
        outputs = self._session.run(["heatmap", "size", "offset", "points"], {"image": pixels.numpy()})
        heat, sizes, offsets, points = map(torch.from_numpy, outputs)
        across, down = width / small[1], height / small[0]
        stretch = torch.tensor([across, down])
        found = []
        for t in range(len(frames)):
            rows, columns = (heat[t, 0] > self.threshold).nonzero(as_tuple=True)
            # Maps hold y before x.
            size = sizes[t][:, rows, columns].flip(0).T.exp() * _STRIDE
            place = torch.stack([columns, rows], dim=-1) + offsets[t][:, rows, columns].flip(0).T + 0.5
            corner = place * _STRIDE - size / 2
            pairs = points[t][:, rows, columns].T.reshape(-1, 5, 2).flip(-1)
            # Boxes have integers at pixel edges, points at pixel centres.
            spots = (pairs * size[:, None] + corner[:, None]) * stretch - 0.5
            boxes = torch.cat([corner * stretch, size * stretch], dim=-1)
            scores = heat[t, 0, rows, columns]
            found.append(
                [
                    Face(tuple(boxes[k].tolist()), float(scores[k]), spots[k].clone())
                    for k in suppress_overlaps(boxes, scores, self.overlap)
                ]
            )
        return found

    @cached_property
    def _session(self) -> Any:
        return load_network("centerface.onnx", SHA256, self.device)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union, float [N, M], of boxes float [N, 4] and [M, 4]: left, top, width and height."""
    corner = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    far = torch.minimum((boxes[:, :2] + boxes[:, 2:])[:, None], (others[:, :2] + others[:, 2:])[None])
    common = (far - corner).clamp(min=0).prod(-1)
    total = boxes[:, 2:].prod(-1)[:, None] + others[:, 2:].prod(-1)[None] - common
    return common / total.clamp(min=1e-9)


def suppress_overlaps(boxes: Tensor, scores: Tensor, overlap: float) -> list[int]:
    """Indices of the boxes that remain after non-maximum suppression, the highest score first."""
    kept: list[int] = []
    shared = overlaps(boxes, boxes)
    for k in scores.argsort(descending=True, stable=True).tolist():
        if not kept or float(shared[k, kept].max()) <= overlap:
            kept.append(k)
    return kept
