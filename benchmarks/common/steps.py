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


def measure(steps: Mapping[str, Step], *, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of both, turn by turn, after one turn to warm up.

    Args:
        steps: By name, the reference first: what gives a loss, and the module whose gradients it makes.
        rounds: Turns that are kept.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, (run, module) in steps.items():
            found = _seconds(run, module)
            times[name] += [found] if turn else []
    return times


def compare(steps: Mapping[str, Step], *, rounds: int, frames: int) -> None:
    """Print medians of seconds and of the ratio of the second step to the first; see `measure`."""
    times = measure(steps, rounds=rounds)
    reference, ours = steps
    for name, found in times.items():
        print(f"{name}: {statistics.median(wall for wall, _ in found):.3f} s")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for kind, label in enumerate(["wall", "processor"] if device == "cpu" else ["wall"]):
        ratios = [o[kind] / r[kind] for o, r in zip(times[ours], times[reference], strict=True)]
        print(
            f"{ours} / {reference}, {label} time, {device}, {frames} frames: "
            f"{statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})"
        )


def _seconds(run: Callable[[], torch.Tensor], module: torch.nn.Module) -> tuple[float, float]:
    """Wall and processor time of a forward and a backward pass."""
    module.zero_grad(set_to_none=True)
    wait()
    wall, processor = time.perf_counter(), time.process_time()
    run().backward()
    wait()
    return time.perf_counter() - wall, time.process_time() - processor


def wait() -> None:
    """Wait for the accelerator."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
