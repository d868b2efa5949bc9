"""Cost of AU-TTT in tokens and against a plain ViT, in one run.

    python benchmarks/au_ttt_speed.py [--rounds 5] [--threads 2]

First, the time of the row scan, the scan of regions and softmax attention, forward and backward, with 4N tokens over
that with N, at the width of DeiT-S: 196 and 784, then 784 and 3136 patches (224, 448 and 896 pixels). Second, a
training step of the backbone without the optimiser, forward and backward, against timm's ViT with the same width,
depth, heads and pictures; without the scan of regions as well. Weights are random.
"""

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import timm
import torch
from common import steps

from affectkit.facs import AUSet
from affectkit.methods.au_ttt import AttentionScan, AUTTTBackbone, RegionScan, RowScan, UnitMaps, rank_patches

WIDTH, HEADS, DEPTH, PICTURES = 384, 6, 2, 8


def seconds(scan: torch.nn.Module, grid: int, rounds: int) -> float:
    """Median processor time of a forward and backward pass over one picture."""
    tokens, qkv = (torch.randn(1, grid**2 + 1, k * WIDTH, requires_grad=True) for k in (1, 3))
    given: list[Any] = [tokens, qkv]
    if isinstance(scan, RegionScan):
        units = list(AUSet.parse("bp4d12"))
        heat = UnitMaps(units).heat(None, None, clips=1, picture=16 * grid, grid=grid)
        given.append(rank_patches(heat.flatten(2), scan.size))
    times = []
    for _ in range(rounds + 1):
        start = time.process_time()
        scan(*given).square().mean().backward()
        times.append(time.process_time() - start)
    return statistics.median(times[1:])


def scaling(rounds: int) -> None:
    """Print the growth with the number of tokens."""
    makers: dict[str, Callable[[int], torch.nn.Module]] = {
        "rows, both directions": lambda grid: RowScan(WIDTH, HEADS, grid),
        "regions, 12 units": lambda grid: RegionScan(WIDTH, HEADS, grid**2 // 8),
        "softmax attention": lambda grid: AttentionScan(WIDTH, HEADS),
    }
    for name, make in makers.items():
        times = [seconds(make(grid), grid, rounds) for grid in (14, 28, 56)]
        growth = ", ".join(f"{after / before:.2f}" for before, after in pairwise(times))
        milliseconds = ", ".join(f"{1000 * one:.0f}" for one in times)
        print(f"{name}: {milliseconds} ms for 196, 784, 3136 patches; 4N over N: {growth}", flush=True)


def main() -> None:
    """Measure and print."""
    options = steps.options(__doc__)
    scaling(options.rounds)
    plain = timm.create_model("deit_small_patch16_224", depth=DEPTH, num_classes=0)
    frames = torch.randint(0, 256, (PICTURES, 1, 3, 224, 224), dtype=torch.uint8)
    for name, roi in (("AU-TTT", True), ("AU-TTT without the scan of regions", False)):
        ours = AUTTTBackbone("bp4d12", depth=DEPTH, roi=roi)
        pictures = ours.normalize(frames[:, 0])
        steps.compare(
            {
                "plain ViT": (lambda p=pictures: plain.forward_features(p).square().mean(), plain),
                name: (lambda model=ours: model(frames).tokens.square().mean(), ours),
            },
            rounds=options.rounds,
            frames=PICTURES,
        )


if __name__ == "__main__":
    main()
