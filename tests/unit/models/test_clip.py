from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from affectkit.errors import ConfigError, WeightsError
from affectkit.models import ClipBackbone, TimmBackbone
from affectkit.models.backbones.moe import MoEFeedForward
from affectkit.models.clip import clip_config, load_clip
from affectkit.models.hub import no_weights

TINY = "affectkit-tiny"
MOE = {"last": 2, "hidden": 32}


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    model = load_clip(TINY).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():  # open_clip leaves biases at zero, which tests less
            if name.endswith("bias"):
                tensor.normal_(std=0.1)
    return model


@pytest.fixture(scope="module")
def files(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    tensors = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    save_file(tensors, folder / "whole.safetensors")
    torch.save(tensors, folder / "whole.pt")
    training = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}
    torch.save(training, folder / "training.pt")
    numbers = {"input_resolution": torch.tensor(64), "vocab_size": torch.tensor(49408)}
    half = {name: tensor.half() for name, tensor in tensors.items()}
    torch.save({**half, **numbers}, folder / "half.pt", _use_new_zipfile_serialization=False)
    return folder


def frames(size: int = 64, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, 3, size, size), generator=generator, dtype=torch.uint8)


def total(module: nn.Module, trainable: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


class TestCounts:
    def test_of_the_published_tower_with_and_without_experts(self):
        with torch.device("meta"):
            plain, experts = ClipBackbone(), ClipBackbone(moe={})
        assert total(plain) == 86_192_640
        assert total(experts) == 86_192_640 + 18_923_550
        layers = [block.mlp for block in experts.tower.transformer.resblocks]
        assert [isinstance(layer, MoEFeedForward) for layer in layers] == [False] * 6 + [True] * 6
        assert total(layers[-1]) - total(layers[0]) == 3_153_925
        assert plain.num_features == 512
        assert plain.input_spec.size == 224

    def test_of_trained_blocks(self):
        backbone = ClipBackbone(TINY, trainable_blocks=1)
        blocks = backbone.tower.transformer.resblocks
        wanted = total(blocks[-1]) + total(backbone.tower.ln_post) + backbone.tower.proj.numel()
        assert total(backbone, trainable=True) == wanted
        assert total(ClipBackbone(TINY, trainable_blocks=0), trainable=True) == wanted - total(blocks[-1])
        assert total(ClipBackbone(TINY), trainable=True) == total(backbone)


class TestNumbers:
    @pytest.mark.parametrize("tokens", [False, True])
    def test_equal_those_of_open_clip(self, clip, files, tokens):
        backbone = ClipBackbone(TINY, weights=str(files / "whole.safetensors"), tokens=tokens).eval()
        pictures = backbone.normalize(frames().flatten(0, 1))
        with torch.no_grad():
            features = backbone(frames())
            wanted = clip.encode_image(pictures).view(2, 3, -1)
            places = clip.visual.forward_intermediates(
                pictures, indices=1, normalize_intermediates=True, output_fmt="NLC"
            )
        assert (features.frames - wanted).abs().max() <= 1e-6
        assert (features.pooled - wanted.mean(dim=1)).abs().max() <= 1e-6
        if tokens:
            patches = (places["image_intermediates"][-1] @ clip.visual.proj).view(2, 3, 16, -1)
            assert (features.tokens - patches).abs().max() <= 1e-6
            assert backbone.num_token_features == features.tokens.shape[-1]
        else:
            assert features.tokens is None

    def test_of_the_class_token_alone_equal_those_of_all_places(self, files):
        """Without tokens, the last block is computed for one place; gradients must not notice."""
        found = []
        for tokens in (False, True):
            torch.manual_seed(0)
            backbone = ClipBackbone(TINY, weights=str(files / "whole.pt"), moe=MOE, tokens=tokens).eval()
            backbone(frames()).frames.square().sum().backward()
            found.append({name: p.grad for name, p in backbone.named_parameters()})
        assert all(torch.allclose(found[0][name], found[1][name], rtol=1e-4, atol=1e-4) for name in found[0])

    def test_legacy_dispatch_looks_at_all_places(self, files):
        made = []
        for tokens in (False, True):
            torch.manual_seed(0)
            moe = {**MOE, "legacy_dispatch": True}
            backbone = ClipBackbone(TINY, weights=str(files / "whole.pt"), moe=moe, tokens=tokens).eval()
            made.append(backbone(frames()).frames)
        assert torch.allclose(*made, atol=1e-5)

    def test_are_the_same_with_checkpointed_gradients(self, files):
        found = []
        for checkpointing in (False, True):
            torch.manual_seed(0)
            backbone = ClipBackbone(
                TINY, weights=str(files / "whole.pt"), moe=MOE, grad_checkpointing=checkpointing
            ).train()
            torch.manual_seed(5)  # of the gate's noise
            features = backbone(frames())
            features.frames.square().sum().backward()
            found.append([features.frames, *(p.grad for p in backbone.parameters())])
        for plain, recomputed in zip(*found, strict=True):
            assert torch.allclose(plain, recomputed, rtol=1e-5, atol=1e-5)

    def test_of_another_picture_size_come_from_interpolated_positions(self, files):
        backbone = ClipBackbone(TINY, weights=str(files / "whole.safetensors"), size=96)
        assert backbone.input_spec.size == backbone.config["size"] == 96
        assert backbone.tower.positional_embedding.shape == (37, 64)
        same = ClipBackbone(TINY, weights=str(files / "whole.safetensors"), size=64)
        first = backbone.tower.positional_embedding[0]
        assert torch.equal(first, same.tower.positional_embedding[0])
        assert backbone(frames(96)).frames.shape == (2, 3, 64)
        with pytest.raises(ValueError, match=r"reads 96 by 96 pixels, not \[64, 64\]"):
            backbone(frames(64))


class TestWeights:
    @pytest.mark.parametrize("name", ["whole.safetensors", "whole.pt", "training.pt", "half.pt"])
    @pytest.mark.parametrize("part", ["image", "text", None])
    def test_of_every_layout_are_read(self, clip, files, name, part):
        model = load_clip(TINY, files / name, part=part)
        wanted = clip.state_dict()
        tolerance = 2e-3 if name == "half.pt" else 0
        for key, tensor in model.state_dict().items():
            image = key.startswith("visual.")
            if part is None or ((part == "image") == image and not key.startswith("logit")):
                assert tensor.dtype == torch.float32
                assert torch.allclose(tensor, wanted[key], rtol=tolerance, atol=tolerance), key

    def test_do_not_carry_over_to_another_tower(self, files):
        path = str(files / "whole.safetensors")
        first, second = ClipBackbone(TINY, weights=path), ClipBackbone(TINY, weights=path)
        with torch.no_grad():
            first.tower.proj.zero_()
        assert second.tower.proj.any()

    def test_with_a_missing_or_a_further_tensor_are_refused(self, clip, tmp_path):
        tensors = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
        tensors["visual.transformer.resblocks.4.ln_1.bias"] = tensors.pop("visual.ln_pre.weight")
        save_file(tensors, tmp_path / "other.safetensors")
        with pytest.raises(WeightsError, match=r"missing: ln_pre\.weight; unexpected: transformer.*4\.ln_1"):
            ClipBackbone(TINY, weights=str(tmp_path / "other.safetensors"))
        load_clip(TINY, tmp_path / "other.safetensors", part="text")  # which lacks nothing

    @pytest.mark.parametrize("name", ["absent.safetensors", "notes.txt", "broken.safetensors", "broken.pt"])
    def test_that_are_no_weights_are_named(self, tmp_path, name):
        if name != "absent.safetensors":
            (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(WeightsError, match=name):
            ClipBackbone(TINY, weights=str(tmp_path / name))

    def test_in_a_pickle_of_code_are_refused(self, tmp_path):
        torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
        torch.save([torch.zeros(2)], tmp_path / "list.pt")
        (tmp_path / "plain.pt").write_bytes(pickle.dumps({"print": print}, protocol=2))
        for name in ("module.pt", "list.pt", "plain.pt"):
            with pytest.raises(WeightsError, match=name):
                ClipBackbone(TINY, weights=str(tmp_path / name))

    @pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
    def test_in_a_torchscript_archive_are_refused_with_the_remedy(self, tmp_path):
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "openai.pt")
        with pytest.raises(WeightsError, match=r"TorchScript.*pretrained: openai"):
            ClipBackbone(TINY, weights=str(tmp_path / "openai.pt"))

    def test_that_cannot_be_downloaded_are_one_line(self):
        with pytest.raises(WeightsError) as caught:
            ClipBackbone("ViT-B-16-quickgelu", pretrained="openai")
        message = str(caught.value)
        assert "'openai' of 'ViT-B-16-quickgelu'" in message
        assert message.endswith("Check the connection, or give a local file as `weights`.")
        assert "\n" not in message

    def test_of_a_tag_come_from_the_hub(self, files, clip, monkeypatch):
        import open_clip

        tag = {"quick_gelu": True}
        monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, name: tag)
        monkeypatch.setattr(open_clip, "download_pretrained", lambda source: str(files / "whole.safetensors"))
        assert torch.equal(ClipBackbone(TINY, pretrained="mine").tower.proj, clip.visual.proj)

    def test_are_left_alone_where_none_are_wanted(self, tmp_path):
        with no_weights():
            ClipBackbone(TINY, weights=str(tmp_path / "absent.safetensors"))
            ClipBackbone(TINY, pretrained="absent")
            TimmBackbone("test_resnet", pretrained=True)
        with pytest.raises(WeightsError):
            ClipBackbone(TINY, weights=str(tmp_path / "absent.safetensors"))


