"""One fold of a cross-validation, from training to saved metric states, and all folds into tables."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from affectkit.cli.arguments import replacing
from affectkit.cli.lightning import AffectCLI
from affectkit.cli.loggers import make_logger
from affectkit.cli.one_job import one_job
from affectkit.cli.progress import BestEpoch, TrainingBar
from affectkit.datasets.bases.protocols import Fold, Protocol
from affectkit.errors import ConfigError
from affectkit.facs import label_space
from affectkit.metrics import (
    Result,
    ThresholdRule,
    collect_results,
    mean_of_folds,
    metric_of,
    pooled,
)
from affectkit.metrics.confusion import ConfusionMetric
from affectkit.tasks.callbacks import NEWEST, NewestCheckpoint, PredictionsWriter, ResultsWriter
from affectkit.tasks.evaluation import groups_of
from affectkit.tasks.score import SCORE, score_result
from affectkit.tasks.states import metric_class, score_parts, score_tally, tally_of

__all__ = [
    "FINISHED",
    "fold_scores",
    "load_fold",
    "merge_predictions",
    "pooled_confusions",
    "reduce_folds",
    "run_fold",
]

FINISHED = "fold.pt"
"""File that a fold writes last; a fold without it is not finished."""

PREDICTIONS = "predictions.csv"

_REDUCTIONS = {
    "mean_of_folds": (mean_of_folds, "mean of the folds"),
    "pooled": (pooled, "predictions of all folds pooled"),
}


def run_fold(cli: AffectCLI, protocol: Protocol, fold: Fold, folder: Path, settings: Any) -> None:
    """Train, test and predict one fold in its folder; a killed run continues from its last checkpoint.

    The protocol determines the tested epoch: the last one, or the best on the validation subjects. `settings` are saved
    with the fold, so that folds of different settings are never mixed.
    """
    trainer, task, data = cli.trainer, cli.model, cli.datamodule
    best = _monitor(trainer, protocol)
    folder.mkdir(parents=True, exist_ok=True)
    data.fold = fold.name
    trainer.logger = make_logger(cli.config.logger or "csv", str(folder))
    checkpoints = (folder / "checkpoints").resolve()
    newest = checkpoints / NEWEST
    replaced = (ResultsWriter, PredictionsWriter, BestEpoch, ModelCheckpoint)
    callbacks = [one for one in trainer.callbacks if not isinstance(one, replaced)]  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, TrainingBar):
            callback.prints_epochs = False
    if best is not None:
        best.dirpath = str(checkpoints)
        callbacks.append(best)
    callbacks.append(_FoldPredictions(test_filename=str((folder / PREDICTIONS).resolve())))
    trainer.callbacks = [*callbacks, NewestCheckpoint(str(checkpoints))]  # type: ignore[attr-defined]
    with one_job(trainer), _without_notes():
        trainer.fit(task, datamodule=data, ckpt_path=newest if newest.is_file() else None, weights_only=True)
        chosen = str(newest) if best is None else best.best_model_path
        trainer.test(task, datamodule=data, ckpt_path=chosen, weights_only=True, verbose=False)
    states = task.test_states()
    if not trainer.is_global_zero:
        return
    tested = data.datasets["test"]
    content = {
        "fold": fold.name,
        "epoch": int(torch.load(chosen, weights_only=True, map_location="cpu")["epoch"]),
        "subjects": {part: list(getattr(fold, part)) for part in ("train", "val", "test")},
        "people": {name: list(values) for name, values in tested.people().items()},
        "settings": settings,
        "rendered": tested.rendered,
        "unlearned": task.unlearned,
        **states,
    }
    with replacing(folder / FINISHED) as unfinished:
        torch.save(content, unfinished)


@contextmanager
def _without_notes() -> Iterator[None]:
    """Silence the warning about labels without a training label, which the line of the fold repeats."""
    logger = logging.getLogger("affectkit.tasks.base")
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(logging.NOTSET)


class _FoldPredictions(PredictionsWriter):
    """Predictions of a fold, which are named when all folds are joined."""

    def announce(self, line: str) -> None:
        """Print nothing."""


def _monitor(trainer: Trainer, protocol: Protocol) -> ModelCheckpoint | None:
    """Find the callback that selects the best epoch; None if the protocol tests the last one."""
    if protocol.threshold_rule == "val":
        for checkpoint in trainer.checkpoint_callbacks:
            if isinstance(checkpoint, ModelCheckpoint) and checkpoint.monitor is not None:
                return checkpoint
        raise ConfigError(
            f"The protocol {protocol.name} tests the best epoch on the validation subjects, but the recipe monitors "
            "no metric.",
            remedy="Add a ModelCheckpoint with a `monitor`, such as "
            f"val/{protocol.corpus}/au/f1_pos, and `mode: max`.",
        )
    if trainer.early_stopping_callback is not None:
        raise ConfigError(
            f"The protocol {protocol.name} trains a fixed number of epochs, but the recipe stops early.",
            remedy="Remove EarlyStopping and set trainer.max_epochs.",
        )
    return None


def load_fold(folder: Path) -> dict[str, Any] | None:
    """Load a finished fold; None if it is not finished."""
    path = folder / FINISHED
    return torch.load(path, weights_only=True) if path.is_file() else None


def reduce_folds(folds: Sequence[Mapping[str, Any]], protocol: Protocol) -> dict[str, list[Result]]:
    """Compute results with intervals, baselines and threshold rules from all folds of `load_fold`.

    Results by the protocol's threshold rule come first, then those by the other rule. Intensities are reduced both
    ways, because publications differ. Results are by `dataset/head`, those of a corpus in a composite by
    `dataset/corpus/head`, those of a group of people by `dataset/head/sex=female`, and the score of several targets by
    `dataset/mtl`.
    """
    by_corpus = {"": folds}
    for corpus in dict.fromkeys(fold["fold"].rpartition("/")[0] for fold in folds):
        by_corpus[corpus] = [fold for fold in folds if fold["fold"].rpartition("/")[0] == corpus]
    results: dict[str, list[Result]] = {}
    for corpus, its_folds in by_corpus.items():
        groups = _members(its_folds)
        for index, first in enumerate(folds[0]["counts"]):
            key = "/".join(filter(None, (first["dataset"], corpus, first["head"])))
            results[key] = _reduce(its_folds, index, protocol, corpus)
            for group, members in groups.items():
                pairs = [pair for pair in zip(its_folds, members, strict=True) if pair[1]]
                having, rows = zip(*pairs, strict=True)
                results[f"{key}/{group}"] = _reduce(having, index, protocol, corpus, (group, rows))
        for dataset, parts in score_parts(folds[0]).items():
            results["/".join(filter(None, (dataset, corpus, SCORE)))] = _reduce_score(
                its_folds, parts, protocol, corpus
            )
    return results


def _reduce_score(
    folds: Sequence[Mapping[str, Any]], parts: Sequence[int], protocol: Protocol, corpus: str
) -> list[Result]:
    """Compute the score of several targets over some folds."""
    reduce, name = _REDUCTIONS[protocol.reduction]
    counts = [folds[0]["counts"][index] for index in parts]
    heads = [count["head"] for count in counts if metric_class(count).thresholded]
    return [
        score_result(
            reduce([score_tally(fold, parts, rule) for fold in folds]),
            protocol=f"{_describe(protocol, folds, corpus)}, {name}",
            threshold_rule=rule,
            resampled=counts[0]["over"],
        )
        for rule in _rules(heads, folds, protocol)
    ]


def _rules(
    heads: Iterable[str], folds: Sequence[Mapping[str, Any]], protocol: Protocol
) -> tuple[ThresholdRule, ...]:
    """Threshold rules of results that depend on the thresholds of some heads, the protocol's first."""
    if any(head not in fold["thresholds"] for head in heads for fold in folds):
        return ("fixed",)
    return ("val", "fixed") if protocol.threshold_rule == "val" else ("fixed", "val")


