"""`affectkit crossval`: all folds of a protocol, one process each, into one table."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.arguments import add_shared, make_parser, parse_with_recipe, replacing
from affectkit.cli.files import check_files
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.datasets.bases.protocols import Protocol
    from affectkit.metrics import Result

__all__ = ["run"]

# Settings of the trainer that do not affect the results.
_HARDWARE = ("accelerator", "devices", "num_nodes", "enable_progress_bar", "default_root_dir", "logger")


def run(args: Sequence[str]) -> int:
    """Run the unfinished folds, or one of them, and reduce them when all are finished."""
    parser = make_parser(
        "crossval",
        "Train and test a recipe on every fold of its corpus's protocol, and report all folds as one.",
        "To continue a killed run, repeat its command. For job arrays, give all jobs the same --output and each "
        "its own --fold. Further options override the recipe, for example --trainer.max_epochs 20.",
        allow_abbrev=False,
    )
    add_shared(parser, "--config", required=True)
    parser.add_argument("--protocol", help="such as 3fold or loso (default: the corpus's usual one)")
    parser.add_argument(
        "--fold", help="only this fold: its name (part3, sub01), its number from 1, or me-graphau/1"
    )
    parser.add_argument(
        "--output", type=Path, help="results folder (default: runs/crossval/RECIPE-OVERLAY-SETTINGS)"
    )
    parser.add_argument(
        "--across",
        metavar="RECIPE",
        help="instead of folds, train on the whole corpus and test on that of this recipe, and the other way round",
    )
    options, recipe = parse_with_recipe(parser, args)
    check_files(recipe)
    from affectkit.cli.quiet import quietly

    with quietly():
        if options.across is None:
            return _run(args, options, recipe)
        from affectkit.cli.across import run_across

        return run_across(options, recipe)


def _run(args: Sequence[str], options: argparse.Namespace, recipe: Sequence[str]) -> int:
    from lightning.pytorch.utilities import rank_zero_only

    from affectkit.cli.folds import load_fold, merge_predictions, reduce_folds, run_fold
    from affectkit.cli.lightning import launch, launch_part
    from affectkit.datamodules import FoldDataModule

    parsed = launch_part(recipe, "data")  # what is missing is found before weights are loaded
    data = parsed.built
    if not isinstance(data, FoldDataModule):
        raise ConfigError(
            f"{type(data).__name__} has no protocol with folds.",
            remedy="Use the datamodule of a published corpus, such as BP4DDataModule.",
        )
    data.protocol_name = options.protocol or data.protocol_name
    data.fold = None
    protocol, folds = data.fold_protocol, data.folds()
    settings = {
        "protocol": protocol.name,
        **_settings(json.loads(parsed.parser.dump(parsed.config, format="json"))),
    }
    out = options.output or _folder(options.config, settings)
    folders = {fold.name: out / "folds" / fold.name.replace("/", "_") for fold in folds}
    if options.fold is None:
        left = [fold.name for fold in folds if not _finished(folders[fold.name], settings)]
        for fold in folds:
            if fold.name not in left:
                print(f"fold {fold.name}: finished before", flush=True)
            elif code := _spawn([*args, "--fold", fold.name]):
                print(f"fold {fold.name} failed; repeat the command to continue with it", file=sys.stderr)
                return code
        if left:
            return 0  # the process of the last fold has reported
    else:
        members = {name for fold in folds for name in (*fold.train, *fold.val, *fold.test)}
        fold = protocol.fold(options.fold, members, seed=data.split_seed)
        line = "finished before"
        if not _finished(folders[fold.name], settings):
            started = time.monotonic()
            cli = launch([*recipe, "--trainer.logger=false"], execute=False)
            cli.datamodule.protocol_name = data.protocol_name
            run_fold(cli, protocol, fold, folders[fold.name], settings)
            line = f"{time.monotonic() - started:.0f} s"
        if getattr(rank_zero_only, "rank", 0):
            return 0  # the first process reports
        line = "; ".join([_describe(load_fold(folders[fold.name]) or {}, protocol), line])
    states = [load_fold(folder) or {} for folder in folders.values() if _finished(folder, settings)]
    if options.fold is not None:
        print(f"fold {fold.name}: {line}; {len(states)} of {len(folds)} folds finished", flush=True)
    if len(states) < len(folds):
        return 0
    predictions = out / "predictions.csv"
    merge_predictions(folders, predictions)
    results = reduce_folds(states, protocol)
    _print(results)
    _write(out / "results.json", protocol, states, results)
    rendered = all(state.get("rendered") for state in states)
    page = _write_page(out, f"{protocol.corpus}: {', '.join(options.config)}", protocol, states, results)
    print(f"results: {out / 'results.json'}; page: {page}; predictions: {predictions}")
    if rendered:
        print("note: this corpus is a rendered rehearsal; its results say nothing about the real one")
    return 0


def _folder(recipes: Sequence[str], settings: Mapping[str, Any]) -> Path:
    """Default folder of a cross-validation: other settings have another one."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return Path("runs", "crossval", "-".join([*(Path(name).stem for name in recipes), digest]))


