"""The recipes of the face mesh are trained for a step and tested, on rendered faces; the data serve the model."""

import math

import pytest
import torch

from affectkit.cli.lightning import launch
from affectkit.cli.recipe import compose, find_recipe
from affectkit.datamodules import MixtureDataModule, RenderedDataModule
from affectkit.facs import AUSet
from affectkit.models import AffectModel
from affectkit.synth.varied import VARIED_UNITS

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

RENDER = (
    "{identities: 3, clips: 2, frames_per_clip: 4, size: 128, seed: 1, regime: varied, num_workers: 1, "
    "val: 0.3, test: 0.3}"
)
QUIET = [
    "--trainer.max_epochs=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mesh")


@pytest.mark.parametrize("name", ["au/mesh_rendered", "au/mesh"])
def test_a_recipe_is_trained_and_tested(name, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTKIT_DATA", str(folder))
    data = [f"--data.render={RENDER}", "--data.batch_size=2", "--data.num_workers=0"]
    cli = launch(["fit", "--config", name, *QUIET, *data, f"--trainer.default_root_dir={tmp_path}"])
    assert cli.trainer.global_step == 1
    assert math.isfinite(cli.trainer.callback_metrics["train/loss"])
    assert list((folder / "rendered-varied" / "signals").rglob("*.safetensors"))
    shown = cli.datamodule.datasets["train"]
    assert shown.signals == ("mesh", "blendshapes", "pose")
    assert tuple(shown[0].frames.shape[-2:]) == ((64, 64) if name == "au/mesh" else (1, 1))
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    assert {key.partition("/")[2] for key in cli.model.results} == {"au", "intensity", "expression"}
    cli.model.model.save_pretrained(tmp_path / "saved")
    loaded = AffectModel.from_pretrained(tmp_path / "saved")
    assert AUSet(loaded.head("au").space.units) == VARIED_UNITS
    assert loaded.signals == shown.signals


def test_recipes_start_with_what_they_are():
    for name in ("au/mesh_rendered", "au/mesh"):
        lines = find_recipe(name).read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ")
        assert compose(find_recipe(name)) is not None


class Model:
    """Input that a model states."""

    signals = ("pose",)
    reads_pictures = False
    input_spec = None


def test_data_provide_what_a_model_reads(folder):
    root = str(folder / "rendered-varied")
    data = RenderedDataModule(root, signals=["mesh"], num_frames=2, size=32)
    assert data.measures
    data.setup("test")
    assert list(data.datasets["test"][0].signals) == ["mesh"]
    assert not RenderedDataModule(root).measures
    assert RenderedDataModule(root, crop_faces=True).measures
    mixture = MixtureDataModule({"a": RenderedDataModule(root, signals=["mesh"], num_frames=2)})
    mixture.adapt(Model())
    mixture.prepare_data()
    mixture.setup("test")
    clip = mixture.sources["a"].datasets["test"][0]
    assert list(clip.signals) == ["mesh", "pose"]
    assert clip.frames.shape == torch.Size([2, 3, 1, 1])
