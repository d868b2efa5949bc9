"""What the writers of the frame-coded and photographic corpora share: labels drawn to given counts, and their faces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from affectkit.facs.sets import AU_SETS
from affectkit.synth.render import Face, FaceRenderer, Rendered
from affectkit.synth.sampling import sample_person, sample_scene

__all__ = [
    "Studio",
    "draw_scores",
    "strongest",
    "write_image",
    "write_manifest",
    "write_text",
    "write_video",
]


_SHOWN: Final = frozenset(unit.id for unit in AU_SETS["rendered"])


def draw_scores(
    rng: np.random.Generator, lengths: Sequence[int], smooth: int = 20
) -> npt.NDArray[np.float32]:
    """Draw how strongly something shows in each frame, changing slowly, and differing between recordings.

    Args:
        rng: Source of every choice.
        lengths: Frames in each recording.
        smooth: Frames over which the score hardly changes.

    Returns:
        float32 [sum of lengths], no two alike.
    """
    total = sum(lengths)
    steps = np.cumsum(rng.standard_normal(total + smooth, dtype=np.float32), dtype=np.float64)
    course = (steps[smooth:] - steps[:-smooth]) / np.sqrt(smooth)
    habit = np.repeat(rng.standard_normal(len(lengths)), lengths)
    scores: npt.NDArray[np.float32] = (course + 0.6 * habit).astype(np.float32)
    return scores


def strongest(scores: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.bool_]:
    """The `count` highest scores, exactly so many."""
    chosen = np.zeros(len(scores), dtype=bool)
    if count > 0:
        chosen[np.argpartition(-scores, count - 1)[:count]] = True
    return chosen


class Studio:
    """Renders people with given intensities.

    Args:
        size: Side of the square frames in pixels.
        seed: Of people and scenes.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._renderer = FaceRenderer(size)
        self._seed = seed

    def enter(self, *person: int) -> None:
        """Choose who is seen.

        Args:
            person: Numbers that name the person.
        """
        rng = np.random.default_rng([self._seed, 7, *person])
        self._renderer.set(sample_person(rng), sample_scene(rng))

    def shoot(self, intensities: Mapping[int, float], yaw: float = 0.0) -> Rendered:
        """Render one frame.

        Args:
            intensities: Number of a unit to its intensity, 0 to 1; units that the rig lacks stay unseen.
            yaw: Turn of the head in degrees.
        """
        return self._renderer.render(
            Face({u: v for u, v in intensities.items() if u in _SHOWN and v > 0}, yaw)
        )


def write_image(path: Path, image: npt.NDArray[np.uint8], *, height: int | None = None) -> None:
    """Write a picture, padded or cut to a height; JPEGs of high quality.

    Args:
        path: The file; its suffix is its format.
        image: uint8 [S, S, 3].
        height: Of the file, `S` by default.
    """
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_frame(image, height)).save(path, quality=92)


def write_video(
    path: Path, images: Iterable[npt.NDArray[np.uint8]], *, fps: int, height: int | None = None
) -> None:
    """Encode a clip as MPEG-4 in AVI.

    Args:
        path: The file.
        images: uint8 [S, S, 3] each.
        fps: Frames a second.
        height: Of the video, even; `S` by default.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # so that the bytes do not depend on the machine
        stream.bit_rate = 4_000_000
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(_frame(image, height), format="rgb24")
            if number == 0:
                stream.height, stream.width = frame.height, frame.width
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _frame(image: npt.NDArray[np.uint8], height: int | None) -> npt.NDArray[np.uint8]:
    more = (height or len(image)) - len(image)
    if more < 0:
        return np.ascontiguousarray(image[-more // 2 : len(image) - (-more - -more // 2)])
    return np.pad(image, ((more // 2, more - more // 2), (0, 0), (0, 0)), mode="edge")


def write_text(
    path: Path, lines: Sequence[str], *, bom: bool = False, crlf: bool = False, final_newline: bool = True
) -> None:
    """Write lines as one or another program would."""
    end = "\r\n" if crlf else "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = end.join(lines) + (end if final_newline else "")
    path.write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))


def write_manifest(out: Path, truths: dict[str, Any]) -> dict[str, Any]:
    """Write the truths of a rehearsal corpus as `rehearsal.json`, and return them as they can be read there."""
    text = json.dumps({"rendered": True, **truths}, indent=1)
    (out / "rehearsal.json").write_text(text + "\n", encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return read
