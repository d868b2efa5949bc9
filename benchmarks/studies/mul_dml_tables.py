"""The tables and the figure of the study of multi-threshold metric learning."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import torch
from comparison import cell, compare, interval, paired, table, values, write
from harness import Runs, read_runs
from mul_dml_setup import SINGLE, VARIANTS, Setup
from torch import Tensor

TITLES = {name: variant.title for name, variant in VARIANTS.items() if not variant.collapse}
METRICS = {
    "uar": "UAR on unseen people",
    "near_error": "Share of clips of the near pairs taken for the other class of the pair",
    "far_error": "Share of clips taken for any other class",
    "same_label": "Same class among the five nearest test clips",
    "same_person": "Same person among them",
    "between_mean": "Mean squared distance of two classes, over slices",
}
DIFFERENCE = "multi_minus_this"


def write_tables(setup: Setup, folder: Path) -> str:
    """Write the tables of all finished runs, and the figure where all its runs are there; returns the Markdown."""
    runs = read_runs(setup, folder, list(VARIANTS))
    rows = compare(runs, list(METRICS), TITLES, first="multi", difference=DIFFERENCE)
    seconds = [run["processor_seconds"] for found in runs.values() for run in found.values()]
    text = (
        f"{setup.people} rendered people, {setup.clips} clips each; two fifths of the people test. {setup.steps} steps "
        f"of {setup.batch_size} clips; a run took {median(seconds):.0f} s on one core (median). Means over seeds with "
        "95 % intervals; differences are paired by seed.\n"
    )
    parts = [
        table(rows, metric, title, first="16 thresholds", difference=DIFFERENCE)
        for metric, title in METRICS.items()
    ]
    parts += [part for part in (_oracle(runs), _slices(setup, folder, runs), _collapse(setup, runs)) if part]
    text = "\n\n".join([text, *parts]) + "\n"
    write(folder, "mul_dml", text, setup, {"results": rows})
    if all(runs[name] for name in ("multi", *SINGLE)):
        draw(runs, folder / "mul_dml.png")
    return text


def _oracle(runs: Runs) -> str:
    """The best single threshold on the test people, and the mean over single thresholds."""
    found = {name: values(runs, "uar", name) for name in SINGLE}
    if not all(found.values()) or not runs["multi"]:
        return ""
    best = max(SINGLE, key=lambda name: interval(list(found[name].values()))[0])
    seeds = sorted(set.intersection(*map(set, found.values())) & set(runs["multi"]))
    multi = values(runs, "uar", "multi")
    average = [multi[seed] - sum(found[name][seed] for name in SINGLE) / len(SINGLE) for seed in seeds]
    rows = (
        (
            f"the best single threshold, chosen on test (oracle): {TITLES[best]}",
            paired(runs, "uar", "multi", best),
        ),
        ("the mean over single thresholds", interval(average)),
    )
    lines = [f"| {title} | {_signed(row)} |" for title, row in rows]
    return "\n".join(
        ["**UAR of 16 thresholds minus that of**", "", "| | difference |", "| --- | --- |", *lines]
    )


def _slices(setup: Setup, folder: Path, runs: Runs) -> str:
    """Distances over slices, and how alike the slices are."""
    found: list[tuple[str, list[float]]] = [
        (
            "Spearman correlation of a slice's threshold and its mean distance of two classes",
            list(values(runs, "spearman", "multi").values()),
        )
    ]
    vectors = {
        name: [
            torch.load(folder / setup.name / f"{name}-{seed}.pt", weights_only=True) for seed in runs[name]
        ]
        for name in ("multi", "tau_10")
    }
    if not vectors["multi"]:
        return ""
    N = vectors["multi"][0].shape[1]
    for title, gap in (("neighbouring thresholds", 1), ("thresholds half the range apart", N // 2)):
        similar = [
            sum(cka(one[:, n], one[:, n + gap]) for n in range(N - gap)) / (N - gap)
            for one in vectors["multi"]
        ]
        found.append((f"CKA of two slices of a run with {title}", similar))
    for title, other in (("at one threshold, two seeds", combinations(vectors["tau_10"], 2)),):
        pairs = [sum(cka(one[:, n], two[:, n]) for n in range(N)) / N for one, two in other]
        if pairs:
            found.append((f"CKA of two slices {title}", pairs))
    lines = [f"| {title} | {_plain(interval(sample))} |" for title, sample in found]
    return "\n".join(["**Slices**", "", "| | mean |", "| --- | --- |", *lines])


def cka(one: Tensor, other: Tensor) -> float:
    """Linear centred kernel alignment of embeddings [M, D] of the same clips, in [0, 1]."""
    x, y = (part.float() - part.float().mean(0) for part in (one, other))
    return float((x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm()))


def _collapse(setup: Setup, runs: Runs) -> str:
    """Share of runs with collapsed slices, by dual term."""
    lines = []
    for name in ("collapse_dual", "collapse_none"):
        if found := list(values(runs, "collapsed", name).values()):
            dead = sum(one > 0 for one in found)
            share = sum(found) / len(found) / VARIANTS[name].slices
            lines.append(f"| {VARIANTS[name].title} | {dead} of {len(found)} | {share:.2f} |")
    head = (
        f"**Collapse: triplet loss alone at a threshold of 1.5, batch-hard mining without warm start, SGD at "
        f"{setup.collapse_lr:g}, {setup.collapse_steps} steps**"
    )
    rows = [head, "", "| | runs with a collapsed slice | share of collapsed slices |", "| --- | --- | --- |"]
    return "\n".join([*rows, *lines]) if lines else ""


def draw(runs: Runs, path: Path) -> None:
    """Distances over slices, and errors by single threshold."""
    from affectkit.models.explain import canvas

    figure = canvas(9.0, 3.4)
    left, right = figure.subplots(1, 2)
    for run in runs["multi"].values():
        left.plot(run["results"]["thresholds"], run["results"]["between"], color="#1f77b4", alpha=0.6)
    left.set(xlabel="threshold of the slice", ylabel="mean squared distance of two classes", ylim=(0, None))
    left.set_title("16 thresholds, one line a seed", fontsize=10)
    taus = [VARIANTS[name].threshold for name in SINGLE]
    for metric, title, colour in (("near_error", "near pairs", "#d62728"), ("far_error", "other", "#2ca02c")):
        shown: list[Any] = [interval(list(values(runs, metric, name).values())) for name in SINGLE]
        means = [mean for mean, _, _ in shown]
        right.plot(taus, means, "o-", color=colour, label=f"{title}, one threshold")
        right.fill_between(
            taus, [row[1] for row in shown], [row[2] for row in shown], color=colour, alpha=0.15
        )
        several = interval(list(values(runs, metric, "multi").values()))[0]
        right.axhline(several, color=colour, linestyle="--", label=f"{title}, 16 thresholds")
    right.set(xlabel="threshold of all slices", ylabel="share of clips", ylim=(0, None))
    right.set_title("errors on unseen people", fontsize=10)
    right.legend(fontsize=7)
    figure.savefig(path, dpi=130)


def _signed(row: tuple[float, float, float]) -> str:
    return cell(dict(zip(("mean", "low", "high"), row, strict=True)), "mean", "low", "high", signed=True)


def _plain(row: tuple[float, float, float]) -> str:
    return cell(dict(zip(("mean", "low", "high"), row, strict=True)), "mean", "low", "high")
