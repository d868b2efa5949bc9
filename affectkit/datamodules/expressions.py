"""Clips with one expression each, of films and shows: DFEW, FERV39k and MAFW."""

from __future__ import annotations

from typing import Any, Literal

from affectkit.data import (
    ClipTransform,
    ColorJitter,
    Compose,
    FrameSampler,
    HorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    UniformSegments,
)
from affectkit.datamodules.corpora import FoldDataModule
from affectkit.datasets.dfew import DFEW
from affectkit.datasets.ferv39k import FERV39k
from affectkit.datasets.mafw import MAFW

__all__ = ["DFEWDataModule", "FERV39kDataModule", "MAFWDataModule"]


class _ListedDataModule(FoldDataModule):
    """One frame out of each of 16 equal segments, a random one in training; short clips hold their last frame.

    Args:
        root: Folder of the corpus.
        space: Classes of the target "expression", the corpus's own by default.
        media: Name of the folder that holds the clips to read.
        num_frames: Frames a clip.
        size: Side of the pictures in pixels.
        train_frames: Frame sampler for training, instead of `num_frames` segments.
        eval_frames: The same for evaluation.
        train_transform: For training; by default a random crop of 8 to 100 % of the picture and a flip, with what
            the corpus's publications add to them.
        **options: See `FoldDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        space: str | None = None,
        media: str = "auto",
        num_frames: int = 16,
        size: int = 224,
        train_frames: FrameSampler | None = None,
        eval_frames: FrameSampler | None = None,
        train_transform: ClipTransform | None = None,
        **options: Any,
    ) -> None:
        segments = UniformSegments(num_frames, short="hold")
        crop = RandomResizedCrop(size, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
        super().__init__(
            root,
            num_frames=num_frames,
            size=size,
            train_frames=train_frames or segments,
            eval_frames=eval_frames or segments,
            train_transform=train_transform or Compose([*self.distortions(), crop, HorizontalFlip()]),
            **options,
        )
        self.corpus_options |= {"space": space, "media": media}

    def distortions(self) -> list[ClipTransform]:
        """What training does to pictures before it crops them."""
        return []


class DFEWDataModule(_ListedDataModule):
    """DFEW, five folds (see `affectkit.datasets.DFEW`). Training also changes the brightness by up to a half.

    Args:
        root: Folder of the corpus.
        space: Classes of the target "expression", `dfew7` by default.
        media: Name of the folder that holds the clips to read, such as `clip_224x224`.
        num_frames: Frames a clip, one out of each of as many equal segments.
        **options: See `FoldDataModule`.
    """

    dataset_class = DFEW

    def distortions(self) -> list[ClipTransform]:
        """See the base class."""
        return [ColorJitter(brightness=0.5, contrast=0.0, saturation=0.0)]


class FERV39kDataModule(_ListedDataModule):
    """FERV39k, one split (see `affectkit.datasets.FERV39k`). Training also turns pictures by up to 4 degrees.

    Args:
        root: Folder of the corpus.
        **options: As for `DFEWDataModule`.
    """

    dataset_class = FERV39k

    def distortions(self) -> list[ClipTransform]:
        """See the base class."""
        return [RandomRotation(4)]


class MAFWDataModule(_ListedDataModule):
    """MAFW, five folds (see `affectkit.datasets.MAFW`).

    Args:
        root: Folder of the corpus.
        class_order: What numbers in lists of numbers mean.
        **options: As for `DFEWDataModule`.
    """

    dataset_class = MAFW

    def __init__(
        self,
        root: str,
        *,
        class_order: Literal["happiness_first", "anger_first"] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.corpus_options["class_order"] = class_order
