"""`affectkit model compare`: two tests of the same clips, paired over subjects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.arguments import add_shared, make_parser, writing
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.metrics import Comparison, GroupedMetric, ThresholdRule

__all__ = ["as_latex", "as_markdown", "run"]

_HEADINGS = ("difference", "95 % interval", "p")


@dataclass(frozen=True)
class _Run:
    """Folds of a run, one for `affectkit test`, with its protocol by corpus."""

    path: Path
    folds: Sequence[Mapping[str, Any]]
    protocols: Mapping[str, str]
    pooled: bool = False

    def places(self) -> dict[tuple[str, str], int]:
        """Index of each metric by corpus and head."""
        return {(count["dataset"], count["head"]): i for i, count in enumerate(self.folds[0]["counts"])}


def run(args: Sequence[str]) -> int:
    """Compare two runs, print the table and write it."""
    parser = make_parser(
        "model compare",
        "Compare two tests of the same clips, result by result and label by label, paired over subjects: the "
        "difference, its interval by a paired bootstrap, and the p-value of a sign-flip test.",
        "A run is the log folder of `affectkit test`, or the output folder of `affectkit crossval`. The p-values are "
        "not corrected for the number of rows. Areas under the ROC curve are left out.",
    )
    add = parser.add_argument
    add("first", type=Path, metavar="RUN_A", help="folder of the first run, the baseline")
    add("second", type=Path, metavar="RUN_B", help="folder of the second run")
    add("--output", type=Path, metavar="FILE", help="also write the table, as .md (Markdown) or .tex (LaTeX)")
    add("--names", nargs=2, metavar="NAME", help="headings of the runs (default: their folders)")
    add("--threshold", choices=("fixed", "val"), default="fixed", help="0.5, or selected on validation data")
    add("--draws", type=int, default=10_000, metavar="N", help="bootstrap samples, and sign flips")
    add_shared(parser, "--seed")
    options = parser.parse_args(args)
    styles = {".md": as_markdown, ".tex": as_latex}
    suffix = options.output.suffix.lower() if options.output is not None else ".md"
    if suffix not in styles:
        raise ConfigError(f"{options.output.name!r} names no table.", remedy="Use the suffix .md or .tex.")
    first, second = _read(options.first), _read(options.second)
    rows = dict(_compare(first, second, options.threshold, draws=options.draws, seed=options.seed))
    names = options.names or (options.first.name, options.second.name)
    note = _describe(first, options)
    print(as_markdown(rows, names), note, sep="\n")
    if options.output is not None:
        comment = "% " if suffix == ".tex" else ""
        with writing(options.output):
            options.output.write_text(f"{styles[suffix](rows, names)}\n{comment}{note}\n", encoding="utf-8")
        print(f"table: {options.output}")
    return 0


def _read(path: Path) -> _Run:
    """Read the tests of a run.

    Raises:
        ConfigError: The folder has no finished test, or one of an earlier version.
    """
    import torch

    from affectkit.cli.folds import load_fold
    from affectkit.tasks.callbacks import STATES

    if (path / STATES).is_file():
        test = torch.load(path / STATES, weights_only=True)
        return _Run(path, [test], test["protocols"])
    if not (path / "results.json").is_file():
        raise ConfigError(
            "This folder has no finished test.",
            path=path,
            remedy="Give the log folder of `affectkit test`, or the output folder of a finished `affectkit crossval`.",
        )
    known = json.loads((path / "results.json").read_text(encoding="utf-8"))
    folders = (path / "folds" / one["fold"].replace("/", "_") for one in known["folds"])
    folds = [fold for fold in map(load_fold, folders) if fold is not None]
    if any("clips" not in count for fold in folds for count in fold["counts"]):
        raise ConfigError(
            "These folds were run by an earlier version of affectkit, which does not state the tested clips.",
            path=path,
            remedy="Run the cross-validation again.",
        )
    names = {count["dataset"] for count in folds[0]["counts"]}
    protocols = {name: f"{known['protocol']}: {known['description']}, {len(folds)} folds" for name in names}
    return _Run(path, folds, protocols, known["reduction"] == "pooled")


def _compare(
    first: _Run, second: _Run, rule: ThresholdRule, *, draws: int, seed: int
) -> Iterator[tuple[str, Comparison]]:
    """Compare the results of all heads that the runs share, and their score of several targets.

    Raises:
        ConfigError: The runs share no head, or were tested by different protocols or on different clips or labels.
    """
    from affectkit.metrics import compare
    from affectkit.tasks.score import SCORE
    from affectkit.tasks.states import metric_class, score_parts, score_tally, tally_of

    ours, theirs = first.places(), second.places()
    shared = [key for key in ours if key in theirs]
    if not shared:
        heads = (", ".join("/".join(key) for key in places) for places in (ours, theirs))
        raise ConfigError(
            f"The runs share no head: {first.path} has {next(heads)}, {second.path} has {next(heads)}.",
            remedy="Compare runs with a corpus and the name of a head in common.",
        )
    for key in shared:
        _check(first, second, key, rule)
    several = len({dataset for dataset, _ in shared}) > 1
    pairs = list(zip(first.folds, second.folds, strict=True))
    for key in shared:
        count = first.folds[0]["counts"][ours[key]]
        known = compare(
            [(tally_of(a, ours[key], rule), tally_of(b, theirs[key], rule)) for a, b in pairs],
            pooled=first.pooled,
            draws=draws,
            seed=seed,
        )
        for name, one in known.items():
            if _is_result(name, metric_class(count)):
                yield f"{key[0]}/" * several + f"{count['name']}/{name}", one
    parts, other = score_parts(first.folds[0]), score_parts(second.folds[0])
    for dataset in (dataset for dataset in parts if dataset in other):
        tallies = [
            (score_tally(a, parts[dataset], rule), score_tally(b, other[dataset], rule)) for a, b in pairs
        ]
        whole = compare(tallies, pooled=first.pooled, draws=draws, seed=seed)
        if "score" in whole:
            yield f"{dataset}/" * several + f"{SCORE}/score", whole["score"]


def _is_result(name: str, metric: type[GroupedMetric]) -> bool:
    """Whether a name is that of a result, of all labels or of one, and not of a count or a baseline."""
    result = name.partition("/")[0]
    return result in metric.baselines or result not in {*metric.ranges, *metric.baselines.values()}


def _check(first: _Run, second: _Run, key: tuple[str, str], rule: ThresholdRule) -> None:
    """Check that both runs tested a head in the same way."""
    from affectkit.tasks.states import metric_class

    dataset, head = key
    protocols = first.protocols[dataset], second.protocols[dataset]
    folds = [[fold.get("fold") for fold in one.folds] for one in (first, second)]
    if protocols[0] != protocols[1] or folds[0] != folds[1]:
        raise ConfigError(
            f"The runs were tested on {dataset} by different protocols: {protocols[0]!r} and {protocols[1]!r}.",
            remedy="Test both by the same protocol, with the same folds.",
        )
    ours, theirs = ([fold["counts"][one.places()[key]] for fold in one.folds] for one in (first, second))
    if [count["clips"] for count in ours] != [count["clips"] for count in theirs]:
        raise ConfigError(
            f"The runs were tested on different clips of {dataset}.",
            remedy="Test both with the same data options, such as `num_frames` and `fold`.",
        )
    if ours[0]["space"] != theirs[0]["space"]:
        raise ConfigError(
            f"The heads {head!r} have different labels: {ours[0]['space']} and {theirs[0]['space']}.",
            remedy="Compare heads of the same label space.",
        )
    for one in (first, second):
        if (
            rule == "val"
            and metric_class(ours[0]).thresholded
            and any(head not in f["thresholds"] for f in one.folds)
        ):
            raise ConfigError(
                f"The head {head!r} has no thresholds from validation data.",
                path=one.path,
                remedy="Use `--threshold fixed`.",
            )


def _describe(run_: _Run, options: Any) -> str:
    """Note below the table: protocol, groups, and how intervals and p-values were computed."""
    counts = [fold["counts"][0] for fold in run_.folds]
    groups = f"{sum(count['num_groups'] for count in counts)} {counts[0]['over']}"
    rule = "0.5" if options.threshold == "fixed" else "selected on validation data"
    return (
        f"Protocol: {'; '.join(dict.fromkeys(run_.protocols.values()))}. Thresholds: {rule}. Paired over {groups}: "
        f"bootstrap intervals and sign-flip p-values ({options.draws} draws), not corrected for the number of rows."
    )


def as_markdown(rows: Mapping[str, Comparison], names: Sequence[str]) -> str:
    """Format comparisons by name as a Markdown table, with the means before the results of labels."""
    cells = _cells(rows, names)
    lines = [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(cells[0]) - 1), *lines[1:]])


def as_latex(rows: Mapping[str, Comparison], names: Sequence[str]) -> str:
    """Format comparisons by name as a LaTeX table for the package `booktabs`, with the means first."""
    header, *body = (" & ".join(map(_escape, line)) + r" \\" for line in _cells(rows, names))
    return "\n".join(
        [
            r"\begin{tabular}{lrrrrr}",
            r"\toprule",
            header,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _cells(rows: Mapping[str, Comparison], names: Sequence[str]) -> list[list[str]]:
    means = min((name.count("/") for name in rows), default=0)
    ordered = sorted(rows.items(), key=lambda row: row[0].count("/") > means)
    return [
        ["result", *names, *_HEADINGS],
        *(
            [
                name,
                f"{one.first:.3f}",
                f"{one.second:.3f}",
                f"{one.difference:+.3f}",
                "–" if isnan(one.low) else f"{one.low:+.3f} to {one.high:+.3f}",
                "–" if isnan(one.p) else "< 0.001" if one.p < 0.001 else f"{one.p:.3f}",
            ]
            for name, one in ordered
        ),
    ]


def _escape(text: str) -> str:
    for character in "&%_#":
        text = text.replace(character, f"\\{character}")
    return text.replace("–", "--").replace("<", "$<$")
