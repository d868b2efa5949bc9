"""`affectkit data table`: check a table of one's own before training, and write a starting recipe for it."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.arguments import add_shared, make_parser, print_notes, progress
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.datasets.preparing.table_check import FaceSearch, LabelCounts
    from affectkit.datasets.table import TableDataset

__all__ = ["run", "starting_recipe"]

_ABOUT = """\
Check a table of your own clips: the columns that are read and ignored, labels and subjects of each split, media that
cannot be read, and faces that are not found. Write a starting recipe for it. The exit code is 1 if the table cannot
be trained as it is.
"""
_SHOWN = 10  # names in a list
_TARGETS = ("au", "expression", "intensity", "va", "levels")  # in the order of recipes
_RECIPE = """\
# Starting recipe for {table}. Adapt it as you like; the table's labels decide the heads.
#
# affectkit fit --config {recipe}
# affectkit test --config {recipe} --ckpt_path {best}
# affectkit model export --model {best} --output {model}
# affectkit predict --model {model} --input new.mp4 --output new.csv
seed_everything: 0

trainer:
  max_epochs: 20
  gradient_clip_val: 1.0
  num_sanity_val_steps: 0
  default_root_dir: {runs}
  logger:
    class_path: lightning.pytorch.loggers.CSVLogger
    init_args: {{save_dir: {runs}, name: logs}}
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args:
        dirpath: {runs}
        filename: best
        monitor: val/table/{monitor}
        mode: max
        enable_version_counter: false

model:
  class_path: MultiTask
  init_args:
    backbone: {{class_path: TimmBackbone, init_args: {{model_name: resnet18, pretrained: true, size: 224}}}}
{temporal}    heads:
{heads}    lr: 1.0e-4

