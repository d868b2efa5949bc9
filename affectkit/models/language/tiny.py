"""Small causal transformer with a closed vocabulary, from scratch."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models.language.base import CausalLM, LanguageSettings, Past

__all__ = ["TinyLM"]

_WORD = re.compile(r"\w+|[^\w\s]")


class TinyLM(CausalLM):
    """Causal transformer of a few layers with random weights, trained as a whole. It knows no language.

    It stands in for a pretrained model in tests and in recipes for a CPU. A token is a word or a punctuation mark.

    Args:
        texts: Texts with all words of the vocabulary.
        width: Width W.
        depth: Number of layers.
        heads: Attention heads; must divide the width.
        context: Longest input, in tokens.

    Example:
        >>> lm = TinyLM(["Which units act?"], width=8, heads=2)
        >>> lm.tokenize("which act?").tolist()
        [3, 1, 0]
        >>> lm(lm.embed(lm.tokenize("which act?"))[None]).shape
        torch.Size([1, 3, 8])
    """

    def __init__(
        self, texts: Sequence[str], *, width: int = 128, depth: int = 4, heads: int = 4, context: int = 128
    ) -> None:
        super().__init__()
        self.width = width
        self.settings = LanguageSettings()
        words = sorted({word for text in texts for word in _words(text)})
        self.vocabulary = {word: number for number, word in enumerate(words)}
        self.words = nn.Embedding(len(words), width)
        self.positions = nn.Parameter(0.1 * torch.randn(context, width))
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def tokenize(self, text: str) -> Tensor:
        """See `CausalLM`.

        Raises:
            ConfigError: A word is not in the vocabulary.
        """
        words = _words(text)
        if unknown := sorted(set(words) - set(self.vocabulary)):
            raise ConfigError(f"The tiny language model does not know {', '.join(map(repr, unknown))}.")
        return torch.tensor([self.vocabulary[word] for word in words])

    def embed(self, tokens: Tensor) -> Tensor:
        """See `CausalLM`."""
        embeddings: Tensor = self.words(tokens)
        return embeddings

    def score(self, states: Tensor, tokens: Tensor) -> Tensor:
        """See `CausalLM`; the output layer is the table of embeddings."""
        logits: Tensor = states @ self.words(tokens).T / math.sqrt(self.width)
        return logits

    def read(self, embeddings: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """See `CausalLM`."""
        start = 0 if past is None else past[0][0].shape[2]
        end = start + embeddings.shape[1]
        x = embeddings + self.positions[start:end]
        sees = torch.ones(end, end, dtype=torch.bool, device=x.device).tril()[start:]
        read = []
        for number, layer in enumerate(self.layers):
            x, both = layer(x, sees, None if past is None else past[number])
            read.append(both)
        return self.norm(x), read


class _Layer(nn.Module):
    """Pre-norm transformer layer with causal attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(
        self, x: Tensor, sees: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        query, key, value = rearrange(
            self.qkv(self.before(x)), "b n (three h d) -> three b h n d", three=3, h=self.heads
        )
        if past is not None:
            earlier = (part.expand(x.shape[0], -1, -1, -1) for part in past)
            key, value = (torch.cat(pair, dim=2) for pair in zip(earlier, (key, value), strict=True))
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=sees)
        x = x + self.out(rearrange(seen, "b h n d -> b n (h d)"))
        return x + self.mlp(x), (key, value)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
