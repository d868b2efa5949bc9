"""TTT-Linear: a layer whose hidden state is a linear model that learns from the sequence while it is read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from affectkit.errors import ConfigError

__all__ = ["InnerModel", "ttt_linear"]

_EPS = 1e-6
_CHUNK = 64  # tokens that are read with a matrix of all their products


def ttt_linear(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rate: Tensor,
    steps: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    shift: Tensor,
) -> Tensor:
    r"""Read a sequence with a linear model that takes one gradient step per mini-batch of tokens.

    The inner model is :math:`f(k) = \mathrm{LN}(kW + b)`, and its loss :math:`\frac12 \lVert f(k) - (v - k) \rVert^2`.
    Gradients :math:`G_s` with respect to :math:`k_s W + b` are taken at the parameters before the mini-batch. Token t
    of a mini-batch is read with the gradients of tokens up to t:

    .. math::
        o_t = q_t + \mathrm{LN}\Big(q_t W + b - c_t \sum_{s \le t} (q_t k_s^\top + 1)\, \eta_s G_s\Big),

    which is the dual form: no :math:`W_t` is computed. The parameters after the last token are those before the next
    mini-batch. A remainder shorter than K is a mini-batch of its own. Padding has the rate 0.

    The arithmetic is in float32 or float64, also under autocast.

    Args:
        query: [..., N, F], the views that are read.
        key: [..., N, F], the inputs of the inner model.
        value: [..., N, F]; the targets are ``value - key``.
        rate: [..., N], η, the learning rate of each token, at least 0.
        steps: [K], the factors c of the positions in a mini-batch, at least 0.
        weight: [..., F, F], W before the first token.
        bias: [..., 1, F], b before the first token.
        scale: [..., 1, F], the factors of the inner layer norm.
        shift: [..., 1, F], the offsets of the inner layer norm.

    Returns:
        [..., N, F], in the type of `query`.

    Example:
        >>> q = torch.randn(2, 5, 4)
        >>> still = torch.zeros(4, 4), torch.zeros(1, 4), torch.ones(1, 4), torch.zeros(1, 4)
        >>> torch.equal(ttt_linear(q, q, q, torch.zeros(2, 5), torch.ones(3), *still), q)
        True

    References:
        Y. Sun et al., "Learning to (Learn at Test Time): RNNs with Expressive Hidden States", 2024. Learning rates are
        a product of a factor of the reading position and one of the read token, so they are not stored as a matrix.
    """
    kind, lead = torch.promote_types(query.dtype, torch.float32), query.shape[:-2]
    with torch.autocast(query.device.type, enabled=False):
        pairs = torch.stack([key.to(kind), query.to(kind)], dim=-2).flatten(0, -4)
        v, w, b, gamma, beta = (
            one.to(kind).expand(*lead, -1, -1).flatten(0, -3) for one in (value, weight, bias, scale, shift)
        )
        eta, c = rate.to(kind).flatten(0, -2)[..., None], steps.to(kind)[:, None]
        # The layer norm removes the mean of kW + b. Inner gradients have none, so it is removed once for all.
        w, b = (one - one.mean(dim=-1, keepdim=True) for one in (w, b))
        given = pairs, v, eta, c, w, b, gamma, beta
        fast = len(c) <= _CHUNK and torch.is_grad_enabled()
        out: Tensor = _Scan.apply(*given) if fast else _scan(None, *given)  # type: ignore[no-untyped-call]
        return torch.unflatten(out, 0, lead).to(query.dtype)


def _scan(
    saved: list[Tensor] | None,
    pairs: Tensor,
    value: Tensor,
    rate: Tensor,
    c: Tensor,
    w: Tensor,
    b: Tensor,
    gamma: Tensor,
    beta: Tensor,
) -> Tensor:
    """Outputs of `ttt_linear`, [G, N, F].

    Args:
        saved: Receives intermediate values of each mini-batch, for the backward pass of `_Scan`; None to drop them.
        pairs: [G, N, 2, F], key and query of each token, so that both are multiplied by W at once.
        value: [G, N, F].
        rate: [G, N, 1].
        c: [K, 1].
        w: [G, F, F], without the mean over the last axis, as b.
        b: [G, 1, F].
        gamma: [G, 1, F].
        beta: [G, 1, F].
    """
    read = []
    # One mini-batch fits the cache of a processor, the whole sequence may not: all arithmetic is in the loop.
    for both, values, rates in zip(
        *(torch.split(one, len(c), dim=1) for one in (pairs, value, rate)), strict=True
    ):
        keys, queries = both.unbind(2)
        hidden, out = torch.unflatten(torch.baddbmm(b, both.flatten(1, 2), w), 1, (-1, 2)).unbind(2)
        normal, inverse = _normalize(hidden)
        error = torch.addcmul(keys + beta, normal, gamma) - values
        gradient = _through_norm(gamma * error, hidden, inverse)
        moves = rates * gradient
        out, products = _causal_steps(out, queries, keys, moves, c)
        seen, further = _normalize(out)
        read.append(torch.addcmul(queries + beta, seen, gamma))
        if saved is not None:
            saved += [w, normal, inverse, error, gradient, products, seen, further]
        carried = c[-1] * moves  # nothing reads W and b after a remainder
        w, b = torch.baddbmm(w, keys.mT, carried, alpha=-1), b - carried.sum(dim=1, keepdim=True)
    return torch.cat(read, dim=1)


def _normalize(values: Tensor) -> tuple[Tensor, Tensor]:
    """Layer norm of values without a mean, and the inverse deviations."""
    inverse = (values.square().mean(dim=-1, keepdim=True) + _EPS).rsqrt()
    return values * inverse, inverse


def _through_norm(grad: Tensor, values: Tensor, inverse: Tensor) -> Tensor:
    """Gradient of values that `_normalize` maps to others with the gradient `grad`; both without a mean."""
    inverse = inverse.detach()  # the derivative of the operation contains that of the deviation
    zeros = torch.zeros_like(inverse)
    found: Tensor = torch.ops.aten.native_layer_norm_backward(
        grad, values, values.shape[-1:], zeros, inverse, None, None, [True, False, False]
    )[0]
    return found


def _causal_steps(out: Tensor, query: Tensor, key: Tensor, moves: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract c_t Σ_{s ≤ t} (q_t · k_s + 1) η_s G_s from the outputs of a mini-batch.

    In chunks, so that the cost is linear in the number of tokens. The products of the last chunk are returned as well.
    """
    read: list[Tensor] = []
    outer, total = None, None
    for outs, queries, keys, further, steps in zip(
        *(torch.split(one, _CHUNK, dim=1) for one in (out, query, key, moves)),
        torch.split(c[: out.shape[1]], _CHUNK),
        strict=True,
    ):
        if outer is not None and total is not None:
            outs = outs - steps * torch.baddbmm(total, queries, outer)
        products = queries @ keys.mT + 1  # 1 stands for the bias
        read.append(torch.baddbmm(outs, products * steps.expand(-1, len(steps)).tril(), further, alpha=-1))
        if out.shape[1] > _CHUNK:
            one, two = keys.mT @ further, further.sum(dim=1, keepdim=True)
            outer, total = (one, two) if outer is None or total is None else (outer + one, total + two)
    return (read[0] if len(read) == 1 else torch.cat(read, dim=1)), products


