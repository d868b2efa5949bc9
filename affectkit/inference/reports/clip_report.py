"""Predictions for a clip as one HTML page: video and timelines move together."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video import Backend, open_video
from affectkit.errors import ConfigError
from affectkit.inference.pictures.clip_table import ClipTable, Signal, Stretches
from affectkit.inference.pictures.drawing import Draw, Drawing, Line
from affectkit.inference.pictures.overlay import first_size
from affectkit.inference.reports.page_media import (
    EMBED_MB,
    TEMPLATES,
    Embed,
    PageMedia,
    page_media,
    render_page,
)
from affectkit.inference.wording import counted

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["ClipReport", "write_clip_report"]

_FACES: Final = 12  # faces on the page, those with most frames
_CELLS: Final = 2_000_000  # values for the readout: 5 MB of the page
_SCALE: Final = 65_534  # of values as 16-bit numbers; one more means that there is none
_GROUPS: Final = {
    "unit": "Action units",
    "intensity": "Intensities",
    "dimension": "Dimensions",
    "expression": "Expressions",
}


@dataclass(frozen=True, slots=True)
class ClipReport:
    """Result of `write_clip_report`.

    Args:
        path: The page.
        media: Media on the page.
        notes: Notes for the user, a sentence each; they are on the page too.
    """

    path: Path
    media: PageMedia | None
    notes: tuple[str, ...] = ()


def write_clip_report(
    table: ClipTable | DataFrame | str | Path,
    path: str | Path,
    *,
    video: str | Path | None = None,
    draw: Sequence[Draw] = (),
    title: str | None = None,
    embed: Embed = "auto",
    limit_mb: float = EMBED_MB,
    backend: Backend = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> ClipReport:
    """Write a page that needs no network, and no other file except a video that is too large to embed.

    Pointing at the timeline shows that frame of the video; while the video plays, a line moves through the timeline
    and bars show the values of the frame. Timelines of long clips are thinned to stretches of frames with their lowest
    and highest values; the page says so.

    Args:
        table: Predictions; see `ClipTable`.
        path: The page, a name that ends in .html; its folder is created if missing.
        video: The photo, video or folder of frames that the table was made from; None for a page without it.
        draw: Parts to draw onto the faces, as in `write_overlay`.
        title: Heading; by default the name of the media.
        embed: "auto" embeds a video of at most `limit_mb`, "always" any video, "never" links it by its relative path.
            What browsers do not play is copied as H.264.
        limit_mb: Size limit in units of 10⁶ bytes.
        backend: Reader of video files.
        progress: Called with the numbers of frames copied and in all, if a copy is made.

    Raises:
        ConfigError: The table is not of this video or lacks columns to draw, there is no video to draw on, or the file
            name is invalid.
        VideoError: The media cannot be read.
        AnnotationError: The table cannot be used.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"frame": [0, 1], "timestamp": [0.0, 0.04], "success": True, "AU12": [0.2, 0.75]})
        >>> write_clip_report(table, getfixture("tmp_path") / "smile.html").path.name
        'smile.html'
    """
    clip = table if isinstance(table, ClipTable) else ClipTable(table)
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{path.name!r} is not the name of a page.", remedy="Use the suffix .html.")
    if draw and video is None:
        raise ConfigError(
            "There is no video or photo to draw on.", path=path, remedy="Give the media of the table."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    media, drawing, frames = None, None, len(clip)
    with nullcontext() if video is None else open_video(video, backend) as reader:
        if reader is not None:
            clip.check_video(reader)
            frames = reader.num_frames
            drawing = Drawing(clip, draw, first_size(reader)) if draw else None
            media = page_media(reader, path, embed=embed, limit_mb=limit_mb, progress=progress)
    shown = sorted(sorted(clip.faces, key=lambda face: -int(clip.present(face).sum()))[:_FACES])
    readout = _readout(clip, shown, drawing) | {
        "offset": media.offset if media else 0.0,
        "width": media.width if media else 0,
    }
    most = 600 if len(shown) <= 3 else 300
    faces = [_face(clip, face, clip.stretches(face, most)) for face in shown or [-1]]
    notes = _notes(clip, frames, faces[0]["per_stretch"], readout["step"], len(shown))
    name = Path(str(video)).name if video is not None else clip.name or "Predictions"
    script = (TEMPLATES / "clip.js").read_text(encoding="utf-8")
    page = render_page(
        "clip.html",
        script=script,
        title=title or name,
        warning=clip.warning,
        caution=clip.caution,
        counted=counted,
        media=media,
        still=len(clip) == 1,
        timed=clip.timed,
        ticks=_ticks(clip),
        count=len(clip.times[:: readout["step"]]),
        faces=faces,
        notes=notes,
        facts=_facts(clip, frames, name, media),
        metadata=json.dumps(dict(clip.metadata), indent=2, ensure_ascii=False, default=str),
        readout=readout,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )
    path.write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")
    return ClipReport(path, media, tuple(notes))


def _readout(clip: ClipTable, faces: list[int], drawing: Drawing | None = None) -> dict[str, Any]:
    """Values of every `step`-th frame for the script of the page."""
    there = [np.flatnonzero(clip.present(face)) for face in faces]
    spans = [(int(one[0]), int(one[-1]) + 1) if len(one) else (0, 0) for one in there]
    courses = {} if drawing is None else {face: drawing.over_time(clip, face) for face in faces}
    points = next((course.shape[1] for course in courses.values()), 0)
    largest = max((float(np.nanmax(np.abs(one), initial=0)) for one in courses.values()), default=0.0)
    grain = max(largest, 1.0) / 32767  # pixels of one step
    cells = sum(end - start for start, end in spans) * max(1, len(clip.signals) + 2 * points)
    step = max(1, -(-cells // _CELLS))
    sentences: dict[str, int] = {}  # each once, by its place
    listed = []
    for face, (start, end) in zip(faces, spans, strict=True):
        first = -(-start // step)
        kept = slice(first * step, end, step)
        values, boxes = clip.values(face)[kept], clip.boxes(face)[kept]
        shares = np.stack(
            [s.scale(values[:, k]) for k, s in enumerate(clip.signals)] or [values[:, :0]], axis=-1
        )
        coded = np.where(np.isnan(values), _SCALE + 1, shares * _SCALE)
        edges = np.where(np.isnan(boxes), -32768, np.clip(boxes, -32767, 32767)).round()
        boxed = np.isfinite(boxes).any()
        said = [sentences.setdefault(text, len(sentences)) for text in clip.sentences(face)[kept]]
        steps = courses[face][kept] / grain if courses else np.empty(0)
        steps = np.where(np.isnan(steps), -32768, steps).round()
        listed.append(
            {
                "id": face,
                "first": first,
                "values": _binary(coded.round().astype("<u2")),
                "boxes": _binary(edges.astype("<i2")) if boxed else "",
                "points": _binary(steps.astype("<i2")),
                "said": _binary(np.array(said, "<i4")) if any(sentences) else "",
            }
        )
    reasons = list(dict.fromkeys(clip.reasons.values()))[:254]
    why = np.zeros(len(clip), np.uint8)
    for place, reason in clip.reasons.items():
        why[place] = reasons.index(reason) + 1 if reason in reasons else 255
    names = ("name", "kind", "low", "top", "threshold")
    return {
        "times": _binary(clip.times[::step].astype("<f8")),
        "frames": _binary(clip.frames[::step].astype("<i4")),
        "start": float(clip.times[0]),
        "end": clip.end,
        "interval": clip.interval,
        "timed": clip.timed,
        "signals": [{name: getattr(signal, name) for name in names} for signal in clip.signals],
        "faces": listed,
        "lines": [_line(line) for line in (drawing.lines if drawing else ())],
        "points": points,
        "grain": grain,
        "sentences": list(sentences),
        "reasons": reasons,
        "why": _binary(why[::step]) if reasons else "",
        "scale": _SCALE,
        "step": step,
    }


def _line(line: Line) -> dict[str, Any]:
    return {"places": line.places, "color": "#{:02x}{:02x}{:02x}".format(*line.color), "wide": line.wide}


def _binary(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _face(clip: ClipTable, face: int, course: Stretches) -> dict[str, Any]:
    """The timelines of one face."""
    start, span = course.edges[0], course.edges[-1] - course.edges[0]
    x = ((course.edges - start) / span * 1000).round(1)
    stops = [
        f"transparent 0 {100 * (a - start) / span:.2f}%, #000 0 {100 * (b - start) / span:.2f}%, "
        for a, b in course.gaps
    ]
    values = clip.values(face)
    groups: dict[str, list[dict[str, Any]]] = {}
    for k, signal in enumerate(clip.signals):
        known = clip.metadata.get("heads") and signal.kind in ("unit", "expression")
        title = f"{_GROUPS[signal.kind]}: {'probability, ' if known else ''}{signal.low:g} to {signal.top:g}"
        strip = _strip(signal, values[:, k], course, k, x) | {"index": k, "signal": signal}
        groups.setdefault(title, []).append(strip)
    return {
        "id": face,
        "present": int(clip.present(face).sum()),
        "groups": groups,
        "gaps": f"linear-gradient(to right, {''.join(stops)}transparent 0 100%)",
        "per_stretch": course.frames,
    }


def _strip(
    signal: Signal, values: NDArray[np.float32], course: Stretches, k: int, x: NDArray[np.float64]
) -> dict[str, Any]:
    """One value over time as paths, and its statistics."""
    known = values[np.isfinite(values)]
    peak = int(np.nanargmax(values)) if len(known) else None
    level = signal.threshold
    return {
        "high": _steps(x, signal.scale(course.high[:, k])),
        "low": _steps(x, signal.scale(course.low[:, k])) if course.frames > 1 else "",
        "line": None if level is None else round(100 - 100 * float(signal.scale(level)), 2),
        "share": None if level is None or not len(known) else float((known >= level).mean()),
        "mean": float(known.mean()) if len(known) else None,
        "peak": None if peak is None else float(values[peak]),
        "peak_at": peak,
    }


def _steps(x: NDArray[np.float64], heights: NDArray[np.float32]) -> str:
    """The area under a step curve, in a picture of 1000 × 100; nothing where a height is NaN."""
    y = np.append(np.round(100 - 100 * heights, 1), np.nan)
    path, before = "", np.nan
    for left, now in zip(x.tolist(), y.tolist(), strict=True):
        if now == before or (now != now and before != before):  # NaN differs from itself
            continue
        path += f"H{left:g}" if before == before else f"M{left:g} 100"
        path += f"V{now:g}" if now == now else "V100Z"
        before = now
    return path


def _ticks(clip: ClipTable) -> list[str]:
    """Five times, or frame numbers."""
    places = np.linspace(clip.times[0], clip.end, 5)
    if not clip.timed:
        return [f"{value:.0f}" for value in np.linspace(clip.frames[0], clip.frames[-1] + 1, 5)]
    if clip.end - clip.times[0] < 60:
        return [f"{place:.1f} s" if clip.end >= 5 else f"{place:.2f} s" for place in places]
    return [f"{int(place) // 60}:{int(place) % 60:02d}" for place in places]


def _notes(clip: ClipTable, frames: int, per_stretch: int, step: int, shown: int) -> list[str]:
    most = "the one with most frames is" if shown == 1 else f"the {shown} with most frames are"
    there, all_frames = f"{len(clip):,}", counted(frames, "frame", grouped=True)
    said = {
        f"The table was interrupted: it ends at frame {clip.frames[-1]:,}.": clip.metadata.get("complete")
        is False,
        f"The table has {there} of {all_frames} of the video.": len(clip) < frames,
        "No face has values in this clip.": not clip.faces,
        f"The {there} frames are drawn as stretches of {per_stretch}: dark up to the lowest value of a stretch, "
        "light up to the highest.": per_stretch > 1,
        f"Numbers beside the timelines are those of one frame in {step}.": step > 1,
        f"Of {len(clip.faces)} faces, {most} shown.": len(clip.faces) > max(1, shown),
        "The media gives no times; frames are numbered.": not clip.timed and len(clip) > 1,
    }
    return [*clip.notes, *(note for note, holds in said.items() if holds)]


def _facts(clip: ClipTable, frames: int, name: str, media: PageMedia | None) -> dict[str, str]:
    """Provenance of the numbers."""
    about = clip.metadata
    common = Counter(clip.reasons.values()).most_common(5)
    why = ", ".join(f"{reason.rstrip('.')}: {count:,}" for reason, count in common)
    heads = []
    for head, said in (about.get("heads") or {}).items():
        by = f", by {said['answers_by']}" if said.get("answers_by") else ""
        heads.append(f"{head}: {said.get('values', 'values')}{by}")
    faces = about.get("faces")
    if isinstance(faces, Mapping) and faces.get("detector"):
        alignment = str(faces.get("alignment")).replace("_", " and ")
        faces = f"found by {faces['detector']}; aligned by: {alignment}; margin: {_text(faces.get('crop_margin'))}"
    duration = f", {clip.end - clip.times[0]:.2f} s" if clip.timed and frames > 1 else ""
    facts = {
        "Model": about.get("model"),
        "SHA-256 of its weights": about.get("model_sha256"),
        "Licence": about.get("licence"),
        "Trained on": about.get("trained_on"),
        "Heads": "; ".join(heads),
        "Thresholds": ", ".join(f"{s.name} {s.threshold:.3g}" for s in clip.signals if s.kind == "unit")
        or "none",
        "Window": _window(about.get("window_frames"), clip),
        "Smoothing": about.get("smoothing") or ("none" if "smoothing" in about else None),
        "Faces": faces,
        "Media": name + (f" ({media.how})" if media else " (not shown)"),
        "Frames": f"{frames:,}{duration}",
        "Frames without values": f"{len(clip.reasons):,}" + (f" ({why})" if why else ""),
        "Identities": f"{len(clip.faces):,}",
        **({"Copy": media.note} if media and media.note else {}),
        "Predicted by": f"affectkit {about['affectkit']}" if about.get("affectkit") else None,
    }
    return {fact: _text(value) for fact, value in facts.items()}


def _window(window: Any, clip: ClipTable) -> str | None:
    """The frames that a value depends on."""
    if not isinstance(window, Mapping):
        return None
    before, after = int(window.get("before", 0)), int(window.get("after", 0))
    if before == after == 0 or len(clip) == 1:
        return "the frame alone"
    text = f"each frame, {before} before and {after} after it"
    return text + (f" ({(before + after + 1) * clip.interval:.2f} s in all)" if clip.timed else "")


def _text(value: Any) -> str:
    if value is None or value == "":
        return "not stated"
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_text(part)}" for key, part in value.items())
    return str(value)
