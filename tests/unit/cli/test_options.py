"""Names of options are checked from source: nothing that exists is refused, and what does not exist is named."""

import inspect
import json
import subprocess
import sys

import jsonargparse
import lightning.pytorch
import pytest
from helpers.recipes import base_of
from lightning.pytorch import callbacks, loggers

import affectkit.data
import affectkit.datamodules
import affectkit.losses
import affectkit.models
import affectkit.tasks
from affectkit.cli.lightning import launch
from affectkit.cli.main import main
from affectkit.cli.options import check_options, parameters_of, root_options
from affectkit.cli.recipe import recipe_names
from affectkit.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

PACKAGES = (affectkit.tasks, affectkit.datamodules, affectkit.models, affectkit.losses, affectkit.data)
OURS = {
    name: value
    for package in PACKAGES
    for name in package.__all__
    if inspect.isclass(value := getattr(package, name)) and not issubclass(value, tuple)
}
THEIRS = {
    f"lightning.pytorch.{kind.__name__.rpartition('.')[2]}.{name}": getattr(kind, name)
    for kind, name in (
        (callbacks, "ModelCheckpoint"),
        (callbacks, "EarlyStopping"),
        (callbacks, "EMAWeightAveraging"),
        (loggers, "CSVLogger"),
        (loggers, "TensorBoardLogger"),
    )
} | {"lightning.pytorch.Trainer": lightning.pytorch.Trainer}
HEAVY = {"torch", "numpy", "lightning", "torchmetrics", "torchvision", "timm", "open_clip", "pandas", "scipy"}


@pytest.mark.parametrize("name", [*OURS, *THEIRS])
def test_every_parameter_that_the_parser_takes_is_known(name):
    kind = (OURS | THEIRS)[name]
    if kind is not inspect.Parameter and "TypeVar" in str(inspect.signature(kind)):
        pytest.skip("no class of a recipe")
    known = parameters_of(name)
    taken = jsonargparse.ArgumentParser(exit_on_error=False).add_class_arguments(
        kind, "x", fail_untyped=False
    )
    assert known is None or {one.removeprefix("x.").partition(".")[0] for one in taken} <= known


def test_classes_of_recipes_are_known():
    """Not left to the parser; a dataclass, a class without a constructor and keywords passed on among them."""
    names = [
        "MultiTask",
        "SSM",
        "MicroAU",
        "AUHead",
        "BP4DDataModule",
        "RenderedDataModule",
        "HorizontalFlip",
    ]
    assert all(parameters_of(name) is not None for name in [*names, "lightning.pytorch.Trainer"])
    assert parameters_of("Resize") == {"size"}
    assert {"space", "root", "batch_size"} <= parameters_of("BP4DDataModule")


@pytest.mark.parametrize(
    "name", ["Nothing", "no_such_package.Thing", "affectkit.tasks.Nothing", "json.JSONDecoder"]
)
def test_what_is_not_found_is_left_to_the_parser(name):
    assert parameters_of(name) is None or name.startswith("json.")


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_options_outside_classes_are_those_of_the_parser(command):
    with pytest.raises(ConfigError):  # no recipe: the parsers are built, nothing else
        launch([command])
    skipped = {"help", "print_config"}
    parser = _parsers()[command]
    taken = {action.dest.partition(".")[0] for action in parser._actions} - skipped
    assert root_options(command) == taken | {"config"}


def _parsers():
    from affectkit.cli.lightning import AffectCLI

    class Parsers(AffectCLI):
        def __init__(self):
            self.trainer_class, self.trainer_defaults = lightning.pytorch.Trainer, {}
            self.seed_everything_default, self.parser_class = 0, lightning.pytorch.cli.LightningArgumentParser
            self._model_class, self._datamodule_class = (
                lightning.pytorch.LightningModule,
                lightning.pytorch.LightningDataModule,
            )
            self.datamodule_class, self.auto_configure_optimizers = self._datamodule_class, False
            self.subclass_mode_model = self.subclass_mode_data = True
            self.setup_parser(True, {}, {})

    return Parsers()._subcommand_parsers


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_passes(name):
    options = ["--trainer.max_epochs=3", "--seed_everything", "2"]
    check_options("fit", [*base_of(name), "--config", name, *options])


@pytest.mark.parametrize(
    "options",
    [
        ["--model.lr", "3", "--model.init_args.lr=3", "--model.heads.au.dropout=0.3"],
        ["--model.heads.au.init_args.dropout", "0.3", "--data.render.identities=3"],
        ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=a", "--trainer.logger=false"],
        ["--trainer.logger.init_args.save_dir=x", "--trainer.logger.save_dir", "x"],
        ["--model", "SSM", "--model.map_lr", "1"],  # of the class that replaces the recipe's
        ["--model.class_path=SSM", "--model.map_lr", "1"],
        ["--model.heads.au", "AUIntensityHead", "--model.heads.au.anything", "1"],
        ["--print_config=skip_null", "--model.help=SSM", "--ckpt_path", "a.ckpt", "--results.filename="],
        ["--data.train_transform=Resize", "--data.train_transform.size=3", "--config"],
    ],
)
def test_what_the_parser_takes_passes(options):
    check_options("fit", ["--config=joint/demo", *options])


