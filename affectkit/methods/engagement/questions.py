"""Questions to a rater about a clip, and the file in which they are asked."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from affectkit.data import ClipRecord

__all__ = ["QUESTIONS", "write_questions"]

QUESTIONS: Mapping[str, str] = MappingProxyType(
    {
        "looks_at_screen": "For which share of the clip does the person look at the screen?",
        "head_turned_away": "For which share of the clip is the head turned away from the screen?",
        "eyes_closed": "For which share of the clip are the eyes closed or drowsy?",
        "yawns": "Does the person yawn?",
        "leaves_picture": "Does the face leave the picture?",
        "uses_object": "For which share of the clip is the person busy with a phone or another object?",
        "talks": "Does the person talk to somebody?",
        "follows_actively": "Does the person follow actively, such as by nodding or reacting?",
        "upright": "Does the person sit upright?",
        "restless": "How restless is the person?",
    }
)
"""Questions about engagement, to be answered by a number from 0 (not at all) to 1 (always, or certainly)."""


def write_questions(path: Path, clips: Iterable[ClipRecord], questions: Mapping[str, str] = QUESTIONS) -> int:
    """Write every question about every clip, one row each: `clip,path,question,text`.

    Args:
        path: CSV file to write.
        clips: The clips.
        questions: Texts by name.

    Returns:
        Number of rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(one.clip, one.path, name, text) for one in clips for name, text in questions.items()]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["clip", "path", "question", "text"])
        table.writerows(rows)
    return len(rows)
