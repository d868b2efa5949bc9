"""One fold of a cross-validation, from training to saved counts, and all folds into one table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torchmetrics.utilities import dim_zero_cat

from affectkit.cli.lightning import AffectCLI
from affectkit.cli.truths import add_truths
from affectkit.datasets.bases.protocols import Fold, Protocol
from affectkit.errors import ConfigError
from affectkit.facs import label_space
from affectkit.metrics import (
    Result,
    Tally,
    ThresholdedMetric,
    ThresholdRule,
    collect_results,
    mean_of_folds,
    metric_of,
    pooled,
)
from affectkit.tasks.callbacks import NEWEST, NewestCheckpoint, PredictionsWriter, ResultsWriter

__all__ = ["FINISHED", "load_fold", "merge_predictions", "reduce_folds", "run_fold"]

FINISHED = "fold.pt"
"""What a fold writes last; a fold without it is not finished."""

PREDICTIONS = "predictions.csv"

_REDUCE = {"mean_of_folds": mean_of_folds, "pooled": pooled}
_REDUCTIONS = {"mean_of_folds": "mean of the folds", "pooled": "predictions of all folds pooled"}


def run_fold(cli: AffectCLI, protocol: Protocol, fold: Fold, folder: Path, settings: Any) -> None:
    """Train, test and predict one fold; a killed run of it continues from its last checkpoint.

    Args:
        cli: Task, data and trainer, not yet used.
        protocol: Says which epoch is tested: the last one, or the best on the validation subjects.
        fold: The fold.
        folder: Where everything it writes belongs.
        settings: Kept with the counts, so that folds of different settings are never mixed.

    Raises:
        ConfigError: The recipe does not choose the epoch as the protocol demands.
    """
    trainer, task, data = cli.trainer, cli.model, cli.datamodule
    best = _monitor(trainer, protocol)
    folder.mkdir(parents=True, exist_ok=True)
    data.fold = fold.name
    trainer.logger = CSVLogger(folder, name="logs")
    kept = (folder / "checkpoints").resolve()
    newest = kept / NEWEST
    trainer.callbacks = [  # type: ignore[attr-defined]
        *(one for one in trainer.callbacks if not isinstance(one, ResultsWriter | ModelCheckpoint)),  # type: ignore[attr-defined]
        *([] if best is None else [best]),
        NewestCheckpoint(str(kept)),
    ]
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, PredictionsWriter):
            callback.filename = str((folder / PREDICTIONS).resolve())
    if best is not None:
        best.dirpath = str(kept)
    trainer.fit(task, datamodule=data, ckpt_path=newest if newest.is_file() else None, weights_only=True)
    chosen = str(newest) if best is None else best.best_model_path
    trainer.test(task, datamodule=data, ckpt_path=chosen, weights_only=True, verbose=False)
    counts = [(one, _state(one.metric)) for one in task.metric_states()]
    trainer.predict(task, datamodule=data, ckpt_path=chosen, weights_only=True, return_predictions=False)
    if trainer.is_global_zero:
        add_truths(folder / PREDICTIONS, data.datasets[data.predict_split], task.heads.values())
        state = {
            "fold": fold.name,
            "epoch": int(torch.load(chosen, weights_only=True, map_location="cpu")["epoch"]),
            "subjects": {part: list(getattr(fold, part)) for part in ("train", "val", "test")},
            "people": {name: list(values) for name, values in data.datasets["test"].people().items()},
            "settings": settings,
            "rendered": data.datasets["test"].rendered,
            "thresholds": task.thresholds,
            "counts": [
                {
                    "dataset": one.dataset,
                    "head": one.title,
                    "name": one.name,
                    "note": one.note,
                    "space": one.space.name,
                    "num_groups": one.metric.num_groups,
                    "has_subjects": bool(data.datasets["test"].has_subjects),
                    "state": state,
                }
                for one, state in counts
            ],
        }
        unfinished = folder / f"{FINISHED}.part"
        torch.save(state, unfinished)
        unfinished.replace(folder / FINISHED)


def _monitor(trainer: Trainer, protocol: Protocol) -> ModelCheckpoint | None:
    """The callback that finds the best epoch; None where the protocol takes the last one.

    Raises:
        ConfigError: The recipe does not choose the epoch as the protocol demands.
    """
    if protocol.threshold_rule == "val":
        for checkpoint in trainer.checkpoint_callbacks:
            if isinstance(checkpoint, ModelCheckpoint) and checkpoint.monitor is not None:
                return checkpoint
        raise ConfigError(
            f"The protocol {protocol.name} takes the epoch that is best on the validation subjects, but the "
            "recipe does not say by which number.",
            remedy="Give it a ModelCheckpoint with a `monitor`, such as "
            f"val/{protocol.corpus}/au/f1_pos, and `mode: max`.",
        )
    if trainer.early_stopping_callback is not None:
        raise ConfigError(
            f"The protocol {protocol.name} trains a fixed number of epochs, but the recipe stops early.",
            remedy=f"Remove {EarlyStopping.__name__} and set trainer.max_epochs.",
        )
    return None


def _state(metric: Any) -> dict[str, torch.Tensor]:
    """The counts of a metric over all processes."""
    with metric.sync_context():
        return {name: dim_zero_cat(value).cpu().clone() for name, value in metric.metric_state.items()}


def load_fold(folder: Path) -> dict[str, Any] | None:
    """What a finished fold has saved; None where it is not finished."""
    path = folder / FINISHED
    return torch.load(path, weights_only=True) if path.is_file() else None


def reduce_folds(folds: Sequence[Mapping[str, Any]], protocol: Protocol) -> dict[str, list[Result]]:
    """Turn the counts of all folds into results with intervals, baselines and threshold rules.

    The protocol's threshold rule comes first and the other one beside it. Intensities are given by both
    reductions, since publications differ and seldom say. A composite of corpora is also given corpus by corpus,
    from the same predictions, and a corpus that says something of its people group by group.

    Args:
        folds: From `load_fold`.
        protocol: How folds are reduced.

    Returns:
        Results by `dataset/head`, of a corpus in a composite by `dataset/corpus/head`, and of a group of people by
        `dataset/head/sex=female`.
    """
    groups = {"": folds}
    for corpus in dict.fromkeys(fold["fold"].rpartition("/")[0] for fold in folds):
        groups[corpus] = [fold for fold in folds if fold["fold"].rpartition("/")[0] == corpus]
    found: dict[str, list[Result]] = {}
    for corpus, its_folds in groups.items():
        for place, first in enumerate(folds[0]["counts"]):
            key = "/".join(filter(None, (first["dataset"], corpus, first["head"])))
            found[key] = _reduce(its_folds, place, protocol, corpus)
            for group, members in _members(its_folds).items():
                having = [fold for fold, rows in zip(its_folds, members, strict=True) if rows]
                found[f"{key}/{group}"] = _reduce(
                    having, place, protocol, corpus, (group, [rows for rows in members if rows])
                )
    return found


def _members(folds: Sequence[Mapping[str, Any]]) -> dict[str, list[list[int]]]:
    """By `attribute=value`, the places of those tested people who have it, fold by fold."""
    people = [fold.get("people", {}) for fold in folds]
    return {
        f"{attribute}={value}": [
            [place for place, one in enumerate(its[attribute]) if one == value] for its in people
        ]
        for attribute in people[0]
        if len(known := sorted({one for its in people for one in its[attribute] if one is not None})) > 1
        for value in known
    }


def _reduce(
    folds: Sequence[Mapping[str, Any]],
    place: int,
    protocol: Protocol,
    corpus: str,
    group: tuple[str, Sequence[Sequence[int]]] | None = None,
) -> list[Result]:
    """The results of one metric over some folds, for all tested people or a group of them, by place in each fold."""
    counts = [fold["counts"][place] for fold in folds]
    head = counts[0]["head"]
    metric = type(metric_of(label_space(counts[0]["space"]), 1))
    reductions: list[str] = [protocol.reduction]
    if metric.both_reductions:
        reductions += [name for name in _REDUCE if name != protocol.reduction]
    rules: tuple[ThresholdRule, ...] = ("fixed",)
    if metric.thresholded and all(head in fold["thresholds"] for fold in folds):
        rules = ("val", "fixed") if protocol.threshold_rule == "val" else ("fixed", "val")
    note = f"; {counts[0]['note']}" if counts[0].get("note") else ""
    folds_text = f"{protocol.description}{note}; {len(folds)} folds{' of ' if corpus else ''}{corpus}"
    if group is not None:
        folds_text += f"; {group[0]} alone, {sum(len(members) for members in group[1])} people"
    rows: list[Result] = []
    for rule in rules:
        tallies = [
            _tally(count, fold["thresholds"][head] if rule == "val" else 0.5)
            for count, fold in zip(counts, folds, strict=True)
        ]
        if group is not None:
            tallies = [tally.only(members) for tally, members in zip(tallies, group[1], strict=True)]
        for reduction in reductions:
            found = collect_results(
                _REDUCE[reduction](tallies),
                counts[0].get("name", head),
                metric,
                protocol=f"{folds_text}, {_REDUCTIONS[reduction]}",
                threshold_rule=rule,
                resampled="subjects" if counts[0]["has_subjects"] else "clips",
                per_label=True,
            )
            # What needs no threshold is the same by every rule.
            rows += [row for row in found if rule == rules[0] or row.threshold_rule is not None]
    return rows


def _tally(count: Mapping[str, Any], thresholds: Any) -> Tally:
    # The counts are those of all processes, and only the first process reduces them.
    metric = metric_of(label_space(count["space"]), count["num_groups"], sync_on_compute=False)
    metric.persistent(True)
    metric.load_state_dict(count["state"])
    return metric.tally(thresholds) if isinstance(metric, ThresholdedMetric) else metric.tally()


def merge_predictions(folders: Mapping[str, Path], path: Path) -> None:
    """Join the predictions of all folds into one table, the fold in its first column.

    Args:
        folders: Folder of each fold, by name.
        path: The table to write.
    """
    unfinished = path.with_name(f"{path.name}.part")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        header: list[str] | None = None
        for name, folder in folders.items():
            with (folder / PREDICTIONS).open(newline="", encoding="utf-8") as rows:
                reader = csv.reader(rows)
                its_header = ["fold", *next(reader)]
                if header is None:
                    header = its_header
                    writer.writerow(header)
                writer.writerows([name, *row] for row in reader)
    unfinished.replace(path)
