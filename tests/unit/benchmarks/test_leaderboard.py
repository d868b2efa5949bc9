"""The leaderboard: its recipes, its files, its statistics and its page."""

import json
from pathlib import Path
from runpy import run_path

import pytest
import torch
import yaml

from affectkit.cli.recipe import as_text, compose
from affectkit.metrics import AUMetrics, ExpressionMetrics

FOLDER = Path(__file__).parents[3] / "benchmarks" / "leaderboard"
SPACE = "AU1,AU2"


def tally(seed, right, people=12):
    """Counts of two units over 10 frames per person, predicted correctly with a probability."""
    rng = torch.Generator().manual_seed(seed)
    truth = (torch.rand(people * 10, 2, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    hit = torch.rand(truth.shape, generator=rng) < right
    metric = AUMetrics(["AU1", "AU2"], people)
    group = torch.arange(people).repeat_interleave(10)
    logits = 4 * (2 * torch.where(hit, truth, 1 - truth) - 1)
    metric.update(logits, truth, torch.ones_like(truth, dtype=torch.bool), group)
    return metric.tally()


def cell(right, seeds=5, milliseconds=10.0):
    from scores import encode

    runs = []
    for seed in range(seeds):
        one = tally(seed, right)
        value = round(float(one.point()["f1_pos"]), 6)
        runs.append({"seed": seed, "milliseconds": milliseconds, "value": value, "counts": encode(one.sums)})
    return {"settings": "s", "space": SPACE, "people": 12, "parameters": 7, "runs": runs}


def test_every_cell_has_recipes_that_compose():
    from board import METHODS, TRACKS, arguments, cells

    used = set()
    for track, method in cells():
        corpus, recipe = (
            Path(path) for path in arguments(TRACKS[track].corpus, METHODS[method].recipes[track])[1::2]
        )
        data, model = (yaml.safe_load(as_text(compose(path))) for path in (corpus, recipe))
        assert TRACKS[track].head in model["model"]["init_args"]["heads"], (track, method)
        assert data["data"]["class_path"] == "RenderedDataModule"
        used |= {corpus, recipe}
    used |= {FOLDER / "corpora" / f"{one.tested_on}.yaml" for one in TRACKS.values() if one.tested_on}
    assert used == {path for folder in ("corpora", "methods") for path in (FOLDER / folder).glob("*.yaml")}


def test_a_track_tests_the_same_people_with_few_labels_and_on_the_webcam():
    faces, few, webcam = (
        yaml.safe_load(as_text(compose(FOLDER / "corpora" / f"{name}.yaml")))["data"]["init_args"]["render"]
        for name in ("faces", "few", "webcam")
    )
    assert {**few, "val": faces["val"]} == faces
    assert {**webcam, "domain": "studio"} == {**faces, "domain": "studio"}


def test_all_models_of_a_track_train_the_same_steps_on_batches_of_the_same_size():
    from board import TRACKS

    for corpus in {one.corpus for one in TRACKS.values()}:
        options = yaml.safe_load(as_text(compose(FOLDER / "corpora" / f"{corpus}.yaml")))["data"]["init_args"]
        assert (options["batch_size"], options["steps_per_epoch"]) == (28, 12)
    for path in (FOLDER / "methods").glob("*.yaml"):
        options = yaml.safe_load(as_text(compose(path))).get("data", {}).get("init_args", {})
        assert not options.keys() & {"batch_size", "steps_per_epoch", "render", "root"}


def test_counts_are_written_without_loss():
    from scores import averaged, decode, encode

    for space, result, one in ((SPACE, "f1_pos", tally(1, 0.7)), ("basic7", "uar", expressions())):
        again = decode(encode(one.sums), space, len(one.sums))
        assert again.labels == one.labels
        assert torch.equal(again.sums, one.sums)
        assert averaged([again], result).point()[result] == one.point()[result]
    with pytest.raises(ValueError, match="whole numbers"):
        encode(torch.tensor([[0.5]]))


def expressions():
    from affectkit.facs import label_space

    metric = ExpressionMetrics(label_space("basic7").labels, 3)
    truth = torch.arange(21) % 7
    logits = torch.eye(7)[(truth + (torch.arange(21) % 4 == 0)) % 7]
    metric.update(logits, truth, torch.ones(21, dtype=torch.bool), torch.arange(21) // 7)
    return metric.tally()


def test_the_result_of_several_models_is_the_mean_of_their_results():
    from scores import averaged

    runs = [tally(seed, 0.7) for seed in range(3)]
    whole = averaged(runs, "f1_pos")
    values = torch.stack([run.point()["f1_pos"] for run in runs])
    assert whole.point()["f1_pos"] == pytest.approx(values.mean())
    left_out = torch.stack([run.only(range(1, 12)).point()["f1_pos"] for run in runs]).mean()
    assert whole.without_each()["f1_pos"][0] == pytest.approx(left_out)


def test_rows_compare_with_the_best_baseline():
    from board import METHODS
    from scores import rows

    assert METHODS["cnn"].kind == METHODS["vit"].kind == "baseline"
    cells = {
        "cnn": cell(0.8),
        "vit": cell(0.6),
        "ssm": cell(0.97),
        "au_ttt": cell(0.55),
        "graph": cell(0.9, seeds=4),
    }
    table = {row.method: row for row in rows("units", {("units", name): one for name, one in cells.items()})}
    assert list(table) == ["ssm", "cnn", "vit", "au_ttt"]  # best first; one seed of "graph" is missing
    assert table["cnn"].against is None
    values = {
        name: torch.tensor([run["value"] for run in one["runs"]]).double() for name, one in cells.items()
    }
    for name, row in table.items():
        assert row.people.value == pytest.approx(values[name].mean().item(), abs=1e-5)
        assert row.people.low < row.people.value < row.people.high
        assert row.seeds[1] < row.people.value < row.seeds[2]
        if name != "cnn":
            difference = (values[name] - values["cnn"]).mean().item()
            assert row.against.difference == pytest.approx(difference, abs=1e-5)
            assert row.against_seeds[0] == pytest.approx(difference, abs=1e-5)
            assert row.against.low < difference < row.against.high
    assert (table["ssm"].verdict, table["au_ttt"].verdict, table["cnn"].verdict) == ("above", "below", "")
    assert table["ssm"].trivial == pytest.approx(tally(0, 1.0).point()["f1_all_positive"].item())
    assert rows("units", {}) == []


def test_a_model_is_tested_in_all_tracks_that_use_it_with_the_same_numbers_every_time(tmp_path, monkeypatch):
    import fitting

    arguments = fitting.arguments

    def tiny(corpus, recipe):
        path = tmp_path / f"{corpus}.yaml"
        options = {
            "render": {"identities": 8, "clips": 2, "test": 0.25},
            "batch_size": 4,
            "steps_per_epoch": 1,
        }
        base = arguments(corpus, recipe)
        path.write_text(yaml.safe_dump({"include": [base[1]], "data": {"init_args": options}}))
        return ["--config", str(path), *base[2:]]

    monkeypatch.setattr(fitting, "arguments", tiny)
    monkeypatch.setattr(fitting, "EPOCHS", 1)
    monkeypatch.setenv("AFFECTKIT_DATA", "")
    found, again, other = (fitting.train("units", "cnn", seed, tmp_path) for seed in (3, 3, 4))
    assert list(found) == ["units", "webcam"]
    for track, run in found.items():
        assert (run["seed"], run["people"], run["value"], run["counts"]) == (
            3, 2, again[track]["value"], again[track]["counts"],
        )  # fmt: skip
    assert found["units"]["counts"] != found["webcam"]["counts"]
    assert found["units"]["counts"] != other["units"]["counts"]
    assert found["units"]["parameters"] > 100_000


def test_runs_are_recorded_once_and_repeated_runs_are_compared(tmp_path, monkeypatch):
    program = run_path(str(FOLDER / "__main__.py"), run_name="leaderboard")
    monkeypatch.setitem(program["recorded"].__globals__, "RESULTS", tmp_path)
    runs = [{**run, "space": SPACE, "people": 12, "parameters": 7} for run in cell(0.8, seeds=2)["runs"]]
    assert program["record"]("units", "cnn", dict(runs[1])) == "recorded"
    assert program["record"]("units", "cnn", dict(runs[0])) == "recorded"
    assert [run["seed"] for run in program["recorded"]("units", "cnn")["runs"]] == [0, 1]
    assert program["record"]("units", "cnn", {**runs[0], "milliseconds": 99.0}) == "as recorded"
    assert program["record"]("units", "cnn", {**runs[0], "value": 0.1}) == "DIFFERS"
    path = tmp_path / "units" / "cnn.json"
    changed = {**json.loads(path.read_text()), "settings": "of an earlier recipe"}
    path.write_text(json.dumps(changed))
    assert program["recorded"]("units", "cnn")["runs"] == []


def test_the_page_is_that_of_the_recorded_cells():
    from page import PAGE, page
    from scores import load

    found = load(FOLDER / "results")
    remedy = "run python benchmarks/leaderboard --page"
    assert PAGE.read_text(encoding="utf-8") == page(found), remedy
    assert sum(path.stat().st_size for path in (FOLDER / "results").rglob("*.json")) < 200_000
    assert all(cell["people"] > 20 for cell in found.values())


def test_rows_of_the_page_have_intervals_and_a_plot():
    from page import page

    text = page(
        {("units", "cnn"): cell(0.8), ("units", "ssm"): cell(0.97), ("units", "graph"): cell(0.9, seeds=4)}
    )
    assert "\n2 of " in text
    assert "## Action units" in text
    assert "## Expressions" not in text
    assert "Best baseline: CNN. Methods above it: SSM; below it: none." in text
    assert "ME-GraphAU" not in text.partition("## Action units")[2]
    assert text.count("<svg") == 2
    assert text.count("<td data-value=") == 2 * 8
