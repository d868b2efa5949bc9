"""Head for action units of micro-expressions, from the motion of patches in each unit's region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import ActionUnit, AUSet, LabelSpace, au_name, au_prompt_pair
from affectkit.methods.micro_au_clip.gda import GlobalDependencyAttention
from affectkit.methods.micro_au_clip.pta import PatchTokenAttention
from affectkit.models import AffectModel, Explanation
from affectkit.models.features import Features
from affectkit.models.heads import AUHead
from affectkit.models.regions import PatchRegions
from affectkit.models.registry import register
from affectkit.models.temporal import MotionTokens
from affectkit.models.text import PromptLearner, TextTower

__all__ = ["MicroAUHead", "MicroAUOutputs"]

_LOWEST_TEMPERATURE = 0.01


@dataclass(frozen=True, slots=True)
class MicroAUOutputs:
    """Outputs of a `MicroAUHead` for a batch, for losses and figures.

    Args:
        logits: [B, A].
        units: [B, A, D], each unit's vector after attention between units.
        local: [B, A, D], each unit's vector before it.
        places: int64 [B, A, P], the patches of each unit's region, row by row; P is 18 or 8.
        weights: float [B, A, P], 0 for entries without a patch.
        attention: [B, A, P], attention of each unit, with sum 1.
    """

    logits: Tensor
    units: Tensor
    local: Tensor
    places: Tensor
    weights: Tensor
    attention: Tensor


@register("head", "micro_au")
class MicroAUHead(AUHead):
    r"""Occurrence of action units in a brief movement, from patches, dependencies between units, and texts.

    Each unit reads the motion from onset to apex in the patches of its region (patch token attention). The units then
    attend to each other (global dependency attention). Each unit's vector :math:`f'` is compared with a text for an
    active unit and one for an inactive unit: :math:`z = (\cos(f', t^+) - \cos(f', t^-)) / \tau`, so that
    :math:`\sigma(z)` is the softmax over the two texts. Without texts, z is a linear function of :math:`f'` with
    weights for each unit.

    Features must have patches (`tokens`). Without landmarks, those of a mean face are used.

    Args:
        in_features: Width D of patches and frames.
        space: An `AUSet`, or its name: "casme2_8", "AU1,AU12".
        motion: Kind of motion, see `affectkit.models.temporal.MotionTokens`; "apex" for pictures of optical flow.
        region: Patches per side of a region: 3, or 2 for a coarse grid; see `affectkit.models.regions.PatchRegions`.
        pta: Read regions by attention instead of the weighted mean of their patches.
        gda: Use attention between units.
        text: Arguments of `affectkit.models.text.TextTower`; None for no texts.
        text_tuning: Trained parts of the text tower, its arguments `trainable` or `lora`; None for a frozen tower. A
            frozen tower encodes the texts once and is not kept; a trained one encodes them in every step.
        n_ctx: Number of learned context vectors before the texts, shared by all; 0 for the texts alone.
        attention_heads: Heads of both attentions; must divide the width.
        gate: Initial weight of the attention between units.
        dropout: Probability, in both attentions.
        target: Name of the annotation to learn from.

    Attributes:
        tau: The learned temperature τ, clamped to at least 0.01.

    Raises:
        ConfigError: The text tower has another width, the heads do not divide the width, or context vectors are to be
            learned with the token embedding, which they replace.
        LabelSpaceError: A unit has no known region.

    Example:
        >>> head = MicroAUHead(64, "AU4,AU12", text={"model_name": "affectkit-tiny"})
        >>> clips = Features(torch.zeros(2, 64), torch.zeros(2, 2, 64), torch.zeros(2, 2, 16, 64))
        >>> head(clips).shape
        torch.Size([2, 2])

    References:
        Micro-AU CLIP, arXiv 2603.16302, which fine-tunes the text tower. Details that its abstract does not give are
        our own design; see the documentation.
    """

    meaning = "probability of each unit, for a clip from onset to apex"
    sees_movements = True
    texts: Tensor
    tokens: Tensor
    eot: Tensor

    def __init__(
        self,
        in_features: int,
        space: str | LabelSpace,
        *,
        motion: Literal["difference", "concat", "led", "apex"] = "difference",
        region: Literal[2, 3] = 3,
        pta: bool = True,
        gda: bool = True,
        text: dict[str, Any] | None = None,
        text_tuning: dict[str, Any] | None = None,
        n_ctx: int = 0,
        attention_heads: int = 8,
        gate: float = 0.1,
        dropout: float = 0.0,
        target: str = "au",
    ) -> None:
        super().__init__(in_features, space, dropout=dropout)
        units = tuple(cast("AUSet", self.space))  # a space of kind occurrence is an AUSet
        self.target = target  # in the configuration too: macro and micro units may share a model
        del self.body, self.out
        self.motion = MotionTokens(in_features, motion)
        self.regions = PatchRegions(units, side=region)
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
        text = None if text is None else {**text, **(text_tuning or {})}
        self._build_texts(units, text, n_ctx)
        self.arguments = {
            "space": self.space.name,
            "motion": motion,
            "region": region,
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
        """Attention of the units within a clip and, with `gda`, between units."""
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
                f"The texts have the width {tower.num_features}, but the pictures {self.in_features}.",
                remedy="Use image and text tower of the same CLIP.",
            )
        pairs = [prompt for unit in units for prompt in au_prompt_pair(unit)]
        self.tau = nn.Parameter(torch.tensor(0.07))
        self.register_buffer("texts", rearrange(tower.encode(pairs), "(a s) d -> a s d", s=2))
        if n_ctx:
            if isinstance(tower.token_embedding, nn.Parameter):
                raise ConfigError(
                    "Learned context vectors cannot be combined with a trained token embedding.",
                    remedy="Set `n_ctx: 0`, or train a number of last blocks of the text tower.",
                )
            self.tower, self.prompts = tower, PromptLearner(pairs, tower, n_ctx=n_ctx, class_specific=False)
        elif any(parameter.requires_grad for parameter in tower.parameters()):
            self.tower = tower
            tokens = tower.tokenize(pairs)
            eot = tokens.argmax(dim=-1)
            self.register_buffer("tokens", tokens[:, : int(eot.max()) + 1], persistent=False)
            self.register_buffer("eot", eot, persistent=False)
        if self.attend is not None:
            with torch.no_grad():
                self.attend.queries.copy_(tower.encode([au_name(unit) for unit in units]))

    @property
    def temperature_of_texts(self) -> Tensor:
        """τ, a scalar; 0.07 without texts."""
        return torch.tensor(0.07) if self.tau is None else self.tau.clamp(min=_LOWEST_TEMPERATURE)

    def outputs(self, features: Features) -> MicroAUOutputs:
        """Compute all outputs.

        Args:
            features: With `frames` [B, T, D] and `tokens` [B, T, N, D]; N must be a square number.

        Raises:
            ValueError: The backbone gives no patches, or they do not form a square.
        """
        if features.tokens is None or features.frames is None:
            raise ValueError("A micro-expression head needs patches: give the backbone `tokens: true`.")
        B, _, N, _ = features.tokens.shape
        grid = round(N**0.5)
        if grid * grid != N:
            raise ValueError(f"{N} patches do not form a square.")
        landmarks, mask = features.landmarks, features.landmarks_mask
        places, weights = self.regions(
            None if landmarks is None else landmarks[:, 0],  # of the onset
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
            local = einsum(attention, tokens[batch, places], "b a p, b a p d -> b a d")
        units = local
        if self.depend is not None:
            units = self.depend(local, self.motion(features.frames, features.frame_mask))
        return MicroAUOutputs(self._answer(units), units, local, places, weights, attention)

    def _encoded_texts(self) -> Tensor:
        """Unit vectors [A, 2, D] of the texts of an active and an inactive unit."""
        if self.tower is None:
            return self.texts
        if self.prompts is not None:
            embeddings, eot = self.prompts()
        else:
            embeddings, eot = self.tower.embed_tokens(self.tokens), self.eot
        return rearrange(F.normalize(self.tower(embeddings, eot), dim=-1), "(a s) d -> a s d", s=2)

    def _answer(self, units: Tensor) -> Tensor:
        if self.tau is None:
            return (units * self.weight).sum(dim=-1) + self.bias
        texts = self._encoded_texts()
        with torch.autocast(units.device.type, enabled=False):
            direction = F.normalize(units.float(), dim=-1)
            cosine = einsum(direction, texts.float(), "b a d, a s d -> b a s")
            logits = (cosine[..., 0] - cosine[..., 1]) / self.temperature_of_texts.float()
        return logits.to(self.texts.dtype)

    def forward(self, features: Features | Tensor) -> Tensor:
        """Logits [B, A] of `Features` with patches; see `outputs`.

        Raises:
            ValueError: There are no patches, or `features` is a plain tensor.
        """
        if not isinstance(features, Features):
            raise ValueError("A micro-expression head needs patches: give it Features with `tokens`.")
        return self.outputs(features).logits
