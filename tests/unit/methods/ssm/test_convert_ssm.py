"""Released SSM checkpoints as our models: the same numbers as a reference written from the equations."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from helpers.ssm_release import Reference, clip_file
from helpers.ssm_release import make_state as make_released
from safetensors.torch import save_file

import __main__
from affectkit.errors import ConfigError, LabelSpaceError, WeightsError
from affectkit.methods.ssm import convert_ssm
from affectkit.models import AffectModel, use_classes

# corpus, classes, release, smoothing: BP4D is smoothed from the second release on, DISFA in both
VARIANTS = [
    ("bp4d", 7, 1, False),
    ("bp4d", 11, 2, True),
    ("disfa", 7, 2, True),
    ("disfa", 11, 1, True),
]


made = cache(make_released)


def make_state(*args, **kwargs):
    """A state dict of one's own; its tensors are shared, so change none in place."""
    state, embedding = made(*args, **kwargs)
    return dict(state), embedding


@pytest.fixture(scope="module")
def clips():
    rng = torch.Generator().manual_seed(1)
    return torch.rand(2, 16, 3, 64, 64, generator=rng), torch.rand(2, 16, 3, 64, 64, generator=rng)


@pytest.fixture
def save(tmp_path):
    def write(state, name="best.pth"):
        torch.save(state, tmp_path / name)
        return tmp_path / name

    return write


@torch.no_grad()
def answers(model, expression_clips, unit_clips):
    """What the reference returns, from ours: each task's clips in a call of their own."""
    expression, units = model.head("expression"), model.head("au")
    e, e_prototype = expression.both(model.features(expression_clips))
    a, a_prototype = units.both(model.features(unit_clips))
    to_expression, to_unit, _ = model.bridge.maps()
    return {
        "expression": e,
        "expression_prototype": e_prototype,
        "au": a,
        "au_prototype": a_prototype,
        "au_to_expression": to_expression,
        "expression_to_au": to_unit,
    }


def compare(model, state, corpus, classes, clips):
    normalize = model.backbone.normalize
    expected = Reference(state, corpus, classes)(*(normalize(one) for one in clips))
    found = answers(model, *clips)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, atol=1e-4, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("corpus", "classes", "release", "smooth"), VARIANTS)
def test_outputs_are_those_of_the_reference(corpus, classes, release, smooth, clips, save, tmp_path):
    state, _ = make_state(corpus, classes, version=release, smooth=smooth)
    found = convert_ssm(save(state))
    compare(found.model, state, corpus, classes, clips)
    assert found.release == release
    experts = sum("private_experts" in name for name in state)
    stacked = sum("private_experts" in name for name in found.mapped.values())
    assert len(found.mapped) - stacked + experts + len(found.ignored) == len(state)
    assert {name for name in found.ignored if "shared_fc" not in name} == {
        "row_targets_au2emo",
        "row_targets_emo2au",
    }
    # And again from the folder, with no checkpoint and no CLIP at hand.
    found.model.save_pretrained(tmp_path / "model")
    loaded = AffectModel.from_pretrained(tmp_path / "model")
    compare(loaded, state, corpus, classes, clips)
    assert loaded.head("au").smooth is None or loaded.head("au").smooth.over == "pairs"
    assert (loaded.head("au").smooth is not None) == smooth
    assert loaded.backbone.config["moe"]["legacy_dispatch"] is True
    assert loaded.backbone.config["moe"]["act"] == "gelu"
    assert loaded.input_spec.frames == 16
    assert loaded.labels("au")[-1] == {"bp4d": "AU24", "disfa": "AU26"}[corpus]
    assert loaded.labels("expression")[2] == "neutral"


def test_the_comparison_can_fail(clips, save):
    """Routing as it was meant to be gives other numbers than routing as it was released."""
    state, _ = make_state()
    model = convert_ssm(save(state)).model
    config = model.config
    config["backbone"]["moe"]["legacy_dispatch"] = False
    other = AffectModel(**config)
    other.load_state_dict(model.state_dict())
    with pytest.raises(AssertionError, match="expression"):
        compare(other.eval(), state, "bp4d", 7, clips)


def test_a_training_state_of_several_devices(save):
    recorder = type("RecorderMeter", (), {})
    recorder.__module__ = "__main__"
    __main__.RecorderMeter = recorder
    try:
        curve = recorder()
        curve.epoch_losses = np.zeros((30, 2), np.float32)
        curve.best = np.float64(0.5)
        state, _ = make_state()
        file = save(
            {
                "epoch": 12,
                "state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
                "best_acc": torch.tensor(0.5),
                "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}},
                "recorder": curve,
            }
        )
    finally:
        del __main__.RecorderMeter
    model = convert_ssm(file).model
    torch.testing.assert_close(model.bridge.map.delta_ae.data, state["delta_map1"])
    assert model.metadata["source_epoch"] == 12
    assert len(model.metadata["source_sha256"]) == 64
    assert model.metadata["release"] == 1
    json.dumps(model.metadata)


