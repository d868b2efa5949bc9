import csv
import json
from dataclasses import dataclass

import pytest

RUNS = {
    "full": {0: {"results": {"f1": 0.5, "f1_trivial": 0.3}}, 1: {"results": {"f1": 0.7, "f1_trivial": 0.2}}},
    "less": {0: {"results": {"f1": 0.4}}, 1: {"results": {"f1": 0.4}}, 2: {"results": {"f1": 0.9}}},
    "none": {},
}
TITLES = {"full": "Full", "less": "Less", "none": "None"}
HALF = 12.706204736  # 97.5 % point of Student's t with one degree of freedom, from a printed table


@dataclass
class Setup:
    size: int = 3


def rows():
    from comparison import compare

    return compare(RUNS, ["f1"], TITLES, first="full", difference="less_by")


def test_intervals_are_those_of_student():
    from comparison import interval

    mean, low, high = interval([0.5, 0.7])  # standard error of the mean 0.1
    assert (mean, low, high) == pytest.approx((0.6, 0.6 - 0.1 * HALF, 0.6 + 0.1 * HALF))
    mean, low, high = interval([0.5])
    assert (mean, low != low, high != high) == (0.5, True, True)


def test_differences_are_paired_over_the_seeds_of_both():
    full, less, trivial = rows()
    assert full["less_by"] is None
    assert (full["mean"], full["seeds"], full["values"]) == (pytest.approx(0.6), 2, [0.5, 0.7])
    assert less["mean"] == pytest.approx(1.7 / 3)  # of its three seeds
    assert less["less_by"] == pytest.approx((0.1 + 0.3) / 2)  # of the two that both have
    assert less["less_by_low"] == pytest.approx(0.2 - 0.1 * HALF)
    assert (trivial["title"], trivial["mean"]) == ("trivial baseline", 0.25)


def test_thresholds_of_validation_people_share_the_trivial_baseline():
    from comparison import compare

    runs = {"full": {0: {"results": {"f1_val": 0.5, "f1_trivial": 0.3}}}, "less": {}, "none": {}}
    assert [row["mean"] for row in compare(runs, ["f1_val"], TITLES, first="full", difference="d")] == [
        0.5,
        0.3,
    ]


def test_the_table_shows_what_there_is():
    from comparison import table

    assert table(rows(), "f1", "F1", first="Full", difference="less_by").splitlines() == [
        "**F1**",
        "",
        "| variant | mean | Full minus it | seeds |",
        "| --- | --- | --- | --- |",
        "| Full | 0.600 [-0.671, 1.871] |  | 2 |",
        "| Less | 0.567 [-0.150, 1.284] | +0.200 [-1.071, +1.471] | 3 |",
        "| trivial baseline | 0.250 |  | 2 |",
    ]


def test_files_hold_the_rows(tmp_path):
    from comparison import write

    write(
        tmp_path, "study", "text\n", Setup(), {"results": rows(), "more": [{"variant": "full", "extra": 2}]}
    )
    assert (tmp_path / "study.md").read_text() == "text\n"
    found = json.loads((tmp_path / "study.json").read_text())
    assert (found["setup"], found["more"]) == ({"size": 3}, [{"variant": "full", "extra": 2}])
    with (tmp_path / "study.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["table"], line["variant"], line["extra"]) for line in lines] == [
        ("results", "full", ""), ("results", "less", ""), ("results", "trivial", ""), ("more", "full", "2"),
    ]  # fmt: skip
    assert float(lines[1]["less_by"]) == pytest.approx(0.2)
    assert "values" not in lines[0]
