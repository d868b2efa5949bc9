"""Render a corpus of labelled face clips to disk.

The folder holds `index.parquet` (a row a clip), `frames.parquet` (a row a frame: AU intensities from 0 to 1
and 68 landmarks in pixels), `videos/` and `manifest.json`. It is written beside its place and moved there
when it is complete, and the manifest carries a hash of the settings and the renderer: asking again for the
same corpus costs nothing, and an interrupted rendering leaves nothing that looks like a corpus.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from affectkit.errors import ConfigError
from affectkit.facs.expressions import EXPRESSION_SETS
from affectkit.facs.sets import AU_SETS
from affectkit.synth.association import Association, association_table
from affectkit.synth.render import RENDERER_VERSION, Face, FaceRenderer, load_kernels
from affectkit.synth.sampling import Regime, draw_units, sample_clip, sample_person, sample_scene
from affectkit.synth.writers import write_frames, write_video

__all__ = ["CorpusSettings", "expression_ceiling", "render_corpus"]

_EXPRESSIONS: Final = EXPRESSION_SETS["basic7"]
_UNITS: Final = AU_SETS["rendered"]
_IDS: Final = tuple(unit.id for unit in _UNITS)
_OCCURRENCE: Final = {"macro": 0.4, "micro": 0.1}
"""Intensity from which a unit counts as occurring: 2 of 5 (B) in macro, the onset of A in micro clips."""

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class CorpusSettings:
    """Everything that a corpus depends on.

    Args:
        identities: people, each in one split only.
        clips: clips a person; expressions are dealt out evenly over a split.
        frames_per_clip: length of a clip.
        size: side of a frame in pixels, even.
        seed: of every draw.
        regime: "macro" or "micro" (small, at most half a second).
        fps: frames a second.
        val: fraction of the people held out for validation.
        test: fraction of the people held out for testing.
        independent: P(unit | expression) of units outside the expression's table, at most 0.05.
        media: "video" (H.264) or "frames" (a folder of PNG files a clip).
        association: P(unit | expression) where it is not to be that of FACS, see
            `affectkit.synth.association_table`.
    """

    identities: int
    clips: int
    frames_per_clip: int
    size: int
    seed: int
    regime: Regime = "macro"
    fps: float = 25.0
    val: float = 0.1
    test: float = 0.2
    independent: float = 0.05
    media: Literal["video", "frames"] = "video"
    association: Association | None = None

    def __post_init__(self) -> None:
        if self.identities < 3 or self.clips < 1 or self.frames_per_clip < 4:
            raise ConfigError(
                "A corpus needs at least 3 identities, 1 clip each and 4 frames a clip.",
                remedy="Ask for more.",
            )
        if self.size % 2 or self.size < 16:
            raise ConfigError(
                f"The size {self.size} is not an even number from 16 up.", remedy="Use 80 or 224."
            )
        if not 0.0 <= self.independent <= 0.05:
            raise ConfigError(
                f"The share of independent activations is {self.independent}.", remedy="Use 0 to 0.05."
            )
        if not (self.val > 0.0 and self.test > 0.0 and self.val + self.test < 1.0):
            raise ConfigError(
                f"Validation {self.val} and test {self.test} leave no people to train on.",
                remedy="Use fractions that add up to less than 1.",
            )

    def content_hash(self) -> str:
        """Hash the settings, the renderer's version, the mesh and the table of probabilities."""
        mesh = (resources.files("affectkit.synth") / "assets" / "facs_head.npz").read_bytes()
        settings = asdict(self)
        del settings["association"]  # the table says it
        parts = {
            "settings": settings,
            "renderer": RENDERER_VERSION,
            "mesh": hashlib.sha256(mesh).hexdigest(),
            "units": _UNITS.name,
            "prior": self.table().tolist(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def table(self) -> npt.NDArray[np.float64]:
        """P(unit | expression) that clips are drawn from: [7, U]."""
        return association_table(self.association, _EXPRESSIONS, _UNITS, absent=self.independent)


def render_corpus(
    root: str | os.PathLike[str],
    *,
    identities: int,
    clips: int,
    frames_per_clip: int,
    size: int,
    seed: int,
    regime: Regime = "macro",
    num_workers: int = 2,
    fps: float = 25.0,
    val: float = 0.1,
    test: float = 0.2,
    independent: float = 0.05,
    media: Literal["video", "frames"] = "video",
    association: Association | None = None,
    progress: bool = True,
) -> Path:
    """Render a corpus, or return at once when it is there already.

    Args:
        root: The corpus folder; what a former rendering left there is replaced, other content is never
            touched.
        identities: See `CorpusSettings`, as for the other settings.
        clips: Clips a person.
        frames_per_clip: Length of a clip.
        size: Side of a frame in pixels.
        seed: Of every draw.
        regime: "macro" or "micro".
        num_workers: Processes; the result does not depend on it. 0 or 1 renders in this process.
        fps: Frames a second.
        val: Fraction of people for validation.
        test: Fraction of people for testing.
        independent: P(unit | expression) outside the table.
        media: "video" or "frames".
        association: P(unit | expression) where it is not to be that of FACS.
        progress: Show a progress bar.

    Returns:
        `root` as a path.

    Raises:
        ConfigError: A setting is out of range, or `root` holds something that is not a rendered corpus.
        MissingDependencyError: numba is not installed.
    """
    settings = CorpusSettings(
        identities,
        clips,
        frames_per_clip,
        size,
        seed,
        regime,
        fps,
        val,
        test,
        independent,
        media,
        association,
    )
    root = Path(root)
    digest = settings.content_hash()
    manifest = _manifest(root)
    if manifest is not None and manifest.get("content_hash") == digest:
        return root
    if manifest is None and root.exists() and any(root.iterdir()):
        raise ConfigError(
            "The folder is not empty and holds no rendered corpus.",
            path=root,
            remedy="Choose another folder.",
        )
    load_kernels()
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = root.with_name(f".{root.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        parts = _render_all(settings, partial, num_workers, progress)
        _write_tables(settings, digest, partial, parts)
        if root.exists():
            shutil.rmtree(root)
        partial.replace(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def _manifest(root: Path) -> dict[str, Any] | None:
    """The manifest of a rendered corpus, or None."""
    try:
        manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("rendered") is True else None


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The rows of one person."""

    identity: int
    clips: list[dict[str, Any]]
    intensities: npt.NDArray[np.float32]  # [N, U]
    landmarks: npt.NDArray[np.float32]  # [N, 68, 2]


def _splits(settings: CorpusSettings) -> list[Split]:
    """The split of every identity: a fixed shuffle, so that a split is a random sample of people."""
    n = settings.identities
    num_val, num_test = max(1, round(n * settings.val)), max(1, round(n * settings.test))
    order = np.random.default_rng([settings.seed, 1]).permutation(n)
    splits: list[Split] = ["train"] * n
    for rank, identity in enumerate(order.tolist()):
        splits[identity] = "test" if rank < num_test else "val" if rank < num_test + num_val else "train"
    return splits


def _expressions(settings: CorpusSettings, splits: list[Split]) -> list[list[int]]:
    """Class indices of everybody's clips, dealt from shuffled decks so that a split has even classes."""
    hands: list[list[int]] = [[] for _ in range(settings.identities)]
    for number, split in enumerate(("train", "val", "test")):
        rng = np.random.default_rng([settings.seed, 2, number])
        deck: list[int] = []
        for identity in (k for k, own in enumerate(splits) if own == split):
            for _ in range(settings.clips):
                if not deck:
                    deck = rng.permutation(len(_EXPRESSIONS)).tolist()
                hands[identity].append(deck.pop())
    return hands


def _render_identity(
    settings: CorpusSettings, identity: int, split: Split, expressions: list[int], folder: Path
) -> _Part:
    """Render all clips of one person; a pure function of its arguments, whatever process runs it."""
    renderer = _renderer(settings.size)
    person = sample_person(np.random.default_rng([settings.seed, 3, identity]))
    table = settings.table()
    rows, intensities, landmarks = [], [], []
    for number, expression in enumerate(expressions):
        rng = np.random.default_rng([settings.seed, 4, identity, number])
        active = draw_units(rng, table[expression].tolist(), _IDS, independent=settings.independent)
        plan = sample_clip(
            rng, active, _IDS, frames=settings.frames_per_clip, fps=settings.fps, regime=settings.regime
        )
        renderer.set(person, sample_scene(rng))
        frames = [renderer.render(face) for face in plan.faces]
        clip = f"p{identity:04d}_{number:02d}"
        images = np.stack([frame.image for frame in frames])
        if settings.media == "video":
            path = f"videos/{clip}.mp4"
            write_video(folder / path, images, fps=settings.fps, quality=int(rng.integers(16, 25)))
        else:
            path = f"frames/{clip}"
            write_frames(folder / path, images)
        rows.append(
            {
                "path": path,
                "clip": clip,
                "subject": f"p{identity:04d}",
                "split": split,
                "expression": _EXPRESSIONS.classes[expression],
                "onset": plan.onset,
                "apex": plan.apex,
                "offset": plan.offset,
                "fps": settings.fps,
                "num_frames": settings.frames_per_clip,
                "source": "rendered",
                "units": active,
            }
        )
        intensities.append(plan.intensities)
        landmarks.append(np.stack([frame.landmarks for frame in frames]))
    return _Part(identity, rows, np.concatenate(intensities), np.concatenate(landmarks))


_RENDERERS: dict[int, FaceRenderer] = {}


def _renderer(size: int) -> FaceRenderer:
    """One renderer a process and size: its buffers and the compiled code are reused."""
    if size not in _RENDERERS:
        _RENDERERS[size] = FaceRenderer(size)
    return _RENDERERS[size]


def _render_all(settings: CorpusSettings, folder: Path, num_workers: int, progress: bool) -> list[_Part]:
    """Render every identity, in this process or in several."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    (folder / ("videos" if settings.media == "video" else "frames")).mkdir()
    splits = _splits(settings)
    hands = _expressions(settings, splits)
    jobs = [(settings, k, splits[k], hands[k], folder) for k in range(settings.identities)]
    columns = (TextColumn("rendering people"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not progress, transient=True) as bar:
        task = bar.add_task("render", total=len(jobs))
        parts = []
        for part in _run(jobs, num_workers):
            parts.append(part)
            bar.advance(task)
    return sorted(parts, key=lambda part: part.identity)


def _run(jobs: list[tuple[CorpusSettings, int, Split, list[int], Path]], num_workers: int) -> Iterator[_Part]:
    if num_workers <= 1:
        yield from (_render_identity(*job) for job in jobs)
        return
    _renderer(16).render(Face())  # compile once, so that the processes load it from the cache
    pool = ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"))
    try:
        for future in as_completed([pool.submit(_render_identity, *job) for job in jobs]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write_tables(settings: CorpusSettings, digest: str, folder: Path, parts: list[_Part]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row for part in parts for row in part.clips]
    intensities = np.concatenate([part.intensities for part in parts])
    landmarks = np.concatenate([part.landmarks for part in parts])
    names = [name for name in rows[0] if name != "units"]
    pq.write_table(pa.table({name: [row[name] for row in rows] for name in names}), folder / "index.parquet")
    length = settings.frames_per_clip
    columns: dict[str, Any] = {
        "clip": pa.array([row["clip"] for row in rows for _ in range(length)]).dictionary_encode(),
        "frame": np.tile(np.arange(length, dtype=np.int32), len(rows)),
    }
    columns |= {name: intensities[:, k] for k, name in enumerate(_UNITS.columns)}
    columns |= {f"{axis}{k}": landmarks[:, k, d] for d, axis in enumerate("xy") for k in range(68)}
    pq.write_table(pa.table(columns), folder / "frames.parquet")
    level = _OCCURRENCE[settings.regime]
    positive = intensities >= level
    of_test = [row for row in rows if row["split"] == "test"]
    manifest = {
        "rendered": True,
        "format_version": 1,
        "content_hash": digest,
        "renderer_version": RENDERER_VERSION,
        "seed": settings.seed,
        "settings": {name: value for name, value in asdict(settings).items() if name != "association"},
        "association": _named(settings.table()),
        "au_space": _UNITS.name,
        "expression_space": _EXPRESSIONS.name,
        "occurrence_at": level,
        "num_clips": len(rows),
        "num_frames": len(intensities),
        "subjects": {
            split: sorted({row["subject"] for row in rows if row["split"] == split})
            for split in ("train", "val", "test")
        },
        "prevalence": {
            label: round(float(p), 4) for label, p in zip(_UNITS.labels, positive.mean(0), strict=True)
        },
        "expression_uar_ceiling": expression_ceiling(
            settings.table(),
            np.array([[unit in row["units"] for unit in _IDS] for row in of_test]),
            np.array([_EXPRESSIONS.index(row["expression"]) for row in of_test]),
        ),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _named(table: npt.NDArray[np.float64]) -> dict[str, dict[str, float]]:
    rows = zip(_EXPRESSIONS.labels, table.tolist(), strict=True)
    return {name: dict(zip(_UNITS.labels, row, strict=True)) for name, row in rows}


def expression_ceiling(
    table: npt.NDArray[np.float64], units: npt.NDArray[np.bool_], expressions: npt.NDArray[np.int64]
) -> float:
    """Best expression UAR that can be reached from the true action units.

    The Bayes classifier of the generating table, argmax_e sum_u log P(unit u present or absent | e) under
    even classes, is applied to the true units of the given clips; UAR is its mean recall over the classes
    that occur.

    Args:
        table: float64 [E, U], P(unit | expression).
        units: bool [N, U], the units that act in each clip.
        expressions: int64 [N], class indices.

    Returns:
        UAR from 0 to 1.

    Example:
        >>> table = np.array([[0.9, 0.1], [0.1, 0.9]])
        >>> expression_ceiling(table, np.array([[True, False], [True, False]]), np.array([0, 1]))
        0.5
    """
    p = np.clip(table, 1e-9, 1.0 - 1e-9)
    score = units @ np.log(p).T + ~units @ np.log1p(-p).T
    guess = score.argmax(axis=1)
    recalls = [float((guess[expressions == e] == e).mean()) for e in np.unique(expressions)]
    return float(np.mean(recalls))
