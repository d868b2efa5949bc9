"""The half of a model that answers: named heads, and the bridge that gives some of them prototypes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.facs import ExpressionSet
from affectkit.models import hub
from affectkit.models.bridge import Bridge
from affectkit.models.heads import Head
from affectkit.models.registry import build

__all__ = ["BridgedHeads"]


class BridgedHeads(nn.Module, ABC):
    """Holds heads by name and an optional bridge, and keeps the heads' prototypes up to date.

    Prototypes come from the bridge at every step while training. Otherwise heads use copies of their own, renewed
    when the model leaves training mode after a step, and before it is saved: a saved model answers without its
    text tower having to run.

    Attributes:
        heads: The heads by name, an `nn.ModuleDict`.
        bridge: The bridge or None.
        num_features: The width that heads read; a subclass says it.
    """

    heads: nn.ModuleDict
    bridge: Bridge | None
    _stale: bool  # whether the heads' copies are older than the bridge

    @property
    @abstractmethod
    def num_features(self) -> int:
        """The width that heads read."""

    def _hold(
        self, heads: Mapping[str, Head | Mapping[str, Any]], bridge: Bridge | Mapping[str, Any] | None
    ) -> None:
        """The second half of a constructor, for which `num_features` must be known."""
        self.heads = nn.ModuleDict()
        self.bridge = None
        for name, head in heads.items():
            self.replace_head(name, head)
        if bridge is not None:
            spaces = {name: head.space for name, head in self._prototype_heads().items()}
            self.bridge = build("bridge", bridge, spaces=spaces) if isinstance(bridge, Mapping) else bridge
            for name in {**heads, **self.bridge.spaces}:
                self._check_bridged(name, self.head(name))
        self._stale = self.bridge is not None
        self.register_state_dict_pre_hook(_before_saving)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_after_loading)  # type: ignore[no-untyped-call]

    @property
    def thresholds(self) -> dict[str, Tensor]:
        """Decision thresholds [A] of each multilabel head, float32 on the CPU; see `Head.calibrate`."""
        heads = {name: self.head(name) for name in self.heads}
        return {name: torch.tensor(head.thresholds) for name, head in heads.items() if head.thresholds}

    def head(self, name: str) -> Head:
        """The head of this name.

        Raises:
            ConfigError: There is none.
        """
        if name not in self.heads:
            raise ConfigError(
                f"There is no head {name!r}.", remedy=f"Heads: {', '.join(self.heads) or 'none'}."
            )
        head: Head = self.heads[name]  # type: ignore[assignment]  # a ModuleDict does not say what it holds
        return head

    def labels(self, name: str) -> tuple[str, ...]:
        """Label names of a head, in the order of its outputs.

        Raises:
            ConfigError: There is no such head.
        """
        return self.head(name).labels

    def replace_head(self, name: str, head: Head | Mapping[str, Any]) -> None:
        """Add a head with fresh weights, or put one in another's place.

        Args:
            name: Lower-case letters, digits and underscores.
            head: A head or its configuration.

        Raises:
            ConfigError: The name is not allowed, the head's width is not the model's, or the model's bridge does
                not fit the head.
        """
        built: Head = (
            build("head", head, in_features=self.num_features) if isinstance(head, Mapping) else head
        )
        if built.in_features != self.num_features:
            raise ConfigError(
                f"The head {name!r} reads {built.in_features} features; the model gives {self.num_features}.",
                remedy="Build the head with the model's width.",
            )
        self._check_bridged(name, built)
        self.heads[hub.check_head_name(name)] = built

    def _prototype_heads(self) -> dict[str, Head]:
        """The heads that use prototypes, by name."""
        heads = {name: self.head(name) for name in self.heads}
        return {n: h for n, h in heads.items() if h.uses_prototypes}

    def _check_bridged(self, name: str, head: Head) -> None:
        """Refuse a head whose prototypes are not what the bridge gives."""
        if self.bridge is None:
            return
        needs = head.uses_prototypes
        given = self.bridge.spaces.get(name)
        if (given is not None) != needs or (given is not None and given.labels != head.labels):
            raise ConfigError(
                f"The bridge gives {name!r} {'no prototypes' if given is None else list(given.labels)}, and the head "
                f"takes {list(head.labels) if needs else 'none'}.",
                remedy="Build a new model, and take over what still fits with `init_from`; or see `use_classes`.",
            )
        if needs and head.width != self.bridge.num_features:
            raise ConfigError(
                f"The bridge's prototypes have {self.bridge.num_features} features, and the head {name!r} "
                f"compares {head.width}.",
                remedy="Give the text tower and the backbone the same width.",
            )

    def prototypes(self) -> dict[str, Tensor]:
        """The prototypes [L, D] of heads that use them, by name, computed with gradients by the bridge.

        Costs a pass through the text tower: to be called once a step.
        """
        if self.bridge is None:
            return {}
        if self.training:
            self._stale = True  # what is computed while training is about to be changed by it
        prototypes: dict[str, Tensor] = self.bridge()
        return prototypes

    @torch.no_grad()
    def refresh_prototypes(self) -> None:
        """Copy the bridge's prototypes into the heads, which use them outside training.

        This happens by itself when the model leaves training mode and when it is saved. It has to be called after
        parameters were changed in evaluation mode.
        """
        if self.bridge is not None:
            for name, vectors in self.bridge().items():
                self._prototype_heads()[name].prototypes.copy_(vectors)
        self._stale = False

    def train(self, mode: bool = True) -> Self:
        """Switch to training or back, when heads get new copies of prototypes that training has changed."""
        super().train(mode)
        if not mode and self._stale:
            self.refresh_prototypes()
        return self

    def prototype_only(self, head: str) -> None:
        """Let a head answer by its prototypes alone, without what its linear layer learned, from now on.

        Thresholds go back to 0.5 and the temperature to 1, for they were fitted to other logits.

        Args:
            head: A head with prototypes.

        Raises:
            ConfigError: There is no such head, or it has no prototypes.
        """
        self.replace_head(head, self._with_prototypes(head).by_prototypes())

    def use_classes(self, head: str, texts: Sequence[str] | Mapping[str, str]) -> None:
        """Let an expression head answer for any classes without training, by their prototypes alone.

        The bridge is given up: what it knows of the other heads stays in their copies. To ask about one set of
        classes after another, copy the model first. See `Bridge.encode_classes`.

        Args:
            head: An expression head with prototypes.
            texts: Class names or free texts, whose letters then name the class; or texts by class name.

        Raises:
            ConfigError: There is no such head, or nothing to make its prototypes by.
            LabelSpaceError: There are fewer than two classes, one that a text names is none, or two are the same.
            WeightsError: The text tower was saved without its token embedding.
        """
        old = self._with_prototypes(head)
        if self.bridge is None:
            raise ConfigError(
                "This model has no bridge that could read new classes.",
                remedy="Load the model as it was trained.",
            )
        if self._stale:
            self.refresh_prototypes()
        classes = self.bridge.encode_classes(head, texts)
        new = old.by_prototypes(ExpressionSet(tuple(classes)), torch.stack(list(classes.values())))
        self.bridge = None
        self.heads[head] = new

    def _with_prototypes(self, head: str) -> Head:
        """The head of this name, which must have prototypes."""
        found = self.head(head)
        if not found.uses_prototypes:
            raise ConfigError(
                f"The head {head!r} has no prototypes.",
                remedy=f"Heads with prototypes: {', '.join(self._prototype_heads()) or 'none'}.",
            )
        return found


def _before_saving(model: BridgedHeads, *_: Any) -> None:
    """Renew prototypes, so that saved ones are never older than what they are saved with."""
    if model._stale:
        model.refresh_prototypes()


def _after_loading(model: BridgedHeads, *_: Any) -> None:
    """Loaded prototypes belong to what was loaded with them."""
    model._stale = False
