"""Cross-validation of a toy corpus: protocols, resuming, and numbers that can be recomputed."""

import csv
import json
import math
import re

import pytest
import torch
from helpers import folds as toy
from lightning.pytorch import Callback
from sklearn.metrics import f1_score

from affectkit.cli import crossval, folds
from affectkit.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

RECIPE = """
seed_everything: 3
trainer:
  accelerator: cpu
  max_epochs: 3
  enable_progress_bar: false
  enable_model_summary: false
  num_sanity_val_steps: 0
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {{{checkpoint}}}
model:
  class_path: MultiTask
  init_args:
    backbone: {{class_path: TimmBackbone, init_args: {{model_name: test_convnext, size: 32}}}}
    heads:
      au: {{class_path: AUHead, init_args: {{space: "AU1,AU4,AU12", per_frame: true, dropout: 0.0}}}}
      expression: {{class_path: ExpressionHead, init_args: {{space: basic7}}}}
    lr: 3.0e-3
data:
  class_path: helpers.folds.ToyFolds
  init_args: {{corpus: {corpus}, batch_size: 4, seed: 0}}
"""
BEST = "monitor: val/DISFA/au/f1_pos, mode: max, filename: best, enable_version_counter: false"


class KilledError(Exception):
    """Stands for a kill: nothing after it runs."""


class Kill(Callback):
    """Kills a run at the start of an epoch, or of the test."""

    def __init__(self, moment):
        self.moment = moment

    def on_train_epoch_start(self, trainer, task):
        if trainer.current_epoch == self.moment:
            raise KilledError

    def on_test_start(self, trainer, task):
        if self.moment == "test":
            raise KilledError


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")

    def write(corpus, checkpoint):
        path = folder / f"{corpus}-{'best' if checkpoint == BEST else 'last'}.yaml"
        path.write_text(RECIPE.format(corpus=corpus, checkpoint=checkpoint))
        return str(path)

    return write


