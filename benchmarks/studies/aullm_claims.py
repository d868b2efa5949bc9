"""What AULLM++ claims, tested on rendered faces: `python benchmarks/studies/aullm_claims.py --runs runs/aullm_claims`.

Every seed has a corpus of its own, drawn from a planted table P(unit | class) of six random classes over eight units,
with large movements in six frames of 64 pixels. Clips are blurred by 0, 0.75 or 1.5 pixels. In 90 % of the training
clips, a strip along the upper border brightens if and only if AU12 is active (the planted confounder). The front end
(`LEDMaps`) is trained once per seed, with a linear layer over its maps, and then frozen: all variants read the same
maps. One training of the head per variant and seed answers all questions:

- effect and spill: test clips are rendered again with one unit more or less, and the same person, scene and seeds.
  Effect E is the mean difference of the unit's probability with and without it; spill S that of the absolute
  differences of the other units. Also with movements of 0.15 to 0.45 of the maximum, which training never showed.
- confounder: AUC of AU12 with the strip as in training, and with the strip reversed.
- edges: Spearman's correlation between the learned strengths of the graph's edges and the log odds ratios of their
  units in the training labels; before training for comparison.
- gate: weight of the Laplacian for sharp and for blurred test clips.
- language model: macro AUC and F1 of all variants.

Each run is saved, so an interrupted study can be resumed; the tables are printed at the end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from aullm_corpus import BLURS, IDS, PLANTED, UNITS, Corpus, make_corpus
from comparison import interval
from einops import rearrange
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multilabel_auroc, multilabel_f1_score

from affectkit.data import Clip, Target, collate
from affectkit.methods.aullm import AULLM, AULLMHead
from affectkit.models import Features, LEDMaps
from affectkit.tasks.base import reduce_losses
from affectkit.tasks.optim import build_optimizer, build_schedule

LORA = {"name": "smollm2", "lora": {"rank": 16, "alpha": 32}}


@dataclass(frozen=True)
class Variant:
    """One model: what its head reads with, and how it is trained."""

    title: str
    head: dict[str, Any]
    counterfactual: str | None = "flip"


TINY: dict[str, Any] = {"language": {"name": "tiny"}, "slots": "last"}
VARIANTS = {
    "tiny": Variant("AULLM++, tiny language model", TINY),
    "no_ccr": Variant("without counterfactual consistency", TINY, None),
    "invariant": Variant("with invariance instead", TINY, "invariant"),
    "no_graph": Variant("without the graph", {**TINY, "graph": False}),
    "none": Variant("encoder instead of the language model", {"language": None}),
    "smollm2": Variant("SmolLM2-135M, frozen, with LoRA", {**TINY, "language": LORA}),
}


@torch.no_grad()
def maps_of(front: LEDMaps, frames: Tensor) -> Tensor:
    """Maps of clips as half-precision `tokens` [..., 4, 324, 64]."""
    front.eval()
    parts = [front(part).tokens.half() for part in frames.flatten(0, -5).split(64)]
    return torch.cat(parts).unflatten(0, frames.shape[:-4])


def train_front(corpus: Corpus, seed: int, options: argparse.Namespace) -> LEDMaps:
    """Train the front end with a linear layer over its maps."""
    torch.manual_seed(seed)
    front = LEDMaps(dropout=0.1)
    readout = nn.Sequential(nn.Flatten(), nn.Linear(64 * 2 * 6 * 6, len(IDS)))
    both = nn.ModuleDict({"backbone": front, "readout": readout})

    def loss_of(chosen: list[int]) -> Tensor:
        tokens = front(corpus.train[chosen]).tokens
        maps = F.adaptive_avg_pool3d(rearrange(tokens, "b t (h w) c -> b c t h w", h=18), (2, 6, 6))
        return F.binary_cross_entropy_with_logits(readout(maps), corpus.train_labels[chosen])

    filters = [{"pattern": "backbone.filter.*", "lr": 0.1}]
    optimize(both, loss_of, len(corpus.train), seed, options.front_steps, options, groups=filters)
    return front


def optimize(
    module: nn.Module,
    loss_of: Callable[[list[int]], Tensor],
    clips: int,
    seed: int,
    steps: int,
    options: argparse.Namespace,
    groups: Sequence[dict[str, Any]] = (),
) -> None:
    """Minimise a loss of clips, given by their numbers; equal seeds draw the same clips in the same order."""
    optimizer = build_optimizer(module, lr=options.lr, weight_decay=0.01, groups=groups)
    schedule = build_schedule(optimizer, "cosine", total_steps=steps, warmup=0.05)
    order = torch.Generator().manual_seed(seed)
    module.train()
    for step in range(steps):
        torch.manual_seed(10_000 * seed + step)
        loss = loss_of(torch.randint(clips, (options.batch,), generator=order).tolist())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def make_task(variant: Variant) -> AULLM:
    """The untrained model of a variant."""
    head = partial(AULLMHead, space=UNITS.name, dropout=0.2, **variant.head)
    return AULLM(LEDMaps(), {"au": head}, counterfactual=variant.counterfactual)


def as_features(maps: Tensor) -> Features:
    """Features of stored maps [N, 4, 324, 64]."""
    return Features(maps.float().mean(dim=(1, 2)), tokens=maps.float())


def train_head(task: AULLM, corpus: Corpus, maps: Tensor, seed: int, options: argparse.Namespace) -> None:
    """Train the head with the losses of the task."""

    def loss_of(chosen: list[int]) -> Tensor:
        clips = collate(
            [
                Clip.make(corpus.train[k], {"au": Target.make(corpus.train_labels[k], space=UNITS.name)})
                for k in chosen
            ]
        )
        terms = task.terms("au", as_features(maps[chosen]), None, clips)
        return task.combine(reduce_losses({name: [term] for name, term in terms.items()}))

    optimize(task.heads["au"], loss_of, len(maps), seed, options.steps, options)


@torch.no_grad()
def probabilities(head: AULLMHead, maps: Tensor) -> Tensor:
    """Probabilities [..., A] of clips with maps [..., 4, 324, 64]."""
    flat = torch.cat([head.predict(head(as_features(part))) for part in maps.flatten(0, -4).split(64)])
    return flat.unflatten(0, maps.shape[:-3])


@torch.no_grad()
def strengths(head: AULLMHead, maps: Tensor) -> Tensor:
    """Strengths of the graph's edges [A, A], means over clips."""
    assert head.graph is not None
    return head.graph.strengths(head.nodes(head.maps(as_features(maps)), head.reader.names()))


