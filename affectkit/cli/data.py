"""`affectkit data`: check a table or a corpus, rehearse, prepare or render one, or ask a rater about its clips."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from affectkit.cli.arguments import add_shared, make_parser, progress_bar, read_options
from affectkit.errors import ConfigError, VideoError

if TYPE_CHECKING:
    from affectkit.datasets import AffectDataset, Corpus
    from affectkit.datasets.bases.corpus import Counts

__all__ = [
    "MANIFEST",
    "check",
    "open_corpus",
    "open_dataset",
    "prepare",
    "published",
    "questions",
    "rehearse",
    "render",
    "table",
]

MANIFEST = "rehearsal.json"
"""File in the folder of a rehearsal with its true counts."""

_LINES = 20  # of a list
_PARTS = 3  # in the table of counts
_REASONS = 5  # of failed frames
_PREPARE = """\
Align, crop and compress every frame of a corpus into Arrow files. A recipe reads them with
`--data.prepared OUTPUT` instead of the media and trains several times faster; labels, splits and folds
are still read from ROOT. The originals are only read. To continue an interrupted or killed run, repeat
its command; finished files are kept.
"""
_CROPS = """\
how the face is found (--crop):
  auto       by the landmarks of the corpus, and by the detector in frames without
  landmarks  by the landmarks only
  detect     by the detector only
  none       the whole frame, reduced if larger than --size: the default of corpora with cropped
             pictures; that of all others is auto
  center     the centred square of each frame
  x,y,w,h    a box in pixels, the same in all frames

Micro-expression clips have one place each, that of their onset, because aligning every frame would
hide the movement. Frames that cannot be read or show no face are listed in OUTPUT/failed.csv.
"""
_OTHERS = ("corpus", "root", "output", "detector", "option", "verify", "quiet")  # not settings of preparing


def check(args: Sequence[str]) -> int:
    """`affectkit data check`: compare a corpus with its published counts; 1 if it differs."""
    parser = make_parser("data check", "Compare a corpus on disk with its published counts.")
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
            print(f"{title}: {len(lines)}", *lines[:_LINES], sep="\n  ")
            if len(lines) > _LINES:
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


def table(args: Sequence[str]) -> int:
    """`affectkit data table`: check a table of one's own, and write a starting recipe for it."""
    from affectkit.cli.table import run

    return run(args)


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
    if len(found.parts) <= _PARTS:
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


def rehearse(args: Sequence[str]) -> int:
    """`affectkit data rehearse`: render a corpus in the layout of the real one."""
    from affectkit import rehearse as layouts

    parser = make_parser("data rehearse", "Render a corpus in the layout of the real one.")
    parser.add_argument("corpus", help=", ".join(layouts.rehearsals()))
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    parser.add_argument("--size", choices=("tiny", "small", "full"), default="tiny", help="number of clips")
    add_shared(parser, "--seed")
    parser.add_argument("--no-media", action="store_true", help="write only the annotation")
    add_shared(parser, "--option", help="option of the layout, such as kind=compound")
    options = parser.parse_args(args)
    name, out, size = options.corpus.lower(), options.output, options.size
    settings = read_options(options.option)
    layouts.rehearse(name, out, size=size, seed=options.seed, media=not options.no_media, **settings)
    print(f"{out}: a rendered {name}, {size}, in the layout of the real one; true counts in {out / MANIFEST}")
    print(f"compare: affectkit data check {name} {out}")
    return 0


def prepare(args: Sequence[str]) -> int:
    """`affectkit data prepare`: make aligned face crops of a corpus, or continue."""
    from affectkit.datasets import corpora

    parser = make_parser("data prepare", _PREPARE, _CROPS)
    add = parser.add_argument
    add("corpus", help=", ".join(corpora()))
    add("root", type=Path, help="folder of the corpus, as distributed")
    add("--output", required=True, help="folder to write, or its URI: file://…, s3://…, gs://…, hdfs://…")
    add("--size", type=int, default=256, help="side of a picture in pixels")
    add("--crop", help="how the face is found, see below (default: that of the corpus)")
    add("--detector", default="centerface", choices=("centerface", "none"), help="face detector")
    add(
        "--margin",
        type=float,
        default=0.15,
        help="margin around an aligned face, as a share of the picture's side",
    )
    add(
        "--fill",
        type=int,
        default=12,
        help="a frame without a face takes the place of the nearest one with a face, at most this many frames "
        "away; 0 leaves it out",
    )
    add("--codec", default="jpeg", choices=("jpeg", "png", "webp"), help="compression; png is lossless")
    add("--quality", type=int, default=95, help="1 to 100, of jpeg and webp")
    add(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        help="processes; 0 works in this one",
    )
    add_shared(
        parser,
        "--engine",
        help="ray: --workers on a cluster (RAY_ADDRESS) whose machines all see root and output, or on this one",
    )
    add("--shard-frames", type=int, default=1024, help="approximate frames per file")
    add_shared(parser, "--option", help="option of the dataset, such as camera=right or media=preview")
    add("--retry", action="store_true", help="make files with failed frames again")
    add("--verify", action="store_true", help="finally compare all files with their checksums")
    add_shared(parser, "--quiet")
    options = parser.parse_args(args)
    from rich.progress import MofNCompleteColumn

    from affectkit.data.shards import CropShards
    from affectkit.data.storage import join_location
    from affectkit.datasets import preparing
    from affectkit.faces import CenterFace

    dataset = open_dataset(options.corpus.lower(), options.root, read_options(options.option))
    detects = options.detector != "none" and (options.crop or dataset.crop) in ("auto", "detect")
    with progress_bar(options.quiet, MofNCompleteColumn()) as bar:
        task = bar.add_task(f"{dataset.name}, frames", total=None)
        done = preparing.prepare(
            dataset,
            options.output,
            detector=CenterFace() if detects else None,
            **{name: value for name, value in vars(options).items() if name not in _OTHERS},
            progress=lambda count, total: bar.update(task, completed=count, total=total),
        )
    if options.verify:
        CropShards(options.output).verify()
    print(
        f"{done.location}: {done.frames - done.failed} crops of {done.clips} clips in {done.shards} files "
        f"({done.made} made now); {done.failed} frames failed"
        + (", all checksums match" if options.verify else "")
    )
    for reason, count in list(done.reasons.items())[:_REASONS]:
        print(f"  {count} × {reason}")
    if done.failed:
        print(
            f"failed frames: {join_location(done.location, 'failed.csv')}; correct them and run again with --retry"
        )
    if done.failed == done.frames:
        raise VideoError(
            "No frame gave a crop.", path=options.root, remedy="See failed.csv; check --crop and the media."
        )
    print(f"train with it: affectkit fit --config RECIPE --data.prepared {shlex.quote(done.location)}")
    return 0


