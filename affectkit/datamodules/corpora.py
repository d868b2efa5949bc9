"""The published corpora behind Lightning's loaders: one fold of a protocol at a time."""

from __future__ import annotations

from typing import Any, Literal

from affectkit.data import AllFrames, FrameSampler
from affectkit.datamodules.catalog import CorpusDataModule
from affectkit.datamodules.single import Split
from affectkit.datasets.bases.apex import ApexPolicy
from affectkit.datasets.bases.corpus import Corpus
from affectkit.datasets.bases.micro import ObjectiveSource
from affectkit.datasets.bases.protocols import Fold, Protocol, find_protocol
from affectkit.datasets.bp4d import BP4D
from affectkit.datasets.casme2 import CASME2
from affectkit.datasets.disfa import DISFA
from affectkit.datasets.megc2019 import MEGC2019
from affectkit.datasets.rafdb import RAFDB
from affectkit.datasets.samm import SAMM
from affectkit.datasets.smic import SMIC
from affectkit.facs.coding import AlternativePolicy

__all__ = [
    "BP4DDataModule",
    "CASME2DataModule",
    "DISFADataModule",
    "FoldDataModule",
    "MEGC2019DataModule",
    "RAFDBDataModule",
    "SAMMDataModule",
    "SMICDataModule",
]


