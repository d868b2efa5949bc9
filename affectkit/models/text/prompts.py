"""Prompts with learned context vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import repeat
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models.text.tower import TextTower

__all__ = ["PromptLearner", "encode_prompts"]


class PromptLearner(nn.Module):
    """Learned context vectors before the words of each class.

    A prompt is [start][v_1 … v_n][words of the class][end]. The v are parameters in the space of token embeddings,
    initially N(0, 0.02²); the rest is fixed.

    Args:
        texts: The words of each class.
        tower: Source of the token embeddings; not kept. Without token embedding, the fixed parts are NaN until saved
            ones are loaded.
        n_ctx: Number of context vectors.
        class_specific: Whether each class has its own context.

    Attributes:
        texts: The words of each class.
        ctx: [n, n_ctx, W], or [n_ctx, W] for a shared context.
        prefix: [n, 1, W], the start token, a buffer.
        suffix: [n, 77 - 1 - n_ctx, W], words, end and padding, a buffer.
        eot: int64 [n], position of the end of each prompt, a buffer.

    Raises:
        ConfigError: There is no text or no context vector, or a prompt is too long.

    Example:
        >>> tower = TextTower("affectkit-tiny")
        >>> prompts = PromptLearner(["happiness", "sadness, brow lowerer"], tower, n_ctx=4)
        >>> embeddings, eot = prompts()
        >>> tuple(embeddings.shape), eot.tolist()
        ((2, 12, 64), [6, 11])

    References:
        K. Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022 (CoOp).
    """

    prefix: Tensor
    suffix: Tensor
    eot: Tensor

    def __init__(
        self,
        texts: Sequence[str],
        tower: TextTower,
        *,
        n_ctx: int = 8,
        class_specific: bool = True,
    ) -> None:
        super().__init__()
        if not texts or n_ctx < 1:
            raise ConfigError(f"Prompts need at least one text and one context vector, not {n_ctx}.")
        self.texts = tuple(texts)
        self.n_ctx, self.class_specific = n_ctx, class_specific
        # Placeholders reserve the context's positions in the tokens.
        tokens = tower.tokenize([" ".join(["X"] * n_ctx) + " " + text for text in texts])
        if tower.token_embedding is None:
            fixed = tower.positional_embedding.new_full((*tokens.shape, tower.width), torch.nan)
        else:
            fixed = tower.embed_tokens(tokens)
        shape = (len(texts), n_ctx, tower.width) if class_specific else (n_ctx, tower.width)
        self.ctx = nn.Parameter(torch.empty(shape, device=fixed.device).normal_(std=0.02))
        self.register_buffer("prefix", fixed[:, :1].clone())
        self.register_buffer("suffix", fixed[:, 1 + n_ctx :].clone())
        self.register_buffer("eot", tokens.argmax(dim=-1).to(fixed.device))
        self.length = int(tokens.argmax(dim=-1).max()) + 1  # of the longest prompt; not on the device

    def forward(self) -> tuple[Tensor, Tensor]:
        """Embeddings [n, L, W], cut to the longest prompt, and end positions int64 [n], for `TextTower.forward`."""
        context = self.ctx if self.class_specific else repeat(self.ctx, "c w -> n c w", n=len(self.texts))
        words = self.suffix[:, : self.length - 1 - self.n_ctx]
        return torch.cat([self.prefix, context, words], dim=1), self.eot

    @torch.no_grad()
    def for_texts(self, texts: Sequence[str], tower: TextTower) -> PromptLearner:
        """Prompts of other classes, with the mean of the learned contexts.

        Args:
            texts: The words of each new class.
            tower: The text tower of these prompts.

        Raises:
            ConfigError: A prompt is too long.
            WeightsError: The tower's token embedding was not kept.
        """
        tower.embed_tokens(torch.zeros(0, dtype=torch.long))  # new texts need the token embedding
        other = PromptLearner(texts, tower, n_ctx=self.n_ctx, class_specific=self.class_specific)
        other.ctx.copy_(self.ctx.mean(dim=0) if self.class_specific else self.ctx)
        return other


def encode_prompts(tower: TextTower, learners: Sequence[PromptLearner]) -> list[Tensor]:
    """Encode several sets of prompts to unit vectors, in one pass cut to the longest prompt.

    Args:
        tower: The text tower that all sets were made with.
        learners: The sets.

    Returns:
        For each set, [n_k, D], L2-normalised, with gradients to the contexts.

    Example:
        >>> tower = TextTower("affectkit-tiny")
        >>> units = PromptLearner(["dimpler", "jaw drop", "lips part"], tower)
        >>> emotions = PromptLearner(["fear", "surprise, jaw drop"], tower)
        >>> [tuple(vectors.shape) for vectors in encode_prompts(tower, [units, emotions])]
        [(3, 64), (2, 64)]
    """
    longest = max(learner.length for learner in learners)
    prompts = [learner() for learner in learners]
    # The tower ignores values after the end of a prompt, so any padding will do.
    padded = [F.pad(embeddings, (0, 0, 0, longest - embeddings.shape[1])) for embeddings, _ in prompts]
    vectors = F.normalize(tower(torch.cat(padded), torch.cat([eot for _, eot in prompts])), dim=-1)
    return list(torch.split(vectors, [len(learner.texts) for learner in learners]))
