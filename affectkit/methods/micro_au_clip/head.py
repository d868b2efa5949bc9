"""Action units of micro-expressions, from the motion of the patches where each unit shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import ActionUnit, AUSet, LabelSpace, au_name, au_prompt_pair
from affectkit.methods.micro_au_clip.gda import GlobalDependencyAttention
from affectkit.methods.micro_au_clip.pta import PatchTokenAttention
from affectkit.models import AffectModel, Explanation
from affectkit.models.features import Features
from affectkit.models.heads import AUHead
from affectkit.models.registry import register
from affectkit.models.regions import PatchRegions
from affectkit.models.temporal import MotionTokens
from affectkit.models.text import PromptLearner, TextTower

__all__ = ["MicroAUHead", "MicroAUOutputs"]

_LOWEST_TEMPERATURE = 0.01


@dataclass(frozen=True, slots=True)
class MicroAUOutputs:
    """What a `MicroAUHead` made of a batch, for losses and figures.

    Args:
        logits: [B, A].
        units: [B, A, D], each unit's vector after the others had their say.
        local: [B, A, D], before.
        places: int64 [B, A, 18], the patches of each unit's region, row by row.
        weights: float [B, A, 18], 0 where there is no patch.
        attention: [B, A, 18], where each unit looked; sums to 1.
    """

    logits: Tensor
    units: Tensor
    local: Tensor
    places: Tensor
    weights: Tensor
    attention: Tensor


@register("head", "micro_au")
class MicroAUHead(AUHead):
    r"""Which action units a brief movement shows: each by itself, then together, then against texts.

    The motion of the patches from onset to apex is read region by region (patch token attention), the units then
    attend to each other (global dependency attention), and each unit's vector :math:`f'` is compared with a text that
    says it acts and one that says it does not: :math:`z = (\cos(f', t^+) - \cos(f', t^-)) / \tau`, so that
    :math:`\sigma(z)` is the softmax over the two texts. Without texts, a linear function of each unit's own reads
    :math:`f'`.

    Features must have patches (`tokens`) and should have landmarks; a mean face stands in for them.

    Args:
        in_features: Width D of patches and frames.
        space: An `AUSet`, or its name: "casme2_8", "AU1,AU12".
        motion: How frames become motion, see `affectkit.models.temporal.MotionTokens`.
        pta: Read regions by attention; else take the weighted mean of their patches.
        gda: Let units attend to each other.
        text: Arguments of `affectkit.models.text.TextTower`; None for no texts.
        n_ctx: Learned context vectors before the texts, shared by all; 0 keeps the texts fixed and the tower out.
        attention_heads: Heads of both attentions; must divide the width.
        gate: How much of the units' attention to each other is added at the beginning.
        dropout: Probability, in both attentions.
        target: Name of the annotation it learns from.

    Attributes:
        tau: The temperature τ, learned, used as at least 0.01.

    Raises:
        ConfigError: The text tower is of another width, or heads do not divide it.
        LabelSpaceError: A unit has no known region.

    Example:
        >>> head = MicroAUHead(64, "AU4,AU12", text={"model_name": "affectkit-tiny"})
        >>> clips = Features(torch.zeros(2, 64), torch.zeros(2, 2, 64), torch.zeros(2, 2, 16, 64))
        >>> head(clips).shape
        torch.Size([2, 2])

    References:
        Micro-AU CLIP, arXiv 2603.16302. What its abstract does not say is our own design; see the documentation.
    """

    meaning = "probability of each unit, for a clip from onset to apex"
    sees_movements = True
    texts: Tensor

    def __init__(
        self,
        in_features: int,
        space: str | LabelSpace,
        *,
        motion: Literal["difference", "concat", "led"] = "difference",
        pta: bool = True,
        gda: bool = True,
        text: dict[str, Any] | None = None,
        n_ctx: int = 0,
        attention_heads: int = 8,
        gate: float = 0.1,
        dropout: float = 0.0,
        target: str = "au",
    ) -> None:
        super().__init__(in_features, space, dropout=dropout)
        units = tuple(cast("AUSet", self.space))  # an occurrence space is one
        self.target = target  # of this head: macro and micro units may share a model
        del self.body, self.out
        self.motion = MotionTokens(in_features, motion)
        self.regions = PatchRegions(units)
        self.attend = (
            PatchTokenAttention(in_features, len(units), heads=attention_heads, dropout=dropout)
            if pta
            else None
        )
        self.depend = (
            GlobalDependencyAttention(
                in_features, len(units), heads=attention_heads, gate=gate, dropout=dropout
            )
            if gda
            else None
        )
        self._build_texts(units, text, n_ctx)
        self.arguments = {
            "space": self.space.name,
            "motion": motion,
            "pta": pta,
            "gda": gda,
            "text": None
            if text is None
            else {k: v for k, v in text.items() if k not in ("pretrained", "weights")},
            "n_ctx": n_ctx,
            "attention_heads": attention_heads,
            "gate": gate,
            "dropout": dropout,
            "target": target,
        }

    def explanations(self, model: AffectModel, name: str) -> tuple[Explanation, ...]:
        """Where the units look in a clip, and which units look at which."""
        from affectkit.methods.micro_au_clip.dependency_figure import explain_dependencies
        from affectkit.methods.micro_au_clip.region_figure import explain_regions

        regions = explain_regions(model, name)
        return (regions,) if self.depend is None else (regions, explain_dependencies(model, name))

    def _build_texts(self, units: tuple[ActionUnit, ...], text: Mapping[str, Any] | None, n_ctx: int) -> None:
        self.tower: TextTower | None = None
        self.prompts: PromptLearner | None = None
        self.tau: nn.Parameter | None = None
        if text is None:
            self.weight = nn.Parameter(torch.randn(len(units), self.in_features) * self.in_features**-0.5)
            self.bias = nn.Parameter(torch.zeros(len(units)))
            return
        tower = TextTower(**text)
        if tower.num_features != self.in_features:
            raise ConfigError(
                f"The texts have the width {tower.num_features}, and the pictures {self.in_features}.",
                remedy="Take image and text tower of one CLIP.",
            )
        pairs = [prompt for unit in units for prompt in au_prompt_pair(unit)]
        self.tau = nn.Parameter(torch.tensor(0.07))
        if n_ctx:
            self.tower, self.prompts = tower, PromptLearner(pairs, tower, n_ctx=n_ctx, class_specific=False)
        self.register_buffer("texts", tower.encode(pairs).reshape(len(units), 2, -1))
        if self.attend is not None:
            with torch.no_grad():
                self.attend.queries.copy_(tower.encode([au_name(unit) for unit in units]))

    @property
    def temperature_of_texts(self) -> Tensor:
        """τ, a scalar; 0.07 where there are no texts."""
        return torch.tensor(0.07) if self.tau is None else self.tau.clamp(min=_LOWEST_TEMPERATURE)

    def outputs(self, features: Features) -> MicroAUOutputs:
        """Everything the head computes.

        Args:
            features: With `frames` [B, T, D] and `tokens` [B, T, N, D]; N must be a square number.

        Raises:
            ValueError: The backbone gives no patches, or they form no square.
        """
        if features.tokens is None or features.frames is None:
            raise ValueError("A micro-expression head needs patches: give the backbone `tokens: true`.")
        B, _, N, _ = features.tokens.shape
        grid = round(N**0.5)
        if grid * grid != N:
            raise ValueError(f"{N} patches form no square.")
        landmarks, mask = features.landmarks, features.landmarks_mask
        places, weights = self.regions(
            None if landmarks is None else landmarks[:, 0],  # those of the onset
            None if landmarks is None or mask is None else mask[:, 0],
            clips=B,
            picture=features.picture or grid,
            grid=grid,
        )
        tokens = self.motion(features.tokens, features.frame_mask)
        if self.attend is not None:
            local, attention = self.attend(tokens, places, weights)
        else:
            attention = (weights / weights.sum(dim=-1, keepdim=True)).to(tokens.dtype)
            batch = torch.arange(B, device=tokens.device)[:, None, None]
            local = torch.einsum("bap,bapd->bad", attention, tokens[batch, places])
        units = local
        if self.depend is not None:
            units = self.depend(local, self.motion(features.frames, features.frame_mask))
        return MicroAUOutputs(self._answer(units), units, local, places, weights, attention)

    def _answer(self, units: Tensor) -> Tensor:
        if self.tau is None:
            return (units * self.weight).sum(dim=-1) + self.bias
        texts = self.texts
        if self.tower is not None and self.prompts is not None:
            texts = F.normalize(self.tower(*self.prompts()), dim=-1).reshape(self.texts.shape)
        with torch.autocast(units.device.type, enabled=False):
            direction = F.normalize(units.float(), dim=-1)
            cosine = torch.einsum("bad,asd->bas", direction, texts.float())
            logits = (cosine[..., 0] - cosine[..., 1]) / self.temperature_of_texts.float()
        return logits.to(self.texts.dtype)

    def forward(self, features: Features | Tensor) -> Tensor:
        """Logits.

        Args:
            features: As `outputs` takes them.

        Returns:
            [B, A].

        Raises:
            ValueError: There are no patches: a plain tensor will not do.
        """
        if not isinstance(features, Features):
            raise ValueError("A micro-expression head reads patches; give it Features with `tokens`.")
        return self.outputs(features).logits
