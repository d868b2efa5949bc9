"""The corpora behind Lightning's loaders, ready to be named in a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from affectkit.data import (
    Backend,
    CenterCrop,
    ClipTransform,
    ColorJitter,
    Compose,
    FrameSampler,
    HorizontalFlip,
    RandomResizedCrop,
    Resize,
    UniformSegments,
)
from affectkit.datamodules.single import SingleDataModule, Split
from affectkit.datasets import AffectDataset, RenderedDataset, TableDataset

__all__ = ["CorpusDataModule", "RenderedDataModule", "TableDataModule"]


class CorpusDataModule(SingleDataModule):
    """What the datamodules of all corpora take: frames, pictures and how to read them.

    Args:
        root: Folder of the corpus (of a table: the file itself, or the folder that holds its index).
        num_frames: Frames a clip, one from each of as many equal segments.
        size: Side of the pictures in pixels.
        train_frames: Frame sampler for training, instead of `num_frames` segments.
        eval_frames: The same for evaluation.
        train_transform: For training; by default a random resized crop, a flip and colour jitter.
        eval_transform: For evaluation; by default a resize and a centre crop.
        final_transform: Comes after either, such as `OpticalFlow`.
        backend: Video reader.
        on_error: What a clip does that cannot be read: `raise`, or `skip` and count.
        cache: `memory` keeps decoded clips.
        prepared: Folder or URI of crops that `affectkit prepare` wrote, read instead of the media.
        targets: The annotations to give, as a corpus that lacks the others would, all by default; a mapping also
            renames them, such as `{au: micro_au}`.
        **options: See `SingleDataModule`.
    """

    dataset_class: type[AffectDataset]

    def __init__(
        self,
        root: str,
        *,
        num_frames: int = 8,
        size: int = 224,
        train_frames: FrameSampler | None = None,
        eval_frames: FrameSampler | None = None,
        train_transform: ClipTransform | None = None,
        eval_transform: ClipTransform | None = None,
        final_transform: ClipTransform | None = None,
        backend: Backend = "auto",
        on_error: Literal["raise", "skip"] = "raise",
        cache: Literal["none", "memory"] = "none",
        prepared: str | None = None,
        targets: list[str] | dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = Path(root)
        self.train_frames = train_frames or UniformSegments(num_frames)
        self.eval_frames = eval_frames or UniformSegments(num_frames)
        self.train_transform = train_transform or Compose(
            [RandomResizedCrop(size), HorizontalFlip(), ColorJitter()]
        )
        self.eval_transform = eval_transform or Compose([Resize(size), CenterCrop(size)])
        if final_transform is not None:
            self.train_transform = Compose([self.train_transform, final_transform])
            self.eval_transform = Compose([self.eval_transform, final_transform])
        self.backend: Backend = backend
        self.on_error: Literal["raise", "skip"] = on_error
        self.cache: Literal["none", "memory"] = cache
        self.prepared = prepared
        self.targets = targets
        self.dataset_options: dict[str, Any] = {}

    def make_dataset(self, split: Split) -> AffectDataset:
        """Build the dataset of one split, with the transforms that belong to it."""
        training = split == "train"
        return self.dataset_class(
            self.root,
            split=split,
            frames=self.train_frames if training else self.eval_frames,
            transform=self.train_transform if training else self.eval_transform,
            backend=self.backend,
            on_error=self.on_error,
            cache=self.cache,
            prepared=self.prepared,
            targets=self.targets,
            **self.dataset_options,
        )


class TableDataModule(CorpusDataModule):
    """One's own clips, listed in a CSV or Parquet table (see `affectkit.datasets.TableDataset`)."""

    dataset_class = TableDataset


class RenderedDataModule(CorpusDataModule):
    """A rendered corpus (see `affectkit.datasets.RenderedDataset`), rendered first where it is missing.

    Args:
        root: Folder of the corpus.
        render: Settings of `affectkit.synth.render_corpus`; the corpus must exist already where they are absent.
        **options: See `CorpusDataModule` and `SingleDataModule`.
    """

    dataset_class = RenderedDataset

    def __init__(
        self,
        root: str,
        *,
        render: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.render = render

    def prepare_data(self) -> None:
        """Render the corpus unless one with the same settings is there."""
        if self.render is not None:
            from affectkit.synth import render_corpus

            render_corpus(self.root, **self.render)
