"""Predictions for files: from photos and videos, one or a thousand, to tables on disk."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from affectkit.data.video import Backend, VideoReader, open_video
from affectkit.errors import AffectKitError, ConfigError, VideoError
from affectkit.faces.frames import NO_FACE, REDUCED
from affectkit.inference.baseline import describe_baseline
from affectkit.inference.formats import TableWriter, table_progress
from affectkit.inference.formats.table import Summary, plain
from affectkit.inference.predictor import Predictor, Row
from affectkit.inference.smoothing import Smoothing
from affectkit.inference.sources import Media, Other, fingerprint
from affectkit.inference.wording import printable
from affectkit.workers import Event, run_here, run_in_processes, run_on_ray

__all__ = ["Engine", "FileResult", "predict_files", "write_predictions"]

Engine = Literal["processes", "ray"]
Status = Literal["waiting", "begun", "done", "there", "failed"]


class Counts(NamedTuple):
    """What is in a table.

    Args:
        frames: Frames.
        failed: Those without any face that could be measured.
        unreadable: The reason, where not one frame could be read.
        there: Whether the table was there before.
        warning: What a user must know about the model.
        reduced: Whether there is no face in frames that were made smaller for the detector.
    """

    frames: int
    failed: int
    unreadable: str | None = None
    there: bool = False
    warning: str | None = None
    reduced: bool = False


@dataclass(frozen=True)
class FileResult:
    """What became of one of the media.

    Args:
        source: The media.
        table: Its table.
        status: "done", "there" (finished before), "failed", or, where the work was interrupted, "begun" or "waiting".
        frames: Frames in the table.
        failed: Those without any face that could be measured.
        error: Why it failed.
        warning: What a user must know about the model, where one was run.
        reduced: Whether there is no face in frames that were made smaller for the detector.
    """

    source: Path
    table: Path
    status: Status = "waiting"
    frames: int = 0
    failed: int = 0
    error: AffectKitError | None = None
    warning: str | None = None
    reduced: bool = False


def write_predictions(
    predictor: Predictor,
    source: str | Path | VideoReader,
    path: str | Path,
    *,
    format: str | None = None,
    fill_missing: float | None = None,
    smoothing: Smoothing | None = None,
    baseline: float | None = None,
    backend: Backend = "auto",
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> TableWriter:
    """Predict one photo, video, folder of frames or camera into a table.

    Args:
        predictor: The model.
        source: The media, or an opened one.
        path: The table; an older one is replaced unless `resume`.
        format: See `affectkit.inference.formats.TableWriter`; by default, the ending of `path` decides.
        fill_missing: For OpenFace's formats, what to write for units that the model does not predict.
        smoothing: Smooth the values.
        baseline: Subtract each person's usual intensities, this quantile of all frames of the media, when the table is
            made; see `subtract_baseline`. A value then depends on the whole clip.
        backend: Reader of video files.
        resume: Go on with a table that was interrupted, to the same rows as those of one run; a table that is
            complete is left alone.
        progress: Called with the number of frames written and the number expected, after each row, and with every
            frame that is read.

    Returns:
        The closed writer, which knows how many `frames` there were and how many `failed`.

    Raises:
        VideoError: Nothing at all can be read; no file is written then.
        ConfigError: The crop reaches beyond the frame, the output's name, or, with `resume`, a table of another
            model, source or setting.
        AnnotationError: With `resume`, the file is not a table of ours.
    """
    table = _Tables(predictor, format, fill_missing, smoothing, baseline, backend, resume)
    if isinstance(source, VideoReader):
        return table.write(source, Path(path), progress or _nobody)
    with open_video(source, backend) as video:
        return table.write(video, Path(path), progress or _nobody)


def predict_files(
    predictor: Predictor | Callable[..., Predictor],
    media: Sequence[Media],
    tables: Sequence[Path],
    *,
    format: str | None = None,
    fill_missing: float | None = None,
    smoothing: Smoothing | None = None,
    baseline: float | None = None,
    backend: Backend = "auto",
    overwrite: bool = False,
    devices: Sequence[str] = ("cpu",),
    engine: Engine = "processes",
    processes: int = 0,
    patience: float | None = 300.0,
    address: str | None = None,
    summary: str | Path | None = None,
    others: Sequence[Other] = (),
    progress: Callable[[Sequence[FileResult], int, int, int], None] | None = None,
) -> list[FileResult]:
    """Predict many media, each into a table of its own; what is wrong with one of them never stops the others.

    A table that is complete, of the same model, settings and source, is left as it is; one that was interrupted goes
    on at its next frame; one of another model, setting or source is an error of that file, unless `overwrite`. So a
    second run does what the first one left. On Ctrl-C all tables that were begun are closed properly.

    With processes, each holds a model of its own, and a decoder that crashes or hangs on a damaged file costs only
    that file. In a script, call this below `if __name__ == "__main__":` then.

    Args:
        predictor: The model; with processes or Ray something that makes it, called with `device=…`, which can be
            pickled, for example `functools.partial(Predictor, "runs/demo/model")`.
        media: From `find_media`.
        tables: From `plan_tables`.
        format: See `affectkit.inference.formats.TableWriter`.
        fill_missing: For OpenFace's formats, what to write for units that the model does not predict.
        smoothing: Smooth the values.
        baseline: Subtract each person's usual intensities, this quantile of all frames of the media, when the table is
            made; see `subtract_baseline`. A value then depends on the whole clip.
        backend: Reader of video files.
        overwrite: Replace all tables that are there.
        devices: Where the processes run their models, in turn.
        engine: "processes" of this machine, or "ray": workers on this machine or a cluster whose machines all see
            the same files; `affectkit.workers.run_on_ray`.
        processes: How many; 0 works in this process. Ray takes at least one.
        patience: Seconds in which not a single frame was read, after which a file is given up; not with 0 processes.
        address: Of a Ray cluster.
        summary: CSV file to write at the end, also on Ctrl-C: what became of each.
        others: From `find_media`: what the summary accounts for as well.
        progress: Called with all results so far, the number of the file that something was heard of, its frames so
            far and those expected.

    Returns:
        What became of each, in the order of `media`.

    Raises:
        WeightsError: The model cannot be loaded.
        ConfigError: An argument is impossible, such as an `engine` that is none.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"There is no engine {engine!r}.", remedy=f"Use one of {get_args(Engine)}.")
    results = [FileResult(one.path, table) for one, table in zip(media, tables, strict=True)]
    jobs = [(result.source, result.table) for result in results]
    if engine == "ray":  # its workers may stand in another folder
        jobs = [(source.absolute(), table.absolute()) for source, table in jobs]
    threads = None if engine == "ray" or processes == 0 else max(1, (os.cpu_count() or 1) // processes)

    def tell(event: Event) -> None:
        frames = results[event.job].frames
        done, total = event.content if event.kind == "progress" else (frames, frames)
        (progress or _nobody)(results, event.job, done, total)

    options = (format, fill_missing, smoothing, baseline, backend, not overwrite)
    start = _Start(predictor, tuple(devices), options, threads)
    if engine == "ray":
        gpus = float(any(not device.startswith("cpu") for device in devices))
        events = run_on_ray(
            start, jobs, workers=max(1, processes), gpus=gpus, patience=patience, address=address
        )
    elif processes == 0:
        events = run_here(start, jobs, tell)
    else:
        events = run_in_processes(start, jobs, processes=processes, patience=patience)
    try:
        with closing(events):
            for event in events:
                results[event.job] = _after(results[event.job], event)
                tell(event)
    finally:
        if summary is not None:
            _summarize(results, others, Path(summary))
    return results


def _summarize(results: Sequence[FileResult], others: Sequence[Other], path: Path) -> None:
    try:
        _write_summary(results, others, path)
    except OSError as error:
        raise ConfigError(
            f"The summary cannot be written: {error.strerror or error}. The tables are kept.",
            path=path,
            remedy="Choose a place with room that you may write to.",
        ) from error


def _write_summary(results: Sequence[FileResult], others: Sequence[Other], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["source", "table", "status", "frames", "failed_frames", "error"])
        for one in results:
            error = "" if one.error is None else " ".join(str(one.error).split())
            names = [printable(one.source), printable(one.table)]
            writer.writerow([*names, one.status, one.frames, one.failed, printable(error)])
        for other in others:
            writer.writerow([printable(other.path), "", other.status, 0, 0, printable(other.reason)])


def _after(result: FileResult, event: Event) -> FileResult:
    """A file's result when something has happened."""
    if event.kind == "begun":
        return replace(result, status="begun")
    if event.kind == "failed":
        return replace(result, status="failed", error=event.content)
    if event.kind == "progress":
        return result
    counts: Counts = event.content
    result = replace(result, frames=counts.frames, failed=counts.failed, warning=counts.warning)
    result = replace(result, reduced=counts.reduced)
    if counts.unreadable is not None:
        fault = f"None of its frames could be read: {counts.unreadable}"
        return replace(result, status="failed", error=VideoError(fault, path=result.source))
    return replace(result, status="there" if counts.there else "done")


@dataclass(frozen=True)
class _Start:
    """Makes what a process works with; can be pickled."""

    predictor: Predictor | Callable[..., Predictor]
    devices: tuple[str, ...]
    options: tuple[Any, ...]
    threads: int | None

    def __call__(self, place: int) -> _Tables:
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        predictor = self.predictor
        if not isinstance(predictor, Predictor):
            predictor = predictor(device=self.devices[place % len(self.devices)])
        return _Tables(predictor, *self.options)


class _Tables:
    """Writes the tables of one media after the other."""

    def __init__(
        self,
        predictor: Predictor,
        format: str | None,
        fill_missing: float | None,
        smoothing: Smoothing | None,
        baseline: float | None,
        backend: Backend,
        resume: bool,
    ) -> None:
        self.predictor, self.smoothing, self.backend, self.resume = predictor, smoothing, backend, resume
        self.format, self.fill_missing = format, fill_missing
        smoothed = None if smoothing is None else smoothing.metadata()
        described = predictor.metadata()  # once: it reads all the weights
        usual = None if baseline is None else describe_baseline(described["heads"], baseline)
        self.described = {**described, "smoothing": smoothed, "baseline": usual}

    def __call__(self, job: tuple[Path, Path], report: Callable[[Any], None]) -> Counts:
        source, table = job
        if (there := self._finished(source, table)) is not None:
            return there
        with open_video(source, self.backend) as video:
            writer = self.write(video, table, lambda done, total: report((done, total)))
        return self._count(writer.summary)

    def _finished(self, source: Path, table: Path) -> Counts | None:
        """What is in a table that is complete and of the same source, model and settings.

        Opening a video reads all of it, so this asks for nothing that the video says.
        """
        found = table_progress(table) if self.resume else None
        if found is None or not found.complete:
            return None
        wanted = self._writer(table, self._metadata(source, found.metadata)).described
        return None if self._differing(found.metadata, wanted) else self._count(found.summary, there=True)

    @staticmethod
    def _differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
        return [name for name, value in plain(wanted).items() if found.get(name) != value]

    def _metadata(self, source: Path, found: Mapping[str, Any]) -> dict[str, Any]:
        """What belongs beside the numbers, as far as it is known without the video.

        Where model and media are is not what they are: a table that was begun keeps its names for them.
        """
        named = {"model": self.described["model"], "source": str(source)}
        return {
            **self.described,
            **{name: found.get(name, value) for name, value in named.items()},
            "source_fingerprint": fingerprint(source),
        }

    def _writer(self, path: Path, metadata: Mapping[str, Any]) -> TableWriter:
        return TableWriter(
            path,
            self.predictor.columns,
            metadata,
            format=self.format,
            resume=self.resume,
            fill_missing=self.fill_missing,
        )

    def write(self, video: VideoReader, path: Path, progress: Callable[[int, int], None]) -> TableWriter:
        """Predict an opened video into a table."""
        found = table_progress(path) if self.resume else None
        before, after = self.predictor.window(video.fps)
        metadata = {
            **self._metadata(video.path, {} if found is None else found.metadata),
            "fps": None if isnan(video.fps) else video.fps,
            "window_frames": {"before": before, "after": after},
        }
        if found is not None and (other := self._differing(found.metadata, metadata)):
            raise ConfigError(
                f"The table there was made with another {', '.join(other[:4])}.",
                path=path,
                remedy="Give another output, or --overwrite.",
            )
        with self._writer(path, metadata) as writer:
            progress(writer.frames, video.num_frames)
            if not writer.complete and writer.next_frame < video.num_frames:
                watched = _Watched(video, lambda: progress(writer.frames, video.num_frames))
                for row in self._rows(watched, writer.next_frame):
                    writer.write(row)
                    progress(writer.frames, video.num_frames)
        return writer

    def _rows(self, video: VideoReader, start: int) -> Iterator[Row]:
        """The rows from a frame on; those before it that smoothing needs are made again."""
        if self.smoothing is None:
            return self.predictor.predict_video(video, start=start)
        first = self.smoothing.first_needed(start, video.timestamps)
        rows = self.smoothing(self.predictor.predict_video(video, start=first))
        return (row for row in rows if row.frame >= start)

    def _count(self, summary: Summary, *, there: bool = False) -> Counts:
        read = summary.failed < summary.frames or bool({NO_FACE, REDUCED} & summary.failures.keys())
        reason = None if read else next(iter(summary.failures), "it has none.")
        reduced = REDUCED in summary.failures
        return Counts(summary.frames, summary.failed, reason, there, self.predictor.warning, reduced)


def _nobody(*_: Any) -> None:
    """Hears of the progress where nobody asks."""


class _Watched(VideoReader):
    """A video that says when a frame was read: finding who is who again, where work goes on, gives no rows for long."""

    def __init__(self, video: VideoReader, seen: Callable[[], None]) -> None:
        self.path, self.num_frames, self.fps, self.timestamps = (
            video.path,
            video.num_frames,
            video.fps,
            video.timestamps,
        )
        self._video, self._seen = video, seen

    def frames(self, start: int = 0) -> Iterator[tuple[int, float, Tensor]]:
        """See `VideoReader`."""
        for frame in self._video.frames(start):
            self._seen()
            yield frame

    def _decode(self, indices: Sequence[int]) -> Iterator[Any]:
        return self._video._decode(indices)
