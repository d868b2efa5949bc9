from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from affectkit import __version__
from affectkit.errors import ConfigError, WeightsError
from affectkit.models import (
    AffectModel,
    AUHead,
    AUIntensityHead,
    ExpressionHead,
    Head,
    TimmBackbone,
    register,
)
from affectkit.models.hub import is_hub_reachable, why_unavailable

FRAMES = torch.randint(
    0, 256, (2, 5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


@pytest.fixture
def folder(tiny_model, tmp_path):
    tiny_model.head("au").calibrate(thresholds=[0.25, 0.75], temperature=1.5)
    tiny_model.save_pretrained(tmp_path / "model", metadata={"rendered": True, "licence": "Apache-2.0"})
    return tmp_path / "model"


def edit(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_model_survives_saving(tiny_model, folder):
    loaded = AffectModel.from_pretrained(folder)
    assert not loaded.training
    assert loaded.config == tiny_model.config
    assert loaded.input_spec == tiny_model.input_spec
    assert loaded.metadata == {"rendered": True, "licence": "Apache-2.0"}
    assert loaded.head("au").thresholds == (0.25, 0.75)
    for name, expected in tiny_model.predict(FRAMES).items():
        assert torch.equal(loaded.predict(FRAMES)[name], expected)


def test_saving_again_keeps_metadata_and_writes_the_same_files(folder, tmp_path):
    AffectModel.from_pretrained(folder).save_pretrained(tmp_path / "again")
    files = sorted(f.relative_to(folder) for f in folder.rglob("*") if f.is_file())
    assert [str(f) for f in files] == [
        "README.md",
        "config.json",
        "heads/au.safetensors",
        "heads/expression.safetensors",
        "heads/strength.safetensors",
        "model.safetensors",
    ]
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()


def test_the_config_spells_everything_out(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["format_version"] == 1
    assert config["library_version"] == __version__
    assert config["heads"]["au"] == {
        "type": "au",
        "space": "AU1,AU12",
        "per_frame": True,
        "dropout": 0.0,
        "hidden": None,
        "in_features": 96,
        "labels": ["AU1", "AU12"],
        "thresholds": [0.25, 0.75],
        "temperature": 1.5,
    }
    assert len(config["heads"]["expression"]["labels"]) == 7
    assert config["input"]["crop_margin"] == 0.2
    assert config["input"]["size"] == 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("heads.au.out.weight"), r"missing: heads\.au\.out\.weight"),
        (lambda t: t.update(extra=torch.zeros(1)), r"unexpected: extra"),
        (
            lambda t: t.update({"backbone.net.renamed": t.pop("backbone.net.conv1.0.weight")}),
            r"missing: backbone\.net\.conv1\.0\.weight; unexpected: backbone\.net\.renamed",
        ),
        (
            lambda t: t.update({"heads.au.out.bias": torch.zeros(3)}),
            r"heads\.au\.out\.bias \[3\] instead of \[2\]",
        ),
        (lambda t: t.clear(), r"and \d+ more"),
    ],
)
def test_tensors_must_fit_by_name_and_shape(folder, change, message):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=message) as caught:
        AffectModel.from_pretrained(folder)
    assert "model.safetensors" in str(caught.value)


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "LAST.CKPT", "x.pkl"])
def test_pickles_are_refused(tmp_path, capsys, name):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(pickle.dumps(Evil()))
    for given in (tmp_path, tmp_path / name):
        with pytest.raises(WeightsError, match=rf"{name}.*safetensors"):
            AffectModel.from_pretrained(given)
        with pytest.raises(WeightsError, match=name):
            AUHead.from_pretrained(given)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"\x80\x04junk", pickle.dumps(Evil()), None])
def test_damaged_tensor_files_are_refused(folder, capsys, content):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10] if content is None else content)
    with pytest.raises(WeightsError, match="Cannot read"):
        AffectModel.from_pretrained(folder)
    assert "code ran" not in capsys.readouterr().out


