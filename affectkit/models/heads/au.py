"""Which action units are present."""

from __future__ import annotations

from torch import Tensor

from affectkit.models.heads.base import Head, register

__all__ = ["AUHead"]


@register("head", "au")
class AUHead(Head):
    """One logit for each action unit, independent of the others: p = sigmoid(logit).

    Args:
        in_features: Width of what it reads.
        space: An `AUSet`, or its name: "bp4d12", "AU1,AU12".
        per_frame: Answer for every frame instead of once a clip.
        dropout: Probability, before each linear layer.
        hidden: Width of a hidden layer with GELU; none by default.
        target: Name of the annotation it learns from, where it is not the usual one.

    Example:
        >>> import torch
        >>> head = AUHead(512, "AU1,AU12")
        >>> head.labels, head.predict(head(torch.zeros(3, 512))).shape
        (('AU1', 'AU12'), torch.Size([3, 2]))
    """

    target = "au"
    kind = "occurrence"
    values = "probability"
    meaning = "probability of each unit"
    thresholded = True

    def predict(self, logits: Tensor) -> Tensor:
        """The probability of each unit.

        Args:
            logits: [..., A].

        Returns:
            float32 [..., A] in [0, 1].
        """
        return self.scaled(logits).sigmoid()

    def evidence(self, logits: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Logits beside truth, for a temperature.

        Args:
            logits: [N].
            value: [N], occurrence.

        Returns:
            The same.
        """
        return logits, value
