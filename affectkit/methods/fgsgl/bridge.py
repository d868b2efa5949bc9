"""Texts of classes: a category prompt, and four sentences on the course of the movement."""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import (
    PROCESS_PARTS,
    ExpressionSet,
    LabelSpace,
    Process,
    canonical_expression,
    class_name,
    class_processes,
    label_space,
    read_processes,
)
from affectkit.models.bridge import Bridge
from affectkit.models.registry import register
from affectkit.models.text import PromptLearner, TextTower, encode_prompts

__all__ = ["PARTS", "ProcessBridge", "split_prototypes"]

PARTS = len(PROCESS_PARTS)
_SEED = 20260317  # of the controls
Control = Literal["none", "shuffled", "random"]


def split_prototypes(prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """Category vectors [C, D] and sentences [C, 4, D] of prototypes [C, 5 D]."""
    vectors = rearrange(prototypes, "c (p d) -> c p d", p=1 + PARTS)
    return vectors[:, 0], vectors[:, 1:]


@register("bridge", "process")
class ProcessBridge(Bridge):
    """Text tower whose prototypes are five unit vectors for each class, one after the other.

    The first one is that of the category: learned context vectors before the name of the class. The others are those
    of four sentences on the course of the movement, see `affectkit.facs.Process`. If the tower is frozen, the sentences
    are encoded once.

    Sentences of a part belong to one group if they are equal, or if their first vectors are nearly so. They are no
    negatives of each other, see `groups`.

    Args:
        spaces: Classes of the heads with prototypes, by head name.
        text: Arguments of `affectkit.models.text.TextTower`, among them the trained parts.
        texts: Sentences of the classes: the path of a CSV file, see `affectkit.facs.read_processes`, or four sentences
            by class name. Other classes use `affectkit.facs.class_processes`.
        n_ctx: Number of learned context vectors in a category prompt.
        near: Cosine above which two sentences of a part are equal in meaning; 1 for equal words only.
        control: "shuffled" exchanges the sentences of every part between the classes at random; "random" replaces them
            by random vectors, equal ones by equal vectors. Both are controls, in which texts teach nothing.

    Attributes:
        text: The text tower.
        processes: Sentences of the classes, by head name and class.

    Raises:
        ConfigError: A head does not have classes, or an argument is out of range.
        LabelSpaceError: A class has no sentences.
        AnnotationError: The CSV file is damaged.

    Example:
        >>> bridge = ProcessBridge({"expression": "smg17"}, text={"model_name": "affectkit-tiny"})
        >>> bridge()["expression"].shape
        torch.Size([17, 320])

    References:
        FG-SGL, arXiv 2603.16269. Its texts were not available: the sentences and the rule for equal ones are ours.
    """

    def __init__(
        self,
        spaces: Mapping[str, str | LabelSpace],
        *,
        text: Mapping[str, Any],
        texts: str | Mapping[str, Sequence[str]] | None = None,
        n_ctx: int = 8,
        near: float = 0.95,
        control: Control = "none",
    ) -> None:
        super().__init__()
        self.spaces = {
            name: label_space(space) if isinstance(space, str) else space for name, space in spaces.items()
        }
        if not all(isinstance(space, ExpressionSet) for space in self.spaces.values()):
            raise ConfigError(
                "A bridge of processes has prototypes of classes only.", remedy="Use heads of classes."
            )
        if n_ctx < 1 or not -1 <= near <= 1:
            raise ConfigError(f"n_ctx must be at least 1, not {n_ctx}, and near a cosine, not {near}.")
        own = read_processes(texts) if isinstance(texts, str) else _processes(texts or {})
        self.processes = {name: class_processes(space.labels, own) for name, space in self.spaces.items()}
        self.text = TextTower(**text)
        self.num_features = (1 + PARTS) * self.text.num_features
        self.control = control
        self.fixed = control == "random" or not any(p.requires_grad for p in self.text.parameters())
        self.prompts = nn.ModuleDict(
            {
                name: PromptLearner(space.labels, self.text, n_ctx=n_ctx, class_specific=False)
                for name, space in self.spaces.items()
            }
        )
        for name in self.spaces:
            self._add_sentences(name, near)
        self.config = {
            "type": "process",
            "text": self.text.config,
            "texts": {
                c: list(one.sentences) for found in self.processes.values() for c, one in found.items()
            },
            "n_ctx": n_ctx,
            "near": near,
            "control": control,
        }

    def _add_sentences(self, head: str, near: float) -> None:
        """Register the groups of a head's sentences, and their vectors if they are fixed."""
        sentences = self.sentences(head)
        first = self._encode(sentences).detach()
        groups = torch.stack(
            [_groups([row[d] for row in sentences], first[:, d], near) for d in range(PARTS)]
        )
        self.register_buffer(f"groups_{head}", groups)
        self.register_buffer(f"sentences_{head}", first if self.fixed else None)

    def sentences(self, head: str) -> list[tuple[str, ...]]:
        """Four sentences of each class; those of other classes if they are shuffled."""
        rows = [self.processes[head][name].sentences for name in self.spaces[head].labels]
        if self.control != "shuffled":
            return rows
        rng = random.Random(_SEED)
        columns = [rng.sample(column, len(column)) for column in zip(*rows, strict=True)]
        return list(zip(*columns, strict=True))

    def groups(self, head: str) -> Tensor:
        """Group of each sentence, int64 [4, C]: sentences of a part with equal numbers are no negatives."""
        groups: Tensor = getattr(self, f"groups_{head}")
        return groups

    def forward(self) -> dict[str, Tensor]:
        """See `Bridge`: [C, 5 D], the category first, then the sentences in the order of `PROCESS_PARTS`."""
        learners = [cast("PromptLearner", self.prompts[name]) for name in self.spaces]
        categories = encode_prompts(self.text, learners)
        return {
            name: _join(own, self._vectors(name)) for name, own in zip(self.spaces, categories, strict=True)
        }

    def _vectors(self, head: str) -> Tensor:
        fixed: Tensor | None = getattr(self, f"sentences_{head}")
        return self._encode(self.sentences(head)) if fixed is None else fixed

    def _encode(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """Unit vectors [C, 4, D], equal sentences encoded once."""
        texts = [text for row in sentences for text in row]
        if self.control == "random":
            vectors = torch.stack([_random_vector(text, self.text.num_features) for text in texts])
            vectors = vectors.to(self.text.positional_embedding)
        else:
            vectors = self.text.encode_long(texts)
        return rearrange(vectors, "(c p) d -> c p d", p=PARTS)

    def parts_of(self, head: str) -> tuple[str, ...]:
        """See `Bridge`."""
        return f"prompts.{head}.", f"groups_{head}", f"sentences_{head}"

    def class_texts(self, head: str, texts: Sequence[str] | Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """See `Bridge`: the words of the category and four sentences.

        A text is four sentences separated by semicolons, or stands for all four. A class without a text needs sentences
        in the tables.

        Raises:
            ConfigError: The head has no prototypes.
            LabelSpaceError: A class has no sentences, or see `Bridge.encode_classes`.
        """
        if head not in self.spaces:
            raise ConfigError(
                f"New classes cannot be given to {head!r}.", remedy=f"Heads: {', '.join(self.spaces)}."
            )
        given = dict(texts) if isinstance(texts, Mapping) else {}
        classes: list[tuple[str, tuple[str, ...]]] = []
        for text in texts:
            name = canonical_expression(text)
            if text in given:
                parts = given[text].split(";")
                sentences = Process.of(parts if len(parts) == PARTS else [given[text]] * PARTS).sentences
            elif ";" in text:
                name = class_name(text)
                sentences = Process.of(text.split(";")).sentences
            else:
                sentences = class_processes([name], self.processes[head])[name].sentences
            classes.append((name, (name, *sentences)))
        ExpressionSet(tuple(name for name, _ in classes))  # checks the class names
        return dict(classes)

    @torch.no_grad()
    def encode_classes(self, head: str, texts: Sequence[str] | Mapping[str, str]) -> dict[str, Tensor]:
        """See `Bridge` and `class_texts`.

        Raises:
            ConfigError: The head has no prototypes.
            LabelSpaceError: See `class_texts`.
            WeightsError: The text tower was saved without its token embedding.
        """
        classes = self.class_texts(head, texts)
        learner = cast("PromptLearner", self.prompts[head]).for_texts(list(classes), self.text)
        (categories,) = encode_prompts(self.text, [learner])
        prototypes = _join(categories, self._encode([sentences[1:] for sentences in classes.values()]))
        return dict(zip(classes, prototypes, strict=True))


def _processes(texts: Mapping[str, Sequence[str]]) -> dict[str, Process]:
    return {canonical_expression(name): Process.of(sentences) for name, sentences in texts.items()}


def _join(categories: Tensor, sentences: Tensor) -> Tensor:
    """Prototypes [C, 5 D] of categories [C, D] and sentences [C, 4, D]."""
    return torch.cat([categories[:, None], sentences.to(categories.dtype)], dim=1).flatten(1)


def _groups(texts: Sequence[str], vectors: Tensor, near: float) -> Tensor:
    """Number of the group of each text, int64 [C]: the connected components of equal and nearly equal ones."""
    place = {text: number for number, text in reversed(list(enumerate(texts)))}
    groups = torch.tensor([place[text] for text in texts])
    for i, j in ((vectors @ vectors.T > near) if near < 1 else torch.zeros(0, 0)).nonzero().tolist():
        low, high = sorted((int(groups[i]), int(groups[j])))
        groups[groups == high] = low
    return groups


def _random_vector(text: str, width: int) -> Tensor:
    """Random unit vector [D] that depends on the text."""
    generator = torch.Generator().manual_seed(zlib.crc32(text.encode()) ^ _SEED)
    return F.normalize(torch.randn(width, generator=generator), dim=0)