def _describe(state: Mapping[str, Any], protocol: Protocol) -> str:
    """Scores of a finished fold, the number of tested subjects or photographs, and labels that it could not learn."""
    from affectkit.cli.folds import fold_scores

    scores = [f"{key} {own[state['fold']]:.3f}" for key, own in fold_scores([state], protocol).items()]
    facts = [", ".join(scores), f"{len(state['subjects']['test'])} tested"]
    facts += [f"no training label for {', '.join(labels)}" for labels in state["unlearned"].values()]
    return "; ".join(facts)


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """Select the settings that affect the results."""
    kept = {name: config[name] for name in ("seed_everything", "model", "data")}
    return {**kept, "trainer": {k: v for k, v in config["trainer"].items() if k not in _HARDWARE}}


def _finished(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a fold is finished; raises `ConfigError` if it was run with other settings."""
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
    """Run a fold in its own process, so that it starts clean and leaves no memory behind."""
    return subprocess.run([sys.executable, "-m", "affectkit", "crossval", *args], check=False).returncode


def _print(results: Mapping[str, Sequence[Result]]) -> None:
    """Print the means as tables, with the protocol in the title."""
    from affectkit.metrics import as_text

    for name, rows in results.items():
        means = [row for row in rows if row.name.count("/") == 1]
        short = [replace(row, protocol=row.protocol.rpartition(", ")[2]) for row in means]
        print(as_text(short, title=f"{name}: {means[0].protocol.rpartition(', ')[0]}"))


def _write(
    path: Path,
    protocol: Protocol,
    states: Sequence[Mapping[str, Any]],
    results: Mapping[str, Sequence[Result]],
) -> None:
    facts = ("description", "reduction", "threshold_rule")
    content = {
        "corpus": protocol.corpus,
        "protocol": protocol.name,
        **{name: getattr(protocol, name) for name in facts},
        "folds": [
            {**{name: state[name] for name in ("fold", "epoch", "thresholds")}, **_members(state)}
            for state in states
        ],
        "results": {name: [row.to_dict() for row in rows] for name, rows in results.items()},
    }
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_page(
    out: Path,
    title: str,
    protocol: Protocol,
    states: Sequence[Mapping[str, Any]],
    results: Mapping[str, Sequence[Result]],
) -> Path:
    """Write `index.html`: means of whole corpora by all rules, each label by the protocol's rule, and all folds."""
    from affectkit.cli.folds import fold_scores, pooled_confusions
    from affectkit.inference.reports.report import write_report

    rows = [
        row
        for name, found in results.items()
        if name.count("/") == 1  # no group of people, and no corpus of a composite
        for row in found
        if row.name.count("/") == 1 or row.threshold_rule in (None, found[0].threshold_rule)
    ]
    return write_report(
        out,
        title=title,
        results=rows,
        confusions={f"{name}, all folds": counted for name, counted in pooled_confusions(states).items()},
        folds=fold_scores(states, protocol),
        facts={"Folds": len(states), "Protocol": protocol.name},
        rendered=all(state.get("rendered") for state in states),
    )


def _members(state: Mapping[str, Any]) -> dict[str, Any]:
    """Subjects of each part; their number if they are photographs."""
    people = any(count["over"] == "subjects" for count in state["counts"])
    return {part: names if people else len(names) for part, names in state["subjects"].items()}
