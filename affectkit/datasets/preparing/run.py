"""Crops of faces made once, so that training need not decode, search and shrink whole frames at every pass."""

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

from affectkit.data.record import ClipRecord
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
    """What a folder of prepared crops holds now.

    Args:
        location: Where it is.
        clips: Clips, or recordings where clips are windows of them.
        frames: Their frames.
        failed: Frames that could not be read or show no face; `failed.csv` in the folder lists them.
        shards: Files.
        made: Files that were made just now; the others were there.
        reasons: How many frames failed for each reason, the most frequent first.
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
    """Align, crop and compress every frame of a dataset into the files that `prepared=` of every dataset reads.

    A run that was killed goes on with the same call: finished files are kept, and the result is the same to the byte.
    The originals are only read. What cannot be read, or shows no face, is a row without picture that says why.

    Faces are brought to one place by their eyes, nose and mouth corners (`affectkit.faces.face_transform`): each frame
    for itself, or, where the dataset's `align_per` is "clip", all frames of a clip as its onset is.

    Args:
        dataset: The corpus; of its clips, all frames that any of them covers.
        out: Folder or URI to write, see `affectkit.data.shards`.
        size: Pixels of the pictures' sides.
        crop: How the face is found, see `affectkit.faces.Cropper`; the dataset's `crop` by default.
        margin: What is added around the tight picture of a face, as a share of its side, at each side.
        detector: Finds faces in frames without landmarks.
        codec: How pictures are compressed; "png" loses nothing.
        quality: 1 to 100, of "jpeg" and "webp".
        fill: A frame without a face takes the place of the nearest one with a face, at most so many frames away in
            its recording; 0 leaves it without picture.
        workers: Processes; 0 works in this one.
        shard_frames: Frames a file, about.
        retry: Make files again that hold frames without a picture.
        engine: "processes" of this machine, or "ray": at least one worker, on a cluster whose machines all see the
            corpus and `out`, or on this machine; see `affectkit.workers.run_on_ray`.
        progress: Called with the frames done and all frames.

    Raises:
        ConfigError: The corpus has no landmarks and there is no detector; the folder holds crops of other settings
            or of another state of the corpus; an argument is out of range.
        VideoError: The manifest in the folder cannot be read.
    """
    if codec not in get_args(Codec) or not 1 <= quality <= 100 or shard_frames < 1 or min(workers, fill) < 0:
        raise ConfigError(
            f"codec {codec!r}, quality {quality}, shard_frames {shard_frames}, fill {fill} and workers {workers} "
            "do not work together.",
            remedy=f"Use codec {', '.join(get_args(Codec))}, quality 1 to 100, a frame a file or more.",
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
    plan = _plan(dataset, shard_frames)
    digest = hashlib.sha256(json.dumps([settings, plan]).encode()).hexdigest()
    done = _finished(folder, settings, digest, plan)
    if retry:
        done = {number: shard for number, shard in done.items() if not shard.failed}
    todo = {number: pieces for number, pieces in enumerate(plan) if number not in done}
    if todo:  # a folder without a manifest is unfinished; what it will hold stands in the settings
        folder.write("settings.json", json.dumps({"settings": settings, "plan": digest}).encode() + b"\n")
        folder.delete("manifest.json")
    total = sum(len(piece.frames) for pieces in plan for piece in pieces)
    count = sum(shard.rows for shard in done.values())
    report = progress or (lambda frames, total: None)
    report(count, total)
    shards = dict(done)
    maker = ShardMaker(dataset, cropper, codec, quality, fill, folder, digest)
    for number, shard in _make(maker, todo, workers, engine):
        shards[number] = shard
        count += shard.rows
        report(count, total)
    manifest = Manifest(dataset.name, settings, digest, tuple(shards[number] for number in sorted(shards)))
    reasons = _write_report(folder, manifest)
    folder.write("manifest.json", manifest.to_json())
    folder.delete("settings.json")
    clips = len({piece.clip for pieces in plan for piece in pieces})
    return Prepared(str(out), clips, manifest.rows, manifest.failed, len(shards), len(todo), reasons)


def _require_faces(dataset: AffectDataset, cropper: Cropper) -> None:
    """Stop before anything is made where no frame could be aligned."""
    if not cropper.aligns or (cropper.detector is not None and cropper.crop != "landmarks"):
        return
    firsts = {dataset.crop_key(record): record for record in reversed(dataset.clips)}
    if not any(_has_landmarks(dataset, record) for record in firsts.values()):
        raise ConfigError(
            f"{dataset.name} comes without landmarks here, and there is no face detector for it.",
            path=dataset.root,
            remedy="Have faces detected (leave --detector and --crop out), or give --crop none for pictures that are "
            "cropped already, --crop center or --crop x,y,w,h.",
        )


def _has_landmarks(dataset: AffectDataset, record: ClipRecord) -> bool:
    try:
        return dataset.landmarks(record, [record.start]) is not None
    except AnnotationError:  # there are some; which are damaged, the report will say
        return True


def _plan(dataset: AffectDataset, shard_frames: int) -> list[list[Piece]]:
    """Divide all frames among files, the same way every time."""
    firsts: dict[str, int] = {}
    frames: dict[str, set[int]] = {}
    for index, record in enumerate(dataset.clips):
        key = dataset.crop_key(record)
        firsts.setdefault(key, index)
        try:
            length = dataset.length(index)
        except VideoError:  # reading its first frame will say why
            length = 1
        frames.setdefault(key, set()).update(range(record.start, record.start + length))
    if not firsts:
        raise ConfigError(f"{dataset.name} has no clips here.", path=dataset.root, remedy="Check its root.")
    plan: list[list[Piece]] = []
    room = 0
    for key, index in firsts.items():
        left = tuple(sorted(frames[key]))
        # The frames of a clip with one place stay together, as they need its onset.
        step = shard_frames if dataset.align_per == "frame" else len(left)
        for start in range(0, len(left), step):
            piece = Piece(index, key, left[start : start + step])
            if not plan or len(piece.frames) > room:
                plan.append([])
                room = shard_frames
            plan[-1].append(piece)
            room -= len(piece.frames)
    return plan


def _finished(
    folder: Folder, settings: Mapping[str, Any], digest: str, plan: Sequence[Sequence[Piece]]
) -> dict[int, Shard]:
    """The files that are there already, by number.

    Raises:
        ConfigError: The folder holds something else.
    """
    strange = sorted(set(folder.names()) - {"manifest.json", "settings.json", "failed.csv", "shards"})
    if strange:
        fault = f"There are other files in it: {', '.join(strange[:5])}."
        raise ConfigError(fault, path=folder.location, remedy="Give a new folder.")
    folder.clear_partial()
    manifest = None
    try:
        content = folder.read("manifest.json")
        manifest = None if content is None else Manifest.from_json(content)
        unfinished = folder.read("settings.json")
        known = {} if unfinished is None else json.loads(unfinished)["settings"]
        known = dict(known if manifest is None else manifest.settings)
    except (ValueError, KeyError, TypeError) as error:
        fault = f"Its manifest.json or settings.json cannot be read ({error})."
        remedy = "Delete both if the folder holds prepared crops: the manifest is made anew."
        raise VideoError(fault, path=folder.location, remedy=remedy) from error
    other = [name for name in settings if known and known.get(name) != settings[name]]
    if other:
        there, asked = ([f"{name} {of.get(name)!r}" for name in other] for of in (known, settings))
        raise ConfigError(
            f"The crops there were made with {', '.join(there)}, not {', '.join(asked)}.",
            path=folder.location,
            remedy="Give another folder, or the same settings.",
        )
    by_number = {} if manifest is None or manifest.plan != digest else dict(enumerate(manifest.shards))
    sizes = folder.sizes([shard_name(number) for number in range(len(plan))])
    done = {}
    for number, size in enumerate(sizes):
        shard = by_number.get(number)
        if shard is None or shard.bytes != size:
            found = None if size is None else load_shard(folder, number)
            shard = None if found is None else found[0]
            if found is not None and found[1] != digest:
                raise ConfigError(
                    "The crops there are of another state of the corpus: its frames have changed since.",
                    path=folder.location,
                    remedy="Give another folder, or delete this one.",
                )
        if shard is not None:
            done[number] = shard
    return done


def _make(
    maker: ShardMaker, todo: Mapping[int, Sequence[Piece]], workers: int, engine: str
) -> Iterator[tuple[int, Shard]]:
    """Make files, each by one worker, as they are finished."""
    numbers, jobs = list(todo), list(todo.items())
    if engine != "ray" and (workers == 0 or len(todo) < 2):
        yield from ((number, maker(*job)) for number, job in zip(numbers, jobs, strict=True))
        return
    try:
        pickle.dumps(maker.cropper.detector)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        fault = f"The face detector cannot be sent to other processes ({error})."
        raise ConfigError(fault, remedy="Give --workers 0.") from error
    start = _Start(maker)
    events = (
        run_on_ray(start, jobs, workers=max(1, workers))
        if engine == "ray"
        else run_in_processes(start, jobs, processes=workers)
    )
    with closing(events):
        for event in events:
            if event.kind == "failed":
                raise event.content
            if event.kind == "done":
                yield numbers[event.job], event.content


@dataclass(frozen=True)
class _Start:
    """Begins the work of a worker."""

    maker: ShardMaker

    def __call__(self, place: int) -> Handler:
        torch.set_num_threads(1)
        return lambda job, report: self.maker(*job)


def _write_report(folder: Folder, manifest: Manifest) -> dict[str, int]:
    """List the frames without a picture, and count their reasons."""
    lines = [
        (*failure, shard.name)
        for shard in manifest.shards
        if shard.failed
        for failure in read_failures(folder, shard)
    ]
    if lines:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("clip", "frame", "reason", "shard"), *lines])
        folder.write("failed.csv", text.getvalue().encode())
    else:
        folder.delete("failed.csv")
    return dict(Counter(reason for _, _, reason, _ in lines).most_common())