def test_a_missing_tensor_file_is_named(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        AffectModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"format_version": 2}, WeightsError, "format 2"),
        ({"library": "transformers"}, WeightsError, "not written by affectkit"),
        ({"heads": []}, WeightsError, "'heads'"),
        ({"heads": {"../x": {}}}, ConfigError, "not a valid name"),
        ({"backbone": {"type": "os.system"}}, ConfigError, r"os\.system"),
        ({"backbone": {"type": "timm", "model_name": "local-dir:/x"}}, ConfigError, "no architecture"),
        ({"backbone": None}, WeightsError, "without a backbone"),
        ({"temporal": "lstm"}, WeightsError, "'temporal' must be a dict"),
        ({"temporal": {"type": "lstm"}}, ConfigError, "lstm"),
    ],
)
def test_configs_are_checked(folder, changes, error, message):
    edit(folder, **changes)
    with pytest.raises(error, match=message):
        AffectModel.from_pretrained(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
def test_damaged_configs_are_refused(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"config\.json"):
        AffectModel.from_pretrained(folder)


def test_a_config_cannot_make_loading_read_other_weights(folder):
    config = json.loads((folder / "config.json").read_text())
    edit(folder, backbone=config["backbone"] | {"pretrained": True, "weights": "/etc/passwd"})
    AffectModel.from_pretrained(folder)  # the two are ignored: the folder brings its own tensors


def test_labels_must_still_mean_the_same(folder):
    config = json.loads((folder / "config.json").read_text())
    config["heads"]["au"]["labels"] = ["AU12", "AU1"]
    edit(folder, heads=config["heads"])
    with pytest.raises(WeightsError, match="AU12"):
        AffectModel.from_pretrained(folder)


def test_folders_that_are_not_there(tmp_path):
    for wrong in (tmp_path / "absent" / "deep" / "folder", __file__):
        with pytest.raises(WeightsError, match="no model folder"):
            AffectModel.from_pretrained(wrong)
    with pytest.raises(WeightsError, match=r"config\.json"):
        AffectModel.from_pretrained(tmp_path)


# One head alone


def test_one_head_out_of_a_whole_model_in_a_foreign_module(tiny_model, folder):
    (folder / "model.safetensors").unlink()  # a licence may forbid the backbone
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 96), AUHead.from_pretrained(folder, name="au"))
    assert torch.equal(net[2].out.weight, tiny_model.head("au").out.weight)
    assert net[2].thresholds == (0.25, 0.75)
    assert net(torch.zeros(2, 3, 4)).shape == (2, 2)
    assert isinstance(AUHead.from_pretrained(folder), AUHead)  # the only one of its class
    assert AUIntensityHead.from_pretrained(folder).labels == ("AU6", "AU12")


def test_a_head_saved_alone(tmp_path):
    head = ExpressionHead(8, "basic7", hidden=4, dropout=0.1)
    head.save_pretrained(tmp_path, metadata={"licence": "MIT"})
    assert sorted(str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*.*")) == [
        "README.md",
        "config.json",
        "heads/expression.safetensors",
    ]
    loaded = Head.from_pretrained(tmp_path)
    assert isinstance(loaded, ExpressionHead)
    assert not loaded.training
    x = torch.randn(2, 8)
    assert torch.equal(loaded(x), head.eval()(x))
    with pytest.raises(WeightsError, match="without a backbone"):
        AffectModel.from_pretrained(tmp_path)


def test_which_head_must_be_clear(folder, tiny_model):
    for wrong, name, message in (
        (Head, None, r"More than one Head is here\. .*au \(au\)"),
        (AUHead, "expression", r"No AUHead 'expression'\."),
        (AUHead, "absent", r"No AUHead 'absent'\."),
    ):
        with pytest.raises(WeightsError, match=message):
            wrong.from_pretrained(folder, name=name)
    config = json.loads((folder / "config.json").read_text())
    edit(folder, heads={"au": config["heads"]["au"], "future": {"type": "valence"}})
    # Heads that this version does not know do not hurt.
    assert AUHead.from_pretrained(folder).labels == ("AU1", "AU12")
    edit(folder, heads={})
    with pytest.raises(WeightsError, match="Heads in this folder: none"):
        AUHead.from_pretrained(folder)


def test_a_head_of_ones_own_is_saved_and_loaded(tmp_path):
    @register("head", "test_only_double")
    class Double(AUHead):
        def predict(self, logits):
            return 2 * self.scaled(logits)

    from affectkit.models import registry

    try:
        Double(4, "AU1").save_pretrained(tmp_path)
        assert isinstance(AUHead.from_pretrained(tmp_path), Double)
    finally:
        del registry._REGISTRIES["head"]._classes["test_only_double"]


# Fine-tuning


