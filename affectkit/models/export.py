"""Export of models to other runtimes: graphs of `torch.export`, and ONNX."""

from __future__ import annotations

import importlib
import json
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from affectkit import __version__
from affectkit.errors import ConfigError, MissingDependencyError, WeightsError
from affectkit.models.model import AffectModel

__all__ = ["describe_onnx", "export_onnx", "export_program", "longest_clip"]

TOLERANCE = 1e-4
"""Largest allowed difference between the outputs of a file and of its model."""

Input = Literal["frames", "frame_mask", "landmarks", "landmarks_mask"]  # shapes as in `AffectModel.features`
_KEY = "affectkit"  # metadata entry of an ONNX file that describes the model


def export_program(
    model: AffectModel,
    *,
    inputs: Sequence[Input] = ("frames",),
    frames: int | None = None,
    logits: bool = False,
) -> torch.export.ExportedProgram:
    """Trace a model to a graph that runs without affectkit, for any number of clips.

    Args:
        model: The model. It is traced in evaluation mode, with the heads' calibration.
        inputs: Inputs of the graph: `frames`, `frame_mask`, `landmarks`, `landmarks_mask`. Omitted inputs have their
            defaults: no padding, and a mean face. They are keyword arguments of the graph.
        frames: Fixed number of frames per clip; by default any number up to `longest_clip`.
        logits: Return logits instead of the output of `AffectModel.predict`.

    Returns:
        A program; its `module()` takes the inputs and returns a tensor for each head, by name.

    Raises:
        ConfigError: The inputs or `frames` are out of range, or the architecture cannot be traced with them.

    Example:
        >>> model = AffectModel(
        ...     {"type": "timm", "model_name": "test_resnet", "size": 32},
        ...     {"au": {"type": "au", "space": "AU1,AU12", "per_frame": True}},
        ... )
        >>> graph = export_program(model).module()
        >>> graph(frames=torch.zeros(5, 4, 3, 32, 32, dtype=torch.uint8))["au"].shape
        torch.Size([5, 4, 2])
    """
    given, axes = _graph_arguments(model, inputs, frames)
    with _tracing(model), _explained(frames):
        return torch.export.export(_Outputs(model, logits), (), given, dynamic_shapes=axes, strict=False)


def export_onnx(
    model: AffectModel,
    path: str | Path,
    *,
    inputs: Sequence[Input] = ("frames",),
    frames: int | None = None,
    logits: bool = False,
) -> float:
    """Write a model as ONNX, with one named output for each head, and compare the file with the model.

    The file's metadata entry `affectkit` contains labels, thresholds, input format and metadata of the model as JSON;
    `describe_onnx` reads it. onnxruntime runs the file on clips of other numbers and lengths than those it was traced
    with; if an output differs by more than `TOLERANCE`, the file is removed.

    Args:
        model: The model.
        path: The file, usually with the suffix .onnx; its folder is created if absent.
        inputs: As in `export_program`; they are inputs of the same names.
        frames: As in `export_program`.
        logits: As in `export_program`.

    Returns:
        The largest difference.

    Raises:
        MissingDependencyError: onnx or onnxscript is not installed.
        ConfigError: As in `export_program`.
        WeightsError: The outputs of the file differ from the model's.

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
    given, axes = _graph_arguments(model, inputs, frames)
    with _tracing(model), _explained(frames), _quiet():
        program: Any = torch.onnx.export(
            _Outputs(model, logits),
            (),
            kwargs=given,
            dynamic_shapes=axes,
            input_names=list(given),
            output_names=list(model.heads),
            dynamo=True,
            verbose=False,
        )
    drop_traces(program)
    program.model.metadata_props[_KEY] = json.dumps(_description(model, logits), ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    length = given["frames"].shape[1]
    longer = min(longest_clip(model) or 5, 5)
    sizes = [(1, 1), (3, longer), (1, length - 1)] if 1 in axes["frames"] else [(1, length), (3, length)]
    examples = [_example(model, given, clips=b, frames=t, seed=b) for b, t in sizes]
    try:
        program.save(partial, external_data=False)
        difference = max(_difference(model, partial, example, logits) for example in examples)
        if not difference <= TOLERANCE:
            raise WeightsError(
                f"The outputs of the file differ from the model's by {difference:.2g}, more than {TOLERANCE:g}; "
                "the file was removed.",
                path=path,
                remedy="Report it, with the output of `affectkit describe`.",
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return difference


def drop_traces(program: Any) -> None:
    """Delete what torch's exporter notes about each node: file names of this machine, among others.

    Args:
        program: `torch.onnx.ONNXProgram`.
    """
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()


def describe_onnx(path: str | Path) -> dict[str, Any]:
    """Read the description in a file of `export_onnx`.

    It contains `affectkit` (version), `values` ("predictions" or "logits"), `heads` (by output name: `labels`,
    `columns`, `thresholds`, `kind`, `per_frame`), `input` (see `InputSpec`) and `metadata`.

    Raises:
        MissingDependencyError: onnx is not installed.
        WeightsError: The file is not ONNX, or affectkit did not write it.
    """
    onnx, remedy = _import("onnx"), "Write one with `affectkit model export`."
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # onnx raises the errors of its parser
        fault = f"This is not an ONNX file: {' '.join(str(error).split())}."
        raise WeightsError(fault, path=path, remedy=remedy) from error
    for entry in model.metadata_props:
        if entry.key == _KEY:
            found: dict[str, Any] = json.loads(entry.value)
            return found
    raise WeightsError("This ONNX file was not written by affectkit.", path=path, remedy=remedy)


def longest_clip(model: nn.Module) -> int | None:
    """Largest number of frames that a model's temporal modules accept; None if there is no limit.

    Example:
        >>> backbone = {"type": "timm", "model_name": "test_resnet", "size": 32}
        >>> heads = {"au": {"type": "au", "space": "AU12"}}
        >>> longest_clip(AffectModel(backbone, heads, {"type": "transformer", "max_frames": 8}))
        8
    """
    limits = [getattr(part, "max_frames", None) for part in model.modules()]
    return min((limit for limit in limits if isinstance(limit, int)), default=None)


class _Outputs(nn.Module):
    """Outputs of a graph in evaluation mode: the heads' predictions by name, or their logits."""

    def __init__(self, model: AffectModel, logits: bool) -> None:
        super().__init__()
        self.model = model
        self.logits = logits
        self.eval()

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor | None = None,
        landmarks: Tensor | None = None,
        landmarks_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.model(frames, frame_mask, landmarks, landmarks_mask)
        if self.logits:
            return outputs
        return {name: self.model.head(name).predict(logits) for name, logits in outputs.items()}


