"""Brief movements in long clips: their times and action units."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, nan
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from affectkit.data import OnsetApex, UniformSegments
from affectkit.data.video import Backend, VideoReader, open_video
from affectkit.errors import AnnotationError, ConfigError, VideoError
from affectkit.faces import MARGINS, Crop, face_landmarks, margin_of, place_face, read_clip
from affectkit.facs import ActionUnit, AUSet
from affectkit.inference.formats.sidecar import (
    WARNING,
    load_sidecar,
    sidecar_of,
    warning_of,
    write_sidecar,
)
from affectkit.inference.formats.table import plain
from affectkit.inference.pictures.overlay import read_frames
from affectkit.inference.predictor import Predictor
from affectkit.inference.sources import fingerprint
from affectkit.inference.spotting.spotter import Interval, Spotter

__all__ = ["LEADING", "Movement", "MovementFinder", "Written", "is_finished", "write_movements"]

LEADING = ("onset", "apex", "offset", "onset_time", "apex_time", "offset_time", "strength", "moved", "units")
"""Columns before those of the values."""

_SIDE: Final = 112  # pixels of the pictures searched, if a detector places the face


@dataclass(frozen=True)
class Movement:
    """A brief movement and its predictions.

    Args:
        interval: Its frames.
        times: Times of onset, apex and offset in seconds, from the container, else from the frame rate.
        values: Probabilities by column name; NaN if no face was found.
        units: Columns at or above their thresholds.
        reason: Reason if there are no values.
    """

    interval: Interval
    times: tuple[float, ...]
    values: dict[str, float]
    units: tuple[str, ...]
    reason: str | None = None


class MovementFinder:
    """Find brief movements in long clips and predict their action units.

    A `Spotter` finds intervals. The model's heads for micro-expressions, or else its heads of action units, then see
    each as in training: heads for micro-expressions and models of two frames see frames from onset to apex, both
    included; other models see frames spread over the interval; models of single frames see the apex.

    Faces are found as by the predictor, but once for every ten seconds searched and once for every movement: all
    pictures of a clip are cropped in the same way, since aligning each by itself would undo the motion. Of several
    faces the largest is used.

    Args:
        predictor: The model and the source of faces.
        longest: Longest movement in seconds.
        threshold: See `Spotter`.
        least: See `Spotter`.

    Attributes:
        columns: Names of the values.
        spec: Input of the model.
        view: Pictures searched for movements: with a detector, at least the whole face.
        face_seen: Whether the last video had a face.
        sees_movements: Whether the model has heads for micro-expressions; the units of others are those of longer
            expressions.

    Raises:
        ConfigError: The model does not predict action units, or a value is out of range.
        LabelSpaceError: One of its units has no region.
    """

    def __init__(
        self, predictor: Predictor, *, longest: float = 0.5, threshold: float = 12.0, least: float = 0.3
    ) -> None:
        self.predictor = predictor
        model = predictor.model
        every = ((name, model.head(name)) for name in model.heads)
        heads = [(name, head) for name, head in every if isinstance(head.space, AUSet)]
        micro = [(name, head) for name, head in heads if head.sees_movements]
        self._heads = micro or heads
        if not self._heads:
            raise ConfigError("This model does not predict action units.", remedy="Use one that does.")
        self._columns: dict[str, tuple[str, int, float]] = {}  # column -> head, place in it, threshold
        for name, head in self._heads:
            for place, (column, limit) in enumerate(zip(head.columns, head.thresholds, strict=True)):
                key = f"{name}.{column}" if column in self._columns else column
                self._columns[key] = (name, place, limit)
        self.columns = tuple(self._columns)
        units = dict.fromkeys(ActionUnit.parse(label) for _, head in self._heads for label in head.labels)
        self.spec = model.input_spec
        self.view = self.spec
        if not isinstance(predictor.faces, Crop):  # models of tight crops see no brows
            margin = max(margin_of(self.spec), MARGINS[self.spec.alignment])
            self.view = replace(self.spec, size=_SIDE, crop_margin=margin)
        self.spotter = Spotter(
            tuple(units),
            longest=longest,
            threshold=threshold,
            least=least,
            landmarks=(face_landmarks(self.view) + 0.5) / self.view.size,
        )
        self.face_seen = False
        self.sees_movements = bool(micro)
        self._to_apex = bool(micro) or self.spec.frames == 2

    def find(
        self,
        video: VideoReader,
        *,
        clips: VideoReader | None = None,
        fps: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Generator[Movement, None, None]:
        """Find the movements of an opened video, in constant memory.

        Args:
            video: From `open_video`; it stays open.
            clips: The same video opened again, to predict movements as they are found; without it they are predicted
                at the end of the video.
            fps: Frames per second, if the media does not tell or is wrong.
            progress: Called with the numbers of frames read and expected.

        Yields:
            Movements in order of time.

        Raises:
            ConfigError: The frame rate is unknown.
            VideoError: There is only one frame, or none can be read.
        """
        rate = _rate(video, fps)
        found = self.spot(video, fps=rate, progress=progress)
        for interval in list(found) if clips is None else found:
            yield self._predict(clips or video, interval, rate)

    def spot(
        self,
        video: VideoReader,
        *,
        fps: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Interval]:
        """Find intervals without predictions; arguments and errors as in `find`."""
        rate, fault, decoded = _rate(video, fps), "", 0
        self.face_seen = False

        def frames() -> Iterator[Tensor | None]:
            nonlocal fault, decoded
            for number, _, pixels in read_frames(video):
                if progress is not None:
                    progress(number + 1, video.num_frames)
                if isinstance(pixels, str):
                    fault = pixels
                    yield None
                else:
                    decoded += 1
                    yield torch.from_numpy(pixels).permute(2, 0, 1)

        def place(frame: Tensor) -> Callable[[Tensor], Tensor] | None:
            found = place_face(frame, self.predictor.faces, self.view)
            self.face_seen |= found is not None
            return found

        yield from self.spotter.stream(frames(), rate, place)
        if not decoded:
            raise VideoError(f"None of its frames could be read: {fault}", path=video.path)

    @property
    def warning(self) -> str | None:
        """What the values are not, for a column of the table; None if there is nothing to warn of."""
        notes = [warning_of(self.predictor_metadata) or ""]
        if not self.sees_movements:
            notes.append("The model was not trained on micro-expressions.")
        return " ".join(filter(None, notes)) or None

    @cached_property
    def predictor_metadata(self) -> dict[str, Any]:
        """Metadata of the predictor, made once, since they hold a hash of the weights."""
        return self.predictor.metadata()

    def metadata(self) -> dict[str, Any]:
        """Plain metadata: those of `Predictor`, and how movements were found."""
        return {
            **self.predictor_metadata,
            "columns": [*LEADING, *self.columns, *([WARNING] if self.warning else [])],
            "thresholds": {column: threshold for column, (_, _, threshold) in self._columns.items()},
            "spotting": {
                "longest_seconds": self.spotter.longest,
                "threshold": self.spotter.threshold,
                "least_grey_levels": self.spotter.least,
                "units": [str(unit) for unit in self.spotter.units],
                "model_sees": self._describe_input(),
                "trained_on_movements": self.sees_movements,
            },
        }

    def _describe_input(self) -> str:
        frames = self.spec.frames
        if self._to_apex:
            return f"{max(2, frames)} frames from onset to apex"
        return "the apex" if frames == 1 else f"{frames} frames from onset to offset"

    def _numbers(self, interval: Interval) -> list[int]:
        """Frames of an interval that the model sees."""
        frames = self.spec.frames
        if self._to_apex:
            return OnsetApex(max(2, frames))(interval.offset + 1, onset=interval.onset, apex=interval.apex)
        places = UniformSegments(frames)(interval.offset - interval.onset + 1)
        return [interval.onset + place for place in places] if frames > 1 else [interval.apex]

    def _predict(self, video: VideoReader, interval: Interval, rate: float) -> Movement:
        numbers = (interval.onset, interval.apex, interval.offset)
        known = [(number, float(video.timestamps[number])) for number in numbers]
        times = tuple(time if isfinite(time) else number / rate for number, time in known)
        try:
            places = self._numbers(interval)
            clip, landmarks = read_clip(video, places, self.predictor.faces, self.spec)
            measured = self.predictor.measure(video.read(places)) if self.predictor.model.signals else {}
        except (VideoError, AnnotationError) as error:
            return Movement(interval, times, dict.fromkeys(self.columns, nan), (), error.fault)
        device = self.predictor.device
        landmarks = landmarks.expand(len(clip), -1, -1)[None].to(device)
        answers = self.predictor.model.predict(clip[None].to(device), None, landmarks, **measured)
        # Of frame heads, the last frame counts.
        values = {
            column: float(answers[name][0][..., place].flatten()[-1])
            for column, (name, place, _) in self._columns.items()
        }
        units = tuple(c for c, (_, _, threshold) in self._columns.items() if values[c] >= threshold)
        return Movement(interval, times, values, units)


@dataclass(frozen=True)
class Written:
    """Result of `write_movements`.

    Args:
        path: The table.
        sidecar: The JSON file beside it.
        movements: Number of movements.
        unseen: Number of movements without values.
        face_seen: Whether the video had a face.
    """

    path: Path
    sidecar: Path
    movements: int
    unseen: int
    face_seen: bool


def write_movements(
    finder: MovementFinder,
    source: str | Path,
    path: str | Path,
    *,
    fps: float | None = None,
    backend: Backend = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write the movements of a clip to a CSV table, and the metadata to JSON files beside it.

    The columns are `LEADING`, those of the values, and `warning` if the finder has one: frames count from 0, times are
    seconds, `strength` is in grey levels, `moved` are the units whose regions moved most, `units` those at or above the
    model's thresholds. Rows are written as they are found, so an interrupted table is valid; its JSON file has
    `"complete": false`.

    Args:
        finder: The model.
        source: A video or a folder of frames.
        path: The table; an older one is replaced.
        fps: Frames per second, if the media does not tell or is wrong.
        backend: Reader of video files.
        progress: Called with the numbers of frames read and expected.

    Raises:
        ConfigError: The name does not end in .csv, or the frame rate is unknown.
        VideoError: The media cannot be read, or is a photo.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"{path.name!r} is not the name of a CSV table.", remedy="Use the suffix .csv.")
    with open_video(source, backend) as video, open_video(source, backend) as clips:
        rate = _rate(video, fps)
        unseen = Counter[str]()
        about = {**finder.metadata(), "source": str(source), "source_fingerprint": fingerprint(Path(source))}
        about |= {"fps": rate, "frames": video.num_frames}
        about |= {"movements": 0, "unseen": unseen, "complete": False}
        path.parent.mkdir(parents=True, exist_ok=True)
        warning = [finder.warning] if finder.warning else []
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(about["columns"])
            file.flush()
            write_sidecar(path, about)
            try:
                with closing(finder.find(video, clips=clips, fps=rate, progress=progress)) as found:
                    for movement in found:
                        table.writerow([*_cells(movement, finder.columns), *warning])
                        file.flush()
                        about["movements"] += 1
                        unseen.update([movement.reason] if movement.reason else [])
                about["complete"] = True
            finally:
                about["face_seen"] = finder.face_seen
                write_sidecar(path, about)
    return Written(path, sidecar_of(path), about["movements"], unseen.total(), finder.face_seen)


def is_finished(
    finder: MovementFinder, source: str | Path, path: str | Path, *, fps: float | None = None
) -> bool:
    """Whether a complete table of the same media, model and settings exists.

    An interrupted one of the same media, model and settings is not finished, and may be replaced.

    Args:
        finder: The model.
        source: A video or a folder of frames.
        path: The table.
        fps: The given frame rate.

    Raises:
        ConfigError: The file is a table of something else, or no table of movements.
    """
    path = Path(path)
    if not path.exists():
        return False
    try:
        found = load_sidecar(path) or {}
    except AnnotationError:
        found = {}
    wanted = plain({**finder.metadata(), "source_fingerprint": fingerprint(Path(source))})
    wanted |= {} if fps is None else {"fps": fps}
    if not found:
        raise ConfigError(
            "The existing file has no metadata of a table of movements.",
            path=path,
            remedy="Give another output, or --overwrite.",
        )
    changing = {"model"}  # a path; the hash tells which model it is
    if other := [name for name, value in wanted.items() if name not in changing and found.get(name) != value]:
        raise ConfigError(
            f"The existing table has another {', '.join(other[:4])}.",
            path=path,
            remedy="Give another output, or --overwrite.",
        )
    return found.get("complete") is True


def _rate(video: VideoReader, fps: float | None) -> float:
    """The given frame rate, else that of the video."""
    if video.num_frames < 2:
        raise VideoError("A photo has no movement.", path=video.path, remedy="Give a video or frames.")
    rate = video.fps if fps is None else fps
    if not rate > 0:
        raise ConfigError(
            f"Invalid frame rate: {rate} frames per second.", path=video.path, remedy="State it with --fps."
        )
    return float(rate)


def _cells(movement: Movement, columns: Sequence[str]) -> list[str]:
    found = movement.interval
    return [
        *map(str, (found.onset, found.apex, found.offset)),
        *(f"{time:.6f}" for time in movement.times),
        f"{found.strength:.3f}",
        " ".join(str(unit) for unit in found.units),
        " ".join(movement.units),
        *(f"{movement.values[column]:.6f}" for column in columns),
    ]
