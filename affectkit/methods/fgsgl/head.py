"""Head for classes that are described by a category prompt and by the course of the movement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from einops import einsum
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import PROCESS_PARTS, LabelSpace
from affectkit.methods.fgsgl.attention import CategoryAttention, FineAttention
from affectkit.methods.fgsgl.bridge import PARTS, split_prototypes
from affectkit.models.features import Features
from affectkit.models.heads import ExpressionHead
from affectkit.models.registry import build, register

__all__ = ["ProcessHead", "ProcessOutputs", "Scores"]

_LOWEST_TEMPERATURE = 0.01
Scores = Literal["both", "category", "fine"]


@dataclass(frozen=True, slots=True)
class ProcessOutputs:
    """Outputs of a `ProcessHead` for a batch, for losses and figures; P is the number of parts that are used.

    Args:
        category: Scores by category [B, C], or None.
        fine: Scores by each part of the text [B, P, C], or None.
        clips: Clip vectors [B, D] that were compared with categories, or None.
        parts: Vectors [B, P, D] that were compared with sentences, or None.
        attention: [B, P, T, N] of the parts to the places of the clip, with sum 1, or None.
    """

    category: Tensor | None
    fine: Tensor | None
    clips: Tensor | None
    parts: Tensor | None
    attention: Tensor | None


@register("head", "process")
class ProcessHead(ExpressionHead):
    r"""Exclusive classes by two levels of texts, :math:`z = z^{cat} + \eta \sum_d w_d s_d`, p = softmax(z).

    :math:`z^{cat}_c = \cos(h', p_c) / \tau` compares the whole clip with category prompts (CP-A, see
    `CategoryAttention`), and :math:`s_{dc} = \cos(u_d, e_{cd}) / \tau` compares what a query found in middle features
    with a sentence on part d of the movement (FG-SA, see `FineAttention`). τ and w, a softmax, are learned.

    Features need tokens, those of a middle block (`token_block` of the backbone). Prototypes are made by a
    `ProcessBridge`. For new classes, see `by_prototypes`, the sentences alone decide.

    Args:
        in_features: Width D of clips and tokens.
        space: The classes, or their name.
        scores: Use the scores of both levels, or of one.
        dimensions: Parts of the text that are used; all of `PROCESS_PARTS` by default.
        eta: η.
        attention_heads: Heads of both attentions.
        keep: Share of the tokens that FG-SA reads: those with the largest motion.
        motion: Whether FG-SA adds the change to the next frame to its tokens.
        gate: Initial weight of the categories in CP-A.
        target: Name of the annotation to compare with.

    Attributes:
        prototypes: float [C, 5 D], a buffer.

    Raises:
        ConfigError: An argument is out of range.

    Example:
        >>> head = ProcessHead(16, "basic7", attention_heads=2)
        >>> clips = Features(torch.randn(2, 16), tokens=torch.randn(2, 3, 4, 16))
        >>> head(clips, torch.randn(7, 80)).shape
        torch.Size([2, 7])

    References:
        FG-SGL, arXiv 2603.16269. Details that its abstract does not give are our own design; see the documentation.
    """

    uses_prototypes = True
    answers_by = "texts on category and course"
    meaning = "probability of each class, by its texts; they sum to 1"

    def __init__(
        self,
        in_features: int,
        space: str | LabelSpace,
        *,
        scores: Scores = "both",
        dimensions: Sequence[str] = PROCESS_PARTS,
        eta: float = 1.0,
        attention_heads: int = 8,
        keep: float = 0.25,
        motion: bool = True,
        gate: float = 0.1,
        target: str | None = None,
    ) -> None:
        super().__init__(in_features, space, target=target)
        if not dimensions or not set(dimensions) <= set(PROCESS_PARTS) or eta <= 0:
            raise ConfigError(
                f"dimensions={list(dimensions)} must be among {', '.join(PROCESS_PARTS)}, and eta={eta} positive."
            )
        del self.body, self.out
        self.width = (1 + PARTS) * in_features
        self.parts = [number for number, part in enumerate(PROCESS_PARTS) if part in dimensions]
        self.scores, self.eta = scores, eta
        self.category = (
            CategoryAttention(in_features, heads=attention_heads, gate=gate) if scores != "fine" else None
        )
        self.fine: FineAttention | None = None
        self.part_weights: nn.Parameter | None = None
        if scores != "category":
            self.fine = FineAttention(
                in_features, len(self.parts), heads=attention_heads, keep=keep, motion=motion
            )
            self.part_weights = nn.Parameter(torch.zeros(len(self.parts)))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(0.07)))
        self.register_buffer("prototypes", torch.zeros(len(self.space), self.width))
        self.arguments: dict[str, Any] = {
            "space": self.space.name,
            "scores": scores,
            "dimensions": list(dimensions),
            "eta": eta,
            "attention_heads": attention_heads,
            "keep": keep,
            "motion": motion,
            "gate": gate,
            **({} if target is None else {"target": target}),
        }

    @property
    def tau(self) -> Tensor:
        """τ, a scalar of at least 0.01."""
        return self.log_temperature.exp().clamp(min=_LOWEST_TEMPERATURE)

    def texts(self, prototypes: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of categories [C, D] and of the sentences of the parts that are used [C, P, D], float32."""
        categories, sentences = split_prototypes(prototypes.float())
        return F.normalize(categories, dim=-1), F.normalize(sentences[:, self.parts], dim=-1)

    def outputs(self, features: Features, prototypes: Tensor | None = None) -> ProcessOutputs:
        """Compute all outputs.

        Args:
            features: With `tokens` [B, T, N, D] unless `scores` is "category"; N must be a square number.
            prototypes: [C, 5 D]; the head's own by default.

        Raises:
            ValueError: The backbone gives no tokens, they have another width, or they do not form a square.
        """
        categories, sentences = self.texts(self.prototypes if prototypes is None else prototypes)
        category: Tensor | None = None
        fine: Tensor | None = None
        clips: Tensor | None = None
        parts: Tensor | None = None
        attention: Tensor | None = None
        with torch.autocast(sentences.device.type, enabled=False):
            if self.category is not None:
                clips = F.normalize(self.category(features.pooled.float(), categories), dim=-1)
                category = clips @ categories.T / self.tau
                if self.fine is None and features.tokens is not None:
                    category = category + _kept(features.tokens)
            if self.fine is not None:
                found, attention = self.fine(self._tokens(features).float(), features.frame_mask)
                parts = F.normalize(found, dim=-1)
                fine = einsum(parts, sentences, "b p d, c p d -> b p c") / self.tau
                if category is None:
                    fine = fine + _kept(categories, features.pooled)
        return ProcessOutputs(category, fine, clips, parts, attention)

    def _tokens(self, features: Features) -> Tensor:
        if features.tokens is None or features.tokens.shape[-1] != self.in_features:
            raise ValueError(
                f"A head of processes needs tokens of {self.in_features} features: give the backbone `tokens: true` "
                "and `token_block`."
            )
        return features.tokens

    def mixed(self, fine: Tensor) -> Tensor:
        """Weighted mean [B, C] of the scores [B, P, C] of the parts."""
        if self.part_weights is None:
            raise ConfigError("This head uses categories only.")
        return einsum(self.part_weights.softmax(dim=0), fine, "p, b p c -> b c")

    def fuse(self, category: Tensor | None, fine: Tensor | None) -> Tensor:
        """Logits z [B, C] of the scores by category [B, C] and by parts [B, P, C]; None for those that are not used."""
        if category is None or fine is None:
            return category if fine is None else self.mixed(fine)  # type: ignore[return-value]  # one is given
        return category + self.eta * self.mixed(fine)

    def forward(self, features: Features | Tensor, prototypes: Tensor | None = None) -> Tensor:
        """Logits [B, C] of `Features` with tokens; see `outputs`.

        Raises:
            ValueError: There are no tokens, or `features` is a plain tensor.
        """
        if not isinstance(features, Features):
            raise ValueError("A head of processes needs Features with `tokens`.")
        found = self.outputs(features, prototypes)
        return self.fuse(found.category, found.fine).to(self.prototypes.dtype)

    def by_prototypes(self, space: LabelSpace | None = None, prototypes: Tensor | None = None) -> Self:
        """See `Head`; the sentences alone decide, as categories mean little for classes that were not trained.

        Raises:
            ConfigError: The head uses categories only.
        """
        if self.fine is None:
            raise ConfigError(
                "A head of categories cannot predict by sentences.",
                remedy="Train one with `scores: both` or `fine`.",
            )
        space = self.space if space is None else space
        arguments = {**self.config, "space": space.name, "scores": "fine"}
        head: Self = build("head", arguments, in_features=self.in_features)
        head.to(self.prototypes)
        own = {k: v for k, v in self.state_dict().items() if not k.startswith(("category.", "prototypes"))}
        head.load_state_dict({**own, "prototypes": self.prototypes if prototypes is None else prototypes})
        return head.train(self.training)

    @torch.no_grad()
    def start_queries(self, prototypes: Tensor) -> None:
        """Set each query to the mean of the sentences of its part over all classes, given prototypes [C, 5 D]."""
        if self.fine is not None:
            self.fine.queries.copy_(self.texts(prototypes)[1].mean(dim=0))


def _kept(*unused: Tensor) -> Tensor:
    """Zero with a gradient to unused tensors: training on several processes needs every parameter in the graph."""
    return torch.stack([0.0 * one.float().sum() for one in unused]).sum()
