import csv
import json
from types import SimpleNamespace

import pandas
import pytest
import torch
from helpers.training import make_data, make_task, make_trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from affectkit.tasks import NewestCheckpoint, PredictionsWriter, ResultsWriter


def test_results_are_printed_and_written(tmp_path, capsys):
    task = make_task()
    make_trainer(tmp_path, callbacks=[ResultsWriter()]).test(task, datamodule=make_data(4), verbose=False)
    assert "toy/au" in capsys.readouterr().out
    written = json.loads((tmp_path / "test_results.json").read_text())
    row = next(row for row in written["toy/au"] if row["name"] == "au/f1_pos")
    assert set(row) >= {"value", "ci", "baseline", "threshold_rule", "protocol", "ci_over"}
    assert row["ci_over"] == "subjects"


def test_no_file_without_a_name(tmp_path):
    make_trainer(tmp_path, callbacks=[ResultsWriter("")]).test(
        make_task(), datamodule=make_data(4), verbose=False
    )
    assert not list(tmp_path.glob("*.json"))


def test_predictions_of_every_frame_once(tmp_path):
    data = make_data(4, eval_batch_size=5)
    make_trainer(tmp_path, callbacks=[PredictionsWriter()]).predict(
        make_task(), datamodule=data, return_predictions=False
    )
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:7] == ["dataset", "clip", "subject", "frame", "AU01", "AU04", "AU12"]
    assert [(row["clip"], row["frame"]) for row in rows] == [
        (f"s{p:02d}_{k}", str(t)) for p in (8, 9, 10) for k in range(4) for t in range(3)
    ]
    assert len({row["happiness"] for row in rows[:3]}) == 1
    assert all(0 <= float(row["AU12"]) <= 1 for row in rows)


def test_tested_predictions_are_kept_with_the_truth(tmp_path, capsys):
    task, data = make_task(), make_data(4, eval_batch_size=5)
    make_trainer(tmp_path, callbacks=[ResultsWriter(), PredictionsWriter()]).test(
        task, datamodule=data, verbose=False
    )
    table = pandas.read_parquet(tmp_path / "test_predictions.parquet")
    assert str(tmp_path / "test_predictions.parquet") in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "test_predictions.parquet",
        "test_results.json",
        "test_states.pt",
    ]
    assert len(table) == 3 * 4 * 3
    assert table["subject"].unique().tolist() == ["s08", "s09", "s10"]
    (accuracy,) = (row.estimate.value for row in task.results["toy/au"] if row.name == "au/acc/AU12")
    known = table["AU12_true"].notna()
    right = (table["AU12"] >= 0.5) == (table["AU12_true"] == 1)
    assert 0 < known.sum() < len(table)
    assert right[known].mean() == pytest.approx(accuracy)
    assert set(table["expression_true"]) <= set(task.heads["expression"].labels)


def test_no_table_without_a_name_or_predictions(tmp_path):
    make_trainer(tmp_path, callbacks=[PredictionsWriter(test_filename="")]).test(
        make_task(), datamodule=make_data(4), verbose=False
    )
    task = make_task()
    task._predictions = lambda *_: None
    make_trainer(tmp_path, callbacks=[PredictionsWriter()]).test(task, datamodule=make_data(4), verbose=False)
    assert not list(tmp_path.iterdir())


class Places:
    """A trainer on one of several processes that share a folder; counts what must be asked on all of them."""

    def __init__(self, folder, rank, world=2):
        self.folder, self.global_rank, self.world_size = folder, rank, world
        self.is_global_zero, self.asked = rank == 0, []
        self.strategy = SimpleNamespace(barrier=lambda name: self.asked.append(name))

    @property
    def log_dir(self):
        self.asked.append("log_dir")
        return str(self.folder)


def predicted(*clips, valid=True):
    """A batch of a head with one unit: (clip, number of frames)."""
    longest = max(frames for _, frames in clips)
    frames = torch.tensor([[t < n for t in range(longest)] for _, n in clips])
    values = torch.tensor([[[int(clip) + t / 10] for t in range(longest)] for clip, _ in clips])
    meta = {
        "indices": [range(n) for _, n in clips],
        "dataset": ["toy"] * len(clips),
        "clip": [clip for clip, _ in clips],
        "subject": ["s"] * len(clips),
    }
    return {"outputs": {"au": values}, "meta": meta, "frame_mask": frames, "valid": [valid] * len(clips)}


