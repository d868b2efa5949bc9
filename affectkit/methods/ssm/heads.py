"""Heads with a linear layer and a prototype for each label."""

from __future__ import annotations

from typing import Any, ClassVar, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import LabelSpace
from affectkit.methods.ssm.smoothing import Smoothing, SmoothLogits
from affectkit.models.features import Features
from affectkit.models.heads import AUHead, ExpressionHead, Head
from affectkit.models.registry import build, register
from affectkit.models.temporal import Temporal

__all__ = ["PrototypeAUHead", "PrototypeExpressionHead", "PrototypeHead"]


class PrototypeHead(Head):
    r"""Base class of heads with prototypes: :math:`z = W h + b + s \cos(h, P)`.

    h is the embedding of the features by the head's own temporal module, and P [L, D] contains one prototype per label.
    A bridge provides P during training; the head keeps a copy (`prototypes`, initially zeros) for use without the
    bridge. The second term :math:`z^p = s \cos(h, P)` is a prediction of its own, bounded by ±s.

    Args:
        in_features: Width of the features.
        space: The labels, or their name: "bp4d12", "basic7", "AU1,AU12".
        per_frame: Predict for every frame or once per clip; the default depends on the subclass.
        temporal: Configuration of the head's own temporal module: `{"type": "framewise"}`.
        prototypes: Whether to use prototypes.
        scale: Factor of the cosine.
        smoothing: Learned smoothing of frame logits over time, see `SmoothLogits`.
        linear: Whether to use a linear layer.
        dropout: Probability, before the linear layer.

    Attributes:
        temporal: The head's temporal module, or None.
        width: D, the width of h.
        scale: s.
        uses_prototypes: Whether the second term is used.
        linear: Whether the first term is used.
        prototypes: float [L, D], a buffer.
        smooth: The smoothing of logits, or None.

    Raises:
        ConfigError: An argument is out of range, or neither term is used.
    """

    by_frame: ClassVar[bool]

    def __init__(
        self,
        in_features: int,
        space: str | LabelSpace,
        *,
        per_frame: bool | None = None,
        temporal: dict[str, Any] | None = None,
        prototypes: bool = True,
        scale: float = 10.0,
        smoothing: Smoothing = "none",
        linear: bool = True,
        dropout: float = 0.0,
    ) -> None:
        per_frame = self.by_frame if per_frame is None else per_frame
        super().__init__(in_features, space, per_frame=per_frame, dropout=dropout)
        if not prototypes and not linear:
            raise ConfigError(
                "A head needs prototypes or a linear layer.", remedy="Set `prototypes` or `linear` to true."
            )
        if not scale > 0 or smoothing not in get_args(Smoothing):
            raise ConfigError(
                f"scale={scale} must be positive, and smoothing={smoothing!r} one of "
                f"{', '.join(get_args(Smoothing))}."
            )
        if smoothing != "none" and not (self.per_frame and linear):
            raise ConfigError(
                "Smoothing needs a linear layer and frame logits.",
                remedy="Set `per_frame: true` and `linear: true`, or `smoothing: none`.",
            )
        self.temporal: Temporal | None = (
            None if temporal is None else build("temporal", temporal, in_features=self.in_features)
        )
        self.width = self.in_features if self.temporal is None else self.temporal.num_features
        self.scale = scale
        self.uses_prototypes = prototypes
        if prototypes:
            self.answers_by = "linear layer and prototypes" if linear else "prototypes"
        self.linear = linear
        if linear:
            self.out = nn.Linear(self.width, len(self.space))
        else:
            del self.out
        if prototypes:
            self.register_buffer("prototypes", torch.zeros(len(self.space), self.width))
        self.smooth = None if smoothing == "none" else SmoothLogits(len(self.space), smoothing)
        del self.arguments["hidden"]
        self.arguments.update(
            temporal=None if self.temporal is None else self.temporal.config,
            prototypes=prototypes,
            scale=scale,
            smoothing=smoothing,
            linear=linear,
        )

    def embed(self, features: Features | Tensor) -> Tensor:
        """Compute the embedding h.

        Args:
            features: Features; or a tensor from any other network: with a temporal module, [..., T, in_features] for
                clips and [N, in_features] for stills, otherwise [..., in_features].

        Returns:
            [B, D], or [B, T, D] per frame; for a tensor, with the same leading axes.

        Raises:
            ValueError: The features lack vectors of single frames.
            ConfigError: A clip is longer than `max_frames` of the temporal module.
        """
        if self.temporal is None:
            return self.read(features)
        if isinstance(features, Features):
            return self.read(self.temporal(features))
        lead, still = features.shape[:-2], features.ndim < 3
        clips = features.reshape(-1, 1 if still else features.shape[-2], features.shape[-1])
        h = self.read(self.temporal(Features.of_frames(clips, None)))
        return h.reshape(*(features.shape[:-1] if still or self.per_frame else lead), self.width)

    def compare(self, h: Tensor, prototypes: Tensor | None = None) -> Tensor:
        """Prototype logits z^p, computed in float32 and returned in the head's type.

        Args:
            h: [..., D].
            prototypes: P [L, D]; the head's own by default.

        Returns:
            [..., L], from -scale to scale; 0 for zero vectors.
        """
        given = self.prototypes if prototypes is None else prototypes
        with torch.autocast(h.device.type, enabled=False):
            cosine = F.normalize(h.float(), dim=-1) @ F.normalize(given.float(), dim=-1).T
        return self.scale * cosine.to(self.prototypes.dtype)

    def both(
        self, features: Features | Tensor, prototypes: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits and prototype logits of the same embedding.

        Args:
            features: As in `embed`.
            prototypes: P [L, D]; the head's own by default.

        Returns:
            z and z^p, each [B, L] or [B, T, L]; z^p is None without prototypes, and z is z^p without a linear layer.
        """
        h = self.embed(features)
        compared = self.compare(h, prototypes) if self.uses_prototypes else None
        if not self.linear:
            return compared, compared  # type: ignore[return-value]  # a head has one or the other
        logits = self.out(self.body(h))
        logits = logits if compared is None else logits + compared
        if self.smooth is not None:
            mask = features.frame_mask if isinstance(features, Features) else None
            logits = self.smooth(logits, mask)
        return logits, compared

    def forward(self, features: Features | Tensor, prototypes: Tensor | None = None) -> Tensor:
        """Logits z, [B, L] or per frame [B, T, L]; see `both` for the arguments."""
        return self.both(features, prototypes)[0]

    def by_prototypes(self, space: LabelSpace | None = None, prototypes: Tensor | None = None) -> Self:
        """A head that predicts by z^p alone, over the same or other labels, with this head's temporal module.

        Thresholds and temperature are reset, because they were fitted to other logits.

        Args:
            space: The labels; this head's by default.
            prototypes: P [L, D] of these labels; this head's by default.

        Raises:
            ConfigError: This head has no prototypes.
        """
        if not self.uses_prototypes:
            super().by_prototypes()
        space = self.space if space is None else space
        config = {**self.config, "space": space.name, "linear": False, "smoothing": "none"}
        head: Self = build("head", config, in_features=self.in_features)
        head.to(self.prototypes)
        if self.temporal is not None:
            head.temporal = self.temporal
        head.prototypes.copy_(self.prototypes if prototypes is None else prototypes)
        return head.train(self.training)


@register("head", "prototype_au")
class PrototypeAUHead(PrototypeHead, AUHead):
    """Occurrence of action units with prototypes, per frame by default, p = sigmoid(z); see `PrototypeHead`.

    Example:
        >>> head = PrototypeAUHead(8, "AU1,AU12", temporal={"type": "framewise", "heads": 2})
        >>> logits, compared = head.both(torch.zeros(3, 5, 8))
        >>> logits.shape, compared.shape
        (torch.Size([3, 5, 2]), torch.Size([3, 5, 2]))

    References:
        SSM, arXiv 2604.10541.
    """

    by_frame = True


@register("head", "prototype_expression")
class PrototypeExpressionHead(PrototypeHead, ExpressionHead):
    """Exclusive expression classes with prototypes, per clip by default, p = softmax(z); see `PrototypeHead`.

    Example:
        >>> head = PrototypeExpressionHead(8, "basic7", temporal={"type": "clip_token", "heads": 2})
        >>> head(torch.zeros(3, 5, 8)).shape, head(torch.zeros(3, 8)).shape
        (torch.Size([3, 7]), torch.Size([3, 7]))

    References:
        SSM, arXiv 2604.10541.
    """

    by_frame = False
