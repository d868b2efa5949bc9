"""Lists of clips as video corpora distribute them: a clip and its class in every line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affectkit.datasets.reading.codes import read_lines
from affectkit.errors import AnnotationError

__all__ = ["ClipList", "read_clip_list"]

_NAMES = frozenset({"video_name", "clip_name", "videoname", "video", "clip", "name", "filename", "path"})
_LABELS = frozenset({"label", "emotion", "expression"})
_FRAMES = re.compile(r"\d{1,6}", re.ASCII)
_BLANK = ' \t,;"'


@dataclass(frozen=True, eq=False)
class ClipList:
    """What a list says, cell by cell.

    Args:
        path: The file.
        names: Clip of each row, as written.
        labels: Class of each row, as written.
        lines: Line of each row, from 1.
        header: Whether the first line names the columns.
        ended: Whether the last row ends with a line end; without one it may be cut off.
    """

    path: Path
    names: Sequence[str]
    labels: Sequence[str]
    lines: Sequence[int]
    header: bool
    ended: bool

    def __len__(self) -> int:
        return len(self.lines)

    def error(self, fault: str, row: int, *, remedy: str) -> AnnotationError:
        """An error that names the file and the line of a row."""
        return AnnotationError(fault, path=self.path, line=self.lines[row], remedy=remedy)


def read_clip_list(path: Path) -> ClipList:
    r"""Read rows `clip label` or `clip frames label`, with commas, semicolons, tabs or blanks between the cells.

    A header may name the columns, in any order; columns that it names otherwise are left out. Numbers of frames
    are not kept: they differ between copies of a corpus.

    Args:
        path: The list.

    Raises:
        AnnotationError: It is empty, or its rows have another form or not all the same.

    Example:
        >>> path = getfixture("tmp_path") / "set_1.csv"
        >>> _ = path.write_text("video_name,label\n1600,3\n")
        >>> found = read_clip_list(path)
        >>> found.names, found.labels, found.lines, found.header
        (('1600',), ('3',), (2,), True)
    """
    lines = read_lines(path)
    texts = [(line, text) for line, text in enumerate(lines, start=1) if text.strip(_BLANK)]
    if not texts:
        raise AnnotationError("The list is empty.", path=path, line=1, remedy="Unpack it again.")
    delimiter = next((sign for sign in ",;\t" if sign in texts[0][1]), None)
    rows = [(line, [cell.strip(' \t"') for cell in text.split(delimiter)]) for line, text in texts]
    name, label, width = _columns(path, *rows[0])
    header = name is not None
    kept = [(line, _cells(path, line, cells, width)) for line, cells in rows[header:]]
    if not kept:
        raise AnnotationError("The list has no rows.", path=path, line=1, remedy="Unpack it again.")
    for line, cells in kept if name is None else ():
        if len(cells) == 3 and _FRAMES.fullmatch(cells[1]) is None:
            raise _form(path, line, cells)
    return ClipList(
        path,
        names=tuple(cells[name or 0] for _, cells in kept),
        labels=tuple(cells[label] for _, cells in kept),
        lines=tuple(line for line, _ in kept),
        header=header,
        ended=not lines[-1],
    )


def _columns(path: Path, line: int, cells: list[str]) -> tuple[int | None, int, int]:
    """Columns of clip (None without a header) and label, and how many there are."""
    words = [cell.casefold() for cell in cells]
    names = [place for place, word in enumerate(words) if word in _NAMES]
    labels = [place for place, word in enumerate(words) if word in _LABELS]
    if not names and not labels:
        while len(cells) > 2 and not cells[-1]:
            cells.pop()
        if len(cells) not in (2, 3):
            raise _form(path, line, cells)
        return None, len(cells) - 1, len(cells)
    if len(names) != 1 or len(labels) != 1:
        raise AnnotationError(
            "The header does not name one column of clips and one of labels.",
            path=path,
            line=line,
            remedy="Name them video_name and label.",
        )
    return names[0], labels[0], len(cells)


def _cells(path: Path, line: int, cells: list[str], width: int) -> list[str]:
    while len(cells) > width and not cells[-1]:
        cells.pop()
    if len(cells) != width:
        raise AnnotationError(
            f"The row has {len(cells)} cells, the first one {width}.",
            path=path,
            line=line,
            remedy="Separate all cells alike; unpack the list again if it was cut off.",
        )
    return cells


def _form(path: Path, line: int, cells: Sequence[str]) -> AnnotationError:
    return AnnotationError(
        f"The row is '{' '.join(cells)[:40]}'.",
        path=path,
        line=line,
        remedy="A row is a clip and its label, with or without its number of frames between them.",
    )
