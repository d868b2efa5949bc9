"""Labels of all training clips, for methods that compare them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["ClipLabels"]


class ClipLabels(NamedTuple):
    """One class or level of each of N clips.

    Attributes:
        clips: Dataset and name of each clip.
        subjects: Person of each clip; the clip itself if unknown.
        value: int64 [N], index of the class; -1 if it is not annotated.
    """

    clips: tuple[tuple[str, str], ...]
    subjects: tuple[str, ...]
    value: Tensor
