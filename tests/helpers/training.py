"""Train the toy task with fixed settings."""

from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from affectkit.cli.progress import TrainingBar
from affectkit.datamodules import MixtureDataModule
from affectkit.models import AUHead, ExpressionHead, TimmBackbone
from affectkit.tasks import MultiTask
from helpers.toy import ToyDataModule


def make_task(**options):
    """A LayerNorm backbone (statistics of a batch would differ between processes) with two heads, no dropout."""
    torch.manual_seed(0)
    heads = {
        "au": partial(AUHead, space="AU1,AU4,AU12", per_frame=True),
        "expression": partial(ExpressionHead, space="basic7"),
    }
    return MultiTask(TimmBackbone("test_convnext", size=32), heads, **{"lr": 1e-3, **options})


def make_data(global_batch, world=1, **options):
    """The toy corpus, with the same global batches for any number of processes."""
    return ToyDataModule(batch_size=global_batch // world, seed=0, **options)


def make_mixture(global_batch, world=1):
    """Two sources with different units, one of them half as large."""
    sources = {
        "first": make_data(global_batch, world, clips=3),
        "second": make_data(global_batch, world, space="AU12,AU25", clips=1),
    }
    return MixtureDataModule(sources)


def make_trainer(folder, **options):
    """A quiet trainer on the processor."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", default_root_dir=folder, num_sanity_val_steps=0, **(quiet | options))


class FirstGradients(Callback):
    """Keeps the gradients of the first step, the mean over all processes."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == 0:
            self.kept = {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}


def train_together(folder, world, kind, task, data, **options):
    """Train and test on `world` processes; save weights, gradients of the first step, losses and results."""
    gradients = FirstGradients()
    trainer = make_trainer(
        folder,
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        enable_checkpointing=False,
        enable_progress_bar=True,
        callbacks=[gradients, TrainingBar()],
        limit_val_batches=0,
        **options,
    )
    trainer.fit(task, datamodule=data)
    means = [v for name, v in sorted(trainer.callback_metrics.items()) if name.startswith("train/")]
    trainer.test(task, datamodule=data, verbose=False)  # 9 test clips: one of two processes pads
    if trainer.is_global_zero:
        results = {name: [row.to_dict() for row in rows] for name, rows in task.results.items()}
        content = {
            "weights": task.state_dict(),
            "gradients": gradients.kept,
            "means": torch.stack(means),
            "results": results,
        }
        torch.save(content, Path(folder) / f"{kind}-{world}.pt")


def main(folder, world, mixture):
    """Train 20 steps on `world` processes and save weights and test results."""
    seed_everything(0, verbose=False)
    world = int(world)
    task = make_task()
    data = (
        make_mixture(4, world) if mixture == "mixture" else make_data(4, world, clips=3)
    )  # 9 test clips: one of two processes pads
    strategy = "ddp" if world > 1 else "auto"
    trainer = make_trainer(
        folder,
        max_steps=20,
        devices=world,
        strategy=strategy,
        enable_checkpointing=False,
        use_distributed_sampler=True,
    )
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        results = {name: [row.to_dict() for row in rows] for name, rows in task.results.items()}
        torch.save({"weights": task.state_dict(), "results": results}, Path(folder) / f"{mixture}-{world}.pt")
