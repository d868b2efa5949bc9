"""TTT-Linear: a layer whose hidden state is a linear model that learns from the sequence while it is read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        q, k, v, w, b, gamma, beta = (
            one.to(kind).expand(*lead, -1, -1).flatten(0, -3)
            for one in (query, key, value, weight, bias, scale, shift)
        )
        eta, c = rate.to(kind).flatten(0, -2)[..., None], steps.to(kind)[:, None]
        square, read = gamma**2, []
        # One mini-batch fits the cache of a processor, the whole sequence may not: all arithmetic is in the loop.
        for queries, keys, values, rates in zip(
            *(torch.split(one, len(c), dim=1) for one in (q, k, v, eta)), strict=True
        ):
            aims = gamma * (values - keys - beta)
            hidden = torch.baddbmm(b, keys, w)
            gradient: Tensor = _InnerGradient.apply(hidden, square, aims, rates)  # type: ignore[no-untyped-call]
            factors = c[: queries.shape[1]]
            change, moved_w, moved_b = _causal_sums(queries, keys, gradient)
            out = torch.baddbmm(b, queries, w) - factors * change
            read.append(queries + torch.addcmul(beta, F.layer_norm(out, out.shape[-1:], eps=_EPS), gamma))
            w, b = w - c[-1] * moved_w, b - c[-1] * moved_b  # nothing reads these after a remainder
        return torch.unflatten(torch.cat(read, dim=1), 0, lead).to(query.dtype)


def _causal_sums(query: Tensor, key: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over s ≤ t of (q_t · k_s + 1) G_s for each t, and over all s of the outer products k_s G_s and of G_s.

    In chunks, so that the cost is linear in the number of tokens.
    """
    sums: list[Tensor] = []
    outer, total = None, None
    chunks = (torch.split(one, _CHUNK, dim=1) for one in (query, key, gradient))
    for queries, keys, gradients in zip(*chunks, strict=True):
        seen = (queries @ keys.mT + 1).tril()  # 1 stands for the bias
        if outer is None or total is None:
            sums.append(seen @ gradients)
            outer, total = keys.mT @ gradients, gradients.sum(dim=1, keepdim=True)
        else:
            sums.append(torch.baddbmm(torch.baddbmm(total, queries, outer), seen, gradients))
            outer = torch.baddbmm(outer, keys.mT, gradients)
            total = total + gradients.sum(dim=1, keepdim=True)
    assert outer is not None
    assert total is not None
    return (sums[0] if len(sums) == 1 else torch.cat(sums, dim=1)), outer, total


class _InnerGradient(torch.autograd.Function):
    r"""Gradient of the inner loss with respect to the input z of the layer norm, times the learning rate.

    With the normalised input x and the inverse deviation i, :math:`G = \eta\, i\, (o - \bar o - x\, \overline{ox})`,
    where :math:`o = \gamma^2 x - \gamma (v - k - \beta)` and bars are means over the features. The backward pass is
    written out: it takes fewer operations than that of autograd.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, square: Tensor, aim: Tensor, rate: Tensor) -> Tensor:
        normal, _, inverse = torch.native_layer_norm(hidden, hidden.shape[-1:], None, None, _EPS)
        ctx.save_for_backward(normal, inverse, square, aim, rate)
        return (rate * inverse) * _project(torch.addcmul(-aim, normal, square), normal)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        normal, inverse, square, aim, rate = ctx.saved_tensors
        outer = torch.addcmul(-aim, normal, square)
        along = (outer * normal).mean(dim=-1, keepdim=True)
        direct = rate * inverse * grad
        of_outer = _project(direct, normal)
        of_factor = (grad * _project(outer, normal)).sum(dim=-1, keepdim=True)
        of_normal = square * of_outer - along * direct - outer * (direct * normal).mean(dim=-1, keepdim=True)
        of_hidden = inverse * _project(of_normal, normal)
        of_hidden -= (of_factor * rate * inverse**2 / normal.shape[-1]) * normal
        return of_hidden, (normal * of_outer).sum(dim=1, keepdim=True), -of_outer, of_factor * inverse


def _project(values: Tensor, normal: Tensor) -> Tensor:
    """Remove the mean and the part along the normalised vectors, as the backward pass of a layer norm does."""
    along = (values * normal).mean(dim=-1, keepdim=True)
    return torch.addcmul(values - values.mean(dim=-1, keepdim=True), normal, along, value=-1)


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
