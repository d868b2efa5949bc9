"""TTT-Linear: the dual form against two references that take the inner steps one by one."""

import pytest
import torch
from torch.nn import functional as F

from affectkit.methods.au_ttt import InnerModel, ttt_linear


def problem(tokens, size, *, padding=0, seed=0):
    """Random arguments of `ttt_linear` in float64: two pictures of two heads; the last tokens may be padding."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    query, key, value = (draw(2, 2, tokens, 6) for _ in range(3))
    rate = draw(2, 2, tokens).sigmoid()
    rate[..., tokens - padding :] = 0
    steps = (1 / torch.arange(1, size + 1) + 0.1 * draw(size)).clamp(min=0)
    weight, bias = 0.3 * draw(2, 6, 6), 0.1 * draw(2, 1, 6)
    return query, key, value, rate, steps, weight, bias, 1 + 0.2 * draw(2, 1, 6), 0.1 * draw(2, 1, 6)


def inner_loss(weight, bias, key, target, scale, shift):
    hidden = F.layer_norm(key @ weight + bias, (len(key),), eps=1e-6) * scale + shift
    return 0.5 * (hidden - target).square().sum()


def by_autograd(query, key, value, rate, steps, weight, bias, scale, shift):
    """Primal form: explicit parameters W_t of every token; gradients of the inner loss by autograd."""
    out = torch.empty_like(query)
    for picture in range(query.shape[0]):
        for head in range(query.shape[1]):
            q, k, v = (one[picture, head] for one in (query, key, value))
            w, b, gamma, beta = weight[head], bias[head, 0], scale[head, 0], shift[head, 0]
            for start in range(0, len(q), len(steps)):
                first = (w, b)
                moved = (torch.zeros_like(w), torch.zeros_like(b))
                for t, s in enumerate(range(start, min(start + len(steps), len(q)))):
                    given = [one.detach().requires_grad_() for one in first]
                    loss = inner_loss(*given, k[s], v[s] - k[s], gamma, beta)
                    gradients = torch.autograd.grad(loss, given)
                    moved = tuple(
                        m + rate[picture, head, s] * g for m, g in zip(moved, gradients, strict=True)
                    )
                    w, b = (one - steps[t] * m for one, m in zip(first, moved, strict=True))
                    out[picture, head, s] = (
                        q[s] + F.layer_norm(q[s] @ w + b, (len(w),), eps=1e-6) * gamma + beta
                    )
    return out


def primal(query, key, value, rate, steps, weight, bias, scale, shift):
    """Primal form with the gradient of the layer norm written out, differentiable throughout."""
    f = query.shape[-1]
    out, w, b = [], weight.expand(2, -1, -1, -1), bias.expand(2, -1, -1, -1)
    for start in range(0, query.shape[2], len(steps)):
        first, moved_w, moved_b = (w, b), torch.zeros_like(w), torch.zeros_like(b)
        for t, s in enumerate(range(start, min(start + len(steps), query.shape[2]))):
            q, k, v = (one[:, :, s : s + 1] for one in (query, key, value))
            z = k @ first[0] + first[1]
            sigma = (z.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
            x = (z - z.mean(-1, keepdim=True)) / sigma
            g = (scale * x + shift - (v - k)) * scale
            g = (f * g - g.sum(-1, keepdim=True) - x * (g * x).sum(-1, keepdim=True)) / (f * sigma)
            eta = rate[:, :, s, None, None]
            moved_w, moved_b = moved_w + eta * k.mT @ g, moved_b + eta * g
            w, b = first[0] - steps[t] * moved_w, first[1] - steps[t] * moved_b
            out.append(q + F.layer_norm(q @ w + b, (f,), eps=1e-6) * scale + shift)
    return torch.cat(out, dim=2)


CASES = {
    "rows": (12, 4, 0),
    "remainder": (9, 4, 0),
    "padding": (12, 4, 2),
    "padded remainder": (10, 4, 1),
    "online": (5, 1, 0),
    "whole": (7, 7, 0),
    "more than a chunk": (66, 66, 0),
    "shorter than a mini-batch": (3, 5, 0),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reference", [by_autograd, primal])
def test_the_dual_form_equals_single_steps(case, reference):
    tokens, size, padding = CASES[case]
    given = problem(tokens, size, padding=padding)
    torch.testing.assert_close(ttt_linear(*given), reference(*given), rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_the_dual_form_equal_those_of_the_primal_form(case):
    tokens, size, padding = CASES[case]
    found = []
    for form in (ttt_linear, primal):
        given = [one.clone().requires_grad_() for one in problem(tokens, size, padding=padding)]
        form(*given).square().sum().backward()
        found.append([one.grad for one in given])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_gradients_equal_finite_differences():
    given = [one[:1] if one.dim() > 3 else one for one in problem(5, 2)]
    given[3] = given[3][:1]
    assert torch.autograd.gradcheck(ttt_linear, [one.requires_grad_() for one in given])


def test_gradients_are_those_of_full_precision_under_autocast():
    found = []
    for enabled in (False, True):
        given = [one.float().requires_grad_() for one in problem(9, 4)]
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(torch.autograd.grad(ttt_linear(*given).square().sum(), given))
    for plain, mixed in zip(*found, strict=True):
        torch.testing.assert_close(plain, mixed)


def test_padding_changes_nothing_after_it():
    """Tokens of rate 0 do not move the inner model, but count as positions."""
    query, key, value, rate, *rest = problem(8, 4)
    rate[..., 2:4] = 0
    other = key.clone()
    other[:, :, 2:4] = 7
    kept = [0, 1, 4, 5, 6, 7]
    one, two = (ttt_linear(query, k, value, rate, *rest)[:, :, kept] for k in (key, other))
    assert torch.equal(one, two)


def test_the_inner_model_learns_from_what_it_has_read():
    """When the same tokens come again, their targets are better predicted than the time before."""
    torch.manual_seed(0)
    key, value = torch.randn(2, 6, 8), torch.randn(2, 6, 8)
    again = [one.repeat(1, 4, 1) for one in (key, value)]
    start = 0.5 * torch.randn(8, 8), torch.zeros(1, 8), torch.ones(1, 8), torch.zeros(1, 8)
    read = ttt_linear(again[0], *again, torch.full((2, 24), 0.1), torch.full((6,), 0.5), *start) - again[0]
    losses = (read - (again[1] - again[0])).square().unflatten(1, (4, 6)).mean(dim=(0, 2, 3))
    assert (losses.diff() < 0).all()


def test_low_precision_is_only_that_of_the_result():
    given = [one.float() for one in problem(9, 4)]
    half = [one.bfloat16() for one in given]
    low = ttt_linear(*half)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), ttt_linear(*[one.float() for one in half]), rtol=0.01, atol=0.01)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(ttt_linear(*given), ttt_linear(*given))
    torch.testing.assert_close(ttt_linear(*given), ttt_linear(*problem(9, 4)).float(), rtol=1e-4, atol=1e-4)


def test_an_inactive_inner_model_reads_with_its_initial_parameters():
    torch.manual_seed(0)
    inner = InnerModel(8, 2, 3)
    query, key, value = torch.randn(3, 1, 1, 2, 7, 4).unbind(0)
    rates = torch.randn(1, 1, 2, 7)
    moved = inner(query, key, value, rates)
    inner.active = False
    still = inner(query, key, value, rates)
    assert torch.equal(still, inner(query, torch.randn_like(key), value, rates))
    assert not torch.allclose(moved, still)
