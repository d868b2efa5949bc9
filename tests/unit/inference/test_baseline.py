"""Person baselines: what is subtracted from whom, and what is said about it."""

import math

import numpy as np
import pandas as pd
import pytest

from affectkit.errors import ConfigError
from affectkit.inference import subtract_baseline


def table(**columns):
    frame = pd.DataFrame({"frame": range(6), "face": [0, 0, 0, 0, 1, 1], **columns})
    frame.attrs["affectkit"] = {"model": "m"}
    return frame


def test_each_person_loses_the_persons_own_median():
    given = table(AU01_i=[1.0, 1.0, 2.0, 5.0, 3.0, 4.0], AU01=[0.5] * 6, success=[1, 1, 1, 1, 1, 1])
    found = subtract_baseline(given, least=1)
    assert found["AU01_i"].tolist() == [0.0, 0.0, 0.5, 3.5, 0.0, 0.5]
    assert found["AU01"].tolist() == [0.5] * 6  # probabilities stay unless they are named
    assert given["AU01_i"].tolist()[0] == 1.0  # a copy
    assert found.attrs["affectkit"]["model"] == "m"
    assert found.attrs["affectkit"]["baseline"] == {
        "columns": ["AU01_i"],
        "by": ["face"],
        "quantile": 0.5,
        "least": 1,
    }
    assert "baseline" not in given.attrs["affectkit"]


def test_failed_frames_have_no_part_and_stay_without_a_value():
    given = table(AU01_r=[1.0, 1.0, 2.0, 0.0, 3.0, 4.0], success=[1, 1, 1, 0, 1, 1])
    found = subtract_baseline(given, least=1)["AU01_r"]
    assert found.tolist()[:3] == [0.0, 0.0, 1.0]
    assert math.isnan(found[3])


def test_too_few_values_are_no_baseline():
    found = subtract_baseline(table(AU01_i=[1.0] * 6), least=4)["AU01_i"]  # four values, and two
    assert found.isna().tolist() == [False] * 4 + [True] * 2


def test_frames_of_nobody_in_particular_are_one_person():
    given = table(AU01_i=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).assign(face=[0, 0, 0, None, None, None])
    assert subtract_baseline(given, least=3)["AU01_i"].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]


def test_other_people_columns_and_quantiles():
    given = table(AU12=[0.1, 0.2, 0.3, 0.9, 0.4, 0.8], clip=["a", "a", "b", "b", "b", "b"])
    found = subtract_baseline(given, ["AU12"], by=["clip", "face"], quantile=0.0, least=1)["AU12"]
    assert np.allclose(found, [0.0, 0.1, 0.0, 0.6, 0.0, 0.4])
    alone = subtract_baseline(given, ["AU12"], by="nobody", quantile=1.0, least=1)
    assert alone["AU12"].tolist() == [0.0] * 6
    assert alone.attrs["affectkit"]["baseline"]["by"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["AU99"]}, "no column AU99"),
        ({}, "no intensities"),
        ({"columns": ["AU12"], "quantile": 1.5}, r"quantile=1\.5"),
        ({"columns": ["AU12"], "least": 0}, "least=0"),
    ],
)
def test_what_cannot_be_subtracted_is_said(options, message):
    with pytest.raises(ConfigError, match=message):
        subtract_baseline(table(AU12=[0.1] * 6), **options)
