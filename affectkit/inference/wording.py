"""Numbers and file names in messages."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["counted", "printable"]


def counted(number: int, noun: str) -> str:
    """A number with its noun, whose plural ends in s.

    Example:
        >>> counted(1, "frame"), counted(2_000, "frame")
        ('1 frame', '2000 frames')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str | Path) -> str:
    r"""Escape control characters, and bytes of file names that are not text.

    Example:
        >>> print(printable("a\nb.mp4"))
        a\nb.mp4
    """
    escaped = re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029]",
        lambda found: found[0].encode("unicode_escape").decode(),
        str(text),
    )
    return escaped.encode("utf-8", "backslashreplace").decode()
