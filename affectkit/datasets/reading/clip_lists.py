"""Lists of clips as video corpora distribute them: a clip and its class per line."""

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
    """The rows of a list.

    Args:
        path: The file.
        names: Clip of each row, as written.
        labels: Class of each row, as written.
        lines: Line of each row, from 1.
        header: Whether the first line names the columns.
        ended: Whether the last row ends with a line end; otherwise it may be truncated.
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
        """An error at the line of a row."""
        return AnnotationError(fault, path=self.path, line=self.lines[row], remedy=remedy)


def read_clip_list(path: Path) -> ClipList:
    r"""Read rows `clip label` or `clip frames label`, separated by commas, semicolons, tabs or blanks.

    A header may name the columns, in any order, and further columns, which are ignored. Numbers of frames are ignored
    too: they differ between copies of a corpus.

    Raises:
        AnnotationError: The list is empty, or its rows differ or have another form.

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
    words = [cell.casefold() for cell in rows[0][1]]
    names = [place for place, word in enumerate(words) if word in _NAMES]
    labels = [place for place, word in enumerate(words) if word in _LABELS]
    header, width = bool(names or labels), len(words)
    if header and (len(names) != 1 or len(labels) != 1):
        fault = "The header does not name one column of clips and one of labels."
        raise AnnotationError(fault, path=path, line=rows[0][0], remedy="Name them video_name and label.")
    if not header:
        while width > 2 and not words[width - 1]:
            width -= 1
        names, labels = [0], [width - 1]
    if not rows[header:]:
        raise AnnotationError("The list has no rows.", path=path, line=1, remedy="Unpack it again.")
    for line, cells in rows[header:]:
        while len(cells) > width and not cells[-1]:
            cells.pop()
        if not header and (
            width not in (2, 3) or (len(cells) == 3 == width and not _FRAMES.fullmatch(cells[1]))
        ):
            remedy = "A row is a clip and its label, optionally with the number of frames between them."
            raise AnnotationError(
                f"The row is '{' '.join(cells)[:40]}'.", path=path, line=line, remedy=remedy
            )
        if len(cells) != width:
            fault = (
                f"The row has {len(cells)} {'cell' if len(cells) == 1 else 'cells'}, the first one {width}."
            )
            remedy = "Separate all cells with the same sign; unpack a truncated list again."
            raise AnnotationError(fault, path=path, line=line, remedy=remedy)
    return ClipList(
        path,
        names=tuple(cells[names[0]] for _, cells in rows[header:]),
        labels=tuple(cells[labels[0]] for _, cells in rows[header:]),
        lines=tuple(line for line, _ in rows[header:]),
        header=header,
        ended=not lines[-1],
    )
