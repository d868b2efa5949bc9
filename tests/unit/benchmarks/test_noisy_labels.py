"""The study of doubtful labels, at a tiny size."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def study():
    path = Path(__file__).parents[3] / "benchmarks" / "studies" / "noisy_labels.py"
    spec = importlib.util.spec_from_file_location("study_of_noisy_labels", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("noise", "rate"), [("none", 0.0), ("border", 0.25), ("any", 0.25)])
def test_labels_are_wrong_at_the_stated_rate(study, noise, rate):
    clips = study.draw(0, 60, noise)
    wrong = clips.given != clips.truth
    assert wrong.double().mean().item() == pytest.approx(rate, abs=0.06)
    far = (clips.given - clips.truth).abs() > 1
    assert (far.double().mean() > 0.1) == (noise == "any")
    assert clips.signals.shape == (360, 50, 8)
    assert len(set(clips.people)) == 60


def test_the_oracle_accepts_the_right_labels_and_chance_keeps_the_number(study):
    clips = study.draw(1, 20, "any")
    assert torch.equal(study.by_oracle(clips, 0).accepted, clips.given == clips.truth)
    found, dealt = study.rate(clips, clips.ratings), study.by_chance(clips, 0)
    assert found.accepted.sum() == dealt.accepted.sum()
    assert not torch.equal(found.accepted, dealt.accepted)
    assert study.arbitrary(clips, 0).accepted.all()


def test_intervals_are_those_of_student(study):
    values = [0.1, 0.3, 0.2, 0.4, 0.25]
    half = 2.776 * np.std(values, ddof=1) / np.sqrt(5)
    assert study.interval(values) == f"{np.mean(values):+.3f} ± {half:.3f}"


def test_tables_have_a_row_per_arm(study, capsys):
    study.main(["--seeds", "2", "--people", "7", "--test-people", "4", "--epochs", "1", "--noise", "any"])
    lines = capsys.readouterr().out.splitlines()
    assert any("among rejected" in line for line in lines)
    rows = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    assert rows == ["training", *study.ARMS, "best constant"]
    (base,) = (line for line in lines if line.startswith("| labels as given"))
    assert base.endswith("| +0.000 ± 0.000 | +0.000 ± 0.000 |")
