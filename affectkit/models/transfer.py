"""Start a model from another one's weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.errors import ConfigError, WeightsError
from affectkit.models import hub

if TYPE_CHECKING:
    from affectkit.models.model import AffectModel

__all__ = ["config_of_model", "take_over"]

PARTS = ("temporal", "bridge")  # that may be left out, beside heads


def take_over(model: AffectModel, path: Path, replace: Sequence[str]) -> None:
    """Copy the tensors of a saved model; see `AffectModel.init_from`.

    Args:
        model: What to fill.
        path: A local model folder.
        replace: Heads, "temporal" or "bridge", to leave as they are.

    Raises:
        WeightsError: Tensors, labels or normalisation differ.
        ConfigError: `replace` names nothing here or there.
    """
    config = config_of_model(path)
    known = {*model.heads, *config["heads"], *PARTS}
    if unknown := sorted(set(replace) - known):
        raise ConfigError(
            f"There is no {', '.join(unknown)} to replace.", remedy=f"Known: {', '.join(sorted(known))}."
        )
    for name in model.heads:
        labels = config["heads"].get(name, {}).get("labels", list(model.labels(name)))
        if name not in replace and labels != list(model.labels(name)):
            raise WeightsError(
                f"The head {name!r} was trained on {labels}, and here it has {list(model.labels(name))}.",
                path=path,
                remedy=f"Let it start anew: `replace_heads: [{name}]` in a recipe.",
            )
    here, there = model.input_spec.to_dict(), config["input"]
    for key in ("mean", "std", "normalize"):
        if there.get(key) != here[key]:
            raise WeightsError(
                f"The backbone was trained with {key} = {there.get(key)}, and here it is {here[key]}.",
                path=path,
                remedy="Give the backbone the same normalisation.",
            )
    skip = [f"{part}." if part in PARTS else f"heads.{part}." for part in replace]
    if model.bridge is not None:
        skip += [f"bridge.{prefix}" for part in replace for prefix in model.bridge.parts_of(part)]
    tensors = path / "model.safetensors"
    hub.load_strictly(model, hub.read_tensors(tensors), tensors, skip=skip)
    if not model.training:
        model.refresh_prototypes()  # parts of the bridge may be new here


def config_of_model(path: Path) -> dict[str, Any]:
    """Read the configuration in a folder, which must have a backbone.

    Args:
        path: A local model folder.

    Raises:
        WeightsError: It holds heads alone, or as `affectkit.models.hub.read_config`.
    """
    config = hub.read_config(path)
    if not config["backbone"] or not config.get("input"):
        raise WeightsError(
            "This folder holds heads without a backbone.",
            path=path,
            remedy="Load one with `AUHead.from_pretrained`, or give a whole model's folder.",
        )
    return config
