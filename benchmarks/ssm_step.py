"""One training step of SSM against the bare CLIP tower, in one run; prints seconds and the ratio.

    python benchmarks/ssm_step.py [--rounds 5] [--threads 2]

Ours is all of the step but the optimiser: normalisation, ViT-B/16 with experts, temporal modules, both prompt sets
through the text tower, the maps, all four losses with MixUp, and the backward pass. The reference is open_clip's
image tower on the same normalised frames, in as many calls of the same size, with all blocks trained, and its
backward pass. Weights are random. On CUDA: 320 frames, bfloat16, both compiled; else 32 frames in float32.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

from affectkit.data import Clip, ClipBatch, Target, collate
from affectkit.facs import label_space
from affectkit.models import ClipBackbone, PrototypeAUHead, PrototypeExpressionHead, SemanticBridge
from affectkit.models.clip import load_clip
from affectkit.tasks import SSM

MODEL, FRAMES = "ViT-B-16-quickgelu", 16
CLASSES = "happiness,sadness,neutral,anger,surprise,disgust,fear"


def make_task(*, compiled: bool) -> SSM:
    """SSM as published for BP4D and seven classes."""
    return SSM(
        ClipBackbone(MODEL, moe={}),
        {
            "expression": partial(
                PrototypeExpressionHead, space=CLASSES, per_frame=False, temporal={"type": "clip_token"}
            ),
            "au": partial(PrototypeAUHead, space="bp4d12", per_frame=True, temporal={"type": "framewise"}),
        },
        partial(SemanticBridge, text={"model_name": MODEL}, prior="ssm_bp4d7", prompts="ssm_bp4d"),
        compile_model=compiled,
    )


def make_batches(clips: dict[str, int]) -> dict[str, ClipBatch]:
    """Noise with labels: one source of expressions, one of action units."""
    batches = {}
    for name, size in clips.items():
        made = []
        for index in range(size):
            if name == "expression":
                target = Target.make(torch.tensor(index % len(label_space(CLASSES))), space=CLASSES)
            else:
                target = Target.make((torch.rand(FRAMES, 12) < 0.3).float(), space="bp4d12")
            frames = torch.randint(0, 256, (FRAMES, 3, 224, 224), dtype=torch.uint8)
            made.append(Clip.make(frames, {name: target}))
        batches[name] = collate(made)
    return batches


def seconds(run: Callable[[], torch.Tensor], module: torch.nn.Module) -> tuple[float, float]:
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*trainer.*not registered")  # logging without a trainer
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    precision: Callable[[], AbstractContextManager[object]] = (
        partial(torch.autocast, "cuda", torch.bfloat16) if cuda else nullcontext
    )
    task = make_task(compiled=cuda).to(device).train()
    bare = load_clip(MODEL, part="image").visual.to(device).train()
    batches = {
        name: batch.to(device)
        for name, batch in make_batches(
            {"expression": 12, "au": 8} if cuda else {"expression": 1, "au": 1}
        ).items()
    }
    pictures = [task.model.backbone.normalize(batch.frames.flatten(0, 1)) for batch in batches.values()]
    tower = torch.compile(bare) if cuda else bare

    def reference() -> torch.Tensor:
        with precision():
            return torch.stack([tower(frames).float().square().mean() for frames in pictures]).sum()

    def ours() -> torch.Tensor:
        with precision():
            task.on_train_batch_start(batches, 0)
            return task.training_step(batches, 0)

    both = {"bare tower": (reference, bare), "SSM": (ours, task)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in both}
    for _ in range(options.rounds + 1):
        for name, (run, module) in both.items():
            times[name].append(seconds(run, module))
    for name, found in times.items():
        print(f"{name}: {statistics.median(wall for wall, _ in found[1:]):.3f} s")
    for kind, label in enumerate(["wall", "processor"] if not cuda else ["wall"]):
        ratios = [o[kind] / r[kind] for o, r in zip(times["SSM"][1:], times["bare tower"][1:], strict=True)]
        print(
            f"SSM / bare tower, {label} time, {device.type}, {sum(map(len, pictures))} frames: "
            f"{statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
