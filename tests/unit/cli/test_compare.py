"""`affectkit model compare`: tables of two runs, and runs that cannot be compared."""

import json
import re

import pytest
import torch
from helpers.training import make_data, make_task, make_trainer
from helpers.wild import Wild, evaluate

from affectkit.cli import compare
from affectkit.cli.main import main
from affectkit.metrics import Comparison
from affectkit.tasks import ResultsWriter
from affectkit.tasks.callbacks import STATES
from affectkit.tasks.states import plain_states


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two tests of different weights on the same clips."""
    root = tmp_path_factory.mktemp("runs")
    results = {}
    for name in ("plain", "changed"):
        task = make_task()
        if name == "changed":
            with torch.no_grad():
                for head in task.heads.values():
                    head.out.weight.neg_()
        make_trainer(root / name, callbacks=[ResultsWriter()]).test(
            task, datamodule=make_data(4), verbose=False
        )
        results[name] = {row.name: row for rows in task.results.values() for row in reversed(rows)}
    return root, results


def changed(runs, tmp_path, change):
    """A copy of the second run with changed states."""
    test = torch.load(runs[0] / "changed" / STATES, weights_only=True)
    change(test)
    torch.save(test, tmp_path / STATES)
    return tmp_path


def test_the_table_has_the_results_of_both_runs(runs, tmp_path, capsys):
    root, results = runs
    table = tmp_path / "table.md"
    command = ["model", "compare", str(root / "plain"), str(root / "changed"), "--draws", "200"]
    assert main([*command, "--output", str(table)]) == 0
    lines = table.read_text().splitlines()
    assert lines[0] == "| result | plain | changed | difference | 95 % interval | p |"
    rows = {cells[1]: cells[2:] for line in lines[2:-1] for cells in [[c.strip() for c in line.split("|")]]}
    names = list(rows)
    assert names.index("expression/uar") < names.index("au/f1_pos/AU1")  # means first
    assert {"au/f1_pos", "au/acc/AU12", "expression/war", "expression/recall/happiness"} <= set(names)
    assert not any("all_positive" in name or "support" in name or "auc" in name for name in names)
    for name in ("au/f1_pos", "au/f1_pos/AU12", "expression/uar"):
        assert rows[name][:2] == [f"{results[run][name].estimate.value:.3f}" for run in ("plain", "changed")]
    assert "Protocol: toy: test split, subjects disjoint" in lines[-1]
    assert "Paired over 3 subjects" in lines[-1]
    assert lines[0] in capsys.readouterr().out


def test_latex_escapes_what_is_special():
    rows = {"au/f1_pos": Comparison(0.5, 0.61, 0.11, -0.02, 0.25, 0.0004)}
    text = compare.as_latex(rows, ["A & B", "50 %"])
    assert text.splitlines() == [
        r"\begin{tabular}{lrrrrr}",
        r"\toprule",
        r"result & A \& B & 50 \% & difference & 95 \% interval & p \\",
        r"\midrule",
        r"au/f1\_pos & 0.500 & 0.610 & +0.110 & -0.020 to +0.250 & $<$ 0.001 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    nan = float("nan")
    assert compare.as_markdown({"a/b": Comparison(0.5, 0.5, 0.0, nan, nan, nan)}, "AB").endswith("| – | – |")


def test_thresholds_from_validation(runs, tmp_path, capsys):
    root, _ = runs

    def give(test):
        test["thresholds"] = {"au": dict.fromkeys(("AU1", "AU12", "AU4"), 0.0)}

    given = changed(runs, tmp_path, give)
    command = ["model", "compare", str(given), str(given), "--threshold", "val", "--draws", "20"]
    assert main([*command, "--names", "ours", "theirs"]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("| au/f1_pos |"))
    baseline = runs[1]["plain"]["au/f1_pos"].baseline  # a threshold of 0 calls every row positive
    assert row.split("|")[2].strip() == f"{baseline:.3f}"
    assert "| ours | theirs |" in out
    assert "Thresholds: selected on validation data" in out
    assert main(["model", "compare", str(root / "plain"), str(root / "plain"), "--threshold", "val"]) == 2
    assert "no thresholds from validation data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda test: test["protocols"].update(toy="other people"), "by different protocols.*other people"),
        (lambda test: [count.update(clips="0") for count in test["counts"]], "different clips of toy"),
        (lambda test: test["counts"][0].update(space="AU1,AU2,AU4"), "different labels: .*AU1,AU2,AU4"),
        (lambda test: [count.update(head="x") for count in test["counts"]], "share no head: .*toy/au.*toy/x"),
    ],
)
def test_runs_that_do_not_match_are_refused(runs, tmp_path, capsys, change, fault):
    other = changed(runs, tmp_path, change)
    assert main(["model", "compare", str(runs[0] / "plain"), str(other)]) == 2
    error = capsys.readouterr().err
    assert re.search(fault, error)


def test_folders_and_files_that_do_not_fit(runs, tmp_path, capsys):
    plain = str(runs[0] / "plain")
    assert main(["model", "compare", plain, str(tmp_path)]) == 2
    assert "no finished test" in capsys.readouterr().err
    assert main(["model", "compare", plain, plain, "--output", "table.csv"]) == 2
    assert "names no table" in capsys.readouterr().err


def crossval(runs, folder, run, *, reduction, drop=()):
    """Two folds of a cross-validation, both of which are the same test."""
    test = torch.load(runs[0] / run / STATES, weights_only=True)
    for count in test["counts"]:
        for name in drop:
            del count[name]
    for fold in ("a/1", "a/2"):
        (folder / "folds" / fold.replace("/", "_")).mkdir(parents=True)
        torch.save({"fold": fold, **test}, folder / "folds" / fold.replace("/", "_") / "fold.pt")
    known = {"protocol": "2fold", "description": "toy people", "reduction": reduction}
    folds = [{"fold": "a/1"}, {"fold": "a/2"}]
    (folder / "results.json").write_text(json.dumps({**known, "folds": folds, "results": {}}))
    return str(folder)


@pytest.mark.parametrize("reduction", ["pooled", "mean_of_folds"])
def test_cross_validations_are_compared_over_all_folds(runs, tmp_path, capsys, reduction):
    folders = [crossval(runs, tmp_path / run, run, reduction=reduction) for run in ("plain", "changed")]
    assert main(["model", "compare", *folders, "--draws", "50"]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("| expression/war |"))
    wanted = [f"{runs[1][run]['expression/war'].estimate.value:.3f}" for run in ("plain", "changed")]
    assert [cell.strip() for cell in row.split("|")[2:4]] == wanted
    assert "Protocol: 2fold: toy people, 2 folds. " in out
    assert "Paired over 6 subjects" in out


def test_the_score_of_several_targets_is_compared_too(tmp_path, capsys):
    data, scores = Wild(split="test"), []
    for seed in (3, 4):
        evaluation, _ = evaluate(data, seed=seed)
        scores.append(f"{evaluation.values()['toy/mtl/score'].item():.3f}")
        counts = plain_states(evaluation.metric_states(), evaluation.datasets)
        (tmp_path / str(seed)).mkdir()
        test = {"thresholds": {}, "protocols": {"toy": "people"}, "counts": counts}
        torch.save(test, tmp_path / str(seed) / STATES)
    assert main(["model", "compare", str(tmp_path / "3"), str(tmp_path / "4"), "--draws", "50"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| mtl/score |"))
    assert [cell.strip() for cell in row.split("|")[2:4]] == scores


def test_folds_that_do_not_state_their_clips(runs, tmp_path, capsys):
    folder = crossval(runs, tmp_path, "plain", reduction="pooled", drop=["clips"])
    assert main(["model", "compare", folder, folder]) == 2
    assert "Run the cross-validation again" in capsys.readouterr().err
