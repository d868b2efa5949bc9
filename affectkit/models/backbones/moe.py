"""Feed-forward networks with routed experts, computed for the chosen tokens only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models.features import Settings

__all__ = ["MoEConfig", "MoEFeedForward"]

_grouped_mm: Any = getattr(F, "grouped_mm", None)  # since torch 2.10


@dataclass(frozen=True, slots=True)
class MoEConfig(Settings):
    """Settings of the experts.

    Args:
        last: Number of last blocks with experts.
        experts: Number of experts E in addition to the shared network.
        hidden: Hidden width of an expert, a multiple of 8.
        top_k: Experts K per token.
        alpha: Initial weight of the experts relative to the shared network.
        noise: Deviation of the noise on the gate's logits during training.
        temperature: Temperature of the gate's softmax.
        act: Activation of the shared network in these blocks: "gelu" (exact) or "quick_gelu".
        legacy_dispatch: Assign tokens to experts as the authors' released code does, see `MoEFeedForward`.

    Raises:
        ConfigError: A value is out of range.
    """

    last: int = 6
    experts: int = 4
    hidden: int = 512
    top_k: int = 2
    alpha: float = 0.1
    noise: float = 0.01
    temperature: float = 1.0
    act: Literal["gelu", "quick_gelu"] = "gelu"
    legacy_dispatch: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= self.experts:
            raise ConfigError(f"top_k is {self.top_k}, but there are {self.experts} experts.")
        if self.hidden < 8 or self.hidden % 8:
            raise ConfigError(f"The hidden width of experts must be a multiple of 8, not {self.hidden}.")
        if self.temperature <= 0 or self.noise < 0:
            raise ConfigError(
                f"The temperature {self.temperature} must be positive, and the noise {self.noise} at least 0."
            )
        if self.act not in _ACTIVATIONS:
            raise ConfigError(
                f"Unknown activation {self.act!r}.", remedy=f"Known: {', '.join(_ACTIVATIONS)}."
            )


class MoEFeedForward(nn.Module):
    """Shared feed-forward network plus a few experts for each token.

    For a token x, with gate g = softmax((W x + b + ε) / temperature) and experts e_1 … e_E,

        shared(x) + α · Σ_k g_k(x) · e_k(x)  over the K experts of largest g,

    without renormalising g over the chosen experts; ε is noise during training. An expert is two linear layers around
    an exact GELU.

    Tokens are sorted by expert, so that each expert is one contiguous product, without dropping tokens or looping over
    them. On CUDA nothing waits for the device: products of unequal size use `torch.nn.functional.grouped_mm` if it
    supports them (bfloat16); otherwise all experts are computed for all tokens, with weight 0 if not chosen.

    With `legacy_dispatch`, tokens are numbered position by position ([L, N] in one call). Slot k of token n uses the
    expert that token (k·M + n) // K chose in its slot (k·M + n) mod K, out of M tokens, with the weight of its own
    choice. Results then depend on the batch.

    Args:
        mlp: Feed-forward network of a CLIP block: `c_fc`, `gelu`, `c_proj`. Its layers become the shared network's,
            under the same names.
        config: Settings.

    Attributes:
        gate: Linear from tokens to experts.
        alpha: The learned weight α, a scalar.
        fc1_weight: [E, hidden, width], initially Xavier-uniform per expert.
        fc1_bias: [E, hidden], initially zeros.
        fc2_weight: [E, width, hidden], initially Xavier-uniform per expert.
        fc2_bias: [E, width], initially zeros.
    """

    def __init__(self, mlp: nn.Module, config: MoEConfig) -> None:
        super().__init__()
        self.config = config
        self.c_fc: nn.Linear = mlp.get_submodule("c_fc")  # type: ignore[assignment]
        self.gelu = _ACTIVATIONS[config.act]()
        self.c_proj: nn.Linear = mlp.get_submodule("c_proj")  # type: ignore[assignment]
        width, like = self.c_fc.in_features, self.c_fc.weight
        self.gate = nn.Linear(width, config.experts, device=like.device, dtype=like.dtype)
        self.alpha = nn.Parameter(like.new_full((), config.alpha))
        self.fc1_weight = nn.Parameter(like.new_empty(config.experts, config.hidden, width))
        self.fc1_bias = nn.Parameter(like.new_zeros(config.experts, config.hidden))
        self.fc2_weight = nn.Parameter(like.new_empty(config.experts, width, config.hidden))
        self.fc2_bias = nn.Parameter(like.new_zeros(config.experts, width))
        nn.init.xavier_uniform_(self.gate.weight, gain=0.1)
        nn.init.zeros_(self.gate.bias)
        for weight in (*self.fc1_weight, *self.fc2_weight):
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Transform N pictures of L tokens, [N, L, width]."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # once, for both branches
        shared: Tensor = self.c_proj(self.gelu(self.c_fc(x)))
        order = "(l n) d" if self.config.legacy_dispatch else "(n l) d"
        tokens = rearrange(x, f"n l d -> {order}")
        chosen, weights = self.route(tokens)
        # α multiplies a few numbers per token here, and would multiply a whole vector after the experts.
        mixed = self._mix(tokens, chosen, weights * self.alpha.to(weights.dtype))
        return shared + rearrange(mixed, f"{order} -> n l d", n=x.shape[0])

    def route(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Experts int64 [M, K] and their weights [M, K] for tokens [M, width], the largest first."""
        logits = self.gate(tokens)
        if self.training and self.config.noise:
            logits = logits + self.config.noise * torch.randn_like(logits)
        weights, chosen = (logits / self.config.temperature).softmax(dim=-1).topk(self.config.top_k, dim=-1)
        if self.config.legacy_dispatch:
            chosen = rearrange(chosen.flatten(), "(k m) -> m k", k=self.config.top_k)
        return chosen, weights

    def _mix(self, tokens: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Σ_k weights[m, k] · expert(chosen[m, k])(tokens[m]), [M, width]."""
        weights = weights.to(tokens.dtype)
        share = tokens.new_zeros(tokens.shape[0], self.config.experts).scatter_add(
            1, chosen, weights
        )  # [M, E]
        bias = share @ self.fc2_bias.to(tokens.dtype)
        if _can_group(tokens):
            return bias + self._sparse(tokens, chosen, weights)
        return bias + self._dense(tokens, share)

    def _sparse(self, tokens: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Experts without their last bias, computed for the tokens that chose them."""
        flat = chosen.flatten()
        order = flat.to(torch.uint8).argsort(stable=True)  # pairs of token and slot, expert by expert
        places = torch.empty_like(order).scatter_(0, order, torch.arange(order.shape[0], device=order.device))
        owner, places = order // chosen.shape[1], places.view_as(chosen)
        member = F.one_hot(flat, self.config.experts)
        ends = member.sum(dim=0).cumsum(dim=0).to(torch.int32)
        first = _grouped(_spread(tokens, owner, places), self.fc1_weight.to(tokens.dtype), ends)
        # The bias as a product, so that its gradient is a product instead of colliding additions.
        first = first + member[order].to(tokens.dtype) @ self.fc1_bias.to(tokens.dtype)
        hidden = F.gelu(first) * _spread(weights.reshape(-1, 1), order, places.view(-1, 1))
        return _collect(_grouped(hidden, self.fc2_weight.to(tokens.dtype), ends), owner, places)

    def _dense(self, tokens: Tensor, share: Tensor) -> Tensor:
        """The same as `_sparse`, computed for all tokens and experts."""
        kind = tokens.dtype
        first = F.linear(tokens, self.fc1_weight.to(kind).flatten(0, 1), self.fc1_bias.to(kind).flatten())
        hidden = rearrange(F.gelu(first), "m (e h) -> m e h", e=self.config.experts) * share.unsqueeze(2)
        last = rearrange(self.fc2_weight.to(kind), "e d h -> (e h) d")
        return rearrange(hidden, "m e h -> m (e h)") @ last


class _Spread(torch.autograd.Function):
    """Token of each row, [M, D] → [M · K, D]; the adjoint of `_Collect`."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, owner: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(owner, places)
        return tokens.index_select(0, owner)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _collect(grad, *ctx.saved_tensors), None, None


class _Collect(torch.autograd.Function):
    """Sum of each token's K rows, [M · K, D] → [M, D]; a gather, so that results are reproducible bit by bit."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, owner: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(owner, places)
        return rows.index_select(0, places.flatten()).view(*places.shape, -1).sum(dim=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _spread(grad, *ctx.saved_tensors), None, None


def _spread(tokens: Tensor, owner: Tensor, places: Tensor) -> Tensor:
    rows: Tensor = _Spread.apply(tokens, owner, places)  # type: ignore[no-untyped-call]
    return rows


def _collect(rows: Tensor, owner: Tensor, places: Tensor) -> Tensor:
    tokens: Tensor = _Collect.apply(rows, owner, places)  # type: ignore[no-untyped-call]
    return tokens


def _can_group(tokens: Tensor) -> bool:
    """Whether products of unequal size neither wait for the device nor break a traced graph."""
    if tokens.device.type == "cpu" and not torch.compiler.is_compiling():
        return True
    if _grouped_mm is None or tokens.dtype != torch.bfloat16:  # the type of its traceable form
        return False
    return tokens.device.type == "cpu" or (tokens.is_cuda and torch.cuda.get_device_capability() >= (8, 0))


def _grouped(rows: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Product of the rows of expert e, which end at ends[e], with the transpose of weight[e]."""
    if _grouped_mm is not None:
        product: Tensor = _grouped_mm(rows, weight.transpose(1, 2), offs=ends)
        return product
    sizes = ends.diff(prepend=ends.new_zeros(1)).tolist()
    parts = torch.split(rows, sizes)
    return torch.cat([F.linear(part, matrix) for part, matrix in zip(parts, weight, strict=True)])


class _QuickGELU(nn.Module):
    """x · sigmoid(1.702 x), the activation of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "quick_gelu": _QuickGELU}
