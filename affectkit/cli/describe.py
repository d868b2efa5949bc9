"""`affectkit describe`: parameters, input, labels and outputs of a recipe or a saved model, without data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from affectkit.cli.arguments import add_shared, make_parser, open_model, parse_with_recipe
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from affectkit.models import Head

__all__ = ["describe", "run"]

_SPLIT = ("heads", "bridge")  # modules whose children are counted one by one


def run(args: Sequence[str]) -> int:
    """Describe a recipe or a saved model."""
    parser = make_parser(
        "describe",
        "Parameters, input, labels and outputs of a recipe's model or of a saved one. Needs no data.",
        "With --config, further options override the recipe, for example --model.init_args.lr 1e-3.",
        allow_abbrev=False,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    add_shared(source, "--config")
    add_shared(source, "--model", required=False)
    parser.add_argument(
        "--no-weights", action="store_true", help="download no weights: pretrained parts start at random"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options, recipe = parse_with_recipe(parser, args)
    if options.model is None:
        description = describe(_task(recipe, weights=not options.no_weights))
    elif recipe or options.no_weights:
        unexpected = " ".join(recipe) or "--no-weights"
        raise ConfigError(f"{unexpected} does not go with --model.", remedy="Give it with --config.")
    else:
        description = describe(open_model(options.model))
    if options.json:
        print(json.dumps(description, indent=2, ensure_ascii=False))
    else:
        _print(description)
    return 0


def _task(recipe: Sequence[str], *, weights: bool) -> nn.Module:
    """Build the task of a recipe; without weights its values are zeros, because random numbers take seconds."""
    import torch
    from torch import Tensor
    from torch.overrides import TorchFunctionMode

    from affectkit.cli.lightning import build_part
    from affectkit.models.hub import no_weights

    class Zeros(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            given = kwargs or {}
            if func is torch.randn:
                return torch.zeros(*args, **given)
            if (
                func in (Tensor.normal_, Tensor.uniform_)
                or getattr(func, "__module__", None) == "torch.nn.init"
            ):
                values: Tensor = given["tensor"] if "tensor" in given else args[0]
                values.data.zero_()
                return values
            return func(*args, **given)

    with ExitStack() as shapes_only:
        if not weights:
            shapes_only.enter_context(no_weights())
            shapes_only.enter_context(Zeros())
        task: nn.Module = build_part(recipe, "model", weights=weights)
    return task


def describe(module: nn.Module) -> dict[str, Any]:
    """Describe a model in plain values.

    Args:
        module: An `AffectModel`, or a task that holds one, whose further parameters are counted too.

    Returns:
        `parameters` (`trainable`, `frozen`, and both of each of the `modules`), `input` (see
        `affectkit.models.InputSpec`; None for settings of a task that its data decide), `labels` by head, and `outputs`
        by head: `shape` (B clips, T frames), `kind` and `meaning` of the values of `AffectModel.predict`.

    Raises:
        ConfigError: There is no `AffectModel` in it.

    Example:
        >>> from affectkit.models import AffectModel
        >>> backbone = {"type": "timm", "model_name": "test_resnet", "size": 32}
        >>> found = describe(AffectModel(backbone, {"au": {"type": "au", "space": "AU1,AU12"}}))
        >>> found["labels"], found["outputs"]["au"]["shape"]
        ({'au': ['AU1', 'AU12']}, ['B', 2])
        >>> found["parameters"]["modules"]["heads.au"]
        {'trainable': 194, 'frozen': 0}
    """
    from affectkit.models import AffectModel

    models = {name: part for name, part in module.named_modules() if isinstance(part, AffectModel)}
    if not models:
        raise ConfigError(
            f"{type(module).__name__} holds no AffectModel.",
            remedy="Give a recipe with one of affectkit's tasks.",
        )
    name, model = next(iter(models.items()))
    heads = {head: model.head(head) for head in model.heads}
    return {
        "parameters": _count(module, f"{name}." if name else ""),
        "input": model.input_spec.to_dict() | (dict.fromkeys(model.unstated) if model is not module else {}),
        "labels": {head: list(one.labels) for head, one in heads.items()},
        "outputs": {head: _output(one) for head, one in heads.items()},
    }


def _count(module: nn.Module, prefix: str) -> dict[str, Any]:
    """Numbers of parameters, in total and by part."""
    modules: dict[str, dict[str, int]] = {}
    for name, parameter in module.named_parameters():
        path = name.removeprefix(prefix).split(".")
        part = ".".join(path[:2] if path[0] in _SPLIT and len(path) > 2 else path[:1])
        counts = modules.setdefault(part, {"trainable": 0, "frozen": 0})
        counts["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    totals = {kind: sum(counts[kind] for counts in modules.values()) for kind in ("trainable", "frozen")}
    return {**totals, "modules": modules}


def _output(head: Head) -> dict[str, Any]:
    axes: list[str | int] = ["B", "T"] if head.per_frame else ["B"]
    scope = "every frame" if head.per_frame else "the clip"
    return {
        "shape": [*axes, len(head.labels)],
        "kind": head.kind,
        "meaning": f"{head.meaning}; of {scope}",
    }


def _print(description: Mapping[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    parameters = description["parameters"]
    counts = Table(box=box.ASCII)
    counts.add_column("parameters", no_wrap=True)
    for kind in ("trainable", "frozen"):
        counts.add_column(kind, justify="right")
    for name, row in (*parameters["modules"].items(), ("total", parameters)):
        counts.add_row(name, f"{row['trainable']:,}", f"{row['frozen']:,}")
    outputs = Table("output", "shape", "meaning", "labels", box=box.ASCII)
    for name, output in description["outputs"].items():
        shape = " × ".join(map(str, output["shape"]))
        outputs.add_row(name, shape, output["meaning"], ", ".join(description["labels"][name]))
    console = Console(width=120, color_system=None)
    console.print(counts)
    console.print(
        "input: " + ", ".join(f"{key} {_short(value)}" for key, value in description["input"].items())
    )
    if None in description["input"].values():
        console.print("       –: decided by the data in training, or without effect")
    console.print(outputs)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f"{number:.4g}" for number in value) + "]"
    return "–" if value is None else str(value)
