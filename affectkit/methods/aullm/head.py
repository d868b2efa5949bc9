"""Head for action units of a brief movement, which a language model reads as two tokens."""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

from einops import rearrange
from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.facs import AUSet, LabelSpace, au_name
from affectkit.methods.aullm.evidence import ChannelAttention, FlatProjector, GranularProjector
from affectkit.methods.aullm.graph import NodePool, UnitGraph, UnitNodes
from affectkit.methods.aullm.reader import EncoderReader, LanguageReader
from affectkit.models.features import Features
from affectkit.models.heads import AUHead
from affectkit.models.registry import register

__all__ = ["AULLMHead"]

Projector = Literal["granular", "flat"]
Slots = Literal["first", "last"]


@register("head", "aullm")
class AULLMHead(AUHead):
    """Occurrence of action units in a brief movement, read by a language model from two tokens.

    The content token is a projection of the maps (MGE-EFP, or the simpler projector of AU-LLM). The instruction token
    pools one node for each unit, after attention along the edges of a graph (R-AUGNN). A language model reads both and
    a constant prompt; its last hidden state gives the logits through a linear layer. No text is generated.

    Features must have places (`tokens`), such as those of `affectkit.models.LEDMaps`.

    Args:
        in_features: Width C of places.
        space: An `AUSet`, or its name: "casme2_8", "AU1,AU12".
        language: Arguments of `affectkit.models.language.LanguageSettings`, such as `{"name": "tiny"}`; None for a
            two-layer encoder over both tokens and one for each unit, instead of a language model.
        projector: Content token: "granular" for MGE-EFP, "flat" for AU-LLM's.
        laplacian: Use the Laplacian in MGE-EFP.
        gate: Learn the weights of the operators in MGE-EFP.
        graph: Relate the nodes; otherwise they are pooled as they are.
        slots: Place of both tokens: "first", before the prompt, as in the paper; "last", after it, so that the prompt
            is read once for a whole batch.
        dropout: Probability, before the MLP of the content token.
        target: Name of the annotation to learn from.

    Attributes:
        node_features: Width D of the nodes.

    Raises:
        ConfigError: An option is unknown, or as for `affectkit.models.language.language_model`.
        MissingDependencyError: A package of the extra `llm` is not installed.
        WeightsError: The weights of the language model are not available.

    Example:
        >>> import torch
        >>> head = AULLMHead(8, "AU4,AU12", language={"name": "tiny"})
        >>> head(Features(torch.zeros(2, 8), tokens=torch.zeros(2, 4, 324, 8))).shape
        torch.Size([2, 2])

    References:
        AU-LLM, arXiv 2507.21778, and AULLM++, arXiv 2603.08387. Details that their summaries do not give are our own
        design; see the documentation.
    """

    meaning = "probability of each unit, for a clip from onset to apex"
    sees_movements = True
    node_features = 128

    def __init__(
        self,
        in_features: int,
        space: str | LabelSpace,
        *,
        language: dict[str, Any] | None = None,
        projector: Projector = "granular",
        laplacian: bool = True,
        gate: bool = True,
        graph: bool = True,
        slots: Slots = "first",
        dropout: float = 0.0,
        target: str = "au",
    ) -> None:
        super().__init__(in_features, space, dropout=dropout)
        for option, known in ((projector, get_args(Projector)), (slots, get_args(Slots))):
            if option not in known:
                raise ConfigError(f"Unknown option {option!r}.", remedy=f"Known: {', '.join(known)}.")
        units = cast("AUSet", self.space)  # a space of kind occurrence is an AUSet
        self.target = target
        del self.body, self.out
        nodes = self.node_features
        names = [au_name(unit) for unit in units]
        self.reader = (
            EncoderReader(len(units), nodes)
            if language is None
            else LanguageReader(language, names, nodes, slots_first=slots == "first")
        )
        width = self.reader.width
        self.attend = ChannelAttention(in_features)
        self.content: nn.Module = (
            FlatProjector(in_features, width, dropout=dropout)
            if projector == "flat"
            else GranularProjector(in_features, width, laplacian=laplacian, gate=gate, dropout=dropout)
        )
        self.nodes = UnitNodes(in_features, len(units), nodes)
        self.graph = UnitGraph(units, nodes) if graph else None
        self.node_out = nn.Linear(nodes, 1)
        self.pool = NodePool(nodes, width)
        self.out = nn.Linear(width, len(units))
        self.arguments = {
            "space": self.space.name,
            "language": None if language is None else self.reader.settings,
            "projector": projector,
            "laplacian": laplacian,
            "gate": gate,
            "graph": graph,
            "slots": slots,
            "dropout": dropout,
            "target": target,
        }

    def encode(self, features: Features) -> tuple[Tensor, Tensor]:
        """Content tokens [B, W], and nodes [B, A, D] after the graph.

        Args:
            features: With `tokens` [B, T, N, C]; N must be a square number.

        Raises:
            ValueError: The backbone gives no places, or they do not form a square.
        """
        maps = self.maps(features)
        nodes = self.nodes(maps, self.reader.names())
        return self.content(maps), nodes if self.graph is None else self.graph(nodes)

    def maps(self, features: Features) -> Tensor:
        """Maps [B, C, T, H, W] after channel attention; see `encode`."""
        if features.tokens is None:
            raise ValueError("This head needs places: use the backbone LEDMaps, or one with `tokens: true`.")
        N = features.tokens.shape[2]
        side = round(N**0.5)
        if side * side != N:
            raise ValueError(f"{N} places do not form a square.")
        maps: Tensor = self.attend(rearrange(features.tokens, "b t (h w) c -> b c t h w", h=side))
        return maps

    def answer(self, content: Tensor, nodes: Tensor) -> Tensor:
        """Logits [B, A] of content tokens [B, W] and nodes [B, A, D]."""
        logits: Tensor = self.out(self.reader(content, self.pool(nodes)))
        return logits

    def answer_nodes(self, nodes: Tensor) -> Tensor:
        """Logits [B, A] of the nodes [B, A, D] alone, for the auxiliary loss."""
        logits: Tensor = self.node_out(nodes).squeeze(-1)
        return logits

    def forward(self, features: Features | Tensor) -> Tensor:
        """Logits [B, A] of `Features` with places; see `encode`.

        Raises:
            ValueError: There are no places, or `features` is a plain tensor.
        """
        if not isinstance(features, Features):
            raise ValueError("This head needs places: give it Features with `tokens`.")
        return self.answer(*self.encode(features))
