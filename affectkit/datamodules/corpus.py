"""Lightning datamodules of corpora, built from their dataset classes."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, cast

from affectkit.data import ClipTransform, Compose, FrameSampler
from affectkit.datamodules.single import ModelInput, SingleDataModule, Split
from affectkit.datasets import AffectDataset, Corpus, Fold, Protocol
from affectkit.datasets.bases.input_format import find_format
from affectkit.datasets.registry import keyword_options
from affectkit.datasets.rendered import RenderedDataset

__all__ = ["CorpusDataModule", "FoldDataModule", "RenderedDataModule", "datamodule_of"]

_SIDE: Final = 224


def _arguments(cls: type) -> str:
    """Section `Args:` of the docstrings of a class and its bases."""
    docs = (f"{inspect.getdoc(base)}\n\n" for base in reversed(cls.__mro__))
    found = (re.search(r"^Args:\n(.+?)\n\n", doc, re.MULTILINE | re.DOTALL) for doc in docs)
    return "\n".join(["Build the datamodule.\n\nArgs:", *(match[1] for match in found if match)])


class CorpusDataModule(SingleDataModule):
    """Datamodule of a corpus: the datasets of its splits with their frame samplers and transforms.

    A subclass sets `dataset_class`; its constructor also takes the options of that dataset, against which recipes are
    checked.

    Args:
        root: Folder of the corpus (of a table: the file, or the folder of its index).
        num_frames: Frames per clip; the corpus's usual number by default.
        size: Side of the pictures in pixels; by default that of the model, or 224 before a `final_transform`.
        train_frames: Frame sampler for training; the corpus's usual one by default.
        eval_frames: Frame sampler for evaluation.
        train_transform: Transform for training; the corpus's usual augmentation by default.
        eval_transform: Transform for evaluation; by default a resize and a centre crop.
        final_transform: Transform after either, such as `WriteCaptions`.
        crop_faces: Measure the face of every frame once and crop it as the model's `input_spec` says, as
            `affectkit predict --faces mesh` does. False for media that are face crops already, or whose whole frames
            train the model. By default as the dataset states (`crops_faces`), and not with prepared crops.
        **options: See `SingleDataModule` and the dataset.
    """

    dataset_class: ClassVar[type[AffectDataset]]
    _given: ClassVar[frozenset[str]] = frozenset({"root", "split", "sampler", "transform", "pictures"})

    def __init__(
        self,
        root: str,
        *,
        num_frames: int | None = None,
        size: int | None = None,
        train_frames: FrameSampler | None = None,
        eval_frames: FrameSampler | None = None,
        train_transform: ClipTransform | None = None,
        eval_transform: ClipTransform | None = None,
        final_transform: ClipTransform | None = None,
        crop_faces: bool | None = None,
        **options: Any,
    ) -> None:
        kind = self.dataset_class
        own = self._dataset_options(kind)
        super().__init__(**{name: value for name, value in options.items() if name not in own})
        self.root = Path(root)
        self.num_frames = num_frames or kind.clip_frames
        self.train_frames = train_frames
        self.eval_frames = eval_frames
        self.size = size
        self.train_transform = train_transform
        self.eval_transform = eval_transform
        self.final_transform = final_transform
        self.options = {name: value for name, value in options.items() if name in own}
        self.told_to_crop = crop_faces
        self.crop_faces = crop_faces
        if crop_faces is None:
            self.crop_faces = kind.crops_faces and self.options.get("prepared") is None

    def __init_subclass__(cls, **options: Any) -> None:
        """Give the constructor the complete signature, against which recipes are checked."""
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
        """Options of a dataset that a user may set."""
        given = cls._given | dataset.sampling(1).keys()
        options = keyword_options(dataset)
        return {name: parameter for name, parameter in options.items() if name not in given}

    def make_dataset(self, split: Split) -> AffectDataset:
        """See `SingleDataModule`."""
        sampler = self.train_frames if split == "train" else self.eval_frames
        options = {} if sampler is None else {"sampler": sampler}
        return self._open(split, transform=self.transform(train=split == "train"), **options)

    def transform(self, *, train: bool) -> ClipTransform:
        """Transform of clips: that of the recipe, or the corpus's usual one to the size of the model's pictures.

        Cropped faces have this size already. Those of models with signals are not augmented by default: signals
        know nothing of random crops.
        """
        chosen = self.train_transform if train else self.eval_transform
        if chosen is None:
            measures = self.model is not None and bool(self.model.signals)
            plain = self.crops and (measures or not train)
            chosen = Compose([]) if plain else self.dataset_class.default_transform(self.side, train=train)
        return chosen if self.final_transform is None else Compose([chosen, self.final_transform])

    @property
    def crops(self) -> bool:
        """Whether faces are cropped: not for a model that states whole pictures, or that reads none."""
        model = self.model
        fits = model is None or (model.reads_pictures and model.input_spec.alignment != "frame")
        return bool(self.crop_faces) and fits

    @property
    def side(self) -> int:
        """Side of the pictures in pixels."""
        if self.size is not None or self.model is None or self.final_transform is not None:
            return self.size or _SIDE
        return self.model.input_spec.size if self.model.reads_pictures else _SIDE

    @property
    def input_format(self) -> dict[str, Any]:
        """See `TrainingStatistics`."""
        frames: int | None = self.num_frames
        if self.train_frames is not None:
            frames = getattr(self.train_frames, "num_frames", None)
        return find_format(
            self.datasets["train"],
            self.datasets["val"],
            frames,
            has_pictures=self.model is None or self.model.reads_pictures,
        )

    def evaluate_only(self, model: ModelInput) -> None:
        """See `SingleDataModule`; the model decides the pictures, without the recipe's transform.

        Faces are cropped as the model says, unless it is one of whole pictures or the recipe states that the media are
        crops.
        """
        super().evaluate_only(model)
        self.crop_faces = self.told_to_crop is not False
        self.size, self.eval_transform, self.final_transform = None, None, None

    @property
    def measures(self) -> bool:
        """See `SingleDataModule`."""
        return super().measures or self.crops or bool(self.options.get("signals"))

    def _open(self, split: Split | Literal["all"], **options: Any) -> AffectDataset:
        given = {**self.dataset_class.sampling(self.num_frames), **self.options, **options}
        if self.crops:
            given["pictures"] = self.side if self.model is None else self.model.input_spec
        if self.model is not None:
            signals = dict.fromkeys((*given.get("signals", ()), *self.model.signals))
            given |= {"signals": tuple(signals)} if signals else {}
            given |= {} if self.model.reads_pictures else {"pictures": "none"}
        return self.dataset_class(self.root, split=split, **given)


class FoldDataModule(CorpusDataModule):
    """Datamodule of a published corpus: a fold of one of its protocols.

    Args:
        root: Folder of the corpus, as distributed.
        fold: Fold of the protocol; `affectkit crossval` sets it.
        protocol: Name of the protocol, the corpus's usual one by default; `affectkit crossval` sets it.
        split_seed: Seed of the selection of validation subjects.
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
        self.whole = False

    @property
    def fold_protocol(self) -> Protocol:
        """The protocol of the folds."""
        return self.dataset_class.find_protocol(self.protocol_name)

    @property
    def protocol(self) -> str:
        """See `SingleDataModule`."""
        if self.whole:
            return f"{self.dataset_class.name}: all subjects, no training on them"
        return self.fold_protocol.description + ("" if self.fold is None else f"; fold {self.fold}")

    def evaluate_only(self, model: ModelInput) -> None:
        """See `SingleDataModule`; without a fold, on all subjects, because none of them is needed for training."""
        super().evaluate_only(model)
        self.whole = self.fold is None and len(self.folds()) > 1

    def folds(self) -> tuple[Fold, ...]:
        """All folds of the protocol."""
        return self._open("all").folds()

    def _open(self, split: Split | Literal["all"], **options: Any) -> Corpus:
        fold = {"fold": self.fold, "protocol": self.protocol_name, "seed": self.split_seed}
        return cast("Corpus", super()._open("all" if self.whole else split, **fold, **options))


