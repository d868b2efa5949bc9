"""All clips of one rendered person."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from affectkit.synth.domains import sample_domain_scene, soften
from affectkit.synth.engagement import ENGAGEMENT_LEVELS, FLIP_RATE, sample_engaged_clip
from affectkit.synth.ratings import rate_units
from affectkit.synth.render import Face, FaceRenderer
from affectkit.synth.sampling import draw_units, sample_clip, sample_person, sample_scene
from affectkit.synth.settings import EXPRESSIONS, UNIT_IDS, CorpusSettings
from affectkit.synth.varied import degrade, sample_varied_clip, sample_varied_units
from affectkit.synth.writers import write_frames, write_video

__all__ = ["Part", "load_renderer", "render_person"]

_OUTSIDE: Final = (3.0, 0.0)  # shift of a face that is not in the picture

# Rows of `index.parquet`, intensities [N, U] and landmarks [N, 68, 2] of one person.
Part = tuple[list[dict[str, Any]], npt.NDArray[np.float32], npt.NDArray[np.float32]]


load_renderer: Final = functools.cache(FaceRenderer)  # one per process and size


def render_person(
    settings: CorpusSettings, identity: int, split: str, classes: list[int], folder: Path
) -> Part:
    """Render all clips of one person, the same in every process."""
    renderer = load_renderer(settings.size)
    person = sample_person(np.random.default_rng([settings.seed, 3, identity]))
    varied, engaged = settings.regime == "varied", settings.regime == "engagement"
    bias = float(np.random.default_rng([settings.seed, 5, identity]).standard_normal())
    if varied:
        person = replace(person, shape=tuple(1.15 * coefficient for coefficient in person.shape))
    table, length = settings.table(), settings.frames_per_clip
    rows, intensities, landmarks = [], [], []
    for number, drawn in enumerate(classes):
        rng = np.random.default_rng([settings.seed, 4, identity, number])
        posed = not engaged and (not varied or rng.uniform() < 0.5)
        active: tuple[int, ...] = ()
        if not engaged:
            active = draw_units(rng, table[drawn].tolist(), UNIT_IDS, independent=settings.independent)
        if engaged:
            rate = 0.0 if split == "test" else FLIP_RATE
            plan = sample_engaged_clip(
                rng, drawn, UNIT_IDS, frames=length, fps=settings.fps, bias=bias, flip_rate=rate
            )
        elif varied:
            active = active if posed else sample_varied_units(rng)
            plan = sample_varied_clip(rng, active, frames=length, fps=settings.fps)
        else:
            plan = sample_clip(rng, active, UNIT_IDS, frames=length, fps=settings.fps, regime=settings.regime)
        truth = ENGAGEMENT_LEVELS[drawn] if engaged else EXPRESSIONS.classes[drawn] if posed else None
        answers = plan.answers
        if not engaged:
            answers = rate_units(
                np.random.default_rng([settings.seed, 6, identity, number]), active, UNIT_IDS
            )
        scene = sample_scene(rng)
        if varied or engaged:
            scene = replace(scene, zoom=scene.zoom * float(rng.uniform(0.65, 1.05)))
        conditions = np.random.default_rng([settings.seed, 5, identity, number])
        renderer.set(person, sample_domain_scene(conditions, scene, settings.domain))
        frames = [renderer.render(face) for face in plan.faces]
        if plan.present is not None and not all(plan.present):
            renderer.set(person, replace(scene, shift=_OUTSIDE))
            empty = renderer.render(Face())
            empty.landmarks[:] = np.nan
            frames = [frame if here else empty for frame, here in zip(frames, plan.present, strict=True)]
        clip = f"p{identity:04d}_{number:02d}"
        images = np.stack([frame.image for frame in frames])
        points = np.stack([frame.landmarks for frame in frames])
        if varied:
            images = degrade(rng, images, points)
        if settings.domain == "webcam":
            images = soften(conditions, images)
        if settings.media == "video":
            path = f"videos/{clip}.mp4"
            write_video(
                folder / path, images, fps=settings.fps, quality=int(rng.integers(16, 36 if varied else 25))
            )
        else:
            path = f"frames/{clip}"
            write_frames(folder / path, images)
        rows.append(
            {
                "path": path,
                "clip": clip,
                "subject": f"p{identity:04d}",
                "split": split,
                "expression": truth if posed else None,
                "engagement": plan.level,
                "onset": plan.onset,
                "apex": plan.apex,
                "offset": plan.offset,
                "fps": settings.fps,
                "num_frames": length,
                "source": "rendered",
                "units": active,
                "truth": truth,
                "answers": answers,
            }
        )
        intensities.append(plan.intensities)
        landmarks.append(points)
    return rows, np.concatenate(intensities), np.concatenate(landmarks)
