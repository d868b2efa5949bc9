import csv
import json

from helpers.training import make_data, make_task, make_trainer

from affectkit.tasks import PredictionsWriter, ResultsWriter


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