data:
  class_path: TableDataModule
  init_args:
    root: {table}
{options}"""


def run(args: Sequence[str]) -> int:
    """Check a table and write its recipe; 1 if it cannot be trained as it is."""
    parser = make_parser("data table", _ABOUT)
    add = parser.add_argument
    add("table", type=Path, help="the table, or the folder of its index.csv, .tsv, .xlsx or .parquet")
    add("--output", type=Path, metavar="FILE", help="recipe to write (default: NAME.yaml in this folder)")
    add(
        "--faces",
        default="50",
        metavar="N|all|none",
        help="search faces in the middle frame of N clips, or in all frames of all clips, which training would do "
        "otherwise",
    )
    add("--crops", action="store_true", help="the media are face crops already: search and crop no faces")
    add("--levels", metavar="LIST", help="words of the column `level` from the lowest to the highest")
    add("--workers", type=int, default=0, help="processes that search all frames; 0 works in this one")
    add_shared(parser, "--quiet")
    options = parser.parse_args(args)
    faces = "none" if options.crops else options.faces
    if not (faces in ("all", "none") or (faces.isdigit() and int(faces) > 0)):
        raise ConfigError(f"--faces {faces!r} is neither a number of clips, nor all or none.")
    from affectkit.datasets.preparing.table_check import count_labels, find_unreadable, search_faces
    from affectkit.datasets.table import TableDataset

    cropped: dict[str, Any] = {"pictures": 224} if faces == "all" else {}
    dataset = TableDataset(options.table, levels=options.levels, **cropped)
    _print_columns(dataset)
    labels = count_labels(dataset)
    faults, notes = _judge(dataset, labels)
    _print_counts(dataset, labels)
    unreadable = find_unreadable(dataset)
    if unreadable:
        faults.append(f"{len(unreadable)} of {len(dataset)} clips cannot be read")
    _print_list("cannot be read", [f"{clip}: {fault}" for clip, fault in unreadable.items()])
    if faces != "none" and len(unreadable) < len(dataset):
        with progress("Searching faces", quiet=options.quiet) as show:
            found = search_faces(
                dataset,
                list(unreadable),
                sample=None if faces == "all" else int(faces),
                workers=options.workers,
                progress=show,
            )
        _print_faces(found, len(dataset), whole=faces == "all")
        if len(found.faceless) == found.clips:
            faults.append("no face was found; if the media are face crops already, use --crops")
    print_notes(*notes)
    _print_list("to correct", faults)
    if not labels:
        return 1
    recipe = options.output or Path(f"{_name(dataset)}.yaml")
    if recipe.exists():
        print(f"recipe: {recipe} exists and is kept; --output FILE writes another one")
    else:
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text(starting_recipe(dataset, labels, recipe, crops=options.crops), encoding="utf-8")
        print(f"recipe: {recipe}")
    if not faults:
        print(f"train: affectkit fit --config {shlex.quote(str(recipe))}")
    return 1 if faults else 0


def starting_recipe(
    dataset: TableDataset, labels: Mapping[str, LabelCounts], recipe: Path, *, crops: bool
) -> str:
    """Write a recipe for the labels of a table.

    Args:
        dataset: The table, with all splits.
        labels: Its labels, at least one.
        recipe: Path of the recipe.
        crops: Whether the media are face crops.

    Returns:
        YAML.
    """
    from affectkit.data.video import IMAGE_SUFFIXES
    from affectkit.metrics import metric_of

    learned = {
        name: one
        for name, one in labels.items()
        if any(n for (_, s), n in one.annotated.items() if s == "train")
    }
    learned = learned or dict(labels)
    names = sorted(learned, key=_TARGETS.index)
    monitor = metric_of(learned[names[0]].space, 1).monitor
    photos = all(record.path.suffix.lower() in IMAGE_SUFFIXES for record in dataset.clips)
    given: dict[str, Any] = {
        "num_frames": 1 if photos else 8,
        "batch_size": 32 if photos else 8,
        "num_workers": min(4, os.cpu_count() or 1),
        **({"crop_faces": "false"} if crops else {}),
        **({"levels": json.dumps(dataset.levels, ensure_ascii=False)} if dataset.levels else {}),
    }
    runs = f"runs/{recipe.stem}"
    temporal = "    temporal: {class_path: TemporalTransformer, init_args: {heads: 8, dropout: 0.1}}\n"
    return _RECIPE.format(
        table=json.dumps(str(dataset.root), ensure_ascii=False),
        recipe=shlex.quote(str(recipe)),
        runs=json.dumps(runs, ensure_ascii=False),
        best=shlex.quote(f"{runs}/best.ckpt"),
        model=shlex.quote(f"{runs}/model"),
        monitor=f"{names[0]}/{monitor}",
        temporal="" if photos else temporal,
        heads="".join(_head(name, learned[name]) for name in names),
        options="".join(f"    {key}: {value}\n" for key, value in given.items()),
    )


def _head(name: str, labels: LabelCounts) -> str:
    """Lines of the head of a target, for the classes that training clips have."""
    from affectkit.facs import ExpressionSet
    from affectkit.models import Head, list_models
    from affectkit.models.registry import find

    classes: list[type[Head]] = [find("head", one) for one in list_models("head")]
    fitting = (one for one in classes if one.target == name and one.kind == labels.space.kind)
    space = labels.space
    shown = [label for label in space.labels if labels.shown[label, "train"]]
    if isinstance(space, ExpressionSet) and 1 < len(shown) < len(space):
        space = ExpressionSet(tuple(shown))
    per_frame = ", per_frame: true" if labels.unit == "frames" else ""
    return (
        f"      {name}:\n"
        f"        class_path: {next(fitting).__name__}\n"
        f'        init_args: {{space: "{space.name}"{per_frame}, dropout: 0.2}}\n'
    )


def _name(dataset: TableDataset) -> str:
    """Name of a table for files: that of its folder, or its own if it is not called index."""
    table = dataset.index.path.resolve()
    name = table.parent.name if table.stem == "index" else table.stem
    return re.sub(r"\W+", "-", name).strip("-") or "own"


def _judge(dataset: TableDataset, labels: Mapping[str, LabelCounts]) -> tuple[list[str], list[str]]:
    """Faults that prevent training, and notes."""
    table = dataset.index
    splits = {table.text("split", row) for row in range(len(table))}
    missing = [split for split in ("train", "val") if split not in splits]
    faults = [f"no clip has the split {split}: fill in the column `split`" for split in missing]
    notes = []
    if "test" not in splits:
        notes.append("no clip has the split test, so there is nothing to test on")
    if not dataset.has_subjects:
        notes.append(
            "there is no column `subject`: people may be in several splits, and intervals are too narrow"
        )
    if not labels:
        faults.append("no column with labels is read, such as AU12, expression, valence or level")
    for name, one in labels.items():
        shown = one.shown or one.annotated
        unseen = [label for label in one.space.labels if not shown[label, "train"]]
        if len(unseen) == len(one.space):
            faults.append(f"no training clip has a label of {name}")
        elif unseen:
            notes.append(f"{name}: no training clip shows {', '.join(unseen)}")
    return faults, notes


def _print_columns(dataset: TableDataset) -> None:
    ignored = [
        name if near is None else f"{name} (did you mean {near}?)" for name, near in dataset.ignored.items()
    ]
    read = [name for name in dataset.index.columns if name not in dataset.ignored]
    print(f"{dataset.index.path}: {len(dataset)} clips")
    print(f"columns read: {', '.join(read)}")
    print(f"columns ignored: {', '.join(ignored) or 'none'}")


def _print_counts(dataset: TableDataset, labels: Mapping[str, LabelCounts]) -> None:
    """Print clips, subjects and labels of each split."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from affectkit.datasets.preparing.table_check import SPLITS, split_of

    rows = [(split_of(dataset, record.extra["row"]), record.subject) for record in dataset.clips]
    splits = [split for split in SPLITS if any(one == split for one, _ in rows)]
    table = Table(box=box.ASCII)
    table.add_column("count", no_wrap=True)
    for split in splits:
        table.add_column(split, justify="right")
    table.add_row("clips", *(str(sum(one == split for one, _ in rows)) for split in splits))
    if dataset.has_subjects:
        table.add_row("subjects", *(str(len({who for one, who in rows if one == s})) for s in splits))
    for name, one in labels.items():
        for label in one.space.labels:
            table.add_row(f"{name} {label}, {one.unit}", *(_cell(one, label, split) for split in splits))
    Console(width=120, color_system=None).print(table)


def _cell(labels: LabelCounts, label: str, split: str) -> str:
    """Counts of a label: how often it is shown of how many annotated ones, or the mean of a dimension."""
    if labels.space.indexed:
        return str(labels.shown[label, split])
    known = labels.annotated[label, split]
    low, _ = labels.space.value_range
    if low == 0:
        return f"{labels.shown[label, split]} of {known}"
    return f"{known}, mean {labels.sums[label, split] / known:.2f}" if known else "0"


def _print_faces(found: FaceSearch, clips: int, *, whole: bool) -> None:
    where = (
        "all frames of all clips that can be read"
        if whole
        else f"the middle frame of {found.clips} of {clips} clips"
    )
    print(f"faces: in {found.seen} of {found.frames} frames ({where})")
    _print_list("no face found", found.faceless)


def _print_list(title: str, lines: Sequence[str]) -> None:
    if lines:
        print(f"{title}: {len(lines)}", *lines[:_SHOWN], sep="\n  ")
        if len(lines) > _SHOWN:
            print("  …")
