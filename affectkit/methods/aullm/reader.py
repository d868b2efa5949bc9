"""Readers of the content and the instruction token: a language model, or a small encoder for comparison."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import repeat
from torch import Tensor, nn

from affectkit.models.language import language_model

__all__ = ["PROMPT", "EncoderReader", "LanguageReader", "Reader"]

PROMPT = "List the active facial action units of this face."


class Reader(nn.Module, ABC):
    """Base class of readers.

    Attributes:
        width: Width W of the tokens and of the result.
        settings: Plain settings of an equal language model; empty without one.
    """

    width: int
    settings: dict[str, Any]

    @abstractmethod
    def names(self) -> Tensor:
        """Vectors [A, D] of the units' names, for their nodes."""

    @abstractmethod
    def forward(self, content: Tensor, instruction: Tensor) -> Tensor:
        """Hidden state [B, W] after reading content and instruction tokens [B, W]."""


class LanguageReader(Reader):
    """A language model that reads both tokens and a constant prompt.

    The tokens are scaled to the size of the model's embeddings. The names of units are the means of the embeddings of
    their words, projected.

    Args:
        language: Arguments of `affectkit.models.language.LanguageSettings`.
        names: Names of the units.
        features: Width D of the nodes.
        slots_first: Whether the tokens come before the prompt; after it, the prompt is read once for all clips.

    Example:
        >>> reader = LanguageReader({"name": "tiny"}, ["brow lowerer", "lip corner puller"], 8)
        >>> reader(torch.zeros(2, reader.width), torch.zeros(2, reader.width)).shape, reader.names().shape
        (torch.Size([2, 128]), torch.Size([2, 8]))
    """

    prompt: Tensor
    words: Tensor
    average: Tensor

    def __init__(
        self, language: Mapping[str, Any], names: Sequence[str], features: int, *, slots_first: bool = True
    ) -> None:
        super().__init__()
        self.language = language_model(language, [PROMPT, *names])
        self.settings = self.language.settings.to_dict()
        self.width, self.slots_first = self.language.width, slots_first
        tokens = [self.language.tokenize(name) for name in names]
        share = [torch.full((len(one),), 1 / len(one)) for one in tokens]
        self.register_buffer("prompt", self.language.tokenize(PROMPT), persistent=False)
        self.register_buffer("words", torch.cat(tokens), persistent=False)
        self.register_buffer("average", torch.block_diag(*share), persistent=False)  # type: ignore[no-untyped-call]
        self.project = nn.Linear(self.width, features)
        size = self.language.embed(self.prompt).detach().square().mean().sqrt()
        self.scale = nn.Parameter(size * torch.ones(2, 1))

    def names(self) -> Tensor:
        """See `Reader`."""
        vectors: Tensor = self.project(
            self.average @ self.language.embed(self.words) / self.scale[0].detach()
        )
        return vectors

    def forward(self, content: Tensor, instruction: Tensor) -> Tensor:
        """See `Reader`."""
        slots = self.scale * torch.stack([content, instruction], dim=1)
        prompt = self.language.embed(self.prompt)
        if self.slots_first:
            states = self.language(
                torch.cat([slots, repeat(prompt, "l w -> b l w", b=slots.shape[0])], dim=1)
            )
        else:
            states = self.language(slots, prompt)
        state: Tensor = states[:, -1]
        return state


class EncoderReader(Reader):
    """A two-layer encoder over both tokens and one learned token for each unit, without any language model.

    Args:
        units: Number of units A.
        features: Width D of the nodes.
        width: Width W.

    Example:
        >>> reader = EncoderReader(3, 8, width=16)
        >>> reader(torch.zeros(2, 16), torch.zeros(2, 16)).shape
        torch.Size([2, 16])
    """

    def __init__(self, units: int, features: int, *, width: int = 128) -> None:
        super().__init__()
        self.settings, self.width = {}, width
        self.units = nn.Parameter(torch.randn(units, width))
        self.project = nn.Linear(width, features)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(width), enable_nested_tensor=False)

    def names(self) -> Tensor:
        """See `Reader`."""
        vectors: Tensor = self.project(self.units)
        return vectors

    def forward(self, content: Tensor, instruction: Tensor) -> Tensor:
        """See `Reader`; the state is that of the instruction token."""
        units = repeat(self.units, "a w -> b a w", b=content.shape[0])
        states = self.encoder(torch.cat([torch.stack([content, instruction], dim=1), units], dim=1))
        state: Tensor = states[:, 1]
        return state