def _example(
    model: AffectModel, inputs: Iterable[str], *, clips: int = 2, frames: int = 3, seed: int = 0
) -> dict[str, Tensor]:
    """Random inputs of a model, by name."""
    rng = torch.Generator().manual_seed(seed)
    side = model.input_spec.size
    known = {
        "frames": torch.randint(0, 256, (clips, frames, 3, side, side), generator=rng, dtype=torch.uint8),
        "frame_mask": torch.arange(frames).expand(clips, -1) < max(1, frames - 1),
        "landmarks": torch.rand(clips, frames, 68, 2, generator=rng) * side,
        "landmarks_mask": torch.rand(clips, frames, 68, generator=rng) < 0.9,
    }
    return {name: known[name] for name in inputs}


def _graph_arguments(
    model: AffectModel, inputs: Sequence[Input], frames: int | None
) -> tuple[dict[str, Tensor], dict[str, dict[int, Any]]]:
    """Example inputs and their dynamic axes; raises ConfigError for `inputs` or `frames` out of range."""
    known = get_args(Input)
    if "frames" not in inputs or set(inputs) - set(known) or len(set(inputs)) < len(inputs):
        raise ConfigError(
            f"A graph cannot have the inputs {', '.join(inputs) or 'none'}.",
            remedy=f"Give `frames`, and optionally {', '.join(known[1:])}.",
        )
    most = longest_clip(model)
    if frames is not None and not 1 <= frames <= (most or frames):
        raise ConfigError(
            f"A clip of {frames} frames does not fit the model.",
            remedy=f"Give a number from 1 to {most}." if most else "Give at least 1.",
        )
    length = frames or min(3, most or 3)
    axes: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    if frames is None and length > 1:
        # The tracer needs the limit of the model, and fails on any other.
        limits = {} if most is None else {"max": most}
        axes[1] = torch.export.Dim("length", min=1, **limits)
    ordered = [name for name in known if name in inputs]  # the tracer compares the order with the signature
    device = next(model.parameters()).device
    given = {name: value.to(device) for name, value in _example(model, ordered, frames=length).items()}
    return given, dict.fromkeys(ordered, axes)


def _import(name: str) -> Any:
    """Import a package of the extra `onnx`."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # otherwise onnxruntime reports its use to its makers
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
    """Largest difference between the outputs of a file and of its model on some clips; infinite for NaN."""
    session = _import("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(list(model.heads), {name: value.numpy() for name, value in given.items()})
    with _tracing(model):
        device = next(model.parameters()).device
        expected = _Outputs(model, logits)(**{name: value.to(device) for name, value in given.items()})
    largest = 0.0
    for values, wanted in zip(map(torch.from_numpy, found), expected.values(), strict=True):
        same = values.shape == wanted.shape
        difference = (values.float() - wanted.float().cpu()).abs().max().item() if same else inf
        largest = max(largest, difference if isfinite(difference) else inf)  # `max` ignores NaN
    return largest


@contextmanager
def _tracing(model: AffectModel) -> Iterator[None]:
    """Evaluation mode without gradients, and without warnings of torch's tracer about itself."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings(
                "ignore", message="# The axis name"
            )  # equal axes share one name on purpose
            yield
    finally:
        model.train(training)


@contextmanager
def _explained(frames: int | None) -> Iterator[None]:
    """Turn errors of the tracer into errors with a remedy."""
    try:
        yield
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        raise ConfigError(
            f"This architecture cannot be traced with {'any number of' if frames is None else frames} frames: "
            f"{' '.join(str(error).split())[:300]}",
            remedy="Fix the number of frames (`frames`, or --frames)."
            if frames is None
            else "Remove decisions that depend on the values of tensors.",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's log messages about its optimisations."""
    with ExitStack() as stack:
        for name in ("onnxscript", "onnx_ir", "torch.onnx"):
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        yield
