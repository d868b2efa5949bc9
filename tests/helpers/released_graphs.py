"""Checkpoints of ME-GraphAU and OpenGraphAU with random weights, and what their networks compute, written from the
released layout: loops over units and incidence matrices instead of the batched form of our head."""

from __future__ import annotations

from math import prod, sqrt

import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

SWINS = {"tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)), "base": (128, (2, 2, 18, 2), (4, 8, 16, 32))}
SIDED = (0, 1, 2, 4, 7, 8, 11)  # the authors' `sub_list`


def random_tensor(name: str, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Weights of a size at which a deep network neither fades nor explodes."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    if name.endswith("running_var"):
        return torch.rand(shape, generator=rng) + 0.5
    if len(shape) > 1:
        return torch.randn(shape, generator=rng) * sqrt(1.4 / prod(shape[1:]))
    values = 0.2 * torch.randn(shape, generator=rng)
    return 1 + values if name.endswith("weight") else values


def norm_shapes(name: str, features: int) -> dict[str, tuple[int, ...]]:
    keys = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{key}": (features,) for key in keys}, f"{name}.num_batches_tracked": ()}


def linear_shapes(name: str, inputs: int, outputs: int, *, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), **({f"{name}.bias": (outputs,)} if bias else {})}


def swin_shapes(size: str) -> dict[str, tuple[int, ...]]:
    width, depths, heads = SWINS[size]
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.proj.weight": (width, 3, 4, 4)}
    shapes |= {"patch_embed.proj.bias": (width,)}
    shapes |= {f"patch_embed.norm.{key}": (width,) for key in ("weight", "bias")}
    for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        D = width * 2**stage
        for block in range(depth):
            at = f"layers.{stage}.blocks.{block}"
            shapes |= {f"{at}.norm{n}.{key}": (D,) for n in (1, 2) for key in ("weight", "bias")}
            shapes |= {f"{at}.attn.relative_position_bias_table": (169, count)}
            shapes |= linear_shapes(f"{at}.attn.qkv", D, 3 * D) | linear_shapes(f"{at}.attn.proj", D, D)
            shapes |= linear_shapes(f"{at}.mlp.fc1", D, 4 * D) | linear_shapes(f"{at}.mlp.fc2", 4 * D, D)
        if stage < 3:
            at = f"layers.{stage}.downsample"
            shapes |= linear_shapes(f"{at}.reduction", 4 * D, 2 * D, bias=False)
            shapes |= {f"{at}.norm.{key}": (4 * D,) for key in ("weight", "bias")}
    return {**shapes, "norm.weight": (8 * width,), "norm.bias": (8 * width,)}


def position_index() -> Tensor:
    """For places p and q of a window of 7 by 7, row of the table of biases: 13 (Δy + 6) + Δx + 6."""
    y, x = torch.arange(49) // 7, torch.arange(49) % 7
    return 13 * (y[:, None] - y + 6) + x[:, None] - x + 6


def shift_mask(side: int) -> Tensor:
    """[windows, 49, 49]: -100 between places that a cyclic shift by 3 brought together."""
    band = torch.cat([torch.zeros(side - 7), torch.ones(4), torch.full((3,), 2.0)])
    windows = cut(3 * band[:, None] + band).flatten(1)
    return -100.0 * (windows[:, None] != windows[:, :, None]).float()


def cut(maps: Tensor) -> Tensor:
    """Windows [n, 7, 7, ...] of a map [H, W, ...]."""
    rows = maps.unflatten(0, (-1, 7)).unflatten(2, (-1, 7))
    return rows.transpose(1, 2).flatten(0, 1)


def make_state(
    backbone: str, units: int, second: bool, *, sided: bool = False, seed: int = 0
) -> dict[str, Tensor]:
    """State dict with the names of ME-GraphAU, or with `sided` those of OpenGraphAU."""
    if backbone.startswith("swin"):
        shapes = {f"backbone.{name}": shape for name, shape in swin_shapes(backbone[5:]).items()}
        D = 8 * SWINS[backbone[5:]][0]
        C = D // 2
    else:
        with torch.device("meta"):
            net = torchvision.models.get_model(backbone, weights=None)
        state = {k: v for k, v in net.state_dict().items() if not k.startswith("fc.")}
        shapes = {f"backbone.{name}": tuple(tensor.shape) for name, tensor in state.items()}
        D = net.fc.in_features
        C = D // 4
    main = "main_" if sided else ""
    shapes |= linear_shapes("global_linear.fc", D, C) | norm_shapes("global_linear.bn", C)
    for n in range(units):
        at = f"head.{main}class_linears.{n}"
        shapes |= linear_shapes(f"{at}.fc", C, C) | norm_shapes(f"{at}.bn", C)
    shapes |= {f"head.{main}sc": (units, C)} | ({"head.sub_sc": (14, C)} if sided else {})
    if second:
        for kind in ("FAM", "ARM"):
            for key, width in (("q", C // 2), ("k", C // 2), ("v", C)):
                shapes |= linear_shapes(f"head.edge_extractor.{kind}.linear_{key}", C, width)
        shapes |= linear_shapes("head.edge_extractor.edge_proj", C, C)
        shapes |= norm_shapes("head.edge_extractor.bn", units * units)
        for layer in range(2):
            for key in "UVABE":
                name = f"graph_layers.{layer}.{key}" if sided else f"{key}{layer + 1}"
                shapes |= linear_shapes(f"head.gnn.{name}", C, C, bias=False)
            for key, count in (("bnv", units), ("bne", units * units)):
                name = f"graph_layers.{layer}.{key}" if sided else f"{key}{layer + 1}"
                shapes |= norm_shapes(f"head.gnn.{name}", count)
        if not sided:
            shapes |= linear_shapes("head.edge_fc", C, 4)
    else:
        shapes |= linear_shapes("head.gnn.U", C, C) | linear_shapes("head.gnn.V", C, C)
        shapes |= norm_shapes("head.gnn.bnv", units)
    rng = torch.Generator().manual_seed(seed)
    state = {name: random_tensor(name, shape, rng) for name, shape in shapes.items()}
    for name in [name for name in state if name.endswith("attn.relative_position_bias_table")]:
        at, stage = name.removesuffix(".relative_position_bias_table"), int(name.split(".")[2])
        state[f"{at}.relative_position_index"] = position_index()
        if int(at.split(".")[4]) % 2 and stage < 3:
            state[f"{at.removesuffix('.attn')}.attn_mask"] = shift_mask(56 // 2**stage)
    return state


class Reference:
    """Probabilities of the authors' network from normalised pictures, in evaluation mode."""

    def __init__(self, state: dict[str, Tensor], backbone: str, neighbours: int = 4) -> None:
        self.state, self.backbone, self.neighbours = state, backbone, neighbours
        self.sided = "head.main_sc" in state

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        """Batch normalisation of axis 1."""
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.state[f"{name}.{key}"] for key in keys))

    def block(self, name: str, x: Tensor) -> Tensor:
        return self.norm(f"{name}.bn", self.linear(f"{name}.fc", x).transpose(1, 2)).relu().transpose(1, 2)

    def places(self, pictures: Tensor) -> Tensor:
        """[B, 49, D]."""
        own = {k[9:]: v for k, v in self.state.items() if k.startswith("backbone.")}
        if self.backbone.startswith("swin"):
            return torch.stack([self.swin(one) for one in pictures])
        net = torchvision.models.get_model(self.backbone, weights=None)
        net.load_state_dict(own, strict=False)
        body = torch.nn.Sequential(*list(net.children())[:-2]).eval()
        return body(pictures).flatten(2).transpose(1, 2)

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        s = self.state
        return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"])

    def swin(self, picture: Tensor) -> Tensor:
        """[49, D] of one picture [3, 224, 224]."""
        s, at = self.state, "backbone.patch_embed"
        x = F.conv2d(picture[None], s[f"{at}.proj.weight"], s[f"{at}.proj.bias"], stride=4)[0]
        x = self.layer_norm(f"{at}.norm", x.permute(1, 2, 0))
        _, depths, heads = SWINS[self.backbone[5:]]
        for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
            for block in range(depth):
                at, side = f"backbone.layers.{stage}.blocks.{block}", x.shape[0]
                shift = 3 if block % 2 and side > 7 else 0
                windows = cut(torch.roll(self.layer_norm(f"{at}.norm1", x), (-shift, -shift), (0, 1)))
                q, k, v = self.linear(f"{at}.attn.qkv", windows.flatten(1, 2)).chunk(3, dim=-1)
                q, k, v = (one.unflatten(2, (count, -1)).transpose(1, 2) for one in (q, k, v))
                scores = q @ k.mT / sqrt(q.shape[-1])
                scores = scores + s[f"{at}.attn.relative_position_bias_table"][position_index()].permute(
                    2, 0, 1
                )
                if shift:
                    scores = scores + shift_mask(side)[:, None]
                seen = self.linear(f"{at}.attn.proj", (scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
                n = side // 7
                seen = (
                    seen.unflatten(1, (7, 7)).unflatten(0, (n, n)).transpose(1, 2).flatten(2, 3).flatten(0, 1)
                )
                x = x + torch.roll(seen, (shift, shift), (0, 1))
                hidden = self.linear(f"{at}.mlp.fc1", self.layer_norm(f"{at}.norm2", x))
                x = x + self.linear(f"{at}.mlp.fc2", F.gelu(hidden))
            if stage < 3:
                at = f"backbone.layers.{stage}.downsample"
                x = torch.cat([x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]], dim=-1)
                x = self.linear(f"{at}.reduction", self.layer_norm(f"{at}.norm", x))
        return self.layer_norm("backbone.norm", x).flatten(0, 1)

    def attend(self, name: str, query: Tensor, source: Tensor) -> Tensor:
        q, k = self.linear(f"{name}.linear_q", query), self.linear(f"{name}.linear_k", source)
        weights = (q @ k.mT / sqrt(query.shape[-1] // 2)).softmax(dim=-1)
        return weights @ self.linear(f"{name}.linear_v", source)

    def nearest(self, nodes: Tensor) -> Tensor:
        """The graph of the first stage, for each picture and node alone."""
        gathered = []
        for x in nodes:
            likeness = x @ x.T
            joined = torch.stack([row >= row.sort().values[-self.neighbours] for row in likeness]).float()
            root = torch.diag(joined.sum(1) ** -0.5)
            gathered.append(root @ joined @ root @ self.linear("head.gnn.V", x))
        change = self.norm("head.gnn.bnv", torch.stack(gathered) + self.linear("head.gnn.U", nodes))
        return (nodes + change).relu()

    def gated(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """The graph of the second stage, with edges [B, N N, C] numbered end by end."""
        N = nodes.shape[1]
        end = torch.eye(N).repeat_interleave(N, dim=0)  # [N N, N]
        start = torch.eye(N).repeat(N, 1)
        for layer in range(2):
            at = (
                (lambda key, n=layer: f"head.gnn.graph_layers.{n}.{key}")
                if self.sided
                else (lambda key, n=layer: f"head.gnn.{key}{n + 1}")
            )
            change = end @ self.linear(at("A"), nodes) + start @ self.linear(at("B"), nodes)
            edges = edges + self.norm(at("bne"), change + self.linear(at("E"), edges)).relu()
            gates = edges.sigmoid().unflatten(1, (N, N)).softmax(dim=2).flatten(1, 2)
            gathered = end.T @ (gates * (start @ self.linear(at("V"), nodes))) / N
            change = self.norm(at("bnv"), self.linear(at("U"), nodes) + gathered)
            nodes = nodes + change.relu() if self.sided else (nodes + change).relu()
        return nodes

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """[B, labels] in 0..1."""
        s, main = self.state, "main_" if self.sided else ""
        face = self.block("global_linear", self.places(pictures))
        N = len(s[f"head.{main}sc"])
        maps = [self.block(f"head.{main}class_linears.{n}", face) for n in range(N)]
        nodes = torch.stack([one.mean(dim=1) for one in maps], dim=1)
        if "head.gnn.bnv.weight" in s:
            nodes = self.nearest(nodes)
        else:
            seen = [self.attend("head.edge_extractor.FAM", one, face) for one in maps]
            edges = torch.stack(
                [
                    self.linear(
                        "head.edge_extractor.edge_proj",
                        self.attend("head.edge_extractor.ARM", seen[j], seen[i]),
                    )
                    for i in range(N)
                    for j in range(N)
                ],
                dim=1,
            )
            nodes = self.gated(nodes, self.norm("head.edge_extractor.bn", edges).mean(dim=2))
        answers = [F.cosine_similarity(nodes, s[f"head.{main}sc"].relu(), dim=-1)]
        if self.sided:
            for n, place in enumerate(SIDED):
                for side in (0, 1):
                    centre = s["head.sub_sc"][2 * n + side].relu()
                    answers.append(F.cosine_similarity(nodes[:, place], centre, dim=-1)[:, None])
        return torch.cat(answers, dim=1)