def write_tables(folder, batches):
    """Let a process each write batches of (outputs, loader); return writers and trainers."""
    head = SimpleNamespace(columns=["AU01"], target="au")
    task = SimpleNamespace(model=SimpleNamespace(heads={"au": head}))
    found = []
    for rank, its in enumerate(batches):
        trainer, writer = Places(folder, rank, len(batches)), PredictionsWriter()
        writer.on_predict_start(trainer, task)
        for number, (outputs, loader) in enumerate(its):
            writer.on_predict_batch_end(trainer, task, outputs, None, number, loader)
        found.append((writer, trainer))
    return found


BATCHES = [
    [(predicted(("0", 2), ("2", 1)), 0), (predicted(("4", 1)), 0), (predicted(("7", 1)), 1)],
    [(predicted(("1", 1), ("3", 1)), 0), (predicted(("0", 2), valid=False), 0), (predicted(("8", 2)), 1)],
]


def test_the_tables_of_all_processes_become_that_of_one(tmp_path, capsys):
    for writer, trainer in reversed(write_tables(tmp_path, BATCHES)):
        writer.on_predict_end(trainer, None)
    assert (tmp_path / "predictions.csv").read_text().splitlines() == [
        "dataset,clip,subject,frame,AU01",
        *(
            f"toy,{c},s,{t},{c + t / 10:.6f}"
            for c, n in enumerate([2, 1, 1, 1, 1, 0, 0, 1, 2])
            for t in range(n)
        ),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]
    assert capsys.readouterr().out == f"predictions: {tmp_path / 'predictions.csv'}\n"


def test_every_process_takes_part_in_what_processes_do_together(tmp_path):
    asked = []
    for writer, trainer in write_tables(tmp_path, BATCHES):
        writer.on_predict_end(trainer, None)
        states = lambda trainer=trainer: trainer.asked.append("states") or {"counts": []}  # noqa: E731
        ResultsWriter().on_test_end(trainer, SimpleNamespace(results={"toy/au": []}, test_states=states))
        asked.append(trainer.asked)
    assert asked[0] == asked[1]
    assert asked[0].count("log_dir") == 2
    assert asked[0].count("states") == 1


def test_what_a_process_has_predicted_survives_the_death_of_another(tmp_path):
    started = write_tables(tmp_path, BATCHES)  # nobody gets to the end
    with (tmp_path / "predictions-1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["loader"], row["place"], row["clip"]) for row in rows] == [
        ("0", "1", "1"),
        ("0", "3", "3"),
        ("1", "1", "8"),
        ("1", "1", "8"),
    ]
    assert not (tmp_path / "predictions.csv").exists()
    for writer, _ in started:
        writer._table._file.close()


def test_tables_on_another_machine_are_not_joined(tmp_path, capsys):
    (writer, trainer), (other, _) = write_tables(tmp_path, BATCHES)
    other._table._file.close()
    (tmp_path / "predictions-1.csv").rename(tmp_path / "elsewhere")
    writer.on_predict_end(trainer, None)
    assert "predictions-1.csv is on another machine" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "predictions-0.csv"]


def test_the_newest_state_is_kept_whatever_the_score(tmp_path, capsys):
    best = ModelCheckpoint(tmp_path / "best", "best", monitor="epoch", mode="min")
    last = ModelCheckpoint(tmp_path / "last", "last")  # another one without a score
    trainer = make_trainer(tmp_path, max_epochs=2, callbacks=[best, last, NewestCheckpoint()])
    trainer.fit(make_task(), datamodule=make_data(4))
    newest = tmp_path / "checkpoints" / "newest.ckpt"
    assert f"--ckpt_path {newest}" in capsys.readouterr().out
    saved = torch.load(newest, weights_only=True)
    assert saved["epoch"] == 1
    assert saved["callbacks"][best.state_key]["best_model_path"] == str(tmp_path / "best" / "best.ckpt")
    assert [path.name for path in newest.parent.iterdir()] == ["newest.ckpt"]


def test_a_folder_that_was_given_is_not_announced(tmp_path, capsys):
    callback = NewestCheckpoint(str(tmp_path / "here"))
    make_trainer(tmp_path, max_epochs=1, callbacks=[callback]).fit(make_task(), datamodule=make_data(4))
    assert (tmp_path / "here" / "newest.ckpt").is_file()
    assert "--ckpt_path" not in capsys.readouterr().out