@torch.no_grad()
def laplacian_weight(head: AULLMHead, maps: Tensor) -> float:
    """Weight of the Laplacian, mean over clips."""
    return float(head.content.weights(head.maps(as_features(maps)))[:, -1].mean())  # type: ignore[operator]


def effect_and_spill(head: AULLMHead, pairs: Tensor) -> dict[str, float]:
    """Effect, spill and their ratio over all pairs and units, from maps [M, A, 2, ...]."""
    p = probabilities(head, pairs)
    change = p[:, :, 0] - p[:, :, 1]
    own = torch.eye(len(IDS), dtype=torch.bool)
    effect = change[:, own].mean().item()
    spill = change[:, ~own].abs().mean().item()
    return {"effect": effect, "spill": spill, "ratio": effect / spill}


def edge_correlation(found: Tensor, edges: Tensor, labels: Tensor) -> float:
    """Spearman's correlation of the strengths of edges with log odds ratios of their units."""
    active = labels >= 0.5
    rows, columns = torch.triu(edges.any(dim=0), diagonal=1).nonzero().unbind(1)
    odds = []
    for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
        both, first, second, neither = (
            ((active[:, i] == a) & (active[:, j] == b)).sum() + 0.5
            for a in (True, False)
            for b in (True, False)
        )
        odds.append(float((both * neither / (first * second)).log()))
    mutual = (found + found.T)[rows, columns]
    return float(spearmanr(mutual.numpy(), odds).statistic)


def measure(head: AULLMHead, corpus: Corpus, views: dict[str, Tensor]) -> dict[str, float]:
    """All numbers of a trained head, from the maps of all test clips."""
    labels, number = corpus.test_labels.long(), len(IDS)
    rate = corpus.test_labels.mean(dim=0)
    clean = probabilities(head, views["blur 0.0"])
    planted, reversed_ = (
        multilabel_auroc(probabilities(head, views[name]), labels, number, average=None)[PLANTED].item()
        for name in ("planted", "reversed")
    )
    found = {
        "auc": multilabel_auroc(clean, labels, number).item(),
        "f1": multilabel_f1_score(clean, labels, number).item(),
        "f1_trivial": (2 * rate / (1 + rate)).mean().item(),
        "confounded_auc": planted,
        "reversed_auc": reversed_,
        "drop": planted - reversed_,
    }
    for regime in corpus.pairs:
        found |= {f"{regime}_{key}": value for key, value in effect_and_spill(head, views[regime]).items()}
    if head.graph is not None:
        edges, learned = head.graph.edges, strengths(head, views["blur 0.0"])
        found["edges"] = edge_correlation(learned, edges, corpus.train_labels)
        found["off_edges"] = learned[~edges.any(dim=0)].abs().max().item()
    return found | {f"laplacian_{sigma}": laplacian_weight(head, views[f"blur {sigma}"]) for sigma in BLURS}


