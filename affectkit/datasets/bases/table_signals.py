"""Signals of the faces of a dataset from tables that OpenFace wrote."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from affectkit.datasets.bases.signals import ClipSignals
from affectkit.datasets.reading.openface_signals import read_openface_signals
from affectkit.datasets.reading.signal_files import media_state
from affectkit.errors import AnnotationError, DatasetNotFoundError

if TYPE_CHECKING:
    from affectkit.datasets.bases.dataset import AffectDataset

__all__ = ["TableSignals"]

_VERSION: Final = "openface-1"


class TableSignals(ClipSignals):
    """Signals of the clips of a dataset, read from one table of OpenFace per clip.

    A table is named like the media of its clip, without the suffix. It is parsed once and kept in the same files as
    measured signals. The media need not exist.

    Args:
        dataset: The dataset.
        folder: Folder of the kept signals.
        tables: Folder of the tables; folders in it are searched too.
    """

    def __init__(self, dataset: AffectDataset, folder: Path, tables: Path) -> None:
        super().__init__(dataset, folder, _VERSION)
        self.tables = tables

    @cached_property
    def _paths(self) -> dict[str, Path]:
        return {path.stem: path for path in sorted(self.tables.rglob("*.csv"))}

    def _table(self, index: int) -> Path:
        record = self.dataset.clips[index]
        name = record.path.stem if record.path.suffix else record.path.name
        if name not in self._paths:
            remedy = "Run OpenFace on all clips, and correct `signal_tables`."
            raise DatasetNotFoundError(f"There is no table {name}.csv.", path=self.tables, remedy=remedy)
        return self._paths[name]

    def _state(self, index: int) -> str:
        return media_state(self._table(index))

    def _unmeasured(self, key: str) -> list[int]:
        index = self._shared[key][0]
        return [] if len(self.files.frames(key, self._state(index))) else [0]

    def measure(self, index: int) -> None:
        """Read the table of the clip at `index`, unless its signals are kept already.

        Raises:
            AnnotationError: The table is damaged, or lacks the columns of a signal of the dataset.
            ConfigError: The folder is not writable.
        """
        key, path = self._key(index), self._table(index)
        if not self._unmeasured(key):
            return
        values = read_openface_signals(path)
        if missing := sorted(set(self.dataset.signals) - values.keys()):
            fault = f"The table lacks columns of {', '.join(missing)}."
            remedy = "Run OpenFace again with gaze, pose and action units."
            raise AnnotationError(fault, path=path, line=1, remedy=remedy)
        length = len(next(iter(values.values())))
        self.files.write(key, self._state(index), range(length), values)

    def num_frames(self, index: int) -> int:
        """See `ClipSignals`; up to the last frame of the table."""
        self.measure(index)
        key = self._key(index)
        return len(self.files.frames(key, self._state(index)))
