"""Any corpus behind Lightning's loaders, built from its dataset class."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from affectkit.data import ClipTransform, Compose, FrameSampler
from affectkit.datamodules.single import SingleDataModule, Split
from affectkit.datasets import AffectDataset, Corpus, Fold, Protocol
from affectkit.datasets.registry import keyword_options
from affectkit.datasets.rendered import RenderedDataset

__all__ = ["CorpusDataModule", "FoldDataModule", "RenderedDataModule", "datamodule_of"]


def _arguments(cls: type) -> str:
    """What the docstrings of a class and its bases say of arguments, in one section."""
    docs = (f"{inspect.getdoc(base)}\n\n" for base in reversed(cls.__mro__))
    found = (re.search(r"^Args:\n(.+?)\n\n", doc, re.MULTILINE | re.DOTALL) for doc in docs)
    return "\n".join(["Build the datamodule.\n\nArgs:", *(match[1] for match in found if match)])


class CorpusDataModule(SingleDataModule):
    """A corpus: the datasets of its splits, with the frames and transforms that belong to each.

    A subclass names its `dataset_class`; its constructor then takes the options of that dataset too, which is what
    recipes are checked against.

    Args:
        root: Folder of the corpus (of a table: the file itself, or the folder that holds its index).
        num_frames: Frames of a clip; the corpus's usual number by default.
        size: Side of the pictures in pixels.
        train_frames: Frame sampler for training, instead of the corpus's usual one.
        eval_frames: The same for evaluation.
        train_transform: For training; the corpus's usual augmentation by default.
        eval_transform: For evaluation; by default a resize and a centre crop.
        final_transform: Comes after either, such as `OpticalFlow`.
        **options: See `SingleDataModule` and the dataset.
    """

    dataset_class: ClassVar[type[AffectDataset]]
    _given: ClassVar[frozenset[str]] = frozenset({"root", "split", "sampler", "transform"})

    def __init__(
        self,
        root: str,
        *,
        num_frames: int | None = None,
        size: int = 224,
        train_frames: FrameSampler | None = None,
        eval_frames: FrameSampler | None = None,
        train_transform: ClipTransform | None = None,
        eval_transform: ClipTransform | None = None,
        final_transform: ClipTransform | None = None,
        **options: Any,
    ) -> None:
        own = self._dataset_options(self.dataset_class)
        super().__init__(**{name: value for name, value in options.items() if name not in own})
        self.root = Path(root)
        kind = self.dataset_class
        self.num_frames = num_frames or kind.clip_frames
        self.train_frames = train_frames
        self.eval_frames = eval_frames
        self.train_transform = train_transform or kind.default_transform(size, train=True)
        self.eval_transform = eval_transform or kind.default_transform(size, train=False)
        if final_transform is not None:
            self.train_transform = Compose([self.train_transform, final_transform])
            self.eval_transform = Compose([self.eval_transform, final_transform])
        self.options = {name: value for name, value in options.items() if name in own}

    def __init_subclass__(cls, **options: Any) -> None:
        """Give the constructor the signature of all that it takes, for recipes to be checked against."""
        super().__init_subclass__(**options)
        if not hasattr(cls, "dataset_class"):
            return
        if "__init__" not in vars(cls):

            def construct(self: CorpusDataModule, root: str, **options: Any) -> None:
                cast("Any", super(cls, self)).__init__(root, **options)

            construct.__name__ = "__init__"
            cls.__init__ = construct  # type: ignore[method-assign]
        taken = {**keyword_options(cls), **cls._dataset_options(cls.dataset_class)}
        first = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
            for name, annotation in (("self", inspect.Parameter.empty), ("root", str))
        ]
        cls.__init__.__signature__ = inspect.Signature([*first, *taken.values()])  # type: ignore[attr-defined]
        cls.__init__.__doc__ = _arguments(cls.dataset_class)

    @classmethod
    def _dataset_options(cls, dataset: type[AffectDataset]) -> dict[str, inspect.Parameter]:
        """The options of a dataset that a user may set."""
        given = cls._given | dataset.sampling(1).keys()
        options = keyword_options(dataset)
        return {name: parameter for name, parameter in options.items() if name not in given}

    def make_dataset(self, split: Split) -> AffectDataset:
        """Build the dataset of one split, with the frames and transforms that belong to it."""
        training = split == "train"
        sampler = self.train_frames if training else self.eval_frames
        options = {"transform": self.train_transform if training else self.eval_transform}
        return self._open(split, **options, **({} if sampler is None else {"sampler": sampler}))

    def _open(self, split: Split | Literal["all"], **options: Any) -> AffectDataset:
        given = {**self.dataset_class.sampling(self.num_frames), **self.options, **options}
        return self.dataset_class(self.root, split=split, **given)


class FoldDataModule(CorpusDataModule):
    """A published corpus: a fold of one of its protocols.

    Args:
        root: Folder of the corpus, as distributed.
        fold: Which fold of the protocol; `affectkit crossval` sets it.
        protocol: Name of the protocol, the corpus's usual one by default; `affectkit crossval` sets it too.
        split_seed: Seed of the choice of validation subjects.
        **options: See `CorpusDataModule`.
    """

    dataset_class: ClassVar[type[Corpus]]
    _given = CorpusDataModule._given | {"fold", "protocol", "seed"}

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

    @property
    def fold_protocol(self) -> Protocol:
        """The protocol whose folds these are."""
        return self.dataset_class.find_protocol(self.protocol_name)

    @property
    def protocol(self) -> str:
        """Description of the evaluation protocol, printed next to every result."""
        return self.fold_protocol.description + ("" if self.fold is None else f"; fold {self.fold}")

    def folds(self) -> tuple[Fold, ...]:
        """All folds of the protocol."""
        return self._open("all").folds()

    def _open(self, split: Split | Literal["all"], **options: Any) -> Corpus:
        fold = {"fold": self.fold, "protocol": self.protocol_name, "seed": self.split_seed}
        return cast("Corpus", super()._open(split, **fold, **options))


class RenderedDataModule(CorpusDataModule):
    """A rendered corpus (see `affectkit.datasets.RenderedDataset`), rendered first where it is missing.

    Args:
        root: Folder of the corpus.
        render: Settings of `affectkit.synth.render_corpus`; the corpus must exist already where they are absent.
        **options: See `CorpusDataModule`.
    """

    dataset_class = RenderedDataset

    def __init__(self, root: str, *, render: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(root, **options)
        self.render = render

    def prepare_data(self) -> None:
        """Render the corpus unless one with the same settings is there."""
        if self.render is not None:
            from affectkit.synth import render_corpus

            render_corpus(self.root, **self.render)


@functools.cache
def datamodule_of(dataset_class: type[AffectDataset]) -> type[CorpusDataModule]:
    """The datamodule of a dataset: `BP4DDataModule` of `BP4D`, `TableDataModule` of `TableDataset`.

    Args:
        dataset_class: The dataset.

    Example:
        >>> from affectkit.datasets import find_corpus
        >>> datamodule_of(find_corpus("bp4d")).__name__
        'BP4DDataModule'
    """
    if dataset_class is RenderedDataset:
        return RenderedDataModule
    base = FoldDataModule if issubclass(dataset_class, Corpus) else CorpusDataModule
    name = f"{dataset_class.__name__.removesuffix('Dataset')}DataModule"
    doc = f"{inspect.getdoc(dataset_class)}".partition("\n")[0]
    return type(
        name, (base,), {"dataset_class": dataset_class, "__doc__": doc, "__module__": "affectkit.datamodules"}
    )
