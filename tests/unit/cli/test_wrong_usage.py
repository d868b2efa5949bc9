"""Wrong commands and recipes: one line each with the right suggestion, without a network and in seconds."""

import subprocess
import sys
import time

import pytest
import timm

from affectkit.cli.files import check_files
from affectkit.cli.main import main
from affectkit.cli.options import check_options
from affectkit.errors import ConfigError, DatasetNotFoundError

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

TOY = """
trainer: {accelerator: cpu, logger: false, enable_checkpointing: false, max_epochs: 1}
model:
  class_path: MultiTask
  init_args:
    backbone: {class_path: TimmBackbone, init_args: {model_name: resnet18, pretrained: true}}
    heads: {au: {class_path: AUHead, init_args: {space: "AU1,AU12"}}}
data: {class_path: BP4DDataModule, init_args: {root: ROOT}}
"""
WRONG = [
    (["fti", "--config", "joint/demo"], "Unknown command 'fti'. Did you mean `affectkit fit`?"),
    (["fit", "joint/demo"], "does not take the argument 'joint/demo'. Write --config joint/demo"),
    (["fit", "--config", "joint/dmeo"], "There is no recipe 'joint/dmeo'. Did you mean joint/demo?"),
    (
        ["fit", "--config", "joint/demo", "--data.batchsize", "4"],
        "There is no option 'batchsize' of RenderedDataModule (data), in --data.batchsize. Did you mean batch_size?",
    ),
    (
        ["fit", "--config", "joint/demo", "--model", "MultTask"],
        "There is no class 'MultTask'. Did you mean MultiTask?",
    ),
    (
        ["predict", "--inputt", "a.mp4", "--output", "a.csv"],
        "There is no option --inputt of `affectkit predict`. Did you mean --input?",
    ),
    (
        ["report", "a.csv", "--output", "s3://bucket/a.html"],
        "--output: s3://bucket/a.html: URIs are not supported. Give a local path.",
    ),
    (
        ["predict", "--webcam", "0", "--output", "s3://bucket/a.csv"],
        "--webcam does not write to URIs. Give a local path with --output.",
    ),
    (
        ["predict", "--input", "a.mp4", "--output", "a", "--format", "cvs"],
        "There is no --format 'cvs'. Did you mean csv?",
    ),
    (["fit", "--config", "FILE"], "root: The root of the data does not exist. Give the folder of the corpus"),
    (
        ["test", "--config", "FILE", "--ckpt_path", "runs/bset"],
        "There is no checkpoint runs/bset. Checkpoints of `affectkit fit` are in the folder",
    ),
    (
        ["crossval", "--confg", "au/bp4d"],
        "There is no option --confg of `affectkit crossval`. Did you mean --config?",
    ),
]


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(TOY.replace("ROOT", str(tmp_path / "root")))
    return str(path)


@pytest.mark.parametrize(("command", "line"), WRONG, ids=[" ".join(command) for command, _ in WRONG])
def test_a_wrong_command_is_one_line_with_the_right_suggestion(command, line, recipe, capsys):
    started = time.monotonic()
    assert main([recipe if word == "FILE" else word for word in command]) in (2, 3)
    assert time.monotonic() - started < 5
    captured = capsys.readouterr()
    (error,) = captured.err.splitlines()
    assert error.startswith("affectkit: error: ")
    assert line in error
    assert error.endswith((".", "?"))
    assert captured.out == ""


