"""The page holds everything it shows, and says what must be said."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import matplotlib as mpl
import pytest
import torch

from affectkit.inference import Strip, write_report
from affectkit.inference.reports.figures import (
    bar_chart,
    confusion_chart,
    curve_charts,
    draw_bars,
    fold_chart,
    label_metrics,
)
from affectkit.metrics import Estimate, Result

RESULTS = [
    Result("au/f1_pos", Estimate(0.8123, 0.71, 0.9), 0.4, "held-out people", "oracle"),
    Result("au/f1_pos/AU1", Estimate(0.7, 0.6, 0.8), 0.3, "held-out people", "oracle"),
    Result("au/f1_pos/AU12", Estimate(math.nan, math.nan, math.nan), math.nan, "held-out people", "oracle"),
    Result("au/f1_pos/AU4", Estimate(0.5, math.nan, math.nan), 0.2, "held-out people", "oracle"),
    Result("expression/uar", Estimate(0.7, math.nan, math.nan), 1 / 7, "held-out people"),
]
CURVES = {
    "epoch": [0, 1, 2],
    "train/loss": [3.0, 2.0, 1.0],
    "val/uar": [math.nan, 0.4, 0.5],
    "val/empty": [math.nan] * 3,
    **{f"val/extra{i}": [0.1 * i] * 3 for i in range(4)},
}


class Page(HTMLParser):
    """Checks that tags are closed, and keeps text and references."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.references += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "xlink:href")]
        if tag not in ("meta", "img", "br", "link", "input", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += f" {data.strip()}" if data.strip() else ""


@pytest.fixture
def page(tmp_path) -> Page:
    strips = [
        Strip(
            torch.zeros(4, 3, 16, 16, dtype=torch.uint8),
            ["AU1", "AU4"],
            ["AU1", "AU12"],
            "anger",
            "fear",
            "A",
        ),
        Strip(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), [], [], "anger", "anger"),
        Strip(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), [], ["AU4"], "joyless"),
        Strip(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), [], [], None, "contempt"),
    ]
    path = write_report(
        tmp_path / "report",
        title="A <script>run</script>",
        results=RESULTS,
        curves=CURVES,
        confusions={"Expressions": (["anger", "fear & co"], torch.tensor([[9, 1], [0, 0]]))},
        folds={"au/f1_pos": {"part1": 0.5, "part2": 0.7, "part3": math.nan}},
        strips=strips,
        facts={"Test subjects": 24},
        notes=["Read <b>this</b>."],
        rendered=True,
    )
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_needs_no_other_file(page):
    assert page.references
    assert all(reference.startswith(("#", "data:image/jpeg;base64,")) for reference in page.references)


def test_everything_is_said(page):
    for part in ("0.812", "0.710 – 0.900", "0.400", "held-out people", "24", "Rendered faces."):
        assert part in page.text
    assert "oracle: fitted on test, an upper bound" in page.text
    assert "95 % by jackknife over subjects" in page.text
    assert "0.143" in page.text


def test_text_is_escaped(page):
    assert "A <script>run</script>" in page.text
    assert "Read <b>this</b>." in page.text
    assert "script" not in page.open


def test_units_are_found_missed_or_false(page):
    clips = page.text[page.text.index("Test clips") :]
    for part in (
        "✓ AU1 ",
        "○ AU4 ",
        "✕ AU12",
        "no action unit",
        "fear",
        "(true:",
        "true: joyless",
        "contempt",
    ):
        assert part in clips


def test_a_page_with_nothing_but_numbers(tmp_path):
    path = write_report(tmp_path, title="Short", results=[RESULTS[-1]])
    text = Page(path.read_text(encoding="utf-8")).text
    assert "Rendered faces." not in text
    assert "Test clips" not in text
    assert "0.700" in text


def test_charts_follow_the_theme_and_leave_matplotlib_alone():
    before = dict(mpl.rcParams)
    charts = [
        bar_chart(RESULTS, "au/f1_pos"),
        confusion_chart(["a", "b"], torch.eye(2)),
        curve_charts(CURVES)[0][1],
        fold_chart({"part1": 0.5, "part2": -0.2}),
        fold_chart({"part1": math.nan}),
    ]
    assert dict(mpl.rcParams) == before
    for chart in charts:
        assert chart.startswith("<svg role=")
        assert "var(--ink)" in chart
        assert "#10000" not in chart
        assert "<!--" not in chart
        assert not re.search(r'<svg[^>]* width="', chart)


def test_curves_are_sorted_into_charts():
    assert [title for title, _ in curve_charts(CURVES)] == ["Loss", "Validation scores"]
    assert [title for title, _ in curve_charts({"val/uar": [0.1, 0.2]})] == ["Validation scores"]
    assert curve_charts({}) == []


def test_of_several_threshold_rules_the_first_is_drawn():
    fixed = Result("au/f1_pos/AU1", Estimate(0.7, 0.6, 0.8), 0.3, "test", "fixed")
    oracle = Result("au/f1_pos/AU1", Estimate(0.9, 0.8, 1.0), 0.3, "test", "oracle")
    assert len(bar_chart([fixed, oracle], "au/f1_pos")) == len(bar_chart([fixed], "au/f1_pos"))


def test_no_units_no_bars():
    assert bar_chart(RESULTS[-1:], "au/f1_pos") is None


def test_each_target_has_bars_of_its_first_metric():
    rows = [
        Result("au/f1_pos", Estimate(0.5, 0.4, 0.6), 0.3, "test"),
        Result("au/f1_pos/AU1", Estimate(0.5, 0.4, 0.6), 0.3, "test"),
        Result("au/auc/AU1", Estimate(0.5, 0.4, 0.6), 0.5, "test"),
        Result("intensity/icc31/AU1", Estimate(-0.1, -0.4, 0.6), 0.0, "test"),
    ]
    assert label_metrics(rows) == ["au/f1_pos", "intensity/icc31"]
    assert draw_bars(rows, "intensity/icc31").axes[0].get_xlim()[0] == pytest.approx(-0.1)


def test_a_score_no_better_than_its_baseline_looks_like_one(tmp_path):
    def shown(value):
        rows = [
            Result(f"expression/uar{label}", Estimate(value, 0.1, 0.9), 0.4, "people")
            for label in ("", "/joy")
        ]
        return write_report(tmp_path, title="A", results=rows).read_text(encoding="utf-8")

    below, above = shown(0.4), shown(0.41)
    assert "not better than the trivial baseline 0.400" in Page(below).text
    assert below.count('worse"') > above.count('worse"') == 0
    fill = "fill: var(--warn)"
    assert below.count(fill) > above.count(fill)


def test_the_spread_of_folds_is_stated(page):
    assert "± standard deviation of the folds 0.600 ± 0.100, from 0.500 to 0.700." in page.text
    assert "Without a score: 1." in page.text


def test_many_folds_have_no_names():
    assert ">sub7<" not in fold_chart({f"sub{i}": 0.5 for i in range(40)})
