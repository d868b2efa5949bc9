from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affectkit.errors import ConfigError
from affectkit.models import AffectModel, AUHead, InputSpec, MeanPool, TimmBackbone, build

TINY = {"type": "timm", "model_name": "test_resnet", "size": 32}
FRAMES = torch.randint(
    0, 256, (2, 5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def test_every_head_answers_with_its_own_shape(tiny_model):
    shapes = {name: tuple(logits.shape) for name, logits in tiny_model(FRAMES).items()}
    assert shapes == {"au": (2, 5, 2), "expression": (2, 7), "strength": (2, 2, 5)}
    answers = tiny_model.predict(FRAMES)
    assert {name: tuple(p.shape) for name, p in answers.items()} == {
        "au": (2, 5, 2),
        "expression": (2, 7),
        "strength": (2, 2),
    }
    assert torch.allclose(answers["expression"].sum(-1), torch.ones(2))
    assert tiny_model.labels("au") == ("AU1", "AU12")
    assert tiny_model.input_spec == InputSpec(
        size=32, frames=5, fps=25.0, crop_margin=0.2, mean=(0.5,) * 3, std=(0.5,) * 3
    )


def test_parts_may_be_given_built():
    backbone = build("backbone", TINY)
    width = backbone.num_features
    model = AffectModel(backbone, {"au": AUHead(width, "AU1")}, MeanPool(width))
    assert model.backbone is backbone
    twin = AffectModel(**model.config)
    assert twin.config == model.config
    assert twin.state_dict().keys() == model.state_dict().keys()


@settings(deadline=None, max_examples=15)
@given(real=st.lists(st.integers(1, 5), min_size=2, max_size=2), fill=st.integers(0, 255))
def test_padding_never_changes_clip_answers(real, fill):
    torch.manual_seed(0)
    heads = {"expression": {"type": "expression", "space": "basic7"}}
    model = AffectModel(TINY, heads, {"type": "transformer", "heads": 2}).eval()
    mask = torch.arange(5) < torch.tensor(real).unsqueeze(1)
    padded = torch.where(mask[:, :, None, None, None], FRAMES, torch.tensor(fill, dtype=torch.uint8))
    assert torch.equal(model(padded, mask)["expression"], model(FRAMES, mask)["expression"])
    alone = model(FRAMES[:1, : real[0]])["expression"]
    assert torch.allclose(model(padded, mask)["expression"][:1], alone, atol=1e-5)


def test_predict_ignores_dropout_and_restores_the_mode(tiny_model):
    tiny_model.train()
    assert torch.equal(tiny_model.predict(FRAMES)["expression"], tiny_model.predict(FRAMES)["expression"])
    assert tiny_model.training
    assert not tiny_model.predict(FRAMES)["au"].requires_grad


def test_it_exports_and_compiles_with_free_batch_and_length(tiny_model):
    mask = torch.ones(2, 5, dtype=torch.bool)
    batch, frames = torch.export.Dim("batch", min=1, max=8), torch.export.Dim("frames", min=1, max=8)
    shapes = ({0: batch, 1: frames}, {0: batch, 1: frames})
    exported = torch.export.export(tiny_model, (FRAMES, mask), dynamic_shapes=shapes, strict=False).module()
    other = (FRAMES[:, :3].repeat(2, 1, 1, 1, 1)[:3], torch.tensor([[True, True, False]] * 3))
    for name, expected in tiny_model(*other).items():
        assert torch.allclose(exported(*other)[name], expected, atol=1e-5)
    compiled = torch.compile(tiny_model, fullgraph=True, backend="eager")
    for name, expected in tiny_model(FRAMES, mask).items():
        assert torch.allclose(compiled(FRAMES, mask)[name], expected, atol=1e-5)


def test_freezing_stops_parameters_and_batch_statistics(tiny_model):
    tiny_model.train()
    tiny_model.freeze(["backbone.*", "heads.au.out.bias"])
    assert not any(p.requires_grad for p in tiny_model.backbone.parameters())
    assert not tiny_model.backbone.training
    assert not tiny_model.backbone.net.bn1.training
    assert tiny_model.training
    assert tiny_model.head("au").training  # its weight still learns
    before = {name: tensor.clone() for name, tensor in tiny_model.backbone.state_dict().items()}
    sum(logits.sum() for logits in tiny_model(FRAMES).values()).backward()
    assert tiny_model.head("au").out.bias.grad is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_model.backbone.state_dict().items())
    assert not tiny_model.eval().backbone.training
    with pytest.raises(ConfigError, match=r"bakbone"):
        tiny_model.freeze(["bakbone.*"])


def test_heads_can_be_replaced_and_added(tiny_model):
    old = tiny_model.head("au")
    tiny_model.replace_head("au", {"type": "au", "space": "AU4"})
    tiny_model.replace_head("more", AUHead(tiny_model.num_features, "AU6"))
    assert tiny_model.head("au") is not old
    assert tiny_model(FRAMES)["au"].shape == (2, 1)
    assert set(tiny_model.heads) == {"au", "expression", "strength", "more"}


def test_what_does_not_fit_is_refused(tiny_model):
    with pytest.raises(ConfigError, match="reads 3 features"):
        tiny_model.replace_head("au", AUHead(3, "AU1"))
    for name in ("../au", "a.b", "AU", ""):
        with pytest.raises(ConfigError, match="not a valid name"):
            tiny_model.replace_head(name, AUHead(tiny_model.num_features, "AU1"))
    with pytest.raises(ConfigError, match="in_features"):
        AffectModel(TINY, {"au": {"type": "au", "space": "AU1", "in_features": 3}})
    with pytest.raises(ConfigError, match="size"):
        AffectModel(TINY, {}, input_spec={"size": 3})
    with pytest.raises(ConfigError, match="valence"):
        tiny_model.labels("valence")
    with pytest.raises(ValueError, match=r"\[B, T, 3, H, W\]"):
        tiny_model(FRAMES[0])
    with pytest.raises(ConfigError, match="Heads: none"):
        AffectModel(TimmBackbone("test_resnet", size=32), {}).head("au")


def test_importing_models_and_losses_is_light():
    code = (
        "import sys, affectkit.models, affectkit.losses\n"
        "heavy = {'lightning', 'timm', 'open_clip', 'transformers', 'torchvision', 'cv2', 'pandas'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
