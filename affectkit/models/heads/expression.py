"""Which expression is shown."""

from __future__ import annotations

from torch import Tensor

from affectkit.models.heads.base import Head, register

__all__ = ["ExpressionHead"]


@register("head", "expression")
class ExpressionHead(Head):
    """One logit for each of several exclusive expressions: p = softmax(logits).

    Args:
        in_features: Width of what it reads.
        space: An `ExpressionSet`, or its name: "basic7", "happiness,sadness".
        per_frame: Answer for every frame instead of once a clip.
        dropout: Probability, before each linear layer.
        hidden: Width of a hidden layer with GELU; none by default.
        target: Name of the annotation it learns from, where it is not the usual one.

    Example:
        >>> import torch
        >>> head = ExpressionHead(512, "basic7")
        >>> head.predict(head(torch.zeros(3, 512))).sum(-1).detach().round(decimals=4)
        tensor([1., 1., 1.])
    """

    target = "expression"
    kind = "categories"
    values = "probability"
    meaning = "probability of each class; they sum to 1"

    def predict(self, logits: Tensor) -> Tensor:
        """The probability of each expression.

        Args:
            logits: [..., E].

        Returns:
            float32 [..., E] in [0, 1], summing to 1 over E.
        """
        return self.scaled(logits).softmax(-1)

    def evidence(self, logits: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Logits beside truth, for a temperature.

        Args:
            logits: [N, E].
            value: [N], class indices.

        Returns:
            The same.
        """
        return logits, value
