"""What a part of a model can show of what it learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import Tensor

if TYPE_CHECKING:
    from affectkit.models.model import AffectModel

__all__ = ["Explanation", "explanations"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A figure, with its table, that a head or a bridge offers.

    Args:
        name: What it is called, such as "map".
        about: What it shows, in one line.
        draw: Writes it to a folder, made if absent, and returns the files and what is most remarkable. After the
            folder it takes frames uint8 [T, 3, S, S] and landmarks float [T, 68, 2] of a clip, unless there is none.
        clip: Whether it is about a clip.
    """

    name: str
    about: str
    draw: Callable[[Path, Tensor | None, Tensor | None], tuple[tuple[Path, ...], tuple[str, ...]]]
    clip: Literal["needed", "optional", "unused"] = "unused"


def explanations(model: AffectModel, head: str | None = None) -> dict[str, tuple[Explanation, ...]]:
    """What a model can show of what it learned, by the part that offers it: "bridge", or a head's name.

    Args:
        model: The model.
        head: One head's alone; by default those of every part.

    Raises:
        ConfigError: There is no such head.
    """
    found = {
        name: model.head(name).explanations(model, name) for name in (model.heads if head is None else [head])
    }
    if head is None and model.bridge is not None:
        found = {"bridge": model.bridge.explanations(model), **found}
    return {part: offered for part, offered in found.items() if offered}
