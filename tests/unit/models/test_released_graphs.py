"""Weights of ME-GraphAU and OpenGraphAU as our models: the same numbers as a reference written from their layout."""

import pytest
import torch
from helpers.released_graphs import SIDED, Reference, make_state
from torch.nn import functional as F

from affectkit.cli.main import main
from affectkit.errors import WeightsError
from affectkit.models import AffectModel, convert_megraphau, convert_opengraphau

MAIN = [1, 2, 4, 5, 6, 7, *range(9, 21), 22, 23, 24, 25, 26, 27, 32, 38, 39]


@pytest.fixture(scope="module")
def clips():
    coarse = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, size=224, mode="bilinear")[:, None]


def save(state, path):
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}, "optimizer": {}}, path
    )
    return path


@torch.no_grad()
def differences(model, reference, clips):
    """Largest difference of the places' vectors, relative to their size, and of the probabilities."""
    pictures = model.backbone.normalize(clips)[:, 0]
    expected = reference.places(pictures)
    assert expected.std(dim=0).mean() > 0.02 * expected.std()  # pictures make a difference
    places = model.backbone(clips).tokens[:, 0] - expected
    answers = model.predict(clips)["au"][:, 0] - reference(pictures)
    return float(places.abs().max() / expected.std()), float(answers.abs().max())


@pytest.mark.parametrize(
    ("backbone", "units", "second"),
    [("resnet50", 8, False), ("resnet18", 12, True), ("swin_tiny", 12, False)],
)
def test_megraphau_gives_the_same_numbers(backbone, units, second, clips, tmp_path):
    state = make_state(backbone, units, second)
    made = convert_megraphau(save(state, tmp_path / "a.pth"))
    reference = Reference(state, backbone, neighbours=3 if units == 8 else 4)
    places, answers = differences(made.model, reference, clips)
    assert places < 1e-4
    assert answers < 1e-5
    taken = {name for names in made.mapped.values() for name in names.split(", ")}
    assert taken | set(made.ignored) == set(state)
    assert not taken & set(made.ignored)
    assert made.model.head("au").space.name == {8: "disfa8", 12: "bp4d12"}[units]
    assert ("DISFA" if units == 8 else "BP4D") in made.model.metadata["trained_on"]
    assert "MIT" in made.model.metadata["licence_text"]


@pytest.mark.parametrize("second", [False, True])
def test_opengraphau_gives_the_same_numbers(second, clips, tmp_path):
    state = make_state("resnet18", 27, second, sided=True)
    made = convert_opengraphau(save(state, tmp_path / "a.pth"))
    reference = Reference(state, "resnet18")
    places, answers = differences(made.model, reference, clips)
    assert places < 1e-4
    assert answers < 1e-5
    made.model.save_pretrained(tmp_path / "model")
    assert differences(AffectModel.from_pretrained(tmp_path / "model"), reference, clips)[1] < 1e-5
    sides = [f"AU{MAIN[n] if n != 8 else 12}{side}" for n in SIDED for side in "LR"]
    assert list(made.model.labels("au")) == [f"AU{n}" for n in MAIN] + sides
    assert any("AU11" in limit for limit in made.model.metadata["limits"])
    assert made.model.input_spec.alignment == "raised_box"


def test_the_comparison_can_fail(clips, tmp_path):
    state = make_state("resnet18", 27, False, sided=True)
    model = convert_opengraphau(save(state, tmp_path / "a.pth")).model
    config = model.config
    del config["heads"]["au"]["nodes"]  # AU12's sides at AU12's own node
    other = AffectModel(**config)
    other.load_state_dict(model.state_dict())
    change = (other.predict(clips)["au"] - model.predict(clips)["au"]).abs().amax(dim=(0, 1))
    changed = [label for label, value in zip(model.labels("au"), change, strict=True) if value > 1e-3]
    assert changed == ["AU12L", "AU12R"]
    assert differences(model, Reference(state, "resnet18", neighbours=3), clips)[1] > 1e-4


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda s: s.pop("head.gnn.U.bias"), r"missing: head\.gnn\.U\.bias"),
        (lambda s: s.update({"head.more": torch.ones(1)}), r"unexpected: head\.more"),
        (lambda s: s.pop("head.sc"), r"head\.sc is missing"),
        (lambda s: s.update({"head.sc": torch.ones(9, 128)}), "9 units"),
        (lambda s: s.pop("head.class_linears.3.fc.weight"), r"missing: head\.class_linears\.3\.fc\.weight"),
        (lambda s: s.pop("backbone.conv1.weight"), "no ResNet-18"),
        (lambda s: s.update({"backbone.layer3.2.conv1.weight": torch.ones(1)}), "no ResNet-18"),
        (lambda s: s.update({"backbone.a.attn_mask": torch.ones(1)}), "table backbone"),
    ],
)
def test_other_tensors_are_refused(fault, message, tmp_path):
    state = dict(make_state("resnet18", 8, False))
    fault(state)
    with pytest.raises(WeightsError, match=message):
        convert_megraphau(save(state, tmp_path / "a.pth"))


def test_one_program_is_not_taken_for_the_other(tmp_path):
    path = save(make_state("resnet18", 8, False), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"head\.main_sc is missing"):
        convert_opengraphau(path)
    state = make_state("resnet18", 27, False, sided=True)
    path = save({**state, "head.sub_sc": torch.ones(10, 128)}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="10 one-sided"):
        convert_opengraphau(path)
    with pytest.raises(WeightsError, match=r"head\.sc is missing"):
        convert_megraphau(path)


def test_the_command(tmp_path, capsys):
    path = save(make_state("resnet18", 12, True), tmp_path / "a.pth")
    assert main(["model", "convert", "megraphau", str(path), "--output", str(tmp_path / "model")]) == 0
    said = capsys.readouterr().out
    assert "resnet18, second training stage, BP4D" in said
    assert "2 tensors left out:" in said
    assert "head.edge_fc.weight: classifies relations" in said
