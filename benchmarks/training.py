"""Where the time of a training step goes: recipes of rendered faces, with their trainer, callbacks and logger.

    python benchmarks/training.py

Prints a table of processor time per step of the second epoch, one thread, one process. Parts are exclusive: the
backbone is not counted in "heads and losses", nor the augmentation in the loader. In the first epoch, the loader also
decodes media, which then stay in memory.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.profilers import Profiler

from affectkit.cli.lightning import launch
from affectkit.cli.quiet import quietly

PEOPLE = {"identities": 10, "clips": 7, "val": 0.1, "test": 0.1}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "joint/demo": {"render": PEOPLE},
    "joint/ssm_rendered": {
        "sources": {name: {"init_args": {"render": PEOPLE}} for name in ("units", "faces")}
    },
    "micro/microauclip_rendered": {"render": PEOPLE},
}
PARTS = (
    "loader",
    "augmentation",
    "backbone",
    "heads and losses",
    "backward",
    "optimiser",
    "weight averaging",
    "logging",
    "Lightning",
)
ACTIONS = {  # parts of Lightning's names of actions
    "train_dataloader_next": "loader",
    "training_step": "heads and losses",
    ".backward": "backward",
    "optimizer_step": "optimiser",
    "EMA": "weight averaging",
    "WeightAveraging": "weight averaging",
    "logger": "logging",
}


class Exclusive(Profiler):
    """Processor time of every part without that of the parts inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: Counter[str] = Counter()
        self.open: list[str] = []
        self.since = time.process_time()

    def start(self, action_name: str) -> None:
        self._count()
        self.open.append(action_name)

    def stop(self, action_name: str) -> None:
        self._count()
        self.open.remove(action_name)

    def _count(self) -> None:
        now = time.process_time()
        self.seconds[_part(self.open[-1]) if self.open else "Lightning"] += now - self.since
        self.since = now

    def reset(self) -> dict[str, float]:
        """Seconds by part since the last call."""
        self._count()
        found, self.seconds = dict(self.seconds), Counter()
        return found


def _part(action: str) -> str:
    return next(
        (part for name, part in ACTIONS.items() if name in action), action if action in PARTS else "Lightning"
    )


class Epochs(Callback):
    """Keeps the seconds of every epoch, without its first step."""

    def __init__(self, profiler: Exclusive) -> None:
        self.profiler, self.found = profiler, list[dict[str, float]]()

    def on_train_batch_end(self, *arguments: Any) -> None:
        if arguments[-1] == 0:
            self.profiler.reset()

    def on_train_epoch_end(self, *arguments: Any) -> None:
        self.found.append(self.profiler.reset())


def timed(function: Callable[..., Any], part: str, profiler: Exclusive) -> Callable[..., Any]:
    """A function whose calls count as a part."""

    def call(*arguments: Any, **options: Any) -> Any:
        with profiler.profile(part):
            return function(*arguments, **options)

    return call


def measure(recipe: str, folder: Path, steps: int) -> list[dict[str, float]]:
    """Seconds by part of the steps of two epochs."""
    overlay = {
        "include": [recipe],
        "trainer": {
            "max_epochs": 2, "limit_val_batches": 0, "default_root_dir": str(folder),
            "logger": {"init_args": {"save_dir": str(folder)}},
        },
        "data": {"init_args": {**RECIPES[recipe], "steps_per_epoch": steps + 1}},
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    profiler = Exclusive()
    with quietly():
        cli = launch(["--config", str(path), "--trainer.enable_progress_bar=false"], execute=False)
        cli.datamodule.prepare_data()
        cli.datamodule.setup("fit")
        sources = getattr(cli.datamodule, "sources", {"": cli.datamodule})
        for source in sources.values():
            dataset = source.datasets["train"]
            dataset.transform = timed(dataset.transform, "augmentation", profiler)
        backbone = cli.model.model.backbone
        backbone.forward = timed(backbone.forward, "backbone", profiler)
        cli.model.log_dict = timed(cli.model.log_dict, "logging", profiler)
        cli.trainer.profiler = profiler
        epochs = Epochs(profiler)
        cli.trainer.callbacks.append(epochs)
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    return [{part: seconds / steps for part, seconds in one.items()} for one in epochs.found]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=6, help="steps of an epoch that are measured")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"| recipe | step | {' | '.join(PARTS)} |\n|---|---:|{'---:|' * len(PARTS)}", flush=True)
    for recipe in RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["AFFECTKIT_DATA"] = folder
            first, second = measure(recipe, Path(folder), options.steps)
        total = sum(second.values())
        shares = [f"{second.get(part, 0) / total:.0%}" for part in PARTS]
        print(f"| `{recipe}` | {1000 * total:.0f} ms | {' | '.join(shares)} |", flush=True)
        extra = first.get("loader", 0) - second.get("loader", 0)
        print(f"{recipe}: decoding in the first epoch adds {1000 * extra:.0f} ms per step", flush=True)


if __name__ == "__main__":
    main()
