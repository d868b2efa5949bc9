"""Tables of predictions, written row by row on every process and merged into that of a single one."""

from __future__ import annotations

import csv
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from affectkit.data import Target
from affectkit.models import Head

__all__ = ["PredictionTable"]

_NAMES = ("dataset", "clip", "subject", "frame")


class PredictionTable:
    """A row per predicted frame: dataset, clip, subject, frame, the outputs of all heads by name, and true labels.

    With several processes each writes its own file, with its rank in the name and the position of each clip in the
    first columns. At the end the first process merges the files into the table of a single process and removes them.
    They are kept if a process dies or the first process cannot see them all.

    True labels make the table sufficient for scoring. Units have the column `AU01_true` (`AU01_i_true` for intensities)
    and dimensions `valence_true`. Classes and levels have the name of the likeliest one in `expression_true`, or
    another name of the target. Cells are empty if nothing is annotated.

    Args:
        path: File to write; with the suffix `.parquet` it is converted when it is complete.
        trainer: The trainer of the run.
        heads: Heads of the model.
        targets: Names of targets whose true labels are written.
    """

    def __init__(
        self, path: Path, trainer: Trainer, heads: Sequence[Head], targets: Iterable[str] = ()
    ) -> None:
        self.path, self._trainer = path, trainer
        self._text = path.with_suffix(".csv")
        self._text.parent.mkdir(parents=True, exist_ok=True)
        known = set(targets)
        self._true = [head for head in heads if head.target in known]
        columns = [column for head in heads for column in head.columns]
        columns += dict.fromkeys(name for head in self._true for name in _true_columns(head))
        several = trainer.world_size > 1
        self._places = ["loader", "place"] if several else []
        self._num_clips: dict[int, int] = {}
        own = self._part(trainer.global_rank) if several else self._text
        self._file = own.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow([*self._places, *_NAMES, *columns])

    def write(
        self, predicted: Mapping[str, Any], loader: int, targets: Mapping[str, Target] | None = None
    ) -> None:
        """Write the rows of one batch; values of clips are repeated in every row of their clip.

        Args:
            predicted: Output of `AffectTask.predict_step`.
            loader: Index of the loader.
            targets: Targets of the batch, if true labels are written.
        """
        columns = [values.cpu() for values in predicted["outputs"].values()]
        truths = [_Truth(head, (targets or {}).get(head.target)) for head in self._true]
        meta, kept = predicted["meta"], predicted["frame_mask"]
        first = self._num_clips.get(loader, 0)
        self._num_clips[loader] = first + len(kept)
        for i in range(len(kept)):
            if not predicted["valid"][i]:
                continue
            place = (
                first + i
            ) * self._trainer.world_size + self._trainer.global_rank  # order of the samplers
            places = [loader, place] if self._places else []
            for t, frame in enumerate(meta["indices"][i]):
                row: Sequence[Any] = [meta["dataset"][i], meta["clip"][i], meta["subject"][i], frame]
                numbers = [f"{x:.6f}" for v in columns for x in (v[i, t] if v.ndim == 3 else v[i]).tolist()]
                true: dict[str, str] = {}
                for truth in truths:
                    true |= truth.cells(i, t)
                self._writer.writerow([*places, *row, *numbers, *true.values()])
        self._file.flush()

    def close(self) -> str | None:
        """Merge the files of all processes; all of them call it.

        Returns:
            A line that names the files; None on all processes but the first.
        """
        self._file.close()
        trainer, line = self._trainer, None
        if trainer.world_size > 1:
            trainer.strategy.barrier("predictions are written")
        if trainer.is_global_zero:
            parts = [self._part(rank) for rank in range(trainer.world_size)] if self._places else []
            line = self._merge(parts)
        if trainer.world_size > 1:
            trainer.strategy.barrier("predictions are merged")
        return line

    def _part(self, rank: int) -> Path:
        return self._text.with_stem(f"{self._text.stem}-{rank}")

    def _merge(self, parts: Sequence[Path]) -> str:
        """Write the rows of all processes in the order of a single one."""
        if missing := [part.name for part in parts if not part.is_file()]:
            several = self._text.with_stem(f"{self._text.stem}-*")
            return f"{several}, one table per process; {', '.join(missing)} is on another machine"
        if parts:
            _merge_rows(parts, self._text)
        if self.path != self._text:
            _convert(self._text, self.path)
        return str(self.path)


class _Truth:
    """True labels of one head in a batch."""

    def __init__(self, head: Head, target: Target | None) -> None:
        self.names, self.space = _true_columns(head), head.space
        self.value: Tensor | None = None
        if target is not None:
            likeliest = target.project(head.space.name).likeliest()
            self.value, self.mask = likeliest.value.cpu(), likeliest.mask.cpu()
            self.by_frame = likeliest.leading == 2

    def cells(self, clip: int, frame: int) -> dict[str, str]:
        if self.value is None:
            return dict.fromkeys(self.names, "")
        place = (clip, frame) if self.by_frame else (clip,)
        value, mask = self.value[place].flatten().tolist(), self.mask[place].flatten().tolist()
        texts = [self.space.labels[int(v)] if self.space.indexed else f"{v:g}" for v in value]
        return {
            name: text if known else "" for name, text, known in zip(self.names, texts, mask, strict=True)
        }


def _true_columns(head: Head) -> list[str]:
    return [f"{name}_true" for name in ([head.target] if head.space.indexed else head.columns)]


def _merge_rows(parts: Sequence[Path], path: Path) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    with ExitStack() as files, unfinished.open("w", newline="", encoding="utf-8") as out:
        tables = [csv.reader(files.enter_context(part.open(newline="", encoding="utf-8"))) for part in parts]
        header, *_ = [next(table) for table in tables]
        rows = heapq.merge(*map(_placed, tables), key=itemgetter(0))
        writer = csv.writer(out)
        writer.writerow(header[2:])
        writer.writerows(row for _, row in rows)
    unfinished.replace(path)
    for part in parts:
        part.unlink()


def _placed(table: Iterable[list[str]]) -> Iterator[tuple[tuple[int, int], list[str]]]:
    """Split off the position of each row: loader and clip."""
    for loader, place, *row in table:
        yield (int(loader), int(place)), row


def _convert(text: Path, path: Path) -> None:
    """Convert CSV to Parquet, names as text and everything else as numbers or, if it is none, as text."""
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet, string

    names = dict.fromkeys(_NAMES[:3], string())
    options = arrow_csv.ConvertOptions(column_types=names)
    parquet.write_table(arrow_csv.read_csv(text, convert_options=options), path)
    text.unlink()