def test_the_command_line_needs_nothing_heavy_to_report_them(tmp_path):
    """Each in a process of its own would take seconds, so one process runs all and says what it imported."""
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(TOY.replace("ROOT", str(tmp_path / "root")))
    commands = [[str(recipe) if word == "FILE" else word for word in command] for command, _ in WRONG]
    code = (
        "import sys; from affectkit.cli.main import main; "
        f"print([main(command) for command in {commands!r}], {{'torch', 'lightning'}} & sys.modules.keys())"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 50
    assert done.stdout == "[2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 2] set()\n"
    for line, (_, wanted) in zip(done.stderr.splitlines(), WRONG, strict=True):
        assert wanted in line


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("model:\n  class_path: MultTask\n", 2, "There is no class 'MultTask'. Did you mean MultiTask?"),
        ("data: {class_path: BP4DataModule}", 1, "Did you mean BP4DDataModule?"),
        (
            "trainer:\n  callbacks:\n    - class_path: lightning.pytorch.callbacks.ModelCheckpiont",
            3,
            "Did you mean ModelCheckpoint?",
        ),
        ("trainer:\n  max_epohcs: 3", 2, "Did you mean max_epochs?"),
    ],
)
def test_a_misspelt_class_or_key_of_a_recipe_is_named_with_its_line(tmp_path, capsys, text, line, fault):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert main(["fit", "--config", "joint/demo", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert f"mine.yaml, line {line}: " in error
    assert fault in error


def test_classes_of_ones_own_may_have_similar_names(tmp_path):
    own, overlay = tmp_path / "mine.yaml", tmp_path / "overlay.yaml"
    own.write_text("imports: [mine]\nmodel: {class_path: MultTask}")
    overlay.write_text("model: {class_path: MultTask}")
    check_options("fit", ["--config", str(own), "--config", str(overlay)])
    check_options("fit", ["--imports", "[mine]", "--model", "MultTask"])
    with pytest.raises(ConfigError, match="no class 'MultTask'"):
        check_options("fit", ["--config", str(overlay)])


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["recipe", "lsit"], "There is no action 'lsit'. Did you mean list?"),
        (["recipe", "show"], "required: name. `affectkit recipe"),
        (["report", "a.csv"], "required: --output. `affectkit report --help` lists the options."),
        (["report", "a.csv", "--outptu", "x"], "Did you mean --output?"),
        (["crossval", "--config", "au/bp4d", "--tariner.devices", "1"], "Did you mean --trainer?"),
        (["predict", "--input", "a", "--output", "b", "--smooth"], "--smooth: expected one argument."),
        (["model", "convert", "ssm", "a.pth", "--outptu", "b"], "Did you mean --output?"),
        (["data", "check", "bp4d", "x", "--no_media"], "Did you mean --no-media?"),
        (["doctor", "--verbose"], "`affectkit doctor --help` lists the options."),
    ],
)
def test_other_commands_report_wrong_options_in_the_same_way(command, line, capsys):
    assert main(command) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error


def test_abbreviations_pass(capsys):
    """The beginning of an option, as argparse takes it."""
    assert main(["report", "none.csv", "--out", "x.html"]) == 3
    assert "none.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--trainer.devices", "two"], "trainer.devices=two"),
        (["--trainer.accelerator", "tpu"], "torch_xla"),
        (["--model.init_from", "nowhere"], "nowhere: There is no model folder here."),
        (["--logger", "tensorbord"], "There is no logger 'tensorbord'. Did you mean tensorboard?"),
        (["--data.fold", "part9"], "part9"),
    ],
)
def test_what_needs_no_weights_is_checked_before_them(options, line, tmp_path, monkeypatch, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        TOY.replace("BP4DDataModule", "helpers.folds.ToyFolds").replace("root: ROOT", "corpus: DISFA")
    )
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("weights are loaded"))
    assert main(["fit", "--config", str(recipe), *options]) in (2, 3)
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error
    assert error.endswith((".", "?"))


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ([], "a"),
        (["--data.root", "b"], "b"),
        (["--data.init_args.root=b"], "b"),
        (["--data.root=."], None),
        (["--config", "other.yaml"], "c"),
        (["--config", "variable.yaml"], "d"),
        (["--config", "rendered.yaml"], None),
        (["--config", "mixture.yaml"], "e"),
        (["--data", "OtherDataModule"], None),
    ],
)
def test_roots_are_checked_as_recipes_and_options_set_them(options, missing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLACE", "d")
    for name, text in {
        "mine": "{class_path: BP4DDataModule, init_args: {root: a}}",
        "other": "{init_args: {root: c}}",
        "variable": "{init_args: {root: '${oc.env:PLACE,.}'}}",
        "rendered": "{class_path: RenderedDataModule, init_args: {root: x, render: {size: 3}}}",
        "mixture": "{class_path: MixtureDataModule, init_args: {sources: {one: {init_args: {root: .}}, "
        "two: {class_path: X, init_args: {root: e}}}}}",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(f"data: {text}")
    args = ["--config", "mine.yaml", *options]
    if missing is None:
        check_files(args)
        return
    with pytest.raises(DatasetNotFoundError) as raised:
        check_files(args)
    assert str(raised.value.path) == missing
