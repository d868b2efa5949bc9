"""Outputs of single blocks of a backbone."""

import pytest
import torch

from affectkit.errors import ConfigError
from affectkit.models import build

PICTURES = torch.randint(
    0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def make(kind, **options):
    torch.manual_seed(0)
    return build("backbone", {"type": kind, "size": 32, **options}).eval()


@pytest.mark.parametrize("kind", ["clip", "timm"])
def test_levels_are_what_the_blocks_put_out(kind):
    names = {"clip": "affectkit-tiny-patch8", "timm": "test_vit"}
    backbone = make(kind, model_name=names[kind])
    blocks = backbone.tower.transformer.resblocks if kind == "clip" else backbone.net.blocks
    seen = []
    for block in blocks:
        block.register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        levels = backbone.levels(PICTURES, [1, 3])
    assert len(seen) >= 3
    for level, output in zip(levels, (seen[0], seen[2]), strict=True):
        assert level.shape[:2] == (2, 3)
        torch.testing.assert_close(level.flatten(0, 1), output[:, 1:])  # without the class token


def test_levels_of_a_convolutional_network_are_its_maps():
    backbone = make("timm", model_name="test_resnet")
    maps = []
    for layer in (backbone.net.layer1, backbone.net.layer4):
        layer.register_forward_hook(lambda *call: maps.append(call[2]))
    with torch.no_grad():
        levels = backbone.levels(PICTURES, [2, 5])
    for level, output in zip(levels, maps, strict=True):
        torch.testing.assert_close(level.flatten(0, 1), output.flatten(2).mT)


def test_blocks_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match="A block is 9, but the tower has 4 blocks"):
        make("clip", model_name="affectkit-tiny-patch8").levels(PICTURES, [1, 9])
    with pytest.raises(ConfigError, match="has the blocks 1 to 5, not 0, 2"):
        make("timm", model_name="test_resnet").levels(PICTURES, [0, 2])
    with pytest.raises(ConfigError, match="does not give the outputs of single blocks"):
        build("backbone", {"type": "led"}).levels(PICTURES, [1])
