"""Frozen text tower of CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError, WeightsError
from affectkit.models.clip import load_clip

__all__ = ["TextTower"]


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

    References:
        A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
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
        """Encode texts from token embeddings.

        Args:
            embeddings: [n, L, W], without positions; L may be shorter than the context.
            eot: int64 [n], position of the end of each text.

        Returns:
            [n, D], not normalised.
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


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """Byte-pair tokenizer of CLIP; its vocabulary is part of open_clip."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
