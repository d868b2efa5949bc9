"""Models with a bridge: cached prototypes and when they are renewed, saving, fine-tuning, new classes."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from affectkit.errors import ConfigError, LabelSpaceError, WeightsError
from affectkit.methods.ssm import SemanticBridge
from affectkit.models import AffectModel, AUHead, prototype_only, use_classes
from affectkit.models.convert import model_of_checkpoint

TINY = {"type": "clip", "model_name": "affectkit-tiny"}
SMALL = {"heads": 2, "head_width": 8, "max_frames": 4}
AU = {"type": "prototype_au", "space": "AU6,AU12,AU15", "temporal": {"type": "framewise", **SMALL}}
EXPRESSION = {
    "type": "prototype_expression",
    "space": "happiness,neutral,sadness",
    "temporal": {"type": "clip_token", **SMALL},
}
BRIDGE = {"type": "semantic", "text": {"model_name": "affectkit-tiny"}}
FRAMES = torch.randint(
    0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def make(heads: dict | None = None, bridge: dict | None = BRIDGE, seed: int = 0) -> AffectModel:
    torch.manual_seed(seed)
    return AffectModel(TINY, heads or {"au": AU, "expression": EXPRESSION}, bridge=bridge)


def copies(model: AffectModel) -> dict[str, torch.Tensor]:
    return {name: model.head(name).prototypes.clone() for name in model.heads}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@torch.no_grad()
def shake(model: AffectModel) -> None:
    """Change everything that is trained."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def test_copies_are_made_when_training_stops():
    model = make()
    assert not any(vectors.any() for vectors in copies(model).values())
    model.eval()
    first = copies(model)
    assert same(first, model.prototypes())
    shake(model)
    assert same(copies(model), first)
    model.train().eval()
    assert not same(copies(model), first)
    model.train()
    model(FRAMES)
    shake(model)
    model.eval()
    assert not same(copies(model), first)
    assert same(copies(model), model.prototypes())
    shake(model)
    model.refresh_prototypes()
    assert same(copies(model), model.prototypes())


def test_training_uses_the_bridge_and_evaluation_the_copies():
    model = make().train()
    trained = model(FRAMES)
    model.eval()
    for name, logits in model(FRAMES).items():
        assert torch.allclose(logits, trained[name], atol=1e-5)
        model.head(name).prototypes.zero_()
        assert not torch.allclose(model(FRAMES)[name], trained[name], atol=1e-2)
    sum(logits.square().sum() for logits in trained.values()).backward()
    trained_parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name, p in trained_parameters.items() if p.grad is None} == set()
    assert all(trained_parameters[f"bridge.{name}"].grad.abs().sum() > 0 for name in ("alpha", "beta"))
    assert all(p.grad is None for name, p in model.named_parameters() if name.startswith("bridge.text."))


def test_predict_renews_what_training_has_changed():
    model = make().train()
    model(FRAMES)
    shake(model)
    answers = model.predict(FRAMES)
    assert model.training
    assert same(copies(model), model.prototypes())
    assert torch.allclose(answers["expression"], model.eval().predict(FRAMES)["expression"])


def test_saved_copies_are_never_older_than_the_weights(tmp_path):
    model = make().train()
    model(FRAMES)
    shake(model)
    state = model.state_dict()
    assert torch.equal(state["heads.au.prototypes"], model.bridge()["au"])
    twin = make(seed=1).eval()
    twin.load_state_dict({**state, "heads.au.prototypes": torch.ones(3, 64)})
    twin.eval()  # what was loaded counts as new, and is not made again
    assert torch.equal(twin.head("au").prototypes, torch.ones(3, 64))
    model(FRAMES)
    shake(model)
    model.save_pretrained(tmp_path)
    loaded = AffectModel.from_pretrained(tmp_path)
    assert same(loaded(FRAMES), model.eval()(FRAMES))
    assert same(copies(loaded), loaded.prototypes())


def test_loading_runs_no_text_tower_and_a_checkpoint_gets_its_own_prototypes(tmp_path, monkeypatch):
    model = make()
    shake(model)
    model.eval()
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    state["model.heads.au.prototypes"] = torch.ones(3, 64)  # of an earlier step than the averaged weights
    torch.save({"state_dict": state, "model_config": model.config}, tmp_path / "a.ckpt")
    found = model_of_checkpoint(tmp_path / "a.ckpt")
    assert same(copies(found), model.prototypes())
    found.save_pretrained(tmp_path)
    monkeypatch.setattr(SemanticBridge, "forward", lambda *_: pytest.fail("costs a pass"))
    assert same(copies(AffectModel.from_pretrained(tmp_path)), copies(found))


