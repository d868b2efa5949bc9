"""Numbers and file names in messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["caution", "counted", "printable"]


def caution(metadata: Mapping[str, Any], *, expressions: bool) -> str:
    """What predictions are not, for every picture of them.

    Args:
        metadata: Metadata of the table; may be empty.
        expressions: Whether there are classes of expressions.

    Example:
        >>> caution({"trained_on": "rendered faces"}, expressions=False)
        'Estimated from pictures of the face, learned from rendered faces, not validated against certified coders.'
    """
    signals = metadata.get("signals") or ()
    origin = "facial geometry" if signals else "pictures of the face"
    if "brow_lowering" in signals:
        origin += " and pixels of the brows"
    if metadata.get("trained_on") == "rendered faces":
        text = (
            f"Estimated from {origin}, learned from rendered faces, not validated against certified coders."
        )
    else:
        text = f"Estimated by a model from {origin}, not coded by certified coders."
    if expressions:
        text += " Expressions are names of prototypical configurations; no emotion is inferred."
    return text


def counted(number: int, noun: str, *, grouped: bool = False) -> str:
    """A number with its noun, whose plural ends in s.

    Args:
        number: The number.
        noun: The noun, singular.
        grouped: Whether a comma separates thousands.

    Example:
        >>> counted(1, "frame"), counted(2_000, "frame"), counted(2_000, "frame", grouped=True)
        ('1 frame', '2000 frames', '2,000 frames')
    """
    return f"{number:{',' if grouped else ''}} {noun}{'' if number == 1 else 's'}"


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
