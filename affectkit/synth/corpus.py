"""Render a corpus of labelled face clips to disk.

The folder holds `index.parquet` (one row per clip), `frames.parquet` (one row per frame: AU intensities from
0 to 1 and 68 landmarks in pixels), `manifest.json`, `truth.csv` (expression or level of each clip without errors),
`ratings.csv` (answers of a simulated rater, a fifth of them arbitrary), and `videos/` or `frames/`. It is written to
a temporary folder and renamed when complete. The manifest stores a hash of the settings and the renderer, so rendering
the same corpus again returns immediately.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib import resources
from itertools import repeat, starmap
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from affectkit.errors import AnnotationError, ConfigError
from affectkit.facs.expressions import EXPRESSION_SETS, ExpressionSet
from affectkit.facs.priors import read_association
from affectkit.facs.rules import prior
from affectkit.facs.sets import AU_SETS, AUSet
from affectkit.facs.units import ActionUnit
from affectkit.synth.domains import Domain, sample_domain_scene, soften
from affectkit.synth.engagement import (
    ENGAGEMENT_LEVELS,
    FLIP_RATE,
    sample_engaged_clip,
)
from affectkit.synth.ratings import rate_units, write_ratings
from affectkit.synth.render import RENDERER_VERSION, Face, FaceRenderer, load_kernels
from affectkit.synth.sampling import Regime, draw_units, sample_clip, sample_person, sample_scene
from affectkit.synth.varied import VARIED_UNITS, degrade, sample_varied_clip, sample_varied_units
from affectkit.synth.writers import write_frames, write_video

__all__ = ["Association", "CorpusSettings", "association_table", "expression_ceiling", "render_corpus"]

Association = str | Path | Mapping[str, Mapping[str, float]]
"""Path of a CSV file (`expression,AU1,AU2,…`), or a mapping expression -> unit -> probability."""

_EXPRESSIONS: Final = EXPRESSION_SETS["basic7"]
_UNITS: Final = AU_SETS["rendered"]
_IDS: Final = tuple(unit.id for unit in _UNITS)
_SPLITS: Final = ("train", "val", "test")
_OCCURRENCE: Final = {"macro": 0.4, "micro": 0.1, "varied": 0.4, "engagement": 0.4}
"""Intensity from which a unit counts as occurring: 2 of 5 (B), or the onset of A in micro clips."""

_OUTSIDE: Final = (3.0, 0.0)  # shift of a face that is not in the picture
_UNWRITTEN: Final = ("units", "truth", "answers")  # parts of a row that are not columns of the index

# Rows of `index.parquet`, intensities [N, U] and landmarks [N, 68, 2] of one person.
_Part = tuple[list[dict[str, Any]], npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class CorpusSettings:
    """Settings that determine the content of a corpus.

    Args:
        identities: Number of people, at least 3; each appears in one split only.
        clips: Clips per person; every split gets even numbers of all expressions.
        frames_per_clip: Frames per clip, at least 4.
        size: Side of a frame in pixels, even, at least 16.
        seed: Seed of all random choices.
        regime: "macro", "micro" (small movements of at most half a second), "varied" (free combinations of units,
            turned heads, speech, poor pictures; see `affectkit.synth.varied`) or "engagement" (people in front of a
            screen; see `affectkit.synth.engagement`). In "varied" clips, half of the clips show an expression, and the
            others have none. "engagement" clips have none, and a quarter of their training and validation labels is
            wrong.
        fps: Frames per second.
        val: Fraction of people in the validation split.
        test: Fraction of people in the test split.
        independent: P(unit | expression) of units outside the expression's table, at most 0.05.
        media: "video" (H.264) or "frames" (a folder of PNG files per clip).
        association: P(unit | expression) instead of that of FACS, see `association_table`.
        domain: Recording conditions: "studio" or "webcam", see `affectkit.synth.domains`. Corpora of one seed show the
            same people and movements in every domain.

    Raises:
        ConfigError: A setting is out of range.
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
    domain: Domain = "studio"

    def __post_init__(self) -> None:
        for name, least in (("identities", 3), ("clips", 1), ("frames_per_clip", 4), ("size", 16)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name}={getattr(self, name)} is too small.", remedy=f"Use at least {least}."
                )
        if self.size % 2:
            raise ConfigError(f"size={self.size} is odd.", remedy="Use an even number of pixels.")
        if self.domain not in get_args(Domain):
            raise ConfigError(
                f"Unknown domain {self.domain!r}.", remedy=f"Known: {', '.join(get_args(Domain))}."
            )
        if not 0.0 <= self.independent <= 0.05:
            raise ConfigError(f"independent={self.independent} is out of range.", remedy="Use 0 to 0.05.")
        if not (self.val > 0.0 and self.test > 0.0 and self.val + self.test < 1.0):
            raise ConfigError(
                f"val={self.val} and test={self.test} leave an empty split.",
                remedy="Use positive fractions that add up to less than 1.",
            )

    def content_hash(self) -> str:
        """Hash the settings, the renderer's version, the mesh and the table of probabilities."""
        mesh = (resources.files("affectkit.synth") / "assets" / "facs_head.npz").read_bytes()
        parts = {
            "settings": self.plain(),
            "renderer": RENDERER_VERSION,
            "mesh": hashlib.sha256(mesh).hexdigest(),
            "units": self.units.name,
            "prior": self.table().tolist(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def units(self) -> AUSet:
        """Labelled action units."""
        return VARIED_UNITS if self.regime == "varied" else _UNITS

    def plain(self) -> dict[str, Any]:
        """All settings but the association, which `table` contains."""
        return {name: value for name, value in asdict(self).items() if name != "association"}

    def table(self) -> npt.NDArray[np.float64]:
        """P(unit | expression) that clips are drawn from: [7, U]."""
        return association_table(self.association, _EXPRESSIONS, _UNITS, absent=self.independent)


def render_corpus(
    root: str | os.PathLike[str], *, num_workers: int = 2, progress: bool = True, **settings: Any
) -> Path:
    """Render a corpus, unless `root` already holds it.

    Args:
        root: Folder of the corpus. An earlier rendering with other settings is replaced; a folder with any
            other content is an error.
        num_workers: Number of processes; the result does not depend on it. 0 and 1 render in this process.
        progress: Show a progress bar.
        **settings: Fields of `CorpusSettings`.

    Returns:
        `root` as a path.

    Raises:
        ConfigError: A setting is out of range, or `root` contains something other than a rendered corpus.
        MissingDependencyError: numba is not installed.
    """
    chosen, root = CorpusSettings(**settings), Path(root)
    digest, manifest = chosen.content_hash(), _read_manifest(root)
    if manifest is not None and manifest.get("content_hash") == digest:
        return root
    if manifest is None and root.exists() and any(root.iterdir()):
        raise ConfigError(
            "The folder is not empty and contains no rendered corpus.",
            path=root,
            remedy="Choose another folder.",
        )
    from rich.progress import track

    load_kernels()
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = root.with_name(f".{root.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / ("videos" if chosen.media == "video" else "frames")).mkdir(parents=True)
        parts = _render_all(chosen, partial, num_workers)
        people = chosen.identities
        shown = track(parts, "Rendering people", total=people, transient=True, disable=not progress)
        _write_tables(chosen, digest, partial, list(shown))
        if root.exists():
            shutil.rmtree(root)
        partial.replace(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def _read_manifest(root: Path) -> dict[str, Any] | None:
    """The manifest of a rendered corpus, or None."""
    try:
        manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("rendered") is True else None


def _split_people(settings: CorpusSettings) -> list[str]:
    """Split of every identity, in a fixed random order."""
    n = settings.identities
    num_val, num_test = max(1, round(n * settings.val)), max(1, round(n * settings.test))
    splits = ["train"] * n
    for rank, identity in enumerate(np.random.default_rng([settings.seed, 1]).permutation(n).tolist()):
        splits[identity] = "test" if rank < num_test else "val" if rank < num_test + num_val else "train"
    return splits


def _deal_classes(settings: CorpusSettings, splits: list[str]) -> list[list[int]]:
    """Expressions (or levels) of each person's clips, dealt from shuffled decks so that a split has even classes."""
    classes = len(ENGAGEMENT_LEVELS if settings.regime == "engagement" else _EXPRESSIONS)
    hands: list[list[int]] = [[] for _ in splits]
    for number, split in enumerate(_SPLITS):
        rng = np.random.default_rng([settings.seed, 2, number])
        deck: list[int] = []
        for identity in np.repeat([k for k, own in enumerate(splits) if own == split], settings.clips):
            deck = deck or rng.permutation(classes).tolist()
            hands[identity].append(deck.pop())
    return hands


_renderer: Final = functools.cache(FaceRenderer)  # one per process and size


def _render_person(
    settings: CorpusSettings, identity: int, split: str, classes: list[int], folder: Path
) -> _Part:
    """Render all clips of one person, the same in every process."""
    renderer = _renderer(settings.size)
    person = sample_person(np.random.default_rng([settings.seed, 3, identity]))
    varied, engaged = settings.regime == "varied", settings.regime == "engagement"
    bias = float(np.random.default_rng([settings.seed, 5, identity]).standard_normal())
    if varied:
        person = replace(person, shape=tuple(1.15 * coefficient for coefficient in person.shape))
    table, length = settings.table(), settings.frames_per_clip
    rows, intensities, landmarks = [], [], []
    for number, drawn in enumerate(classes):
        rng = np.random.default_rng([settings.seed, 4, identity, number])
        posed = not engaged and (not varied or rng.uniform() < 0.5)
        active: tuple[int, ...] = ()
        if not engaged:
            active = draw_units(rng, table[drawn].tolist(), _IDS, independent=settings.independent)
        if engaged:
            rate = 0.0 if split == "test" else FLIP_RATE
            plan = sample_engaged_clip(
                rng, drawn, _IDS, frames=length, fps=settings.fps, bias=bias, flip_rate=rate
            )
        elif varied:
            active = active if posed else sample_varied_units(rng)
            plan = sample_varied_clip(rng, active, frames=length, fps=settings.fps)
        else:
            plan = sample_clip(rng, active, _IDS, frames=length, fps=settings.fps, regime=settings.regime)
        truth = ENGAGEMENT_LEVELS[drawn] if engaged else _EXPRESSIONS.classes[drawn] if posed else None
        answers = plan.answers
        if not engaged:
            answers = rate_units(np.random.default_rng([settings.seed, 6, identity, number]), active, _IDS)
        scene = sample_scene(rng)
        if varied or engaged:
            scene = replace(scene, zoom=scene.zoom * float(rng.uniform(0.65, 1.05)))
        conditions = np.random.default_rng([settings.seed, 5, identity, number])
        renderer.set(person, sample_domain_scene(conditions, scene, settings.domain))
        frames = [renderer.render(face) for face in plan.faces]
        if plan.present is not None and not all(plan.present):
            renderer.set(person, replace(scene, shift=_OUTSIDE))
            empty = renderer.render(Face())
            empty.landmarks[:] = np.nan
            frames = [frame if here else empty for frame, here in zip(frames, plan.present, strict=True)]
        clip = f"p{identity:04d}_{number:02d}"
        images = np.stack([frame.image for frame in frames])
        points = np.stack([frame.landmarks for frame in frames])
        if varied:
            images = degrade(rng, images, points)
        if settings.domain == "webcam":
            images = soften(conditions, images)
        if settings.media == "video":
            path = f"videos/{clip}.mp4"
            write_video(
                folder / path, images, fps=settings.fps, quality=int(rng.integers(16, 36 if varied else 25))
            )
        else:
            path = f"frames/{clip}"
            write_frames(folder / path, images)
        rows.append(
            {
                "path": path,
                "clip": clip,
                "subject": f"p{identity:04d}",
                "split": split,
                "expression": truth if posed else None,
                "engagement": plan.level,
                "onset": plan.onset,
                "apex": plan.apex,
                "offset": plan.offset,
                "fps": settings.fps,
                "num_frames": length,
                "source": "rendered",
                "units": active,
                "truth": truth,
                "answers": answers,
            }
        )
        intensities.append(plan.intensities)
        landmarks.append(points)
    return rows, np.concatenate(intensities), np.concatenate(landmarks)


def _render_all(settings: CorpusSettings, folder: Path, num_workers: int) -> Iterator[_Part]:
    """Render every person, in this process or in several."""
    splits = _split_people(settings)
    hands = _deal_classes(settings, splits)
    arguments: tuple[Iterable[Any], ...] = repeat(settings), range(len(splits)), splits, hands, repeat(folder)
    if num_workers <= 1:
        yield from starmap(_render_person, zip(*arguments, strict=False))
        return
    _renderer(16).render(Face())  # compile once, so that the processes load it from the cache
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_render_person, *arguments)


def _write_tables(settings: CorpusSettings, digest: str, folder: Path, parts: list[_Part]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row for own, _, _ in parts for row in own]
    intensities, landmarks = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
    kept = [{name: value for name, value in row.items() if name not in _UNWRITTEN} for row in rows]
    pq.write_table(pa.Table.from_pylist(kept), folder / "index.parquet")
    write_ratings(folder, rows)
    engaged = settings.regime == "engagement"
    length = settings.frames_per_clip
    columns: dict[str, Any] = {
        "clip": pa.array([row["clip"] for row in rows for _ in range(length)]).dictionary_encode(),
        "frame": np.tile(np.arange(length, dtype=np.int32), len(rows)),
    }
    columns |= dict(zip(settings.units.columns, intensities.T, strict=True))
    columns |= {f"{axis}{k}": landmarks[:, k, d] for d, axis in enumerate("xy") for k in range(68)}
    pq.write_table(pa.table(columns), folder / "frames.parquet")
    table, level = settings.table(), _OCCURRENCE[settings.regime]
    of_test = [row for row in rows if row["split"] == "test" and row["expression"] is not None]
    rates = (intensities >= level).mean(axis=0).tolist()
    manifest = {
        "rendered": True,
        "format_version": 1,
        "content_hash": digest,
        "renderer_version": RENDERER_VERSION,
        "seed": settings.seed,
        "settings": settings.plain(),
        "association": {
            name: dict(zip(_UNITS.labels, row, strict=True))
            for name, row in zip(_EXPRESSIONS.labels, table.tolist(), strict=True)
        },
        "au_space": settings.units.name,
        "expression_space": None if engaged else _EXPRESSIONS.name,
        "engagement_space": f"levels:{','.join(ENGAGEMENT_LEVELS)}" if engaged else None,
        "occurrence_at": level,
        "num_clips": len(rows),
        "num_frames": len(intensities),
        "subjects": {
            split: sorted({row["subject"] for row in rows if row["split"] == split}) for split in _SPLITS
        },
        "prevalence": {label: round(p, 4) for label, p in zip(settings.units.labels, rates, strict=True)},
        "expression_uar_ceiling": expression_ceiling(
            table,
            np.array([[unit in row["units"] for unit in _IDS] for row in of_test]),
            np.array([_EXPRESSIONS.index(row["expression"]) for row in of_test]),
        )
        if of_test
        else None,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def expression_ceiling(
    table: npt.NDArray[np.float64], units: npt.NDArray[np.bool_], expressions: npt.NDArray[np.int64]
) -> float:
    """Compute the best expression UAR that is attainable from the true action units.

    The Bayes classifier of the generating table, argmax_e sum_u log P(unit u present or absent | e) with even
    classes, is applied to the true units. UAR is its mean recall over the classes that occur.

    Args:
        table: float64 [E, U], P(unit | expression).
        units: bool [N, U], active units of each clip.
        expressions: int64 [N], class indices.

    Returns:
        UAR from 0 to 1.

    Example:
        >>> table = np.array([[0.9, 0.1], [0.1, 0.9]])
        >>> expression_ceiling(table, np.array([[True, False], [True, False]]), np.array([0, 1]))
        0.5
    """
    p = np.clip(table, 1e-9, 1.0 - 1e-9)
    guess = (units @ np.log(p).T + ~units @ np.log1p(-p).T).argmax(axis=1)
    recalls = [float((guess[expressions == e] == e).mean()) for e in np.unique(expressions)]
    return float(np.mean(recalls))


def association_table(
    association: Association | None, expressions: ExpressionSet, units: AUSet, *, absent: float
) -> npt.NDArray[np.float64]:
    """Tabulate P(unit active | expression).

    Args:
        association: A CSV file with a row for each expression and a column for each unit with its own
            probabilities, or the same as nested mappings; None for `affectkit.facs.rules.prior`.
        expressions: The rows. Each needs an entry in `association`.
        units: The columns.
        absent: Probability of a unit without an entry, from 0 to 1.

    Returns:
        float64 [E, U].

    Raises:
        AnnotationError: The file cannot be read, or lacks an expression, or a cell is invalid.
        ConfigError: The mapping lacks an expression, or an entry is invalid.

    Example:
        >>> from affectkit.facs import EXPRESSION_SETS
        >>> classes = EXPRESSION_SETS["megc3"]
        >>> planted = {name: {"AU4": 0.9} for name in classes.labels}
        >>> association_table(planted, classes, AUSet.parse("AU1,AU4"), absent=0.1)[0].tolist()
        [0.1, 0.9]
    """
    if association is None:
        return np.array(prior(expressions, units, absent=absent, neutral=absent))
    is_table = isinstance(association, Mapping)
    rows: Any = association if is_table else read_association(Path(association))[1]  # type: ignore[arg-type]
    fault = ""
    table = np.full((len(expressions), len(units)), float(absent))
    if set(rows) != set(expressions.labels):
        fault = f"The association has rows for: {', '.join(rows)}; it needs: {', '.join(expressions.labels)}."
    for expression, cells in rows.items() if not fault else ():
        for unit, probability in cells.items():
            parsed = ActionUnit.parse(str(unit))
            if parsed in units and 0.0 <= probability <= 1.0:
                table[expressions.labels.index(expression), units.index(parsed)] = probability
            else:
                fault = f"{unit} = {probability} is not a rendered unit with a probability from 0 to 1."
    if fault and is_table:
        raise ConfigError(fault, remedy="Correct the association.")
    if fault:
        raise AnnotationError(fault, path=Path(str(association)), remedy="Correct the association.")
    return table
