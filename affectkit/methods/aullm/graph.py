"""Nodes of action units, and attention between them along the edges of a graph."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.facs import AUSet, unit_relations

__all__ = ["NodePool", "UnitGraph", "UnitNodes"]

_SMALL = 0.05


class UnitNodes(nn.Module):
    r"""One node for each unit, from an equal share of the channels: :math:`h_i = \mathrm{LN}(W c_i + e_i)`.

    A 1 × 1 convolution gives each unit `share` channels, whose map on a grid of places is its chunk :math:`c_i`. All
    units share W.

    Args:
        channels: Number of channels C.
        units: Number of units A.
        features: Width D of a node.
        share: Channels per unit.
        grid: Places per side.

    Example:
        >>> UnitNodes(8, 3, 16)(torch.ones(2, 8, 4, 18, 18), torch.zeros(3, 16)).shape
        torch.Size([2, 3, 16])
    """

    def __init__(self, channels: int, units: int, features: int, *, share: int = 8, grid: int = 6) -> None:
        super().__init__()
        self.grid = grid
        self.divide = nn.Conv3d(channels, units * share, 1)
        self.project = nn.Linear(share * 2 * grid * grid, features)
        self.norm = nn.LayerNorm(features)
        self.units = units

    def forward(self, maps: Tensor, names: Tensor) -> Tensor:
        """Nodes [B, A, D] of maps [B, C, T, H, W] and vectors [A, D] of the units' names."""
        B = maps.shape[0]
        pictures = rearrange(self.divide(maps), "b c t h w -> (b t) c h w")
        cells = rearrange(F.adaptive_avg_pool2d(pictures, self.grid), "(b t) c h w -> b (c h w) t", b=B)
        halves = F.adaptive_avg_pool1d(cells, 2)  # one axis after the other: ONNX has no pooling of three
        chunks = rearrange(halves, "b (a p) t -> b a (p t)", a=self.units)
        nodes: Tensor = self.norm(self.project(chunks) + names)
        return nodes


class UnitGraph(nn.Module):
    r"""Relation-aware graph of action units: attention along fixed edges of three kinds, with learned strengths.

    The edges are those of `affectkit.facs.unit_relations`: units that often act together, that rarely do, and of the
    same area. In each layer and kind r, :math:`e_{ij} = \mathrm{LeakyReLU}(a_r^\top [W_r h_i, W_r h_j]) + b_r
    \log(C_{ij} + 0.05)`, :math:`\alpha_{ij}` is its softmax over the neighbours j of i, and
    :math:`h_i \leftarrow \mathrm{LN}(h_i + \sum_r s_r \sum_j \alpha_{ij} W_r h_j)` with s = -1 for units that rarely
    act together and 1 otherwise.

    Args:
        units: The units.
        features: Width D of a node.
        depth: Number of layers.

    Attributes:
        edges: bool [3, A, A], whether unit j (column) influences unit i (row).

    Example:
        >>> graph = UnitGraph(AUSet.of(1, 2, 12), 8)
        >>> graph(torch.ones(4, 3, 8)).shape
        torch.Size([4, 3, 8])
        >>> graph.strengths(torch.ones(4, 3, 8))[2]
        tensor([0., 0., 0.], grad_fn=<SelectBackward0>)

    References:
        AULLM++, arXiv 2603.08387, names the parts: a graph with fixed prior edges and attention learned on them. Edges,
        equations and depth are ours: the full paper was not available.
    """

    edges: Tensor
    prior: Tensor
    sign: Tensor

    def __init__(self, units: AUSet, features: int, *, depth: int = 2) -> None:
        super().__init__()
        relations = unit_relations(units)
        kinds = torch.tensor([relations.together, relations.exclude, relations.region])
        self.register_buffer("edges", kinds, persistent=False)
        prior = (torch.tensor(relations.cooccurrence) + _SMALL).log()
        self.register_buffer("prior", prior, persistent=False)
        self.register_buffer("sign", torch.tensor([1.0, -1.0, 1.0]), persistent=False)
        self.layers = nn.ModuleList(_Layer(features, len(kinds)) for _ in range(depth))

    def forward(self, nodes: Tensor) -> Tensor:
        """Related nodes [B, A, D] of nodes [B, A, D]."""
        for layer in self.layers:
            nodes, _ = layer(nodes, self.edges, self.prior, self.sign)
        return nodes

    def strengths(self, nodes: Tensor) -> Tensor:
        """Influence [A, A] of unit j (column) on unit i (row), summed over kinds of edges.

        It is the attention, negative for units that rarely act together, averaged over clips and layers; exactly 0 for
        pairs without an edge.

        Args:
            nodes: [B, A, D].
        """
        found = []
        for layer in self.layers:
            nodes, attention = layer(nodes, self.edges, self.prior, self.sign)
            found.append(einsum(attention, self.sign, "b r i j, r -> b i j").mean(dim=0))
        return torch.stack(found).mean(dim=0)


class _Layer(nn.Module):
    def __init__(self, features: int, kinds: int) -> None:
        super().__init__()
        self.kinds = kinds
        self.project = nn.Linear(features, kinds * features, bias=False)
        self.ends = nn.Parameter(torch.randn(2, kinds, features) * features**-0.5)
        self.trust = nn.Parameter(torch.ones(kinds, 1, 1))
        self.norm = nn.LayerNorm(features)

    def forward(self, nodes: Tensor, edges: Tensor, prior: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes [B, A, D], and attention [B, R, A, A]."""
        values = rearrange(self.project(nodes), "b a (r d) -> b r a d", r=self.kinds)
        own, other = (einsum(values, end, "b r a d, r d -> b r a") for end in self.ends)
        scores = F.leaky_relu(own[..., :, None] + other[..., None, :], 0.2) + self.trust * prior
        scores = scores.masked_fill(~edges, torch.finfo(scores.dtype).min)
        attention = scores.softmax(dim=-1) * edges  # rows without an edge are 0
        told = einsum(attention, values, sign.to(values.dtype), "b r i j, b r j d, r -> b i d")
        return self.norm(nodes + told), attention


class NodePool(nn.Module):
    r"""Structural attention pooling: :math:`\tau = \mathrm{LN}(W \sum_i \mathrm{softmax}(u^\top h)_i h_i)`.

    Args:
        features: Width D of a node.
        width: Width W of the token.

    Example:
        >>> NodePool(8, 16)(torch.ones(2, 3, 8)).shape
        torch.Size([2, 16])
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.look = nn.Linear(features, 1)
        self.project = nn.Linear(features, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, nodes: Tensor) -> Tensor:
        """Instruction token [B, W] of nodes [B, A, D]."""
        weights = self.look(nodes).softmax(dim=1)
        token: Tensor = self.norm(self.project((weights * nodes).sum(dim=1)))
        return token
