"""Landmarks of rendered faces as corpora ship them: MATLAB files in pixels of the pictures as they were recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from affectkit.facs.regions import POINTS_49, POINTS_66

__all__ = ["BP4D_PICTURE", "DISFA_PICTURE", "in_picture", "write_fit", "write_points"]

BP4D_PICTURE: Final = (1040, 1392)
DISFA_PICTURE: Final = (1024, 768)
"""Width and height of the real pictures; rendered ones are the same in small."""

_Points = npt.NDArray[np.float64]


def in_picture(landmarks: npt.NDArray[np.float32], side: int, height: int) -> _Points:
    """Where landmarks lie once `write_image` has padded or cut a square picture.

    Args:
        landmarks: [68, 2] in the square picture.
        side: Its side in pixels.
        height: Of the picture that is written.

    Returns:
        float64 [68, 2].
    """
    more = height - side
    down = more // 2 if more >= 0 else -(-more // 2)
    moved: _Points = landmarks.astype(np.float64) + np.array([0.0, down])
    return moved


def write_fit(
    path: Path,
    seen: Mapping[int, _Points],
    size: tuple[int, int],
    *,
    lost: Collection[int] = (),
) -> dict[str, str]:
    """Write BP4D's 49 points: a structure array `fit` with an entry a frame, empty where the face was not tracked.

    Args:
        path: The file.
        seen: Points [68, 2] in the written pictures, by frame from 0; other frames were not tracked.
        size: Width and height of the written pictures.
        lost: Frames that the tracker lost.

    Returns:
        All 68 points of each label frame (from 1) that has an entry, in pixels of the written pictures.
    """
    tracked = {frame: points for frame, points in seen.items() if frame not in lost}
    fit = np.empty((1, max(seen) + 1), dtype=[("pred", object), ("pose", object)])
    for frame in range(fit.size):
        pose = np.empty((1, 1), dtype=[("angle", object), ("rot", object)])
        pose[0, 0] = (np.zeros((1, 3)), np.eye(3))
        pred = np.zeros((0, 0))
        if frame in tracked:
            pred = _as_recorded(tracked[frame], size, BP4D_PICTURE)[list(POINTS_49)]
        fit[0, frame] = (pred, pose)
    _save(path, {"fit": fit})
    return {str(frame + 1): _text(points) for frame, points in tracked.items()}


def write_points(
    folder: Path,
    subject: str,
    seen: Mapping[int, _Points],
    size: tuple[int, int],
    *,
    other_names: bool = False,
    surplus: bool = False,
) -> dict[str, str]:
    """Write DISFA's 66 points: a file a frame, counted from 0.

    Args:
        folder: Where they go.
        subject: Who is seen.
        seen: See `write_fit`.
        size: See `write_fit`.
        other_names: Call files `l00000_lm.mat` instead of `SN001_0000_lm.mat`.
        surplus: Write a file more than there are frames.

    Returns:
        See `write_fit`.
    """
    shown: dict[int, _Points] = dict(seen)
    if surplus:
        shown[max(seen) + 1] = seen[max(seen)]
    for frame, points in shown.items():
        name = f"l{frame:05d}_lm.mat" if other_names else f"{subject}_{frame:04d}_lm.mat"
        pts = _as_recorded(points, size, DISFA_PICTURE)[list(POINTS_66)]
        _save(folder / name, {"pts": pts})
    return {str(frame + 1): _text(points) for frame, points in shown.items() if frame in seen}


def _as_recorded(points: _Points, size: tuple[int, int], original: tuple[int, int]) -> _Points:
    scale = np.array(original) / np.array(size)
    scaled: _Points = (points + 0.5) * scale - 0.5
    return scaled


def _save(path: Path, variables: dict[str, npt.NDArray[Any]]) -> None:
    """Write a MATLAB file without the time of day in its head, so that the same corpus has the same bytes."""
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables, do_compression=True)
    with path.open("r+b") as file:
        file.write(b"MATLAB 5.0 MAT-file, rendered by affectkit".ljust(116))


def _text(points: npt.NDArray[Any]) -> str:
    """Points as `x y x y …`."""
    return " ".join(f"{value:.2f}" for value in points.ravel().tolist())
