"""What a training run shows: a line per epoch, the best epoch with its interval, and the next command."""

import io
import logging
from types import SimpleNamespace

import pytest
import rich.console
import torch
from helpers.training import make_data, make_task, make_trainer
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from affectkit.cli import progress
from affectkit.cli.arguments import progress_bar
from affectkit.cli.one_job import one_job
from affectkit.cli.progress import BestEpoch, Score, TrainingBar, summarize
from affectkit.cli.quiet import quietly
from affectkit.errors import JobError
from affectkit.tasks import NewestCheckpoint

AU = "val/toy/au/f1_pos"


class Scores(Callback):
    """Sets the score of each epoch, and remembers what the metrics of the best one say."""

    def __init__(self, *values, name=AU):
        self.values, self.name, self.found = values, name, {}

    def on_validation_epoch_end(self, trainer, task):
        epoch = trainer.current_epoch
        metric = task.evaluation["val"].metrics["toy", "au"]
        self.found[epoch] = metric.compute()["f1_pos"].item(), metric.compute()["f1_all_positive"].item()
        task.log(self.name, torch.tensor(self.values[epoch]), batch_size=1)


def train(folder, *callbacks, epochs=3, **options):
    trainer = make_trainer(folder, max_epochs=epochs, callbacks=list(callbacks), **options)
    trainer.fit(make_task(), datamodule=make_data(4))
    return trainer


def test_the_best_epoch_has_an_interval_and_the_next_command(tmp_path):
    scores = Scores(0.2, 0.9, 0.5, name="val/mine")
    best = ModelCheckpoint(tmp_path / "best", "best", monitor="val/mine", mode="max")
    trainer = train(tmp_path, BestEpoch(), scores, best, NewestCheckpoint())
    lines = summarize(trainer, ["--config", "my recipe.yaml", "--ckpt_path", "old.ckpt"]).splitlines()
    path = tmp_path / "best" / "best.ckpt"
    assert lines == [
        "best epoch: 2 of 3; val/mine 0.900",
        f"checkpoint: {path}",
        f"next: affectkit test --config 'my recipe.yaml' --ckpt_path {path}",
    ]


def test_a_score_of_ours_has_an_interval_and_its_baseline(tmp_path):
    callback, scores = BestEpoch(), Scores(0.2, 0.1, 0.3, name="other")
    best = ModelCheckpoint(tmp_path, "best", monitor=AU, mode="max")
    trainer = train(tmp_path, callback, scores, best)
    value, baseline = scores.found[callback.score.epoch]
    assert value == max(found for found, _ in scores.found.values())
    assert callback.score.value == pytest.approx(value)
    text = summarize(trainer, [])
    assert f"{AU} {value:.3f}, 95 % interval 0." in text
    assert " over subjects, " in text
    assert ("NOT BETTER than" in text) == (value <= baseline)
    assert text.partition("\n")[0].endswith(f"trivial baseline {baseline:.3f}")


def test_without_a_monitor_the_latest_epoch_is_reported(tmp_path):
    trainer = train(tmp_path, BestEpoch(), NewestCheckpoint(), epochs=2)
    lines = summarize(trainer, ["--config=a.yaml", "--ckpt_path=b.ckpt"]).splitlines()
    assert lines[0].startswith(f"last validated epoch: 2 of 2; {AU} ")
    path = tmp_path / "checkpoints" / "newest.ckpt"
    assert lines[2] == f"next: affectkit test --config=a.yaml --ckpt_path {path}"


def test_a_run_that_keeps_nothing_names_no_checkpoint(tmp_path):
    assert "checkpoint" not in summarize(train(tmp_path, BestEpoch(), epochs=1), [])