def render(args: Sequence[str]) -> int:
    """`affectkit data render`: render a corpus of synthetic faces, or report an existing one."""
    description = "Render face clips from a FACS rig: exact AU intensities, expressions and 68 landmarks."
    parser = make_parser("data render", description)
    add = parser.add_argument
    add("--output", required=True, type=Path, help="folder to write")
    add("--identities", type=int, default=40, help="people, each in one split only")
    add("--clips", type=int, default=7, help="clips per person")
    add("--frames-per-clip", type=int, default=16, help="length of a clip")
    add("--size", type=int, default=112, help="side of a frame in pixels")
    add(
        "--regime",
        choices=("macro", "micro", "varied", "engagement"),
        default="macro",
        help="kind of movements",
    )
    add("--domain", choices=("studio", "webcam"), default="studio", help="recording conditions")
    add("--media", choices=("video", "frames"), default="video", help="storage of frames")
    add(
        "--association",
        type=Path,
        metavar="CSV",
        help="P(unit | expression) instead of that of FACS: expression,AU1,AU2,… and a row for each expression",
    )
    add_shared(parser, "--seed")
    add("--workers", type=int, default=2, help="processes; they do not affect the result")
    options = vars(parser.parse_args(args))
    from affectkit.synth import render_corpus

    root = render_corpus(options.pop("output"), num_workers=options.pop("workers"), **options)
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    people = ", ".join(f"{len(names)} {split}" for split, names in manifest["subjects"].items())
    print(
        f"{root}: {manifest['num_clips']} rendered clips, {manifest['num_frames']} frames; people: {people}"
    )
    print("occurrence: " + ", ".join(f"{unit} {rate:.2f}" for unit, rate in manifest["prevalence"].items()))
    if (ceiling := manifest["expression_uar_ceiling"]) is not None:
        print(f"best expression UAR possible from the true action units: {ceiling:.3f}")
    return 0


def questions(args: Sequence[str]) -> int:
    """`affectkit data questions`: write the questions of a rater about every clip of a corpus."""
    from affectkit.datasets import corpora

    description = "Write a table of questions about every clip, for a rater such as a vision-language model."
    parser = make_parser("data questions", description)
    parser.add_argument("corpus", help=", ".join(corpora()))
    parser.add_argument("root", type=Path, help="folder of the corpus, as distributed")
    parser.add_argument(
        "--output", required=True, type=Path, help="CSV file to write: clip,path,question,text"
    )
    parser.add_argument(
        "--questions",
        type=Path,
        metavar="CSV",
        help="columns question and text; about engagement by default",
    )
    add_shared(parser, "--option", help="option of the dataset, such as split=train")
    options = parser.parse_args(args)
    from affectkit.data.tables import read_table
    from affectkit.methods.engagement import QUESTIONS, write_questions

    texts = dict(QUESTIONS)
    if options.questions is not None:
        table = read_table(options.questions).with_names(("question", "text"))
        if missing := sorted({"question", "text"} - table.columns.keys()):
            raise table.error(
                f"The column {missing[0]} is missing.", remedy="Write the columns question and text."
            )
        rows = [(table.text("question", row), table.text("text", row)) for row in range(len(table))]
        texts = {name: text for name, text in rows if name and text}
    dataset = open_dataset(options.corpus.lower(), options.root, read_options(options.option))
    count = write_questions(options.output, dataset.clips, texts)
    print(f"{options.output}: {count} questions about {len(dataset)} clips of {dataset.name}")
    print("answers: a table with the columns clip, question and answer (0 to 1); see docs/engagement.md")
    return 0


def open_dataset(name: str, root: Path, options: Mapping[str, Any]) -> AffectDataset:
    """Open a registered dataset by its name in any capitals, with options of its class."""
    from affectkit.datasets import find_corpus
    from affectkit.datasets.registry import keyword_options

    cls = find_corpus(name)
    known = keyword_options(cls)
    if unknown := sorted(options.keys() - known.keys()):
        raise ConfigError(
            f"{name} does not have the option {', '.join(unknown)}.", remedy=f"Options: {', '.join(known)}."
        )
    return cls(root, **options)


def open_corpus(name: str, root: Path, options: Mapping[str, Any]) -> Corpus:
    """Open a dataset with published counts."""
    if name not in (known := published()):
        raise ConfigError(f"Unknown corpus {name!r}.", remedy=f"Choose one of: {', '.join(known)}.")
    return cast("Corpus", open_dataset(name, root, options))


def published() -> list[str]:
    """Names of the datasets that are published corpora."""
    from affectkit.datasets import Corpus, corpora

    return [name for name, cls in corpora().items() if issubclass(cls, Corpus)]