class RenderedDataModule(CorpusDataModule):
    """Datamodule of a rendered corpus (see `affectkit.datasets.RenderedDataset`), rendered first if it is missing.

    Args:
        root: Folder of the corpus.
        render: Settings of `affectkit.synth.render_corpus`; without them the corpus must exist.
        **options: See `CorpusDataModule`.
    """

    dataset_class = RenderedDataset

    def __init__(self, root: str, *, render: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(root, **options)
        self.render = render

    def check(self, stage: str) -> None:
        """See `SingleDataModule`; a corpus that is rendered first has nothing to check."""
        if self.render is None:
            super().check(stage)

    def prepare_data(self) -> None:
        """Render the corpus, unless there is one with the same settings."""
        if self.render is not None:
            from affectkit.synth import render_corpus

            render_corpus(self.root, **self.render)
        super().prepare_data()


@functools.cache
def datamodule_of(dataset_class: type[AffectDataset]) -> type[CorpusDataModule]:
    """The datamodule class of a dataset: `BP4DDataModule` of `BP4D`, `TableDataModule` of `TableDataset`.

    Example:
        >>> from affectkit.datasets import find_corpus
        >>> datamodule_of(find_corpus("bp4d")).__name__
        'BP4DDataModule'
    """
    if dataset_class is RenderedDataset:
        return RenderedDataModule
    base = FoldDataModule if issubclass(dataset_class, Corpus) else CorpusDataModule
    doc = f"{inspect.getdoc(dataset_class)}".partition("\n")[0]
    members = {"dataset_class": dataset_class, "__doc__": doc, "__module__": "affectkit.datamodules"}
    return type(f"{dataset_class.__name__.removesuffix('Dataset')}DataModule", (base,), members)
