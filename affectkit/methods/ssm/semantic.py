"""Bridge with text prototypes of action units and expressions that inform each other."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import (
    PRIORS,
    AUSet,
    ExpressionSet,
    LabelSpace,
    association,
    prompt_texts,
    unit_texts,
)
from affectkit.methods.ssm.association import AssociationMap, Directions
from affectkit.methods.ssm.classes import NewClass, read_classes
from affectkit.models import AffectModel, Explanation
from affectkit.models.bridge import Bridge
from affectkit.models.registry import register
from affectkit.models.text import PromptLearner, TextTower, encode_prompts

__all__ = ["SemanticBridge"]

_NEUTRAL = "neutral"


@register("bridge", "semantic")
class SemanticBridge(Bridge):
    r"""Text prototypes of an AU head and an expression head, fused through two learned association maps.

    A frozen text tower encodes one prompt per label, with learned context vectors, to unit vectors :math:`T_a` [A, D]
    and :math:`T_e` [E, D]. A gated share of each is added to the other:

    .. math::
        T_e' &= \mathrm{norm}(T_e + \sigma(\alpha) M_{a \to e} T_a) \\
        T_a' &= \mathrm{norm}(T_a + \sigma(\beta) M_{e \to a} T_e)

    with the maps of `AssociationMap`; a class named `neutral` is fixed. With only one of the heads there is no map.

    Args:
        spaces: Label spaces by head name: at most one of action units and one of expressions.
        text: Arguments of `TextTower`, such as `model_name`.
        prior: M⁰: a source for `affectkit.facs.association`, or the table itself.
        prompts: Style of the texts, see `affectkit.facs.prompt_texts`.
        n_ctx: Number of learned context vectors per prompt.
        gate: Initial share, in (0, 1).
        directions: The learned maps; "none" for no maps.
        texts: Texts by head name, instead of those of the style `prompts`.

    Attributes:
        spaces: The label spaces.
        text: The frozen text tower.
        prompts: The learned prompts by head name.
        map: The association maps, or None.
        alpha: Logit of the expressions' gate, or None.
        beta: Logit of the units' gate, or None.

    Raises:
        ConfigError: There are other spaces, or an argument is unknown or out of range.
        LabelSpaceError: The prior or the texts do not cover the labels.
        AnnotationError: The prior is a damaged file.

    Example:
        >>> from affectkit.facs import label_space
        >>> spaces = {"au": label_space("AU6,AU12"), "expression": label_space("happiness,neutral")}
        >>> bridge = SemanticBridge(spaces, text={"model_name": "affectkit-tiny"})
        >>> {name: tuple(vectors.shape) for name, vectors in bridge().items()}
        {'au': (2, 64), 'expression': (2, 64)}

    References:
        SSM, arXiv 2604.10541, textual semantic prototypes and dynamic prior mapping (any pair of label sets, single
        directions and new classes are our additions).
    """

    def __init__(
        self,
        spaces: Mapping[str, LabelSpace],
        *,
        text: dict[str, Any],
        prior: str | list[list[float]] = "facs",
        prompts: str = "facs",
        n_ctx: int = 8,
        gate: float = 0.1,
        directions: Directions = "both",
        texts: dict[str, list[str]] | None = None,
    ) -> None:
        super().__init__()
        self.spaces = dict(spaces)
        self.au_head, self.expression_head = _roles(self.spaces)
        if directions not in get_args(Directions) or not 0 < gate < 1:
            raise ConfigError(
                f"A bridge cannot have directions={directions!r} and gate={gate}.",
                remedy=f"Directions: {', '.join(get_args(Directions))}; the gate is between 0 and 1.",
            )
        if unknown := sorted(set(text) - set(inspect.signature(TextTower).parameters)):
            raise ConfigError(
                f"A text tower has no argument {', '.join(map(repr, unknown))}.",
                remedy=f"It takes: {', '.join(inspect.signature(TextTower).parameters)}.",
            )
        self.style = prompts
        given = self._texts() if texts is None else {name: list(texts.get(name, [])) for name in self.spaces}
        if wrong := [name for name, space in self.spaces.items() if len(given[name]) != len(space)]:
            raise ConfigError(
                f"`texts` needs one text per label for {', '.join(wrong)}.",
                remedy="Give them in label order.",
            )
        self.text = TextTower(**text)
        self.num_features = self.text.num_features
        with torch.device("cpu"):  # texts are tokenised there; buffers are on the tower's device
            learners = {name: PromptLearner(lines, self.text, n_ctx=n_ctx) for name, lines in given.items()}
        self.prompts = nn.ModuleDict(learners)
        self.map: AssociationMap | None = None
        self.alpha: nn.Parameter | None = None
        self.beta: nn.Parameter | None = None
        if self.au_head is not None and self.expression_head is not None and directions != "none":
            expressions = self.spaces[self.expression_head]
            table, prior = _table(prior, expressions, self.spaces[self.au_head])
            fixed = expressions.labels.index(_NEUTRAL) if _NEUTRAL in expressions.labels else None
            self.map = AssociationMap(table, fixed, directions=directions)
            start = math.log(gate / (1 - gate))
            # Unused gates are None, so that every parameter gets a gradient at every step.
            self.alpha = None if self.map.delta_ae is None else nn.Parameter(torch.tensor(start))
            self.beta = None if self.map.delta_ea is None else nn.Parameter(torch.tensor(start))
        self.prior = prior
        self.config = {
            "type": "semantic",
            "text": self.text.config,
            "prior": prior,
            "prompts": prompts,
            "n_ctx": n_ctx,
            "gate": gate,
            "directions": directions,
            "texts": given,
        }

    def forward(self) -> dict[str, Tensor]:
        """Unit prototypes T_a' and T_e' [labels, D] by head name, with one pass of the text tower over all prompts."""
        return self._fuse(self._encode())

    def maps(self) -> tuple[Tensor, Tensor, Tensor]:
        """Learned maps and prior, without gradients.

        Returns:
            M_{a→e} [E, A], M_{e→a} [A, E] and the prior [E, A], float32.

        Raises:
            ConfigError: There is no map.
        """
        if self.map is None:
            raise ConfigError(
                "This model has no association map.",
                remedy="Train one with prototypes in an AU head and an expression head, and with directions.",
            )
        with torch.no_grad():
            to_expression, to_unit = self.map()
        return to_expression, to_unit, self.map.prior.float()

    def parts_of(self, head: str) -> tuple[str, ...]:
        """See `Bridge`."""
        return (f"prompts.{head}.", "map.")

    def explanations(self, model: AffectModel) -> tuple[Explanation, ...]:
        """The learned maps, if there are any."""
        from affectkit.methods.ssm.maps import explain_maps

        return () if self.map is None else (explain_maps(model),)

    @torch.no_grad()
    def encode_classes(self, head: str, texts: Sequence[str] | Mapping[str, str]) -> dict[str, Tensor]:
        """Prototypes of any expression classes, without training.

        Trained classes keep their prototypes. Other classes use the mean of the learned contexts and a row of the
        prior; `affectkit.methods.ssm.read_classes` makes texts and rows.

        Args:
            head: The expression head.
            texts: Class names or free texts, whose letters then name the class; or texts by class name.

        Returns:
            By class name, [D] of unit length.

        Raises:
            ConfigError: It is not the expression head of this bridge.
            LabelSpaceError: There are fewer than two classes, two classes are the same, or a text gives no class name.
            WeightsError: The text tower was saved without its token embedding.
        """
        classes, trained = self._read_classes(head, texts), self.spaces[head].labels
        vectors = self._encode()
        prototypes = dict(zip(trained, self._fuse(vectors)[head], strict=True))
        if new := [item for item in classes if not item.trained]:
            learner = cast(PromptLearner, self.prompts[head])
            prompts = learner.for_texts([item.text for item in new], self.text).to(vectors[head])
            (own,) = encode_prompts(self.text, [prompts])
            if self.alpha is not None and self.au_head is not None:
                rows = torch.tensor([item.row for item in new], device=own.device)
                own = _borrow(own, self.alpha, rows, vectors[self.au_head])
            prototypes.update(zip((item.name for item in new), own, strict=True))
        return {item.name: prototypes[item.name] for item in classes}

    def class_texts(self, head: str, texts: Sequence[str] | Mapping[str, str]) -> dict[str, tuple[str]]:
        """See `Bridge`; the words after the learned contexts."""
        return {item.name: (item.text,) for item in self._read_classes(head, texts)}

    def _read_classes(self, head: str, texts: Sequence[str] | Mapping[str, str]) -> list[NewClass]:
        if self.expression_head is None or head != self.expression_head:
            raise ConfigError(
                f"New classes cannot be given to {head!r}.",
                remedy=f"The expression head with prototypes is {self.expression_head!r}.",
            )
        prior = self.prior if isinstance(self.prior, str) else "facs"
        return read_classes(texts, self.spaces[head].labels, self._units(), self.style, prior)

    def _units(self) -> AUSet | None:
        return None if self.au_head is None else cast(AUSet, self.spaces[self.au_head])

    def _texts(self) -> dict[str, list[str]]:
        """Texts of every label, in the style of this bridge."""
        return {
            name: unit_texts(space, self.style)
            if isinstance(space, AUSet)
            else prompt_texts(cast(ExpressionSet, space), self._units(), self.style)
            for name, space in self.spaces.items()
        }

    def _encode(self) -> dict[str, Tensor]:
        """T_a and T_e by head name."""
        learners = [cast(PromptLearner, learner) for learner in self.prompts.values()]
        return dict(zip(self.prompts, encode_prompts(self.text, learners), strict=True))

    def _fuse(self, texts: dict[str, Tensor]) -> dict[str, Tensor]:
        """T_a' and T_e' by head name."""
        if self.map is None or self.au_head is None or self.expression_head is None:
            return texts
        to_expression, to_unit = self.map()
        unit, expression = texts[self.au_head], texts[self.expression_head]
        fused = dict(texts)
        if self.alpha is not None:
            fused[self.expression_head] = _borrow(expression, self.alpha, to_expression, unit)
        if self.beta is not None:
            fused[self.au_head] = _borrow(unit, self.beta, to_unit, expression)
        return fused


def _borrow(own: Tensor, gate: Tensor, association: Tensor, other: Tensor) -> Tensor:
    """norm(own + σ(gate) · association · other), in float32 also under autocast."""
    with torch.autocast(own.device.type, enabled=False):
        mixed = own.float() + gate.float().sigmoid() * (association.float() @ other.float())
        return F.normalize(mixed, dim=-1).to(own.dtype)


def _roles(spaces: Mapping[str, LabelSpace]) -> tuple[str | None, str | None]:
    """Names of the AU head and the expression head; raises ConfigError for other numbers or kinds of heads."""
    units = [name for name, space in spaces.items() if isinstance(space, AUSet)]
    expressions = [name for name, space in spaces.items() if isinstance(space, ExpressionSet)]
    if not spaces or len(units) > 1 or len(expressions) > 1 or len(units) + len(expressions) < len(spaces):
        given = ", ".join(f"{name} ({space.kind})" for name, space in spaces.items()) or "none"
        raise ConfigError(
            f"A bridge provides prototypes for one AU head and one expression head, not for {given}.",
            remedy="Give the other heads `prototypes: false`.",
        )
    return next(iter(units), None), next(iter(expressions), None)


def _table(
    prior: str | Sequence[Sequence[float]], expressions: LabelSpace, units: LabelSpace
) -> tuple[list[list[float]], str | list[list[float]]]:
    """Prior as a table [E][A], and its entry in a configuration, which does not refer to files."""
    if isinstance(prior, str):
        table = [
            list(row) for row in association(cast(ExpressionSet, expressions), cast(AUSet, units), prior)
        ]
        return table, prior if prior == "facs" or prior in PRIORS else table
    table = [list(map(float, row)) for row in prior]
    if [len(row) for row in table] != [len(units)] * len(expressions):
        raise ConfigError(
            f"The prior has rows of {[len(row) for row in table]} numbers, but there are {len(expressions)} "
            f"expressions and {len(units)} units."
        )
    return table, table
