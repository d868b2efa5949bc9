"""`affectkit model calibrate`: probabilities that mean what they say, and thresholds, both from validation subjects."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.arguments import MODEL, open_model
from affectkit.cli.options import check_options

if TYPE_CHECKING:
    from affectkit.data import ClipBatch

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Calibrate."""
    parser = argparse.ArgumentParser(
        prog="affectkit model calibrate",
        description="Fit each head's temperature (least log-loss) and each action unit's threshold (best F1) on the "
        "validation subjects of a recipe, and save the model with them.",
        epilog="Further options override the recipe, for example --data.fold=part2; use those of the training.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        "-c",
        action="append",
        required=True,
        help="the recipe whose data to use; may be given again",
    )
    parser.add_argument("--model", required=True, help=MODEL)
    parser.add_argument("--output", required=True, type=Path, help="folder to write; may be that of --model")
    parser.add_argument("--test", action="store_true", help="measure on the test subjects as well")
    parser.add_argument("--device", default="cpu", help="such as cuda:1 (default: cpu)")
    options, overrides = parser.parse_known_args(args)
    recipe = [*(argument for name in options.config for argument in ("--config", name)), *overrides]
    check_options(None, recipe)
    from affectkit.tasks.calibration import calibrate, collect_logits, measure

    model = open_model(options.model)
    model.to(options.device)
    data = _data(recipe)
    found = collect_logits(model, _loaders(data, "validate"))
    calibrate(model, found)
    measured = {"validation": measure(model, found)}
    if options.test:
        measured["test"] = measure(model, collect_logits(model, _loaders(data, "test")))
    report: dict[str, dict[str, Any]] = {
        name: {
            "temperature": model.head(name).temperature,
            "measured": {split: heads[name] for split, heads in measured.items() if name in heads},
        }
        for name in found
    }
    model.save_pretrained(options.output, metadata={**model.metadata, "calibration": report})
    for name, one in report.items():
        print(f"{name}: temperature {one['temperature']:.3f}")
        for split, m in one["measured"].items():
            print(
                f"  {split}: expected calibration error {m['ece_before']:.4f} → {m['ece']:.4f}, "
                f"log-loss {m['nll_before']:.4f} → {m['nll']:.4f} ({m['labels']} labels)"
            )
    print(f"{options.output}: temperatures and thresholds are saved with the model")
    return 0


def _data(recipe: Sequence[str]) -> Any:
    """The datamodule of a recipe, without its task and trainer."""
    from jsonargparse import Namespace

    from affectkit.cli.lightning import AffectCLI, launch

    class DataOnly(AffectCLI):
        def instantiate_classes(self) -> None:
            part = Namespace(data=self.config.data)  # type: ignore[no-untyped-call]
            self.datamodule = self.parser.instantiate_classes(part).data

    data = launch(recipe, execute=False, kind=DataOnly).datamodule
    data.prepare_data()
    return data


def _loaders(data: Any, stage: str) -> list[Iterable[ClipBatch]]:
    data.setup(stage)
    loaders = data.val_dataloader() if stage == "validate" else data.test_dataloader()
    return loaders if isinstance(loaders, list) else [loaders]
