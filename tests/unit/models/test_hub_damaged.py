"""Folders that are not what they should be: each fault is named with its file and what to do, and nothing runs."""

from __future__ import annotations

import json
import math

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from affectkit.errors import AffectKitError, ConfigError, WeightsError
from affectkit.models import AffectModel, AUHead, hub
from affectkit.models.hub import read_config


@pytest.fixture
def folder(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change(folder, *keys, value):
    file = folder / "config.json"
    config = entry = json.loads(file.read_text())
    for key in keys[:-1]:
        entry = entry[key]
    entry[keys[-1]] = value
    file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("backbone", "type"), ["timm"], r"no backbone named \['timm'\]"),
        (("backbone", "model_name"), 5, "AttributeError"),
        (("backbone", "size"), "big", "TypeError"),
        (("backbone", "model_args"), {"pretrained_cfg": {"file": "/x"}}, "may not set pretrained_cfg"),
        (("temporal",), {"type": "subprocess.Popen"}, r"no temporal named 'subprocess\.Popen'"),
        (("temporal", "heads"), 5, "5 attention heads do not divide"),
        (("bridge",), {"type": "os.system"}, r"no bridge named 'os\.system'"),
        (("heads", "au", "type"), "os.system", r"no head named 'os\.system'"),
        (("heads", "au", "labels"), ["AU1"], r"trained on \['AU1'\]"),
        (("heads", "au", "labels"), None, "trained on None"),
        (("heads", "au", "space"), "nonsense", "'nonsense' is not a label space"),
        (("heads", "au", "space"), 7, "AttributeError"),
        (("heads", "au", "in_features"), -1, "RuntimeError"),
        (("heads", "au", "dropout"), 3, "ValueError"),
        (("heads", "au", "thresholds"), [0.5], "takes 2 thresholds"),
        (("heads", "au", "temperature"), "hot", "TypeError"),
        (("heads", "au", "more"), 1, "no argument 'more'"),
        (("heads",), {"../x": {}}, "not a valid name"),
        (("input", "frames"), 0, "must be at least 1"),
        (("input", "alignment"), "nose", "alignment 'nose'"),
        (("metadata",), "words", "'metadata' must be a dict"),
        (("input",), "words", "'input' must be a dict"),
        (("format_version",), 0, "format 0"),
    ],
)
def test_a_wrong_configuration_is_named_with_its_file_and_a_remedy(folder, keys, value, message):
    change(folder, *keys, value=value)
    with pytest.raises(AffectKitError, match=message) as caught:
        AffectModel.from_pretrained(folder)
    assert caught.value.path == folder / "config.json"
    assert caught.value.remedy


def test_a_long_list_of_faults_is_cut(folder):
    save_file({}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"missing: ") as caught:
        AffectModel.from_pretrained(folder)
    listed = str(caught.value).partition("missing: ")[2].partition(" and ")[0]
    assert len(listed.split(", ")) == 20


def test_pickles_beside_a_whole_model_are_left_alone(folder):
    (folder / "optimizer.pt").write_bytes(b"whatever")
    assert AffectModel.from_pretrained(folder).labels("au") == ("AU1", "AU12")


def test_an_interrupted_save_leaves_the_old_model(tiny_model, folder, monkeypatch):
    def stop(tensors, file):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(hub, "save_file", stop)
    with pytest.raises(KeyboardInterrupt):
        tiny_model.save_pretrained(folder)
    assert AffectModel.from_pretrained(folder).labels("au") == ("AU1", "AU12")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("labels", ["AU1"], r"trained on \['AU1'\]"),
        ("space", "nonsense", "'nonsense' is not a label space"),
        ("space", None, "AttributeError"),
        ("in_features", "x", "TypeError"),
        ("dropout", 3, "ValueError"),
        ("thresholds", 0.5, "TypeError"),
        ("thresholds", [math.nan, 0.5], "takes 2 thresholds"),
        ("temperature", math.inf, "must be positive and finite, not inf"),
        ("more", 1, "no argument 'more'"),
    ],
)
def test_a_wrong_entry_of_one_head_is_named_too(folder, key, value, message):
    change(folder, "heads", "au", key, value=value)
    with pytest.raises(AffectKitError, match=message) as caught:
        AUHead.from_pretrained(folder)
    assert caught.value.path == folder / "config.json"
    assert caught.value.remedy