def _describe(protocol: Protocol, folds: Sequence[Mapping[str, Any]], corpus: str, note: str = "") -> str:
    """Description of the protocol, with a note and the number of folds."""
    note = f"; {note}" if note else ""
    return f"{protocol.description}{note}; {len(folds)} folds{' of ' if corpus else ''}{corpus}"


def _members(folds: Sequence[Mapping[str, Any]]) -> dict[str, list[list[int]]]:
    """Indices of the tested people in each fold, by `attribute=value`."""
    people: list[Mapping[str, Sequence[str | None]]] = [fold.get("people", {}) for fold in folds]
    together = {attribute: [value for one in people for value in one[attribute]] for attribute in people[0]}
    members: dict[str, list[list[int]]] = {}
    for group in groups_of(together):
        attribute, _, wanted = group.partition("=")
        members[group] = [[i for i, value in enumerate(one[attribute]) if value == wanted] for one in people]
    return members


def _reduce(
    folds: Sequence[Mapping[str, Any]],
    index: int,
    protocol: Protocol,
    corpus: str,
    group: tuple[str, Sequence[Sequence[int]]] | None = None,
) -> list[Result]:
    """Compute the results of one metric over some folds, for all tested people or the rows of a group."""
    counts = [fold["counts"][index] for fold in folds]
    head = counts[0]["head"]
    metric = metric_class(counts[0])
    reductions: list[str] = [protocol.reduction]
    if metric.both_reductions:
        reductions += [name for name in _REDUCTIONS if name != protocol.reduction]
    rules: tuple[ThresholdRule, ...] = _rules([head], folds, protocol) if metric.thresholded else ("fixed",)
    description = _describe(protocol, folds, corpus, counts[0].get("note", ""))
    if group is not None:
        description += f"; {group[0]} alone, {sum(map(len, group[1]))} people"
    rows: list[Result] = []
    for rule in rules:
        tallies = [tally_of(fold, index, rule) for fold in folds]
        if group is not None:
            tallies = [tally.only(members) for tally, members in zip(tallies, group[1], strict=True)]
        for reduction in reductions:
            reduce, name = _REDUCTIONS[reduction]
            results = collect_results(
                reduce(tallies),
                counts[0].get("name", head),
                metric,
                protocol=f"{description}, {name}",
                threshold_rule=rule,
                resampled=counts[0]["over"],
                per_label=True,
            )
            # Results without a threshold are the same by every rule.
            rows += [row for row in results if rule == rules[0] or row.threshold_rule is not None]
    return rows