def test_the_round_trip_keeps_everything(tmp_path):
    model = make(bridge={**BRIDGE, "prior": "ssm_bp4d7", "n_ctx": 4, "directions": "au_to_expression"})
    shake(model)
    model.eval().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["bridge"]["prior"] == "ssm_bp4d7"
    assert config["bridge"]["texts"]["expression"][0].startswith("happiness, cheek raiser")
    config["bridge"]["text"]["weights"] = "elsewhere.safetensors"  # as a stranger's folder might say
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = AffectModel.from_pretrained(tmp_path)
    assert loaded.config == model.config
    assert same(loaded.state_dict(), model.state_dict())
    assert same(loaded(FRAMES), model(FRAMES))
    head = AUHead.from_pretrained(tmp_path)
    features = torch.randn(5, 3, 64)
    assert torch.equal(head(features), model.head("au")(features))
    assert head(torch.randn(7, 64)).shape == (7, 3)


def test_missing_and_foreign_tensors_are_named(tmp_path):
    make().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["bridge.map.delta_ae"]
    tensors["bridge.map.delta_xx"] = torch.zeros(1)
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=r"missing: bridge\.map\.delta_ae; unexpected: bridge\.map\.delta"):
        AffectModel.from_pretrained(tmp_path)


def test_a_folder_without_the_entry_has_no_bridge(tmp_path):
    plain = {"au": {**AU, "prototypes": False}}
    model = make(plain, bridge=None).eval()
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    assert config.pop("bridge") is None
    path.write_text(json.dumps(config))
    loaded = AffectModel.from_pretrained(tmp_path)
    assert loaded.bridge is None
    assert loaded.prototypes() == {}
    loaded.refresh_prototypes()
    assert same(loaded(FRAMES), model(FRAMES))
    path.write_text(json.dumps({**config, "bridge": "semantic"}))
    with pytest.raises(WeightsError, match="'bridge' must be a dict"):
        AffectModel.from_pretrained(tmp_path)


def test_copying_and_half_precision():
    model = make().eval()
    twin = copy.deepcopy(model)
    twin.train()(FRAMES)
    shake(twin)
    assert same(model(FRAMES), make().eval()(FRAMES))
    assert same(copies(twin.eval()), twin.prototypes())
    half = copy.deepcopy(model).to(torch.bfloat16)
    for name, logits in half(FRAMES).items():
        assert logits.dtype == torch.bfloat16
        assert torch.allclose(logits.float(), model(FRAMES)[name], atol=0.5)


def test_fine_tuning_takes_over_what_fits(tmp_path):
    saved = make()
    shake(saved)
    saved.eval().save_pretrained(tmp_path)
    model = make(seed=1)
    model.init_from(tmp_path)
    assert same(model.eval()(FRAMES), saved(FRAMES))

    other = make({"au": AU, "expression": {**EXPRESSION, "space": "anger,fear,happiness,neutral"}}, seed=1)
    fresh = copy.deepcopy(other)
    with pytest.raises(WeightsError, match="'expression' was trained on"):
        other.init_from(tmp_path)
    other.init_from(tmp_path, replace=["expression"])
    was, now, here = saved.state_dict(), other.state_dict(), fresh.state_dict()
    replaced = {name for name in now if name.startswith("heads.expression.") or ".map." in name}
    replaced |= {name for name in now if name.startswith("bridge.prompts.expression.")}
    for name, tensor in now.items():
        if not name.endswith("prototypes"):
            assert torch.equal(tensor, here[name] if name in replaced else was[name]), name
    assert same(copies(other.eval()), other.prototypes())

    third = make(seed=2)
    third.init_from(tmp_path, replace=["bridge"])
    assert not torch.equal(third.bridge.alpha, saved.bridge.alpha)
    assert torch.equal(third.head("au").out.weight, saved.head("au").out.weight)
    assert same(copies(third.eval()), third.prototypes())


@torch.no_grad()
def test_new_classes_without_training(tmp_path):
    model = make()
    shake(model)
    model.eval()
    before = model(FRAMES)
    expected = model.bridge.encode_classes("expression", ["sadness", "contempt", "half asleep"])
    h = torch.nn.functional.normalize(model.head("expression").embed(model.features(FRAMES)), dim=1)
    use_classes(model, "expression", ["sadness", "contempt", "half asleep"])
    assert model.labels("expression") == ("sadness", "contempt", "half asleep")
    logits = model(FRAMES)
    assert torch.allclose(logits["expression"], 10 * h @ torch.stack([*expected.values()]).T, atol=1e-4)
    assert torch.equal(logits["au"], before["au"])
    assert torch.allclose(model.predict(FRAMES)["expression"].sum(-1), torch.ones(2))
    model.save_pretrained(tmp_path)
    loaded = AffectModel.from_pretrained(tmp_path)
    assert loaded.labels("expression") == model.labels("expression")
    assert same(loaded(FRAMES), logits)
    assert same(loaded.train().eval()(FRAMES), logits)
    with pytest.raises(ConfigError, match="no bridge to encode"):
        use_classes(loaded, "expression", ["fear", "anger"])


