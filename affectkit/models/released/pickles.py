"""Tensors of pickled modules, read without their classes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from affectkit.errors import WeightsError
from affectkit.models.convert import explain_faults

__all__ = ["PickledModule", "load_inert"]

_DEEPEST = 64
_SAVE_AGAIN = (
    "If you trust its source, save its state dict in the authors' environment: "
    "torch.save(torch.load(PATH, 'cpu', weights_only=False).state_dict(), 'state.pt')."
)


@dataclass(frozen=True)
class PickledModule:
    """Content of a pickled `nn.Module`.

    Args:
        tensors: Its state dict.
        classes: Class names by name of the submodule: "timm.layers.conv2d_same.Conv2dSame" by "conv_stem".
        settings: Plain attributes of the submodules by name: "bn1.eps".
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)


class _Inert:
    """Stand-in for an object of a foreign class: keeps its attributes and runs nothing."""

    origin: ClassVar[str] = ""

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


def load_inert(path: Path) -> Any:
    """Load a file of `torch.save` in which inert stand-ins take the place of all foreign classes and functions.

    Nothing that the file names is imported or called: every name is replaced before `torch.load` reads the file with
    `weights_only=True`.

    Returns:
        The content with tensors on the CPU; each pickled module is a `PickledModule`.

    Raises:
        WeightsError: The file is missing or damaged, is TorchScript, or has the format before PyTorch 1.6.
    """
    with explain_faults(path, if_code="Do not load it elsewhere; get the file again from its authors."):
        if not zipfile.is_zipfile(path):
            raise WeightsError(
                "The file is not in the format of PyTorch 1.6 or later, so its tensors cannot be read safely.",
                path=path,
                remedy=_SAVE_AGAIN,
            )
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise WeightsError(
                    "The file is TorchScript, from which no model can be built.",
                    path=path,
                    remedy="Give the file from which it was traced.",
                )
        foreign = get_unsafe_globals_in_checkpoint(path)
        inert: list[Any] = [(type("_Inert", (_Inert,), {"origin": name}), name) for name in foreign]
        with safe_globals(inert):
            return _plain(torch.load(path, "cpu", weights_only=True, mmap=True))


def _plain(content: Any) -> Any:
    """Replace inert modules, also one level deep in a mapping."""
    if isinstance(content, _Inert):
        return _module(content)
    if isinstance(content, Mapping):
        return {k: _module(v) if isinstance(v, _Inert) else v for k, v in content.items()}
    return content


def _module(root: _Inert) -> PickledModule:
    found = PickledModule()
    for name, module in _walk(root, "", 0):
        attributes = vars(module)
        prefix = f"{name}." if name else ""
        found.classes[name] = module.origin
        found.settings.update(
            {prefix + k: v for k, v in attributes.items() if isinstance(v, bool | int | float | str)}
        )
        unsaved = attributes.get("_non_persistent_buffers_set") or ()
        for kind in ("_parameters", "_buffers"):
            for key, value in (attributes.get(kind) or {}).items():
                if isinstance(value, Tensor) and key not in unsaved:
                    found.tensors[prefix + key] = value.detach()
    return found


def _walk(module: _Inert, name: str, depth: int) -> Iterator[tuple[str, _Inert]]:
    if depth > _DEEPEST:
        raise RuntimeError(f"Modules are nested more than {_DEEPEST} deep.")
    yield name, module
    children = vars(module).get("_modules")
    for key, child in (children if isinstance(children, Mapping) else {}).items():
        if isinstance(child, _Inert):
            yield from _walk(child, f"{name}.{key}" if name else str(key), depth + 1)
