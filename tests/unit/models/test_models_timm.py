from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from affectkit.errors import ConfigError, WeightsError
from affectkit.models import InputSpec, Normalize, TimmBackbone

FRAMES = torch.randint(
    0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def test_features_are_those_of_timm_on_each_frame():
    backbone = TimmBackbone("test_resnet", size=32).eval()
    features = backbone(FRAMES)
    normalize = Normalize(InputSpec(mean=backbone.input_spec.mean, std=backbone.input_spec.std))
    for b in range(2):
        for t in range(3):
            expected = backbone.net(normalize(FRAMES[b, t]).unsqueeze(0))[0]
            assert torch.allclose(features.frames[b, t], expected, atol=1e-5)
    assert torch.allclose(features.pooled, features.frames.mean(1), atol=1e-6)


def test_bytes_and_unit_floats_are_the_same():
    backbone = TimmBackbone("test_resnet", size=32).eval()
    assert torch.allclose(backbone(FRAMES).pooled, backbone(FRAMES / 255).pooled, atol=1e-5)


def test_the_input_is_declared():
    spec = TimmBackbone("test_resnet").input_spec
    assert spec == InputSpec(size=160, mean=(0.5,) * 3, std=(0.5,) * 3)
    spec = TimmBackbone(
        "test_resnet", size=32, mean=[0.1] * 3, std=[0.2] * 3, normalize="per_image"
    ).input_spec
    assert spec == InputSpec(size=32, mean=(0.1,) * 3, std=(0.2,) * 3, normalize="per_image")


def test_model_args_reach_the_architecture():
    args = {
        "channels": [8, 16, 24, 32],
        "layers": [1, 1, 1, 1],
        "stem_chs": 8,
        "stem_type": "tiered",
    }
    backbone = TimmBackbone("resnetv2_18", size=32, model_args=args)
    assert backbone.num_features == 32
    assert sum(p.numel() for p in backbone.parameters()) < 100_000


@pytest.mark.parametrize(
    ("name", "args", "places", "width"),
    [
        ("test_resnet", {}, 1, 96),
        ("test_vit", {}, 4, 64),
        ("test_mambaout", {}, 1, 64),
        (
            "swin_tiny_patch4_window7_224",
            {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
            16,
            32,
        ),
    ],
)
def test_tokens_of_every_layout_are_places_in_rows(name, args, places, width):
    backbone = TimmBackbone(name, size=32, model_args=args, tokens=True).eval()
    tokens = backbone(FRAMES).tokens
    assert tokens.shape == (2, 3, places, width)
    assert backbone.num_token_features == width
    maps = backbone.net.forward_features(backbone.normalize(FRAMES[0, :1]))
    last = {
        3: lambda: maps[0, -1],
        4: lambda: maps[0, -1, -1] if maps.shape[-1] == width else maps[0, :, -1, -1],
    }
    assert torch.allclose(tokens[0, 0, -1], last[maps.ndim](), atol=1e-4)


def test_gradient_checkpointing_changes_no_gradient():
    plain, saving = (TimmBackbone("test_vit", size=32, grad_checkpointing=c).train() for c in (False, True))
    saving.load_state_dict(plain.state_dict())
    for backbone in (plain, saving):
        backbone(FRAMES).pooled.square().sum().backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-5)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("classes", [0, 7, 1000])
def test_weights_come_from_a_local_file(tmp_path, suffix, classes):
    source = TimmBackbone("test_resnet", size=32)
    state = {name: tensor.contiguous() for name, tensor in source.net.state_dict().items()}
    if classes:
        state |= {"fc.weight": torch.zeros(classes, 96), "fc.bias": torch.zeros(classes)}
    file = tmp_path / f"weights{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    loaded = TimmBackbone("test_resnet", size=32, weights=str(file))
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
    assert "weights" not in loaded.config


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_pickle_with_code_is_refused(tmp_path, capsys):
    file = tmp_path / "evil.pth"
    torch.save({"conv1.weight": Evil()}, file)
    with pytest.raises(WeightsError, match=r"evil\.pth"):
        TimmBackbone("test_resnet", size=32, weights=str(file))
    assert "code ran" not in capsys.readouterr().out


def test_weights_that_do_not_fit_are_refused(tmp_path):
    file = tmp_path / "other.safetensors"
    save_file({"stem.weight": torch.zeros(3)}, file)
    with pytest.raises(WeightsError, match=r"(?s)other\.safetensors.*stem\.weight"):
        TimmBackbone("test_resnet", size=32, weights=str(file))
    state = {
        name: tensor.contiguous() for name, tensor in TimmBackbone("test_resnet").net.state_dict().items()
    }
    state["conv1.0.renamed"] = state.pop("conv1.0.weight")
    save_file(state, file)
    with pytest.raises(WeightsError, match=r"(?s)conv1\.0\.weight.*conv1\.0\.renamed"):
        TimmBackbone("test_resnet", size=32, weights=str(file))
    for wrong in (str(tmp_path / "absent.pth"), str(tmp_path), __file__):
        with pytest.raises(WeightsError, match="not a weight file"):
            TimmBackbone("test_resnet", weights=wrong)


def test_absent_downloads_say_what_to_do(tmp_path, monkeypatch):
    import timm

    def fail(*args, **kwargs):
        raise OSError("offline")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WeightsError, match=r"offline.*local file"):
        TimmBackbone("test_resnet", pretrained=True)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("resnet19", {}, "no architecture 'resnet19'.*resnet1"),
        ("hf-hub:someone/resnet18", {}, "no architecture"),
        ("local-dir:some/folder", {}, "no architecture"),
        ("test_resnet", {"checkpoint_path": "/etc/passwd"}, "checkpoint_path"),
        ("test_resnet", {"pretrained_cfg": {"file": "x"}}, "pretrained_cfg"),
        ("test_resnet", {"num_classes": 3}, "num_classes"),
        ("test_resnet", {"colour": "red"}, "colour"),
        ("test_resnet.nonsense", {}, "nonsense"),
    ],
)
def test_wrong_names_and_arguments(name, args, message):
    with pytest.raises(ConfigError, match=message):
        TimmBackbone(name, size=32, model_args=args)


def test_a_grid_joins_the_averages_of_its_cells():
    torch.manual_seed(0)
    whole, cells = (TimmBackbone("test_resnet", size=64, grid=grid).eval() for grid in (1, 2))
    cells.load_state_dict(whole.state_dict())
    frames = torch.randint(0, 255, (1, 2, 3, 64, 64), dtype=torch.uint8)
    assert cells.num_features == 4 * cells.num_token_features
    joined = cells(frames).frames.unflatten(-1, (cells.num_token_features, 4))
    maps = whole.net.forward_features(whole.normalize(frames[0]))
    half = maps.shape[-1] // 2
    expected = [maps[..., r : r + half, c : c + half].mean((-2, -1)) for r in (0, half) for c in (0, half)]
    torch.testing.assert_close(joined[0], torch.stack(expected, dim=-1))


def test_a_grid_below_one_is_an_error():
    with pytest.raises(ConfigError, match="at least 1"):
        TimmBackbone("test_resnet", grid=0)
