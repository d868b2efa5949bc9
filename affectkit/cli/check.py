"""`affectkit data check`: a corpus on disk, compared with its published counts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.data import MANIFEST, add_option, open_corpus, published, read_options

if TYPE_CHECKING:
    from affectkit.datasets import Corpus
    from affectkit.datasets.bases.corpus import Counts

__all__ = ["run"]

_SHOWN = 20  # lines of a list
_COLUMNS = 3  # parts in the table


def run(args: Sequence[str]) -> int:
    """Check; 1 where a corpus is not as published."""
    parser = argparse.ArgumentParser(
        prog="affectkit data check", description="Compare a corpus on disk with its published counts."
    )
    parser.add_argument("corpus", help=", ".join(published()))
    parser.add_argument("root", type=Path, help="folder of the corpus, as distributed")
    parser.add_argument("--no-media", action="store_true", help="look at the annotation only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    add_option(parser, "of the dataset, such as kind=compound")
    options = parser.parse_args(args)
    name, root, media, file = options.corpus.lower(), options.root, not options.no_media, options.json
    from affectkit.datasets.bases.corpus import compare_counts

    corpus = open_corpus(name, root, read_options(options.option))
    found = corpus.count(media=media)
    expected, source = _expected(corpus)
    if expected is not None:
        mismatches = compare_counts(expected, found)
    elif corpus.expected:
        mismatches = [f"revision: nothing is known of {corpus.revision!r} to compare with"]
    else:
        mismatches, source = [], "unknown: no published counts are known of this corpus"
    print(f"{name} in {root}: revision {corpus.revision}; expected are {source}")
    _print_table(expected, found)
    for title, lines in (
        ("mismatches", mismatches),
        ("missing or unreadable", found.missing),
        ("label conflicts", found.conflicts),
        ("warnings", corpus.warnings),
    ):
        _print_lines(title, lines)
    if file is not None:
        content = {"corpus": name, "revision": corpus.revision, **_plain(found)}
        content["parts"] = {part: _plain(counts) for part, counts in found.parts.items()}
        content |= {"mismatches": mismatches, "missing": list(found.missing)}
        content |= {"conflicts": list(found.conflicts), "warnings": list(corpus.warnings)}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    # Conflicts are listed, not judged: two codings of one corpus, such as BP4D's occurrence and intensity, may differ.
    good = not (mismatches or found.missing)
    looked = "annotation and media" if media else "annotation"
    verdict = "as expected" if good else "NOT as expected"
    verdict = "nothing is missing" if good and expected is None else verdict
    print(f"{looked}: {verdict}" + (f"; {len(found.conflicts)} label conflicts" if found.conflicts else ""))
    return 0 if good else 1


def _expected(corpus: Corpus) -> tuple[Counts | None, str]:
    """What the corpus should hold: the published counts, or those of the rehearsal that it is."""
    manifest = corpus.root / MANIFEST
    if manifest.is_file():
        truths = json.loads(manifest.read_text(encoding="utf-8"))
        return _counts(
            truths.get("counts", truths)
        ), "those of this rendered rehearsal, not of the real corpus"
    return corpus.expected.get(corpus.revision), "the published counts"


def _counts(truths: Mapping[str, Any]) -> Counts:
    """What a manifest says about counts; it says more."""
    from affectkit.datasets.bases.corpus import Counts

    stated = {name: truths[name] for name in (item.name for item in fields(Counts)) if name in truths}
    stated["parts"] = {name: _counts(part) for name, part in truths.get("parts", {}).items()}
    return Counts(**stated)


def _plain(counts: Counts) -> dict[str, Any]:
    """Counts without their parts, for JSON."""
    numbers = {"subjects": counts.subjects, "clips": counts.clips, "frames": counts.frames}
    return {**numbers, "positives": dict(counts.positives), "classes": dict(counts.classes)}


def _rows(counts: Counts | None) -> dict[str, int | None]:
    """A line for every number."""
    if counts is None:
        return {}
    rows = {name: value for name, value in _plain(counts).items() if not isinstance(value, dict)}
    rows |= {f"positives {unit}": n for unit, n in counts.positives.items()}
    return rows | {f"class {name}": n for name, n in counts.classes.items()}


def _print_table(expected: Counts | None, found: Counts) -> None:
    """The counts of the whole, and beside them those of the parts if these are few; `≠` stands where they differ."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    wanted, there = _rows(expected), _rows(found)
    parts = found.parts if len(found.parts) <= _COLUMNS else {}
    wanted_parts = {name: _rows(expected.parts.get(name) if expected else None) for name in parts}
    table = Table(box=box.ASCII)
    table.add_column("count", no_wrap=True)
    for heading in ("expected", "found", *parts):
        table.add_column(heading, justify="right")
    for name in dict.fromkeys([*there, *wanted]):
        cells = [_cell(None, wanted.get(name)), _cell(wanted.get(name), there.get(name))]
        cells += [_cell(wanted_parts[part].get(name), _rows(its).get(name)) for part, its in parts.items()]
        table.add_row(name, *cells)
    Console(width=120, color_system=None).print(table)


def _cell(wanted: int | None, there: int | None) -> str:
    shown = "–" if there is None else f"{there:,}"
    return shown if wanted in (None, there) else f"{shown} ≠ {wanted:,}"


def _print_lines(title: str, lines: Sequence[str]) -> None:
    if lines:
        print(f"{title}: {len(lines)}")
        for line in lines[:_SHOWN]:
            print(f"  {line}")
        if len(lines) > _SHOWN:
            print("  …")