@pytest.mark.parametrize(
    ("option", "fault", "near"),
    [
        ("--model.lrr", "'lrr' of MultiTask (model)", "lr"),
        ("--model.init_args.lrr", "'lrr' of MultiTask (model)", "lr"),
        ("--model.heads.au.dropuot", "'dropuot' of AUHead (model.heads.au)", "dropout"),
        ("--data.bath_size", "'bath_size' of RenderedDataModule (data)", "batch_size"),
        ("--data.train_frames.num_frames", None, None),
        ("--data.eval_transform.sise", "'sise' of CenterCrop (data.eval_transform)", "size"),
        ("--trianer.max_epochs", "'trianer' of the command", "trainer"),
        ("--trainer.max_epoch", "'max_epoch' of Trainer (trainer)", "max_epochs"),
        ("--trainer.logger.save_dri", "'save_dri' of CSVLogger (trainer.logger)", "save_dir"),
        ("--results.file", "'file' of ResultsWriter (results)", "filename"),
        ("--ckpt", "'ckpt' of the command", "ckpt_path"),
        ("--trainer.zzz", "'zzz' of Trainer (trainer)", "Choose one of: accelerator, "),
    ],
)
def test_an_option_that_does_not_exist_is_named_with_its_neighbour(option, fault, near):
    args = ["--config", "joint/demo", option, "1"]
    if fault is None:
        check_options("fit", args)
        return
    with pytest.raises(ConfigError) as raised:
        check_options("fit", args)
    assert fault in raised.value.fault
    assert option in raised.value.fault
    assert near in raised.value.remedy


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("trianer: {max_epochs: 3}", 1, "'trianer'"),
        ("trainer:\n  max_epohcs: 3", 2, "'max_epohcs'"),
        ("model:\n  class_path: MultiTask\n  init_args:\n    lrr: 1", 4, "'lrr' of MultiTask"),
        ("trainer:\n  callbacks:\n    - {class_path: EMA, init_args: {dcay: 1}}", 3, "'dcay' of EMA"),
        ("model:\n  init_args: {lrr: 1}", 2, "'lrr' of MultiTask"),  # the class is that of the recipe before
        ("model:\n  lrr: 1", 2, "'lrr' of MultiTask"),
    ],
)
def test_a_misspelt_key_of_a_recipe_is_named_with_its_line(tmp_path, capsys, text, line, fault):
    (tmp_path / "mine.yaml").write_text(text)
    command = ["fit", "--config", "joint/demo", "--config", str(tmp_path / "mine.yaml")]
    assert main(command) == 2
    assert f"mine.yaml, line {line}: There is no option {fault}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "- a\n- b", "model: {class_path: [1], init_args: {x: 1}}", "data: {1: 2}"]
)
def test_a_file_that_is_no_recipe_is_left_to_the_parser(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    check_options("fit", ["--config", str(tmp_path / "mine.yaml")])


def test_classes_of_ones_own_are_read_or_left_alone(tmp_path, monkeypatch):
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").write_text("raise RuntimeError('nothing is imported')")
    (tmp_path / "my_package" / "tasks.py").write_text(
        "from affectkit.tasks import MultiTask\nfrom . import x\n"
        "class Mine(MultiTask):\n    def __init__(self, mine, **more):\n        super().__init__(**more)\n"
        "class Other(MultiTask):\n    def __init__(self, mine, **more):\n        use(**more)\n"
        "class Odd(x.Base):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert parameters_of("my_package.tasks.Mine") == parameters_of("MultiTask") | {"mine"}
    assert parameters_of("my_package.tasks.Other") is None
    assert parameters_of("my_package.tasks.Odd") is None


def loaded(*command):
    """Modules that a command has imported, heavy ones only, and its exit code."""
    code = (
        "import json, sys; from affectkit.cli.main import main; code = main(sys.argv[1:]); "
        f"print(json.dumps([code, sorted({HEAVY} & sys.modules.keys())]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["fit", "--help"], 0),
        (["test", "--config", "joint/demo", "-h"], 0),
        (["fit", "--config", "joint/demo", "--model.lrr", "3"], 2),
        (["fit", "--config", "joint/dmeo"], 2),
        (["predict", "--config", "joint/demo", "--trianer.devices", "1"], 2),
        (["crossval", "--config", "au/bp4d", "--model.lrr", "3"], 2),
        (["describe", "--config", "au/bp4d", "--model.lrr", "3"], 2),
        (
            [
                "model",
                "calibrate",
                "--config",
                "au/bp4d",
                "--model",
                "a",
                "--output",
                "b",
                "--model.lrr",
                "3",
            ],
            2,
        ),
        (["demo", "--model.lrr", "3"], 2),
    ],
)
def test_help_and_misspelt_options_import_nothing_heavy(command, code):
    assert loaded(*command) == [code, []]


def test_help_names_what_a_user_needs_first(capsys):
    assert main(["fit", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: affectkit fit")
    assert all(word in text for word in ("--config RECIPE", "--ckpt_path", "newest.ckpt", "--help-all"))
    assert len(text.splitlines()) < 40


def test_all_options_are_listed_on_demand(capsys):
    with pytest.raises(SystemExit) as done:
        main(["fit", "--help-all"])
    assert done.value.code == 0
    assert "--trainer.gradient_clip_algorithm" in capsys.readouterr().out
