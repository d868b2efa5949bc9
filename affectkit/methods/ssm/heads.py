"""Heads that compare what they see with a prototype of each label, beside a linear layer."""

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
    r"""What heads with prototypes share: :math:`z = W h + b + s \cos(h, P)`.

    h is the embedding that the head's own temporal module makes of the features, and P [L, D] has a prototype of
    each label. A bridge gives P while training; the head keeps a copy (`prototypes`, zeros until it is set), with
    which it works alone. The second term :math:`z^p = s \cos(h, P)` is an answer of its own, bounded by ±s.

    Args:
        in_features: Width of what it reads.
        space: The labels, or their name: "bp4d12", "basic7", "AU1,AU12".
        per_frame: Answer for every frame or once a clip; by default as the subclass says.
        temporal: Configuration of a temporal module of its own: `{"type": "framewise"}`.
        prototypes: Whether to use prototypes.
        scale: What the cosine is multiplied by.
        smoothing: Learned smoothing of frame logits over time, see `SmoothLogits`.
        linear: Whether there is a linear layer.
        dropout: Probability, before the linear layer.

    Attributes:
        temporal: The head's temporal module, or None.
        width: D, the width of h.
        scale: s.
        uses_prototypes: Whether there is a second term.
        linear: Whether there is a first.
        prototypes: float [L, D], a buffer.
        smooth: What logits pass through at last, or None.

    Raises:
        ConfigError: An argument is out of range, or the head would have neither term.
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
                "A head without prototypes and without a linear layer has no answer.", remedy="Give it one."
            )
        if not scale > 0 or smoothing not in get_args(Smoothing):
            raise ConfigError(
                f"scale={scale} must be positive, and smoothing={smoothing!r} one of "
                f"{', '.join(get_args(Smoothing))}."
            )
        if smoothing != "none" and not (self.per_frame and linear):
            raise ConfigError(
                "Only the logits of frames can be smoothed, and prototype logits are not.",
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
        """The embedding h.

        Args:
            features: Features; or a tensor from any other network, [..., T, in_features] for clips and
                [N, in_features] for stills where the head has a temporal module, else [..., in_features].

        Returns:
            [B, D], or [B, T, D] where the head works on frames; for a tensor with the same leading axes.

        Raises:
            ValueError: Vectors of single frames are needed and there are none.
            ConfigError: A clip is longer than the temporal module was built for.
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
        """Prototype logits z^p, in float32 unless the head is of half precision.

        Args:
            h: [..., D].
            prototypes: P [L, D]; the head's own by default.

        Returns:
            [..., L], from -scale to scale; 0 where a vector is zero.
        """
        given = self.prototypes if prototypes is None else prototypes
        with torch.autocast(h.device.type, enabled=False):
            cosine = F.normalize(h.float(), dim=-1) @ F.normalize(given.float(), dim=-1).T
        return self.scale * cosine.to(self.prototypes.dtype)

    def both(
        self, features: Features | Tensor, prototypes: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits and prototype logits of one embedding.

        Args:
            features: As `embed` takes them.
            prototypes: P [L, D]; the head's own by default.

        Returns:
            z and z^p, each [B, L] or [B, T, L]; z^p is None for a head without prototypes, and z is z^p for one
            without a linear layer.
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
        """Logits z.

        Args:
            features: As `embed` takes them.
            prototypes: P [L, D]; the head's own by default.

        Returns:
            [B, L], or [B, T, L] where the head works on frames.
        """
        return self.both(features, prototypes)[0]

    def by_prototypes(self, space: LabelSpace | None = None, prototypes: Tensor | None = None) -> Self:
        """A head that answers by z^p alone, over the same labels or others, with this one's temporal module.

        Thresholds and temperature, which were fitted to other logits, are not taken over.

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
    """Which action units are present, by default in every frame; see `PrototypeHead`.

    Units are answered for independently: p = sigmoid(z).

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
    """Which expression is shown, by default once a clip; see `PrototypeHead`.

    Expressions exclude one another: p = softmax(z).

    Example:
        >>> head = PrototypeExpressionHead(8, "basic7", temporal={"type": "clip_token", "heads": 2})
        >>> head(torch.zeros(3, 5, 8)).shape, head(torch.zeros(3, 8)).shape
        (torch.Size([3, 7]), torch.Size([3, 7]))

    References:
        SSM, arXiv 2604.10541.
    """

    by_frame = False
