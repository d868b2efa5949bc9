"""Format of the pictures that a model is trained on, as its data make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import isfinite
from statistics import median
from typing import Any, Final, NamedTuple

import torch

from affectkit.data import Clip, is_same_setting
from affectkit.data.video import open_video
from affectkit.datasets.bases.dataset import AffectDataset
from affectkit.errors import AnnotationError, ConfigError, VideoError
from affectkit.faces import FacePicture, estimate_similarity, face_landmarks, margin_of

__all__ = ["find_format", "join_formats"]

_FRAME: Final = (960, 1280)  # height and width that stand for frames of unknown size
_SAMPLED: Final = 16  # clips from which the frame rate is estimated


class _Result(NamedTuple):
    """What a transform makes of a clip: frames, height, width, and the scale of the face."""

    frames: int
    height: int
    width: int
    scale: float


def find_format(
    train: AffectDataset, evaluation: AffectDataset, frames: int | None, *, has_pictures: bool
) -> dict[str, Any]:
    """Fields of `affectkit.models.InputSpec` that the data determine.

    A clip with a face at the known place goes through the transform of evaluation, in which training augmentation has
    its mean; number of frames, size and margin are read from the result. The frame rate is the median rate at which the
    clips are sampled.

    Args:
        train: Training clips.
        evaluation: Clips with the transform of evaluation.
        frames: Frames sampled per training clip; None if the number varies.
        has_pictures: Whether the model reads pictures.

    Returns:
        `frames`, `fps`, `size` (an integer, or "height × width" of pictures that are not square), `alignment` and
        `crop_margin`, without those that the data do not determine.

    Raises:
        ConfigError: Training and evaluation make pictures of different sizes.
    """
    place = evaluation.face_picture
    found: dict[str, Any] = {}
    known = place if isinstance(place, FacePicture) else None
    result = _transformed(evaluation, known, frames or 1)
    if frames is not None and result is not None:
        found["frames"] = result.frames
    if frames is None or frames > 1:
        found |= _sampled_rate(train)
    if not has_pictures:
        return found
    if result is not None and (known is not None or (result.height, result.width) != _FRAME):
        found["size"] = _side(result)  # a transform that keeps the size leaves it unknown
        trained = _transformed(train, known, frames or 1)
        if trained is not None and _side(trained) != found["size"]:
            raise ConfigError(
                f"Training makes pictures of {_side(trained)} pixels, evaluation of {found['size']}.",
                remedy="Leave out `size` of the data, or give `train_transform` and `eval_transform` the same size.",
            )
    if known is not None and result is not None:
        tight = result.scale * known.size / (1 + 2 * margin_of(known))
        found |= {
            "alignment": known.alignment,
            "crop_margin": round((result.height / tight - 1) / 2, 4),
        }
    elif place == "frame":
        found |= {"alignment": "frame", "crop_margin": None}
    return found


def join_formats(formats: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Common format of the sources of a mixture; length and frame rate are those of the longest clips.

    Args:
        formats: Results of `find_format` by source.

    Raises:
        ConfigError: Two sources place faces differently, or give pictures of different sizes.

    Example:
        >>> join_formats({"a": {"frames": 8, "size": 64}, "b": {"frames": 1, "alignment": "box"}})
        {'frames': 8, 'size': 64, 'alignment': 'box'}
    """
    longest = max(formats.values(), key=lambda found: found.get("frames", 0))
    joined = {key: longest[key] for key in ("frames", "fps") if key in longest}
    for key in ("size", "alignment", "crop_margin"):
        having = {name: found[key] for name, found in formats.items() if key in found}
        (first, value), *others = having.items() or [("", None)]
        for name, other in others:
            if not is_same_setting(value, other):
                raise ConfigError(
                    f"The sources give pictures of different {key}: {first} {value}, {name} {other}.",
                    remedy="Prepare all of them in the same way: `crop_faces: true`, or `affectkit data prepare`.",
                )
        joined |= {key: value} if having else {}
    return joined


def _side(result: _Result) -> int | str:
    """Side of square pictures, otherwise height and width."""
    square = result.height == result.width
    return result.height if square else f"{result.height} × {result.width}"


def _transformed(dataset: AffectDataset, place: FacePicture | None, frames: int) -> _Result | None:
    """Result of a dataset's transform for its first labels; None if it does not accept a frame of unknown size."""
    transform, record = dataset.transform, dataset.clips[0]
    height, width = _FRAME if place is None else (place.size, place.size)
    points = torch.zeros(68, 2) if place is None else face_landmarks(place)
    clip = Clip.make(
        torch.zeros(frames, 3, height, width, dtype=torch.uint8),
        dataset.annotate(record, [record.start] * frames),
        landmarks=points.expand(frames, 68, 2),
        landmarks_mask=torch.ones(frames, 68, dtype=torch.bool),
    )
    try:
        made = clip if transform is None else transform(clip)
    except ConfigError:
        if place is not None:
            raise
        return None
    scale = 1.0 if place is None else estimate_similarity(points, made.landmarks[-1])[0, :2].norm()
    return _Result(len(made.frames), made.frames.shape[-2], made.frames.shape[-1], float(scale))


def _sampled_rate(dataset: AffectDataset) -> dict[str, float]:
    """Median rate at which evenly chosen clips are sampled; empty if no clip states its frame rate."""
    step = max(1, len(dataset) // _SAMPLED)
    rates = [_rate(dataset, index) for index in range(0, len(dataset), step)[:_SAMPLED]]
    known = [rate for rate in rates if rate is not None]
    return {"fps": round(median(known), 3)} if known else {}


def _rate(dataset: AffectDataset, index: int) -> float | None:
    """Rate at which a clip is sampled, in frames per second; None if unknown."""
    record = dataset.clips[index]
    with suppress(VideoError, AnnotationError):
        keys = [None if key is None else key - record.start for key in dataset.sampling_keys(record)]
        places: Sequence[int] = dataset.sampler(
            dataset.length(index), onset=keys[0], apex=keys[1], offset=keys[2]
        )
        span = places[-1] - places[0]
        if span < 1:
            return None
        fps = record.fps
        if fps is None:
            with open_video(record.path, dataset.backend) as video:
                fps = video.fps
        return fps * (len(places) - 1) / span if isfinite(fps) and fps > 0 else None
    return None
