"""Domains of rendered corpora: the same people and movements under other recording conditions."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from affectkit.synth.render import Scene

__all__ = ["Domain", "sample_domain_scene", "soften"]

Domain = Literal["studio", "webcam"]

_DETAIL: Final = (0.45, 0.75)  # resolution of a webcam, as a fraction of the frame's side
_QUALITY: Final = (25, 50)  # JPEG quality of a webcam


def sample_domain_scene(rng: np.random.Generator, scene: Scene, domain: Domain) -> Scene:
    """Move a scene into a domain.

    A webcam has a key light from about 70° on one side with little fill, exposures that vary three times as much,
    noise of 6 to 12 steps, a colour cast, and a smaller face.

    Args:
        rng: Random generator.
        scene: A scene of the studio.
        domain: "studio" leaves the scene as it is.

    Example:
        >>> scene = sample_domain_scene(np.random.default_rng(0), Scene(), "webcam")
        >>> abs(scene.key[0]) > 55 and scene.noise > 6
        True
    """
    if domain == "studio":
        return scene
    side = 1.0 if rng.uniform() < 0.5 else -1.0
    cast = np.exp(rng.normal(0.0, 0.12, 3))

    def tint(colour: tuple[float, float, float]) -> tuple[float, float, float]:
        red, green, blue = (float(value * factor) for value, factor in zip(colour, cast, strict=True))
        return red, green, blue

    return replace(
        scene,
        key=(side * float(rng.uniform(60, 80)), float(rng.uniform(-5, 30))),
        key_colour=tint(scene.key_colour),
        fill_colour=tint((0.05, 0.05, 0.05)),
        sky=tint(scene.sky),
        ground=tint(scene.ground),
        exposure=float(np.exp(rng.normal(0.0, 0.45))),
        noise=float(rng.uniform(6.0, 12.0)),
        zoom=scene.zoom * 0.33 / 0.40,
    )


def soften(rng: np.random.Generator, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Lower the resolution of frames and compress them, as a webcam does.

    Args:
        rng: Random generator.
        images: uint8 [T, H, W, 3].

    Returns:
        uint8 [T, H, W, 3].
    """
    import cv2  # only needed here

    size = images.shape[1]
    small = max(8, round(size * rng.uniform(*_DETAIL)))
    options = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*_QUALITY))]
    softened = np.empty_like(images)
    for image, out in zip(images, softened, strict=True):
        low = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".jpg", low, options)
        low = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
        out[...] = cv2.resize(low, (size, size), interpolation=cv2.INTER_LINEAR)
    return softened
