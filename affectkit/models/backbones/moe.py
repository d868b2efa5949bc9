"""Feed-forward networks with routed experts, computed for the chosen tokens only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError

__all__ = ["MoEConfig", "MoEFeedForward"]

_grouped_mm: Any = getattr(F, "grouped_mm", None)  # since torch 2.10


@dataclass(frozen=True, slots=True)
class MoEConfig:
    """Which blocks have experts, and how those work.

    Args:
        last: How many of the last blocks.
        experts: Experts E beside the shared one.
        hidden: Hidden width of an expert, a multiple of 8.
        top_k: Experts K that a token is sent to.
        alpha: Initial weight of the experts beside the shared network.
        noise: Deviation of the noise on the gate's logits while training.
        temperature: Of the gate's softmax.
        act: Activation of the shared network in these blocks: "gelu" (exact) or "quick_gelu".
        legacy_dispatch: Send tokens where the authors' released code sends them, see `MoEFeedForward`.

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> MoEConfig(last=2).experts
        4
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
            raise ConfigError(f"top_k is {self.top_k}, and there are {self.experts} experts.")
        if self.hidden < 8 or self.hidden % 8:
            raise ConfigError(f"The hidden width of experts must be a multiple of 8, not {self.hidden}.")
        if self.temperature <= 0 or self.noise < 0:
            raise ConfigError(
                f"Temperature {self.temperature} must be positive and noise {self.noise} not negative."
            )
        if self.act not in _ACTIVATIONS:
            raise ConfigError(
                f"There is no activation {self.act!r}.", remedy=f"Known: {', '.join(_ACTIVATIONS)}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MoEConfig:
        """From plain values; what is left out has its default.

        Raises:
            ConfigError: A key is unknown or a value is out of range.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ConfigError(
                f"Experts have no setting {', '.join(map(repr, unknown))}.",
                remedy=f"Known: {', '.join(known)}.",
            )
        return cls(**values)


class MoEFeedForward(nn.Module):
    """A shared feed-forward network and experts of which each token uses a few.

    For a token x, with gate g = softmax((W x + b + ε) / temperature) and experts e_1 … e_E,

        shared(x) + α · Σ_k g_k(x) · e_k(x)  over the K experts of largest g,

    where the g are not renormalised over the chosen ones and ε is noise while training. An expert is two
    linear layers around an exact GELU.

    Tokens are sorted by expert, so that each expert is one contiguous product, without dropping a token and
    without a loop over tokens. On CUDA nothing waits for the device: products of unequal size come from
    `torch.nn.functional.grouped_mm` where it can (bfloat16); elsewhere all experts of all tokens are computed,
    the unchosen ones with weight zero.

    With `legacy_dispatch`, tokens are numbered position by position ([L, N] in one call), and slot k of token
    n goes to the expert that token (k·M + n) // K chose in its slot (k·M + n) mod K, out of M tokens, with
    the weight of its own choice. Results then depend on the batch.

    Args:
        mlp: The feed-forward network of a CLIP block: `c_fc`, `gelu`, `c_proj`. Its layers become the shared
            network's, under the same names.
        config: Numbers and widths.

    Attributes:
        gate: Linear from tokens to experts.
        alpha: The learned weight α, a scalar.
        fc1_weight: [E, hidden, width], Xavier-uniform each.
        fc1_bias: [E, hidden], zeros at first.
        fc2_weight: [E, width, hidden], Xavier-uniform each.
        fc2_bias: [E, width], zeros at first.
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
        """Transform tokens.

        Args:
            x: [N, L, width], N pictures of L tokens.

        Returns:
            The same shape.
        """
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # once, for both branches
        shared: Tensor = self.c_proj(self.gelu(self.c_fc(x)))
        legacy = self.config.legacy_dispatch
        tokens = (x.transpose(0, 1) if legacy else x).flatten(0, 1)
        chosen, weights = self.route(tokens)
        # α weighs a few numbers a token here, and would weigh a whole vector after the experts.
        mixed = self._mix(tokens, chosen, weights * self.alpha.to(weights.dtype))
        if legacy:
            mixed = mixed.reshape(x.shape[1], x.shape[0], -1).transpose(0, 1)
            return shared + mixed
        return shared + mixed.view_as(shared)

    def route(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts.

        Args:
            tokens: [M, width].

        Returns:
            Experts int64 [M, K] and their weights [M, K], the largest first.
        """
        logits = self.gate(tokens)
        if self.training and self.config.noise:
            logits = logits + self.config.noise * torch.randn_like(logits)
        weights, chosen = (logits / self.config.temperature).softmax(dim=-1).topk(self.config.top_k, dim=-1)
        if self.config.legacy_dispatch:
            chosen = chosen.flatten().view(self.config.top_k, -1).T
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
        """The experts without their last bias, computed for the tokens that chose them."""
        flat = chosen.flatten()
        order = flat.to(torch.uint8).argsort(stable=True)  # pairs of token and slot, expert by expert
        places = torch.empty_like(order).scatter_(0, order, torch.arange(order.shape[0], device=order.device))
        owner, places = order // chosen.shape[1], places.view_as(chosen)
        member = F.one_hot(flat, self.config.experts)
        ends = member.sum(dim=0).cumsum(dim=0).to(torch.int32)
        first = _grouped(_spread(tokens, owner, places), self.fc1_weight.to(tokens.dtype), ends)
        # The bias as a product: its gradient is one as well, instead of additions that collide.
        first = first + member[order].to(tokens.dtype) @ self.fc1_bias.to(tokens.dtype)
        hidden = F.gelu(first) * _spread(weights.reshape(-1, 1), order, places.view(-1, 1))
        return _collect(_grouped(hidden, self.fc2_weight.to(tokens.dtype), ends), owner, places)

    def _dense(self, tokens: Tensor, share: Tensor) -> Tensor:
        """The same as `_sparse`, computed for all tokens and experts."""
        kind, (experts, width) = tokens.dtype, self.fc1_bias.shape
        first = F.linear(tokens, self.fc1_weight.to(kind).flatten(0, 1), self.fc1_bias.to(kind).flatten())
        hidden = F.gelu(first).view(-1, experts, width) * share.unsqueeze(2)
        return hidden.flatten(1) @ self.fc2_weight.to(kind).transpose(1, 2).flatten(0, 1)


class _Spread(torch.autograd.Function):
    """The token of each row, [M, D] → [M · K, D]; the adjoint of `_Collect`."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, owner: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(owner, places)
        return tokens.index_select(0, owner)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _collect(grad, *ctx.saved_tensors), None, None


class _Collect(torch.autograd.Function):
    """The sum of each token's K rows, [M · K, D] → [M, D]: gathered, so that it repeats bit by bit."""

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
    """Whether products of unequal size need no wait for the device, nor a break of a traced graph."""
    if tokens.device.type == "cpu" and not torch.compiler.is_compiling():
        return True
    if _grouped_mm is None or tokens.dtype != torch.bfloat16:  # which is what its traceable form takes
        return False
    return tokens.device.type == "cpu" or (tokens.is_cuda and torch.cuda.get_device_capability() >= (8, 0))


def _grouped(rows: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Rows of expert e, which end at ends[e], times the transpose of weight[e]."""
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
