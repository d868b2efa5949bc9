"""A clip and what a model said of it as one HTML page: video and timelines move together."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video import Backend, open_video
from affectkit.errors import ConfigError
from affectkit.inference.pictures.clip_table import ClipTable, Signal, Stretches
from affectkit.inference.reports.page_media import EMBED_MB, Embed, PageMedia, page_media

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["ClipReport", "write_clip_report"]

_TEMPLATES: Final = Path(__file__).parent / "templates"
_FACES: Final = 12  # identities that the page shows, those with most frames
_CELLS: Final = 2_000_000  # values for the readout: 5 MB of the page
_SCALE: Final = 65_534  # of values as 16-bit numbers; one more means that there is none
_GROUPS: Final = {"unit": "Action units", "intensity": "Intensities", "expression": "Expressions"}


@dataclass(frozen=True, slots=True)
class ClipReport:
    """What `write_clip_report` made.

    Args:
        path: The page.
        media: What of the media it shows.
        notes: What a user should know, a sentence each; the page says so, too.
    """

    path: Path
    media: PageMedia | None
    notes: tuple[str, ...] = ()


def write_clip_report(
    table: ClipTable | DataFrame | str | Path,
    path: str | Path,
    *,
    video: str | Path | None = None,
    title: str | None = None,
    embed: Embed = "auto",
    limit_mb: float = EMBED_MB,
    backend: Backend = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> ClipReport:
    """Write a page that needs no network, and no other file but a video that is too large for it.

    Moving over the timeline or clicking on it shows that frame of the video, and while the video plays, a line
    moves through the timeline, and a bar for each value shows the frame's. Timelines of long clips are thinned to
    stretches of frames of which the lowest and the highest value are drawn; the page says so.

    Args:
        table: Predictions; see `ClipTable`.
        path: The page, a name that ends in .html; its folder is made if absent.
        video: The photo, video or folder of frames that the table was made from; None for a page without it.
        title: Heading; the name of the media by default.
        embed: Whether the page holds the video: "auto" where it is at most `limit_mb` large, "always", or "never",
            which links it by its relative path. What browsers do not play is copied as H.264.
        limit_mb: In units of 10⁶ bytes.
        backend: Reader of video files.
        progress: Called with the frames copied and the number in all, where a copy is made.

    Raises:
        ConfigError: The table is not of this video, or the name is no page's.
        VideoError: The media cannot be read at all.
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
        raise ConfigError(f"{path.name!r} cannot name a page.", remedy="Use a name that ends in .html.")
    path.parent.mkdir(parents=True, exist_ok=True)
    media, frames = None, len(clip)
    with nullcontext() if video is None else open_video(video, backend) as reader:
        if reader is not None:
            clip.check_video(reader)
            frames = reader.num_frames
            media = page_media(reader, path, embed=embed, limit_mb=limit_mb, progress=progress)
    shown = sorted(sorted(clip.faces, key=lambda face: -int(clip.present(face).sum()))[:_FACES])
    readout, step = _readout(clip, shown)
    most = 600 if len(shown) <= 3 else 300
    faces = [_face(clip, face, clip.stretches(face, most)) for face in shown or [-1]]
    notes = _notes(clip, frames, faces[0]["per_stretch"], step, len(shown))
    name = Path(str(video)).name if video is not None else clip.name or "Predictions"
    script = (_TEMPLATES / "clip.js").read_text(encoding="utf-8")
    page = (
        _environment()
        .get_template("clip.html")
        .render(
            title=title or name,
            version=_version(),
            warning=clip.warning,
            media=media,
            still=len(clip) == 1,
            timed=clip.timed,
            ticks=_ticks(clip),
            count=len(clip.times[::step]),
            faces=faces,
            notes=notes,
            facts=_facts(clip, frames, name, media),
            metadata=json.dumps(dict(clip.metadata), indent=2, ensure_ascii=False, default=str),
            readout=readout
            | {"offset": media.offset if media else 0.0, "width": media.width if media else 0},
            script=_markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        )
    )
    path.write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")
    return ClipReport(path, media, tuple(notes))


def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _version() -> str:
    import affectkit

    return affectkit.__version__


