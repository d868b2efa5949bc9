"""Head for action units that relates the units of a face by a graph, as ME-GraphAU and OpenGraphAU do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import ActionUnit, AUSet, LabelSpace
from affectkit.models.features import Features, masked_mean
from affectkit.models.heads.base import FeatureNorm
from affectkit.models.heads.linear import AUHead
from affectkit.models.registry import register

__all__ = ["GraphAUHead"]

_EPS = 1e-6  # likeness is kept this far from 0 and 1, where logits are infinite


class _LinearBlock(nn.Module):
    """Linear layer, batch normalisation over all vectors, and ReLU."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_features, out_features)
        self.bn = FeatureNorm(out_features)

    def forward(self, values: Tensor) -> Tensor:
        """From [..., D] to [..., C]."""
        normal: Tensor = self.bn(self.fc(values))
        return normal.relu()


class _NearestGraph(nn.Module):
    """One step over the graph that joins each node to its nearest ones, by dot product."""

    def __init__(self, features: int, nodes: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.own = nn.Linear(features, features)
        self.other = nn.Linear(features, features)
        self.bn = nn.BatchNorm1d(nodes)

    def forward(self, nodes: Tensor) -> Tensor:
        """From nodes [B, N, C] to nodes [B, N, C]."""
        fixed = nodes.detach()
        likeness = fixed @ fixed.mT
        least = likeness.topk(self.neighbours, dim=-1).values[..., -1:]
        joined = (likeness >= least).to(nodes.dtype)
        scale = joined.sum(dim=-1, keepdim=True).rsqrt()
        gathered = (scale * joined * scale.mT) @ self.other(nodes)
        return cast(Tensor, (nodes + self.bn(gathered + self.own(nodes))).relu())


class _CrossAttention(nn.Module):
    """Projections of attention with one head of half width."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query = nn.Linear(features, features // 2)
        self.key = nn.Linear(features, features // 2)
        self.value = nn.Linear(features, features)
        self.scale = (features // 2) ** -0.5


class _EdgeFeatures(nn.Module):
    """A vector for each ordered pair of nodes, from their maps and the map of the face."""

    def __init__(self, features: int, nodes: int) -> None:
        super().__init__()
        self.face = _CrossAttention(features)
        self.pair = _CrossAttention(features)
        self.project = nn.Linear(features, features)
        self.bn = nn.BatchNorm1d(nodes * nodes)

    def forward(self, maps: Tensor, face: Tensor) -> Tensor:
        """Edges [B, N, N, C] (end, start) from the maps of nodes [B, N, P, C] and of the face [B, P, C]."""
        to_face, N = self.face, maps.shape[1]
        weights = einsum(to_face.query(maps), to_face.key(face), "b n p c, b q c -> b n p q") * to_face.scale
        seen = weights.softmax(dim=-1) @ rearrange(to_face.value(face), "b q c -> b 1 q c")
        query, key, value = self.pair.query(seen), self.pair.key(seen), self.pair.value(seen)
        weights = einsum(query, key, "b j p c, b i q c -> b i j p q") * self.pair.scale
        weights = weights.softmax(dim=-1)
        if (
            not self.training
        ):  # what follows is linear then: average over places first, which needs 1/P of the memory
            weights = weights.mean(dim=-2, keepdim=True)
        edges = self.project(einsum(weights, value, "b i j p q, b i q c -> b i j p c"))
        P = edges.shape[3]
        normal: Tensor = self.bn(rearrange(edges, "b i j p c -> b (i j) (p c)"))
        return rearrange(normal, "b (i j) (p c) -> b i j p c", i=N, p=P).mean(dim=3)


class _GatedLayer(nn.Module):
    """One layer of a gated graph network over nodes and edges."""

    def __init__(self, features: int, nodes: int, *, rectify_sum: bool) -> None:
        super().__init__()
        self.rectify_sum = rectify_sum
        self.own, self.other, self.end, self.start, self.edge = (
            nn.Linear(features, features, bias=False) for _ in range(5)
        )
        self.bn_nodes = nn.BatchNorm1d(nodes)
        self.bn_edges = nn.BatchNorm1d(nodes * nodes)

    def forward(self, nodes: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """From nodes [B, N, C] and edges [B, N, N, C] to the same."""
        ends, starts = self.end(nodes)[:, :, None], self.start(nodes)[:, None]
        change = rearrange(ends + starts + self.edge(edges), "b i j c -> b (i j) c")
        change = rearrange(self.bn_edges(change).relu(), "b (i j) c -> b i j c", i=nodes.shape[1])
        edges = edges + change
        gates = edges.sigmoid().softmax(dim=2)
        gathered = (gates * self.other(nodes)[:, None]).mean(dim=2)
        change = self.bn_nodes(self.own(nodes) + gathered)
        return (nodes + change).relu() if self.rectify_sum else nodes + change.relu(), edges


@register("head", "graph_au")
class GraphAUHead(AUHead):
    r"""Occurrence of action units from a graph with one node per unit (ME-GraphAU, OpenGraphAU).

    Each unit has its own layer over the places of the picture, whose average is the unit's node. A graph relates the
    nodes. The probability of a label is the cosine between its node and a learned vector of positive numbers:
    :math:`p = \cos(v_n, \max(0, s_l))`. One-sided labels have vectors of their own, but share the node of their unit.

    Features must have places (`tokens`), such as those of `TimmBackbone(..., tokens=True)`.

    Args:
        in_features: Width D of the places.
        space: An `AUSet`, or its name: "bp4d12", "AU1,AU12,AU12L,AU12R".
        node_features: Width C of the nodes; must be even.
        graph: "nearest" joins each node to its nearest ones (the first training stage of ME-GraphAU); "edges" learns a
            vector for every pair of nodes (the second stage).
        neighbours: Nodes that "nearest" joins to each node, itself included.
        layers: Layers of "edges".
        rectify_sum: Whether layers of "edges" apply ReLU to the sum with their input, as in ME-GraphAU, or before it,
            as in OpenGraphAU.
        nodes: Units of the nodes of labels that use another unit's node: {"AU12L": "AU11"}.
        per_frame: Predict for every frame; otherwise logits are averaged over the real frames of a clip.
        target: Name of the annotation to learn from.

    Raises:
        ConfigError: A number is out of range, or `nodes` names labels that are not in the space.
        LabelSpaceError: The space is unknown or of another kind.

    Example:
        >>> head = GraphAUHead(32, "AU1,AU4,AU12,AU12L,AU12R", node_features=8, neighbours=2)
        >>> clips = Features(torch.zeros(2, 32), tokens=torch.rand(2, 3, 49, 32))
        >>> head.eval()(clips).shape
        torch.Size([2, 3, 5])

    References:
        C. Luo, S. Song, W. Xie, L. Shen and H. Gunes, "Learning multi-dimensional edge feature-based AU relation graph
        for facial action unit recognition", IJCAI 2022. The relations between units that the second stage learns beside
        the units are left out.
    """

    node_of_label: Tensor

    def __init__(
        self,
        in_features: int,
        space: str | LabelSpace,
        *,
        node_features: int,
        graph: Literal["nearest", "edges"] = "nearest",
        neighbours: int = 4,
        layers: int = 2,
        rectify_sum: bool = True,
        nodes: Mapping[str, str] | None = None,
        per_frame: bool = True,
        target: str | None = None,
    ) -> None:
        super().__init__(in_features, space, per_frame=per_frame, target=target)
        del self.body, self.out
        moved = {ActionUnit.parse(label): ActionUnit.parse(unit) for label, unit in (nodes or {}).items()}
        units = tuple(cast("AUSet", self.space))  # a space of kind occurrence is an AUSet
        if unknown := [str(label) for label in moved if label not in units]:
            raise ConfigError(f"`nodes` names {', '.join(unknown)}, which the space does not contain.")
        sources = [moved.get(unit, ActionUnit(unit.id)) for unit in units]
        ordered = list(dict.fromkeys(sources))
        N = len(ordered)
        if node_features < 2 or node_features % 2 or min(neighbours, layers) < 1:
            raise ConfigError(
                f"node_features {node_features} must be even, and neighbours {neighbours} and layers {layers} positive."
            )
        self.register_buffer(
            "node_of_label", torch.tensor([ordered.index(unit) for unit in sources]), persistent=False
        )
        self.face = _LinearBlock(in_features, node_features)
        self.units = _LinearBlock(node_features, N * node_features)
        self.edges: _EdgeFeatures | None = None
        self.graph: nn.ModuleList | None = None
        self.nearest: _NearestGraph | None = None
        if graph == "nearest":
            self.nearest = _NearestGraph(node_features, N, min(neighbours, N))
        elif graph == "edges":
            self.edges = _EdgeFeatures(node_features, N)
            self.graph = nn.ModuleList(
                _GatedLayer(node_features, N, rectify_sum=rectify_sum) for _ in range(layers)
            )
        else:
            raise ConfigError(f"Unknown graph {graph!r}.", remedy="Known: nearest, edges.")
        self.centres = nn.Parameter(torch.empty(len(units), node_features))
        nn.init.xavier_uniform_(self.centres)
        own = (
            {"layers": layers, "rectify_sum": rectify_sum} if graph == "edges" else {"neighbours": neighbours}
        )
        self.arguments = {
            "space": self.space.name,
            "node_features": node_features,
            "graph": graph,
            **own,
            **({"nodes": {str(label): str(unit) for label, unit in moved.items()}} if moved else {}),
            "per_frame": per_frame,
            **({} if target is None else {"target": target}),
        }

    def forward(self, features: Features | Tensor) -> Tensor:
        """Compute logits.

        Args:
            features: Features with `tokens` [B, T, P, D], or a tensor [..., P, D] of places.

        Returns:
            [B, T, labels] per frame, otherwise [B, labels]; [..., labels] for a tensor.

        Raises:
            ValueError: The features have no places.
        """
        if not isinstance(features, Features):
            return self._logits(features)
        if features.tokens is None:
            raise ValueError("A graph head needs places: give the backbone `tokens: true`.")
        logits = self._logits(features.tokens)
        return logits if self.per_frame else masked_mean(logits, features.frame_mask)

    def _logits(self, places: Tensor) -> Tensor:
        """[..., labels] from places [..., P, D]."""
        face = self.face(places.flatten(0, -3) if places.ndim > 2 else places[None])
        maps = rearrange(self.units(face), "b p (n c) -> b n p c", c=face.shape[-1])
        nodes = maps.mean(dim=2)
        if self.nearest is not None:
            nodes = self.nearest(nodes)
        if self.edges is not None:
            edges = self.edges(maps, face)
            for layer in self.graph or ():
                nodes, edges = layer(nodes, edges)
        with torch.autocast(nodes.device.type, enabled=False):
            directions = F.normalize(nodes.float(), dim=-1)[:, self.node_of_label]
            cosine = (directions * F.normalize(self.centres.float().relu(), dim=-1)).sum(dim=-1)
            logits = cosine.clamp(_EPS, 1 - _EPS).logit()
        return logits.to(self.centres.dtype).reshape(*places.shape[:-2], -1)
