"""Loading by one call, the model that comes along, half precision, heads by name, and `torch.hub`."""

from __future__ import annotations

import os
import pickle
import stat
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import affectkit
from affectkit.errors import ConfigError, WeightsError
from affectkit.inference import Predictor
from affectkit.models import AffectModel, AUHead, Features, Head, hub
from affectkit.synth.render import Face as RenderedFace
from affectkit.synth.render import FaceRenderer

ROOT = Path(__file__).parents[3]


def test_the_demo_model_is_small_and_says_what_it_is():
    folder = hub.SHIPPED["demo"]
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 1_500_000
    assert {file.suffix for file in files} == {".json", ".md", ".safetensors"}
    model = affectkit.load("demo")
    assert not model.training
    assert model.metadata["rendered"] is True
    assert "rendered" in model.metadata["trained_on"]
    assert "Trained on rendered faces only" in (folder / "README.md").read_text(encoding="utf-8")
    f1 = next(row for row in model.metadata["results"]["rendered/au"] if row["name"] == "au/f1_pos")
    assert f1["ci"][0] > f1["baseline"]
    assert 0.5 < model.head("au").temperature < 2
    assert len(set(model.head("au").thresholds)) > 3
    assert next(model.parameters()).dtype == torch.float32


def test_the_mesh_model_is_small_and_says_what_it_is():
    folder = hub.SHIPPED["mesh"]
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 1_500_000
    model = affectkit.load("mesh")
    assert model.signals == ("mesh", "blendshapes", "pose", "brow_lowering")
    assert model.metadata["rendered"] is True
    assert model.metadata["baseline"] is True
    assert {"AU12", "AU45", "AU12L"} <= set(model.labels("au"))
    assert "signals of the face mesh" in (folder / "README.md").read_text(encoding="utf-8")
    assert any("certified coders" in limit for limit in model.metadata["limits"])


@pytest.mark.parametrize(
    ("unit", "source"), [("AU4", "brow_lowering"), ("AU1", "blendshapes"), ("AU2", "blendshapes")]
)
def test_brows_of_the_mesh_model_have_a_source_of_their_own(unit, source):
    model = affectkit.load("mesh")
    torch.manual_seed(0)
    sizes = {"mesh": (478, 3), "blendshapes": (52,), "pose": (3,), "brow_lowering": (1,)}
    signals = {name: torch.rand(1, 1, *size) for name, size in sizes.items()}
    frames = torch.zeros(1, 1, 3, 1, 1)
    place = model.labels("au").index(unit)
    before = model(frames, signals=signals)["au"][0, 0]
    for name, size in sizes.items():
        after = model(frames, signals={**signals, name: torch.rand(1, 1, *size)})["au"][0, 0]
        assert torch.equal(after[place], before[place]) is (name != source)


def test_the_mesh_model_sees_a_rendered_smile_and_a_blink():
    pytest.importorskip("numba")
    renderer = FaceRenderer(256)
    units = ({}, {12: 1.0}, {45: 1.0})
    frames = np.stack([renderer.render(RenderedFace(shown)).image for shown in units])
    table = Predictor("mesh").predict(list(frames))
    assert list(table["AU12_i"] > 2.5) == [False, True, False]
    assert list(table["AU45_i"] > 2.5) == [False, False, True]


