"""`affectkit data check`: a corpus on disk, compared with its published counts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.arguments import add_shared, read_options
from affectkit.cli.data import MANIFEST, open_corpus, published

if TYPE_CHECKING:
    from affectkit.datasets import Corpus
    from affectkit.datasets.bases.corpus import Counts

__all__ = ["run"]

_SHOWN = 20  # lines of a list
_COLUMNS = 3  # parts in the table


def run(args: Sequence[str]) -> int:
    """Check a corpus; 1 if it is not as published."""
    parser = argparse.ArgumentParser(
        prog="affectkit data check", description="Compare a corpus on disk with its published counts."
    )
    parser.add_argument("corpus", help=", ".join(published()))
    parser.add_argument("root", type=Path, help="folder of the corpus, as distributed")
    parser.add_argument("--no-media", action="store_true", help="check only the annotation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts and mismatches")
    add_shared(parser, "--option", help="option of the dataset, such as kind=compound")
    options = parser.parse_args(args)
    name, file = options.corpus.lower(), options.json
    from affectkit.datasets.bases.corpus import compare_counts

    corpus = open_corpus(name, options.root, read_options(options.option))
    found = corpus.count(media=not options.no_media)
    expected, source = _expected(corpus)
    if expected is not None:
        mismatches = compare_counts(expected, found)
    elif corpus.expected:
        mismatches = [f"revision: no published counts of {corpus.revision!r}"]
    else:
        mismatches, source = [], "unknown: this corpus has no published counts"
    print(f"{name} in {options.root}: revision {corpus.revision}; expected counts: {source}")
    _print_table(expected, found)
    for title, lines in (
        ("mismatches", mismatches),
        ("missing or unreadable", found.missing),
        ("label conflicts", found.conflicts),
        ("warnings", corpus.warnings),
    ):
        if lines:
            print(f"{title}: {len(lines)}", *lines[:_SHOWN], sep="\n  ")
            if len(lines) > _SHOWN:
                print("  …")
    if file is not None:
        content = {"corpus": name, "revision": corpus.revision, **_plain(found)}
        content["parts"] = {part: _plain(counts) for part, counts in found.parts.items()}
        content |= {"mismatches": mismatches, "missing": list(found.missing)}
        content |= {"conflicts": list(found.conflicts), "warnings": list(corpus.warnings)}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    # Conflicts do not count: two codings of one corpus, such as BP4D's occurrence and intensity, may differ.
    good = not (mismatches or found.missing)
    checked = "annotation" if options.no_media else "annotation and media"
    verdict = "as expected" if good else "NOT as expected"
    verdict = "nothing is missing" if good and expected is None else verdict
    print(f"{checked}: {verdict}" + (f"; {len(found.conflicts)} label conflicts" if found.conflicts else ""))
    return 0 if good else 1


def _expected(corpus: Corpus) -> tuple[Counts | None, str]:
    """Published counts of a corpus, or those of a rehearsal, and their source."""
    manifest = corpus.root / MANIFEST
    if not manifest.is_file():
        return corpus.expected.get(corpus.revision), "the published counts"
    truths = json.loads(manifest.read_text(encoding="utf-8"))
    return _counts(truths.get("counts", truths)), "those of this rendered rehearsal, not of the real corpus"


def _counts(truths: Mapping[str, Any]) -> Counts:
    """Counts in a manifest."""
    from affectkit.datasets.bases.corpus import Counts

    stated = {name: truths[name] for name in (item.name for item in fields(Counts)) if name in truths}
    stated["parts"] = {name: _counts(part) for name, part in truths.get("parts", {}).items()}
    return Counts(**stated)


def _plain(counts: Counts) -> dict[str, Any]:
    """Counts without their parts, for JSON."""
    numbers = {"subjects": counts.subjects, "clips": counts.clips, "frames": counts.frames}
    return {**numbers, "positives": dict(counts.positives), "classes": dict(counts.classes)}


def _rows(counts: Counts | None) -> dict[str, int | None]:
    """Counts by the title of their row."""
    if counts is None:
        return {}
    rows = {name: value for name, value in _plain(counts).items() if not isinstance(value, dict)}
    rows |= {f"positives {unit}": n for unit, n in counts.positives.items()}
    return rows | {f"class {name}": n for name, n in counts.classes.items()}


def _print_table(expected: Counts | None, found: Counts) -> None:
    """Print the counts of the corpus and of its parts if these are few; `≠` marks differences."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    columns = {"found": (_rows(expected), _rows(found))}
    if len(found.parts) <= _COLUMNS:
        for part, counts in found.parts.items():
            columns[part] = (_rows(expected.parts.get(part) if expected else None), _rows(counts))
    table = Table(box=box.ASCII)
    table.add_column("count", no_wrap=True)
    for heading in ("expected", *columns):
        table.add_column(heading, justify="right")
    wanted, there = columns["found"]
    for name in dict.fromkeys([*there, *wanted]):
        cells = [_cell(one.get(name), other.get(name)) for one, other in columns.values()]
        table.add_row(name, _cell(None, wanted.get(name)), *cells)
    Console(width=120, color_system=None).print(table)


def _cell(wanted: int | None, there: int | None) -> str:
    shown = "–" if there is None else f"{there:,}"
    return shown if wanted in (None, there) else f"{shown} ≠ {wanted:,}"
