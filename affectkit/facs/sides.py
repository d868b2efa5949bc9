"""Words for the sides of a body in texts."""

from __future__ import annotations

import re

__all__ = ["mirror_text"]

_SIDE_WORDS = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_OTHER_SIDE = {"left": "right", "right": "left"}


def mirror_text(text: str) -> str:
    """Exchange the words left and right, for a mirrored picture; "right" in another sense changes too.

    Example:
        >>> mirror_text("Left brow raised, a bright smile on the right.")
        'Right brow raised, a bright smile on the left.'
    """
    return _SIDE_WORDS.sub(_swap, text)


def _swap(match: re.Match[str]) -> str:
    word = _OTHER_SIDE[match[0].lower()]
    return word.capitalize() if match[0][0].isupper() else word