def test_one_checkpoint_of_disfa_says_which_normalisation_it_had(save):
    notes = convert_ssm(save(make_state("disfa", 7, smooth=True)[0])).model.metadata["notes"]
    assert any("ImageNet" in note for note in notes)


def test_clip_weights_bring_the_words(save, tmp_path, clips):
    state, embedding = make_state()
    save_file(clip_file(state, embedding), tmp_path / "clip.safetensors")
    model = convert_ssm(save(state), clip_weights=tmp_path / "clip.safetensors").model
    compare(model, state, "bp4d", 7, clips)
    model.save_pretrained(tmp_path / "model")
    loaded = AffectModel.from_pretrained(tmp_path / "model")
    use_classes(loaded, "expression", ["contempt", "happiness"])
    assert loaded.labels("expression") == ("contempt", "happiness")

    without = convert_ssm(save(state)).model
    with pytest.raises(WeightsError, match="token embedding"):
        use_classes(without, "expression", ["contempt", "happiness"])


def test_weights_of_another_clip_are_refused(save, tmp_path):
    state, embedding = make_state()
    save_file(clip_file(state, embedding + 0.1), tmp_path / "clip.safetensors")
    with pytest.raises(WeightsError, match="not the weights of the CLIP"):
        convert_ssm(save(state), clip_weights=tmp_path / "clip.safetensors")


def test_labels_may_be_stated(save):
    state, _ = make_state()
    model = convert_ssm(save(state), units="bp4d12", expressions="dfew7").model
    assert model.labels("expression")[0] == "happiness"
    with pytest.raises(ConfigError, match=r"'disfa8' has 8 labels, but the head 'au' of best\.pth has 12"):
        convert_ssm(save(state), units="disfa8")
    with pytest.raises(ConfigError, match="No released model has the units 'gft10'"):
        convert_ssm(save(state), units="gft10")
    with pytest.raises(ConfigError, match="'mafw11' has 11 labels"):
        convert_ssm(save(state), expressions="mafw11")
    with pytest.raises(LabelSpaceError):
        convert_ssm(save(state), expressions="no such")
    with pytest.raises(WeightsError, match="init_map is not that of the published prior ssm_bp4d7"):
        convert_ssm(save(state), expressions="rafdb7")


def without(name):
    return lambda state: state.pop(name)


def changed(name, by=1.0):
    return lambda state: state.__setitem__(name, state[name] + by)


def renamed(old, new):
    return lambda state: state.__setitem__(new, state.pop(old))


BLOCK = "encoder.transformer.resblocks"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (without("encoder.ln_pre.weight"), r"missing: encoder\.ln_pre\.weight"),
        (without("dfer_head.weight"), r"The tensor dfer_head\.weight is missing"),
        (without(f"{BLOCK}.3.mlp.gate.bias"), r"missing: encoder\.transformer\.resblocks\.3\.mlp\.gate\.bias"),
        (without(f"{BLOCK}.3.mlp.private_experts.2.fc1.bias"), r"fc1_bias \[3, 24\] instead of \[4, 24\]"),
        (without("prompt_learner1.ctx"), r"The tensor prompt_learner1\.ctx is missing"),
        (without("prompt_learner2.token_suffix"), r"missing: prompt_learner2\.token_suffix"),
        (without("au_temporal_net.ln.bias"), r"missing: au_temporal_net/temporal_net_au\.ln\.bias"),
        (without("row_targets_au2emo"), r"The tensor row_targets_au2emo is missing"),
        (changed("row_targets_emo2au"), "row_targets_emo2au is not that of the published prior"),
        (changed("init_map", 0.01), "init_map is not that of the published prior"),
        (changed(f"{BLOCK}.2.mlp.shared_fc1.weight"), r"mlp\.shared_fc1\.weight and .*shared_expert\.0\.weight differ"),
        (renamed("alpha", "alfa"), r"missing: alpha; unexpected: alfa"),
        (renamed("au_head.bias", "au_head.bios"), r"missing: au_head\.bias; unexpected: au_head\.bios"),
        (lambda s: s.update({"temporal_net.gate": s["dfer_temporal_net.gate"]}), "are the same part"),
        (lambda s: s.update({"au_head.weight": torch.zeros(11, 64)}), "The head 'au' has 11 labels"),
        (lambda s: s.update({"encoder.proj": torch.zeros(64, 32)}), "No known CLIP has these sizes: embed_dim 32"),
        (
            lambda s: [s.pop(name) for name in list(s) if ".mlp.gate." in name],
            "No block of the image tower has experts",
        ),
        (
            lambda s: s.update({"prompt_learner1.token_suffix": s["prompt_learner1.token_suffix"].flip(0)}),
            "published words of ssm_bp4d",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(fault, message, save):
    state, _ = make_state()
    fault(state)
    with pytest.raises(WeightsError, match=message):
        convert_ssm(save(state))
