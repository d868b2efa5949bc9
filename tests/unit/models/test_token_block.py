"""Tokens of a middle block, through layers of their own."""

import pytest
import torch
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models import TimmBackbone, build
from affectkit.models.backbones import ClipBackbone

FRAMES = torch.randint(
    0, 256, (2, 3, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)
NETS = {
    "clip": lambda **options: ClipBackbone("affectkit-tiny-patch8", size=32, **options),
    "resnet": lambda **options: TimmBackbone("test_resnet", size=32, **options),
    "vit": lambda **options: TimmBackbone("test_vit", size=32, **options),
}


def make(kind, **options):
    torch.manual_seed(0)
    return NETS[kind](**options).eval()


@pytest.mark.parametrize("kind", NETS)
def test_vectors_do_not_change_and_tokens_are_as_wide(kind):
    with torch.no_grad():
        plain, middle = (make(kind, tokens=True, **more)(FRAMES) for more in ({}, {"token_block": 2}))
    torch.testing.assert_close(middle.pooled, plain.pooled)
    torch.testing.assert_close(middle.frames, plain.frames)
    assert middle.tokens.shape[-1] == middle.pooled.shape[-1]
    assert round(middle.tokens.shape[2] ** 0.5) ** 2 == middle.tokens.shape[2]


def test_tokens_are_those_after_the_block():
    backbone = make("clip", tokens=True, token_block=2)
    seen = {}
    blocks = backbone.tower.transformer.resblocks
    blocks[1].register_forward_hook(lambda _, __, output: seen.update(middle=output))
    tokens = backbone(FRAMES).tokens
    norm, linear = backbone.token_layers
    wanted = linear(F.layer_norm(seen["middle"][:, 1:], (64,), norm.weight, norm.bias))
    torch.testing.assert_close(tokens.flatten(0, 1), wanted)


def test_maps_of_a_convolutional_network_are_read_row_by_row():
    backbone = make("resnet", tokens=True, token_block=2)
    seen = {}
    backbone.net.layer1.register_forward_hook(lambda _, __, output: seen.update(middle=output))
    tokens = backbone(FRAMES).tokens
    wanted = backbone.token_layers(seen["middle"].flatten(2).mT)
    torch.testing.assert_close(tokens.flatten(0, 1), wanted)


@pytest.mark.parametrize("kind", NETS)
def test_a_configuration_builds_an_equal_backbone(kind):
    backbone = make(kind, tokens=True, token_block=1)
    again = build("backbone", backbone.config).eval()
    again.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(again(FRAMES).tokens, backbone(FRAMES).tokens)
    assert "token_block" not in make(kind, tokens=True).config
    assert backbone.training is False
    assert NETS[kind](tokens=True, token_block=1).training


def test_the_last_block_of_a_tower_also_has_layers_of_its_own():
    backbone = make("clip", tokens=True, token_block=4)
    assert backbone(FRAMES).tokens.shape == (2, 3, 16, 64)
    lora = make("clip", tokens=True, token_block=2, lora={"rank": 2})
    trained = {name.partition(".")[0] for name, p in lora.named_parameters() if p.requires_grad}
    assert trained == {"tower", "token_layers"}


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize(
    "options", [{"token_block": 2}, {"tokens": True, "token_block": 0}, {"tokens": True, "token_block": 99}]
)
def test_a_block_must_exist_and_tokens_be_returned(kind, options):
    with pytest.raises(ConfigError, match=r"token_block|blocks"):
        make(kind, **options)
