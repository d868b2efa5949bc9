"""Texts of classes and captions, encoded by a text tower."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import (
    PROMPT_TEMPLATES,
    ExpressionSet,
    LabelSpace,
    canonical_expression,
    class_name,
    label_space,
    prompt_ensemble,
    typical_units,
)
from affectkit.models.bridge import Bridge
from affectkit.models.registry import register
from affectkit.models.text import TextTower

__all__ = ["CaptionBridge"]

_LOWEST_TEMPERATURE = 0.01


@register("bridge", "captions")
class CaptionBridge(Bridge):
    """Text tower whose vectors are comparable with those of clips: prototypes of classes, and vectors of captions.

    The prototype of a class is the mean of the unit vectors of its texts, normalised (prompt ensemble).

    Args:
        spaces: Expressions of the heads with prototypes, by head name.
        text: Arguments of `affectkit.models.text.TextTower`, among them the trained parts.
        templates: Texts of a class, see `affectkit.facs.prompt_ensemble`.
        descriptions: Number of paraphrases of a description, see `affectkit.facs.describe_expression`.
        temperature: Initial temperature τ of the contrast.

    Attributes:
        text: The text tower.
        log_temperature: log τ, a parameter.

    Raises:
        ConfigError: A head does not have expressions, there is no template, or `text` has an error.

    Example:
        >>> bridge = CaptionBridge({"expression": "basic7"}, text={"model_name": "affectkit-tiny"})
        >>> bridge()["expression"].shape
        torch.Size([7, 64])
        >>> list(bridge.encode_classes("expression", ["Angry", "a smirk"]))
        ['anger', 'a smirk']

    References:
        EmoCapCLIP, arXiv 2507.21015. A. Radford et al., "Learning Transferable Visual Models From Natural Language
        Supervision", ICML 2021 (prompt ensembles).
    """

    def __init__(
        self,
        spaces: Mapping[str, str | LabelSpace],
        *,
        text: Mapping[str, Any],
        templates: Sequence[str] = PROMPT_TEMPLATES,
        descriptions: int = 6,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        self.spaces = {
            n: label_space(space) if isinstance(space, str) else space for n, space in spaces.items()
        }
        if not all(isinstance(space, ExpressionSet) for space in self.spaces.values()):
            raise ConfigError(
                "A bridge of captions has prototypes of expressions only.",
                remedy="Use the head ZeroShotHead, and heads without prototypes.",
            )
        if not templates or descriptions < 1 or temperature < _LOWEST_TEMPERATURE:
            raise ConfigError(
                f"There must be a template, at least 1 description, not {descriptions}, and a temperature of at least "
                f"{_LOWEST_TEMPERATURE}, not {temperature}."
            )
        self.text = TextTower(**text)
        self.templates, self.descriptions = tuple(templates), descriptions
        self.num_features = self.text.num_features
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.config = {
            "type": "captions",
            "text": self.text.config,
            "templates": list(templates),
            "descriptions": descriptions,
            "temperature": temperature,
        }

    @property
    def temperature(self) -> Tensor:
        """τ, a scalar of at least 0.01."""
        return self.log_temperature.exp().clamp(min=_LOWEST_TEMPERATURE)

    def encode_captions(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [n, D] of captions of any length, with gradients."""
        return self.text.encode_long(texts)

    def forward(self) -> dict[str, Tensor]:
        """See `Bridge`."""
        texts = {name: self.class_texts(name, self.spaces[name].labels) for name in self.spaces}
        return {name: torch.stack(self._encode(list(own.values()))) for name, own in texts.items()}

    def parts_of(self, head: str) -> tuple[str, ...]:
        """See `Bridge`; none, because the tensors do not depend on classes."""
        return ()

    def class_texts(self, head: str, texts: Sequence[str] | Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """See `Bridge`. Class names that FACS describes or the head has, and single words, use the templates."""
        known = self._space(head).labels
        given = dict(texts) if isinstance(texts, Mapping) else {}
        classes: list[tuple[str, tuple[str, ...]]] = []
        for text in texts:
            name = canonical_expression(text)
            if text in given:
                classes.append((class_name(text), (given[text],)))
            elif name in known or typical_units(name) or " " not in name:
                classes.append((name, prompt_ensemble(name, self.templates, descriptions=self.descriptions)))
            else:
                classes.append((class_name(text), (text,)))
        ExpressionSet(tuple(name for name, _ in classes))  # checks the class names
        return dict(classes)

    @torch.no_grad()
    def encode_classes(self, head: str, texts: Sequence[str] | Mapping[str, str]) -> dict[str, Tensor]:
        """See `Bridge`.

        Raises:
            ConfigError: The head has no prototypes.
            LabelSpaceError: There are fewer than two classes, two classes are the same, or a text gives no class name.
        """
        classes = self.class_texts(head, texts)
        return dict(zip(classes, self._encode(list(classes.values())), strict=True))

    def _encode(self, ensembles: Sequence[Sequence[str]]) -> list[Tensor]:
        """Unit vector [D] of each ensemble, in one pass."""
        vectors = self.encode_captions([text for texts in ensembles for text in texts])
        parts = torch.split(vectors, [len(texts) for texts in ensembles])
        return [F.normalize(part.mean(dim=0), dim=-1) for part in parts]

    def _space(self, head: str) -> ExpressionSet:
        if head not in self.spaces:
            raise ConfigError(
                f"New classes cannot be given to {head!r}.", remedy=f"Heads: {', '.join(self.spaces)}."
            )
        return cast("ExpressionSet", self.spaces[head])
