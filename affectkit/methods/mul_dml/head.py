"""Heads with an embedding of slices, whose labels are read off by a linear layer, neighbours or prototypes."""

from __future__ import annotations

from math import sqrt
from typing import Literal, get_args

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import LabelSpace
from affectkit.models.features import Features
from affectkit.models.heads import AUHead, ExpressionHead, Head
from affectkit.models.registry import register

__all__ = ["Classifier", "MetricAUHead", "MetricExpressionHead", "MetricHead"]

Classifier = Literal["linear", "knn", "prototype"]
_DOUBT = 1e-3  # of a vote, so that log odds are finite; all of it without any reference


class MetricHead(Head):
    r"""Base of heads that embed a face in N slices of unit length, trained by `MultiThresholdTriplet`.

    A linear layer maps features to G groups of N slices: one group for expressions, one for each action unit. Slice n
    is :math:`z_n = x_n / |x_n|`, and the vector of a group the concatenation of its slices, divided by
    :math:`\sqrt N`.

    Labels are read off these vectors by a linear layer, in training always. In evaluation, `knn` and `prototype`
    compare them with references, embeddings of training clips, which the task stores at each validation:

    - `knn`: vote of the k nearest references, weighted by :math:`e^{\cos / \tau}`;
    - `prototype`: :math:`\cos / \tau` to the mean reference of each class; for units, to the mean of those that show
      the unit minus to the mean of those that do not.

    Args:
        in_features: Width of the features.
        space: Label space, or its name.
        slices: Number of slices N of each group.
        slice_width: Width of a slice.
        classifier: How labels are read off in evaluation.
        references: Number of references that are stored for `knn` and `prototype`.
        neighbours: k.
        sharpness: τ, positive.
        per_frame: See `Head`.
        dropout: Probability, before the embedding.
        target: See `Head`.

    Attributes:
        groups: Number of groups G.
        outcomes: Number of classes that a group tells apart; 2 for the states of a unit.

    Raises:
        ConfigError: The classifier is unknown, or a number is not positive.

    References:
        W. Yang et al., "Multi-threshold deep metric learning for facial expression recognition", Pattern Recognition,
        2024, arXiv 2406.16434. The width, the classifiers and the use for action units are our own.
    """

    references: Tensor
    reference_values: Tensor
    reference_mask: Tensor

    def __init__(
        self,
        in_features: int,
        space: str | LabelSpace,
        *,
        slices: int = 16,
        slice_width: int = 32,
        classifier: Classifier = "linear",
        references: int = 256,
        neighbours: int = 10,
        sharpness: float = 0.1,
        per_frame: bool = False,
        dropout: float = 0.0,
        target: str | None = None,
    ) -> None:
        super().__init__(in_features, space, per_frame=per_frame, dropout=dropout, target=target)
        if classifier not in get_args(Classifier):
            raise ConfigError(
                f"Unknown classifier {classifier!r}.", remedy=f"Known: {', '.join(get_args(Classifier))}."
            )
        if min(slices, slice_width, references, neighbours, sharpness) <= 0:
            raise ConfigError("slices, slice_width, references, neighbours and sharpness must be positive.")
        del self.out
        self.classifier = classifier
        self.neighbours = neighbours
        self.sharpness = sharpness
        self.slices = slices
        single = self.space.indexed
        labels, self.groups = len(self.space), 1 if single else len(self.space)
        self.outcomes = labels if single else 2
        width = slices * slice_width
        self.embedding = nn.Linear(in_features, self.groups * width)
        self.weight = nn.Parameter(torch.empty(labels, width).uniform_(-(width**-0.5), width**-0.5))
        self.bias = nn.Parameter(torch.zeros(labels))
        if classifier != "linear":
            self.answers_by = "nearest references" if classifier == "knn" else "prototypes"
            self.register_buffer("references", torch.zeros(references, self.groups, width))
            self.register_buffer("reference_values", torch.zeros(references, labels))
            self.register_buffer("reference_mask", torch.zeros(references, labels, dtype=torch.bool))
        self.arguments = {
            "space": self.space.name,
            "slices": slices,
            "slice_width": slice_width,
            "classifier": classifier,
            "references": references,
            "neighbours": neighbours,
            "sharpness": sharpness,
            "per_frame": per_frame,
            "dropout": dropout,
            **({} if target is None else {"target": target}),
        }

    def embed(self, features: Features | Tensor) -> Tensor:
        """Slices of unit length, [B, G, N, D], or [B, T, G, N, D] per frame; [..., G, N, D] for a tensor."""
        rows = self.embedding(self.body(self.read(features)))
        slices = rearrange(rows, "... (g n d) -> ... g n d", g=self.groups, n=self.slices)
        return F.normalize(slices.float(), dim=-1).to(rows.dtype)

    def vectors(self, embeddings: Tensor) -> Tensor:
        """Vectors of unit length [..., G, N D] from slices [..., G, N, D]."""
        return embeddings.flatten(-2) / sqrt(self.slices)

    def classify(self, embeddings: Tensor) -> Tensor:
        """Logits [..., labels] from slices [..., G, N, D], in training by the linear layer."""
        vectors = self.vectors(embeddings)
        logits: Tensor
        if self.training or self.classifier == "linear":
            # Entries of the vectors get the size of those of a layer norm.
            scaled = vectors * self.weight.shape[1] ** 0.5
            logits = einsum(self._by_label(scaled), self.weight, "... l d, l d -> ... l") + self.bias
            return logits
        with torch.autocast(embeddings.device.type, enabled=False):
            given, references = self._by_label(vectors.float()), self._by_label(self.references.float())
            if self.classifier == "knn":
                logits = self._by_votes(given, references)
            else:
                logits = self._by_means(given, references)
        return logits.to(self.weight.dtype)

    def forward(self, features: Features | Tensor) -> Tensor:
        """See `Head.forward`."""
        return self.classify(self.embed(features))

    def _by_label(self, vectors: Tensor) -> Tensor:
        """Vectors [..., labels, D] from [..., G, D]."""
        return vectors.expand(*vectors.shape[:-2], len(self.space), -1)

    def _by_votes(self, given: Tensor, references: Tensor) -> Tensor:
        """Logits [..., labels] from the nearest of the references [M, labels, D]."""
        scores = einsum(given, references, "... l d, m l d -> ... l m") / self.sharpness
        scores = scores.masked_fill(~self.reference_mask.T, torch.finfo(scores.dtype).min)
        best = scores.topk(min(self.neighbours, scores.shape[-1]), dim=-1)
        known = self._chosen(self.reference_mask.float(), best.indices)
        weights = best.values.softmax(-1) * known
        votes = (weights * self._chosen(self.reference_values.float(), best.indices)).sum(-1)
        share = (votes + _DOUBT) / (weights.sum(-1) + self.outcomes * _DOUBT)
        return share.log() if self.space.indexed else share.logit()

    def _chosen(self, values: Tensor, indices: Tensor) -> Tensor:
        """Values [..., labels, k] of the references [..., labels, k] from those of all, [M, labels]."""
        everyone = values.T.expand(*indices.shape[:-1], -1)
        return everyone.gather(-1, indices)

    def _by_means(self, given: Tensor, references: Tensor) -> Tensor:
        """Logits [..., labels] from the means of the references [M, labels, D]."""
        shown = self.reference_values.float() * self.reference_mask
        logits = self._similarity(given, references, shown)
        if not self.space.indexed:
            logits = logits - self._similarity(given, references, self.reference_mask.float() - shown)
        return logits / self.sharpness

    def _similarity(self, given: Tensor, references: Tensor, weights: Tensor) -> Tensor:
        """Cosine [..., labels] to the weighted means of the references."""
        means = F.normalize(einsum(references, weights, "m l d, m l -> l d"), dim=-1)
        return einsum(given, means, "... l d, l d -> ... l")

    def set_references(self, embeddings: Tensor, value: Tensor, mask: Tensor) -> None:
        """Store references, the first ones if there are too many.

        Args:
            embeddings: [M, G, N, D].
            value: float [M, labels], 1 for the class of a clip or its active units, and 0.
            mask: bool [M, labels], True for annotated entries.
        """
        count = len(self.references)
        for buffer, given in (
            (self.references, self.vectors(embeddings)),
            (self.reference_values, value),
            (self.reference_mask, mask),
        ):
            buffer.zero_()
            buffer[: len(given[:count])] = given[:count]


@register("head", "metric_expression")
class MetricExpressionHead(MetricHead, ExpressionHead):
    """Exclusive expression classes from an embedding of slices; see `MetricHead`.

    Example:
        >>> head = MetricExpressionHead(64, "basic7", slices=4, slice_width=8)
        >>> head.embed(torch.zeros(3, 64)).shape, head(torch.zeros(3, 64)).shape
        (torch.Size([3, 1, 4, 8]), torch.Size([3, 7]))
    """


@register("head", "metric_au")
class MetricAUHead(MetricHead, AUHead):
    """Occurrence of action units, each from slices of its own; see `MetricHead`.

    Example:
        >>> head = MetricAUHead(64, "AU4,AU12", slices=4, slice_width=8)
        >>> head.embed(torch.zeros(3, 64)).shape, head(torch.zeros(3, 64)).shape
        (torch.Size([3, 2, 4, 8]), torch.Size([3, 2]))
    """
