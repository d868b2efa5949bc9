"""A rendered clip and tables of predictions for it, whose values are the rig's own settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from affectkit.inference.predictor import RENDERED_WARNING
from affectkit.synth import Face, FaceRenderer, Person, Scene, write_video

CLASSES = ("neutral", "happiness", "surprise")
UNITS = ("AU01", "AU02", "AU06", "AU12", "AU25")


def course(frames: int, face: int = 0) -> dict[str, np.ndarray]:
    """Units from 0 to 1: a smile, and behind it raised brows; another face does so later."""
    at = (np.arange(frames) / max(1, frames - 1) - 0.12 * face) % 1.0
    smile, brows = (np.exp(-(((at - middle) / 0.13) ** 2)) for middle in (0.3, 0.72))
    return dict(zip(UNITS, (brows, 0.8 * brows, 0.9 * smile, smile, 0.7 * brows), strict=True))


def render(path: Path, frames: int = 12, *, faces: int = 1, size: int = 64, fps: float = 25.0) -> Path:
    """Faces side by side, as an H.264 file."""
    renderer = FaceRenderer(size)
    strips = []
    for face in range(faces):
        person = Person(shape=tuple(float(x) for x in np.random.default_rng(face).standard_normal(20)))
        renderer.set(person, Scene(zoom=0.3, seed=face))
        units = course(frames, face)
        strips.append(
            [
                renderer.render(Face({int(name[2:]): float(v[t]) for name, v in units.items()})).image
                for t in range(frames)
            ]
        )
    write_video(path, np.concatenate([np.stack(strip) for strip in strips], axis=2), fps=fps)
    return path


def metadata(**more) -> dict:
    """As a `Predictor` would write."""
    return {
        "affectkit": "0.0",
        "model": "runs/demo/model",
        "model_sha256": "0123456789abcdef" * 4,
        "licence": "Apache-2.0",
        "trained_on": "rendered faces",
        "warning": RENDERED_WARNING,
        "faces": {"detector": "CenterFace", "alignment": "eyes_mouth", "crop_margin": 0.1},
        "window_frames": {"before": 3, "after": 4},
        "fps": 25.0,
        "complete": True,
        "heads": {
            "au": {
                "columns": list(UNITS),
                "values": "probability",
                "answers_by": "linear layer",
                "thresholds": {"AU01": 0.4, "AU02": 0.5, "AU06": 0.5, "AU12": 0.6, "AU25": 0.5},
            },
            "degree": {"columns": ["AU12_i"], "values": "intensity 0-5", "thresholds": {}},
            "expression": {"columns": list(CLASSES), "values": "probability", "thresholds": {}},
        },
        **more,
    }


def table(
    frames: int = 12, *, faces: int = 1, size: int = 64, fps: float = 25.0, failed: range = range(0), **more
) -> pd.DataFrame:
    """A tidy table; frames in `failed` show nobody."""
    parts = []
    for face in range(faces):
        units = course(frames, face)
        scores = np.exp(4 * np.stack([np.full(frames, 0.5), units["AU12"], units["AU01"]]))
        part = pd.DataFrame(
            {
                "frame": np.arange(frames),
                "timestamp": np.arange(frames) / fps,
                "face": face,
                "success": True,
                "reason": None,
                "score": 0.97,
                "x": size * (face + 0.2),
                "y": size * 0.12,
                "w": size * 0.6,
                "h": size * 0.76,
            }
            | units
            | {"AU12_i": 5 * units["AU12"]}
            | dict(zip(CLASSES, scores / scores.sum(0), strict=True))
        )
        parts.append(part[~part["frame"].isin(failed)])
    nobody = pd.DataFrame({"frame": list(failed)})
    nobody = nobody.assign(timestamp=nobody["frame"] / fps, success=False, reason="no face")
    whole = pd.concat([*parts, nobody], ignore_index=True) if len(failed) else pd.concat(parts)
    whole = whole.sort_values(["frame", "face"], ignore_index=True)
    whole["face"] = whole["face"].astype("Int64")
    whole["success"] = whole["success"].astype(bool)
    whole["reason"] = whole["reason"].astype("string")
    whole.attrs["affectkit"] = metadata(**more)
    return whole