def fold_scores(folds: Sequence[Mapping[str, Any]], protocol: Protocol) -> dict[str, dict[str, float]]:
    """Compute the main score of each fold by its name, by `dataset/head: metric`.

    Thresholds are those of the protocol's rule.
    """
    scores: dict[str, dict[str, float]] = {}
    for index, first in enumerate(folds[0]["counts"]):
        monitor = metric_class(first).monitor
        key = f"{first['dataset']}/{first.get('name', first['head'])}: {monitor}"
        for fold in folds:
            fitted = protocol.threshold_rule == "val" and first["head"] in fold["thresholds"]
            tally = tally_of(fold, index, "val" if fitted else "fixed")
            scores.setdefault(key, {})[fold["fold"]] = tally.point()[monitor].item()
    return scores


def pooled_confusions(folds: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Sequence[str], torch.Tensor]]:
    """Sum the confusion matrices of all folds, with the class names, by `dataset/head`."""
    found: dict[str, tuple[Sequence[str], torch.Tensor]] = {}
    for index, first in enumerate(folds[0]["counts"]):
        metric = metric_of(label_space(first["space"]), 1)
        if isinstance(metric, ConfusionMetric):
            counted = torch.stack([fold["counts"][index]["state"]["counts"].sum(0) for fold in folds])
            found[f"{first['dataset']}/{first['head']}"] = (metric.labels, counted.sum(0))
    return found


def merge_predictions(folders: Mapping[str, Path], path: Path) -> None:
    """Concatenate the predictions of all folds, by name, into one table with the fold in its first column."""
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for number, (name, folder) in enumerate(folders.items()):
            with (folder / PREDICTIONS).open(newline="", encoding="utf-8") as rows:
                reader = csv.reader(rows)
                header = next(reader)
                if number == 0:
                    writer.writerow(["fold", *header])
                writer.writerows([name, *row] for row in reader)
