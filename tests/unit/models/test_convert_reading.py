"""Checkpoints are read without running what stands in them."""

import os
import pickle

import pytest
import torch

from affectkit.errors import ConfigError, WeightsError
from affectkit.models.convert import load_safely, model_of_checkpoint, read_checkpoint
from affectkit.models.model import AffectModel

MODEL = {
    "backbone": {"type": "timm", "model_name": "test_resnet", "size": 32},
    "heads": {
        "au": {"type": "au", "space": "AU12,AU1"},
        "expression": {"type": "expression", "space": "basic7"},
    },
}


class Payload:
    """Pickles as a call that leaves a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused_and_does_not_run(zipped, tmp_path):
    content = {"state_dict": {"a": torch.ones(2)}, "recorder": Payload(tmp_path / "harm")}
    torch.save(content, tmp_path / "best.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"best\.pth: .*could run code.*\.mkdir"):
        read_checkpoint(tmp_path / "best.pth")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", ["a.bin", "a.ckpt", "a.safetensors"])
def test_a_bare_pickle_is_refused_in_one_line_whatever_it_is_called(protocol, name, tmp_path):
    (tmp_path / name).write_bytes(pickle.dumps(Payload(tmp_path / "harm"), protocol=protocol))
    with pytest.raises(WeightsError, match=rf"{name}: (.*could run code|Cannot read)") as found:
        model_of_checkpoint(tmp_path / name)
    assert len(str(found.value)) < len(str(tmp_path)) + 200
    assert not (tmp_path / "harm").exists()


def test_a_plain_state_dict_and_one_beside_numbers(tmp_path):
    state = {"module.a": torch.ones(2), "b": torch.zeros(1)}
    torch.save(state, tmp_path / "plain.pth")
    tensors, beside = read_checkpoint(tmp_path / "plain.pth")
    assert (list(tensors), beside) == (["module.a", "b"], {})  # a prefix of all names only
    numbers = {"epoch": 3, "arch": "x", "best": 0.5}
    torch.save({"state_dict": {"module.a": state["b"]}, **numbers, "more": [1]}, tmp_path / "state.pth")
    tensors, beside = read_checkpoint(tmp_path / "state.pth")
    assert (list(tensors), beside) == (["a"], numbers)


@pytest.mark.parametrize("content", [{}, [1, 2], {"a": 1}, {"state_dict": {}}, {1: torch.ones(1)}])
def test_what_holds_no_tensors_by_name(content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        read_checkpoint(tmp_path / "a.pth")


def test_damaged_and_absent_files(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        load_safely(tmp_path / "absent.pth")
    for name, content in (("empty.pth", b""), ("noise.pth", b"noise"), ("text.pth", b"\x80\x02.")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=f"{name}: .*"):
            load_safely(tmp_path / name)
    torch.save({"a": torch.ones(1000)}, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:-700])
    with pytest.raises(WeightsError, match="Cannot read"):
        load_safely(tmp_path / "cut.pth")


@pytest.fixture
def checkpoint(tmp_path):
    """As a task leaves it: the model's tensors, the task's own, and what was chosen on validation."""
    torch.manual_seed(0)
    model = AffectModel(**MODEL)
    content = {
        "epoch": 7,
        "global_step": 80,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": {
            **{f"model.{name}": tensor for name, tensor in model.state_dict().items()},
            "losses.au.pos_weight": torch.ones(2),
        },
        "model_config": model.config,
        "thresholds": {"au": {"AU1": 0.25, "AU12": 0.75}},
    }
    return model.eval(), content, tmp_path / "best.ckpt"


def test_the_model_of_a_training_checkpoint(checkpoint):
    model, content, path = checkpoint
    torch.save(content, path)
    found = model_of_checkpoint(path)
    assert not found.training
    frames = torch.rand(2, 1, 3, 32, 32)
    for name, values in model.predict(frames).items():
        torch.testing.assert_close(found.predict(frames)[name], values)
    assert found.head("au").thresholds == (0.75, 0.25)  # in the order of the labels
    assert found.metadata == {"checkpoint": "best.ckpt", "epoch": 7, "global_step": 80}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda c: c.pop("model_config"), "not a checkpoint of an affectkit task"),
        (lambda c: c["state_dict"].pop("model.heads.au.out.bias"), r"missing: heads\.au\.out\.bias"),
        (lambda c: c["state_dict"].update({"model.more": torch.ones(1)}), "unexpected: more"),
        (lambda c: c["thresholds"]["au"].pop("AU1"), "thresholds of the head 'au'"),
        (
            lambda c: c["state_dict"]["model.heads.au.out.bias"].fill_(torch.nan),
            r"NaN or infinity: heads\.au\.out\.bias",
        ),
    ],
)
def test_other_checkpoints_are_refused(fault, message, checkpoint):
    _, content, path = checkpoint
    fault(content)
    torch.save(content, path)
    with pytest.raises(WeightsError, match=message):
        model_of_checkpoint(path)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda c: c["model_config"].update(more=1), "unexpected keyword argument 'more'"),
        (lambda c: c["model_config"]["backbone"].update(type="os.system"), r"no backbone named 'os\.system'"),
        (lambda c: c["state_dict"].update({3: torch.ones(1)}), "AttributeError"),
        (lambda c: c.update(thresholds=["au"]), "AttributeError"),
        (lambda c: c.update(thresholds={"face": {}}), "no head 'face'"),
        (lambda c: c["thresholds"]["au"].update(AU1=2.0), "takes 2 thresholds"),
        (lambda c: c.update(trained_on="faces"), "AttributeError"),
    ],
)
def test_a_checkpoint_with_other_values_is_named(fault, message, checkpoint):
    _, content, path = checkpoint
    content["model_config"]["backbone"]["weights"] = "elsewhere.safetensors"  # is not looked for
    fault(content)
    torch.save(content, path)
    with pytest.raises(ConfigError, match=message) as caught:
        model_of_checkpoint(path)
    assert caught.value.path == path
    assert caught.value.remedy
