"""Head of FEALLM: action units from the slots of a language model, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from einops import rearrange
from torch import Tensor

from affectkit.facs import AUSet, ExpressionSet, LabelSpace
from affectkit.losses import LossTerm
from affectkit.methods.feallm.answers import Answer
from affectkit.methods.feallm.reader import AnswerReader
from affectkit.models.features import Features, masked_mean
from affectkit.models.heads import AUHead
from affectkit.models.registry import register

__all__ = ["FEALLMHead"]


@register("head", "feallm")
class FEALLMHead(AUHead):
    """Occurrence of action units, one logit for each unit and clip, read by a language model from visual tokens.

    The head also describes a face: the active units, by its thresholds, are listed in an answer that the language model
    completes with an expression and a reason, see `AnswerReader`. Visual tokens are means over the real frames of a
    clip.

    Args:
        in_features: Width P of the visual tokens.
        space: The units, or their name.
        expressions: Classes that sentences name, or their name.
        language: Arguments of `affectkit.models.language.LanguageSettings`.
        target: Name of the annotation to learn from.

    Raises:
        LabelSpaceError: A label space is unknown.
        ConfigError: As for `AnswerReader`.
        MissingDependencyError: A package of the extra `llm` is not installed.
        WeightsError: The weights of the language model are not available.

    Example:
        >>> import torch
        >>> head = FEALLMHead(8, "AU4,AU12", language={"name": "tiny"})
        >>> features = Features(torch.zeros(2, 8), tokens=torch.zeros(2, 1, 5, 8))
        >>> logits = head(features)
        >>> logits.shape, len(head.describe(features, logits))
        (torch.Size([2, 2]), 2)

    References:
        FEALLM, arXiv 2505.13419. Only its figures and summaries were available; see the documentation.
    """

    meaning = "probability of each unit, for a clip"
    answers_by = "language model"
    describes = True

    def __init__(
        self,
        in_features: int,
        space: str | LabelSpace,
        *,
        expressions: str = "basic7",
        language: dict[str, Any] | None = None,
        target: str = "au",
    ) -> None:
        super().__init__(in_features, space)
        del self.body, self.out
        self.target = target
        self.units = cast("AUSet", self.space)  # a space of kind occurrence is an AUSet
        self.expressions = ExpressionSet.parse(expressions)
        given: Mapping[str, Any] = {"name": "tiny"} if language is None else language
        self.reader = AnswerReader(given, self.units, self.expressions, in_features)
        self.arguments = {
            "space": self.space.name,
            "expressions": expressions,
            "language": self.reader.settings,
            "target": target,
        }

    def visual(self, features: Features | Tensor) -> Tensor:
        """Visual tokens [B, N, P] of features.

        Raises:
            ValueError: There are no tokens, or `features` is a plain tensor.
        """
        if not isinstance(features, Features) or features.tokens is None:
            raise ValueError("This head reads visual tokens: use the backbone FEALLMBackbone.")
        flat = masked_mean(features.tokens.flatten(2), features.frame_mask)
        return rearrange(flat, "b (n d) -> b n d", d=features.tokens.shape[-1])

    def forward(self, features: Features | Tensor) -> Tensor:
        """Logits [B, A] of `Features` with tokens; see `visual`."""
        logits: Tensor = self.reader(self.visual(features))
        return logits

    def learn(self, features: Features, answers: Sequence[Answer | None]) -> tuple[Tensor, LossTerm]:
        """Logits [B, A] and the loss of answers, in one pass; see `AnswerReader.learn`."""
        return self.reader.learn(self.visual(features), answers)

    def active(self, logits: Tensor) -> Tensor:
        """Units at or above their thresholds, bool [B, A]."""
        return self.predict(logits) >= logits.new_tensor(self.thresholds).float()

    def answer(self, features: Features, logits: Tensor) -> list[Answer]:
        """Answers for B clips: active units, with expression and reason."""
        rows = self.active(logits).tolist()
        units = [[unit for unit, on in zip(self.units, row, strict=True) if on] for row in rows]
        return self.reader.complete(self.visual(features), units)

    def describe(self, features: Features, logits: Tensor) -> list[str]:
        """See `Head`."""
        return [answer.text for answer in self.answer(features, logits)]
