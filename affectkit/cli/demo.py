"""`affectkit demo`: render, train, test on unseen identities, predict and write a report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.arguments import add_shared, make_parser
from affectkit.cli.options import check_options
from affectkit.errors import MissingDependencyError

if TYPE_CHECKING:
    from affectkit.datasets.rendered import RenderedDataset
    from affectkit.inference import Strip
    from affectkit.metrics import Result
    from affectkit.models import AffectModel

__all__ = ["run"]

RECIPE = "joint/demo"
NOTE = (
    "The faces are rendered from a rig, not photographed. The results show that the whole path from data to report "
    "works; they say nothing about real faces, and the exported model is not suitable for them."
)


def run(args: Sequence[str]) -> int:
    """Run the demo; 0 if it beats the trivial baselines, otherwise 1."""
    parser = make_parser(
        "demo",
        "Render faces, train action units and expressions jointly, test on unseen identities, predict.",
        f"Further options override the recipe {RECIPE}, for example --trainer.max_epochs 2.",
        allow_abbrev=False,
    )
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="folder of the results")
    add_shared(parser, "--seed")
    options, overrides = parser.parse_known_args(args)
    started = time.monotonic()
    out: Path = options.output
    folders = [f"--trainer.default_root_dir={out}", f"--trainer.logger.init_args.save_dir={out}"]
    recipe = ["--config", RECIPE, "--seed_everything", str(options.seed), *folders, *overrides]
    check_options("fit", recipe)
    from affectkit.cli.lightning import launch
    from affectkit.cli.quiet import quietly
    from affectkit.datasets.rendered import RenderedDataset
    from affectkit.facs import EXPRESSION_SETS
    from affectkit.inference import write_report
    from affectkit.tasks.callbacks import run_folder

    with quietly():
        cli = launch(["fit", *recipe])
        best = cli.trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]  # the recipe's own
        cli.trainer.test(
            cli.model, datamodule=cli.datamodule, ckpt_path=best, weights_only=True, verbose=False
        )
    logs = run_folder(cli.trainer)
    confusion = cli.model.evaluation["test"].metrics["rendered", "expression"].confusion()
    if not cli.trainer.is_global_zero:
        return 0  # the first process writes and judges
    test = cli.datamodule.datasets["test"]
    if not isinstance(test, RenderedDataset):
        raise TypeError(f"the recipe {RECIPE} must test on rendered faces, not on {type(test).__name__}")

    model: AffectModel = cli.model.model
    results = [row for rows in cli.model.results.values() for row in rows]
    metrics = _summary(results, test, model.labels("au"))
    metadata = {
        "name": "affectkit demo",
        "rendered": True,
        "trained_on": "faces rendered by affectkit.synth",
        "licence": "Apache-2.0",
        "results": [row.to_dict() for row in results if row.name.count("/") == 1],
    }
    model.save_pretrained(out / "model", metadata=metadata)
    notes = [NOTE, *_predict(out, test)]
    metrics["seconds"] = round(time.monotonic() - started, 1)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    page = write_report(
        out / "report",
        title="affectkit demo",
        results=results,
        curves=_curves(logs / "metrics.csv"),
        confusions={"Expressions": (EXPRESSION_SETS["basic7"].labels, confusion)},
        strips=_strips(model, test),
        facts={
            "Test subjects": metrics["test/num_subjects"],
            "Test clips": metrics["test/num_clips"],
            "Action units": metrics["au/num_units"],
            "Best expression UAR possible": f"{metrics['expression/uar_ceiling']:.3f}",
            "Total seconds": f"{metrics['seconds']:.0f}",
        },
        notes=notes,
        rendered=True,
    )
    return _verdict(metrics, page)


def _summary(results: Sequence[Result], test: RenderedDataset, units: Sequence[str]) -> dict[str, Any]:
    """Content of `metrics.json`."""
    by_name = {row.name: row for row in results}
    f1, uar = by_name["au/f1_pos"], by_name["expression/uar"]
    return {
        "au/f1_mean": f1.estimate.value,
        "au/f1_ci95": [f1.estimate.low, f1.estimate.high],
        "au/f1_all_positive": f1.baseline,
        "au/num_units": len(units),
        "expression/uar": uar.estimate.value,
        "expression/uar_ci95": [uar.estimate.low, uar.estimate.high],
        "expression/uar_chance": uar.baseline,
        "expression/uar_ceiling": test.manifest["expression_uar_ceiling"],
        "test/num_subjects": len(test.subjects),
        "test/num_clips": len(test),
        "protocol": f1.protocol,
        "threshold_rule": f1.threshold_rule,
        "rendered": True,
    } | {f"au/f1/{label}": by_name[f"au/f1_pos/{label}"].estimate.value for label in units}


def _predict(out: Path, test: RenderedDataset) -> list[str]:
    """Predict a test clip, and a real photograph if scikit-image is installed, with a note about it."""
    from affectkit.faces import Crop
    from affectkit.inference import Predictor, write_predictions

    record = test.clips[len(test) // 2]
    clip = Predictor(out / "model", faces="center")
    side, shown = test.manifest["settings"]["size"], clip.model.input_spec.size
    margin = (side - shown) // 2  # cropped in training
    clip.faces = Crop((margin, margin, shown, shown))
    write_predictions(clip, record.path, out / "predictions.csv")
    try:
        from skimage.data import astronaut

        face = Predictor(out / "model", faces="mesh")
    except (ImportError, MissingDependencyError):
        return []
    from PIL import Image

    photo = out / "real" / "astronaut.png"
    photo.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(astronaut()).save(photo)  # type: ignore[no-untyped-call]
    write_predictions(face, photo, photo.with_suffix(".csv"))
    row = next(iter(face.predict_file(photo)))
    units = [f"{name} {p:.2f}" for name, p in row.values.items() if name in test.units.columns and p >= 0.5]
    classes = [name for name in row.values if name not in test.units.columns]
    guess = max(classes, key=lambda name: row.values[name])
    return [
        "On a real photograph (scikit-image's astronaut, public domain, face found by the detector) the model "
        f"predicts {', '.join(units) or 'no action unit'}, and {guess}. {face.warning}"
    ]


def _strips(model: AffectModel, test: RenderedDataset, count: int = 6, frames: int = 5) -> list[Strip]:
    """Test clips of different people, with the true and the predicted units at the apex."""
    from affectkit.data import collate
    from affectkit.inference import Strip

    labels, classes = model.labels("au"), model.labels("expression")
    strips: list[Strip] = []
    for index in range(0, len(test), max(1, len(test) // count))[:count]:
        clip, record = test[index], test.clips[index]
        apex = int(clip.key_frames[1]) if clip.key_frames[1] >= 0 else len(clip.frames) // 2
        batch = collate([clip])
        predicted = model.predict(batch.frames, batch.frame_mask)
        truth = clip.targets["au"].project(model.head("au").space.name).value[apex]
        shown = sorted({round(k * apex / max(1, frames - 1)) for k in range(frames)})
        true_units, predicted_units = (
            [label for label, p in zip(labels, values.tolist(), strict=True) if p >= 0.5]
            for values in (truth, predicted["au"][0, apex])
        )
        strips.append(
            Strip(
                frames=clip.frames[shown],
                true=true_units,
                predicted=predicted_units,
                expression=classes[int(clip.targets["expression"].value)],
                predicted_expression=classes[int(predicted["expression"][0].argmax())],
                caption=f"{record.subject}, clip {record.clip}: onset to apex",
            )
        )
    return strips


def _curves(path: Path) -> dict[str, list[float]]:
    """Training curves by column, from the file of the logger."""
    import pandas as pd

    shown = ("epoch", "train/loss", "val/rendered/au/f1_pos", "val/rendered/expression/uar")
    logged = pd.read_csv(path).groupby("epoch").first().reset_index()
    return {name: logged[name].astype(float).tolist() for name in shown}


def _verdict(metrics: Mapping[str, Any], page: Path) -> int:
    """Print the results, and return 0 if they beat the trivial baselines."""
    f1, uar = metrics["au/f1_mean"], metrics["expression/uar"]
    print(
        f"action units: mean F1 {f1:.3f} over {metrics['au/num_units']} units "
        f"(all-positive {metrics['au/f1_all_positive']:.3f}); expression: UAR {uar:.3f} "
        f"(chance {metrics['expression/uar_chance']:.3f}, ceiling {metrics['expression/uar_ceiling']:.3f})"
    )
    print(
        f"rendered faces, {metrics['test/num_subjects']} unseen identities, {metrics['seconds']:.0f} s in total"
    )
    print(f"report: {page}")
    if f1 > metrics["au/f1_all_positive"] and uar > metrics["expression/uar_chance"]:  # False for NaN
        return 0
    print("the trained model does not beat the trivial baselines")
    return 1
