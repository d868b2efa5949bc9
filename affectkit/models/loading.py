"""One call for a saved model, whatever it is called: a folder, a name on the Hub, or "demo"."""

from __future__ import annotations

from pathlib import Path

from affectkit.models.model import AffectModel

__all__ = ["load"]


def load(model: str | Path, *, revision: str | None = None) -> AffectModel:
    """Load a saved model, in evaluation mode; every tensor must fit by name and shape.

    Args:
        model: A folder; "owner/name" on the Hugging Face Hub, from the cache where it is there; or "demo", the small
            model that comes with affectkit. **The demo's faces were rendered**: it is for tests and first steps, and on
            real faces its numbers are a demonstration. A model folder called `demo` in the working directory comes
            first.
        revision: Branch, tag or commit on the Hub.

    Raises:
        WeightsError: It is not there, unsafe, damaged, of an unknown format, or its tensors do not fit.
        ConfigError: The configuration names parts or arguments that do not exist.

    Example:
        >>> model = load("demo")
        >>> model.metadata["rendered"], model.labels("au")[:3]
        (True, ('AU1', 'AU2', 'AU4'))
    """
    return AffectModel.from_pretrained(model, revision=revision)