class FoldDataModule(CorpusDataModule):
    """What the datamodules of the published corpora take beside frames and pictures: a fold of a protocol.

    Args:
        root: Folder of the corpus, as distributed.
        fold: Which fold (see `affectkit.datasets.bases.protocols`); `affectkit crossval` sets it.
        protocol: Name of the protocol, the corpus's usual one by default; likewise.
        split_seed: Seed of the choice of validation subjects.
        **options: See `CorpusDataModule` and `SingleDataModule`.
    """

    dataset_class: type[Corpus]

    def __init__(
        self,
        root: str,
        *,
        fold: str | int | None = None,
        protocol: str | None = None,
        split_seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.fold = fold
        self.protocol_name = protocol
        self.split_seed = split_seed
        self.corpus_options: dict[str, Any] = {}

    @property
    def fold_protocol(self) -> Protocol:
        """The protocol whose folds these are."""
        return find_protocol(self.dataset_class.name, self.protocol_name)

    @property
    def protocol(self) -> str:
        """One line for whoever reads a number."""
        return self.fold_protocol.description + ("" if self.fold is None else f"; fold {self.fold}")

    def folds(self) -> tuple[Fold, ...]:
        """All folds of the protocol."""
        return self._dataset("all").folds()

    def make_dataset(self, split: Split) -> Corpus:
        """Build the dataset of one split, with the frames and transforms that belong to it."""
        training = split == "train"
        return self._dataset(
            split,
            frames=self.train_frames if training else self.eval_frames,
            transform=self.train_transform if training else self.eval_transform,
            backend=self.backend,
            on_error=self.on_error,
            cache=self.cache,
            prepared=self.prepared,
            targets=self.targets,
        )

    def _dataset(self, split: Literal["train", "val", "test", "all"], **options: Any) -> Corpus:
        return self.dataset_class(
            self.root,
            split=split,
            fold=self.fold,
            protocol=self.protocol_name,
            seed=self.split_seed,
            **self.corpus_options,
            **options,
        )


class _MicroDataModule(FoldDataModule):
    """What the datamodules of micro-expression corpora take, see `affectkit.datasets.bases.micro.MicroCorpus`."""

    def __init__(
        self,
        root: str,
        *,
        units: str | None = None,
        classes: str | None = None,
        alternatives: AlternativePolicy = "first",
        references: bool = True,
        apex: ApexPolicy = "midpoint",
        objective: ObjectiveSource = "auto",
        require: list[str] | None = None,
        errata: list[str] | None = None,
        media: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.corpus_options |= {
            "units": units,
            "classes": classes,
            "alternatives": alternatives,
            "references": references,
            "apex": apex,
            "objective": objective,
            "require": require or [],
            "errata": errata or [],
            "media": media,
        }


class CASME2DataModule(_MicroDataModule):
    """CASME II, leave one subject out (see `affectkit.datasets.CASME2`).

    Args:
        root: Folder of the corpus.
        units: Action units of the target "au": the name of an `AUSet` or a comma list.
        classes: Classes of the target "expression": such as `casme2_5`, `megc3`, `objective`.
        alternatives: What a coder's "or" stands for.
        references: Whether units written as `ref(...)` count.
        apex: What frame samplers get where no apex is annotated.
        objective: Where objective classes are taken from.
        require: Targets without which a clip is left out.
        errata: Published corrections to apply, see the corpus's card.
        media: Which variant of the frames to read.
        **options: See `FoldDataModule`.
    """

    dataset_class = CASME2


class SAMMDataModule(_MicroDataModule):
    """SAMM, leave one subject out (see `affectkit.datasets.SAMM`).

    Args:
        root: Folder of the corpus.
        **options: As for `CASME2DataModule`.
    """

    dataset_class = SAMM


class SMICDataModule(_MicroDataModule):
    """SMIC, leave one subject out (see `affectkit.datasets.SMIC`).

    Args:
        root: Folder of the corpus.
        part: The recordings of which camera.
        **options: As for `CASME2DataModule`.
    """

    dataset_class = SMIC

    def __init__(self, root: str, *, part: Literal["HS", "VIS", "NIR"] = "HS", **options: Any) -> None:
        super().__init__(root, **options)
        self.corpus_options["part"] = part


class _WindowDataModule(FoldDataModule):
    """Datamodules of corpora with coded frames, see `affectkit.datasets.bases.sequences.SequenceCorpus`."""

    def __init__(
        self,
        root: str,
        *,
        space: str,
        intensity_space: str,
        media: str = "auto",
        num_frames: int = 16,
        train_frames: FrameSampler | None = None,
        eval_frames: FrameSampler | None = None,
        **options: Any,
    ) -> None:
        every = AllFrames()
        super().__init__(
            root, train_frames=train_frames or every, eval_frames=eval_frames or every, **options
        )
        self.corpus_options |= {
            "space": space,
            "intensity_space": intensity_space,
            "media": media,
            "window": num_frames,
        }


class BP4DDataModule(_WindowDataModule):
    """BP4D in windows of consecutive frames that never cross a gap (see `affectkit.datasets.BP4D`).

    Args:
        root: Folder of the corpus.
        space: Units of the target "au".
        intensity_space: Units of the target "intensity".
        media: Which images or videos to read.
        frame_offset: Number of an image less its label frame.
        num_frames: Frames a window; each frame of a split stands in one window, and all of them are read.
        train_frames: Frame sampler for training within a window; every frame by default.
        eval_frames: The same for evaluation.
        **options: See `FoldDataModule`.
    """

    dataset_class = BP4D

    def __init__(
        self,
        root: str,
        *,
        space: str = "bp4d12",
        intensity_space: str = "bp4d5",
        frame_offset: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(root, space=space, intensity_space=intensity_space, **options)
        self.corpus_options["frame_offset"] = frame_offset


class DISFADataModule(_WindowDataModule):
    """DISFA in windows of consecutive frames that never cross a gap (see `affectkit.datasets.DISFA`).

    Args:
        root: Folder of the corpus.
        space: Units of the target "au".
        intensity_space: Units of the target "intensity".
        threshold: The least intensity that counts as present.
        camera: Which camera's videos to read.
        media: Which images or videos to read.
        image_base: Number of the first extracted image.
        num_frames: Frames a window; each frame of a split stands in one window, and all of them are read.
        train_frames: Frame sampler for training within a window; every frame by default.
        eval_frames: The same for evaluation.
        **options: See `FoldDataModule`.
    """

    dataset_class = DISFA

    def __init__(
        self,
        root: str,
        *,
        space: str = "disfa8",
        intensity_space: str = "disfa12",
        threshold: int = 2,
        camera: Literal["left", "right"] = "left",
        image_base: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(root, space=space, intensity_space=intensity_space, **options)
        self.corpus_options |= {"threshold": threshold, "camera": camera, "image_base": image_base}


class RAFDBDataModule(FoldDataModule):
    """RAF-DB: photographs, clips of one frame (see `affectkit.datasets.RAFDB`).

    Args:
        root: Folder of the corpus.
        kind: Which expressions.
        images: Which photographs.
        space: Classes of the target "expression", those of the list by default.
        **options: See `FoldDataModule`.
    """

    dataset_class = RAFDB

    def __init__(
        self,
        root: str,
        *,
        kind: Literal["basic", "compound"] = "basic",
        images: Literal["aligned", "original"] = "aligned",
        space: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(root, num_frames=1, **options)
        self.corpus_options |= {"kind": kind, "images": images, "space": space}


class MEGC2019DataModule(FoldDataModule):
    """The composite of SMIC-HS, CASME II and SAMM, leave one subject out (see `affectkit.datasets.MEGC2019`).

    Args:
        root: Folder that holds the three corpora.
        casme2: Folder of CASME II, relative to `root`.
        samm: Folder of SAMM.
        smic: Folder of SMIC.
        **options: See `FoldDataModule`.
    """

    dataset_class = MEGC2019

    def __init__(
        self, root: str, *, casme2: str = "CASME2", samm: str = "SAMM", smic: str = "SMIC", **options: Any
    ) -> None:
        super().__init__(root, **options)
        self.corpus_options |= {"casme2": casme2, "samm": samm, "smic": smic}