def test_a_model_folder_of_that_name_comes_first(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # rendered faces, say
    assert affectkit.load("demo").labels("au") != ("AU1", "AU12")
    tiny_model.save_pretrained("demo")
    assert affectkit.load("demo").labels("au") == ("AU1", "AU12")
    with pytest.raises(WeightsError, match="no model folder"):
        affectkit.load("demos")


def test_half_precision_halves_the_files_and_hardly_changes_answers(tiny_model, tmp_path):
    frames = torch.randint(0, 256, (2, 5, 3, 32, 32), dtype=torch.uint8)
    tiny_model.save_pretrained(tmp_path / "whole")
    tiny_model.save_pretrained(tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    model = AffectModel.from_pretrained(tmp_path / "half")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.backbone.net.bn1.num_batches_tracked.dtype == torch.int64
    for name, wanted in tiny_model.predict(frames).items():
        assert torch.allclose(model.predict(frames)[name], wanted, atol=5e-3)
    head = AUHead.from_pretrained(tmp_path / "half")
    assert head.out.weight.dtype == torch.float32
    assert torch.equal(head.out.weight, tiny_model.head("au").out.weight.half().float())


@pytest.mark.skipif(os.name != "posix", reason="permissions of files")
def test_files_can_be_read_by_whom_the_umask_lets(tiny_model, tmp_path):
    before = os.umask(0o022)
    try:
        tiny_model.save_pretrained(tmp_path)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.rglob("*.*")} == {0o644}


def test_a_head_alone_reads_vectors_of_any_network():
    head = AUHead.from_pretrained("demo")
    whole = affectkit.load("demo")
    features = whole.features(torch.randint(0, 256, (1, 2, 3, 64, 64), dtype=torch.uint8))
    assert torch.equal(head(features), whole.head("au")(features))
    vectors = torch.randn(3, head.in_features)
    assert torch.allclose(head(vectors), vectors @ head.out.weight.T + head.out.bias, atol=1e-5)
    assert torch.equal(head(Features.of_frames(vectors[None], None))[0], head(vectors[None])[0])
    assert head.thresholds == whole.head("au").thresholds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("out.bias"), r"missing: out\.bias"),
        (lambda t: t.update(more=torch.zeros(1)), r"unexpected: more"),
        (lambda t: t.update(renamed=t.pop("out.weight")), r"missing: out\.weight; unexpected: renamed"),
    ],
)
def test_the_tensors_of_a_head_must_fit_by_name(tiny_model, tmp_path, change, message):
    tiny_model.save_pretrained(tmp_path)
    file = tmp_path / "heads" / "au.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=rf"au\.safetensors: .*{message}"):
        Head.from_pretrained(tmp_path, name="au")
    AffectModel.from_pretrained(tmp_path)  # the model's own tensors are whole


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_head_in_a_pickle_is_refused(tiny_model, tmp_path, capsys):
    tiny_model.save_pretrained(tmp_path)
    (tmp_path / "heads" / "au.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match=r"au\.safetensors: Cannot read"):
        AUHead.from_pretrained(tmp_path)
    assert "code ran" not in capsys.readouterr().out


def test_torch_hub_finds_models_and_heads_in_a_clone(tiny_model, tmp_path, monkeypatch):
    tiny_model.save_pretrained(tmp_path / "mine")
    model = torch.hub.load(str(ROOT), "affect_model", str(tmp_path / "mine"), source="local")
    head = torch.hub.load(str(ROOT), "au_head", source="local")
    other = torch.hub.load(str(ROOT), "au_head", str(tmp_path / "mine"), name="strength", source="local")
    assert model.labels("au") == ("AU1", "AU12")
    assert isinstance(head, AUHead)
    assert other.labels == ("AU6", "AU12")
    asked = []

    def download(repo, *, revision, allow_patterns):
        asked.append((repo, revision))
        return str(tmp_path / "mine")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    for entry in ("affect_model", "au_head"):
        torch.hub.load(str(ROOT), entry, "some/where", revision="v1", source="local")
    assert asked == [("some/where", "v1")] * 2


def test_the_hub_is_asked_for_a_good_name_and_explains_its_refusal(tiny_model, monkeypatch):
    class Api:
        def create_repo(self, repo, *, private, exist_ok):
            raise OSError("401 Unauthorized")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(ConfigError, match="'nowhere'"):
        tiny_model.push_to_hub("nowhere")
    with pytest.raises(WeightsError, match=r"some/where: .* 401 .*hf auth login"):
        tiny_model.push_to_hub("some/where")
