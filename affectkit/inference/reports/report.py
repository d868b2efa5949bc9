"""Report of a training run as one HTML page that needs no other file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from affectkit.facs import ActionUnit
from affectkit.inference.reports.figures import (
    bar_chart,
    confusion_chart,
    curve_charts,
    fold_chart,
    label_metrics,
)
from affectkit.inference.reports.page_media import encode_jpeg, render_page

if TYPE_CHECKING:
    from affectkit.metrics import Result

__all__ = ["Strip", "write_report"]

_NAMES = {
    "f1_pos": "F1, positive class",
    "f1_macro2": "F1, mean of both classes",
    "auc": "Area under the ROC curve",
    "acc": "Accuracy",
    "uar": "Unweighted average recall",
    "war": "Accuracy (weighted average recall)",
    "uf1": "Unweighted F1",
    "icc31": "ICC(3,1)",
    "pcc": "Pearson correlation",
    "mae": "Mean absolute error",
}
_TARGETS = {
    "au": "Action units",
    "au_rules": "Emotions by FACS rules",
    "expression": "Expression",
    "intensity": "AU intensity",
}
_RULES = {
    "fixed": "fixed, not fitted",
    "val": "fitted on validation",
    "oracle": "oracle: fitted on test, an upper bound",
}


@dataclass(frozen=True)
class Strip:
    """Frames of a test clip with annotated and predicted labels.

    Args:
        frames: uint8 [T, 3, H, W], RGB.
        true: Annotated action units, for example "AU12".
        predicted: Predicted action units.
        expression: Annotated expression, if there is one.
        predicted_expression: Predicted expression.
        caption: Name of the clip.
    """

    frames: Tensor
    true: Sequence[str]
    predicted: Sequence[str]
    expression: str | None = None
    predicted_expression: str | None = None
    caption: str = ""


def write_report(
    folder: str | Path,
    *,
    title: str,
    results: Sequence[Result],
    curves: Mapping[str, Sequence[float]] | None = None,
    confusions: Mapping[str, tuple[Sequence[str], Tensor]] | None = None,
    folds: Mapping[str, Mapping[str, float]] | None = None,
    strips: Sequence[Strip] = (),
    facts: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
    rendered: bool = False,
) -> Path:
    """Write `index.html`: numbers with protocol and baseline, charts and example clips in a single file.

    Args:
        folder: Output folder; created if missing.
        title: Heading of the page.
        results: From `collect_results`. Means come first on the page; results such as `au/f1_pos/AU12` make the bar
            charts. Those that are not better than their trivial baseline are marked.
        curves: Training curves by column: `epoch` and one column per curve, NaN where nothing was logged.
        confusions: Class names and counts [E, E], rows true, columns predicted, by title.
        folds: Scores of the folds of a cross-validation by name, NaN if undefined, by title.
        strips: Example clips.
        facts: Short facts for the head of the page, for example {"Test subjects": 24}.
        notes: Paragraphs needed to judge the numbers.
        rendered: Whether the model was trained on rendered faces only; the page then says so at the top.

    Returns:
        The path of the page.

    Example:
        >>> from affectkit.metrics import Estimate, Result
        >>> uar = Result("expression/uar", Estimate(0.7, 0.6, 0.8), 0.14, "held-out identities")
        >>> write_report(getfixture("tmp_path"), title="A run", results=[uar], rendered=True).name
        'index.html'
    """
    rows = [_row(r) for r in results]
    means = [row for row in rows if not row["label"]]
    sections: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in means:
        sections.setdefault((row["target"], f"{row['protocol']}; intervals {row['level']}"), []).append(row)
    page = render_page(
        "run.html",
        bars=[(_label_title(metric), bar_chart(results, metric)) for metric in label_metrics(results)],
        confusions=[(name, confusion_chart(*counted)) for name, counted in (confusions or {}).items()],
        folds=[(name, fold_chart(scores), *_spread(scores)) for name, scores in (folds or {}).items()],
        title=title,
        rendered=rendered,
        facts={name: str(value) for name, value in (facts or {}).items()},
        notes=notes,
        headlines=[rows[0] for rows in sections.values()],
        sections=sections,
        units=[row for row in rows if row["label"]],
        curves=curve_charts(curves or {}),
        strips=[_strip(strip) for strip in strips],
    )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _row(result: Result) -> dict[str, Any]:
    """Texts of one result."""
    target, metric, *label = result.name.split("/")
    low, high = result.estimate.low, result.estimate.high
    return {
        "target": _TARGETS.get(target, target),
        "metric": _NAMES.get(metric, metric),
        "label": "/".join(label),
        "value": _text(result.estimate.value),
        "interval": "" if math.isnan(low) else f"{low:.3f} – {high:.3f}",
        "level": f"{100 * result.level:g} % by jackknife over {result.resampled}",
        "baseline": _text(result.baseline),
        "rule": _RULES[result.threshold_rule] if result.threshold_rule else "",
        "oracle": result.threshold_rule == "oracle",
        "worse": result.beats_baseline is False,
        "protocol": result.protocol,
    }


def _label_title(metric: str) -> str:
    """Title of a bar chart: target and metric in words."""
    target, _, name = metric.partition("/")
    return f"{_TARGETS.get(target, target)}: {_NAMES.get(name, name)}"


def _spread(scores: Mapping[str, float]) -> tuple[str, int]:
    """Mean, standard deviation and range of the folds with a score, and the number of those without."""
    known = [value for value in scores.values() if not math.isnan(value)]
    missing = len(scores) - len(known)
    if not known:
        return "no fold has a score", missing
    text = f"{fmean(known):.3f} ± {pstdev(known):.3f}, from {min(known):.3f} to {max(known):.3f}"
    return text, missing


def _strip(strip: Strip) -> dict[str, Any]:
    """One clip as a picture and its labels: found, missed and false action units, in this order."""
    wide = torch.cat(list(strip.frames.cpu()), dim=-1).permute(1, 2, 0)
    units = [(unit, "found" if unit in strip.predicted else "missed") for unit in strip.true]
    units += [(unit, "false") for unit in strip.predicted if unit not in strip.true]
    return {
        "picture": f"data:image/jpeg;base64,{encode_jpeg(wide.numpy(), quality=90)}",
        "count": len(strip.frames),
        "units": [
            {"name": unit, "state": state, "meaning": ActionUnit.parse(unit).name} for unit, state in units
        ],
        "expression": strip.expression,
        "predicted": strip.predicted_expression,
        "right": strip.expression == strip.predicted_expression,
        "caption": strip.caption,
    }


def _text(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
