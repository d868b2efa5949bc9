"""A training run as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from affectkit.facs import ActionUnit
from affectkit.inference.reports.figures import bar_chart, confusion_chart, curve_charts

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
    """A few frames of a test clip with what is in them and what the model saw.

    Args:
        frames: Uint8 [T, 3, H, W], RGB.
        true: Action units that are active, for example "AU12".
        predicted: Action units that the model says are active.
        expression: The true expression, if it has one.
        predicted_expression: The model's expression.
        caption: Which clip this is.
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
    confusion: tuple[Sequence[str], Tensor] | None = None,
    strips: Sequence[Strip] = (),
    facts: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
    rendered: bool = False,
) -> Path:
    """Write `index.html`: numbers with protocol and baseline, charts and example clips in a single file.

    Args:
        folder: Where to write; made if absent.
        title: Heading of the page.
        results: From `collect_results`. Means come first on the page; `au/f1_pos/AU12` and its like make the
            bar chart.
        curves: A table of training curves by column: `epoch` and one column a curve, NaN where nothing was
            logged.
        confusion: Class names and the counts [E, E], rows true, columns predicted.
        strips: Example clips.
        facts: Short facts for the head of the page, for example {"Test subjects": 24}.
        notes: Paragraphs that a reader must know to judge the numbers.
        rendered: Whether the model learned from rendered faces only; the page then says so at the top.

    Returns:
        The path of the page.

    Example:
        >>> from affectkit.metrics import Estimate, Result
        >>> uar = Result("expression/uar", Estimate(0.7, 0.6, 0.8), 0.14, "held-out identities")
        >>> write_report(getfixture("tmp_path"), title="A run", results=[uar], rendered=True).name
        'index.html'
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    import affectkit

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    bars = bar_chart(results, "au/f1_pos")
    rows = [_row(r) for r in results]
    means = [row for row in rows if not row["label"]]
    sections: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in means:
        sections.setdefault((row["target"], f"{row['protocol']}; intervals {row['level']}"), []).append(row)
    page = environment.get_template("run.html").render(
        title=title,
        version=affectkit.__version__,
        rendered=rendered,
        facts={name: str(value) for name, value in (facts or {}).items()},
        notes=notes,
        headlines=[rows[0] for rows in sections.values()],
        sections=sections,
        units=[row for row in rows if row["label"]],
        bars=bars and Markup(bars),
        confusion=confusion and Markup(confusion_chart(*confusion)),
        curves=[(name, Markup(svg)) for name, svg in curve_charts(curves or {})],
        strips=[_strip(strip) for strip in strips],
    )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _row(result: Result) -> dict[str, Any]:
    """One result as the texts the template shows."""
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
        "protocol": result.protocol,
    }


def _strip(strip: Strip) -> dict[str, Any]:
    """One clip as a picture and its labels: found, missed and false action units, in this order."""
    units = [(unit, "found" if unit in strip.predicted else "missed") for unit in strip.true]
    units += [(unit, "false") for unit in strip.predicted if unit not in strip.true]
    return {
        "picture": _jpeg(strip.frames),
        "count": len(strip.frames),
        "units": [{"name": unit, "state": state, "meaning": _meaning(unit)} for unit, state in units],
        "expression": strip.expression,
        "predicted": strip.predicted_expression,
        "right": strip.expression == strip.predicted_expression,
        "caption": strip.caption,
    }


def _jpeg(frames: Tensor) -> str:
    """Frames [T, 3, H, W] side by side, as a data URI."""
    from PIL import Image

    wide = torch.cat(list(frames.cpu()), dim=-1).permute(1, 2, 0).contiguous().numpy()
    file = BytesIO()
    Image.fromarray(wide).save(file, format="JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _meaning(unit: str) -> str:
    return ActionUnit.parse(unit).name


def _text(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
