"""Content token: channel attention, operators and gate, against sums written out."""

import pytest
import torch
from torch.nn import functional as F

from affectkit.methods.aullm import ChannelAttention, FlatProjector, GranularProjector


def maps(B=2, C=8, T=3, side=6, seed=0):
    return torch.randn(B, C, T, side, side, generator=torch.Generator().manual_seed(seed))


def test_channel_attention_is_squeeze_and_excitation():
    torch.manual_seed(0)
    attend = ChannelAttention(8, reduction=2)
    first, second = attend.weigh[0], attend.weigh[2]
    x = maps()
    weights = second(first(x.mean(dim=(2, 3, 4))).relu()).sigmoid()
    torch.testing.assert_close(attend(x), x * weights[:, :, None, None, None])


def test_fused_maps_are_the_weighted_sum_of_the_operators():
    torch.manual_seed(0)
    part = GranularProjector(8, 16)
    x = maps()
    harmonised = []
    for name in ("meso3", "meso5", "context", "laplacian"):
        frames = []
        for t in range(3):
            picture = x[:, :, t]
            if name == "context":
                seen = picture.mean(dim=(2, 3), keepdim=True).expand_as(picture)
            elif name == "laplacian":
                padded = F.pad(picture, (1, 1, 1, 1), mode="replicate")
                around = padded[:, :, :-2, 1:-1] + padded[:, :, 2:, 1:-1]
                around = around + padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]
                seen = around - 4 * picture
            else:
                seen = part.operators[name](picture)
            frames.append(part.harmonise(seen))
        harmonised.append(torch.stack(frames, dim=2))
    means = torch.cat([one.mean(dim=(2, 3, 4)) for one in harmonised], dim=1)
    weights = part.gate(means).softmax(dim=1)
    torch.testing.assert_close(part.weights(x), weights)
    fused = x + sum(weights[:, k, None, None, None, None] * one for k, one in enumerate(harmonised))
    cells = F.adaptive_avg_pool2d(fused.mean(dim=2), 3).flatten(1)
    torch.testing.assert_close(part(x), part.levels(cells), rtol=1e-4, atol=1e-5)


def test_the_laplacian_of_a_flat_map_is_zero():
    laplacian = GranularProjector(8, 16).operators["laplacian"]
    assert laplacian(torch.full((1, 8, 5, 5), 3.0)).abs().max() == 0
    peak = torch.zeros(1, 8, 5, 5)
    peak[0, 1, 2, 2] = 1
    assert laplacian(peak)[0, 1, 1:4, 1:4].tolist() == [[0, 1, 0], [1, -4, 1], [0, 1, 0]]


def test_parts_can_be_left_out():
    x = maps()
    assert GranularProjector(8, 16, laplacian=False).weights(x).shape == (2, 3)
    equal = GranularProjector(8, 16, gate=False)
    assert torch.equal(equal.weights(x), torch.full((2, 4), 0.25))
    assert equal(x).shape == (2, 16)


@pytest.mark.parametrize("kind", [GranularProjector, FlatProjector])
@pytest.mark.parametrize(("B", "T", "side"), [(1, 1, 5), (2, 4, 18)])
def test_tokens_have_unit_variance_for_clips_of_any_shape(kind, B, T, side):
    torch.manual_seed(0)
    part = kind(8, 64)
    token = part(maps(B=B, T=T, side=side))
    torch.testing.assert_close(token.var(dim=1, unbiased=False), torch.ones(B), rtol=1e-2, atol=0)
    token.square().sum().backward()
    assert all(p.grad is not None for p in part.parameters())


def test_the_flat_projector_pools_the_maps_of_led_by_two():
    torch.manual_seed(0)
    part = FlatProjector(4, 16)
    x = maps(C=4, T=4, side=18)
    assert torch.equal(part(x), part.levels(F.max_pool3d(x, 2).flatten(1)))
