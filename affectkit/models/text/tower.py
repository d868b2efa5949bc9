"""The frozen text tower of a CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError, WeightsError
from affectkit.models.clip import load_clip

__all__ = ["TextTower", "no_tokens"]


class TextTower(nn.Module):
    """A CLIP's text transformer, frozen; gradients pass through it to learned prompts.

    Tokens and the transformer are kept apart, so that a prompt can be made of words and of learned vectors.
    Attention is causal: what stands after the end-of-text token has no part in the result, and may be cut off.

    Args:
        model_name: See `affectkit.models.clip.clip_config`.
        pretrained: One of open_clip's weight tags, such as "openai".
        weights: A local file instead, with the tensors of a whole CLIP. Random values by default.
        keep_tokens: Keep the token embedding, a quarter of all the tensors, so that new texts can be read.

    Attributes:
        width: Width W of token embeddings.
        num_features: Width D of the result.
        context_length: The longest text, in tokens with both ends.
        token_embedding: float32 [vocabulary, W], a buffer, or None.

    Raises:
        ConfigError: The architecture or tag is unknown.
        WeightsError: The weights cannot be had, or do not fit.

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
        # Attributes bear the names that they have in CLIP's own state dict.
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
        """Token numbers of texts, each between a start and an end token.

        Args:
            texts: Any number of texts.

        Returns:
            int64 [n, 77] on the CPU, padded with zeros.

        Raises:
            ConfigError: A text is longer than the tower reads.
        """
        tokenizer = _tokenizer()
        for text in texts:
            if (length := len(tokenizer.encode(text)) + 2) > self.context_length:
                raise ConfigError(
                    f"The text {text!r} has {length} tokens, and the tower reads {self.context_length}.",
                    remedy="Shorten it.",
                )
        tokens: Tensor = tokenizer(list(texts), context_length=self.context_length)
        return tokens

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Vectors of token numbers, without positions.

        Args:
            tokens: int64 [n, L].

        Returns:
            [n, L, W].

        Raises:
            WeightsError: The token embedding was not kept.
        """
        if self.token_embedding is None:
            raise no_tokens()
        return F.embedding(tokens.to(self.token_embedding.device), self.token_embedding)

    def forward(self, embeddings: Tensor, eot: Tensor) -> Tensor:
        """Encode texts that are given as vectors.

        Args:
            embeddings: [n, L, W], without positions; L may be shorter than the context.
            eot: int64 [n], where each text ends.

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
        """Unit vectors of texts.

        Args:
            texts: Any number of texts.

        Returns:
            [n, D], L2-normalised, without gradients.

        Raises:
            ConfigError: A text is too long.
            WeightsError: The token embedding was not kept.
        """
        tokens = self.tokenize(texts)
        eot = tokens.argmax(dim=-1)
        embeddings = self.embed_tokens(tokens[:, : int(eot.max()) + 1])
        return F.normalize(self(embeddings, eot.to(embeddings.device)), dim=-1)


def no_tokens() -> WeightsError:
    """The error of reading new texts without a token embedding."""
    return WeightsError(
        "This text tower was saved without its token embedding, so it cannot read new texts.",
        remedy="Give the weights of the CLIP that it came from.",
    )


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """The byte-pair tokenizer of CLIP, whose vocabulary open_clip's package holds."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