def test_one_head_of_the_hub_is_had_without_the_rest_of_the_model(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda _, *, revision, allow_patterns: asked.extend(allow_patterns) or folder,
    )
    assert AUHead.from_pretrained("some/where").labels == ("AU1", "AU12")
    assert asked == ["config.json", "heads/*.safetensors"]


def test_nesting_without_end_is_a_damaged_configuration(folder):
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(WeightsError, match=r"config\.json: Cannot read"):
        AffectModel.from_pretrained(folder)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_must_be_finite(tiny_model, tmp_path, value):
    with torch.no_grad():
        tiny_model.head("au").out.bias[1] = value
    tiny_model.save_pretrained(tmp_path)
    fresh = AffectModel(**tiny_model.config)
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    for load in (AffectModel.from_pretrained, fresh.init_from):
        with pytest.raises(
            WeightsError, match=r"with NaN or infinity: heads\.au\.out\.bias\. Give"
        ) as caught:
            load(tmp_path)
        assert caught.value.path == tmp_path / "model.safetensors"
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.state_dict().items())
    with pytest.raises(WeightsError, match=r"au\.safetensors: .*NaN or infinity: out\.bias"):
        AUHead.from_pretrained(tmp_path)


def test_half_precision_leaves_numbers_that_it_does_not_have(tiny_model, tmp_path):
    tiny_model.backbone.net.bn1.running_var.fill_(1e6)
    tiny_model.save_pretrained(tmp_path, half=True)
    assert load_file(tmp_path / "model.safetensors")["backbone.net.bn1.weight"].dtype == torch.float16
    assert AffectModel.from_pretrained(tmp_path).backbone.net.bn1.running_var[0] == 1e6


def test_nobodys_file_chooses_what_else_is_read(folder, tmp_path):
    """Also where a part has parts of its own: the text tower of a head, say."""
    (tmp_path / "other.safetensors").write_bytes(b"not even weights")
    head = {"type": "micro_au", "space": "AU4", "text": {"model_name": "affectkit-tiny"}}
    backbone = {"type": "clip", "model_name": "affectkit-tiny", "size": 32, "tokens": True}
    AffectModel(backbone, {"au": head, "weights": {"type": "au", "space": "AU1"}}).save_pretrained(folder)
    change(folder, "heads", "au", "text", "weights", value=str(tmp_path / "other.safetensors"))
    change(folder, "backbone", "pretrained", value="openai")
    model = AffectModel.from_pretrained(folder)
    assert list(model.heads) == ["au", "weights"]  # a head may be called so
    assert AUHead.from_pretrained(folder, name="au").labels == ("AU4",)
    assert "weights" not in read_config(folder)["heads"]["au"]["text"]


def test_heads_alone_are_nothing_to_start_from(tiny_model, tmp_path):
    tiny_model.head("au").save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="heads without a backbone"):
        tiny_model.init_from(tmp_path)


def test_a_file_where_the_folder_should_be(tiny_model, tmp_path):
    (tmp_path / "taken").write_text("mine")
    for place in (tmp_path / "taken", tmp_path / "taken" / "deep"):
        with pytest.raises(ConfigError, match=r"taken.*: Cannot create this folder"):
            tiny_model.save_pretrained(place)
    assert (tmp_path / "taken").read_text() == "mine"


def test_whatever_the_hub_raises_is_explained(tiny_model, monkeypatch):
    class UnreachableError(Exception):
        """Of no kind that Python knows, as those of the client's own transport."""

    def fail(*args, **kwargs):
        raise UnreachableError("connection\nrefused")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    with pytest.raises(WeightsError, match=r"some/where: .* connection refused\. Check"):
        AffectModel.from_pretrained("some/where")
    with pytest.raises(WeightsError, match=r"some/where: .* connection refused\. Check"):
        tiny_model.push_to_hub("some/where")
