"""`affectkit describe`: what a recipe or a saved model reads, learns and answers, without any data."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from affectkit.cli.arguments import MODEL, open_model
from affectkit.cli.options import check_options
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from affectkit.models import AffectModel, Head

__all__ = ["describe", "run"]

_SPLIT = ("heads", "bridge")  # parts whose own parts are counted one by one


def run(args: Sequence[str]) -> int:
    """Describe a recipe or a saved model."""
    parser = argparse.ArgumentParser(
        prog="affectkit describe",
        description="Parameters, input, labels and outputs of a recipe's model or of a saved one. Needs no data.",
        epilog="With --config, further options override the recipe, for example --model.init_args.lr 1e-3.",
        allow_abbrev=False,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", "-c", action="append", help="recipe; may be given again to overlay")
    source.add_argument("--model", help=MODEL)
    parser.add_argument(
        "--no-weights", action="store_true", help="download no weights: pretrained parts start at random"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options, overrides = parser.parse_known_args(args)
    if options.model is not None and (overrides or options.no_weights):
        unexpected = " ".join(overrides) or "--no-weights"
        raise ConfigError(f"{unexpected} does not go with --model.", remedy="Give it with --config.")
    if options.model is not None:
        found = describe(open_model(options.model))
    else:
        recipe = [*(argument for name in options.config for argument in ("--config", name)), *overrides]
        check_options(None, recipe)
        found = describe(_task(recipe, weights=not options.no_weights))
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print(found)
    return 0


def _task(recipe: Sequence[str], *, weights: bool) -> nn.Module:
    """The task of a recipe, built without its data and its trainer."""
    import torch
    from jsonargparse import Namespace
    from torch import Tensor
    from torch.overrides import TorchFunctionMode

    from affectkit.cli.lightning import AffectCLI, launch
    from affectkit.models.hub import no_weights

    class ModelOnly(AffectCLI):
        def instantiate_classes(self) -> None:
            model = self.config.model
            if not weights and "init_from" in model.init_args:
                model.init_args.init_from = None  # a folder or a download as well
            part = Namespace(model=model)  # type: ignore[no-untyped-call]
            self.model = self.parser.instantiate_classes(part).model

    class NoDraws(TorchFunctionMode):
        """Initial values are zeros: drawing them takes seconds, and only shapes are wanted."""

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
            shapes_only.enter_context(NoDraws())
        task: nn.Module = launch(recipe, execute=False, kind=ModelOnly).model
    return task


def describe(module: nn.Module) -> dict[str, Any]:
    """What a model reads, learns and answers, in plain values.

    Args:
        module: An `AffectModel`, or a task that holds one; parameters of the task beside the model are counted too.

    Returns:
        `parameters` (`trainable`, `frozen`, and both of each of the `modules`), `input` (see
        `affectkit.models.InputSpec`), `labels` by head, and `outputs` by head: `shape` (B clips, T frames), `kind`
        and `meaning` of what `AffectModel.predict` returns.

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
    prefix, model = _find(module)
    heads = {name: model.head(name) for name in model.heads}
    return {
        "parameters": _count(module, prefix),
        "input": model.input_spec.to_dict(),
        "labels": {name: list(head.labels) for name, head in heads.items()},
        "outputs": {name: _output(head) for name, head in heads.items()},
    }


def _find(module: nn.Module) -> tuple[str, AffectModel]:
    """The model in a task, and what its parameters' names begin with there."""
    from affectkit.models import AffectModel

    for name, part in module.named_modules():
        if isinstance(part, AffectModel):
            return f"{name}." if name else "", part
    raise ConfigError(
        f"{type(module).__name__} holds no AffectModel.",
        remedy="Give a recipe with one of affectkit's tasks.",
    )


def _count(module: nn.Module, prefix: str) -> dict[str, Any]:
    """Numbers of parameters, in all and by part."""
    modules: dict[str, dict[str, int]] = {}
    for name, parameter in module.named_parameters():
        path = name.removeprefix(prefix).split(".")
        part = ".".join(path[:2] if path[0] in _SPLIT and len(path) > 2 else path[:1])
        counts = modules.setdefault(part, {"trainable": 0, "frozen": 0})
        counts["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    totals = {kind: sum(counts[kind] for counts in modules.values()) for kind in ("trainable", "frozen")}
    return {**totals, "modules": modules}


def _output(head: Head) -> dict[str, Any]:
    """Shape and meaning of what a head predicts."""
    axes: list[str | int] = ["B", "T"] if head.per_frame else ["B"]
    where = "every frame" if head.per_frame else "the clip"
    return {
        "shape": [*axes, len(head.labels)],
        "kind": head.kind,
        "meaning": f"{head.meaning}; of {where}",
    }


def _print(found: Mapping[str, Any]) -> None:
    """The same for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    parameters = found["parameters"]
    counts = Table(box=box.ASCII)
    counts.add_column("parameters", no_wrap=True)
    for kind in ("trainable", "frozen"):
        counts.add_column(kind, justify="right")
    for name, row in (*parameters["modules"].items(), ("in all", parameters)):
        counts.add_row(name, f"{row['trainable']:,}", f"{row['frozen']:,}")
    outputs = Table(box=box.ASCII)
    for heading in ("output", "shape", "meaning", "labels"):
        outputs.add_column(heading)
    for name, output in found["outputs"].items():
        shape = " × ".join(map(str, output["shape"]))
        outputs.add_row(name, shape, output["meaning"], ", ".join(found["labels"][name]))
    console = Console(width=120, color_system=None)
    console.print(counts)
    console.print("input: " + ", ".join(f"{key} {_short(value)}" for key, value in found["input"].items()))
    console.print(outputs)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f"{number:.4g}" for number in value) + "]"
    return "–" if value is None else str(value)
