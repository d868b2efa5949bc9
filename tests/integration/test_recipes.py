"""Every shipped recipe is parsed, and one step of it is run."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from lightning.pytorch import LightningDataModule

from affectkit import __version__
from affectkit.cli.lightning import explain, launch
from affectkit.cli.main import main
from affectkit.cli.recipe import recipe_names
from affectkit.errors import ConfigError

# recipe → what makes its data tiny; a recipe that is missing here fails the completeness test
TINY = {
    "joint/demo": [
        "--data.render={identities: 6, clips: 2, frames_per_clip: 4, size: 80, seed: 0, num_workers: 1}",
        "--data.batch_size=4",
    ],
}
OVERLAYS = {"trainer/ddp": ["--trainer.devices=1", "--trainer.strategy=auto"], "trainer/compile": []}
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


def steps(tmp_path, recipe, *more):
    """Arguments that run one step of a recipe and write below `tmp_path`."""
    return [
        *(
            "--config",
            recipe,
            "--trainer.limit_train_batches=1",
            "--trainer.max_epochs=1",
            "--trainer.accelerator=cpu",
        ),
        *("--trainer.limit_val_batches=1", f"--trainer.default_root_dir={tmp_path}"),
        *(f"--trainer.logger.init_args.save_dir={tmp_path}", f"--data.root={tmp_path / 'data'}"),
        *(*TINY[recipe], *QUIET, *more),
    ]


def test_every_recipe_is_run():
    """Others are run by test_corpus_recipes.py, test_ssm_recipes.py and test_micro_recipes.py."""
    general = {name for name in recipe_names() if name.startswith(("joint/", "trainer/"))}
    general = {name for name in general if not name.startswith(("joint/ssm_", "joint/all_", "joint/aff"))}
    assert general == set(TINY) | set(OVERLAYS)


@pytest.mark.parametrize("recipe", TINY)
def test_a_step_of_a_recipe(tmp_path, recipe):
    cli = launch(["fit", *steps(tmp_path, recipe)])
    assert cli.trainer.global_step == 1
    assert isinstance(cli.datamodule, LightningDataModule)
    kept = Path(cli.trainer.log_dir) / "config.yaml"
    assert kept.read_text().startswith(f"# affectkit {__version__}, lightning ")
    again = launch(["fit", "--config", str(kept)])
    assert again.trainer.global_step == 1
    assert again.model.hparams == cli.model.hparams
    for name, weight in again.model.state_dict().items():
        assert torch.equal(weight, cli.model.state_dict()[name]), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_parse_over_a_recipe(tmp_path, overlay):
    cli = launch([*steps(tmp_path, "joint/demo"), "--config", overlay, *OVERLAYS[overlay]], execute=False)
    assert cli.model.hparams["compile_model"] is (overlay == "trainer/compile")


def test_a_recipe_of_ones_own_includes_a_shipped_one_and_its_run_is_written_whole(tmp_path, capsys):
    own = tmp_path / "mine.yaml"
    own.write_text(
        "include: [joint/demo]\nmodel: {init_args: {heads: {au: {init_args: {dropout: 0.4}}}, lr: 1.0e-2}}"
    )
    arguments = ["--config", str(own), *steps(tmp_path, "joint/demo")[2:]]
    cli = launch(arguments, execute=False)
    assert cli.model.hparams["lr"] == 1e-2
    assert cli.model.heads["au"].config["dropout"] == 0.4
    assert cli.model.heads["expression"].config["dropout"] == 0.2
    with pytest.raises(SystemExit, match="0"):
        launch(["fit", *arguments, "--print_config"])
    printed = capsys.readouterr().out
    assert "include:" not in printed
    assert launch(["--config", written(tmp_path, printed)], execute=False).model.hparams == cli.model.hparams


def written(folder, text):
    path = folder / "whole.yaml"
    path.write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith(("ckpt", "weights_only")))
    )
    return str(path)


def test_a_value_deep_inside_a_recipe_can_be_overridden(tmp_path):
    cli = launch([*steps(tmp_path, "joint/demo"), "--model.heads.au.dropout=0.3"], execute=False)
    assert cli.model.heads["au"].config["dropout"] == 0.3
    assert cli.model.heads["au"].per_frame


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("--model.lrr=1", "lrr"),
        ("--model.heads.au.dropuot=1", "dropuot"),
        ("--data.bath_size=2", "bath_size"),
    ],
)
def test_a_typo_is_one_line_that_names_it(tmp_path, capsys, override, named):
    assert main(["fit", *steps(tmp_path, "joint/demo"), override]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert len(error.strip().splitlines()) == 1


def test_validate_test_and_predict_from_a_checkpoint(tmp_path, capsys):
    assert main(["fit", *steps(tmp_path, "joint/demo")]) == 0
    checkpoint = tmp_path / "logs" / "version_0" / "checkpoints" / "newest.ckpt"
    rest = [*steps(tmp_path, "joint/demo"), f"--ckpt_path={checkpoint}"]
    assert main(["--debug", "validate", *rest]) == 0
    capsys.readouterr()
    assert main(["test", *rest]) == 0
    printed, noise = capsys.readouterr()
    assert "au/f1_pos" in printed
    assert "Test metric" not in printed  # the same numbers without protocol, threshold rule and interval
    assert "litlogger" not in noise
    assert "95 % intervals over subjects" in " ".join(printed.split())
    assert (tmp_path / "logs" / "version_2" / "test_results.json").is_file()
    assert main(["predict", *rest]) == 0
    rows = (tmp_path / "logs" / "version_3" / "predictions.csv").read_text().splitlines()
    assert rows[0].startswith("dataset,clip,subject,frame,AU01,AU02")
    assert len(rows) - 1 == 2 * 4  # the test split: one person, two clips of four frames


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_untrained_weights_are_refused(tmp_path, capsys, command):
    assert main([command, *steps(tmp_path, "joint/demo")]) == 2
    assert "--ckpt_path" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["test", *steps(tmp_path, "joint/demo"), f"--ckpt_path={tmp_path / 'none.ckpt'}"]) == 2
    error = capsys.readouterr().err
    assert f"no checkpoint {tmp_path / 'none.ckpt'}" in error
    assert "default_root_dir" in error


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("command", ["fit", "test"])
@pytest.mark.parametrize("place", ["folder", "server"])
def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, capsys, served, command, place):
    """Also one from elsewhere, which Lightning would run."""
    torch.save({"state_dict": Payload(tmp_path / "it-ran")}, tmp_path / "evil.ckpt")
    where = tmp_path / "evil.ckpt" if place == "folder" else f"{served}/evil.ckpt"
    assert main([command, *steps(tmp_path, "joint/demo"), f"--ckpt_path={where}"]) == 3
    assert f"{where}: The checkpoint holds more than tensors" in capsys.readouterr().err
    assert not (tmp_path / "it-ran").exists()


@pytest.fixture
def served(tmp_path):
    """Where a server on this machine has the files of `tmp_path`."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_explain_keeps_what_it_cannot_shorten():
    assert explain("Unrecognized arguments: --x") == "Unrecognized arguments: --x"


def test_a_missing_recipe_is_a_config_error():
    with pytest.raises(ConfigError, match="no recipe 'joint/dmeo'"):
        launch(["fit", "--config", "joint/dmeo"])