def _readout(clip: ClipTable, faces: list[int]) -> tuple[dict[str, Any], int]:
    """Every value of every frame for the page's script, thinned where there are too many; and every how manieth."""
    spans = []
    for face in faces:
        there = np.flatnonzero(clip.present(face))
        spans.append((int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0))
    cells = sum(end - start for start, end in spans) * max(1, len(clip.signals))
    step = max(1, -(-cells // _CELLS))
    kept = slice(None, None, step)
    tops = np.array([signal.top for signal in clip.signals], np.float32)
    listed = []
    for face, (start, end) in zip(faces, spans, strict=True):
        first = -(-start // step)
        values = clip.values(face)[kept][first : -(-end // step)]
        coded = np.where(np.isnan(values), _SCALE + 1, np.clip(values / tops, 0, 1) * _SCALE)
        boxes = clip.boxes(face)[kept][first : -(-end // step)]
        edges = np.where(np.isnan(boxes), -32768, np.clip(boxes, -32767, 32767)).round()
        listed.append(
            {
                "id": face,
                "first": first,
                "values": _binary(coded.round().astype("<u2")),
                "boxes": _binary(edges.astype("<i2")) if np.isfinite(boxes).any() else "",
            }
        )
    reasons = list(dict.fromkeys(clip.reasons.values()))[:254]
    why = np.zeros(len(clip), np.uint8)
    for place, reason in clip.reasons.items():
        why[place] = reasons.index(reason) + 1 if reason in reasons else 255
    found = {
        "times": _binary(clip.times[kept].astype("<f8")),
        "frames": _binary(clip.frames[kept].astype("<i4")),
        "start": float(clip.times[0]),
        "end": clip.end,
        "interval": clip.interval,
        "timed": clip.timed,
        "signals": [
            {"name": s.name, "kind": s.kind, "top": s.top, "threshold": s.threshold} for s in clip.signals
        ],
        "faces": listed,
        "reasons": reasons,
        "why": _binary(why[kept]) if reasons else "",
        "scale": _SCALE,
        "step": step,
    }
    return found, step


def _binary(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _face(clip: ClipTable, face: int, course: Stretches) -> dict[str, Any]:
    """The timelines of one identity."""
    span = course.edges[-1] - course.edges[0]
    x = ((course.edges - course.edges[0]) / span * 1000).round(1)
    stops = []
    for start, end in course.gaps:
        a, b = ((edge - course.edges[0]) / span * 100 for edge in (start, end))
        stops.append(f"transparent 0 {a:.2f}%, #000 0 {b:.2f}%")
    values = clip.values(face)
    groups: dict[str, list[dict[str, Any]]] = {}
    for k, signal in enumerate(clip.signals):
        strip = _strip(signal, values[:, k], course, k, x) | {"index": k, "signal": signal}
        what = "probability, " if clip.metadata.get("heads") and signal.kind != "intensity" else ""
        groups.setdefault(f"{_GROUPS[signal.kind]}: {what}0 to {signal.top:g}", []).append(strip)
    return {
        "id": face,
        "present": int(clip.present(face).sum()),
        "groups": groups,
        "gaps": f"linear-gradient(to right, {', '.join([*stops, 'transparent 0 100%'])})",
        "per_stretch": course.frames,
    }


def _strip(
    signal: Signal, values: NDArray[np.float32], course: Stretches, k: int, x: NDArray[np.float64]
) -> dict[str, Any]:
    """One value over time as paths, and in a few numbers."""
    known = values[np.isfinite(values)]
    peak = int(np.nanargmax(values)) if len(known) else None
    level = signal.threshold
    return {
        "high": _steps(x, course.high[:, k] / signal.top),
        "low": _steps(x, course.low[:, k] / signal.top) if course.frames > 1 else "",
        "line": None if level is None else round(100 - 100 * level / signal.top, 2),
        "share": None if level is None or not len(known) else float((known >= level).mean()),
        "mean": float(known.mean()) if len(known) else None,
        "peak": None if peak is None else float(values[peak]),
        "peak_at": peak,
    }


def _steps(x: NDArray[np.float64], heights: NDArray[np.float32]) -> str:
    """The area under a step curve, in a picture of 1000 × 100; nothing where a height is NaN."""
    y = np.round(100 - 100 * np.clip(heights, 0, 1), 1).tolist()
    parts: list[str] = []
    before: float | None = None
    for left, level in zip(x.tolist(), y, strict=False):
        now = None if level != level else level  # NaN differs from itself
        if now == before:
            continue
        if before is not None:
            parts.append(f"H{left:g}")
        if now is None:
            parts.append("V100Z")
        else:
            parts.append(f"V{now:g}" if before is not None else f"M{left:g} 100V{now:g}")
        before = now
    if before is not None:
        parts.append(f"H{x[-1]:g}V100Z")
    return "".join(parts)


def _ticks(clip: ClipTable) -> list[str]:
    """Five times, or frame numbers."""
    places = np.linspace(clip.times[0], clip.end, 5)
    if not clip.timed:
        return [f"{value:.0f}" for value in np.linspace(clip.frames[0], clip.frames[-1] + 1, 5)]
    if clip.end - clip.times[0] < 60:
        return [f"{place:.1f} s" if clip.end >= 5 else f"{place:.2f} s" for place in places]
    return [f"{int(place) // 60}:{int(place) % 60:02d}" for place in places]


def _notes(clip: ClipTable, frames: int, per_stretch: int, step: int, shown: int) -> list[str]:
    notes = []
    if clip.metadata.get("complete") is False:
        notes.append(f"The table was interrupted: it ends at frame {clip.frames[-1]:,}.")
    if len(clip) < frames:
        notes.append(f"The table has {len(clip):,} of the video's {frames:,} frames.")
    if not clip.faces:
        notes.append("No face has values in this clip.")
    if per_stretch > 1:
        notes.append(
            f"The {len(clip):,} frames are drawn as stretches of {per_stretch}: dark up to the lowest value of a "
            "stretch, light up to the highest."
        )
    if step > 1:
        notes.append(f"Numbers beside the timelines are those of one frame in {step}.")
    if len(clip.faces) > max(1, shown):
        most = "the one with most frames is" if shown == 1 else f"the {shown} with most frames are"
        notes.append(f"Of {len(clip.faces)} identities, {most} shown.")
    if not clip.timed:
        notes.append("The media gives no times; frames are numbered.")
    return notes


def _facts(clip: ClipTable, frames: int, name: str, media: PageMedia | None) -> dict[str, str]:
    """The table of where the numbers come from."""
    said = clip.metadata
    lacking = len(clip.reasons)
    common = Counter(clip.reasons.values()).most_common(5)
    why = ", ".join(f"{reason.rstrip('.')}: {count:,}" for reason, count in common)
    facts = {
        "Model": _text(said.get("model")),
        "SHA-256 of its weights": _text(said.get("model_sha256")),
        "Licence": _text(said.get("licence")),
        "Trained on": _text(said.get("trained_on")),
        "Heads": "; ".join(_head(n, facts) for n, facts in (said.get("heads") or {}).items()) or _text(None),
        "Thresholds": ", ".join(f"{s.name} {s.threshold:.3g}" for s in clip.kind("unit")) or "none",
        "Window": _window(said, clip),
        "Smoothing": _text(said.get("smoothing") or ("none" if "smoothing" in said else None)),
        "Faces": _faces(said.get("faces")),
        "Media": name + (f" ({media.how})" if media else " (not shown)"),
        "Frames": f"{frames:,}"
        + (f", {clip.end - clip.times[0]:.2f} s" if clip.timed and frames > 1 else ""),
        "Frames without values": f"{lacking:,}" + (f" ({why})" if why else ""),
        "Identities": f"{len(clip.faces):,}",
    }
    if media and media.note:
        facts["Copy"] = media.note
    facts["Predicted by"] = f"affectkit {said['affectkit']}" if said.get("affectkit") else _text(None)
    return facts


def _window(said: Mapping[str, Any], clip: ClipTable) -> str:
    """How far around a frame its values look."""
    window = said.get("window_frames")
    if not isinstance(window, Mapping):
        return _text(None)
    before, after = int(window.get("before", 0)), int(window.get("after", 0))
    if before == after == 0 or len(clip) == 1:
        return "the frame alone"
    text = f"each frame, {before} before and {after} after it"
    return text + (f" ({(before + after + 1) * clip.interval:.2f} s in all)" if clip.timed else "")


def _faces(found: Any) -> str:
    """How faces were found."""
    if isinstance(found, Mapping) and found.get("detector"):
        placed = {
            "aligned by": str(found.get("alignment")).replace("_", " and "),
            "margin": found.get("crop_margin"),
        }
        return f"found by {found['detector']}; {_text(placed)}"
    return _text(found)


def _head(name: str, facts: Mapping[str, Any]) -> str:
    answers = facts.get("answers_by")
    return f"{name}: {facts.get('values', 'values')}" + (f", by {answers}" if answers else "")


def _text(value: Any) -> str:
    if value is None or value == "":
        return "not stated"
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_text(part)}" for key, part in value.items())
    return str(value)
