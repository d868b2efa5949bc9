"""Scans of tokens: order, independence of pictures, regions, and the global inner step against autograd."""

import pytest
import torch
from torch.nn import functional as F

from affectkit.methods.au_ttt import GlobalScan, InnerModel, RegionScan, RowScan, rank_patches, ttt_linear
from affectkit.methods.au_ttt.scans import make_scan

WIDTH, HEADS, GRID = 8, 2, 3


def inputs(pictures=2, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shape = pictures, GRID**2 + 1, WIDTH
    return tuple(torch.randn(*shape[:2], k * WIDTH, generator=generator, dtype=dtype) for k in (1, 3))


def randomized(scan, scale=0.3):
    """A scan in float64 whose parameters all matter."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in scan.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return scan.double()


def test_the_backward_scan_is_the_flipped_forward_scan():
    scan = randomized(RowScan(WIDTH, HEADS, GRID))
    groups = HEADS * 4
    with torch.no_grad():  # tie the directions
        for values in (scan.inner.weight, scan.inner.bias, scan.inner.scale, scan.inner.shift):
            values[len(values) // 2 :] = values[: len(values) // 2]
        scan.inner.rate.weight[HEADS:] = scan.inner.rate.weight[:HEADS]
        scan.inner.rate.bias[HEADS:] = scan.inner.rate.bias[:HEADS]
        scan.norms[1].load_state_dict(scan.norms[0].state_dict())
    scan.cosine.fill_(1.0)  # positions belong to the picture, not to the scan
    scan.sine.fill_(0.0)
    tokens, qkv = inputs()

    def flip(values):
        return torch.cat([values[:, :-1].flip(1), values[:, -1:]], dim=1)

    def direction(number, *given):
        with torch.no_grad():
            scan.out.weight.zero_()
            scan.out.weight[:, number * WIDTH : (number + 1) * WIDTH] = torch.eye(WIDTH)
        return scan(*given)

    backward = direction(1, tokens, qkv)
    torch.testing.assert_close(backward, flip(direction(0, flip(tokens), flip(qkv))), rtol=0, atol=1e-12)
    assert not torch.allclose(backward, direction(0, tokens, qkv))
    assert groups == WIDTH


def test_rows_see_earlier_rows_and_the_class_token_sees_all():
    """A change in the last patch reaches, going down, only the class token; going up, every patch."""
    tokens, qkv = inputs(1)
    other = qkv.clone()
    other[:, GRID**2 - 1] += 1
    changed = {}
    for kind in ("forward", "bidirectional"):
        scan = randomized(make_scan(kind, WIDTH, HEADS, GRID))
        difference = (scan(tokens, qkv) - scan(tokens, other)).abs().amax(dim=-1)[0] > 1e-9
        changed[kind] = difference.tolist()
    assert changed["forward"] == [False] * (GRID**2 - 1) + [True, True]
    assert changed["bidirectional"] == [True] * (GRID**2 + 1)


def test_a_row_is_read_with_the_steps_of_the_rows_before_it():
    """The scan is TTT-Linear with one mini-batch per row and one for the class token."""
    scan = randomized(RowScan(WIDTH, HEADS, GRID, both=False))
    scan.cosine.fill_(1.0)
    scan.sine.fill_(0.0)
    scan.out.weight.data.copy_(torch.eye(WIDTH))
    tokens, qkv = inputs()
    query, key, value = qkv.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    inner = scan.inner
    rate = inner.rate(tokens).sigmoid().movedim(-1, 1) / inner.features
    steps = (1 / torch.arange(1, GRID + 1) + inner.offsets).clamp(min=0)
    vectors = [one.reshape(HEADS, 1, -1) for one in (inner.bias, inner.scale, inner.shift)]
    read = ttt_linear(query, key, value, rate, steps, inner.weight, *vectors)
    expected = scan.norms[0](read.transpose(1, 2).flatten(2))
    torch.testing.assert_close(scan(tokens, qkv), expected, rtol=0, atol=1e-12)


def heat_of(*regions):
    """Heat maps [1, A, 9] with the value given for each patch."""
    return torch.tensor(regions, dtype=torch.float64)[None]


def test_regions_are_read_in_order_and_averaged_where_they_overlap():
    scan = randomized(RegionScan(WIDTH, HEADS, 3))
    tokens, qkv = inputs(1)
    heat = heat_of([0.9, 0.8, 0.1, 0, 0, 0, 0, 0, 0], [0, 0.5, 0.7, 0.6, 0, 0, 0, 0, 0])
    places, weights = [[0, 1, 2], [2, 3, 1]], [[0.9, 0.8, 0.1], [0.7, 0.6, 0.5]]
    rows = torch.tensor(places).flatten()
    scale = torch.tensor(weights, dtype=torch.float64).flatten()[:, None]
    query, key, value = (qkv[0, rows] * scale).unflatten(-1, (3, HEADS, -1)).permute(1, 2, 0, 3)
    inner = scan.inner
    rate = inner.rate(tokens[0, rows] * scale).sigmoid().mT / inner.features
    rate[:, 2] = 0  # below the threshold
    steps = (1 / torch.arange(1, 4) + inner.offsets).clamp(min=0)
    vectors = [one.reshape(HEADS, 1, -1) for one in (inner.bias, inner.scale, inner.shift)]
    read = scan.norm(
        ttt_linear(query, key, value, rate, steps, inner.weight, *vectors).transpose(0, 1).flatten(1)
    )
    expected = torch.zeros(GRID**2 + 1, WIDTH, dtype=torch.float64)
    expected[0], expected[1] = read[0], (read[1] + read[5]) / 2
    expected[2], expected[3] = read[3], read[4]
    expected = expected @ scan.out.weight.T
    torch.testing.assert_close(scan(tokens, qkv, rank_patches(heat, 3))[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["bidirectional", "forward", "global", "attention"])
def test_a_picture_alone_equals_itself_in_a_batch(kind):
    scan = randomized(make_scan(kind, WIDTH, HEADS, GRID)).float()
    tokens, qkv = inputs(3, dtype=torch.float32)
    together = scan(tokens, qkv)
    for index in range(3):
        alone = scan(tokens[index : index + 1], qkv[index : index + 1])
        torch.testing.assert_close(alone[0], together[index], rtol=0, atol=1e-6)


def test_the_global_step_is_the_normalised_gradient_of_the_inner_loss():
    scan = randomized(GlobalScan(WIDTH, HEADS, GRID))
    tokens, qkv = inputs(1)
    query, key, value = qkv[0].unflatten(-1, (3, HEADS, -1)).permute(1, 2, 0, 3)
    first, second = (one.detach().requires_grad_() for one in (scan.first, scan.second))
    loss = -((key @ first) * F.silu(key @ second) * value).sum() / (3 * len(tokens[0]))
    one, two = (
        start - gradient / (gradient.norm(dim=-2, keepdim=True) + 1)
        for start, gradient in zip((first, second), torch.autograd.grad(loss, (first, second)), strict=True)
    )
    read = ((query @ one) * F.silu(query @ two)).transpose(0, 1).flatten(1)

    local = scan.local(tokens[0, :-1]).unflatten(-1, (3, -1)).permute(1, 2, 0).unflatten(-1, (GRID, GRID))
    kernel = scan.kernel.detach().requires_grad_()
    found = F.conv2d(local[1][None], kernel, padding=1, groups=scan.features)[0]
    (gradient,) = torch.autograd.grad(-(found * local[2]).sum() / (3 * len(tokens[0])), kernel)
    kernel = kernel - gradient / (gradient.flatten(1).norm(dim=1)[:, None, None, None] + 1)
    convolved = F.conv2d(local[0][None], kernel, padding=1, groups=scan.features)[0].flatten(1).T
    convolved = torch.cat([convolved, torch.zeros(1, scan.features)])
    expected = scan.out(torch.cat([read, convolved], dim=-1))
    torch.testing.assert_close(scan(tokens, qkv)[0], expected, rtol=0, atol=1e-12)


def test_heads_must_divide_the_width():
    from affectkit.errors import ConfigError

    with pytest.raises(ConfigError, match="3 heads do not divide the width 8"):
        InnerModel(8, 3, 4)
