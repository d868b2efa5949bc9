"""`affectkit model calibrate`: temperatures and thresholds from validation subjects."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.arguments import add_shared, open_model, parse_with_recipe

if TYPE_CHECKING:
    from affectkit.data import ClipBatch

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Calibrate a model."""
    parser = argparse.ArgumentParser(
        prog="affectkit model calibrate",
        description="Fit each head's temperature (least log-loss) and each action unit's threshold (best F1) on the "
        "validation subjects of a recipe, and save the model with them.",
        epilog="Further options override the recipe, for example --data.fold=part2; use those of the training.",
        allow_abbrev=False,
    )
    add_shared(parser, "--config", required=True)
    add_shared(parser, "--model")
    parser.add_argument("--output", required=True, type=Path, help="folder to write; may be that of --model")
    parser.add_argument("--test", action="store_true", help="also measure on the test subjects")
    parser.add_argument("--device", default="cpu", help="such as cuda:1 (default: cpu)")
    options, recipe = parse_with_recipe(parser, args)
    from affectkit.cli.lightning import build_part
    from affectkit.tasks.calibration import calibrate, collect_logits, measure

    model = open_model(options.model)
    model.to(options.device)
    data = build_part(recipe, "data")
    data.prepare_data()
    collected = collect_logits(model, _loaders(data, "validate"))
    calibrate(model, collected)
    measured = {"validation": measure(model, collected)}
    if options.test:
        measured["test"] = measure(model, collect_logits(model, _loaders(data, "test")))
    report: dict[str, dict[str, Any]] = {
        name: {
            "temperature": model.head(name).temperature,
            "measured": {split: heads[name] for split, heads in measured.items() if name in heads},
        }
        for name in collected
    }
    model.save_pretrained(options.output, metadata={**model.metadata, "calibration": report})
    for name, one in report.items():
        print(f"{name}: temperature {one['temperature']:.3f}")
        for split, m in one["measured"].items():
            print(
                f"  {split}: expected calibration error {m['ece_before']:.4f} → {m['ece']:.4f}, "
                f"log-loss {m['nll_before']:.4f} → {m['nll']:.4f} ({m['labels']} labels)"
            )
    print(f"{options.output}: model saved with temperatures and thresholds")
    return 0


def _loaders(data: Any, stage: str) -> list[Iterable[ClipBatch]]:
    data.setup(stage)
    loaders = data.val_dataloader() if stage == "validate" else data.test_dataloader()
    return loaders if isinstance(loaders, list) else [loaders]
