"""`affectkit model export`: a model as a folder that loads anywhere, as ONNX, or on the Hugging Face Hub."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.arguments import add_shared, open_model, refuse_options
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.models import AffectModel

__all__ = ["run"]

_ONLY = {  # options of some targets
    ("hub",): ("repo", "private"),
    ("onnx",): ("inputs", "frames", "logits"),
    ("safetensors", "onnx"): ("output",),
    ("safetensors", "hub"): ("half",),
}
_STATED = ("name", "trained_on", "licence", "citation")


def run(args: Sequence[str]) -> int:
    """Export a model."""
    parser = argparse.ArgumentParser(
        prog="affectkit model export",
        description="Write the model of a checkpoint of `affectkit fit`, with its thresholds, or a saved model, with a "
        "model card.",
    )
    add_shared(parser, "--model")
    add = parser.add_argument
    add("--to", choices=("safetensors", "onnx", "hub"), default="safetensors", help="(default: safetensors)")
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
        help="inputs of the graph (default: frames)",
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
    model = _model(options)
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


def _model(options: argparse.Namespace) -> AffectModel:
    """Open the model and add the stated metadata."""
    model = open_model(options.model)
    stated = {name: getattr(options, name) for name in _STATED}
    stated["results"] = None if options.results is None else _results(options.results)
    stated["rendered"] = options.rendered or None
    model.metadata |= {key: value for key, value in stated.items() if value is not None}
    return model


def _results(path: Path) -> dict[str, list[dict[str, Any]]]:
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
