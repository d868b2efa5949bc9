"""Frozen text tower of CLIP, and prompts with learned context vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

import torch
from einops import repeat
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError, WeightsError
from affectkit.models.clip import load_clip

__all__ = ["PromptLearner", "TextTower", "encode_prompts"]


class TextTower(nn.Module):
    """Text transformer of CLIP, frozen; gradients pass through it to learned prompts.

    Token embedding and transformer are separate, so that a prompt can combine words and learned vectors. Attention is
    causal: tokens after the end-of-text token do not change the result and can be dropped.

    Args:
        model_name: See `affectkit.models.clip.clip_config`.
        pretrained: Weight tag of open_clip, such as "openai".
        weights: Local file with the tensors of a whole CLIP instead. Random values by default.
        keep_tokens: Keep the token embedding, a quarter of all tensors, to read new texts.

    Attributes:
        width: Width W of token embeddings.
        num_features: Width D of the result.
        context_length: Longest text, in tokens with start and end.
        token_embedding: float32 [vocabulary, W], a buffer, or None.

    Raises:
        ConfigError: The architecture or tag is unknown.
        WeightsError: The weights are not available, or do not fit.

    Example:
        >>> tower = TextTower("affectkit-tiny")
        >>> tower.encode(["cheek raiser", "lip corner puller"]).shape
        torch.Size([2, 64])
    """

    token_embedding: Tensor | None
    causal: Tensor

    def __init__(
        self,
        model_name: str = "ViT-B-16-quickgelu",
        *,
        pretrained: str | None = None,
        weights: str | None = None,
        keep_tokens: bool = True,
    ) -> None:
        super().__init__()
        clip = load_clip(model_name, weights, pretrained=pretrained, part="text")
        # Attributes have the names of CLIP's own state dict.
        self.transformer = clip.transformer
        self.positional_embedding = clip.positional_embedding
        self.ln_final = clip.ln_final
        self.text_projection = clip.text_projection
        tokens = clip.token_embedding.weight.detach() if keep_tokens else None
        self.register_buffer("token_embedding", tokens)
        self.register_buffer("causal", clip.attn_mask, persistent=False)
        self.context_length, self.width = self.positional_embedding.shape
        self.num_features = int(self.text_projection.shape[1])
        self.config: dict[str, Any] = {"model_name": model_name, "keep_tokens": keep_tokens}
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: the tower is frozen."""
        return super().train(False)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token numbers of texts with start and end tokens, int64 [n, 77] on the CPU, padded with zeros.

        Raises:
            ConfigError: A text has too many tokens.
        """
        tokenizer = _tokenizer()
        for text in texts:
            if (length := len(tokenizer.encode(text)) + 2) > self.context_length:
                raise ConfigError(
                    f"The text {text!r} has {length} tokens, but the tower reads {self.context_length}.",
                    remedy="Shorten it.",
                )
        tokens: Tensor = tokenizer(list(texts), context_length=self.context_length)
        return tokens

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Embeddings [n, L, W], without positions, of token numbers int64 [n, L].

        Raises:
            WeightsError: The token embedding was not kept.
        """
        if self.token_embedding is None:
            raise WeightsError(
                "This text tower was saved without its token embedding, so it cannot read new texts.",
                remedy="Give the weights of the original CLIP.",
            )
        return F.embedding(tokens.to(self.token_embedding.device), self.token_embedding)

    def forward(self, embeddings: Tensor, eot: Tensor) -> Tensor:
        """Encode texts from token embeddings to vectors [n, D], not normalised.

        Args:
            embeddings: [n, L, W], without positions; L may be shorter than the context.
            eot: int64 [n], position of the end of each text.
        """
        length = embeddings.shape[1]
        x = embeddings + self.positional_embedding[:length]
        x = self.transformer(x, attn_mask=self.causal[:length, :length])
        ends = x[torch.arange(len(x), device=x.device), eot]
        vectors: Tensor = self.ln_final(ends) @ self.text_projection
        return vectors

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [n, D] of texts, without gradients.

        Raises:
            ConfigError: A text has too many tokens.
            WeightsError: The token embedding was not kept.
        """
        tokens = self.tokenize(texts)
        eot = tokens.argmax(dim=-1)
        embeddings = self.embed_tokens(tokens[:, : int(eot.max()) + 1])
        return F.normalize(self(embeddings, eot.to(embeddings.device)), dim=-1)


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
        """Prompts with the words of other classes and the mean of the learned contexts, for the same tower.

        Raises:
            ConfigError: A prompt is too long.
            WeightsError: The tower's token embedding was not kept.
        """
        tower.embed_tokens(torch.zeros(0, dtype=torch.long))  # new texts need the token embedding
        other = PromptLearner(texts, tower, n_ctx=self.n_ctx, class_specific=self.class_specific)
        other.ctx.copy_(self.ctx.mean(dim=0) if self.class_specific else self.ctx)
        return other


def encode_prompts(tower: TextTower, learners: Sequence[PromptLearner]) -> list[Tensor]:
    """Encode sets of prompts to unit vectors [n_k, D], in one pass cut to the longest prompt.

    All sets must be made with this tower. The contexts get gradients.

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


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """Byte-pair tokenizer of CLIP; its vocabulary is part of open_clip."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
