"""Make the demo model that comes with affectkit, from rendered faces: train, store in half precision, calibrate, test.

    python tools/demo_model.py                                  # trains the recipe joint/demo first, some minutes
    python tools/demo_model.py --ckpt runs/demo-model/logs/version_0/checkpoints/best.ckpt

The numbers in its card are those of the stored weights. Rendered faces only: it is for tests and first steps.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from affectkit.cli.lightning import launch
from affectkit.models import AffectModel
from affectkit.models.convert import model_of_checkpoint
from affectkit.models.hub import SHIPPED
from affectkit.tasks.base import model_inputs
from affectkit.tasks.calibration import calibrate, collect_logits, measure
from affectkit.tasks.evaluation import Evaluation

RECIPE = "joint/demo"
LIMIT = 1_500_000  # bytes of the folder


def main() -> None:
    """Make the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ckpt", type=Path, help="a checkpoint of the recipe; trained when absent")
    parser.add_argument("--run", type=Path, default=Path("runs/demo-model"), help="where training writes")
    parser.add_argument("--output", type=Path, default=SHIPPED["demo"])
    options = parser.parse_args()
    place = [
        f"--trainer.default_root_dir={options.run}",
        f"--trainer.logger.init_args.save_dir={options.run}",
    ]
    cli = launch(["--config", RECIPE, "--trainer.enable_progress_bar=false", *place], execute=False)
    data = cli.datamodule
    if options.ckpt is None:
        cli.trainer.fit(cli.model, datamodule=data)
        options.ckpt = Path(cli.trainer.checkpoint_callback.best_model_path)
    data.prepare_data()
    data.setup("validate")
    data.setup("test")

    with TemporaryDirectory() as folder:  # measure what will be loaded: weights rounded to half precision
        trained = model_of_checkpoint(options.ckpt)
        trained.input_spec = cli.model.model.input_spec  # the geometry of the crops, as the recipe states it
        trained.save_pretrained(folder, half=True)
        model = AffectModel.from_pretrained(folder)
    found = collect_logits(model, [data.val_dataloader()])
    calibrate(model, found)
    measured = {
        "validation": measure(model, found),
        "test": measure(model, collect_logits(model, [data.test_dataloader()])),
    }
    test = data.datasets["test"]
    settings = test.manifest["settings"]
    model.save_pretrained(
        options.output,
        half=True,
        metadata={
            "name": "affectkit demo",
            "description": "A small model for tests and first steps: action units frame by frame, and the expression "
            "of a clip.",
            "rendered": True,
            "trained_on": f"{settings['identities']} identities with {settings['clips']} clips each, rendered by "
            f"`affectkit.synth` (recipe `{RECIPE}`): no real face, no corpus. Of the identities "
            f"{settings['val']:.0%} chose epoch, temperature and thresholds, and {settings['test']:.0%} were tested.",
            "licence": "Apache-2.0",
            "limits": [
                "It never saw a real face. On photographs and videos of people its numbers mean nothing yet."
            ],
            "recipe": RECIPE,
            "results": _results(model, data),
            "calibration": {
                name: {
                    "temperature": model.head(name).temperature,
                    "measured": {split: heads[name] for split, heads in measured.items()},
                }
                for name in found
            },
        },
    )
    size = sum(file.stat().st_size for file in options.output.rglob("*") if file.is_file())
    if size > LIMIT:
        raise SystemExit(f"{options.output} has {size} bytes, more than {LIMIT}")
    print(f"{options.output}: {size} bytes; see its README.md")


@torch.inference_mode()
def _results(model: AffectModel, data: object) -> dict[str, list[dict[str, object]]]:
    """Test results with both thresholds, as the card shows them."""
    heads = {name: model.head(name) for name in model.heads}
    evaluation = Evaluation(heads, [data.datasets["test"]], "cpu")  # type: ignore[attr-defined]
    for batch in data.test_dataloader():  # type: ignore[attr-defined]
        evaluation.update(0, model(**model_inputs(batch)), batch)
    chosen = {
        name: dict(zip(head.labels, head.thresholds, strict=True))
        for name, head in heads.items()
        if head.thresholds
    }
    found = evaluation.results(rule="val", thresholds=chosen, protocol=lambda _: data.protocol)  # type: ignore[attr-defined]
    return {
        name: [row.to_dict() for row in rows if row.name.count("/") == 1 or "/f1_pos/" in row.name]
        for name, rows in found.items()
    }


if __name__ == "__main__":
    main()
