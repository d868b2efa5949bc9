"""Local crops, aggregator, projector and backbone, against the equations written out."""

import json

import pytest
import torch
from helpers.feallm import TOWER, make_backbone
from torch import nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs.mean_shape import MEAN_SHAPE_68
from affectkit.methods.feallm import PLACES, ClueAggregator, LocalCrops, PerspectiveProjector
from affectkit.models import build
from affectkit.models.hub import no_weights

NAMES = [*PLACES]


def attention(part, queries, keys):
    """Multi-head attention of one clip, head by head."""
    width, heads = part.embed_dim, part.num_heads
    weights, biases = part.in_proj_weight.chunk(3), part.in_proj_bias.chunk(3)
    q, k, v = (x @ w.T + b for x, w, b in zip((queries, keys, keys), weights, biases, strict=True))
    parts = []
    for h in range(heads):
        cut = slice(h * width // heads, (h + 1) * width // heads)
        scores = q[:, cut] @ k[:, cut].T / (width / heads) ** 0.5
        parts.append(scores.softmax(dim=-1) @ v[:, cut])
    return part.out_proj(torch.cat(parts, dim=-1))


def test_crops_are_cut_around_landmarks():
    pictures = torch.rand(2, 3, 40, 40)
    landmarks = torch.full((2, 68, 2), 20.0)
    landmarks[:, 48] = torch.tensor([10.0, 30.0])  # a mouth corner alone
    landmarks[:, 21], landmarks[:, 22] = torch.tensor([14.0, 9.0]), torch.tensor([18.0, 11.0])
    crops = LocalCrops(5)(pictures, landmarks)
    assert crops.shape == (2, 16, 3, 5, 5)
    torch.testing.assert_close(crops[:, NAMES.index("right mouth corner")], pictures[..., 28:33, 8:13])
    torch.testing.assert_close(crops[:, NAMES.index("glabella")], pictures[..., 8:13, 14:19])
    torch.testing.assert_close(crops[:, NAMES.index("left nostril")], pictures[..., 18:23, 18:23])


def test_beyond_the_border_there_is_nothing():
    landmarks = torch.zeros(1, 68, 2)
    crop = LocalCrops(5)(torch.ones(1, 3, 20, 20), landmarks)[0, 0, 0]
    expected = F.pad(torch.ones(3, 3), (2, 0, 2, 0))
    torch.testing.assert_close(crop, expected, atol=1e-5, rtol=0)


def test_places_without_landmarks_are_those_of_the_mean_face():
    part = LocalCrops(4)
    mean = torch.tensor(MEAN_SHAPE_68) * 40 - 0.5
    usual = torch.stack([mean[list(points)].mean(dim=0) for points in PLACES.values()])
    torch.testing.assert_close(part.centres(None, None, pictures=1, side=40)[0], usual)
    landmarks = torch.rand(1, 68, 2) * 40
    mask = torch.ones(1, 68, dtype=torch.bool)
    mask[0, 21] = False
    landmarks[0, 48] = torch.nan
    found = part.centres(landmarks, mask, pictures=1, side=40)[0]
    for row, (name, points) in enumerate(PLACES.items()):
        lacks = 21 in points or 48 in points
        wanted = usual[row] if lacks else landmarks[0, list(points)].mean(dim=0)
        torch.testing.assert_close(found[row], wanted, msg=name)
    assert found.isfinite().all()


def test_every_crop_has_convolutions_of_its_own():
    torch.manual_seed(0)
    part = ClueAggregator(8, 12, heads=2).eval()
    crops = torch.randn(3, 16, 3, 8, 8)
    convolutions = [layer for layer in part.blocks if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in part.blocks if isinstance(layer, nn.BatchNorm2d)]
    regions = []
    for place in range(16):
        x = crops[:, place]
        for layer, norm in zip(convolutions, norms, strict=True):
            weight = layer.weight.chunk(16)[place]
            # The statistics of a new normalisation are 0 and 1.
            x = (F.conv2d(x, weight, stride=2, padding=1) / (1 + norm.eps) ** 0.5).relu()
        regions.append(x.mean(dim=(2, 3)) + part.places[place])
    regions = torch.stack(regions, dim=1)
    normal = part.norm(regions)
    attended = regions + torch.stack([attention(part.attend, one, one) for one in normal])
    clues, token = part(crops)
    torch.testing.assert_close(clues, part.each(attended), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(token[:, 0], part.whole(attended.flatten(1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("local", [True, False])
def test_the_projector_is_that_of_the_equations(local):
    torch.manual_seed(0)
    part = PerspectiveProjector(8, heads=2, local=local)
    for norm in part.norms.values():
        nn.init.normal_(norm.weight)
    last, earlier, clues = torch.randn(9, 8), torch.randn(20, 8), torch.randn(16, 8)
    a = attention(part.attends["blocks"], part.norms["blocks"](last), earlier)  # without a skip
    b = a + attention(part.attends["clues"], part.norms["clues"](a), clues) if local else a
    normal = part.norms["self"](b)
    c = b + attention(part.attends["self"], normal, normal)
    found = part(last[None], earlier[None], clues[None] if local else None)[0]
    torch.testing.assert_close(found, part.mlp(c), rtol=1e-4, atol=1e-5)


def frames(B=2, T=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (B, T, 3, 32, 32), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("options", [{}, {"local": False}, {"blocks": [4]}, {"grid": 2, "landmarks": False}])
def test_only_the_tower_is_frozen(options):
    torch.manual_seed(0)
    backbone = make_backbone(**options).train()
    before = {name: tensor.clone() for name, tensor in backbone.tower.state_dict().items()}
    features = backbone(frames(), torch.ones(2, 1, dtype=torch.bool))
    count = (4 if options.get("grid") == 2 else 16) + options.get("local", True)
    assert features.tokens.shape == (2, 1, count, 16)
    torch.testing.assert_close(features.frames, features.tokens.mean(dim=2))
    (features.tokens * torch.randn(count, 16)).sum().backward()
    for name, parameter in backbone.named_parameters():
        if name.startswith("tower."):
            assert parameter.grad is None
            assert not parameter.requires_grad
        else:
            assert parameter.grad is not None, name
    assert not backbone.tower.training
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.tower.state_dict().items())


def test_its_config_builds_an_equal_backbone():
    backbone = make_backbone(tower={**TOWER}).eval()
    twin = build("backbone", json.loads(json.dumps(backbone.config))).eval()
    twin.load_state_dict(backbone.state_dict())
    given = frames(T=3)
    assert torch.equal(twin(given).tokens, backbone(given).tokens)
    assert not any("crops" in name for name in backbone.state_dict())


def test_the_tower_of_a_saved_model():
    from affectkit import load

    backbone = make_backbone(tower=None, tower_of="demo", blocks=[3, 5]).eval()
    demo = load("demo").backbone
    pictures = torch.randint(0, 256, (1, 1, 3, 64, 64), dtype=torch.uint8)
    for one, other in zip(
        backbone.tower.levels(pictures, [3, 5]), demo.levels(pictures, [3, 5]), strict=True
    ):
        assert torch.equal(one, other)
    with no_weights():
        empty = make_backbone(tower=None, tower_of="demo", blocks=[3, 5])
    assert empty.config == backbone.config
    weights = [one.net.conv1[0].weight for one in (empty.tower, backbone.tower)]
    assert not torch.equal(*weights)


def test_crops_follow_landmarks_unless_told_otherwise():
    torch.manual_seed(0)
    landmarks = torch.rand(2, 1, 68, 2) * 32
    follows, fixed = make_backbone().eval(), make_backbone(landmarks=False).eval()
    assert follows.reads_landmarks
    assert not fixed.reads_landmarks
    assert not torch.allclose(follows(frames(), landmarks=landmarks).tokens, follows(frames()).tokens)
    assert not make_backbone(local=False).reads_landmarks


def test_settings_that_do_not_fit_are_refused():
    for options, fault in (
        ({"tower": None}, "one tower"),
        ({"tower_of": "demo"}, "one tower"),
        ({"blocks": [3, 1]}, "not ascending"),
        ({"blocks": []}, "not ascending"),
        ({"blocks": [1, 9]}, "the tower has 4 blocks"),
        ({"width": 15}, "multiples"),
        ({"tower": {"type": "led"}}, "does not give the outputs of single blocks"),
    ):
        with pytest.raises(ConfigError, match=fault):
            make_backbone(**options)
    with pytest.raises(ValueError, match="reads 32 by 32 pixels"):
        make_backbone()(torch.zeros(1, 1, 3, 40, 40))
