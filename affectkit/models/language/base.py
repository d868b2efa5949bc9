"""Interface of causal language models, and their settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.models.backbones.lora import LoRAConfig
from affectkit.models.features import Settings

__all__ = ["CausalLM", "LanguageSettings", "Past", "language_model"]

Past = Sequence[tuple[Tensor, Tensor]]
"""Keys and values of each layer, [1 or B, heads, L, D / heads] each, for L tokens that were read before."""


@dataclass(frozen=True, slots=True)
class LanguageSettings(Settings):
    """Settings of a language model.

    Args:
        name: "tiny" for `TinyLM`; otherwise the weights of `PretrainedLM`: "smollm2", a GGUF file, a folder, or
            "owner/name" on the Hub.
        lora: Settings of `affectkit.models.backbones.lora.LoRAConfig`; None to train nothing. Pretrained models only.
        revision: Branch, tag or commit on the Hub.
        sha256: Expected hash of the weights; saved models contain it.

    Raises:
        ConfigError: A tiny model has settings of a pretrained one, or LoRA has an invalid one.
    """

    name: str = "tiny"
    lora: Mapping[str, Any] | None = None
    revision: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.name == "tiny" and (self.lora or self.revision or self.sha256):
            raise ConfigError(
                "The tiny language model has neither LoRA nor stored weights.",
                remedy="Give only `name: tiny`, or name a pretrained model.",
            )
        if self.lora is not None:
            LoRAConfig.from_dict(self.lora)


class CausalLM(nn.Module, ABC):
    """Base class of causal language models that read embeddings and return hidden states.

    Attributes:
        width: Width W of embeddings and hidden states.
        settings: Settings of an equal model, with the hash of pretrained weights.
    """

    width: int
    settings: LanguageSettings

    @abstractmethod
    def tokenize(self, text: str) -> Tensor:
        """Token numbers of a text, int64 [L], without start and end tokens."""

    @abstractmethod
    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings [..., W] of token numbers int64 [...]."""

    @abstractmethod
    def read(self, embeddings: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Read embeddings, each seeing itself and everything before it.

        Args:
            embeddings: [B, L, W].
            past: Result for tokens before them, of B clips or of one, which all clips then share.

        Returns:
            Hidden states [B, L, W] of the last layer, and keys and values of everything read so far.
        """

    @abstractmethod
    def score(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Logits [..., n] of some next tokens.

        Args:
            states: Hidden states [..., W] of the last layer.
            tokens: Token numbers int64 [n].
        """

    def forward(self, embeddings: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Hidden states [B, L, W] of embeddings.

        Args:
            embeddings: [B, L, W].
            prefix: Embeddings [P, W] of a text before them that all clips share; it is read once for all of them.
        """
        past = None if prefix is None else self.read(prefix[None])[1]
        return self.read(embeddings, past)[0]


def language_model(settings: Mapping[str, Any], texts: Sequence[str], *, context: int = 128) -> CausalLM:
    """Build a language model.

    Args:
        settings: Fields of `LanguageSettings`.
        texts: Texts that the model must be able to read; they are the vocabulary of a tiny one.
        context: Longest input of a tiny model, in tokens.

    Raises:
        ConfigError: A setting is unknown or does not fit.
        MissingDependencyError: A package of the extra `llm` is not installed.
        WeightsError: The weights are not available, or others than expected.
    """
    from affectkit.models.language.pretrained import PretrainedLM
    from affectkit.models.language.tiny import TinyLM

    chosen = LanguageSettings.from_dict(settings)
    return TinyLM(texts, context=context) if chosen.name == "tiny" else PretrainedLM(chosen)