def run(name: str, seed: int, corpus: Corpus, views: dict[str, Tensor], options: argparse.Namespace) -> Any:
    """Train the head of a variant with a seed, and measure it; all values are plain."""
    torch.manual_seed(seed)
    task = make_task(VARIANTS[name])
    head: AULLMHead = task.heads["au"]  # type: ignore[assignment]
    found: dict[str, float] = {}
    if head.graph is not None:
        before = strengths(head.eval(), views["blur 0.0"])
        found["edges_before"] = edge_correlation(before, head.graph.edges, corpus.train_labels)
    began = time.process_time()
    train_head(task, corpus, views["train"], seed, options)
    found["seconds"] = time.process_time() - began
    found["weights"] = sum(p.numel() for p in head.parameters())
    return found | measure(head.eval(), corpus, views)


COLUMNS = {
    "auc": "AUC", "f1": "F1 at 0.5", "f1_trivial": "F1, trivial", "macro_effect": "effect",
    "macro_spill": "spill", "macro_ratio": "effect / spill", "micro_ratio": "effect / spill, micro",
    "confounded_auc": "AUC of AU12", "reversed_auc": "AUC of AU12, reversed", "drop": "drop",
    "edges_before": "edges, before", "edges": "edges, after", "off_edges": "largest off-edge strength",
    "laplacian_0.0": "Laplacian, sharp", "laplacian_0.75": "Laplacian, blur 0.75",
    "laplacian_1.5": "Laplacian, blur 1.5", "seconds": "CPU seconds of a head's training", "weights": "trained weights",
}  # fmt: skip


def print_tables(runs: dict[str, dict[int, dict[str, Any]]]) -> None:
    """One line for each number and variant: mean, 95 % interval over seeds, difference from the first variant."""
    first = next(iter(runs))
    for column, title in COLUMNS.items():
        print(
            f"\n**{title}**\n\n| variant | mean | minus {VARIANTS[first].title} | seeds |\n| --- | --- | --- | --- |"
        )
        for name, by_seed in runs.items():
            values = {seed: found[column] for seed, found in by_seed.items() if column in found}
            if not values:
                continue
            shared = [seed for seed in values if column in runs[first].get(seed, {})]
            difference = interval([values[seed] - runs[first][seed][column] for seed in shared])
            shown = "" if name == first else _interval(difference, "+")
            print(
                f"| {VARIANTS[name].title} | {_interval(interval(list(values.values())))} | {shown} | {len(values)} |"
            )


def _interval(found: tuple[float, float, float], sign: str = "") -> str:
    mean, low, high = found
    if low != low:  # a single seed
        return f"{mean:{sign}.3f}"
    return f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the variants over the seeds, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder of the results")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["tiny", "no_ccr", "none"])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--steps", type=int, default=80, help="of a head")
    parser.add_argument("--front-steps", type=int, default=160, help="of the front end")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--train", type=int, default=600, help="training clips")
    parser.add_argument("--test", type=int, default=150, help="test clips")
    parser.add_argument(
        "--pairs", type=int, default=10, help="test clips with a counterfactual for each unit"
    )
    options = parser.parse_args(arguments)
    sizes = {name: getattr(options, name) for name in ("train", "test", "pairs")}
    numbers = ("train", "test", "pairs", "front_steps", "steps", "batch", "lr")
    folder = options.runs / "-".join(f"{name}{getattr(options, name)}" for name in numbers)
    folder.mkdir(parents=True, exist_ok=True)
    runs: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in options.variants}
    for seed in options.seeds:
        paths = {name: folder / f"{name}-{seed}.json" for name in options.variants}
        waiting = [name for name, path in paths.items() if not path.is_file()]
        if waiting:
            corpus = make_corpus(seed, **sizes)
            front = train_front(corpus, seed, options)
            frames = {"train": corpus.train, **corpus.test, **corpus.pairs}
            views = {name: maps_of(front, part) for name, part in frames.items()}
        for name in waiting:
            found = run(name, seed, corpus, views, options)
            paths[name].write_text(json.dumps(found, indent=1), encoding="utf-8")
            print(f"{name} seed {seed}: {found['seconds']:.0f} s", flush=True)
        for name, path in paths.items():
            runs[name][seed] = json.loads(path.read_text(encoding="utf-8"))
    print_tables(runs)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