class TestConfig:
    def test_leaves_out_where_weights_came_from(self, files):
        backbone = ClipBackbone(TINY, weights=str(files / "whole.pt"), moe={"last": 4})
        assert "weights" not in backbone.config
        assert "pretrained" not in backbone.config
        assert backbone.config["moe"]["top_k"] == 2

    @pytest.mark.parametrize(
        ("arguments", "fault"),
        [
            ({"model_name": "hf-hub:some/where"}, "no architecture 'hf-hub:some/where'"),
            ({"model_name": "ViT-B-16-quick"}, "Similar: ViT-B-16-quickgelu"),
            ({"model_name": "RN50"}, "'RN50' is not a plain CLIP"),
            ({"model_name": "coca_ViT-B-32"}, "'coca_ViT-B-32' is not a plain CLIP"),
            ({"model_name": "ViT-B-16-SigLIP"}, "'ViT-B-16-SigLIP' is not a plain CLIP"),
            ({"model_name": TINY, "pretrained": "openai", "weights": "x.pt"}, "Give one of them"),
            ({"model_name": TINY, "pretrained": "openai"}, "Known: none"),
            ({"model_name": "ViT-B-16", "pretrained": "openai"}, "Add '-quickgelu'"),
            ({"model_name": TINY, "moe": {"last": 5}}, "moe.last is 5, but the tower has 4"),
            ({"model_name": TINY, "trainable_blocks": -1}, "trainable_blocks is -1"),
        ],
    )
    def test_of_what_cannot_be_is_named(self, arguments, fault):
        with pytest.raises(ConfigError, match=fault):
            ClipBackbone(**arguments)

    def test_is_a_copy(self):
        clip_config(TINY)["vision_cfg"]["layers"] = 99
        assert clip_config(TINY)["vision_cfg"]["layers"] == 4
