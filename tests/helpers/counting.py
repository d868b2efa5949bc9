"""Count the same labels on any number of processes."""

from pathlib import Path

import torch
import torch.distributed as dist

from affectkit.metrics import AUMetrics, estimate


def main(folder, world):
    """Save results, thresholds and intervals; of three processes the second has no data."""
    world = int(world)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")
    rank = dist.get_rank() if world > 1 else 0
    rng = torch.Generator().manual_seed(0)
    value = (torch.rand(120, 2, generator=rng) < 0.3).float()
    logits = (torch.randn(120, 2, generator=rng) * 8).round() / 4 + value
    group = torch.arange(120) % 6
    metric = AUMetrics(["AU1", "AU12"], 6)
    share = {1: [120], 2: [50, 70], 3: [50, 0, 70]}[world]
    first = sum(share[:rank])
    rows = slice(first, first + share[rank])
    if share[rank]:
        mask = torch.ones_like(value, dtype=torch.bool)
        metric.update(logits[rows], value[rows], mask[rows], group[rows])
    for _ in range(2):  # asking changes nothing
        best = metric.best_thresholds()
        computed = {name: number.item() for name, number in metric.compute(best).items()}
        found = {name: tuple(each) for name, each in estimate(metric.tally(best)).items()}
    entries = sum(len(part) for part in metric.entries)
    if rank == 0:
        saved = {"best": best, "computed": computed, "intervals": found, "kept": entries}
        torch.save(saved, Path(folder) / f"counting-{world}.pt")
