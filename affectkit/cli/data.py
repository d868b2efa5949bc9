"""`affectkit data`: compare a corpus on disk with its published counts, or render one to rehearse with."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.datasets import AffectDataset, Corpus
    from affectkit.datasets.bases.corpus import Counts

__all__ = ["add_option", "open_corpus", "open_dataset", "read_options", "run"]

MANIFEST = "rehearsal.json"
_SHOWN = 20  # lines of a list
_COLUMNS = 3  # parts in the table


def run(args: Sequence[str]) -> int:
    """Check or rehearse; 1 where a corpus is not as published."""
    from affectkit.rehearse import rehearsals

    parser = argparse.ArgumentParser(prog="affectkit data", description="Corpora on disk.")
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="compare a corpus on disk with its published counts")
    check.add_argument("corpus", help=", ".join(_published()))
    check.add_argument("root", type=Path, help="folder of the corpus, as distributed")
    check.add_argument("--no-media", action="store_true", help="look at the annotation only")
    check.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    add_option(check, "of the dataset, such as kind=compound")
    rehearse = actions.add_parser("rehearse", help="render a corpus in the layout of the real one")
    rehearse.add_argument("corpus", help=", ".join(rehearsals()))
    rehearse.add_argument("out", type=Path, help="folder to write")
    rehearse.add_argument("--size", choices=("tiny", "small", "full"), default="tiny", help="(default: tiny)")
    rehearse.add_argument("--seed", type=int, default=0)
    rehearse.add_argument("--no-media", action="store_true", help="write the annotation only")
    add_option(rehearse, "of the layout, such as kind=compound")
    options = parser.parse_args(args)
    name, more = options.corpus.lower(), read_options(options.option)
    if options.action == "check":
        return _check(name, options.root, more, media=not options.no_media, file=options.json)
    return _rehearse(
        name, options.out, size=options.size, seed=options.seed, media=not options.no_media, **more
    )


def add_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--option NAME=VALUE`, which may be repeated; `what` says whose options these are."""
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help=f"option {what}")


def read_options(texts: Sequence[str]) -> dict[str, Any]:
    """Options given as `NAME=VALUE`; values are JSON, or else text.

    Raises:
        ConfigError: One has no value.

    Example:
        >>> read_options(["kind=compound", "window=8"])
        {'kind': 'compound', 'window': 8}
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"The option {text!r} has no value.", remedy="Write --option NAME=VALUE.")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def open_dataset(name: str, root: Path, options: Mapping[str, Any]) -> AffectDataset:
    """A registered dataset.

    Args:
        name: Its name, in any capitals.
        root: Its folder.
        options: Those of its class.

    Raises:
        ConfigError: There is no such dataset, or it has no such option.
    """
    from affectkit.datasets import find_corpus
    from affectkit.datasets.registry import keyword_options

    cls = find_corpus(name)
    known = keyword_options(cls)
    if unknown := sorted(options.keys() - known.keys()):
        raise ConfigError(
            f"{name} does not have the option {', '.join(unknown)}.", remedy=f"It has: {', '.join(known)}."
        )
    return cls(root, **options)


def open_corpus(name: str, root: Path, options: Mapping[str, Any]) -> Corpus:
    """The same for a dataset with published counts.

    Raises:
        ConfigError: See `open_dataset`; or it has none.
    """
    if name not in (published := _published()):
        raise ConfigError(f"Unknown corpus {name!r}.", remedy=f"Choose one of: {', '.join(published)}.")
    return cast("Corpus", open_dataset(name, root, options))


def _published() -> list[str]:
    from affectkit.datasets import Corpus, corpora

    return [name for name, cls in corpora().items() if issubclass(cls, Corpus)]


def _check(name: str, root: Path, options: Mapping[str, Any], *, media: bool, file: Path | None) -> int:
    from affectkit.datasets.bases.corpus import compare_counts

    corpus = open_corpus(name, root, options)
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


def _rehearse(name: str, out: Path, **options: Any) -> int:
    from affectkit.rehearse import rehearse

    rehearse(name, out, **options)
    print(
        f"{out}: a rendered {name}, {options['size']}, in the layout of the real one; truths in {out / MANIFEST}"
    )
    print(f"compare: affectkit data check {name} {out}")
    return 0
