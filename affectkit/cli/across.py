"""`affectkit crossval --across`: train on one corpus and test on another, in both directions."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from affectkit.cli.arguments import replacing
from affectkit.cli.lightning import launch
from affectkit.errors import ConfigError
from affectkit.metrics import Result, as_text
from affectkit.tasks.callbacks import NEWEST

__all__ = ["run_across"]


def run_across(options: argparse.Namespace, recipe: Sequence[str]) -> int:
    """Train two recipes on their whole corpora, test each on the other's corpus, and print both results.

    Validation subjects of the training corpus select the epoch and the thresholds. The labels that both corpora
    annotate are measured.

    Args:
        options: With `config`, `across`, `protocol`, `fold` and `output`.
        recipe: The first recipe, overlays and overrides, as arguments of `launch`; overlays and overrides are applied
            to both recipes, and those of the model not at test.

    Raises:
        ConfigError: A fold or protocol is given.
    """
    if options.fold is not None or options.protocol is not None:
        raise ConfigError("--across trains on whole corpora.", remedy="Remove --fold and --protocol.")
    first, changes = options.config[0], list(recipe[2:])
    names = [Path(name).stem for name in (first, options.across)]
    out = options.output or Path("runs", "crossval", "-across-".join(names))
    found: dict[str, list[Result]] = {}
    for source, target in ((first, options.across), (options.across, first)):
        folder = out / Path(source).stem
        places = ["--trainer.logger=false", f"--trainer.default_root_dir={folder}"]
        fitted = launch(["fit", "--config", source, *changes, "--data.fold=all", *places])
        best = getattr(fitted.trainer.checkpoint_callback, "best_model_path", "")
        model = best or str(folder / "checkpoints" / NEWEST)
        tested = launch(["test", "--config", target, *_without_model(changes), *places], model=model)
        found |= tested.model.results
    if fitted.trainer.is_global_zero:
        for name, rows in found.items():
            print(as_text([row for row in rows if row.name.count("/") == 1], title=name))
        content = {name: [row.to_dict() for row in rows] for name, rows in found.items()}
        with replacing(out / "results.json") as unfinished:
            unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"results of both directions: {out / 'results.json'}")
    return 0


def _without_model(changes: Sequence[str]) -> list[str]:
    """Leave out overrides of the model, `--model.lr 1` or `--model.lr=1`: a saved model is tested as it is."""
    kept: list[str] = []
    remaining = iter(changes)
    for argument in remaining:
        if not argument.startswith("--model."):
            kept.append(argument)
        elif "=" not in argument:
            next(remaining, None)
    return kept
