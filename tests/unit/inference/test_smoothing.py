"""Every smoothed value is that of the stated window, and of nothing outside it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from affectkit.errors import ConfigError
from affectkit.inference import Row
from affectkit.inference.smoothing import Smoothing

NAN = math.nan


def make(values, *, face=0, fps=25.0, times=None, failed=(), start=0):
    """Rows of one face."""
    return [
        Row(
            frame=start + k,
            timestamp=(start + k) / fps if times is None else times[k],
            success=k not in failed,
            values={
                "AU12": NAN if k in failed else float(value),
                "joy": NAN if k in failed else 1 - float(value),
            },
            reason="no face" if k in failed else None,
            face=None if k in failed else face,
        )
        for k, value in enumerate(values)
    ]


def smoothed(smoothing, rows, column="AU12"):
    return [row.values[column] for row in smoothing(rows)]


def hann(values, times, width):
    """The definition, written down directly."""
    result = []
    for t in times:
        weight = [math.cos(math.pi * (u - t) / width) ** 2 if abs(u - t) < width / 2 else 0.0 for u in times]
        result.append(sum(w * v for w, v in zip(weight, values, strict=True)) / sum(weight))
    return result


RNG = np.random.default_rng(0)
NOISE = RNG.random(60).tolist()


@pytest.mark.parametrize("width", [0.01, 0.2, 0.37, 1.0])
def test_hann_is_its_definition(width):
    times = np.cumsum(RNG.uniform(0.01, 0.07, 60)).tolist()  # a frame rate that varies
    rows = make(NOISE, times=times)
    assert smoothed(Smoothing(width), rows) == pytest.approx(hann(NOISE, times, width), abs=1e-12)
    both = list(Smoothing(width)(rows))
    assert all(row.values["AU12"] + row.values["joy"] == pytest.approx(1) for row in both)


def test_median_is_its_definition():
    values = smoothed(Smoothing(5, "frames", "median"), make(NOISE))
    assert values == [float(np.median(NOISE[max(0, k - 2) : k + 3])) for k in range(60)]
    in_seconds = smoothed(Smoothing(0.16, kind="median"), make(NOISE))  # both ends of the window count
    assert in_seconds == values


@pytest.mark.parametrize("smoothing", [Smoothing(0.4), Smoothing(0.4, kind="median"), Smoothing(9, "frames")])
@pytest.mark.parametrize("cut", [1, 20, 44])
def test_cutting_changes_nothing_farther_from_the_cut_than_half_a_window(smoothing, cut):
    whole = smoothed(smoothing, make(NOISE))
    reach = 5  # frames: 0.2 s at 25 a second; four of nine
    after = smoothed(smoothing, make(NOISE[cut:], times=[k / 25 for k in range(60 - cut)]))
    assert after[reach:] == pytest.approx(whole[cut + reach :], abs=1e-12)
    before = smoothed(smoothing, make(NOISE[:cut]))
    kept = max(0, cut - reach)
    assert before[:kept] == pytest.approx(whole[:kept], abs=1e-12)
    if cut == 20:
        assert before[-1] != pytest.approx(whole[cut - 1], abs=1e-6)


def test_one_frame_changes_only_the_values_whose_window_holds_it():
    changed = [*NOISE]
    changed[30] += 1
    for smoothing, reach in ((Smoothing(7, "frames"), 3), (Smoothing(0.3), 3)):
        pairs = zip(smoothed(smoothing, make(NOISE)), smoothed(smoothing, make(changed)), strict=True)
        assert [k for k, (a, b) in enumerate(pairs) if a != b] == list(range(30 - reach, 30 + reach + 1))


def test_what_is_missing_stays_missing_and_counts_for_nothing():
    rows = make(NOISE[:9], failed=(3, 4))
    values = smoothed(Smoothing(3, "frames"), rows)
    assert [k for k in range(9) if math.isnan(values[k])] == [3, 4]
    assert values[2] == pytest.approx((NOISE[1] + 2 * NOISE[2]) / 3)
    assert values[5] == pytest.approx((2 * NOISE[5] + NOISE[6]) / 3)
    out = list(Smoothing(3, "frames")(rows))
    assert [(row.frame, row.success, row.reason, row.face) for row in out] == [
        (row.frame, row.success, row.reason, row.face) for row in rows
    ]


@pytest.mark.parametrize("kind", ["hann", "median"])
def test_single_values_may_be_missing(kind):
    rows = [
        Row(
            frame=k,
            timestamp=k / 25,
            success=True,
            face=0,
            values={"a": float(k), "b": NAN if k == 1 else k + 1.0, "c": NAN},
        )
        for k in range(3)
    ]
    out = list(Smoothing(3, "frames", kind)(rows))
    assert out[1].values["a"] == 1.0
    assert math.isnan(out[1].values["b"])
    assert (out[0].values["b"], out[2].values["b"]) == (1.0, 3.0)
    assert all(math.isnan(row.values["c"]) for row in out)


def test_faces_do_not_mix():
    left, right = make(NOISE[:20], face=0), make(NOISE[20:40], face=1)
    mixed = [row for pair in zip(left, right, strict=True) for row in pair]
    for smoothing in (Smoothing(0.3), Smoothing(5, "frames", "median")):
        out = list(smoothing(mixed))
        assert [(row.frame, row.face) for row in out] == [(row.frame, row.face) for row in mixed]
        assert [row.values["AU12"] for row in out if row.face == 0] == smoothed(smoothing, left)
        assert [row.values["AU12"] for row in out if row.face == 1] == smoothed(smoothing, right)


def test_rows_leave_when_their_window_is_complete():
    taken = []

    def rows():
        for row in make(NOISE):
            taken.append(row.frame)
            yield row

    for row in Smoothing(9, "frames")(rows()):
        assert taken[-1] <= row.frame + 5 or taken[-1] == 59


def test_memory_holds_one_window_whoever_passes_by():
    from affectkit.inference.smoothing import _Window

    window = _Window(Smoothing(5, "frames"))
    for row in (row for k in range(200) for row in make([0.5], face=k, start=k)):
        window.add(row)
        list(window.take())
        assert len(window.faces) <= 6
        assert len(window.waiting) <= 4


def test_no_width_changes_nothing():
    rows = make(NOISE)
    assert list(Smoothing(0)(rows)) == rows
    assert list(Smoothing(0, "frames")(rows)) == rows
    assert Smoothing(0, "frames").reach == 0


def test_photos_need_no_times_and_folders_of_frames_want_frames():
    photo = make([0.5], times=[NAN])
    assert smoothed(Smoothing(0.4), photo) == [0.5]
    folder = make(NOISE[:9], times=[NAN] * 9)
    with pytest.raises(ConfigError, match="no times") as caught:
        list(Smoothing(0.4)(folder))
    assert "9f" in str(caught.value)
    assert smoothed(Smoothing(3, "frames"), folder) == pytest.approx(
        smoothed(Smoothing(3, "frames"), make(NOISE[:9]))
    )
    # frames that a truncated file lacks have no times, and need none
    cut = make(NOISE[:4], times=[0.0, 0.04, NAN, NAN], failed=(2, 3))
    assert len(list(Smoothing(0.4)(cut))) == 4


def test_where_to_begin_for_a_row_in_the_middle():
    times = np.arange(60) / 25
    for smoothing in (Smoothing(0.4), Smoothing(0.4, kind="median"), Smoothing(11, "frames")):
        first = smoothing.first_needed(30, times)
        assert first == 25
        late = smoothed(smoothing, make(NOISE[first:], start=first))[30 - first :]
        assert late == pytest.approx(smoothed(smoothing, make(NOISE))[30:], abs=1e-12)
    assert Smoothing(0.4).first_needed(2, times) == 0
    assert Smoothing(9, "frames").first_needed(2, np.full(5, NAN)) == 0
    assert Smoothing(0.4).first_needed(2, np.full(5, NAN)) == 2


def test_text_and_metadata():
    assert Smoothing.parse("0.4") == Smoothing(0.4)
    assert Smoothing.parse("9f", "median") == Smoothing(9, "frames", "median")
    assert Smoothing(0.4).metadata() == {
        "kind": "hann",
        "window_seconds": 0.4,
        "depends_on": "rows of the same face up to 0.2 seconds before and after the frame",
    }
    assert Smoothing(9, "frames").metadata()["window_frames"] == 9
    assert "up to 4 frames" in Smoothing(9, "frames").metadata()["depends_on"]


@pytest.mark.parametrize(
    "text_or_arguments",
    ["wide", "f", "-1", "inf", "4f", "2.5f", {"width": 1, "unit": "hours"}, {"width": 1, "kind": "mean"}],
)
def test_impossible_windows_are_refused(text_or_arguments):
    as_text = isinstance(text_or_arguments, str)
    make_it = Smoothing.parse if as_text else lambda arguments: Smoothing(**arguments)
    with pytest.raises(ConfigError):
        make_it(text_or_arguments)
