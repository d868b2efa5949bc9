"""`affectkit model`: export, calibrate, convert, explain, compare or search with trained models."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.arguments import (
    add_shared,
    make_parser,
    open_model,
    parse_with_recipe,
    print_notes,
    refuse_options,
)
from affectkit.cli.compare import run as compare
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from affectkit.data import ClipBatch
    from affectkit.models import AffectModel, Features

__all__ = ["calibrate", "compare", "convert", "explain", "export", "neighbours"]

_ONLY = {  # options of some targets
    ("hub",): ("repo", "private"),
    ("onnx",): ("inputs", "frames", "logits"),
    ("safetensors", "onnx"): ("output",),
    ("safetensors", "hub"): ("half",),
}
_STATED = ("name", "trained_on", "licence", "citation")


def export(args: Sequence[str]) -> int:
    """`affectkit model export`: write a model folder, an ONNX file, or a repository on the Hub."""
    parser = make_parser(
        "model export",
        "Write the model of a checkpoint of `affectkit fit`, with its thresholds, or a saved model, with a "
        "model card.",
    )
    add_shared(parser, "--model")
    add = parser.add_argument
    add("--to", choices=("safetensors", "onnx", "hub"), default="safetensors", help="target")
    add("--output", type=Path, help="folder to write; the file for onnx")
    add("--half", action="store_true", help="safetensors and hub: half precision")
    add = parser.add_argument_group("model card").add_argument
    add("--name", metavar="TEXT", help="title")
    add("--trained-on", metavar="TEXT", help="training data, saved with the model")
    add("--licence", metavar="TEXT", help="terms of use, saved with the model")
    add("--citation", metavar="TEXT", help="reference to cite")
    add(
        "--results",
        type=Path,
        metavar="FILE",
        help="test_results.json of `test`, or results.json of `crossval`",
    )
    add(
        "--rendered",
        action="store_true",
        help="trained on rendered faces only, if the checkpoint does not state it: predictions carry a warning",
    )
    add = parser.add_argument_group("onnx").add_argument
    add(
        "--inputs",
        nargs="+",
        default=["frames"],
        choices=("frames", "frame_mask", "landmarks", "landmarks_mask"),
        help="inputs of the graph",
    )
    add("--frames", type=int, help="fixed number of frames per clip (default: any)")
    add("--logits", action="store_true", help="logits instead of calibrated probabilities and intensities")
    add = parser.add_argument_group("hub").add_argument
    add(
        "--repo",
        metavar="OWNER/NAME",
        help="repository; created if absent, with the token of `hf auth login`",
    )
    add("--private", action="store_true", help="make a new repository private")
    options = parser.parse_args(args)
    needed = "repo" if options.to == "hub" else "output"
    if getattr(options, needed) is None:
        raise ConfigError(f"--to {options.to} needs --{needed}.")
    unused = [name for targets, names in _ONLY.items() if options.to not in targets for name in names]
    refuse_options(parser, options, unused, f"--to {options.to}")
    model = _described(options)
    heads = ", ".join(f"{name} ({len(model.labels(name))} labels)" for name in model.heads)
    if options.to == "onnx":
        from affectkit.models.export import export_onnx

        difference = export_onnx(
            model, options.output, inputs=options.inputs, frames=options.frames, logits=options.logits
        )
        print(f"{options.output}: {heads}; largest difference from the model: {difference:.1e}")
    elif options.to == "hub":
        print(f"{model.push_to_hub(options.repo, private=options.private, half=options.half)}: {heads}")
    else:
        model.save_pretrained(options.output, half=options.half)
        print(f"{options.output}: {heads}; load it with affectkit.load or `affectkit predict --model`")
    return 0


def _described(options: argparse.Namespace) -> AffectModel:
    """Open the model and add the stated metadata."""
    model = open_model(options.model)
    stated = {name: getattr(options, name) for name in _STATED}
    stated["results"] = None if options.results is None else _read_results(options.results)
    stated["rendered"] = options.rendered or None
    model.metadata |= {key: value for key, value in stated.items() if value is not None}
    return model


def _read_results(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read results by dataset and head from the file of a test or of a cross-validation."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        results: dict[str, list[dict[str, Any]]] = content.get("results", content)
        for row in (row for rows in results.values() for row in rows):
            row["name"], row["value"], row["ci"], row["baseline"], row["protocol"], row["threshold_rule"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            "This file holds no results.",
            path=path,
            remedy="Give test_results.json of `affectkit test`, or results.json of `affectkit crossval`.",
        ) from error
    return results


def calibrate(args: Sequence[str]) -> int:
    """`affectkit model calibrate`: fit temperatures and thresholds on validation subjects."""
    parser = make_parser(
        "model calibrate",
        "Fit each head's temperature (least log-loss) and each action unit's threshold (best F1) on the "
        "validation subjects of a recipe, and save the model with them.",
        "Further options override the recipe, for example --data.fold=part2; use those of the training.",
        allow_abbrev=False,
    )
    add_shared(parser, "--config", required=True)
    add_shared(parser, "--model")
    parser.add_argument("--output", required=True, type=Path, help="folder to write; may be that of --model")
    parser.add_argument("--test", action="store_true", help="also measure on the test subjects")
    parser.add_argument("--device", default="cpu", help="such as cuda:1")
    options, recipe = parse_with_recipe(parser, args)
    from affectkit.cli.lightning import build_part
    from affectkit.datamodules import MixtureDataModule, SingleDataModule
    from affectkit.tasks import calibration

    model = open_model(options.model)
    model.to(options.device)
    data = build_part(recipe, "data")
    if isinstance(data, SingleDataModule | MixtureDataModule):
        data.adapt(model)
    data.prepare_data()
    collected = calibration.collect_logits(model, _loaders(data, "validate"))
    calibration.calibrate(model, collected)
    measured = {"validation": calibration.measure(model, collected)}
    if options.test:
        measured["test"] = calibration.measure(
            model, calibration.collect_logits(model, _loaders(data, "test"))
        )
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


def convert(args: Sequence[str]) -> int:
    """`affectkit model convert`: turn weights trained by other programs into model folders."""
    from affectkit.models import list_models
    from affectkit.models.convert import Conversion
    from affectkit.models.registry import find

    parser = make_parser("model convert", "Convert weights trained by other programs.")
    layouts = parser.add_subparsers(dest="layout", required=True)
    converters = {name: find("converter", name) for name in list_models("converter")}
    for name, converter in converters.items():
        description = f"Convert {converter.about} to model folders that compute the same."
        layout = layouts.add_parser(name, help=converter.about, description=description)
        layout.add_argument("checkpoint", type=Path, help="the file")
        layout.add_argument("--output", required=True, type=Path, help="folder to write")
        for flag, settings in converter.options.items():
            layout.add_argument(flag, **settings)
    options = vars(parser.parse_args(args))
    converter, output = converters[options.pop("layout")], options.pop("output")
    conversion: Conversion = converter.convert(options.pop("checkpoint"), **options)
    conversion.model.save_pretrained(output)
    given = conversion.release
    release = given if isinstance(given, str) else f"release {given}"
    print(f"{output}: {release}, {len(conversion.mapped)} tensors converted")
    print(f"{len(conversion.ignored)} tensors left out{':' if conversion.ignored else ''}")
    for name, reason in conversion.ignored.items():
        print(f"  {name}: {reason}")
    for note in conversion.model.metadata.get("notes", []):
        print(f"note: {note}")
    print(f"licence: {conversion.model.metadata.get('licence')}")
    if use := conversion.model.metadata.get("intended_use"):
        print(f"use: {use}")
    return 0


def explain(args: Sequence[str]) -> int:
    """`affectkit model explain`: draw what a saved model learned."""
    parser = make_parser(
        "model explain",
        "Draw what the parts of a model learned, as a picture (.png) and a table (.csv) each. Models of "
        "SSM offer `map`; models of Micro-AU CLIP `regions`, for a clip, and `dependencies`.",
    )
    add_shared(parser, "--model")
    add = parser.add_argument
    add("--output", required=True, type=Path, help="folder to write")
    add("--only", nargs="+", metavar="NAME", help="explanations to draw, such as map (default: all)")
    add("--head", help="only the explanations of this head")
    add("--input", type=Path, help="video or folder of frames, for explanations of a clip")
    add("--onset", type=int, metavar="FRAME", help="first frame of the movement, from 0")
    add("--apex", type=int, metavar="FRAME", help="its strongest frame; without both, they are spotted")
    add_shared(parser, "--fps", "--faces")
    options = parser.parse_args(args)
    from affectkit.models import explanations

    model = open_model(options.model)
    offered = [(part, one) for part, found in explanations(model, options.head).items() for one in found]
    names = list(dict.fromkeys(one.name for _, one in offered))
    if not offered:
        raise ConfigError(
            "This model has nothing to explain.",
            path=options.model,
            remedy="Use a model of the recipes joint/ssm_* or micro/*microauclip*.",
        )
    if unknown := sorted(set(options.only or ()) - set(names)):
        raise ConfigError(
            f"This model cannot explain {', '.join(unknown)}.", remedy=f"Choose from {', '.join(names)}."
        )
    chosen = [(part, one) for part, one in offered if one.name in (options.only or names)]
    left_out = {one.name for _, one in chosen if one.clip == "needed" and options.input is None}
    if left_out and (options.only or left_out == set(names)):
        raise ConfigError(f"{', '.join(sorted(left_out))} needs a clip.", remedy="Give one with --input.")
    needs_clip = any(one.clip != "unused" for _, one in chosen)
    clip = _clip(model, options) if options.input is not None and needs_clip else (None, None)
    for part, one in chosen:
        if one.name in left_out:
            print_notes(f"{one.name} is left out, because it needs a clip (--input)")
            continue
        several = sum(other.name == one.name for _, other in chosen) > 1
        paths, said = one.draw(options.output / part if several else options.output, *clip)
        print(*paths, *said, sep="\n")
    return 0


def _clip(model: AffectModel, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    from affectkit.data import OnsetApex
    from affectkit.data.video import open_video
    from affectkit.faces import read_clip
    from affectkit.inference.predictor import Predictor
    from affectkit.inference.spotting.movements import MovementFinder

    if (options.onset is None) != (options.apex is None):
        raise ConfigError("--onset and --apex belong together.", remedy="Give both, or neither to spot them.")
    predictor = Predictor(model, faces=options.faces)
    with open_video(options.input) as video:
        onset, apex = options.onset, options.apex
        if onset is None:
            found = list(MovementFinder(predictor).spot(video, fps=options.fps))
            if not found:
                raise ConfigError(
                    "No brief movement was found.", path=options.input, remedy="Give --onset and --apex."
                )
            strongest = max(found, key=lambda interval: interval.strength)
            onset, apex = strongest.onset, strongest.apex
            print(f"spotted: onset {onset}, apex {apex}, the strongest of {len(found)}")
        elif not 0 <= onset <= apex < video.num_frames:
            raise ConfigError(
                f"Onset {onset} and apex {apex} are not in order among {video.num_frames} frames from 0.",
                path=options.input,
            )
        numbers = OnsetApex(max(2, model.input_spec.frames))(apex + 1, onset=onset, apex=apex)
        clip, landmarks = read_clip(video, numbers, predictor.faces, model.input_spec)
        return clip, landmarks.expand(len(clip), -1, -1)


def neighbours(args: Sequence[str]) -> int:
    """`affectkit model neighbours`: draw the faces of a corpus that are nearest to a face."""
    parser = make_parser(
        "model neighbours",
        "Draw the nearest neighbours of a face among the test clips of a recipe's data, as a picture "
        "(neighbours.png) and a table (neighbours.csv). Without --input, draw those of the first test clip with each "
        "label, and print how often neighbours share labels and person. The model needs a metric head "
        "(expression/muldml_*).",
        "Further options override the recipe, for example --data.root=FOLDER.",
        allow_abbrev=False,
    )
    add_shared(parser, "--config", required=True)
    add_shared(parser, "--model")
    add = parser.add_argument
    add("--output", required=True, type=Path, help="folder to write")
    add("--input", type=Path, help="photo, video or folder of frames with the face to look up")
    add("--head", help="the metric head (default: the first one)")
    add("--count", type=int, default=5, metavar="N", help="number of neighbours")
    add_shared(parser, "--faces")
    options, recipe = parse_with_recipe(parser, args)
    if options.count < 1:
        raise ConfigError(f"--count {options.count} must be at least 1.")
    from affectkit.cli.lightning import build_part
    from affectkit.datamodules import MixtureDataModule, SingleDataModule
    from affectkit.methods import mul_dml

    model = open_model(options.model).eval()
    head = mul_dml.metric_head(model, options.head)
    data = build_part(recipe, "data")
    if isinstance(data, SingleDataModule | MixtureDataModule):
        data.adapt(model)
    data.prepare_data()
    gallery = mul_dml.embed_gallery(model, head, _loaders(data, "test"))
    if options.input is None:
        found = mul_dml.neighbours_by_label(gallery, options.count)
        rates = mul_dml.retrieval_rates(gallery, options.count)
        for name in ("same_label", "same_person"):
            print(
                f"{name.replace('_', ' ')} among {options.count} neighbours: {rates[name]:.3f} "
                f"(chance {rates[f'{name}_chance']:.3f})"
            )
    else:
        picture, features = _face(model, options)
        vector = mul_dml.face_vectors(head, features)[0]
        found = [mul_dml.neighbours_of(gallery, options.input.name, picture, vector, options.count)]
        for index, cosine in zip(found[0].indices, found[0].cosines, strict=True):
            print(f"{gallery.clips[index]}: {gallery.shown(index)}, cosine {cosine:.3f}")
    print(*mul_dml.write_neighbours(gallery, found, options.output), sep="\n")
    return 0


def _face(model: AffectModel, options: argparse.Namespace) -> tuple[Tensor, Features]:
    """Picture of the face in the input, uint8 [3, S, S], and its features."""
    import torch

    from affectkit.data import UniformSegments
    from affectkit.data.video import open_video
    from affectkit.faces import read_clip
    from affectkit.inference.predictor import Predictor

    predictor = Predictor(model, faces=options.faces)
    with open_video(options.input) as video:
        numbers = UniformSegments(min(model.input_spec.frames, video.num_frames))(video.num_frames)
        clip, landmarks = read_clip(video, numbers, predictor.faces, model.input_spec)
        measured = predictor.measure(video.read(numbers))
    with torch.inference_mode():
        points = landmarks.expand(1, len(clip), -1, -1)
        return clip[(len(clip) - 1) // 2], model.features(clip[None], landmarks=points, **measured)
