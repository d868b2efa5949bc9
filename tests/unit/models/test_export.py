"""Graphs and ONNX files answer as their models do, whatever the number of clips and frames."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import affectkit
from affectkit.errors import ConfigError, MissingDependencyError, WeightsError
from affectkit.models import AffectModel, AUHead, register, registry
from affectkit.models import export as writing
from affectkit.models.export import describe_onnx, export_onnx, export_program, longest_clip

CLIP = {"type": "clip", "model_name": "affectkit-tiny", "size": 32}


def livened(model: AffectModel) -> AffectModel:
    """The model with weights whose answers differ from picture to picture."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("heads") and parameter.ndim > 1:
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return model.eval()


@pytest.fixture
def ssm() -> AffectModel:
    torch.manual_seed(0)
    heads = {
        "au": {
            "type": "prototype_au",
            "space": "AU1,AU4,AU12",
            "temporal": {"type": "framewise", "heads": 2},
        },
        "expression": {
            "type": "prototype_expression",
            "space": "basic7",
            "temporal": {"type": "clip_token", "heads": 2, "max_frames": 8},
        },
    }
    bridge = {"type": "semantic", "text": {"model_name": "affectkit-tiny"}}
    backbone = {**CLIP, "moe": {"last": 1, "experts": 2, "hidden": 8}}
    return livened(AffectModel(backbone, heads, bridge=bridge))


@pytest.fixture
def micro() -> AffectModel:
    torch.manual_seed(0)
    head = {"type": "micro_au", "space": "AU4,AU12", "text": {"model_name": "affectkit-tiny"}}
    return livened(AffectModel({**CLIP, "tokens": True}, {"au": head}))


def clips(model: AffectModel, batch: int, frames: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(10 * batch + frames)
    side = model.input_spec.size
    return torch.randint(0, 256, (batch, frames, 3, side, side), dtype=torch.uint8, generator=rng)


def run(path, **given) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {k: v.numpy() for k, v in given.items()}), strict=True))


def test_the_demo_model_answers_the_same_from_onnx(tmp_path):
    model = affectkit.load("demo")
    assert export_onnx(model, tmp_path / "deep" / "demo.onnx") < 1e-4
    for batch, frames in ((1, 1), (5, 4), (2, 7)):
        given = clips(model, batch, frames)
        found, wanted = run(tmp_path / "deep" / "demo.onnx", frames=given), model.predict(given)
        assert list(found) == ["au", "expression"]
        for name, values in wanted.items():
            assert np.abs(found[name] - values.numpy()).max() < 1e-4
            assert values.std() > 0.01  # it does say different things
    shape = onnx.load(tmp_path / "deep" / "demo.onnx").graph.input[0].type.tensor_type.shape
    assert [axis.dim_param or axis.dim_value for axis in shape.dim] == ["batch", "length", 3, 64, 64]
    said = describe_onnx(tmp_path / "deep" / "demo.onnx")
    assert said["heads"]["au"]["labels"] == list(model.labels("au"))
    assert said["heads"]["au"]["columns"][0] == "AU01"
    assert said["heads"]["au"]["thresholds"] == list(model.head("au").thresholds)
    assert said["values"] == "predictions"
    assert said["metadata"]["rendered"] is True
    assert said["input"]["alignment"] == model.input_spec.alignment


