"""A model as one graph of `torch.export`, with any number of clips and of frames."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.models.model import AffectModel

__all__ = ["Input", "example", "export_program", "graph_arguments", "longest_clip"]

Input = Literal["frames", "frame_mask", "landmarks", "landmarks_mask"]
"""What a graph can be given; shapes as `AffectModel.forward` has them."""


class Answers(nn.Module):
    """What a graph computes: the heads' answers by name, calibrated, or their logits.

    Args:
        model: Whose.
        logits: Logits instead of probabilities and intensities.
    """

    def __init__(self, model: AffectModel, *, logits: bool = False) -> None:
        super().__init__()
        self.model = model
        self.logits = logits

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor | None = None,
        landmarks: Tensor | None = None,
        landmarks_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """See `AffectModel.predict`, or `AffectModel.forward` for logits."""
        answers: dict[str, Tensor] = self.model(frames, frame_mask, landmarks, landmarks_mask)
        if self.logits:
            return answers
        return {name: self.model.head(name).predict(logits) for name, logits in answers.items()}


def longest_clip(model: nn.Module) -> int | None:
    """The most frames that a model's temporal modules take; None where any number will do.

    Example:
        >>> backbone = {"type": "timm", "model_name": "test_resnet", "size": 32}
        >>> heads = {"au": {"type": "au", "space": "AU12"}}
        >>> longest_clip(AffectModel(backbone, heads, {"type": "transformer", "max_frames": 8}))
        8
    """
    found = [getattr(part, "max_frames", None) for part in model.modules()]
    return min((limit for limit in found if isinstance(limit, int)), default=None)


def example(
    model: AffectModel, inputs: Iterable[str], *, clips: int = 2, frames: int = 3, seed: int = 0
) -> dict[str, Tensor]:
    """Random inputs of a model, by name.

    Args:
        model: For whom.
        inputs: Which of them.
        clips: B.
        frames: T.
        seed: Of the pictures.
    """
    rng = torch.Generator().manual_seed(seed)
    side = model.input_spec.size
    whole = {
        "frames": torch.randint(0, 256, (clips, frames, 3, side, side), generator=rng, dtype=torch.uint8),
        "frame_mask": torch.arange(frames).expand(clips, -1) < max(1, frames - 1),
        "landmarks": torch.rand(clips, frames, 68, 2, generator=rng) * side,
        "landmarks_mask": torch.rand(clips, frames, 68, generator=rng) < 0.9,
    }
    return {name: whole[name] for name in inputs}


def graph_arguments(
    model: AffectModel, inputs: Sequence[Input], frames: int | None
) -> tuple[dict[str, Tensor], dict[str, dict[int, Any]]]:
    """Example inputs, and which of their axes are free.

    Raises:
        ConfigError: `inputs` lack the frames or name something else, or `frames` are more than the model takes.
    """
    known = get_args(Input)
    if "frames" not in inputs or set(inputs) - set(known) or len(set(inputs)) < len(inputs):
        raise ConfigError(
            f"A graph cannot have the inputs {', '.join(inputs) or 'none'}.",
            remedy=f"Give `frames`, and what else it needs of: {', '.join(known[1:])}.",
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
        # A limit must be stated to the tracer, which finds it; without one there must be none.
        axes[1] = (
            torch.export.Dim("length", min=1) if most is None else torch.export.Dim("length", min=1, max=most)
        )
    ordered = [name for name in known if name in inputs]  # the tracer compares the order with the signature
    device = next(model.parameters()).device
    given = {name: value.to(device) for name, value in example(model, ordered, frames=length).items()}
    return given, dict.fromkeys(ordered, axes)


def export_program(
    model: AffectModel,
    *,
    inputs: Sequence[Input] = ("frames",),
    frames: int | None = None,
    logits: bool = False,
) -> torch.export.ExportedProgram:
    """Trace a model into a graph that runs without affectkit, for any number of clips.

    Args:
        model: In evaluation mode while it is traced; what heads know of calibration becomes part of the graph.
        inputs: What the graph is given, of `frames`, `frame_mask`, `landmarks` and `landmarks_mask`; what is not named
            stands for its default: no padding, and a mean face. They are keyword arguments of the graph.
        frames: Frames of a clip, fixed; any number by default, as far as the model allows (see `longest_clip`).
        logits: Logits instead of what `AffectModel.predict` returns.

    Returns:
        A program whose `module()` takes the inputs and returns a tensor for each head, by name.

    Raises:
        ConfigError: The inputs or `frames` are out of range, or the architecture cannot be traced so.

    Example:
        >>> model = AffectModel(
        ...     {"type": "timm", "model_name": "test_resnet", "size": 32},
        ...     {"au": {"type": "au", "space": "AU1,AU12", "per_frame": True}},
        ... )
        >>> graph = export_program(model).module()
        >>> graph(frames=torch.zeros(5, 4, 3, 32, 32, dtype=torch.uint8))["au"].shape
        torch.Size([5, 4, 2])
    """
    given, axes = graph_arguments(model, inputs, frames)
    with tracing(model), explained(frames):
        return torch.export.export(
            Answers(model, logits=logits).eval(), (), given, dynamic_shapes=axes, strict=False
        )


@contextmanager
def tracing(model: AffectModel) -> Iterator[None]:
    """Evaluation mode, no gradients, and none of the warnings that torch's tracer gives about itself."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings(
                "ignore", message="# The axis name"
            )  # one name for equal axes is what we mean
            yield
    finally:
        model.train(training)


@contextmanager
def explained(frames: int | None) -> Iterator[None]:
    """Turn what a tracer raises into an error that says what to try."""
    try:
        yield
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        fault = " ".join(str(error).split())
        raise ConfigError(
            f"This architecture cannot be traced with {'any number of' if frames is None else frames} frames: "
            f"{fault[:300]}",
            remedy="Fix the number of frames (`frames`, or --frames)."
            if frames is None
            else "Let no part decide by the values of tensors.",
        ) from error
