"""Render a corpus of labelled face clips to disk.

The folder holds `index.parquet` (one row per clip), `frames.parquet` (one row per frame: AU intensities from
0 to 1 and 68 landmarks in pixels), `manifest.json`, `truth.csv` (expression or level of each clip without errors),
`ratings.csv` (answers of a simulated rater, a fifth of them arbitrary), and `videos/` or `frames/`. It is written to
a temporary folder and renamed when complete. The manifest stores a hash of the settings and the renderer, so rendering
the same corpus again returns immediately.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat, starmap
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from affectkit.errors import ConfigError
from affectkit.synth.engagement import ENGAGEMENT_LEVELS
from affectkit.synth.people import Part, load_renderer, render_person
from affectkit.synth.ratings import write_ratings
from affectkit.synth.render import RENDERER_VERSION, Face, load_kernels
from affectkit.synth.settings import EXPRESSIONS, UNIT_IDS, UNITS, CorpusSettings

__all__ = ["expression_ceiling", "render_corpus"]

_SPLITS: Final = ("train", "val", "test")
_OCCURRENCE: Final = {"macro": 0.4, "micro": 0.1, "varied": 0.4, "engagement": 0.4}
"""Intensity from which a unit counts as occurring: 2 of 5 (B), or the onset of A in micro clips."""

_UNWRITTEN: Final = ("units", "truth", "answers")  # parts of a row that are not columns of the index


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
    classes = len(ENGAGEMENT_LEVELS if settings.regime == "engagement" else EXPRESSIONS)
    hands: list[list[int]] = [[] for _ in splits]
    for number, split in enumerate(_SPLITS):
        rng = np.random.default_rng([settings.seed, 2, number])
        deck: list[int] = []
        for identity in np.repeat([k for k, own in enumerate(splits) if own == split], settings.clips):
            deck = deck or rng.permutation(classes).tolist()
            hands[identity].append(deck.pop())
    return hands


def _render_all(settings: CorpusSettings, folder: Path, num_workers: int) -> Iterator[Part]:
    """Render every person, in this process or in several."""
    splits = _split_people(settings)
    hands = _deal_classes(settings, splits)
    arguments: tuple[Iterable[Any], ...] = repeat(settings), range(len(splits)), splits, hands, repeat(folder)
    if num_workers <= 1:
        yield from starmap(render_person, zip(*arguments, strict=False))
        return
    load_renderer(16).render(Face())  # compile once, so that the processes load it from the cache
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(render_person, *arguments)


def _write_tables(settings: CorpusSettings, digest: str, folder: Path, parts: list[Part]) -> None:
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
            name: dict(zip(UNITS.labels, row, strict=True))
            for name, row in zip(EXPRESSIONS.labels, table.tolist(), strict=True)
        },
        "au_space": settings.units.name,
        "expression_space": None if engaged else EXPRESSIONS.name,
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
            np.array([[unit in row["units"] for unit in UNIT_IDS] for row in of_test]),
            np.array([EXPRESSIONS.index(row["expression"]) for row in of_test]),
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
