"""A model as an ONNX file that says what it reads and answers, compared with the model before it is kept."""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf, isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from affectkit import __version__
from affectkit.errors import ConfigError, MissingDependencyError, WeightsError
from affectkit.models.export.program import (
    Answers,
    Input,
    example,
    explained,
    graph_arguments,
    longest_clip,
    tracing,
)
from affectkit.models.model import AffectModel

__all__ = ["TOLERANCE", "describe_onnx", "export_onnx"]

TOLERANCE = 1e-4
"""The most by which the answers of a file may differ from those of its model."""
_KEY = "affectkit"  # of the entry that describes the model in a file


def export_onnx(
    model: AffectModel,
    path: str | Path,
    *,
    inputs: Sequence[Input] = ("frames",),
    frames: int | None = None,
    logits: bool = False,
) -> float:
    """Write a model as ONNX, with an output for each head under its name, and compare it with the model.

    The file holds, under `affectkit` in its metadata, labels, thresholds, input format and what is known about the
    model, as JSON; `describe_onnx` reads it. It is run by onnxruntime on clips of other numbers and lengths than the
    one it was traced with, and removed where an answer differs by more than `TOLERANCE`.

    Args:
        model: What to write.
        path: The file, which should end in .onnx; its folder is created when absent.
        inputs: As `export_program` takes them; inputs of the file of the same names.
        frames: Frames of a clip, fixed; any number by default, as far as the model allows.
        logits: Logits instead of what `AffectModel.predict` returns.

    Returns:
        The largest difference found.

    Raises:
        MissingDependencyError: onnx or onnxscript is not installed.
        ConfigError: See `export_program`.
        WeightsError: The file answers otherwise than the model.

    Example:
        >>> model = AffectModel(
        ...     {"type": "timm", "model_name": "test_resnet", "size": 32},
        ...     {"au": {"type": "au", "space": "AU1,AU12"}},
        ... )
        >>> file = getfixture("tmp_path") / "model.onnx"
        >>> export_onnx(model, file) < TOLERANCE
        True
        >>> describe_onnx(file)["heads"]["au"]["labels"]
        ['AU1', 'AU12']
    """
    for name in ("onnx", "onnxscript"):
        _import(name)
    path = Path(path)
    if path.is_dir():
        raise ConfigError("This is a folder.", path=path, remedy="Name a file in it, such as model.onnx.")
    given, axes = graph_arguments(model, inputs, frames)
    with tracing(model), explained(frames), _quiet():
        program: Any = torch.onnx.export(
            Answers(model, logits=logits).eval(),
            (),
            kwargs=given,
            dynamic_shapes=axes,
            input_names=list(given),
            output_names=list(model.heads),
            dynamo=True,
            verbose=False,
        )
    program.model.metadata_props[_KEY] = json.dumps(_description(model, logits), ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    length = given["frames"].shape[1]
    longer = min(longest_clip(model) or 5, 5)
    sizes = [(1, 1), (3, longer), (1, length - 1)] if 1 in axes["frames"] else [(1, length), (3, length)]
    others = [example(model, given, clips=b, frames=t, seed=b) for b, t in sizes]
    try:
        program.save(partial, external_data=False)
        difference = max(_difference(model, partial, other, logits) for other in others)
        if not difference <= TOLERANCE:
            raise WeightsError(
                f"The file's answers differ from the model's by {difference:.2g}, more than {TOLERANCE:g}; "
                "it was removed.",
                path=path,
                remedy="Report it, with the output of `affectkit describe`.",
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return difference


def describe_onnx(path: str | Path) -> dict[str, Any]:
    """What a file of `export_onnx` says about itself.

    Returns:
        `affectkit` (version), `values` ("predictions" or "logits"), `heads` (by output name: `labels`, `columns`,
        `thresholds`, `kind`, `per_frame`), `input` (see `InputSpec`) and `metadata`.

    Raises:
        MissingDependencyError: onnx is not installed.
        WeightsError: It is no such file.
    """
    onnx = _import("onnx")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # onnx raises what its parser does
        raise WeightsError(
            f"This is not an ONNX file: {' '.join(str(error).split())}.",
            path=path,
            remedy="Write one with `affectkit model export`.",
        ) from error
    for entry in model.metadata_props:
        if entry.key == _KEY:
            found: dict[str, Any] = json.loads(entry.value)
            return found
    raise WeightsError(
        "This ONNX file does not come from affectkit.",
        path=path,
        remedy="Write one with `affectkit model export`.",
    )


def _import(name: str) -> Any:
    """A package of the extra `onnx`."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime reports its use to its makers
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"ONNX needs {error.name}, which is not installed.",
            remedy="Install the extra: pip install 'affectkit[onnx]'.",
        ) from error


def _description(model: AffectModel, logits: bool) -> dict[str, Any]:
    heads = {name: model.head(name) for name in model.heads}
    return {
        "affectkit": __version__,
        "values": "logits" if logits else "predictions",
        "heads": {
            name: {
                "labels": list(head.labels),
                "columns": list(head.columns),
                "thresholds": list(head.thresholds),
                "kind": head.kind,
                "per_frame": head.per_frame,
            }
            for name, head in heads.items()
        },
        "input": model.input_spec.to_dict(),
        "metadata": model.metadata,
    }


def _difference(model: AffectModel, path: Path, given: dict[str, Tensor], logits: bool) -> float:
    """The largest difference between the answers of a file and of its model, on some clips; never NaN."""
    onnxruntime = _import("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(list(model.heads), {name: value.numpy() for name, value in given.items()})
    with tracing(model):
        device = next(model.parameters()).device
        wanted = Answers(model, logits=logits).eval()(**{k: v.to(device) for k, v in given.items()})
    differences = [0.0]
    for name, values in zip(model.heads, found, strict=True):
        expected = wanted[name].float().cpu()
        answered = torch.from_numpy(values).float()
        same = answered.shape == expected.shape
        largest = (answered - expected).abs().max().item() if same else inf
        differences.append(largest if isfinite(largest) else inf)  # `max` would pass over NaN
    return max(differences)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about its own optimisations from the terminal."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