def test_an_exported_file_names_no_file_of_this_machine(tiny_model, tmp_path):
    export_onnx(tiny_model, tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    assert b".py" not in content


def test_ssm_with_padding_answers_the_same_from_onnx(ssm, tmp_path):
    export_onnx(ssm, tmp_path / "ssm.onnx", inputs=["frame_mask", "frames"], logits=True)
    given, mask = clips(ssm, 4, 5), torch.arange(5) < torch.tensor([[5], [2], [1], [4]])
    found = run(tmp_path / "ssm.onnx", frames=given, frame_mask=mask)
    assert describe_onnx(tmp_path / "ssm.onnx")["values"] == "logits"
    with torch.no_grad():
        wanted = ssm(given, mask)
    assert np.abs(found["expression"] - wanted["expression"].numpy()).max() < 1e-4
    real = mask.numpy()
    assert np.abs(found["au"] - wanted["au"].numpy())[real].max() < 1e-4
    assert wanted["au"][mask].std() > 0.1


def test_a_micro_expression_head_reads_landmarks_from_onnx(micro, tmp_path):
    inputs = ["frames", "landmarks", "landmarks_mask"]
    export_onnx(micro, tmp_path / "micro.onnx", inputs=inputs, logits=True)
    given, points = (
        clips(micro, 3, 2),
        32 * torch.rand(3, 2, 68, 2, generator=torch.Generator().manual_seed(1)),
    )
    known = torch.ones(3, 2, 68, dtype=torch.bool)
    known[1] = False  # a mean face stands in
    found = run(tmp_path / "micro.onnx", frames=given, landmarks=points, landmarks_mask=known)["au"]
    with torch.no_grad():
        wanted = micro(given, None, points, known)["au"].numpy()
        assert np.abs(found - wanted).max() < 1e-4
        assert np.abs(wanted - micro(given)["au"].numpy()).max() > 1e-3  # landmarks do matter


def test_graphs_take_any_number_of_clips_and_of_frames(ssm):
    assert longest_clip(ssm) == 8
    graph = export_program(ssm).module()
    for batch, frames in ((1, 1), (5, 8)):
        given = clips(ssm, batch, frames)
        found, wanted = graph(frames=given), ssm.predict(given)
        assert found.keys() == wanted.keys()
        for name in wanted:
            assert torch.allclose(found[name], wanted[name], atol=1e-5)
    with pytest.raises(Exception, match=r"8"):  # torch's own guard
        graph(frames=clips(ssm, 1, 9))


def test_a_model_in_training_goes_on_training(tiny_model):
    tiny_model.train()
    program = export_program(tiny_model, frames=2, logits=True)
    assert tiny_model.training
    given = clips(tiny_model, 3, 2)
    with torch.no_grad():
        wanted = tiny_model.eval()(given)
    found = program.module()(frames=given)
    assert torch.allclose(found["strength"], wanted["strength"], atol=1e-5)
    with pytest.raises(Exception, match=r"2"):
        program.module()(frames=clips(tiny_model, 3, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ["landmarks"]}, "inputs landmarks"),
        ({"inputs": []}, "inputs none"),
        ({"inputs": ["frames", "sound"]}, "sound"),
        ({"inputs": ["frames", "frames"]}, "frames, frames"),
        ({"frames": 9}, r"9 frames.*1 to 8"),
        ({"frames": 0}, "0 frames"),
    ],
)
def test_what_no_graph_can_be_given(tiny_model, options, message):
    with pytest.raises(ConfigError, match=message):
        export_program(tiny_model, **options)


def test_an_architecture_that_cannot_be_traced_says_so():
    @register("head", "test_only_undecided")
    class Undecided(AUHead):
        def predict(self, logits):
            return logits.sigmoid() if logits.sum() > 0 else logits.exp()

    try:
        model = AffectModel(
            {"type": "timm", "model_name": "test_resnet", "size": 32},
            {"au": {"type": "test_only_undecided", "space": "AU1"}},
        )
        with pytest.raises(ConfigError, match=r"cannot be traced with any number of frames.*--frames"):
            export_program(model)
        with pytest.raises(ConfigError, match="cannot be traced with 2 frames"):
            export_program(model, frames=2)
    finally:
        del registry._REGISTRIES["head"]._classes["test_only_undecided"]


def test_nan_is_a_difference_too(tiny_model, tmp_path):
    tiny_model.head("au").temperature = float("nan")
    with pytest.raises(WeightsError, match=r"model\.onnx: .* differ .* by inf"):
        export_onnx(tiny_model, tmp_path / "model.onnx", frames=1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="This is a folder"):
        export_onnx(tiny_model, tmp_path)


def test_a_file_is_compared_on_shorter_and_longer_clips(tiny_model, tmp_path, monkeypatch):
    seen = []

    def compare(model, path, given, logits):
        seen.append(tuple(given["frames"].shape[:2]))
        return 2e-5 * (4 - len(seen))

    monkeypatch.setattr(writing, "_difference", compare)
    monkeypatch.setattr(writing, "TOLERANCE", 5e-5)
    with pytest.raises(WeightsError, match=r"model\.onnx: .* by 6e-05, more than 5e-05"):
        export_onnx(tiny_model, tmp_path / "model.onnx")
    assert seen == [(1, 1), (3, 5), (1, 2)]
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_told_apart(tmp_path):
    (tmp_path / "text.onnx").write_text("no")
    with pytest.raises(WeightsError, match="not an ONNX file"):
        describe_onnx(tmp_path / "text.onnx")
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "foreign.onnx")
    with pytest.raises(WeightsError, match="not written by affectkit"):
        describe_onnx(tmp_path / "foreign.onnx")


def test_without_the_packages_it_says_what_to_install(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"ONNX needs onnx, .*affectkit\[onnx\]"):
        describe_onnx(tmp_path / "model.onnx")
    monkeypatch.delitem(sys.modules, "onnx")
    with pytest.raises(MissingDependencyError, match=r"onnxscript.*affectkit\[onnx\]"):
        export_onnx(tiny_model, tmp_path / "model.onnx")
