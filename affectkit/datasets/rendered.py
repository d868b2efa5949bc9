"""Rendered faces with exact intensities, expressions and landmarks, written by `affectkit data render`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from affectkit.data import ClipRecord, Target, derive_seed
from affectkit.datasets.registry import register
from affectkit.datasets.table import TableDataset
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError
from affectkit.faces import FacePicture, five_points
from affectkit.faces.align import EYES_MOUTH_SIDE
from affectkit.facs import AUSet, label_space

__all__ = ["RenderedDataset"]

FORMAT_VERSION = 1


@register
class RenderedDataset(TableDataset):
    """Faces rendered from a FACS rig; a model trained on them alone does not fit real faces.

    Targets: `au`, occurrence per frame (intensity at or above the manifest's level: 2 of 5 in macro clips);
    `intensity`, 0 to 5 per frame; `expression`, one of `basic7` per clip, or `engagement`, one of four levels per clip,
    in the regime "engagement". 68 landmarks per frame. Frames without a face are masked.

    Args:
        root: Folder written by `affectkit data render` or `affectkit.synth.render_corpus`.
        wrong: Share of the expressions that are replaced by another class at random, in the training and validation
            splits; for studies of label noise.
        **options: See `AffectDataset`.

    Attributes:
        manifest: Settings, seed, prevalence and highest possible expression UAR of the corpus.
        units: Action units of `au` and `intensity`.

    Raises:
        DatasetNotFoundError: `root` is not a rendered corpus.
        AnnotationError: Its tables have another format or disagree.
    """

    name = "rendered"
    citation = "affectkit"
    licence = "Apache-2.0; the mesh is CC0"
    rendered = True
    crops_faces = False

    def __init__(self, root: str | Path, *, wrong: float = 0.0, **options: Any) -> None:
        if not 0 <= wrong <= 1:
            raise ConfigError(f"wrong={wrong} is not a share from 0 to 1.")
        self.wrong = wrong
        self.manifest = _read_manifest(Path(root))
        self.units = AUSet.parse(self.manifest["au_space"])
        super().__init__(root, **options)

    @property
    def signals_folder(self) -> Path:
        """See `AffectDataset`; in the corpus, so that a new rendering discards the signals of the old one."""
        return self.root / "signals"

    @cached_property
    def _share(self) -> float:
        """Median side of the tight picture of a face, as a share of the frame's side."""
        points = five_points(self._tables[1][list(self._tables[2].values())])
        distance = (points[:, :2].mean(1) - points[:, 3:].mean(1)).norm(dim=-1).median()
        return float(distance) * EYES_MOUTH_SIDE / int(self.manifest["settings"]["size"])

    @property
    def face_picture(self) -> FacePicture | Literal["frame"] | None:
        """See `AffectDataset`; frames place the face between eyes and mouth, at a distance that is measured."""
        if (known := super().face_picture) != "frame":
            return known
        return FacePicture(self.manifest["settings"]["size"], (1 / self._share - 1) / 2, "eyes_mouth")

    def records(self) -> list[ClipRecord]:
        """See `TableDataset`; the label spaces are those of the manifest."""
        records = super().records()
        self.spaces = {
            "au": self.units.name,
            "intensity": self.units.as_intensity().name,
        }
        for name in ("expression", "engagement"):
            if (space := self.manifest.get(f"{name}_space")) is not None:
                self.spaces[name] = space
        return records

    def _warn_of_unread(self) -> None:
        """Warn of nothing: the renderer writes the columns, and their names tell no mistake."""
        self.unread = ()

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor, dict[str, int]]:
        """Intensities float32 [N, U] from 0 to 1, landmarks float32 [N, 68, 2], and each clip's first row."""
        import pyarrow.parquet as pq

        path = self.root / "frames.parquet"
        points = [f"{axis}{k}" for k in range(68) for axis in "xy"]
        try:
            table = pq.read_table(path, columns=["clip", "frame", *self.units.columns, *points]).to_pandas()
            units = torch.tensor(table[list(self.units.columns)].to_numpy(np.float32))
            landmarks = torch.tensor(table[points].to_numpy(np.float32))
        except (OSError, ValueError, KeyError) as error:
            fault = f"The table of frames cannot be read: {error}"
            raise AnnotationError(fault, path=path, remedy="Render the corpus again.") from error
        firsts = table["clip"][table["frame"] == 0]
        return units, landmarks.reshape(-1, 68, 2), dict(zip(firsts, firsts.index, strict=True))

    def _rows(self, record: ClipRecord, indices: Sequence[int]) -> list[int]:
        first = self._tables[2].get(record.clip)
        if first is None:
            fault = f"The clip {record.clip!r} has no frames in the table."
            raise AnnotationError(fault, path=self.root / "frames.parquet", remedy="Render the corpus again.")
        return [first + index for index in indices]

    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """See `AffectDataset`."""
        strength = self._tables[0][self._rows(record, indices)]
        acting = (strength >= self.manifest["occurrence_at"]).float()
        targets = super().labels(record, indices)
        if "expression" in targets and self.split in ("train", "val"):
            targets["expression"] = self._with_errors(record.clip, targets["expression"])
        targets["au"] = Target.make(acting.masked_fill(strength.isnan(), torch.nan), space=self.units.name)
        targets["intensity"] = Target.make(5 * strength, space=self.units.as_intensity().name)
        if "engagement" in self.spaces:
            level = self.index.count("engagement", record.extra["row"])
            value = torch.tensor(-1 if level is None else level)
            targets["engagement"] = Target.make(value, space=self.spaces["engagement"])
        return targets

    def _with_errors(self, clip: str, label: Target) -> Target:
        """The label, or another one for a share `wrong` of the clips, always the same ones."""
        rng = torch.Generator().manual_seed(derive_seed("wrong", clip))
        if float(torch.rand((), generator=rng)) >= self.wrong:
            return label
        classes = len(label_space(label.space))
        step = 1 + int(torch.randint(classes - 1, (), generator=rng))
        return Target(torch.where(label.mask, (label.value + step) % classes, 0), label.mask, label.space)

    def landmarks(self, record: ClipRecord, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See `AffectDataset`."""
        points = self._tables[1][self._rows(record, indices)]
        return points, points.isfinite().all(-1)


def _read_manifest(root: Path) -> dict[str, Any]:
    path = root / "manifest.json"
    remedy = "Render a corpus with `affectkit data render`."
    if not path.is_file():
        fault = "This is not a rendered corpus: it has no manifest.json."
        raise DatasetNotFoundError(fault, path=root, remedy=remedy)
    try:
        manifest = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise AnnotationError(f"The manifest cannot be read: {error}", path=path, remedy=remedy) from error
    needed = {"au_space", "expression_space", "occurrence_at", "expression_uar_ceiling"}
    version = manifest.get("format_version")
    if version != FORMAT_VERSION or not needed <= manifest.keys():
        raise AnnotationError(f"The corpus has the format {version!r}.", path=path, remedy=remedy)
    return manifest