@pytest.mark.parametrize(
    ("mode", "values", "epoch"), [("min", (0.5, 0.2, 0.3), 1), ("max", (0.5, 0.2, 0.5), 0)]
)
def test_a_continued_run_keeps_the_best_epoch(tmp_path, mode, values, epoch):
    def callbacks():
        best = ModelCheckpoint(tmp_path, "best", monitor="val/mine", mode=mode)
        return BestEpoch(), Scores(*values, name="val/mine"), best, NewestCheckpoint(str(tmp_path))

    train(tmp_path, *callbacks(), epochs=2)
    callback, *others = callbacks()
    trainer = make_trainer(tmp_path, max_epochs=3, callbacks=[callback, *others])
    newest = tmp_path / "newest.ckpt"
    with quietly():
        trainer.fit(make_task(), datamodule=make_data(4), ckpt_path=newest, weights_only=True)
    assert callback.score == Score("val/mine", pytest.approx(values[epoch]), epoch)


def test_a_line_per_epoch_where_there_is_no_terminal(tmp_path, capsys):
    scores, best = Scores(0.25, 0.5, name="val/mine"), ModelCheckpoint(tmp_path, monitor="val/mine")
    train(tmp_path, TrainingBar(), scores, best, epochs=2, enable_progress_bar=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all("loss " in line and "lr " in line for line in lines)
    assert ["val/mine 0.250" in lines[0], "val/mine 0.500" in lines[1]] == [True, True]


def test_no_lines_if_not_wanted(tmp_path, capsys):
    bar = TrainingBar()
    bar.prints_epochs = False
    train(tmp_path, bar, epochs=1, enable_progress_bar=True)
    assert "epoch 1" not in capsys.readouterr().err


def test_a_bar_on_a_terminal_shows_the_same_and_lets_others_print(tmp_path, monkeypatch, capsys):
    screen = io.StringIO()
    console = rich.console.Console(file=screen, force_terminal=True, width=150)
    monkeypatch.setattr(rich.console, "Console", lambda **_: console)
    assert not progress_bar(False).disable
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    trainer = train(tmp_path, TrainingBar(), NewestCheckpoint(), epochs=2, enable_progress_bar=True)
    shown = screen.getvalue()
    for part in ("epoch 1/2", "epoch 2/2", "loss ", AU, "lr "):
        assert part in shown
    printed = capsys.readouterr()
    assert "state kept after each epoch" in printed.out
    assert printed.err == ""
    trainer.test(make_task(), datamodule=make_data(4), verbose=False)
    assert "testing" in screen.getvalue()


def test_lightning_is_silent_but_for_warnings(caplog):
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    with quietly():
        rank_zero_info("GPU available: False, used: False")
        logging.getLogger("lightning.fabric.utilities.seed").info("Seed set to 1")
        logging.getLogger("lightning.pytorch").warning("This matters.")
    assert logger.level == level
    assert "available" not in caplog.text
    assert "Seed" not in caplog.text


def test_the_end_of_a_process_is_one_line_of_ours(capsys):
    observer = logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script")
    with quietly():
        observer.info(
            "[rank: 3] Child process with PID 7 terminated with code -9. Forcefully terminating all 🧟"
        )
    assert capsys.readouterr().err.splitlines() == [
        "affectkit: error: Process 3 of this job has ended with exit code -9, so the job ends. "
        "Continue with --ckpt_path last."
    ]


def job(world=2, rank=0, codes=()):
    launcher = SimpleNamespace(procs=[SimpleNamespace(poll=lambda c=c: c, returncode=c) for c in codes])
    strategy = SimpleNamespace(launcher=launcher)
    return SimpleNamespace(world_size=world, is_global_zero=rank == 0, strategy=strategy)


def test_the_transports_error_becomes_the_end_of_the_job():
    fault = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1")
    ended = r"Process 2 of this job \(exit code -9\) has ended"
    with pytest.raises(JobError, match=ended), one_job(job(codes=(None, -9))):
        raise fault
    with pytest.raises(SystemExit), one_job(job(rank=1)):
        raise fault
    with pytest.raises(JobError, match="Another process of this job has ended"), one_job(job()):
        raise fault


@pytest.mark.parametrize(("world", "message"), [(1, "Connection closed by peer"), (2, "shapes differ")])
def test_other_errors_stay_as_they_are(world, message):
    with pytest.raises(RuntimeError, match=message), one_job(job(world)):
        raise RuntimeError(message)
