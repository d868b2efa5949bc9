"""Checkpoints of other programs: their tensors, and the models that take them over one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from affectkit.errors import WeightsError
from affectkit.models import hub
from affectkit.models.model import AffectModel
from affectkit.models.released.pickles import PickledModule, load_inert

__all__ = ["APACHE", "IMAGENET", "Origin", "ReleasedFile"]

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
APACHE = "https://www.apache.org/licenses/LICENSE-2.0"
_STATES = ("state_dict", "model")  # entries of training states
_COUNTER = "num_batches_tracked"  # PyTorch before 0.4.1 did not save it, and evaluation does not use it


@dataclass(frozen=True)
class Origin:
    """Facts about the models of one program, for the card and for messages.

    Args:
        name: Name of the program.
        source: Where its authors publish the weights.
        paper: Reference.
        trained_on: Training data.
        licence: Terms in a few words.
        licence_text: Text that copies must include; empty if there is none beside the name.
        use: What the weights may be used for.
    """

    name: str
    source: str
    paper: str
    trained_on: str
    licence: str
    use: str
    licence_text: str = ""

    def metadata(self, path: Path, variant: str, notes: Iterable[str], **more: Any) -> dict[str, Any]:
        """Metadata of a model that was converted from the file `path`; `more` entries have priority."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        notes = list(notes)
        return {
            "name": self.name,
            "description": f"{self.name} ({variant}), converted from `{path.name}`. The authors publish it at "
            f"{self.source}.",
            "source": self.source,
            "source_sha256": digest,
            "paper": self.paper,
            "citation": self.paper,
            "trained_on": self.trained_on,
            "licence": self.licence,
            "licence_text": self.licence_text or None,
            "intended_use": self.use,
            "limits": notes,
            "notes": notes,
            **more,
        }


class ReleasedFile:
    """Tensors of a file that `origin` publishes: safetensors, a state dict, a training state, or a pickled module.

    Raises:
        WeightsError: The file is missing or damaged, or contains no tensors by name.
    """

    def __init__(self, path: str | Path, origin: Origin) -> None:
        self.path, self.origin = Path(path), origin
        self.module = PickledModule()
        self.tensors = {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in self._read().items()
        }

    def _read(self) -> Mapping[str, Tensor]:
        if self.path.suffix == ".onnx":
            raise self.error("ONNX files cannot be fine-tuned, so they are not converted.")
        if self.path.suffix == ".safetensors":
            return hub.read_tensors(self.path)
        content = load_inert(self.path)
        if isinstance(content, Mapping):
            content = next((content[key] for key in _STATES if key in content), content)
        if isinstance(content, PickledModule):
            self.module = content
            content = content.tensors
        if (
            not isinstance(content, Mapping)
            or not content
            or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
        ):
            raise self.error("The file contains no state dict and no pickled module.")
        parallel = all(name.startswith("module.") for name in content)
        return {name.removeprefix("module.") if parallel else name: v for name, v in content.items()}

    def error(self, fault: str) -> WeightsError:
        """Create an error about this file."""
        return WeightsError(
            fault, path=self.path, remedy=f"Give an unchanged PyTorch checkpoint of {self.origin.source}."
        )

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; raises WeightsError if it is missing."""
        if name not in self.tensors:
            raise self.error(f"The tensor {name} is missing.")
        return tuple(self.tensors[name].shape)

    def count(self, prefix: str) -> int:
        """Number of different parts after `prefix` in the names."""
        return len({name[len(prefix) :].split(".")[0] for name in self.tensors if name.startswith(prefix)})

    def fill(
        self,
        model: AffectModel,
        source_of: Callable[[str], Iterable[str]],
        ignored: Mapping[str, str] = {},
        *,
        rows: Mapping[str, slice] = {},
    ) -> dict[str, str]:
        """Copy every tensor to the model and return names in the file by names in the model.

        Args:
            model: The model, of which every tensor is set.
            source_of: Names in the file of a tensor of the model, to concatenate along the first axis.
            ignored: Names in the file that the model does not need, with the reason.
            rows: Parts of the source's first axis, by name in the model, where heads share a layer.

        Raises:
            WeightsError: Tensors are missing, unexpected, or of another shape.
        """
        filled, mapped, missing = {}, {}, []
        unused = set(self.tensors) - set(ignored)
        for name, place in model.state_dict().items():
            sources = list(source_of(name))
            absent = [source for source in sources if source not in self.tensors]
            if absent and name.endswith(_COUNTER):
                filled[name] = torch.zeros_like(place)
                continue
            missing += absent
            unused -= set(sources)
            if absent:
                continue
            parts = [self.tensors[source] for source in sources]
            value = parts[0] if len(parts) == 1 or not parts[0].ndim else torch.cat(parts)
            filled[name] = value[rows[name]] if name in rows else value
            mapped[name] = ", ".join(sources)
        faults = {"missing": missing, "unexpected": sorted(unused)}
        if any(faults.values()):
            listed = "; ".join(
                f"{kind}: {', '.join(names[:20])}"
                + (f" and {len(names) - 20} more" if len(names) > 20 else "")
                for kind, names in faults.items()
                if names
            )
            raise self.error(f"The tensors are not those of {self.origin.name}; {listed}.")
        hub.load_strictly(model, filled, self.path)
        model.eval()
        return mapped
