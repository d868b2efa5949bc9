"""Text tower of CLIP, frozen or trained, and prompts with learned context vectors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, Self

import torch
from einops import repeat
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError, WeightsError
from affectkit.models.backbones.lora import LoRAConfig, add_lora
from affectkit.models.clip import load_clip

__all__ = ["PromptLearner", "TextTower", "encode_prompts"]

_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")


class TextTower(nn.Module):
    """Text transformer of CLIP, frozen by default; gradients pass through it to learned prompts.

    Token embedding and transformer are separate, so that a prompt can combine words and learned vectors. Attention is
    causal: tokens after the end-of-text token do not change the result and can be dropped.

    Args:
        model_name: See `affectkit.models.clip.clip_config`.
        pretrained: Weight tag of open_clip, such as "openai".
        weights: Local file with the tensors of a whole CLIP instead. Random values by default.
        keep_tokens: Keep the token embedding, a quarter of all tensors, to read new texts.
        trainable: Parts to train: "none"; the number of last blocks, with the last normalisation and the projection;
            or "all", the token embedding included.
        lora: Arguments of `LoRAConfig` for low-rank additions to attention, which are then trained instead; `{}` for
            its defaults.

    Attributes:
        width: Width W of token embeddings.
        num_features: Width D of the result.
        context_length: Longest text, in tokens with start and end.
        token_embedding: float32 [vocabulary, W], a buffer, or a parameter if it is trained; or None.

    Raises:
        ConfigError: The architecture or tag is unknown, there are fewer blocks than `trainable`, both `trainable` and
            `lora` are given, or the token embedding is to be trained and not kept.
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
        trainable: Literal["none", "all"] | int = "none",
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        low_rank = None if lora is None else LoRAConfig.from_dict(lora)
        if low_rank is not None and trainable != "none":
            raise ConfigError(
                "Both `lora` and `trainable` select the trained parts of the text tower.",
                remedy="Give one of them.",
            )
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
        if trainable != "none":
            self.config["trainable"] = trainable
        if low_rank is not None:
            self.config["lora"] = low_rank.to_dict()
        self._choose_trained(trainable)
        if low_rank is not None:
            add_lora(self.transformer.resblocks, low_rank)
        self.eval()

    def _choose_trained(self, trainable: Literal["none", "all"] | int) -> None:
        self.requires_grad_(False)
        blocks = self.transformer.resblocks
        if trainable == "all":
            self.requires_grad_(True)
            if self.token_embedding is None:
                raise ConfigError(
                    "The token embedding cannot be trained, because it is not kept.",
                    remedy="Set `keep_tokens: true`.",
                )
            tokens = self.token_embedding
            del self.token_embedding
            self.token_embedding = nn.Parameter(tokens.clone())
        elif trainable != "none":
            if trainable not in range(len(blocks) + 1):
                raise ConfigError(
                    f"trainable is {trainable!r}, but the text tower has {len(blocks)} blocks.",
                    remedy="Give none, all, or a number of last blocks.",
                )
            for part in (*blocks[len(blocks) - trainable :], self.ln_final):
                part.requires_grad_(True)
            self.text_projection.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: the tower has no dropout, and a frozen one must not change."""
        return super().train(False)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token numbers of texts with start and end tokens, int64 [n, 77] on the CPU, padded with zeros.

        Raises:
            ConfigError: A text has too many tokens.
        """
        tokens = torch.zeros(len(texts), self.context_length, dtype=torch.int64)
        for row, text in zip(tokens, texts, strict=True):
            numbers = _token_numbers(text)
            if len(numbers) > self.context_length:
                raise ConfigError(
                    f"The text {text!r} has {len(numbers)} tokens, but the tower reads {self.context_length}.",
                    remedy="Shorten it.",
                )
            row[: len(numbers)] = torch.tensor(numbers)
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
        return self.encode_tokens(self.tokenize(texts))

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Unit vectors [n, D] of token numbers int64 [n, 77] on the CPU, see `tokenize`, with gradients.

        Raises:
            WeightsError: The token embedding was not kept.
        """
        eot = tokens.argmax(dim=-1)
        embeddings = self.embed_tokens(tokens[:, : int(eot.max()) + 1])
        return F.normalize(self(embeddings, eot.to(embeddings.device)), dim=-1)

    def encode_long(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [n, D] of texts of any length, with gradients.

        A text is divided into its sentences, and a sentence with too many tokens at spaces; its vector is the mean of
        their unit vectors, normalised. Equal sentences are encoded once.

        Raises:
            WeightsError: The token embedding was not kept.

        Example:
            >>> TextTower("affectkit-tiny").encode_long(["Brows raised. Jaw dropped.", "calm " * 200]).shape
            torch.Size([2, 64])
        """
        pieces = [self._pieces(text) for text in texts]
        distinct = {
            piece: place for place, piece in enumerate(dict.fromkeys(p for own in pieces for p in own))
        }
        vectors = self.encode_tokens(self.tokenize(list(distinct)))
        weights = vectors.new_zeros(len(texts), len(distinct))
        for row, own in enumerate(pieces):
            for piece in own:
                weights[row, distinct[piece]] += 1 / len(own)
        return F.normalize(weights @ vectors, dim=-1)

    def _pieces(self, text: str) -> list[str]:
        """Parts of a text that fit the context."""
        sentences = [part for part in _SENTENCE_END.split(text.strip()) if part] or [""]
        if len(sentences) > 1:
            return [piece for sentence in sentences for piece in self._pieces(sentence)]
        words = sentences[0].split()
        if len(words) < 2 or len(_token_numbers(sentences[0])) <= self.context_length:
            return sentences
        half = len(words) // 2
        return [p for part in (words[:half], words[half:]) for p in self._pieces(" ".join(part))]


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


@lru_cache(maxsize=100_000)  # captions repeat
def _token_numbers(text: str) -> tuple[int, ...]:
    """Token numbers of a text, with start and end."""
    tokenizer = _tokenizer()
    return (tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id)
