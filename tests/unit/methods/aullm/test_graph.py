"""Nodes of units, and attention along the edges of the graph."""

import torch
from torch.nn import functional as F

from affectkit.facs import AUSet, unit_relations
from affectkit.methods.aullm import NodePool, UnitGraph, UnitNodes

UNITS = AUSet.of(1, 2, 12, 15)


def nodes(B=2, A=4, D=6, seed=0):
    return torch.randn(B, A, D, generator=torch.Generator().manual_seed(seed))


def make_graph(depth=1):
    torch.manual_seed(0)
    return UnitGraph(UNITS, 6, depth=depth)


def test_attention_is_that_of_the_equation():
    graph, h = make_graph(), nodes()
    layer = graph.layers[0]
    relations = unit_relations(UNITS)
    W = layer.project.weight.reshape(3, 6, 6)
    told = torch.zeros_like(h)
    strengths = torch.zeros(2, 4, 4)
    for r, (table, sign) in enumerate(
        zip((relations.together, relations.exclude, relations.region), (1, -1, 1), strict=True)
    ):
        values = h @ W[r].T
        for b in range(2):
            for i in range(4):
                neighbours = [j for j in range(4) if table[i][j]]
                if not neighbours:
                    continue
                scores = torch.stack(
                    [
                        F.leaky_relu(layer.ends[0, r] @ values[b, i] + layer.ends[1, r] @ values[b, j], 0.2)
                        + layer.trust[r, 0, 0] * torch.tensor(relations.cooccurrence[i][j] + 0.05).log()
                        for j in neighbours
                    ]
                )
                for alpha, j in zip(scores.softmax(dim=0), neighbours, strict=True):
                    told[b, i] += sign * alpha * values[b, j]
                    strengths[b, i, j] += sign * alpha.detach()
    torch.testing.assert_close(graph(h), layer.norm(h + told))
    torch.testing.assert_close(graph.strengths(h).detach(), strengths.mean(dim=0))


def test_pairs_without_an_edge_have_no_influence():
    units = AUSet.of(1, 2, 12, 14)
    graph, relations = UnitGraph(units, 6), unit_relations(units)
    connected = torch.tensor([relations.together, relations.exclude, relations.region]).any(dim=0)
    assert (~connected).sum() == 4 + 8  # AU1 and AU2 with AU12 and AU14; each unit with itself
    strengths = graph.strengths(nodes())
    assert (strengths[~connected] == 0).all()
    assert (strengths[connected] != 0).all()
    h = nodes()
    other = h.clone()
    other[:, 2:].neg_()
    torch.testing.assert_close(graph(other)[:, :2], graph(h)[:, :2])
    assert not torch.allclose(graph(other)[:, 2:], graph(h)[:, 2:])


def test_a_single_unit_has_no_neighbour():
    graph = UnitGraph(AUSet.of(12), 6, depth=2)
    h = nodes(A=1)
    torch.testing.assert_close(graph(h), graph.layers[1].norm(graph.layers[0].norm(h)))


def test_nodes_are_made_of_the_channels_of_their_unit():
    torch.manual_seed(0)
    part = UnitNodes(8, 3, 6, share=2, grid=2)
    maps = torch.randn(2, 8, 4, 6, 6)
    names = torch.randn(3, 6)
    found = part(maps, names)
    pooled = F.adaptive_avg_pool3d(part.divide(maps)[:, 2:4], (2, 2, 2))  # of the second unit
    chunk = pooled.permute(0, 1, 3, 4, 2).flatten(1)
    torch.testing.assert_close(found[:, 1], part.norm(part.project(chunk) + names[1]))
    found.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in part.parameters())


def test_pooling_weighs_nodes():
    torch.manual_seed(0)
    pool, h = NodePool(6, 8), nodes()
    weights = pool.look(h)[..., 0].softmax(dim=1)
    pooled = sum(weights[:, i, None] * h[:, i] for i in range(4))
    torch.testing.assert_close(pool(h), pool.norm(pool.project(pooled)))
