"""Prediction of files: photos and videos to tables on disk."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from io import StringIO
from math import isnan
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from affectkit.data.video import Backend, VideoReader, open_video
from affectkit.errors import AffectKitError, ConfigError, VideoError
from affectkit.faces.frames import NO_FACE, REDUCED
from affectkit.inference.baseline import Baseline
from affectkit.inference.formats import TableWriter, table_progress
from affectkit.inference.formats.sidecar import replacing
from affectkit.inference.formats.table import Summary, plain
from affectkit.inference.measures import LANDMARKS, OPENFACE
from affectkit.inference.predictor import Predictor, Row
from affectkit.inference.smoothing import Smoothing
from affectkit.inference.sources import Media, Other, fingerprint
from affectkit.inference.table_store import TableStore
from affectkit.inference.wording import counted, printable
from affectkit.workers import Event, run_here, run_in_processes, run_on_ray

__all__ = ["Engine", "FileResult", "limit_threads", "predict_files", "write_predictions"]

_SMALL: Final = 30_000_000  # parameters

Engine = Literal["processes", "ray"]
Status = Literal["waiting", "begun", "done", "there", "failed"]


@dataclass(frozen=True)
class FileResult:
    """Result of one photo, video or folder of frames.

    Args:
        source: The media.
        table: Its table; a URI if the tables go to a `TableStore`.
        status: "done", "there" (finished before), "failed", or, if the work was interrupted, "begun" or "waiting".
        frames: Number of frames in the table.
        failed: Number of frames without values.
        error: Reason of a failure.
        warning: Warning about the model, if one was used.
        reduced: Whether no face was found in frames that were reduced for the detector.
    """

    source: Path
    table: Path | str
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
    baseline: Baseline | Literal[False] | None = None,
    landmarks: bool = False,
    backend: Backend = "auto",
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> TableWriter:
    """Predict one photo, video, folder of frames or camera into a table.

    Args:
        predictor: The model.
        source: The media, or an opened one.
        path: The table; an older one is replaced unless `resume`.
        format: Format of the table; by default from the suffix of `path`. See `affectkit.inference.TableWriter`.
        fill_missing: For OpenFace's formats, value of units that the model does not predict.
        smoothing: Smoothing of the values.
        baseline: Baseline of each person that is subtracted when the table is written; False for none. By default,
            `Baseline()` for videos of models that state it (metadata `baseline: true`), none for photos.
        landmarks: Whether to write the 68 landmarks of faces with meshes; OpenFace's formats always have them.
        backend: Reader of video files.
        resume: Continue an interrupted table, with the same rows as in one run; a complete table is left unchanged.
        progress: Called with the numbers of frames written and expected, after each row and each frame read.

    Returns:
        The closed writer, with the numbers of `frames` and `failed` frames.

    Raises:
        VideoError: The media cannot be read; no file is written.
        ConfigError: A crop exceeds the frame, the file name is invalid, or, with `resume`, the table has another model,
            source or setting.
        AnnotationError: With `resume`, the file is not a table of affectkit.
    """
    tables = _Tables(predictor, format, fill_missing, smoothing, baseline, landmarks, backend, resume)
    report = progress or (lambda *_: None)
    if isinstance(source, VideoReader):
        return tables.write(source, Path(path), report)
    with open_video(source, backend) as video:
        return tables.write(video, Path(path), report)


def predict_files(
    predictor: Predictor | Callable[..., Predictor],
    media: Sequence[Media],
    tables: Sequence[Path],
    *,
    format: str | None = None,
    fill_missing: float | None = None,
    smoothing: Smoothing | None = None,
    baseline: Baseline | Literal[False] | None = None,
    landmarks: bool = False,
    backend: Backend = "auto",
    overwrite: bool = False,
    devices: Sequence[str] = ("cpu",),
    engine: Engine = "processes",
    processes: int = 0,
    patience: float | None = 300.0,
    address: str | None = None,
    summary: str | Path | None = None,
    store: TableStore | None = None,
    others: Sequence[Other] = (),
    progress: Callable[[Sequence[FileResult], int, int, int], None] | None = None,
) -> list[FileResult]:
    """Predict many media, each into a table of its own; a file that fails does not stop the others.

    A complete table of the same model, settings and source is left unchanged; an interrupted one is continued; one of
    another model, setting or source is an error of this file unless `overwrite`. A second run thus completes the
    first. On Ctrl-C all open tables are closed properly.

    With processes, each holds a model, and a decoder that crashes or hangs on a damaged file costs only this file. In a
    script, call this below `if __name__ == "__main__":` then.

    Args:
        predictor: The model; for processes and Ray a picklable function that creates it, called with `device=…`, for
            example `functools.partial(Predictor, "runs/demo/model")`.
        media: From `find_media`.
        tables: From `plan_tables`.
        format: As in `write_predictions`, like the next five.
        fill_missing: See above.
        smoothing: See above.
        baseline: See above.
        landmarks: See above.
        backend: See above.
        overwrite: Replace existing tables.
        devices: Devices of the processes, in turn.
        engine: "processes" of this machine, or "ray" for workers on this machine or a cluster whose machines all see
            the same files; see `affectkit.workers.run_on_ray`.
        processes: Number of processes; 0 works in this process. Ray has at least one worker.
        patience: Seconds without a frame after which a file fails; ignored with 0 processes.
        address: Address of a Ray cluster.
        summary: CSV file with all results, written at the end, also on Ctrl-C.
        store: Object storage to which complete tables and the summary are moved; `tables` and `summary` are below its
            `output`. Not for Ray.
        others: From `find_media`; listed in the summary.
        progress: Called with all results, the number of a file, and its numbers of frames done and expected.

    Returns:
        Results in the order of `media`.

    Raises:
        WeightsError: The model cannot be loaded.
        ConfigError: An argument is invalid.
        StorageError: The storage cannot be reached or written; the same call continues.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"Unknown engine {engine!r}.", remedy=f"Use one of {get_args(Engine)}.")
    if engine == "ray" and store is not None:
        remedy = "Give a folder that all machines share."
        raise ConfigError("Ray's workers cannot write tables to object storage.", remedy=remedy)
    jobs = [(one.path, table) for one, table in zip(media, tables, strict=True)]
    results = [FileResult(path, table if store is None else store.place(table)) for path, table in jobs]
    if store is not None:
        store.create(tables[0])
        store.fetch(tables)
    if engine == "ray":  # its workers may have another working folder
        jobs = [(source.absolute(), table.absolute()) for source, table in jobs]
    threads = None if engine == "ray" or processes == 0 else max(1, (os.cpu_count() or 1) // processes)

    def report(event: Event) -> None:
        done = total = results[event.job].frames
        if event.kind == "progress":
            done, total = event.content
        if progress is not None:
            progress(results, event.job, done, total)

    options = (format, fill_missing, smoothing, baseline, landmarks, backend, not overwrite)
    start = _Start(predictor, tuple(devices), options, threads)
    if engine == "ray":
        gpus = float(any(not device.startswith("cpu") for device in devices))
        workers = max(1, processes)
        events = run_on_ray(start, jobs, workers=workers, gpus=gpus, patience=patience, address=address)
    elif processes == 0:
        events = run_here(start, jobs, report)
    else:
        events = run_in_processes(start, jobs, processes=processes, patience=patience)
    try:
        with closing(events):
            for event in events:
                result = results[event.job]
                if event.kind == "begun":
                    result = replace(result, status="begun")
                elif event.kind == "failed":
                    result = replace(result, status="failed", error=event.content)
                elif event.kind == "done":  # a worker may know the files by other paths
                    result = replace(event.content, source=result.source, table=result.table)
                    if store is not None:
                        store.move(tables[event.job])
                results[event.job] = result
                report(event)
    finally:
        if store is not None:
            store.release(tables)
        if summary is not None:
            try:
                _write_summary(results, others, Path(summary))
            except OSError as error:
                complete = sum(one.status in ("done", "there") for one in results)
                raise ConfigError(
                    f"The summary cannot be written: {error.strerror or error}. "
                    f"{complete} of {counted(len(results), 'table')} {'is' if complete == 1 else 'are'} complete.",
                    path=summary,
                    remedy="Free some space or choose a writable path, and run the same command again.",
                ) from error
    if store is not None and summary is not None:
        store.move(Path(summary))
    return results


def _write_summary(results: Sequence[FileResult], others: Sequence[Other], path: Path) -> None:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["source", "table", "status", "frames", "failed_frames", "error"])
    for one in results:
        error = "" if one.error is None else " ".join(str(one.error).split())
        names = [printable(one.source), printable(one.table)]
        writer.writerow([*names, one.status, one.frames, one.failed, printable(error)])
    for other in others:
        writer.writerow([printable(other.path), "", other.status, 0, 0, printable(other.reason)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def limit_threads(predictor: Predictor, most: int | None = None) -> None:
    """Set the threads of torch, and of networks loaded later, to what pays for a model.

    A small model is done before its threads have met: with two threads instead of one, a network of ResNet-18's size
    took the processors more than twice the time and was no faster. `OMP_NUM_THREADS` has priority.

    Args:
        predictor: The model.
        most: Most threads of this process; None for torch's default.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    size = sum(parameter.numel() for parameter in predictor.model.parameters())
    is_small = predictor.device.type != "cpu" or size < _SMALL
    torch.set_num_threads(1 if is_small else most or torch.get_num_threads())


@dataclass(frozen=True)
class _Start:
    """Creates the handler of a worker; picklable."""

    predictor: Predictor | Callable[..., Predictor]
    devices: tuple[str, ...]
    options: tuple[Any, ...]
    threads: int | None

    def __call__(self, place: int) -> _Tables:
        predictor = self.predictor
        if not isinstance(predictor, Predictor):
            predictor = predictor(device=self.devices[place % len(self.devices)])
        if self.threads is not None:
            limit_threads(predictor, self.threads)
        return _Tables(predictor, *self.options)


@dataclass
class _Tables:
    """Writes the tables of one media after the other; arguments as in `write_predictions`."""

    predictor: Predictor
    format: str | None
    fill_missing: float | None
    smoothing: Smoothing | None
    baseline: Baseline | Literal[False] | None
    landmarks: bool
    backend: Backend
    resume: bool

    def __post_init__(self) -> None:
        about = self.predictor.metadata()  # once: it reads all the weights
        self.metadata = {
            **about,
            "smoothing": None if self.smoothing is None else self.smoothing.metadata(),
        }
        if self.landmarks and not about["measured"]:
            raise ConfigError(
                "The faces have no meshes, so there are no landmarks.",
                remedy="Find faces with meshes: --faces mesh.",
            )
        if self.landmarks:
            self.metadata["measured"] = list(LANDMARKS)
        if about["measured"] and (self.format or "").startswith("openface"):
            self.metadata["measured"] = list(OPENFACE)
        self.entry = self.predictor.describe_baseline(self.baseline)

    def __call__(self, job: tuple[Path, Path], report: Callable[[Any], None]) -> FileResult:
        source, table = job
        found = table_progress(table) if self.resume else None
        if found is not None and found.complete:
            # Opening a video reads all of it, so this compares only what is known without it.
            is_photo = found.metadata["frames"] == 1
            wanted = self._writer(table, self._describe(source, found.metadata, is_photo=is_photo)).described
            if not _differences(found.metadata, wanted):
                return self._result(source, table, found.summary, "there")
        with open_video(source, self.backend) as video:
            writer = self.write(video, table, lambda done, total: report((done, total)))
        return self._result(source, table, writer.summary, "done")

    def _describe(self, source: Path, found: Mapping[str, Any], *, is_photo: bool) -> dict[str, Any]:
        """Metadata known without the video.

        Paths do not identify a model or a file; hashes do. So a table that was started keeps its paths.
        """
        named = {"model": self.metadata["model"], "source": str(source)}
        named = {name: found.get(name, value) for name, value in named.items()}
        entry = self.entry if not is_photo or "neutral_values" in (self.entry or {}) else None
        return {**self.metadata, **named, "baseline": entry, "source_fingerprint": fingerprint(source)}

    def _writer(self, path: Path, metadata: Mapping[str, Any]) -> TableWriter:
        options: dict[str, Any] = {
            "format": self.format,
            "resume": self.resume,
            "fill_missing": self.fill_missing,
        }
        return TableWriter(path, self.predictor.columns, metadata, **options)

    def write(self, video: VideoReader, path: Path, progress: Callable[[int, int], None]) -> TableWriter:
        """Predict an opened video into a table."""
        found = table_progress(path) if self.resume else None
        before, after = self.predictor.window(video.fps)
        metadata = {
            **self._describe(
                video.path, {} if found is None else found.metadata, is_photo=video.num_frames == 1
            ),
            "fps": None if isnan(video.fps) else video.fps,
            "window_frames": {"before": before, "after": after},
        }
        if found is not None and (other := _differences(found.metadata, metadata)):
            raise ConfigError(
                f"The existing table was made with another {', '.join(other[:4])}.",
                path=path,
                remedy="Give another output, or --overwrite.",
            )
        if "neutral_seconds" in (metadata["baseline"] or {}) and not np.isfinite(video.timestamps[0]):
            raise ConfigError(
                "The frames have no times, so a neutral span in seconds is not defined.",
                path=video.path,
                remedy="Give a neutral photo.",
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
        """The rows from a frame on; earlier ones that smoothing needs are predicted again."""
        if self.smoothing is None:
            return self.predictor.predict_video(video, start=start)
        first = self.smoothing.first_needed(start, video.timestamps)
        rows = self.smoothing(self.predictor.predict_video(video, start=first))
        return (row for row in rows if row.frame >= start)

    def _result(self, source: Path, table: Path, summary: Summary, status: Status) -> FileResult:
        error = None
        if summary.failed == summary.frames and not {NO_FACE, REDUCED} & summary.failures.keys():
            reason = next(iter(summary.failures), "it has none.")
            status, error = "failed", VideoError(f"None of its frames could be read: {reason}", path=source)
        counts = (summary.frames, summary.failed)
        reduced = REDUCED in summary.failures
        return FileResult(source, table, status, *counts, error, self.predictor.warning, reduced)


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [name for name, value in plain(wanted).items() if found.get(name) != value]


class _Watched(VideoReader):
    """A video that reports each frame read: when work is continued, there are no rows for a long time."""

    def __init__(self, video: VideoReader, seen: Callable[[], None]) -> None:
        self.path, self.num_frames = video.path, video.num_frames
        self.fps, self.timestamps = video.fps, video.timestamps
        self._video, self._seen = video, seen

    def frames(self, start: int = 0) -> Iterator[tuple[int, float, Tensor]]:
        """See `VideoReader`."""
        for frame in self._video.frames(start):
            self._seen()
            yield frame

    def _decode(self, indices: Sequence[int]) -> Iterator[Any]:
        return self._video._decode(indices)
