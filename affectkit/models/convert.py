"""Safe reading of checkpoints, and their conversion to models."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.serialization import safe_globals

from affectkit.errors import WeightsError
from affectkit.models import hub
from affectkit.models.model import AffectModel

__all__ = [
    "Conversion",
    "Converter",
    "explain_faults",
    "load_safely",
    "model_of_checkpoint",
    "read_checkpoint",
]

# Training scripts save the object that drew their curves, with its NumPy arrays, under these names. The names are never
# imported: a stub takes the place of the objects.
_MODULES = ("__main__", "main", "main1", "train", "utils", "ssm.training.legacy")
_CLASSES = ("RecorderMeter", "RecorderMeter1", "LegacyCurveRecorder")
_STUBBED = (
    *(f"{module}.{name}" for module in _MODULES for name in _CLASSES),
    *(f"numpy.{c}.multiarray.{name}" for c in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "numpy.ndarray",
    "numpy.dtype",
)


class _Stub:
    """Stub of a foreign class: accepts any arguments and any state, and keeps none."""

    def __new__(cls, *args: object, **kwargs: object) -> _Stub:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def load_safely(path: str | Path) -> Any:
    """Load a file of `torch.save` that contains only tensors, numbers, strings and containers of them.

    Tensors are on the CPU. A training recorder in the file is ignored.

    Raises:
        WeightsError: The file is missing or damaged, or refers to code.
    """
    path = Path(path)
    stubs: list[Any] = [(_Stub, name) for name in _STUBBED]
    with explain_faults(path, if_code="Save only tensors and plain values."), safe_globals(stubs):
        # With a memory map, the optimiser's moments, twice the size of the weights, are never read.
        return torch.load(path, "cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


@contextmanager
def explain_faults(path: Path, *, if_code: str) -> Iterator[None]:
    """Turn the many errors of reading a file of `torch.save` into WeightsError.

    Args:
        path: The file.
        if_code: Remedy for files with objects that could run code.
    """
    if not path.is_file():
        raise WeightsError(
            "There is no such file.", path=path, remedy="Give a checkpoint, such as best.ckpt."
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            yield
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise WeightsError(
            f"The file contains objects that could run code{f': {named[1]}' if named else ''}.",
            path=path,
            remedy=if_code,
        ) from error
    except Exception as error:  # a damaged file makes torch raise many kinds
        raise WeightsError(
            f"Cannot read the checkpoint: {type(error).__name__} {hub.one_line(error)}",
            path=path,
            remedy="Copy it again; it may be incomplete.",
        ) from error


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a state dict, or a training state with an entry `state_dict`.

    Args:
        path: The file, see `load_safely`.

    Returns:
        Tensors by name, without the prefix `module.` of data-parallel training; and the numbers and strings beside the
        state dict, such as `epoch`.

    Raises:
        WeightsError: The file is missing or damaged, refers to code, or contains no state dict.
    """
    content = load_safely(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items())
    ):
        raise WeightsError(
            "The file contains no state dict.",
            path=path,
            remedy="Give a state dict, or a checkpoint with one.",
        )
    parallel = all(name.startswith("module.") for name in state)
    tensors = {name.removeprefix("module.") if parallel else name: value for name, value in state.items()}
    beside = (
        {} if state is content else {k: v for k, v in content.items() if isinstance(v, int | float | str)}
    )
    return tensors, beside


def model_of_checkpoint(path: str | Path) -> AffectModel:
    """Build the model of a checkpoint of `affectkit fit`, with averaged weights if the recipe averages them.

    Its heads use the thresholds that were chosen on validation subjects.

    Args:
        path: The `.ckpt` file.

    Returns:
        The model in evaluation mode. Its `metadata` contains the checkpoint's name, epoch and step, the training
        corpora with their licences, whether all faces were rendered, and labels that the training data lacks.

    Raises:
        WeightsError: The file is missing, damaged, unsafe or not of an affectkit task, or its tensors do not fit.
        ConfigError: It names parts that this version does not have.
    """
    path = Path(path)
    content = load_safely(path)
    wanted = ("state_dict", "model_config")
    if not isinstance(content, Mapping) or not all(isinstance(content.get(key), Mapping) for key in wanted):
        raise WeightsError(
            "This is not a checkpoint of an affectkit task.",
            path=path,
            remedy="Give a .ckpt that `affectkit fit` wrote; convert others with `affectkit model convert`.",
        )
    with hub.no_weights(), hub.explained_by(path):
        model = AffectModel(**content["model_config"])
        nn.Module.train(model, False)
        prefix = "model."
        own = {k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)}
        hub.load_strictly(model, own, path)
        for name, chosen in content.get("thresholds", {}).items():
            head = model.head(name)
            if set(chosen) != set(head.labels):
                raise WeightsError(
                    f"The thresholds of the head {name!r} do not match its labels.",
                    path=path,
                    remedy="Give a .ckpt that `affectkit fit` wrote.",
                )
            head.calibrate(thresholds=[chosen[label] for label in head.labels])
        known = content.get("trained_on") or {}
        corpora, rendered = known.get("corpora") or {}, bool(known.get("corpora") and known.get("rendered"))
        facts = {
            "epoch": content.get("epoch") if isinstance(content.get("epoch"), int) else None,
            "global_step": content.get("global_step")
            if isinstance(content.get("global_step"), int)
            else None,
            "trained_on": ("rendered faces: " if rendered else "") + ", ".join(corpora) or None,
            "licence": "; ".join(f"{name}: {licence}" for name, licence in corpora.items()) or None,
            "rendered": rendered or None,
            "unlearned": content.get("unlearned") or None,
        }
    model.refresh_prototypes()  # the file's may belong to another step than its (averaged) weights
    model.metadata = {"checkpoint": path.name, **{k: v for k, v in facts.items() if v is not None}}
    return model


@dataclass(frozen=True)
class Conversion:
    """Result of converting a checkpoint.

    Args:
        model: The model, in evaluation mode.
        release: Release of the authors' code that the checkpoint belongs to, as a number, or the kind of model.
        mapped: Names in the checkpoint by names in the model.
        ignored: Reasons by name in the checkpoint, for redundant tensors.
    """

    model: AffectModel
    release: int | str
    mapped: Mapping[str, str]
    ignored: Mapping[str, str]


class Converter(ABC):
    """Base class of converters of other programs' checkpoints, registered for `affectkit model convert`.

    Attributes:
        about: Description of the checkpoints in one line.
        options: By flag, the `argparse` arguments of each option; `dest` is the argument of `convert`.
    """

    about: ClassVar[str]
    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @staticmethod
    @abstractmethod
    def convert(path: str | Path, **options: Any) -> Conversion:
        """Convert a checkpoint to a model that computes the same; `options` by `dest`."""
