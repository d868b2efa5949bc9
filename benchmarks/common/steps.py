"""Times forward and backward passes side by side."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

Step = tuple[Callable[[], torch.Tensor], torch.nn.Module]


def options(description: str | None, *, rounds: int = 5) -> argparse.Namespace:
    """The command line of a comparison, with the number of threads set and random numbers seeded."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(chosen.threads)
    return chosen


def precision() -> AbstractContextManager[object]:
    """bfloat16 on CUDA, float32 elsewhere."""
    return torch.autocast("cuda", torch.bfloat16) if torch.cuda.is_available() else nullcontext()


def compare(steps: Mapping[str, Step], *, rounds: int, frames: int) -> None:
    """Run both, turn by turn, and print medians of seconds and of the ratio of the second to the first.

    Args:
        steps: By name, the reference first: what gives a loss, and the module whose gradients it makes.
        rounds: Turns; one more goes before, to warm up.
        frames: Pictures a step, for the print.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, (run, module) in steps.items():
            times[name].append(_seconds(run, module))
    reference, ours = steps
    for name, found in times.items():
        print(f"{name}: {statistics.median(wall for wall, _ in found[1:]):.3f} s")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for kind, label in enumerate(["wall", "processor"] if device == "cpu" else ["wall"]):
        ratios = [o[kind] / r[kind] for o, r in zip(times[ours][1:], times[reference][1:], strict=True)]
        print(
            f"{ours} / {reference}, {label} time, {device}, {frames} frames: "
            f"{statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})"
        )


def _seconds(run: Callable[[], torch.Tensor], module: torch.nn.Module) -> tuple[float, float]:
    """Wall and processor time of a forward and a backward pass."""
    module.zero_grad(set_to_none=True)
    _wait()
    wall, processor = time.perf_counter(), time.process_time()
    run().backward()
    _wait()
    return time.perf_counter() - wall, time.process_time() - processor


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
