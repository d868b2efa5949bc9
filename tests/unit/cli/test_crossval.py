"""`affectkit crossval`: what it refuses, how it starts folds, and how it joins their tables."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from affectkit.cli import crossval, folds
from affectkit.datasets import find_corpus
from affectkit.errors import ConfigError
from affectkit.metrics import AUMetrics, ExpressionMetrics, IntensityMetrics
from affectkit.tasks.states import gather

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

RECIPE = """
trainer: {accelerator: cpu}
model:
  class_path: MultiTask
  init_args:
    backbone: {class_path: TimmBackbone, init_args: {model_name: test_convnext, size: 32}}
    heads: {au: {class_path: AUHead, init_args: {space: casme2_8}}}
data: {class_path: helpers.folds.ToyFolds, init_args: {corpus: CASME2}}
"""


def test_a_corpus_without_folds_is_wrong_usage(tmp_path):
    with pytest.raises(ConfigError, match=r"RenderedDataModule has no protocol.*BP4DDataModule"):
        crossval.run(["--config", "joint/demo", "--output", str(tmp_path)])


def test_each_fold_has_a_process_of_its_own_and_the_first_that_fails_stops(tmp_path, monkeypatch, capsys):
    commands = []

    def process(command, check):
        commands.append(command)
        return SimpleNamespace(returncode=9 if command[-1] == "sub02" else 0)

    monkeypatch.setattr(subprocess, "run", process)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    command = ["--config", str(recipe), "--output", str(tmp_path)]
    assert crossval.run(command) == 9
    start = [sys.executable, "-m", "affectkit", "crossval", *command, "--fold"]
    assert commands == [[*start, "sub01"], [*start, "sub02"]]
    assert "fold sub02 failed" in capsys.readouterr().err


def test_an_overlay_has_a_folder_of_its_own(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(crossval, "_finished", lambda folder, settings: seen.append(folder))
    monkeypatch.setattr(crossval, "_spawn", lambda args: 1)
    recipe, overlay = tmp_path / "recipe.yaml", tmp_path / "longer.yaml"
    recipe.write_text(RECIPE)
    overlay.write_text("trainer: {max_epochs: 9}")
    assert crossval.run(["--config", str(recipe), "--config", str(overlay)]) == 1
    assert re.fullmatch(r"runs/crossval/recipe-longer-[0-9a-f]{8}/folds/sub01", str(seen[0]))


def test_other_settings_have_another_folder(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(crossval, "_finished", lambda folder, settings: seen.append(folder))
    monkeypatch.setattr(crossval, "_spawn", lambda args: 1)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    for override in (
        [],
        ["--trainer.devices", "1"],
        ["--model.backbone.init_args.model_name", "test_resnet"],
    ):
        assert crossval.run(["--config", str(recipe), *override]) == 1
    first, same, other = seen[0], seen[4], seen[8]
    assert first == same  # devices do not change results
    assert first != other


def test_settings_leave_out_where_a_recipe_runs():
    config = {
        "seed_everything": 1,
        "model": {"lr": 2},
        "data": {"root": "."},
        "results": {"filename": "x"},
        "trainer": {"max_epochs": 3, "devices": 4, "default_root_dir": "runs"},
    }
    assert crossval._settings(config) == {
        "seed_everything": 1,
        "model": {"lr": 2},
        "data": {"root": "."},
        "trainer": {"max_epochs": 3},
    }


def test_predictions_of_all_folds_are_joined(tmp_path):
    for name, rows in {"a": "1\n", "b": "2\n3\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.csv").write_text("frame\n" + rows)
    folds.merge_predictions({name: tmp_path / name for name in "ab"}, tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_text().splitlines() == ["fold,frame", "a,1", "b,2", "b,3"]


def test_reducing_asks_no_other_process(monkeypatch):
    """Only the first process does it, while the group of all is still there."""
    metric = ExpressionMetrics(["fear", "anger"], 2)
    truth = torch.tensor([0, 1])
    metric.update(torch.eye(2), truth, torch.ones(2, dtype=torch.bool), truth)
    counted = [saved(metric, "fear,anger", "expression")]
    monkeypatch.setattr(torch.distributed, "is_available", lambda: True)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda *_: pytest.fail("others were asked"))
    monkeypatch.setattr(torch.distributed, "barrier", lambda *_, **__: pytest.fail("others were asked"))
    assert folds.reduce_folds(counted, find_corpus("RAFDB").find_protocol())


def saved(metric, space, head, fold="1"):
    """A fold as `run_fold` saves it."""
    count = {
        "dataset": "d",
        "head": head,
        "space": space,
        "over": "subjects" if head == "intensity" else "clips",
    }
    count["num_groups"] = metric.num_groups
    return {"fold": fold, "thresholds": {}, "counts": [{**count, "state": gather(metric)}]}


def test_intensities_are_reduced_both_ways():
    rng = torch.Generator().manual_seed(0)
    parts, whole = [], IntensityMetrics(["AU6"], 6)
    for _ in range(3):
        metric = IntensityMetrics(["AU6"], 2)
        truth = torch.randint(0, 6, (40, 1), generator=rng).float()
        said = (truth + torch.randn(40, 1, generator=rng)).clamp(0, 5)
        group = torch.arange(40) % 2
        metric.update(said, truth, torch.ones(40, 1, dtype=torch.bool), group)
        whole.update(said, truth, torch.ones(40, 1, dtype=torch.bool), group)
        parts.append(metric)
    protocol = find_corpus("DISFA").find_protocol()
    states = [saved(metric, "intensity:AU6", "intensity") for metric in parts]
    rows = [
        row for row in folds.reduce_folds(states, protocol)["d/intensity"] if row.name == "intensity/icc31"
    ]
    mean = sum(metric.compute()["icc31"].item() for metric in parts) / 3
    assert [row.estimate.value for row in rows] == pytest.approx([mean, whole.compute()["icc31"].item()])
    assert ["mean of the folds" in row.protocol for row in rows] == [True, False]
    assert rows[1].protocol.endswith("3 folds, predictions of all folds pooled")


def test_photographs_without_subjects_are_resampled_one_by_one():
    metric = ExpressionMetrics(["fear", "anger"], 4)
    truth = torch.tensor([0, 1, 0, 1])
    metric.update(torch.eye(2)[[0, 1, 1, 1]], truth, torch.ones(4, dtype=torch.bool), torch.arange(4))
    rows = folds.reduce_folds(
        [saved(metric, "fear,anger", "expression")], find_corpus("RAFDB").find_protocol()
    )["d/expression"]
    war = next(row for row in rows if row.name == "expression/war")
    assert (war.estimate.value, war.resampled, war.threshold_rule) == (0.75, "clips", None)


def test_a_composite_is_also_given_corpus_by_corpus():
    states, wholes = [], {"": ExpressionMetrics(["a", "b"], 3), "casme2": ExpressionMetrics(["a", "b"], 2)}
    for group, (fold, scores) in enumerate(
        [("casme2/sub01", [0, 1]), ("casme2/sub02", [1, 1]), ("samm/006", [1, 0])]
    ):
        metric, truth = ExpressionMetrics(["a", "b"], 1), torch.tensor([0, 1])
        mask = torch.ones(2, dtype=torch.bool)
        metric.update(torch.eye(2)[scores], truth, mask, torch.zeros(2, dtype=torch.int64))
        for name, whole in wholes.items():
            if fold.startswith(name):
                whole.update(torch.eye(2)[scores], truth, mask, torch.full((2,), group))
        states.append(saved(metric, "a,b", "expression", fold))
    found = folds.reduce_folds(states, find_corpus("MEGC2019").find_protocol())
    assert list(found) == ["d/expression", "d/casme2/expression", "d/samm/expression"]
    for name, whole in wholes.items():
        rows = {row.name: row for row in found["/".join(filter(None, ("d", name, "expression")))]}
        assert rows["expression/uf1"].estimate.value == pytest.approx(whole.compute()["uf1"].item())
    assert "2 folds of casme2, predictions" in rows["expression/uf1"].protocol


def test_the_score_of_each_fold_and_the_confusion_of_all():
    states, counted = [], torch.zeros(2, 2, dtype=torch.int64)
    for fold, said in {"a": [0, 1, 1], "b": [0, 0, 0]}.items():
        metric, truth = ExpressionMetrics(["x", "y"], 1), torch.tensor([0, 1, 1])
        mask, group = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.int64)
        metric.update(torch.eye(2)[said], truth, mask, group)
        counted += metric.confusion()
        states.append(saved(metric, "x,y", "expression", fold))
    scores = folds.fold_scores(states, find_corpus("CASME2").find_protocol())
    assert scores == {"d/expression: uar": {"a": 1.0, "b": 0.5}}
    ((name, (labels, matrix)),) = folds.pooled_confusions(states).items()
    assert (name, list(labels)) == ("d/expression", ["x", "y"])
    assert torch.equal(matrix, counted)


def test_scores_of_folds_follow_the_thresholds_of_the_protocol():
    metric = AUMetrics(["AU1"], 1)
    mask, group = torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, dtype=torch.int64)
    metric.update(torch.tensor([[-1.0], [-3.0]]), torch.tensor([[1.0], [0.0]]), mask, group)
    state = saved(metric, "AU1", "au")
    state["thresholds"] = {"au": {"AU1": 0.2}}
    fitted, fixed = (
        folds.fold_scores([state], protocol)["d/au: f1_pos"]["1"]
        for protocol in (SimpleNamespace(threshold_rule="val"), SimpleNamespace(threshold_rule="fixed"))
    )
    assert (fitted, fixed) == (1.0, 0.0)


def test_photographs_are_counted_and_people_are_named():
    state = {"subjects": {"train": ["a", "b"], "test": ["c"]}, "counts": [{"over": "subjects"}]}
    assert crossval._members(state) == state["subjects"]
    assert crossval._members({**state, "counts": [{"over": "clips"}]}) == {"train": 2, "test": 1}


def test_an_unfinished_fold_has_nothing_to_load(tmp_path):
    (tmp_path / f"{folds.FINISHED}.part").write_bytes(b"half")
    assert folds.load_fold(tmp_path) is None