@pytest.fixture(scope="module", autouse=True)
def same_process():
    """Folds run in this process: starting one each takes longer than all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossval, "_spawn", lambda args: crossval.run(args))
        yield


@pytest.fixture(scope="module")
def three_fold(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("three")
    assert crossval.run(["--config", recipe("DISFA", BEST), "--protocol", "3fold", "--output", str(out)]) == 0
    return out


def read(out):
    return json.loads((out / "results.json").read_text())


def row(results, name, rule):
    (found,) = [r for r in results if r["name"] == name and r["threshold_rule"] == rule]
    return found


def predictions(out):
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def truths(corpus):
    """True labels of every annotated frame: (clip, frame, unit) → 0 or 1."""
    data = {"DISFA": toy.ToyDISFA, "CASME2": toy.ToyCASME2}[corpus](".")
    found = {}
    for record in data.clips:
        target = data.labels(record, range(3))["au"]
        for frame in range(3):
            for unit, value, known in zip(
                ("AU01", "AU12", "AU04"),
                target.value[frame].tolist(),
                target.mask[frame].tolist(),
                strict=True,
            ):
                if known:
                    found[record.clip, frame, unit] = value
    return found


def f1_by_fold(out, corpus, unit, threshold=lambda fold: 0.5):
    """F1 of a unit in each fold, and of all folds together, from the table of predictions."""
    known = truths(corpus)
    pairs = {}
    for line in predictions(out):
        key = line["clip"], int(line["frame"]), unit
        if key in known:
            said = float(line[unit]) >= threshold(line["fold"])
            pairs.setdefault(line["fold"], []).append((known[key], said))
    folds_f1 = [f1_score(*zip(*rows, strict=True), zero_division=0) for rows in pairs.values()]
    together = [pair for rows in pairs.values() for pair in rows]
    return sum(folds_f1) / len(folds_f1), f1_score(*zip(*together, strict=True), zero_division=0)


def test_three_folds_give_the_mean_of_their_scores(three_fold):
    content = read(three_fold)
    assert (content["protocol"], content["reduction"], content["threshold_rule"]) == (
        "3fold",
        "mean_of_folds",
        "val",
    )
    rows = content["results"]["DISFA/au"]
    thresholds = {fold["fold"]: fold["thresholds"]["au"]["AU1"] for fold in content["folds"]}
    fixed, chosen = row(rows, "au/f1_pos/AU1", "fixed"), row(rows, "au/f1_pos/AU1", "val")
    assert fixed["value"] == pytest.approx(f1_by_fold(three_fold, "DISFA", "AU01")[0], abs=1e-9)
    by_chosen = f1_by_fold(three_fold, "DISFA", "AU01", thresholds.__getitem__)
    assert chosen["value"] == pytest.approx(by_chosen[0], abs=0.02)  # the table rounds probabilities
    assert fixed["ci"][0] <= fixed["value"] <= fixed["ci"][1]
    assert fixed["ci_over"] == "subjects"
    assert "mean of the folds" in fixed["protocol"]
    assert row(rows, "au/f1_pos", "val")["baseline"] == row(rows, "au/f1_pos", "fixed")["baseline"] > 0
    assert rows[0]["threshold_rule"] == "val"
    assert len([r for r in rows if r["name"] == "au/auc"]) == 1


def test_every_clip_is_predicted_in_the_fold_that_tests_its_subject(three_fold):
    lines, part_of = predictions(three_fold), toy.parts_of("DISFA")
    assert len(lines) == 9 * 4 * 3
    assert all(line["fold"] == part_of[line["subject"]] for line in lines)
    for fold in read(three_fold)["folds"]:
        parts = [set(fold[name]) for name in ("train", "val", "test")]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 9


def test_true_labels_stand_beside_predictions(three_fold):
    """Each where it is annotated, and nothing where it is not."""
    known, found = truths("DISFA"), {}
    for line in predictions(three_fold):
        for unit in ("AU01", "AU12"):
            if line[f"{unit}_true"]:
                found[line["clip"], int(line["frame"]), unit] = float(line[f"{unit}_true"])
    assert found == {key: value for key, value in known.items() if key[2] != "AU04"}
    assert set(found.values()) == {0, 1}


def test_the_epoch_is_the_best_on_validation(three_fold):
    for fold in ("part1", "part2", "part3"):
        folder = three_fold / "folds" / fold
        with (folder / "logs" / "version_0" / "metrics.csv").open() as file:
            logged = [r for r in csv.DictReader(file) if r["val/DISFA/au/f1_pos"]]
        best = max(logged, key=lambda r: float(r["val/DISFA/au/f1_pos"]))
        assert folds.load_fold(folder)["epoch"] == int(best["epoch"])


def test_a_killed_run_continues_and_equals_the_uninterrupted_one(three_fold, recipe, tmp_path, monkeypatch):
    command = ["--config", recipe("DISFA", BEST), "--protocol", "3fold", "--output", str(tmp_path)]
    started, kill = [], [("part3", "test"), ("part2", 2)]

    def launch(args, execute, **options):
        cli = original(args, execute=execute, **options)
        if "kind" in options:  # only the data
            return cli
        fit = cli.trainer.fit

        def recorded(task, datamodule, **options):
            started.append((datamodule.fold, options["ckpt_path"] is not None))
            if kill and datamodule.fold == kill[-1][0]:
                cli.trainer.callbacks.append(Kill(kill.pop()[1]))
            fit(task, datamodule=datamodule, **options)

        cli.trainer.fit = recorded
        return cli

    from affectkit.cli import lightning

    original = lightning.launch
    monkeypatch.setattr(lightning, "launch", launch)
    for _ in range(2):
        with pytest.raises(KilledError):
            crossval.run(command)
        assert not (tmp_path / "results.json").exists()
    (tmp_path / "folds" / "part3" / "predictions-1.csv").write_text("of a killed run with two")
    assert crossval.run(command) == 0
    assert started == [("part1", False), ("part2", False), ("part2", True), ("part3", False), ("part3", True)]
    assert (tmp_path / "results.json").read_bytes() == (three_fold / "results.json").read_bytes()
    assert (tmp_path / "predictions.csv").read_bytes() == (three_fold / "predictions.csv").read_bytes()
    before = len(started)
    assert crossval.run(command) == 0
    assert len(started) == before


def test_the_page_shows_folds_labels_and_confusion(three_fold):
    page = (three_fold / "index.html").read_text(encoding="utf-8")
    for title in (
        "Folds: DISFA/au: f1_pos",
        "Folds: DISFA/expression: uar",
        "DISFA/expression, all folds: true and predicted",
        "Action units: F1, positive class",
    ):
        assert f"<h3>{title}</h3>" in page
    assert page.count("<svg") == 4


def test_other_settings_never_mix_with_finished_folds(three_fold, recipe):
    command = ["--config", recipe("DISFA", BEST), "--output", str(three_fold), "--model.init_args.lr=1.0e-3"]
    with pytest.raises(ConfigError, match="other settings"):
        crossval.run(command)


def test_leaving_one_subject_out_pools_and_fixes_epoch_and_threshold(recipe, tmp_path, capsys):
    command = [
        "crossval",
        "--config",
        recipe("CASME2", "save_top_k: 0, save_last: true"),
        "--output",
        str(tmp_path),
    ]
    command += ["--protocol", "loso", "--trainer.max_epochs=1"]
    crossval.run([*command[1:], "--fold", "2"])
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"fold sub02: CASME2/au: f1_pos [\d.]+, CASME2/expression: uar [\d.]+; 1 tested; no training label for "
        r"[\w, ]+; \d+ s; 1 of 4 folds finished",
        line,
    )
    assert [path.name for path in (tmp_path / "folds").iterdir()] == ["sub02"]
    assert crossval.run(command[1:]) == 0
    printed = capsys.readouterr()
    assert "fold sub02: finished before" in printed.out
    assert [text.partition(":")[0] for text in printed.out.splitlines()[:4]] == [
        f"fold {s}" for s in toy.CASME2
    ]
    assert printed.out.count("fold sub") == 4
    assert printed.err == ""
    content = read(tmp_path)
    assert [fold["test"] for fold in content["folds"]] == [[name] for name in toy.CASME2]
    assert {fold["epoch"] for fold in content["folds"]} == {0}
    assert (content["reduction"], content["threshold_rule"]) == ("pooled", "fixed")
    rows = content["results"]["CASME2/au"]
    for unit in ("AU1", "AU4", "AU12"):
        column = f"AU{int(unit[2:]):02d}"
        value = row(rows, f"au/f1_pos/{unit}", "fixed")["value"]
        assert value == pytest.approx(f1_by_fold(tmp_path, "CASME2", column)[1], abs=1e-9)
    assert rows[0]["threshold_rule"] == "fixed"
    assert not math.isnan(row(rows, "au/f1_pos", "val")["value"])
    assert row(content["results"]["CASME2/expression"], "expression/uf1", None)["ci_over"] == "subjects"


def test_shuffled_test_labels_change_no_stored_state(three_fold, recipe, tmp_path, monkeypatch):
    def shuffled(self, record, indices):
        labels = original(self, record, indices)
        if self.split == "test":
            labels["au"] = type(labels["au"]).make(1 - labels["au"].value, space=labels["au"].space)
        return labels

    original = toy.ToyCorpus.labels
    monkeypatch.setattr(toy.ToyCorpus, "labels", shuffled)
    command = ["--config", recipe("DISFA", BEST), "--output", str(tmp_path), "--fold", "jaa-net/combine_1_2"]
    assert crossval.run(command) == 0
    one, other = (folder / "folds" / "part3" for folder in (three_fold, tmp_path))
    assert folds.load_fold(one)["thresholds"] == folds.load_fold(other)["thresholds"]
    left, right = (
        torch.load(f / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for f in (one, other)
    )
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert not torch.equal(*(folds.load_fold(f)["counts"][0]["state"]["entries"] for f in (one, other)))


@pytest.mark.parametrize(
    ("corpus", "checkpoint", "extra", "fault"),
    [
        ("DISFA", "save_last: true", [], "monitors no metric"),
        (
            "CASME2",
            "save_last: true",
            ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=a"],
            "stops",
        ),
        ("CASME2", "save_last: true", ["--protocol", "5fold"], "no protocol '5fold'"),
        ("CASME2", "save_last: true", ["--fold", "sub09"], "no fold 'sub09'"),
    ],
)
def test_a_recipe_that_cannot_follow_the_protocol_is_wrong_usage(
    recipe, tmp_path, capsys, corpus, checkpoint, extra, fault
):
    command = ["--config", recipe(corpus, checkpoint), "--output", str(tmp_path), *extra]
    with pytest.raises(ConfigError, match=fault):
        crossval.run(command)
