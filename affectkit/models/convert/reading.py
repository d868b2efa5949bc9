"""Read the tensors of a PyTorch checkpoint without running anything that stands in it."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals

from affectkit.errors import WeightsError

__all__ = ["load_safely", "read_checkpoint"]

# Training scripts put the object that drew their curves into the file, with its NumPy arrays. The names are those
# under which such files refer to it; what they name is never imported, a stand-in takes its place.
_MODULES = ("__main__", "main", "main1", "train", "utils", "ssm.training.legacy")
_CLASSES = ("RecorderMeter", "RecorderMeter1", "LegacyCurveRecorder")
_STAND_INS = (
    *(f"{module}.{name}" for module in _MODULES for name in _CLASSES),
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
    *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
    "numpy.ndarray",
    "numpy.dtype",
)


class _Discarded:
    """Stands in for a class of a stranger: takes any arguments and any state, and keeps none."""

    def __new__(cls, *args: object, **kwargs: object) -> _Discarded:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def load_safely(path: str | Path) -> Any:
    """What `torch.save` wrote, if it is nothing but tensors, numbers, strings and containers of them.

    A training recorder beside them is dropped unread.

    Args:
        path: The file.

    Returns:
        The content; tensors are on the CPU.

    Raises:
        WeightsError: The file is missing or damaged, or names code.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(
            "There is no such file.", path=path, remedy="Give a checkpoint, such as best.ckpt."
        )
    try:
        with safe_globals([(_Discarded, name) for name in _STAND_INS]), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="Detected pickle protocol"
            )  # read or refused, whichever it is
            # Mapped, the optimiser's moments, twice the size of the weights, are never read.
            return torch.load(path, "cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        code = f": {named[1]}" if named else ""
        raise WeightsError(
            f"It holds more than tensors, which is not read because it can run code{code}.",
            path=path,
            remedy="Only tensors and plain values are read.",
        ) from error
    except Exception as error:  # a damaged file makes torch raise many kinds
        text = f"{type(error).__name__} {' '.join(str(error).split())[:200]}".strip() + "."
        raise WeightsError(
            f"The checkpoint cannot be read: {text}", path=path, remedy="Copy it again; it may be cut off."
        ) from error


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a state dict, or a training state that holds one under `state_dict`.

    Args:
        path: The file, see `load_safely`.

    Returns:
        The tensors by name, without the `module.` that data-parallel training puts before all of them; and the
        numbers and strings beside the state dict, such as `epoch`.

    Raises:
        WeightsError: The file is missing, damaged, names code, or holds no state dict.
    """
    content = load_safely(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items())
    ):
        raise WeightsError(
            "It holds no tensors by name.", path=path, remedy="Give a state dict, or a checkpoint with one."
        )
    parallel = all(name.startswith("module.") for name in state)
    tensors = {name.removeprefix("module.") if parallel else name: value for name, value in state.items()}
    beside = (
        {} if state is content else {k: v for k, v in content.items() if isinstance(v, int | float | str)}
    )
    return tensors, beside
