"""Preparation of face crops, so that training does not decode, search and resize whole frames in every epoch."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from affectkit.data.shards import (
    FORMAT_VERSION,
    Manifest,
    Shard,
    load_shard,
    read_failures,
    shard_name,
)
from affectkit.data.storage import Folder
from affectkit.datasets.bases.dataset import AffectDataset
from affectkit.datasets.preparing.shards import Codec, Piece, ShardMaker
from affectkit.errors import AnnotationError, ConfigError, VideoError
from affectkit.faces import Cropper, FaceDetector, detector_name
from affectkit.workers import Handler, run_in_processes, run_on_ray

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """Content of a folder of prepared crops.

    Args:
        location: The folder.
        clips: Clips, or recordings if clips are windows of recordings.
        frames: Frames of the clips.
        failed: Unreadable frames and frames without a face; `failed.csv` in the folder lists them.
        shards: Files.
        made: Files made by this call.
        reasons: Number of failed frames per reason, the most frequent first.
    """

    location: str
    clips: int
    frames: int
    failed: int
    shards: int
    made: int
    reasons: dict[str, int]


def prepare(
    dataset: AffectDataset,
    out: str | Path,
    *,
    size: int = 256,
    crop: str | None = None,
    margin: float = 0.15,
    detector: FaceDetector | None = None,
    codec: Codec = "jpeg",
    quality: int = 95,
    fill: int = 12,
    workers: int = 0,
    shard_frames: int = 1024,
    retry: bool = False,
    engine: Literal["processes", "ray"] = "processes",
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Align, crop and compress every frame of a dataset, for the option `prepared` of datasets.

    An interrupted run continues with the same call: finished files are kept, and the result is identical to the byte.
    Unreadable frames and frames without a face become rows without a picture, with the reason.

    Faces are aligned by eyes, nose and mouth corners (`affectkit.faces.face_transform`): each frame by itself or, if
    the dataset's `align_per` is "clip", all frames of a clip like its onset.

    Args:
        dataset: The corpus; the frames of all its clips are prepared.
        out: Folder or URI to write, see `affectkit.data.shards`.
        size: Side of the pictures in pixels.
        crop: Face search, see `affectkit.faces.Cropper`; the dataset's `crop` by default.
        margin: Margin at each side of the tight picture of a face, as a share of its side.
        detector: Face detector for frames without landmarks.
        codec: Compression; "png" is lossless.
        quality: 1 to 100, for "jpeg" and "webp".
        fill: A frame without a face takes the place of the nearest frame with one, at most this many frames away in
            its recording; 0 leaves it without a picture.
        workers: Number of processes; 0 uses the current one.
        shard_frames: Approximate frames per file.
        retry: Make files with failed frames again.
        engine: "processes" on this machine, or "ray": at least one worker, on a cluster whose machines all have access
            to the corpus and `out`, or on this machine; see `affectkit.workers.run_on_ray`.
        progress: Called with the numbers of finished frames and of all frames.

    Raises:
        ConfigError: There are neither landmarks nor a detector, the folder holds crops of other settings or of another
            state of the corpus, or an argument is out of range.
        VideoError: The manifest in the folder cannot be read.
        StorageError: The folder cannot be reached, read or written.
    """
    if codec not in get_args(Codec) or not 1 <= quality <= 100 or shard_frames < 1 or min(workers, fill) < 0:
        raise ConfigError(
            f"An argument is out of range: codec {codec!r}, quality {quality}, shard_frames {shard_frames}, fill {fill}"
            f" or workers {workers}.",
            remedy=f"Use codec {', '.join(get_args(Codec))}, quality 1 to 100, shard_frames of at least 1.",
        )
    crop = dataset.crop if crop is None else crop
    cropper = Cropper(crop, size, margin, detector)
    _require_faces(dataset, cropper)
    folder = Folder(out)
    settings = {
        "format_version": FORMAT_VERSION,
        "corpus": dataset.name,
        "options": {name: getattr(dataset, name) for name in dataset.media_options},
        "size": size,
        "crop": crop,
        "margin": margin,
        "detector": None if detector is None else detector_name(detector),
        "codec": codec,
        "quality": None if codec == "png" else quality,
        "align_per": dataset.align_per,
        "fill": fill,
        "shard_frames": shard_frames,
    }
    plan = _plan_shards(dataset, shard_frames)
    digest = hashlib.sha256(json.dumps([settings, plan]).encode()).hexdigest()
    done = _find_finished(folder, settings, digest, plan)
    if retry:
        done = {number: shard for number, shard in done.items() if not shard.failed}
    todo = {number: pieces for number, pieces in enumerate(plan) if number not in done}
    if todo:  # settings.json marks an unfinished folder, manifest.json a finished one
        folder.write("settings.json", json.dumps({"settings": settings, "plan": digest}).encode() + b"\n")
        folder.delete("manifest.json")
    total = sum(len(piece.frames) for pieces in plan for piece in pieces)
    count = sum(shard.rows for shard in done.values())
    report = progress or (lambda frames, total: None)
    report(count, total)
    shards = dict(done)
    maker = ShardMaker(dataset, cropper, codec, quality, fill, folder, digest)
    for number, shard in _make_shards(maker, todo, workers, engine):
        shards[number] = shard
        count += shard.rows
        report(count, total)
    manifest = Manifest(dataset.name, settings, digest, tuple(shards[number] for number in sorted(shards)))
    reasons = _write_report(folder, manifest)
    folder.write("manifest.json", manifest.to_json())
    folder.delete("settings.json")
    clips = len({piece.clip for pieces in plan for piece in pieces})
    return Prepared(folder.location, clips, manifest.rows, manifest.failed, len(shards), len(todo), reasons)