class _Scan(torch.autograd.Function):
    """`_scan` for mini-batches of at most one chunk, with the backward pass written out.

    It takes less time than that of autograd, because it allocates less and adds gradients in place.
    """

    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        saved: list[Tensor] = []
        out = _scan(saved, *given)
        ctx.save_for_backward(*given[:-1], *saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            return _scan_backward(grad, *ctx.saved_tensors)


def _scan_backward(
    grad: Tensor,
    pairs: Tensor,
    value: Tensor,
    rate: Tensor,
    c: Tensor,
    w: Tensor,
    b: Tensor,
    gamma: Tensor,
    *saved: Tensor,
) -> tuple[Tensor, ...]:
    """Gradients of the arguments of `_scan`, from the last mini-batch to the first; `of_x` is that of x."""
    of_pairs, of_value, of_rate = (torch.empty_like(one) for one in (pairs, value, rate))
    of_c, of_w, of_b, of_gamma = (torch.zeros_like(one) for one in (c, w, b, gamma))
    size, features = len(c), grad.shape[-1]
    lower = c.expand(-1, size).tril()
    of_lower = torch.zeros_like(lower)
    for number in reversed(range(len(saved) // 8)):
        w, normal, inverse, error, gradient, products, seen, further = saved[8 * number : 8 * number + 8]
        part = slice(number * size, (number + 1) * size)
        both, outs, rates = pairs[:, part], grad[:, part], rate[:, part]
        keys, queries = both.unbind(2)
        count = outs.shape[1]
        factors = lower[:count, :count]
        moves, ones = rates * gradient, torch.ones_like(inverse)
        # The outputs, and the steps of W and b.
        of_out = _through_norm(gamma * outs, seen, ones) * further
        of_seen = of_out @ moves.mT
        of_lower[:count, :count] -= (of_seen * products).sum(dim=0)
        of_products = of_seen * factors
        ahead = torch.baddbmm(of_b, keys, of_w)
        of_moves = torch.baddbmm(c[-1] * ahead, (products * factors).mT, of_out, beta=-1, alpha=-1)
        of_c[-1] -= torch.linalg.vecdot(ahead, moves).sum()
        # The inner gradient and the hidden layer.
        of_gradient = rates * of_moves
        straight = torch.linalg.vecdot(of_moves, gradient)[..., None]
        of_rate[:, part] = straight
        direct = _through_norm(of_gradient, normal, ones)
        scaled = gamma * direct
        of_values = scaled * -inverse
        along = torch.linalg.vecdot(gamma * error, normal)[..., None] / features
        across = torch.linalg.vecdot(of_gradient, normal)[..., None] / features
        of_hidden = (
            _through_norm(gamma * scaled, normal, ones).addcmul_(direct, along, value=-1).mul_(inverse)
        )
        of_hidden.addcmul_(gradient, across, value=-1)
        of_hidden.addcmul_(normal, straight * rates / features, value=-1).mul_(inverse)
        # Tokens and parameters.
        of_both = torch.stack([of_hidden, of_out], dim=2).flatten(1, 2)
        of_keys = torch.baddbmm(of_values, of_products.mT, queries, beta=-1, alpha=-1)
        of_keys.baddbmm_(c[-1] * moves, of_w.mT, alpha=-1)
        of_queries = torch.baddbmm(outs, of_products, keys, alpha=-1)
        tokens = torch.stack([of_keys, of_queries], dim=2).flatten(1, 2).baddbmm_(of_both, w.mT)
        of_pairs[:, part] = torch.unflatten(tokens, 1, (-1, 2))
        of_value[:, part] = of_values
        of_w.baddbmm_(both.flatten(1, 2).mT, of_both)
        of_b += of_both.sum(dim=1, keepdim=True)
        twice = torch.addcmul(direct * error, scaled, normal)  # γ enters the inner gradient in two places
        of_gamma += torch.addcmul(outs * seen, twice, inverse).sum(dim=1, keepdim=True)
    of_c += of_lower.tril().sum(dim=1, keepdim=True)
    of_beta = grad.sum(dim=1, keepdim=True) - of_value.sum(dim=1, keepdim=True)
    return of_pairs, of_value, of_rate, of_c, of_w, of_b, of_gamma, of_beta


class InnerModel(nn.Module):
    r"""Initial parameters and learning rates of the inner models of several scans.

    The rate of a token x is :math:`\eta = \sigma(\theta x + b_\theta) / F`, per scan and head. The factor of position t
    in a mini-batch is :math:`c_t = \max(0, 1/t + \delta_t)`, where the shared :math:`\delta` starts at 0.

    Args:
        width: Width of the tokens, a multiple of `heads`.
        heads: Inner models per scan.
        size: Tokens K in a mini-batch.
        scans: Number of scans S, such as directions.

    Attributes:
        active: Whether inner steps are taken. If not, tokens are read with the initial parameters, at the same cost.

    Raises:
        ConfigError: The heads do not divide the width.
    """

    def __init__(self, width: int, heads: int, size: int, scans: int = 1) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"{heads} heads do not divide the width {width}.")
        self.heads, self.scans, self.features = heads, scans, width // heads
        self.active = True
        groups = scans * heads
        self.weight = nn.Parameter(0.02 * torch.randn(groups, self.features, self.features))
        # Flat, so that the optimiser treats them as vectors, without decay.
        self.bias = nn.Parameter(torch.zeros(groups * self.features))
        self.scale = nn.Parameter(torch.ones(groups * self.features))
        self.shift = nn.Parameter(torch.zeros(groups * self.features))
        self.rate = nn.Linear(width, groups)
        nn.init.normal_(self.rate.weight, std=0.02)
        nn.init.zeros_(self.rate.bias)
        self.offsets = nn.Parameter(torch.zeros(size))

    def rates(self, tokens: Tensor) -> Tensor:
        """Logits of the learning rates [B, N, S H] of tokens [B, N, width]."""
        logits: Tensor = self.rate(tokens)
        return logits

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, rates: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """Scan tokens.

        Args:
            query: [B, S, H, N, F].
            key: [B, S, H, N, F].
            value: [B, S, H, N, F].
            rates: [B, S, H, N], logits of the learning rates.
            valid: bool [B, 1, 1, N], False for padding; None if there is none.

        Returns:
            [B, S, H, N, F].
        """
        eta = rates.sigmoid() * (float(self.active) / self.features)
        if valid is not None:
            eta = eta * valid
        position = torch.arange(1, len(self.offsets) + 1, device=rates.device)
        steps = (1 / position + self.offsets).clamp(min=0)
        weight = torch.unflatten(self.weight, 0, (self.scans, self.heads))
        vectors = (
            one.reshape(self.scans, self.heads, 1, self.features)
            for one in (self.bias, self.scale, self.shift)
        )
        return ttt_linear(query, key, value, eta, steps, weight, *vectors)
