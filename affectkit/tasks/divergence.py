"""Detection of diverged training: losses and weights that are no longer finite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from affectkit.errors import DivergenceError

__all__ = ["DivergenceWatch"]

_NEVER = torch.iinfo(torch.int64).max


class DivergenceWatch:
    """Record of the first step at which each loss was not finite.

    `note` does not wait for the device; only `check` does. A loss that is not finite stops training once a weight is
    not finite either, because a step that a gradient scaler skips does no harm.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._first: Tensor | None = None

    def note(self, losses: Mapping[str, Tensor], step: int) -> None:
        """Record the losses of one step: scalars by name, the same names at every step."""
        finite = torch.stack([loss.detach() for loss in losses.values()]).isfinite()
        steps = torch.where(finite, _NEVER, step)
        self._names = list(losses)
        self._first = steps if self._first is None else torch.minimum(self._first, steps)

    def check(self, weights: Iterable[tuple[str, nn.Parameter]], *, always: bool) -> None:
        """Stop all processes if training has diverged.

        Args:
            weights: Parameters by name.
            always: Check the weights even if all losses were finite.

        Raises:
            DivergenceError: A weight is not finite. The error names the first loss that was not finite and its step,
                or else the weight.
        """
        steps = [] if self._first is None else _minimum(self._first).tolist()
        step = min(steps, default=_NEVER)
        if step == _NEVER and not always:
            return
        trained = [(name, weight.detach()) for name, weight in weights if weight.is_floating_point()]
        finite = torch.stack([weight.isfinite().all() for _, weight in trained])
        if _minimum(finite.all().long()).item():
            return
        if step == _NEVER:
            broken = [
                name for (name, _), is_finite in zip(trained, finite.tolist(), strict=True) if not is_finite
            ]
            fault = f"the weight '{broken[0] if broken else ''}' is not finite."
        else:
            fault = f"the loss '{self._names[steps.index(step)]}' is not finite at step {step}."
        raise DivergenceError(
            f"Training has diverged: {fault}",
            remedy="Lower the learning rate (model.lr), clip gradients (trainer.gradient_clip_val: 1.0), or train with "
            "trainer.precision: bf16-mixed or 32-true.",
        )


def _minimum(value: Tensor) -> Tensor:
    """Reduce to the minimum over all processes."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(value, op=dist.ReduceOp.MIN)
    return value
