"""Captions of clips: from JSON Lines, or written from the intensities of action units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch

from affectkit.data.clip import Clip
from affectkit.data.json_lines import read_by_clip
from affectkit.data.transforms import ClipTransform
from affectkit.errors import ConfigError
from affectkit.facs.captions import write_captions
from affectkit.facs.spaces import label_space

__all__ = ["HELD_OUT", "WriteCaptions", "read_captions"]

HELD_OUT = "held_out/"
"""Prefix of caption parts in wordings that training does not use."""


def read_captions(path: str | Path) -> dict[str, dict[str, str]]:
    """Read captions from JSON Lines, one object per clip.

    An object has the name of its `clip` and at least one of `global` (the whole face), `summary`, and `local`, an
    object with a text for each region, named as you like: `{"clip": "a.mp4", "global": "A calm face.", "local":
    {"brows": "Brows slightly raised."}}`. Empty and null texts are not annotated.

    Args:
        path: The file.

    Returns:
        Texts by part, by clip.

    Raises:
        DatasetNotFoundError: The file does not exist.
        AnnotationError: A line is damaged, or a clip has two; names the line.
    """
    remedy = 'Write lines such as {"clip": "a.mp4", "global": "...", "local": {"brows": "..."}}.'
    return read_by_clip(path, _parse, what="captions", remedy=remedy)


def _parse(entry: Any) -> tuple[str, dict[str, str]]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("clip"), str):
        raise ValueError("The line is no object with the name of a clip")
    local = entry.get("local") or {}
    if unknown := sorted(entry.keys() - {"clip", "global", "summary", "local"}):
        raise ValueError(f"The line has unknown entries {', '.join(unknown)}")
    if not isinstance(local, Mapping) or {"global", "summary"} & local.keys():
        raise ValueError("The entry 'local' is no object with a text for each region")
    texts = {"global": entry.get("global"), **local, "summary": entry.get("summary")}
    if any(text is not None and not isinstance(text, str) for text in texts.values()):
        raise ValueError("A caption is no text")
    return entry["clip"], {part: text.strip() for part, text in texts.items() if text and text.strip()}


@dataclass(frozen=True)
class WriteCaptions(ClipTransform):
    """Write captions from the intensities of action units, with other wordings at every draw in training.

    Labels of frames are reduced to the strongest of the clip. In its evaluation form, the wordings depend on the name
    of the clip alone, and the captions also have all parts in held-out wordings, with the prefix `HELD_OUT`. Existing
    captions are replaced. See `affectkit.facs.write_captions`.

    Args:
        target: Name of a target with intensities.

    Raises:
        ConfigError: The clip has no such target.

    Example:
        >>> from affectkit.data import Target
        >>> intensity = Target.make(torch.tensor([4.0]), space="intensity:AU12")
        >>> clip = Clip.make(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), {"intensity": intensity})
        >>> list(WriteCaptions()(clip).captions)
        ['global', 'mouth', 'summary', 'held_out/global', 'held_out/mouth', 'held_out/summary']
    """

    target: str = "intensity"

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        if self.target not in clip.targets:
            raise ConfigError(
                f"Captions cannot be written: the clip has no target {self.target!r}.",
                remedy="Add it to the `targets` of the data; rendered faces have 'intensity'.",
            )
        target = clip.targets[self.target]
        target = target.over_frames() if target.leading else target
        columns = label_space(target.space).labels, target.value.tolist(), target.mask.tolist()
        known = {unit: value for unit, value, is_known in zip(*columns, strict=True) if is_known}
        if rng is not None:
            captions = write_captions(known, Random(int(torch.randint(2**62, (), generator=rng))))
        else:
            seed = f"{clip.meta.get('dataset')}/{clip.meta.get('clip')}"
            captions = write_captions(known, Random(seed))
            new = write_captions(known, Random(seed), held_out=True)
            captions |= {f"{HELD_OUT}{part}": text for part, text in new.items()}
        return replace(clip, captions=captions)