def test_new_classes_are_of_the_weights_as_they_are():
    model = make().train()
    model(FRAMES)
    shake(model)
    expected = model.bridge()["au"]
    use_classes(model, "expression", {"awake": "eyes open", "asleep": "eyes closed"})
    assert torch.equal(model.head("au").prototypes, expected)
    assert model.head("expression").training


@torch.no_grad()
def test_prototypes_alone(tmp_path):
    model = make()
    shake(model)
    model.eval()
    features = model.features(FRAMES)
    expected = {name: model.head(name).both(features)[1] for name in model.heads}
    for name in expected:
        prototype_only(model, name)
    assert same(model(FRAMES), expected)
    model.save_pretrained(tmp_path)
    loaded = AffectModel.from_pretrained(tmp_path)
    assert same(loaded(FRAMES), expected)
    assert isinstance(loaded.bridge, SemanticBridge)


def test_what_cannot_be_asked_is_refused():
    model = make({"au": AU, "plain": {"type": "au", "space": "AU1"}})
    with pytest.raises(ConfigError, match=r"'plain' has no prototypes.*: au"):
        prototype_only(model, "plain")
    with pytest.raises(ConfigError, match="New classes cannot be given to 'au'"):
        use_classes(model, "au", ["fear", "anger"])
    with pytest.raises(ConfigError, match="no head 'expression'"):
        use_classes(model, "expression", ["fear", "anger"])
    with pytest.raises(LabelSpaceError, match="fewer than two"):
        use_classes(make(), "expression", ["fear"])


def test_heads_and_bridge_must_fit_together():
    model = make()
    with pytest.raises(ConfigError, match=r"gives 'expression' .*'sadness'.*takes .*'fear'"):
        model.replace_head("expression", {**EXPRESSION, "space": "anger,fear"})
    with pytest.raises(ConfigError, match=r"gives 'au' .* takes none"):
        model.replace_head("au", {"type": "au", "space": "AU6,AU12,AU15"})
    with pytest.raises(ConfigError, match="gives 'more' no prototypes"):
        model.replace_head("more", AU)
    model.replace_head("plain", {"type": "au", "space": "AU1"})
    assert model(FRAMES)["plain"].shape == (2, 1)
    bridge = model.bridge
    with pytest.raises(ConfigError, match="gives 'au' no prototypes"):
        AffectModel(
            TINY, {"au": AU}, bridge=SemanticBridge({"x": model.head("au").space}, text=BRIDGE["text"])
        )
    with pytest.raises(ConfigError, match="no head 'expression'"):
        AffectModel(TINY, {"au": AU}, bridge=bridge)
    with pytest.raises(ConfigError, match="head 'au' compares 96"):
        AffectModel(
            {"type": "timm", "model_name": "test_resnet", "size": 32},
            {"au": {"type": "prototype_au", "space": "AU6,AU12,AU15"}},
            bridge=BRIDGE,
        )
    assert AffectModel(TINY, {"au": AU, "expression": EXPRESSION}, bridge=bridge).bridge is bridge


def test_freezing_leaves_the_text_tower_alone():
    model = make()
    model.freeze(["bridge.*"])
    assert not any(p.requires_grad for p in model.bridge.parameters())
    assert not model.bridge.training
    model.train()(FRAMES)
    shake(model)
    assert same(copies(model.eval()), model.prototypes())


@pytest.mark.parametrize(
    ("au", "smoothing", "trainable"),
    [("framewise", "none", 109_425_885), ("local_attention", "frames", 107_841_328)],
)
def test_parameters_of_the_whole_model_are_those_of_the_paper(au, smoothing, trainable):
    """Of both releases, on BP4D with seven classes; nothing is allocated."""
    with torch.device("meta"):
        model = AffectModel(
            {"type": "clip", "moe": {}},
            {
                "au": {
                    "type": "prototype_au",
                    "space": "bp4d12",
                    "temporal": {"type": au},
                    "smoothing": smoothing,
                },
                "expression": {
                    "type": "prototype_expression",
                    "space": "dfew7",
                    "temporal": {"type": "clip_token"},
                },
            },
            bridge={
                "type": "semantic",
                "text": {"model_name": "ViT-B-16-quickgelu"},
                "prior": "ssm_bp4d7",
                "prompts": "ssm_bp4d",
            },
        )
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == trainable
    assert sum(p.numel() for p in model.parameters() if not p.requires_grad) == 38_131_200
