"""Micro-AU CLIP on a rehearsal of CASME II, every subject left out once: numbers that can be recomputed."""

import csv
import io
import json
from contextlib import redirect_stdout

import pytest
import torch
from sklearn.metrics import f1_score, recall_score

from affectkit.cli import crossval
from affectkit.datasets import CASME2
from affectkit.facs import AUSet
from affectkit.facs.recognition import class_rules
from affectkit.models.hub import no_weights
from affectkit.rehearse.casme2 import write_casme2

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

UNITS = AUSet.parse("casme2_8")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    write_casme2(folder / "CASME2", size="tiny", seed=1)
    with pytest.MonkeyPatch.context() as patch, no_weights():
        patch.setenv("AFFECTKIT_DATA", str(folder))
        patch.setattr(crossval, "_spawn", crossval.run)  # folds in this process
        yield folder / "CASME2"


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    folder, said = tmp_path_factory.mktemp("out"), io.StringIO()
    with redirect_stdout(said):
        assert crossval.run(command(folder)) == 0
    return folder, said.getvalue()


@pytest.fixture(scope="module")
def out(finished):
    return finished[0]


def command(out, *more):
    return [
        *("--config", "micro/casme2_microauclip", "--config", "micro/microauclip_rehearsal"),
        *("--protocol", "loso", "--output", str(out)),
        *("--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"),
        *more,
    ]


def results(out, name):
    rows = json.loads((out / "results.json").read_text())["results"][name]
    return {row["name"]: row["value"] for row in rows if row["threshold_rule"] in (None, "fixed")}


@pytest.fixture(scope="module")
def clips(root, out):
    """By clip: probabilities of the units, and the record."""
    with (out / "predictions.csv").open(newline="") as file:
        said = {row["clip"]: [float(row[column]) for column in UNITS.columns] for row in csv.DictReader(file)}
    dataset = CASME2(root)
    assert set(said) == {record.clip for record in dataset.clips}
    return [(said[record.clip], dataset.labels(record, [0])) for record in dataset.clips]


def test_every_subject_is_left_out_once(out):
    content = json.loads((out / "results.json").read_text())
    assert (content["protocol"], content["reduction"], content["threshold_rule"]) == (
        "loso",
        "pooled",
        "fixed",
    )
    assert [fold["test"] for fold in content["folds"]] == [["sub04"], ["sub05"], ["sub12"], ["sub17"]]
    for fold in content["folds"]:
        assert len({*fold["train"], *fold["val"], *fold["test"]}) == 4


def test_the_table_is_printed_once_and_written_as_a_page(finished):
    folder, said = finished
    assert said.count("CASME2/au: CASME II") == said.count("CASME2/au by rules: ") == 1
    assert "note: this corpus is a rendered rehearsal" in said
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "Rendered faces." in page
    assert "never found: disgust, repression" in page
    found = results(folder, "CASME2/au")
    for name in ("au/f1_pos", "au/f1_macro2", "au/f1_pos/AU4"):
        assert f"{found[name]:.3f}" in page


def test_predictions_are_pooled_before_f1_and_both_kinds_stand_side_by_side(out, clips, root, capsys):
    found = results(out, "CASME2/au")
    for place, unit in enumerate(UNITS):
        rows = [(said[place] >= 0.5, labels["au"]) for said, labels in clips]
        known = [(bool(truth.value[place] >= 0.5), answer) for answer, truth in rows if truth.mask[place]]
        true, answers = zip(*known, strict=True)
        score = f1_score(true, answers, zero_division=0)
        macro = f1_score(true, answers, labels=[False, True], average="macro", zero_division=0)
        assert found[f"au/f1_pos/{unit}"] == pytest.approx(score, abs=1e-9)
        assert found[f"au/f1_macro2/{unit}"] == pytest.approx(macro, abs=1e-9)
    for kind in ("f1_pos", "f1_macro2"):
        mean = sum(found[f"au/{kind}/{unit}"] for unit in UNITS) / len(UNITS)
        assert found[f"au/{kind}"] == pytest.approx(mean, abs=1e-9)
    assert found["au/f1_pos"] != found["au/f1_macro2"]
    assert crossval.run(command(out)) == 0  # prints what is finished
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("au/")]
    place = lines.index("au/f1_pos")
    assert lines[place + 1] == "au/f1_macro2"


def test_emotions_by_rule_are_pooled_as_well(out, clips):
    rules = class_rules(UNITS, "casme2_5")
    pairs = [
        (rules.labels[int(labels["expression"].value)], rules.decide(said))
        for said, labels in clips
        if labels["expression"].mask
    ]
    true, answers = zip(*pairs, strict=True)
    there = sorted(set(true))
    found = results(out, "CASME2/au by rules")
    uar = recall_score(true, answers, labels=there, average="macro", zero_division=0)
    assert found["au_rules/uar"] == pytest.approx(uar, abs=1e-9)
    assert 0 <= found["au_rules/uf1"] <= 1
    content = json.loads((out / "results.json").read_text())["results"]["CASME2/au by rules"]
    assert "no emotion label in training; never found: disgust, repression" in content[0]["protocol"]
    assert content[0]["ci_over"] == "subjects"


def test_shuffled_emotions_change_no_weight(out, root, tmp_path, monkeypatch):
    """No emotion label is read in training, of anybody: only the numbers of recognition change."""

    def shuffled(self, record, indices):
        labels = original(self, record, indices)
        target = labels["expression"]
        labels["expression"] = type(target)(
            (target.value + 1) % 5, torch.ones_like(target.mask), target.space
        )
        return labels

    original = CASME2.labels
    monkeypatch.setattr(CASME2, "labels", shuffled)
    crossval.run(command(tmp_path, "--fold", "sub04"))
    one, other = (folder / "folds" / "sub04" for folder in (out, tmp_path))
    left, right = (torch.load(f / "checkpoints" / "newest.ckpt", weights_only=True) for f in (one, other))
    assert left["state_dict"].keys() == right["state_dict"].keys()
    assert all(
        torch.equal(left["state_dict"][name], right["state_dict"][name]) for name in left["state_dict"]
    )
    assert left["thresholds"] == right["thresholds"]
    assert (one / "predictions.csv").read_text() == (other / "predictions.csv").read_text()
    counts = [torch.load(f / "fold.pt", weights_only=True)["counts"] for f in (one, other)]
    (units, rules), (same, changed) = counts
    assert (rules["head"], rules["name"]) == ("au by rules", "au_rules")
    assert all(torch.equal(units["state"][name], same["state"][name]) for name in units["state"])
    assert any(not torch.equal(rules["state"][name], changed["state"][name]) for name in rules["state"])
