"""`affectkit crossval`: all folds of a protocol, one process each, into one table."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.options import check_options
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.datasets.bases.protocols import Protocol
    from affectkit.metrics import Result

__all__ = ["run"]

# Where and how fast a recipe runs does not change what it finds.
_HARDWARE = ("accelerator", "devices", "num_nodes", "enable_progress_bar", "default_root_dir", "logger")


def run(args: Sequence[str]) -> int:
    """Run the folds that are not finished, or one of them; reduce them once all are."""
    parser = argparse.ArgumentParser(
        prog="affectkit crossval",
        description="Train and test a recipe on every fold of its corpus's protocol, and report all folds as one.",
        epilog="A killed run continues when the same command is given again. For job arrays, give each job the same "
        "--output and a --fold of its own. Further options override the recipe, for example --trainer.max_epochs 20.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", "-c", action="append", required=True, help="recipe; may be given again to overlay"
    )
    parser.add_argument("--protocol", help="such as 3fold or loso (default: the corpus's usual one)")
    parser.add_argument(
        "--fold", help="run this fold only: its name (part3, sub01), its place from 1, or me-graphau/1"
    )
    parser.add_argument(
        "--output", type=Path, help="folder of the results (default: runs/crossval/RECIPE-OVERLAY)"
    )
    options, overrides = parser.parse_known_args(args)
    recipe = [*(argument for name in options.config for argument in ("--config", name)), *overrides]
    check_options(None, recipe)
    from affectkit.cli.lightning import quietly

    with quietly():
        return _run(args, options, recipe)


def _run(args: Sequence[str], options: argparse.Namespace, recipe: Sequence[str]) -> int:
    from affectkit.cli.folds import load_fold, merge_predictions, reduce_folds, run_fold
    from affectkit.cli.lightning import launch
    from affectkit.datamodules import FoldDataModule

    cli = launch([*recipe, "--trainer.logger=false"], execute=False)
    data = cli.datamodule
    if not isinstance(data, FoldDataModule):
        raise ConfigError(
            f"{type(data).__name__} has no protocol with folds.",
            remedy="Cross-validation needs the datamodule of a published corpus, such as BP4DDataModule.",
        )
    data.protocol_name = options.protocol or data.protocol_name
    data.fold = None
    protocol, folds = data.fold_protocol, data.folds()
    settings = {
        "protocol": protocol.name,
        **_settings(json.loads(cli.parser.dump(cli.config, format="json"))),
    }
    out = options.output or Path("runs", "crossval", "-".join(Path(name).stem for name in options.config))
    folders = {fold.name: out / "folds" / fold.name.replace("/", "_") for fold in folds}
    if options.fold is None:
        left = [fold.name for fold in folds if not _finished(folders[fold.name], settings)]
        for fold in folds:
            if fold.name not in left:
                print(f"fold {fold.name}: finished before", flush=True)
            elif code := _spawn([*args, "--fold", fold.name]):
                print(f"fold {fold.name} failed; the same command continues with it", file=sys.stderr)
                return code
        if left:
            return 0  # the process of the last one has reported
    else:
        members = {name for fold in folds for name in (*fold.train, *fold.val, *fold.test)}
        fold = protocol.fold(options.fold, members, seed=data.split_seed)
        if not _finished(folders[fold.name], settings):
            run_fold(cli, protocol, fold, folders[fold.name], settings)
        if cli.trainer.is_global_zero:
            print(f"fold {fold.name}: finished, {len(fold.test)} tested", flush=True)
    if not cli.trainer.is_global_zero:
        return 0
    done = [load_fold(folder) for folder in folders.values() if _finished(folder, settings)]
    if len(done) < len(folds):
        print(f"{len(done)} of {len(folds)} folds are finished")
        return 0
    states = [state for state in done if state is not None]
    merge_predictions(folders, out / "predictions.csv")
    results = reduce_folds(states, protocol)
    _print(results)
    _write(out, protocol, states, results)
    rendered = all(state.get("rendered") for state in states)
    page = _write_page(out, f"{protocol.corpus}: {', '.join(options.config)}", results, len(folds), rendered)
    print(f"results: {out / 'results.json'}; page: {page}; predictions: {out / 'predictions.csv'}")
    if rendered:
        print("note: this corpus is a rendered rehearsal; its numbers say nothing about the real one")
    return 0


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """What of a configuration decides the result."""
    kept = {name: config[name] for name in ("seed_everything", "model", "data")}
    return {**kept, "trainer": {k: v for k, v in config["trainer"].items() if k not in _HARDWARE}}


def _finished(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a fold is finished, with these settings.

    Raises:
        ConfigError: It was run with others.
    """
    from affectkit.cli.folds import load_fold

    state = load_fold(folder)
    if state is not None and state["settings"] != settings:
        raise ConfigError(
            "This fold was run with other settings.",
            path=folder,
            remedy="Choose another --output, or remove the folder.",
        )
    return state is not None


def _spawn(args: Sequence[str]) -> int:
    """Run a fold in a process of its own, so that it starts clean and leaves no memory behind."""
    return subprocess.run([sys.executable, "-m", "affectkit", "crossval", *args], check=False).returncode


def _print(results: Mapping[str, Sequence[Result]]) -> None:
    """Print the means as tables."""
    from affectkit.metrics import as_text

    for name, rows in results.items():
        means = [row for row in rows if row.name.count("/") == 1]
        # The protocol stands in every row of the file, and in the table once.
        short = [replace(row, protocol=row.protocol.rpartition(", ")[2]) for row in means]
        print(as_text(short, title=f"{name}: {means[0].protocol.rpartition(', ')[0]}"))


def _write(
    out: Path,
    protocol: Protocol,
    states: Sequence[Mapping[str, Any]],
    results: Mapping[str, Sequence[Result]],
) -> None:
    """Write `results.json`."""
    content = {
        "corpus": protocol.corpus,
        "protocol": protocol.name,
        "description": protocol.description,
        "reduction": protocol.reduction,
        "threshold_rule": protocol.threshold_rule,
        "folds": [
            {
                "fold": state["fold"],
                "epoch": state["epoch"],
                "thresholds": state["thresholds"],
                **_members(state),
            }
            for state in states
        ],
        "results": {name: [row.to_dict() for row in rows] for name, rows in results.items()},
    }
    unfinished = out / "results.json.part"
    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(out / "results.json")


def _write_page(
    out: Path, title: str, results: Mapping[str, Sequence[Result]], folds: int, rendered: bool
) -> Path:
    """Write `index.html`: means of whole corpora by all rules, and each label by the protocol's rule."""
    from affectkit.inference.reports.report import write_report

    rows = [
        row
        for name, found in results.items()
        if name.count("/") == 1  # no group of people, and no corpus of a composite
        for row in found
        if row.name.count("/") == 1 or row.threshold_rule in (None, found[0].threshold_rule)
    ]
    return write_report(out, title=title, results=rows, facts={"Folds": folds}, rendered=rendered)


def _members(state: Mapping[str, Any]) -> dict[str, Any]:
    """Who was trained on, validated on and tested; how many, where photographs stand for people."""
    people = any(count["has_subjects"] for count in state["counts"])
    return {part: names if people else len(names) for part, names in state["subjects"].items()}
