"""Signals of the main face of a clip, measured frame by frame."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from math import nan
from typing import Final

import torch
from torch import Tensor

from affectkit.faces.detect import CenterFace
from affectkit.faces.face import largest_face
from affectkit.faces.mesh import SIGNALS
from affectkit.faces.mesh_detector import NETWORKS, MeshDetector
from affectkit.faces.mesh_tracker import MeshTracker

__all__ = ["SIGNALS_VERSION", "measure_signals"]

SIGNALS_VERSION: Final = f"3-{NETWORKS}"
"""Version of the measurement: that of the code and a hash of the networks."""
_PLACE: Final = {"landmarks": (68, 2), "box": (4,)}


def measure_signals(
    frames: Iterable[Tensor | None], fps: float = nan, *, photo: bool = False
) -> dict[str, Tensor]:
    """Measure the main face of a clip with a `MeshTracker`, as `affectkit predict --faces mesh` does.

    The main face is the largest one of the first frame that shows a face; it is followed through the clip.

    Args:
        frames: T frames, uint8 [3, H, W], RGB; None for one that cannot be read.
        fps: Frames a second; NaN where unknown.
        photo: Whether the media is a photo, in which `CenterFace` finds the faces.

    Returns:
        The signals of `FaceMesh.signals`, float32 [T, ...] by name; `landmarks`, float32 [T, 68, 2] in pixels; and
        `box`, float32 [T, 4], left, top, width and height of the mesh in pixels.
        Frames without the face are NaN.

    Example:
        >>> measure_signals([torch.zeros(3, 48, 64, dtype=torch.uint8)])["pose"]
        tensor([[nan, nan, nan]])
    """
    tracker = MeshTracker.for_video(fps, _detector(os.getpid(), photo))
    unknown = {name: torch.full(shape, nan) for name, shape in {**SIGNALS, **_PLACE}.items()}
    main: int | None = None
    rows = []
    for frame in frames:
        faces = tracker.update(frame)
        if main is None and faces:
            largest = largest_face(list(faces.values()))
            main = next(identity for identity, face in faces.items() if face is largest)
        face = faces.get(main) if main is not None else None
        mesh = None if face is None else face.mesh
        place = {} if mesh is None else {"landmarks": mesh.landmarks, "box": torch.tensor(mesh.box)}
        rows.append(unknown if mesh is None else {**mesh.signals(), **place})
    return {
        name: torch.stack([row[name].float() for row in rows]) if rows else values[None][:0]
        for name, values in unknown.items()
    }


@functools.cache
def _detector(process: int, photo: bool) -> MeshDetector:
    """The detector of a process; the sessions of a forked process's parent do not survive in it."""
    return MeshDetector(detector=CenterFace()) if photo else MeshDetector()