def test_init_from_takes_over_every_tensor(tiny_model, folder):
    model = AffectModel(**tiny_model.config)
    assert not torch.equal(model.head("au").out.weight, tiny_model.head("au").out.weight)
    model.init_from(folder)
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_init_from_leaves_what_is_replaced_alone(tiny_model, folder):
    config = tiny_model.config
    config["heads"] = {
        "au": {"type": "au", "space": "AU4,AU6,AU7"},
        "expression": config["heads"]["expression"],
    }
    config["temporal"] = {"type": "transformer", "heads": 4, "max_frames": 16}
    model = AffectModel(**config)
    fresh = model.head("au").out.weight.clone()
    model.init_from(folder, replace=["au", "strength", "temporal"])
    assert torch.equal(model.head("au").out.weight, fresh)
    assert torch.equal(model.head("expression").out.weight, tiny_model.head("expression").out.weight)
    assert torch.equal(model.backbone.net.bn1.running_mean, tiny_model.backbone.net.bn1.running_mean)


def test_init_from_says_what_does_not_fit(tiny_model, folder):
    config = tiny_model.config
    model = AffectModel(**(config | {"heads": {"au": config["heads"]["au"]}}))
    with pytest.raises(WeightsError, match=r"unexpected: heads\.expression"):
        model.init_from(folder)
    model = AffectModel(**(config | {"heads": config["heads"] | {"au": {"type": "au", "space": "AU12,AU1"}}}))
    with pytest.raises(WeightsError, match=r"'au' was trained on .*replace"):
        model.init_from(folder)
    model = AffectModel(**(config | {"heads": config["heads"] | {"new": {"type": "au", "space": "AU12"}}}))
    with pytest.raises(WeightsError, match=r"missing: heads\.new"):
        model.init_from(folder)
    with pytest.raises(ConfigError, match="no body"):
        model.init_from(folder, replace=["body"])
    other = AffectModel(**(config | {"backbone": config["backbone"] | {"normalize": "per_image"}}))
    with pytest.raises(WeightsError, match="normalize = mean_std"):
        other.init_from(folder)
    other = AffectModel(**(config | {"backbone": config["backbone"] | {"std": [0.1, 0.1, 0.1]}}))
    with pytest.raises(WeightsError, match=r"std = \[0\.5, 0\.5, 0\.5\]; here it is \[0\.1"):
        other.init_from(folder)


# The Hub, without a network


def test_loading_from_the_hub(tiny_model, folder, monkeypatch):
    asked = {}

    def download(repo, *, revision, allow_patterns):
        asked.update(repo=repo, revision=revision, patterns=allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    loaded = AffectModel.from_pretrained("someone/affect-model", revision="v1")
    assert torch.equal(loaded.head("au").out.bias, tiny_model.head("au").out.bias)
    assert asked["repo"] == "someone/affect-model"
    assert asked["revision"] == "v1"
    assert asked["patterns"] == ["config.json", "model.safetensors", "heads/*.safetensors"]


def test_an_unreachable_hub_is_explained(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(WeightsError, match=r"someone/absent.*offline"):
        AffectModel.from_pretrained("someone/absent")


def test_an_unreachable_hub_is_asked_once_and_then_only_the_cache(monkeypatch):
    asked = []

    class Session:
        def head(self, address, timeout):
            asked.append((address, timeout))
            raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    is_hub_reachable.cache_clear()
    started = time.monotonic()
    try:
        for _ in range(2):
            with pytest.raises(
                WeightsError, match=r"Cannot load weights for 'resnet18': not in the local cache"
            ):
                TimmBackbone("resnet18", pretrained=True)
            with pytest.raises(WeightsError, match="not in the local cache, and the Hub is unreachable"):
                AffectModel.from_pretrained("someone/absent")
    finally:
        is_hub_reachable.cache_clear()
    assert len(asked) == 1
    assert time.monotonic() - started < 10  # the client would repeat for 25 s, twice


def test_a_fault_that_is_not_the_connection_is_told(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert why_unavailable(RuntimeError("size mismatch for fc.weight")) == "size mismatch for fc.weight."


def test_pushing_uploads_a_whole_folder(tiny_model, monkeypatch):
    seen = {}

    class Api:
        def create_repo(self, repo, *, private, exist_ok):
            seen.update(repo=repo, private=private, exist_ok=exist_ok)

        def upload_folder(self, *, repo_id, folder_path):
            seen["files"] = sorted(f.name for f in Path(folder_path).rglob("*.*"))
            seen["size"] = (folder_path / "model.safetensors").stat().st_size
            return "https://example.org/commit"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert tiny_model.push_to_hub("someone/affect", private=True) == "https://example.org/commit"
    assert seen["repo"] == "someone/affect"
    assert seen["private"]
    assert seen["exist_ok"]  # a second upload is a new version
    whole = seen["size"]
    tiny_model.push_to_hub("someone/affect", half=True)
    assert seen["size"] < 0.6 * whole
    assert not seen["private"]
    assert {"README.md", "config.json", "model.safetensors", "au.safetensors"} <= set(seen["files"])
