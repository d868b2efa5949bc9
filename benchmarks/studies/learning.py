"""What the runs of all studies do alike: teach a tower where landmarks are, then train a variant and test it."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from safetensors.torch import save_file
from torch import Tensor, nn

from affectkit.data import ClipBatch
from affectkit.models.backbones import ClipBackbone
from affectkit.tasks import EMA
from affectkit.tasks.base import AffectTask


def teach_landmarks(
    backbone: ClipBackbone,
    readers: nn.Module,
    batches: Iterable[ClipBatch],
    steps: int,
    loss_of: Callable[[ClipBatch], Tensor],
    path: Path,
) -> None:
    """Train a tower with what reads landmarks off it, and keep the tower.

    Args:
        backbone: The tower.
        readers: What `loss_of` reads its vectors with.
        batches: As many as `steps`.
        steps: Steps of AdamW, the rate rising and falling once.
        loss_of: From a batch to the loss.
        path: Where the tower is written.
    """
    parameters = [*backbone.parameters(), *readers.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step, batch in enumerate(batches, start=1):
        loss = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 1 or step == steps:
            print(f"landmarks, step {step} of {steps}: loss {loss.item():.4f}", flush=True)
    save_file({f"visual.{name}": value for name, value in backbone.tower.state_dict().items()}, path)


def train_and_test(
    task: AffectTask, data: LightningDataModule, folder: Path, *, epochs: int, ema: float
) -> dict[str, Any]:
    """Train a task, choose its thresholds on validation people and test it; the numbers are in `task.results`.

    Returns:
        What a run says about its training: last losses, trainable parameters, seconds.
    """
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    start, processor = time.monotonic(), time.process_time()
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
    }
    trainer = Trainer(
        max_epochs=epochs,
        gradient_clip_val=1.0,
        callbacks=[EMA(ema)],
        limit_val_batches=0,
        enable_checkpointing=False,
        **quiet,
    )
    trainer.fit(task, datamodule=data)
    losses = {key: float(value) for key, value in trainer.callback_metrics.items()}
    trained = time.process_time() - processor
    evaluator = Trainer(**quiet)
    evaluator.validate(task, datamodule=data, verbose=False)
    evaluator.test(task, datamodule=data, verbose=False)
    return {
        "train": losses,
        "parameters": sum(p.numel() for p in task.parameters() if p.requires_grad),
        "processor_seconds": {"training": trained, "all": time.process_time() - processor},
        "seconds": time.monotonic() - start,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
