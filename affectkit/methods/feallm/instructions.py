"""Files of instructions and answers: JSON Lines, written from exact labels or by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from affectkit.data.json_lines import read_by_clip
from affectkit.facs import AUSet, ExpressionSet
from affectkit.methods.feallm.answers import INSTRUCTION, Answer, parse_answer

__all__ = ["read_instructions", "write_instructions"]

_FIELDS = ("clip", "instruction", "answer")
_REMEDY = 'Write lines such as {"clip": "a.mp4", "answer": "AUs: none; emotion: neutral; because no typical unit."}.'


def write_instructions(path: str | Path, answers: Mapping[str, Answer]) -> None:
    """Write answers to JSON Lines, one object per clip: `clip`, `instruction` and `answer`.

    All clips have the same instruction. The order of the lines depends on the names of the clips alone, through a
    hash, so neither tells an answer.

    Args:
        path: The file; its folder is created if missing.
        answers: Answers by the name of the clip.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    order = sorted(answers, key=lambda clip: hashlib.blake2b(clip.encode()).digest())
    entries = (dict(zip(_FIELDS, (clip, INSTRUCTION, answers[clip].text), strict=True)) for clip in order)
    lines = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries]
    path.write_text("".join(lines), encoding="utf-8")


def read_instructions(path: str | Path, units: AUSet, expressions: ExpressionSet) -> dict[str, Answer]:
    """Read answers from JSON Lines.

    An object has the name of its `clip` and an `answer` in the grammar of `parse_answer`; an `instruction`, if there
    is one, must be `INSTRUCTION`. Empty lines are ignored.

    Args:
        path: The file.
        units: Units that answers may name.
        expressions: Classes that answers may name.

    Returns:
        Answers by the name of the clip.

    Raises:
        DatasetNotFoundError: The file does not exist.
        AnnotationError: A line is damaged, or a clip has two answers; names the line.
    """

    def parse(entry: Any) -> tuple[str, Answer]:
        clip, text = _parse(entry)
        return clip, parse_answer(text, units, expressions)

    return read_by_clip(path, parse, what="instructions", remedy=_REMEDY)


def _parse(entry: Any) -> tuple[str, str]:
    if not isinstance(entry, Mapping) or not all(
        isinstance(entry.get(key), str) for key in ("clip", "answer")
    ):
        raise ValueError("The line is no object with the texts 'clip' and 'answer'")
    if unknown := sorted(entry.keys() - {*_FIELDS}):
        raise ValueError(f"The line has unknown entries {', '.join(unknown)}")
    if entry.get("instruction", INSTRUCTION) != INSTRUCTION:
        raise ValueError(f"The instruction is not {INSTRUCTION!r}")
    return entry["clip"], entry["answer"]