def _require_faces(dataset: AffectDataset, cropper: Cropper) -> None:
    """Raise a ConfigError if no frame could be aligned."""
    if not cropper.aligns or (cropper.detector is not None and cropper.crop != "landmarks"):
        return
    for record in {dataset.crop_key(record): record for record in reversed(dataset.clips)}.values():
        try:
            if dataset.landmarks(record, [record.start]) is not None:
                return
        except AnnotationError:  # damaged landmarks, which the report lists
            return
    raise ConfigError(
        f"{dataset.name} has no landmarks here, and there is no face detector.",
        path=dataset.root,
        remedy="Use the face detector (omit --detector and --crop), or give --crop none for cropped pictures, --crop "
        "center or --crop x,y,w,h.",
    )


def _plan_shards(dataset: AffectDataset, shard_frames: int) -> list[list[Piece]]:
    """Divide all frames among files, deterministically."""
    firsts: dict[str, int] = {}
    frames: dict[str, set[int]] = {}
    for index, record in enumerate(dataset.clips):
        key = dataset.crop_key(record)
        firsts.setdefault(key, index)
        try:
            length = dataset.length(index)
        except VideoError:  # reading its first frame reports the reason
            length = 1
        frames.setdefault(key, set()).update(range(record.start, record.start + length))
    if not firsts:
        raise ConfigError(f"{dataset.name} has no clips here.", path=dataset.root, remedy="Check its root.")
    plan: list[list[Piece]] = []
    room = 0
    for key, index in firsts.items():
        left = tuple(sorted(frames[key]))
        # The frames of a clip that is aligned as a whole stay together.
        step = shard_frames if dataset.align_per == "frame" else len(left)
        for start in range(0, len(left), step):
            piece = Piece(index, key, left[start : start + step])
            if not plan or len(piece.frames) > room:
                plan.append([])
                room = shard_frames
            plan[-1].append(piece)
            room -= len(piece.frames)
    return plan


def _find_finished(
    folder: Folder, settings: Mapping[str, Any], digest: str, plan: Sequence[Sequence[Piece]]
) -> dict[int, Shard]:
    """Finished files in the folder by number, after a check of its content."""
    strange = sorted(set(folder.names()) - {"manifest.json", "settings.json", "failed.csv", "shards"})
    if strange:
        fault = f"The folder contains other files: {', '.join(strange[:5])}."
        raise ConfigError(fault, path=folder.location, remedy="Choose a new folder.")
    folder.clear_partial()
    try:
        content, unfinished = folder.read("manifest.json"), folder.read("settings.json")
        manifest = None if content is None else Manifest.from_json(content)
        known = json.loads(unfinished)["settings"] if unfinished is not None and manifest is None else {}
        known = known if manifest is None else manifest.settings
    except (ValueError, KeyError, TypeError) as error:
        fault = f"Its manifest.json or settings.json cannot be read ({error})."
        remedy = "Delete both if the folder holds prepared crops: the manifest is made again."
        raise VideoError(fault, path=folder.location, remedy=remedy) from error
    other = [name for name in settings if known and known.get(name) != settings[name]]
    if other:
        there, asked = (", ".join(f"{name} {of.get(name)!r}" for name in other) for of in (known, settings))
        fault = f"The crops there were made with {there}, not {asked}."
        raise ConfigError(fault, path=folder.location, remedy="Choose another folder, or the same settings.")
    listed = {} if manifest is None or manifest.plan != digest else dict(enumerate(manifest.shards))
    done = {}
    for number, size in enumerate(folder.sizes([shard_name(number) for number in range(len(plan))])):
        shard = listed.get(number)
        if shard is None or shard.bytes != size:
            found = None if size is None else load_shard(folder, number)
            shard = None if found is None else found[0]
            if found is not None and found[1] != digest:
                fault = "The crops there were made from another state of the corpus."
                raise ConfigError(
                    fault, path=folder.location, remedy="Choose another folder, or delete this one."
                )
        if shard is not None:
            done[number] = shard
    return done


def _make_shards(
    maker: ShardMaker, todo: Mapping[int, Sequence[Piece]], workers: int, engine: str
) -> Iterator[tuple[int, Shard]]:
    """Make files in order of completion, each by one worker."""
    numbers, jobs = list(todo), list(todo.items())
    if engine != "ray" and (workers == 0 or len(todo) < 2):
        yield from ((number, maker(*job)) for number, job in zip(numbers, jobs, strict=True))
        return
    try:
        pickle.dumps(maker.cropper.detector)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        fault = f"The face detector cannot be sent to other processes ({error})."
        raise ConfigError(fault, remedy="Use --workers 0.") from error
    if engine == "ray":
        events = run_on_ray(_Start(maker), jobs, workers=max(1, workers))
    else:
        events = run_in_processes(_Start(maker), jobs, processes=workers)
    with closing(events):
        for event in events:
            if event.kind == "failed":
                raise event.content
            if event.kind == "done":
                yield numbers[event.job], event.content


@dataclass(frozen=True)
class _Start:
    """Starts a worker."""

    maker: ShardMaker

    def __call__(self, place: int) -> Handler:
        torch.set_num_threads(1)
        return lambda job, report: self.maker(*job)


def _write_report(folder: Folder, manifest: Manifest) -> dict[str, int]:
    """Write `failed.csv`, and count the reasons."""
    failed = (shard for shard in manifest.shards if shard.failed)
    lines = [(*failure, shard.name) for shard in failed for failure in read_failures(folder, shard)]
    if lines:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("clip", "frame", "reason", "shard"), *lines])
        folder.write("failed.csv", text.getvalue().encode())
    else:
        folder.delete("failed.csv")
    return dict(Counter(reason for _, _, reason, _ in lines).most_common())
