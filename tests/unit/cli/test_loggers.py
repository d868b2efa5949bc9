"""Loggers by name, on the command line and in recipes, and the figures that they receive."""

import importlib.util

import pytest
from helpers.interrupted import write_recipe
from helpers.training import make_data, make_task, make_trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure

from affectkit.cli.lightning import launch
from affectkit.cli.loggers import FigureLogger, logger_config, takes_figures
from affectkit.cli.main import main
from affectkit.cli.options import LOGGERS

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")


@pytest.fixture
def recipe(tmp_path):
    def write(logger, line=""):
        path = tmp_path / "recipe.yaml"
        write_recipe(path, "multitask", logger=logger, default_root_dir=str(tmp_path / "run"))
        path.write_text(path.read_text() + line)
        return str(path)

    return write


def logger_of(*args):
    return launch(list(args), execute=False).trainer.logger


def test_csv_is_the_default(recipe, tmp_path):
    logger = logger_of("--config", recipe(None))
    assert isinstance(logger, CSVLogger)
    assert logger.log_dir == str(tmp_path / "run" / "logs" / "version_0")


def test_a_recipe_names_its_logger_in_one_line_and_the_command_line_wins(recipe, monkeypatch):
    named = recipe(False, "logger: csv\n")
    assert isinstance(logger_of("--config", named), CSVLogger)
    assert logger_of("--config", recipe(False)) is None
    asked = []
    monkeypatch.setattr(
        "affectkit.cli.lightning.logger_config", lambda *args: asked.append(args) or logger_config("csv", ".")
    )
    logger_of("--config", recipe(False, "logger: csv\n"), "--logger", "wandb")
    assert [name for name, _ in asked] == ["wandb"]


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_an_absent_package_is_named_with_its_extra(name, recipe, monkeypatch, capsys):
    path = recipe(None)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda one, *args: None if one == name else find(one, *args)
    )
    assert main(["fit", "--config", path, "--logger", name]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert f"The logger '{name}' needs the package {name}, which is not installed." in line
    assert line.endswith(f"pip install 'affectkit[{name}]'.")


def test_names_are_those_of_classes():
    classes = [logger_config(name, "x")["class_path"].rpartition(".")[2] for name in LOGGERS]
    assert classes == ["CSVLogger", "TensorBoardLogger", "WandbLogger"]


class Recording(Logger):
    """Keeps figures, as Weights & Biases does."""

    name = version = "recording"

    def __init__(self):
        super().__init__()
        self.images = {}

    def log_hyperparams(self, params):
        pass

    def log_metrics(self, metrics, step=None):
        pass

    def log_image(self, key, images, step=None):
        self.images[key] = (images, step)


def test_confusion_and_labels_are_logged_where_a_logger_takes_figures(tmp_path):
    logger, data = Recording(), make_data(4)
    trainer = make_trainer(
        tmp_path, max_epochs=1, callbacks=[FigureLogger()], logger=logger, enable_checkpointing=False
    )
    task = make_task()
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)
    assert sorted(logger.images) == [
        f"{stage}/toy/{name}"
        for stage in ("test", "val")
        for name in ("au/au/f1_pos", "expression/confusion")
    ]
    for (figure,), step in logger.images.values():
        assert isinstance(figure, Figure)
        assert step == trainer.global_step


def test_loggers_that_take_figures():
    assert [takes_figures(kind) for kind in (CSVLogger, TensorBoardLogger, WandbLogger)] == [
        False,
        True,
        True,
    ]


def test_tensorboard_receives_them(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra affectkit[tensorboard] is not installed")
    logger, task, data = TensorBoardLogger(tmp_path, name="logs"), make_task(), make_data(4)
    make_trainer(tmp_path, callbacks=[FigureLogger()], logger=logger).test(
        task, datamodule=data, verbose=False
    )
    logger.finalize("success")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(logger.log_dir).Reload()
    assert sorted(events.Tags()["images"]) == ["test/toy/au/au/f1_pos", "test/toy/expression/confusion"]
