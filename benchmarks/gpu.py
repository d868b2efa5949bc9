"""Everything that needs CUDA, in one call of under nine minutes, as one JSON file.

    python benchmarks/gpu.py [--output runs/gpu.json] [--rounds 5]

Measures the rate of matrix products (the peak for other rates), training steps of SSM and Micro-AU CLIP against their
bare towers (bfloat16, compiled), prediction by batch size with memory, and `torch.compile`; then trains a rendered
recipe for three steps on all devices with NCCL. A part that fails is recorded with its error, and the others go on.
Without CUDA everything runs at toy size on the processor, which shows that the script works, and nothing about speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import micro_au_step
import ssm_step
import torch
from common import steps
from torch.utils.flop_counter import FlopCounterMode

import affectkit
from affectkit.models import AffectModel

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
TOY = {} if CUDA else {"tower": "affectkit-tiny"}


def seconds(run: Callable[[], Any], rounds: int) -> float:
    """Median wall seconds of a call, after two calls to warm up."""
    found = []
    for turn in range(rounds + 2):
        steps.wait()
        start = time.perf_counter()
        run()
        steps.wait()
        found += [time.perf_counter() - start] if turn > 1 else []
    return statistics.median(found)


def matrix_peak(rounds: int) -> dict[str, Any]:
    """Rate of large matrix products."""
    side, dtype = (8192, torch.bfloat16) if CUDA else (256, torch.float32)
    left, right = (torch.randn(side, side, device=DEVICE, dtype=dtype) for _ in range(2))
    return {
        "side": side,
        "dtype": str(dtype),
        "tflops": 2e-12 * side**3 / seconds(lambda: left @ right, rounds),
    }


def training_steps(
    make: Callable[..., tuple[dict[str, steps.Step], int]], rounds: int, **size: Any
) -> dict[str, Any]:
    """A training step against the bare tower: seconds, ratio, and rate of the tower's operations."""
    made, frames = make(DEVICE, **TOY, **size)
    (reference, _), _ = made.values()
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        reference().backward()
    times = steps.measure(made, rounds=rounds)
    bare, ours = ([wall for wall, _ in found] for found in times.values())
    ratios = [ours_ / bare_ for ours_, bare_ in zip(ours, bare, strict=True)]
    tflops = 1e-12 * counter.get_total_flops()
    return {
        "frames": frames,
        "seconds": {name: statistics.median(wall for wall, _ in found) for name, found in times.items()},
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "tower_tflops": tflops / statistics.median(bare),
        "ours_tower_tflops": tflops / statistics.median(ours),  # the tower's operations only
    }


def prediction(rounds: int) -> dict[str, Any]:
    """Crops a second and peak memory by batch size, eager, in bfloat16, and compiled."""
    name, size, batches = ("convnext_tiny", 224, (1, 8, 64, 256)) if CUDA else ("test_convnext", 32, (1, 4))
    config = {"type": "timm", "model_name": name, "size": size}
    model = AffectModel(config, {"au": {"type": "au", "space": "bp4d12"}}).to(DEVICE).eval()
    rows = []
    for batch in batches:
        frames = torch.randint(0, 256, (batch, 1, 3, size, size), dtype=torch.uint8, device=DEVICE)
        row: dict[str, Any] = {"batch": batch}
        if CUDA:
            torch.cuda.reset_peak_memory_stats()
        with torch.inference_mode():
            row["frames_per_second"] = batch / seconds(lambda frames=frames: model(frames), rounds)
            with torch.autocast(DEVICE.type, torch.bfloat16):
                row["frames_per_second_bf16"] = batch / seconds(lambda frames=frames: model(frames), rounds)
        row["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20 if CUDA else None
        rows.append(row)
    compiled = torch.compile(model, backend="inductor" if CUDA else "eager")
    with torch.inference_mode():
        plain = seconds(lambda: model(frames), rounds)
        difference = (compiled(frames)["au"] - model(frames)["au"]).abs().max().item()
        faster = seconds(lambda: compiled(frames), rounds)
    return {
        "model": name,
        "batches": rows,
        "compiled_ratio": faster / plain,
        "compiled_difference": difference,
    }


def training_on_all_devices() -> dict[str, Any]:
    """Three steps and a test of a rendered recipe from the command line, with DDP."""
    devices = torch.cuda.device_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "affectkit",
            "fit",
            "--config",
            "joint/demo",
            "--config",
            "trainer/ddp",
        ]
        command += [
            f"--trainer.accelerator={DEVICE.type}",
            f"--trainer.devices={devices}",
            "--trainer.max_steps=3",
        ]
        command += [f"--trainer.default_root_dir={folder}", f"--trainer.logger.init_args.save_dir={folder}"]
        command += [f"--data.root={folder}/faces", "--data.render.identities=8", "--data.render.clips=2"]
        command += ["--trainer.limit_val_batches=1", "--data.num_workers=0"]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        saved = [path.name for path in Path(folder).rglob("*.ckpt")]
    return {"devices": devices, "seconds": time.perf_counter() - start, "checkpoints": sorted(saved)}


def measure(rounds: int) -> dict[str, Any]:
    """All parts by name."""
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "matrix_peak": lambda: matrix_peak(rounds),
        "ssm_step": lambda: training_steps(
            ssm_step.make_steps,
            rounds,
            **(
                {"clips": {"expression": 12, "au": 8}}
                if CUDA
                else {"clips": {"expression": 1, "au": 1}, "experts": 2}
            ),
        ),
        "micro_au_step": lambda: training_steps(
            micro_au_step.make_steps, rounds, **({"clips": 160} if CUDA else {"clips": 2, "blocks": 1})
        ),
        "prediction": lambda: prediction(rounds),
        "training_on_all_devices": training_on_all_devices,
    }
    found: dict[str, Any] = {
        "affectkit": affectkit.__version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if CUDA else "cpu, toy size: not a measurement",
    }
    for name, run in parts.items():
        print(name, flush=True)
        try:
            found[name] = run()
        except Exception:  # noqa: BLE001 - the others are still worth measuring
            found[name] = {"error": traceback.format_exc()[-3000:]}
    peak = found["matrix_peak"].get("tflops")
    for name in ("ssm_step", "micro_au_step"):
        if peak and "tower_tflops" in found[name]:
            found[name]["share_of_peak"] = found[name]["ours_tower_tflops"] / peak
    return found


def main() -> int:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/gpu.json"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    found = measure(options.rounds)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    return int(any("error" in part for part in found.values() if isinstance(part, dict)))


if __name__ == "__main__":
    sys.exit(main())
