"""Base class of all heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch import Tensor, nn

from affectkit.errors import ConfigError, LabelSpaceError, WeightsError
from affectkit.facs import LabelSpace, label_space
from affectkit.models import hub
from affectkit.models.explain import Explanation
from affectkit.models.features import Features
from affectkit.models.registry import build, find, list_models, name_of

if TYPE_CHECKING:
    from affectkit.models.model import AffectModel

__all__ = ["Head"]


class FeatureNorm(nn.BatchNorm1d):
    """Batch normalisation of the last axis, over all others: [..., D]."""

    def forward(self, values: Tensor) -> Tensor:
        """Normalise [..., D]."""
        return super().forward(values.reshape(-1, values.shape[-1])).reshape(values.shape)


class Head(nn.Module, ABC):
    """Base class of heads: features to logits over one label space, through a linear layer or one hidden layer.

    A head holds its label names, decision thresholds and temperature. It can be saved and loaded without its model and
    used inside any torch module. A subclass is registered under a name, sets `target`, `kind`, `values` and `meaning`,
    and implements `predict`.

    Args:
        in_features: Width of the features.
        space: Label space, or its name: "bp4d12", "AU1,AU12", "basic7".
        per_frame: Predict for every frame instead of once per clip.
        dropout: Probability, before each linear layer.
        hidden: Width of a hidden layer with GELU; none by default.
        batch_norm: Use ReLU, then batch normalisation, in the hidden layer instead of GELU, without dropout before it.
        target: Name of the annotation to learn from; the class's `target` by default.

    Attributes:
        kind: The kind of label space.
        values: Unit of a prediction in tables: "probability", "value".
        meaning: Description of a prediction, such as "probability of each unit".
        has_thresholds: Whether each label has a decision threshold.
        loss: Name of its default loss; None for that of the kind of label space.
        logit_axes: Number of logit axes after clips and frames.
        thresholds: One decision threshold per label, or empty.
        temperature: Divisor of the logits before they become probabilities.
        uses_prototypes: Whether the head compares features with one prototype per label, made by a bridge. Such a head
            has a buffer `prototypes` [labels, `width`], takes other prototypes as second argument of `forward`, and
            implements `by_prototypes`.
        width: Width of prototypes.
        answers_by: Basis of the predictions, for reports: "linear layer", "prototypes".
        sees_movements: Whether the head expects clips of brief movements, from onset to apex.
        describes: Whether the head also describes a face in a sentence; it then implements `describe`.
        arguments: Constructor arguments except `in_features`, plain values; a subclass adds its own.

    Raises:
        LabelSpaceError: The name is unknown, or its kind differs from the head's.
        ConfigError: `batch_norm` is set without `hidden`.
    """

    target: str
    kind: ClassVar[str]
    values: ClassVar[str] = "value"
    meaning: ClassVar[str] = "value of each label"
    has_thresholds: ClassVar[bool] = False
    loss: ClassVar[str | None] = None
    logit_axes: ClassVar[int] = 1
    uses_prototypes: bool = False
    prototypes: Tensor
    answers_by: str = "linear layer"
    sees_movements: ClassVar[bool] = False
    describes: ClassVar[bool] = False

    def __init__(
        self,
        in_features: int,
        space: str | LabelSpace,
        *,
        per_frame: bool = False,
        dropout: float = 0.0,
        hidden: int | None = None,
        batch_norm: bool = False,
        target: str | None = None,
    ) -> None:
        super().__init__()
        if batch_norm and hidden is None:
            raise ConfigError("`batch_norm` needs a hidden layer.", remedy="Set `hidden` to its width.")
        self.space: LabelSpace = label_space(space) if isinstance(space, str) else space
        if self.space.kind != self.kind:
            raise LabelSpaceError(
                f"{type(self).__name__} needs labels of {self.kind}; {self.space.name!r} is of {self.space.kind}.",
                remedy="Choose another space or another head.",
            )
        self.in_features = self.width = in_features
        self.per_frame = per_frame
        self.arguments: dict[str, Any] = {
            "space": self.space.name,
            "per_frame": per_frame,
            "dropout": dropout,
            "hidden": hidden,
        }
        if batch_norm:
            self.arguments["batch_norm"] = True
        if target is not None:
            self.target = self.arguments["target"] = target
        self.thresholds: tuple[float, ...] = (0.5,) * len(self.space) if self.has_thresholds else ()
        self.temperature = 1.0
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        if hidden is not None and batch_norm:
            layers = [nn.Linear(in_features, hidden), nn.ReLU(), FeatureNorm(hidden), nn.Dropout(dropout)]
        elif hidden is not None:
            layers += [nn.Linear(in_features, hidden), nn.GELU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers)
        self.out = nn.Linear(hidden or in_features, len(self.space))
        self.add_layers()

    def add_layers(self) -> None:
        """Add or replace layers of a subclass; called last by the constructor."""

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of `affectkit.models.build`, except `in_features`, for an equal head."""
        return {"type": name_of("head", self), **self.arguments}

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the outputs."""
        return tuple(self.space.labels)

    @property
    def columns(self) -> tuple[str, ...]:
        """Labels as table columns: `AU01` for occurrence, `AU01_i` for intensity, otherwise the labels."""
        return self.space.columns

    def read(self, features: Features | Tensor) -> Tensor:
        """Select the head's input: the clip or frame vectors of features, or a tensor as it is.

        Raises:
            ValueError: The head works per frame and the features have no frame vectors.
        """
        if not isinstance(features, Features):
            return features
        if not self.per_frame:
            return features.pooled
        if features.frames is None:
            raise ValueError("A per-frame head needs vectors of single frames; this backbone gives none.")
        return features.frames

    def forward(self, features: Features | Tensor) -> Tensor:
        """Compute logits.

        Args:
            features: Features, or a tensor [..., in_features] from any other network.

        Returns:
            [B, labels], or [B, T, labels] per frame; [..., labels] for a tensor.
        """
        logits: Tensor = self.out(self.body(self.read(features)))
        return logits

    @abstractmethod
    def predict(self, logits: Tensor) -> Tensor:
        """Predictions on the scale of the labels, calibrated by `temperature`: float32 [..., labels]."""

    def explanations(self, model: AffectModel, name: str) -> tuple[Explanation, ...]:
        """Figures of what the head, named `name` in this model, learned; none by default."""
        return ()

    def describe(self, features: Features, logits: Tensor) -> list[str]:
        """Describe each clip in a sentence.

        Args:
            features: Features of B clips.
            logits: The head's output for them.

        Raises:
            ConfigError: The head does not describe faces.
        """
        raise ConfigError("This head does not describe faces.", remedy="Train one that does.")

    def by_prototypes(self, space: LabelSpace | None = None, prototypes: Tensor | None = None) -> Head:
        """A head that predicts by prototypes alone, over the same or other labels.

        Args:
            space: The labels; this head's by default.
            prototypes: [labels, `width`], of these labels; this head's by default.

        Raises:
            ConfigError: This head has no prototypes.
        """
        raise ConfigError("This head has no prototypes.", remedy="Train one that has, such as those of SSM.")

    def evidence(self, logits: Tensor, value: Tensor) -> tuple[Tensor, Tensor] | None:
        """Pairs of logits and truth for `affectkit.metrics.log_loss`, which fits a temperature.

        Args:
            logits: Output of `forward` for N annotated entries, without the label axis if the target has one.
            value: [N], their labels; class indices for classes.

        Returns:
            Logits [n] and truth [n], or logits [n, E] and class indices [n]; None for a head without probabilities.
        """
        return (logits, value) if self.values == "probability" else None

    def scaled(self, logits: Tensor) -> Tensor:
        """Logits in float32, divided by the temperature."""
        return logits.float() / self.temperature

    def calibrate(
        self, *, thresholds: Sequence[float] | None = None, temperature: float | None = None
    ) -> None:
        """Set values that were fitted on validation data; they are saved with the head.

        Args:
            thresholds: One per label, in [0, 1]; for heads with thresholds.
            temperature: Positive and finite.

        Raises:
            ConfigError: The number of thresholds is wrong, or a value is out of range.
        """
        if thresholds is not None:
            values = tuple(float(value) for value in thresholds)
            if len(values) != len(self.thresholds) or not all(0 <= value <= 1 for value in values):
                raise ConfigError(
                    f"This head takes {len(self.thresholds)} thresholds in [0, 1], not {list(values)}."
                )
            self.thresholds = values
        if temperature is not None:
            if not 0 < temperature < inf:
                raise ConfigError(f"A temperature must be positive and finite, not {temperature}.")
            self.temperature = float(temperature)

    def description(self) -> dict[str, Any]:
        """Everything but the tensors, with label names, as a saved model's configuration stores it."""
        return {
            **self.config,
            "in_features": self.in_features,
            "labels": list(self.labels),
            "thresholds": list(self.thresholds),
            "temperature": self.temperature,
        }

    @staticmethod
    def from_description(description: Mapping[str, Any], path: Path) -> Head:
        """Build a head with random weights from its `description`, which the file `path` contains.

        Raises:
            WeightsError: The label names differ from those of the label space, or their order does.
            ConfigError: An entry is unknown.
        """
        extra = {key: description.get(key) for key in ("labels", "thresholds", "temperature")}
        head: Head = build("head", {key: value for key, value in description.items() if key not in extra})
        if extra["labels"] != list(head.labels):
            raise WeightsError(
                f"The head was trained on {extra['labels']}; {head.space.name!r} now means {list(head.labels)}.",
                path=path,
                remedy="Write the labels out as its `space` in config.json.",
            )
        head.calibrate(thresholds=extra["thresholds"], temperature=extra["temperature"])
        return head

    def save_pretrained(
        self, folder: str | Path, *, name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Save this head alone, as a model folder without a backbone.

        Args:
            folder: Created if absent.
            name: The head's name in the folder; its target by default.
            metadata: Plain values about data, licence and results, stored in the configuration.

        Raises:
            ConfigError: The name contains other characters than lower-case letters, digits and underscores.
        """
        name = hub.check_head_name(name or self.target)
        hub.write_tensors(Path(folder) / "heads" / f"{name}.safetensors", self)
        entries = {"heads": {name: self.description()}, "metadata": dict(metadata or {})}
        hub.write_config(Path(folder), entries)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, name: str | None = None, revision: str | None = None
    ) -> Self:
        """Load one head from the folder of a head or of a whole model.

        Args:
            folder: Local folder, or the name of a Hub repository.
            name: The head to load; needed only if several are of this class.
            revision: Branch, tag or commit on the Hub.

        Raises:
            WeightsError: No head or several heads match, or the tensors differ in name or shape.
        """
        path = hub.locate(folder, revision, heads_only=True)
        heads, known = hub.read_config(path)["heads"], list_models("head")
        classes = {
            key: find("head", e["type"]) if e.get("type") in known else object for key, e in heads.items()
        }
        matching = [key for key, kind in classes.items() if name in (None, key) and issubclass(kind, cls)]
        if len(matching) != 1:
            kinds = ", ".join(f"{key} ({entry.get('type')})" for key, entry in heads.items()) or "none"
            raise WeightsError(
                f"{'More than one' if matching else 'No'} {cls.__name__} {repr(name) if name else 'is here'}.",
                path=path,
                remedy=f"Heads in this folder: {kinds}. Choose one by `name`.",
            )
        with hub.explained_by(path / "config.json"):
            head = Head.from_description(heads[matching[0]], path / "config.json")
        file = path / "heads" / f"{matching[0]}.safetensors"
        hub.load_strictly(head, hub.read_tensors(file), file)
        return head.eval()  # type: ignore[return-value]  # chosen by its class above
