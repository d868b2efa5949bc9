"""The model in a checkpoint of our own training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from affectkit.errors import WeightsError
from affectkit.models import hub
from affectkit.models.convert.reading import load_safely
from affectkit.models.model import AffectModel

__all__ = ["model_of_checkpoint"]


def model_of_checkpoint(path: str | Path) -> AffectModel:
    """Build the model whose weights a checkpoint of `affectkit fit` holds, averaged ones where the recipe averages.

    Its heads decide by the thresholds that were chosen on validation subjects.

    Args:
        path: The `.ckpt` file.

    Returns:
        The model, in evaluation mode; its `metadata` names the checkpoint, epoch and step, the corpora it learned
        from with their licences, whether all faces were rendered, and the labels that were not in the training data.

    Raises:
        WeightsError: The file is missing, damaged, unsafe or not of an affectkit task, or its tensors do not fit.
        ConfigError: It names parts that this version does not have.
    """
    path = Path(path)
    content = load_safely(path)
    wanted = ("state_dict", "model_config")
    if not isinstance(content, Mapping) or not all(isinstance(content.get(key), Mapping) for key in wanted):
        raise WeightsError(
            "This is no checkpoint of an affectkit task.",
            path=path,
            remedy="Give a .ckpt that `affectkit fit` wrote; `affectkit model convert` reads those of other programs.",
        )
    with hub.no_weights(), hub.explained_by(path):
        model = AffectModel(**content["model_config"])
        nn.Module.train(model, False)
        own = {
            name.removeprefix("model."): t
            for name, t in content["state_dict"].items()
            if name.startswith("model.")
        }
        hub.load_strictly(model, own, path)
        for name, chosen in content.get("thresholds", {}).items():
            head = model.head(name)
            if set(chosen) != set(head.labels):
                raise WeightsError(
                    f"The thresholds of the head {name!r} are not one for each of its labels.",
                    path=path,
                    remedy="Give a .ckpt that `affectkit fit` wrote.",
                )
            head.calibrate(thresholds=[chosen[label] for label in head.labels])
        learned_from = _learned_from(content.get("trained_on") or {})
    model.refresh_prototypes()  # those in the file may be of another step than its (averaged) weights
    model.metadata = {
        "checkpoint": path.name,
        **{key: content[key] for key in ("epoch", "global_step") if isinstance(content.get(key), int)},
        **learned_from,
        **({"unlearned": content["unlearned"]} if content.get("unlearned") else {}),
    }
    return model


def _learned_from(known: Mapping[str, Any]) -> dict[str, Any]:
    """Corpora, licences and whether faces were rendered, as a model states them."""
    corpora = known.get("corpora")
    if not corpora:
        return {}
    faces = "rendered faces: " if known.get("rendered") else ""
    licences = "; ".join(f"{name}: {licence}" for name, licence in corpora.items())
    return {
        "trained_on": faces + ", ".join(corpora),
        "licence": licences,
        **({"rendered": True} if known.get("rendered") else {}),
    }
