"""Shared parts of the rehearsals of corpora of engagement: EngageNet and DAiSEE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from affectkit.datasets.reading.openface_signals import OPENFACE_SIGNALS
from affectkit.rehearse.acting.studio import Studio, write_text
from affectkit.rehearse.registry import Job
from affectkit.synth.engagement import Behaviour, sample_behaviour
from affectkit.synth.writers import write_video

__all__ = ["PARTS", "EngagedClip", "count_clips", "deal_clips", "film"]

PARTS: Final = ("train", "validation", "test")
_SIZES: Final = {"tiny": ((3, 2, 2), 4), "small": ((8, 4, 4), 8)}  # people of each part, clips of each person
_FPS: Final = 30.0


@dataclass(frozen=True)
class EngagedClip:
    """A clip: its part, its person (from 0), its number among the clips of the person, and its level, 0 to 3."""

    part: str
    person: int
    number: int
    level: int


def deal_clips(
    rng: np.random.Generator, size: str, people: Sequence[int], clips: Sequence[int]
) -> list[EngagedClip]:
    """Deal clips to people.

    Args:
        rng: Random generator.
        size: "full" has the given numbers, "small" and "tiny" a few.
        people: Number of people in each part.
        clips: Number of clips in each part.
    """
    if size != "full":
        people, each = _SIZES[size]
        clips = [count * each for count in people]
    dealt, first = [], 0
    for part, count, total in zip(PARTS, people, clips, strict=True):
        for clip in range(total):
            # Every level occurs in every part.
            level = clip % 4 if clip < 8 else int(rng.choice(4, p=(0.1, 0.15, 0.5, 0.25)))
            dealt.append(EngagedClip(part, first + clip % count, clip // count, level))
        first += count
    return dealt


def film(
    job: Job, clips: Mapping[Path, EngagedClip], pixels: int, tables: Path | None, frames: int = 8
) -> None:
    """Render people in front of a screen, and write OpenFace's tables of them.

    Args:
        job: The rehearsal; no video is rendered without media.
        clips: Clips by video file.
        pixels: Side of the frames.
        tables: Folder of the tables; None writes none.
        frames: Length of a clip.
    """
    studio = Studio(pixels, job.seed)
    for place, (path, clip) in enumerate(clips.items()):
        rng = job.rng(97, place)
        behaviour = sample_behaviour(rng, clip.level + rng.uniform(), frames=frames, fps=_FPS)
        if tables is not None:
            write_text(tables / f"{path.stem}.csv", list(_table(behaviour)), final_newline=True)
        if job.media:
            studio.enter(7, 5, clip.person, scene=rng)
            faces = [
                studio.shoot(face.units, face.yaw, face.pitch, face.roll).image for face in behaviour.faces()
            ]
            write_video(path, faces, fps=_FPS, codec="mpeg4")


def _table(behaviour: Behaviour) -> Iterator[str]:
    """Lines of OpenFace's table; rows without a face hold zeros."""
    columns = [name for names in OPENFACE_SIGNALS.values() for name in names]
    yield ", ".join(["frame", "face_id", "timestamp", "confidence", "success", *columns])
    for frame, (face, here) in enumerate(zip(behaviour.faces(), behaviour.present.tolist(), strict=True)):
        across, up = np.radians(25.0) * np.array(face.gaze)
        turn = dict(
            zip(
                ("pose_Rx", "pose_Ry", "pose_Rz"), np.radians([-face.pitch, face.yaw, face.roll]), strict=True
            )
        )
        values: dict[str, float] = {"pose_Tz": 500.0, "gaze_angle_x": across, "gaze_angle_y": -up, **turn}
        values |= {"gaze_0_z": -1.0, "gaze_1_z": -1.0}
        for unit, intensity in face.units.items():
            strength = max(intensity) if isinstance(intensity, tuple) else intensity
            values |= {f"AU{unit:02d}_r": 5 * strength, f"AU{unit:02d}_c": float(strength > 0.2)}
        cells = [f"{values.get(name, 0.0):.3f}" if here else "0" for name in columns]
        head = [str(frame + 1), "0", f"{frame / _FPS:.3f}", "0.98" if here else "0.00", str(int(here))]
        yield ", ".join([*head, *cells])


def count_clips(clips: Sequence[EngagedClip], levels: Sequence[str], **labels: Any) -> dict[str, Any]:
    """Counts in total and of each part, and labels.

    Args:
        clips: Clips with a level; those with the level -1 count as clips only.
        levels: Names of the levels.
        **labels: Further content of the manifest.
    """

    def count(own: Sequence[EngagedClip]) -> dict[str, Any]:
        given = [clip.level for clip in own]
        return {
            "subjects": len({clip.person for clip in own}),
            "clips": len(own),
            "classes": {name: given.count(place) for place, name in enumerate(levels)},
        }

    parts = {part: count([clip for clip in clips if clip.part == part]) for part in PARTS}
    return {**count(clips), "parts": parts, **labels}
