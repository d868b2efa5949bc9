"""`affectkit model export`: a model as a folder that loads anywhere, as ONNX, or on the Hugging Face Hub."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.arguments import MODEL, check_choice, open_model
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.models import AffectModel

__all__ = ["run"]

_ONLY = {  # by target, the options that mean nothing to others
    ("hub",): ("repo", "private"),
    ("onnx",): ("inputs", "frames", "logits"),
    ("safetensors", "onnx"): ("output",),
    ("safetensors", "hub"): ("half",),
}


def run(args: Sequence[str]) -> int:
    """Export."""
    parser = argparse.ArgumentParser(
        prog="affectkit model export",
        description="Write the model of a checkpoint that `affectkit fit` left, with its chosen thresholds, or a saved "
        "model, with a model card.",
    )
    parser.add_argument("--model", required=True, help=MODEL)
    parser.add_argument(
        "--to", choices=("safetensors", "onnx", "hub"), default="safetensors", help="(default: safetensors)"
    )
    parser.add_argument("--output", type=Path, help="folder to write; for onnx the file")
    parser.add_argument("--half", action="store_true", help="safetensors and hub: in half precision")
    about = parser.add_argument_group("what the model card says")
    about.add_argument("--name", metavar="TEXT", help="its title")
    about.add_argument("--trained-on", metavar="TEXT", help="the data, kept with the model")
    about.add_argument("--licence", metavar="TEXT", help="terms of use, kept with the model")
    about.add_argument("--citation", metavar="TEXT", help="what to cite")
    about.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="test_results.json of `affectkit test`, or results.json of `crossval`",
    )
    about.add_argument(
        "--rendered",
        action="store_true",
        help="it was trained on rendered faces only, where the checkpoint does not know: predictions will carry a "
        "warning",
    )
    onnx = parser.add_argument_group("onnx")
    onnx.add_argument(
        "--inputs",
        nargs="+",
        default=["frames"],
        choices=("frames", "frame_mask", "landmarks", "landmarks_mask"),
        help="what the graph is given (default: frames)",
    )
    onnx.add_argument("--frames", type=int, help="frames of a clip, fixed (default: any number)")
    onnx.add_argument(
        "--logits", action="store_true", help="logits instead of calibrated probabilities and intensities"
    )
    hub = parser.add_argument_group("hub")
    hub.add_argument(
        "--repo", metavar="OWNER/NAME", help="repository; made when absent, with the token of `hf auth login`"
    )
    hub.add_argument("--private", action="store_true", help="make a new repository private")
    options = parser.parse_args(args)
    needed = "repo" if options.to == "hub" else "output"
    if getattr(options, needed) is None:
        raise ConfigError(f"--to {options.to} needs --{needed}.")
    check_choice(parser, options, _ONLY, "to", options.to)
    model = _model(options)
    heads = ", ".join(f"{name} ({len(model.labels(name))} labels)" for name in model.heads)
    if options.to == "onnx":
        from affectkit.models.export import export_onnx

        difference = export_onnx(
            model, options.output, inputs=options.inputs, frames=options.frames, logits=options.logits
        )
        print(f"{options.output}: {heads}; its answers differ from the model's by {difference:.1e} at most")
    elif options.to == "hub":
        print(f"{model.push_to_hub(options.repo, private=options.private, half=options.half)}: {heads}")
    else:
        model.save_pretrained(options.output, half=options.half)
        print(f"{options.output}: {heads}; load it with affectkit.load or `affectkit predict --model`")
    return 0


def _model(options: argparse.Namespace) -> AffectModel:
    """The model, with what was said about it."""
    model = open_model(options.model)
    stated = {
        "name": options.name,
        "trained_on": options.trained_on,
        "licence": options.licence,
        "citation": options.citation,
        "results": None if options.results is None else _results(options.results),
        "rendered": options.rendered or None,
    }
    model.metadata |= {key: value for key, value in stated.items() if value is not None}
    return model


def _results(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Results by dataset and head, from the file of a test or of a cross-validation.

    Raises:
        ConfigError: It is neither.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, list[dict[str, Any]]] = content.get("results", content)
        for rows in found.values():
            for row in rows:
                row["name"], row["value"], row["ci"], row["baseline"], row["protocol"], row["threshold_rule"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            "This file holds no results.",
            path=path,
            remedy="Give test_results.json of `affectkit test`, or results.json of `affectkit crossval`.",
        ) from error
    return found
