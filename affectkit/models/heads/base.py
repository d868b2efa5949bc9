"""The contract of a head, and what all heads share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from torch import Tensor, nn

from affectkit.errors import ConfigError, LabelSpaceError, WeightsError
from affectkit.facs import AUSet, LabelSpace, label_space
from affectkit.models import hub
from affectkit.models.explain import Explanation
from affectkit.models.features import Features
from affectkit.models.registry import build, find, list_models, name_of, register

if TYPE_CHECKING:
    from affectkit.models.model import AffectModel

__all__ = ["Head", "register"]


class Head(nn.Module, ABC):
    """Reads one label space off features, through a linear layer or one hidden layer.

    It knows its labels by name, its decision thresholds and its temperature, and can be saved and loaded
    without the model around it, inside any torch module. A subclass is registered under a name and sets
    `target` and `kind`.

    Args:
        in_features: Width of what it reads.
        space: Label space, or its name: "bp4d12", "AU1,AU12", "basic7".
        per_frame: Answer for every frame instead of once a clip.
        dropout: Probability, before each linear layer.
        hidden: Width of a hidden layer with GELU; none by default.

    Attributes:
        space: The label space.
        target: Name of the annotation it learns from.
        thresholds: One decision threshold a label for multilabel heads, empty for others.
        temperature: What logits are divided by before they become probabilities.
        uses_prototypes: Whether it compares what it sees with a prototype of each label, which a bridge makes. Such a
            head has a buffer `prototypes` [labels, `width`], takes others as the second argument of `forward`, and
            overrides `by_prototypes`.
        width: Width of what prototypes are compared with.
        answers_by: What its answers rest on, for people.
        sees_movements: Whether it was made for clips of brief movements, from onset to apex.
        arguments: Constructor arguments beside `in_features`, plain values; a subclass adds its own.

    Raises:
        LabelSpaceError: The name is unknown or its kind is not this head's.
    """

    target: ClassVar[str]
    kind: ClassVar[Literal["multilabel", "multiclass", "ordinal"]]
    uses_prototypes: bool = False
    prototypes: Tensor
    answers_by: str = "linear layer"
    sees_movements: ClassVar[bool] = False

    def __init__(
        self,
        in_features: int,
        space: str | LabelSpace,
        *,
        per_frame: bool = False,
        dropout: float = 0.0,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        self.space: LabelSpace = label_space(space) if isinstance(space, str) else space
        if self.space.kind != self.kind:
            raise LabelSpaceError(
                f"{type(self).__name__} needs {self.kind} labels; {self.space.name!r} is {self.space.kind}.",
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
        self.thresholds: tuple[float, ...] = (0.5,) * len(self.space) if self.kind == "multilabel" else ()
        self.temperature = 1.0
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        if hidden is not None:
            layers += [nn.Linear(in_features, hidden), nn.GELU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers)
        self.out = nn.Linear(hidden or in_features, len(self.space))

    @property
    def config(self) -> dict[str, Any]:
        """What `affectkit.models.build` needs beside `in_features` to build an equal head."""
        return {"type": name_of("head", self), **self.arguments}

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the outputs."""
        return tuple(self.space.labels)

    @property
    def columns(self) -> tuple[str, ...]:
        """Labels as table columns: `AU01` for occurrence, `AU01_i` for intensity, else the labels themselves."""
        if not isinstance(self.space, AUSet):
            return self.labels
        suffix = "_i" if self.kind == "ordinal" else ""
        return tuple(column + suffix for column in self.space.columns)

    def read(self, features: Features | Tensor) -> Tensor:
        """What the head looks at: a plain tensor as it is, or the vectors of the clip or of its frames.

        Args:
            features: Features, or a tensor [..., in_features] from any other network.

        Raises:
            ValueError: The head works on frames and there are none.
        """
        if not isinstance(features, Features):
            return features
        if not self.per_frame:
            return features.pooled
        if features.frames is None:
            raise ValueError("A per-frame head needs vectors of single frames, and this backbone gives none.")
        return features.frames

    def forward(self, features: Features | Tensor) -> Tensor:
        """Logits.

        Args:
            features: Features, or a tensor [..., in_features] from any other network.

        Returns:
            [B, labels], or [B, T, labels] where the head works on frames; [..., labels] for a tensor.
        """
        logits: Tensor = self.out(self.body(self.read(features)))
        return logits

    @abstractmethod
    def predict(self, logits: Tensor) -> Tensor:
        """The head's answer on the scale of its labels, calibrated by `temperature`.

        Args:
            logits: What `forward` returned.

        Returns:
            float32 [..., labels].
        """

    def explanations(self, model: AffectModel, name: str) -> tuple[Explanation, ...]:
        """What the head can show of what it learned; nothing by default.

        Args:
            model: The model around it.
            name: What the model calls it.
        """
        return ()

    def by_prototypes(self, space: LabelSpace | None = None, prototypes: Tensor | None = None) -> Head:
        """A head that answers by prototypes alone, over the same labels or others.

        Args:
            space: The labels; this head's by default.
            prototypes: [labels, `width`], of these labels; this head's by default.

        Raises:
            ConfigError: This head has no prototypes.
        """
        raise ConfigError(
            "This head has no prototypes to answer by.", remedy="Train one that has, such as those of SSM."
        )

    def scaled(self, logits: Tensor) -> Tensor:
        """Logits in float32 divided by the temperature, for `predict`."""
        return logits.float() / self.temperature

    def calibrate(
        self, *, thresholds: Sequence[float] | None = None, temperature: float | None = None
    ) -> None:
        """Set what was fitted on validation data; it is saved with the head.

        Args:
            thresholds: One a label, in [0, 1]; for multilabel heads.
            temperature: Positive and finite.

        Raises:
            ConfigError: The number of thresholds is not that of the labels, or a value is out of range.
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
        """Everything but the tensors, as a saved model's configuration holds it, label names spelled out."""
        return {
            **self.config,
            "in_features": self.in_features,
            "labels": list(self.labels),
            "thresholds": list(self.thresholds),
            "temperature": self.temperature,
        }

    @staticmethod
    def from_description(description: Mapping[str, Any], path: Path) -> Head:
        """Build an untrained head from its `description`.

        Args:
            description: As `description()` gave it.
            path: The file it came from, for messages.

        Raises:
            WeightsError: The names it was trained on are not, or not in this order, those of its label space
                now.
            ConfigError: An entry is unknown.
        """
        config = dict(description)
        labels = config.pop("labels", None)
        thresholds, temperature = config.pop("thresholds", None), config.pop("temperature", None)
        head: Head = build(
            "head", config, **{key: config.pop(key) for key in ("in_features",) if key in config}
        )
        if labels != list(head.labels):
            raise WeightsError(
                f"The head was trained on {labels}, and {head.space.name!r} now means {list(head.labels)}.",
                path=path,
                remedy="Write the labels out as its `space` in config.json.",
            )
        head.calibrate(thresholds=thresholds, temperature=temperature)
        return head

    def save_pretrained(
        self, folder: str | Path, *, name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Save this head alone, as a model folder without a backbone.

        Args:
            folder: Created when absent.
            name: The head's name in the folder; its target by default.
            metadata: Plain values about data, licence and results, kept in the configuration.

        Raises:
            ConfigError: The name is not lower-case letters, digits and underscores.
        """
        name = hub.check_head_name(name or self.target)
        hub.write_tensors(Path(folder) / "heads" / f"{name}.safetensors", self)
        hub.write_config(
            Path(folder), {"heads": {name: self.description()}, "metadata": dict(metadata or {})}
        )

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, name: str | None = None, revision: str | None = None
    ) -> Self:
        """Load one head, from a folder that holds it alone or from that of a whole model.

        Args:
            folder: Local folder, or the name of a Hub repository.
            name: Which head; not needed where only one is of this class.
            revision: Branch, tag or commit on the Hub.

        Raises:
            WeightsError: There is no such head, several could be meant, or its tensors do not fit by name and
                shape.
        """
        path = hub.locate(folder, revision, heads_only=True)
        heads = hub.read_config(path)["heads"]
        fitting = [key for key in heads if name in (None, key) and issubclass(_class_of(heads[key]), cls)]
        if len(fitting) != 1:
            kinds = ", ".join(f"{key} ({entry.get('type')})" for key, entry in heads.items()) or "none"
            raise WeightsError(
                f"{'More than one' if fitting else 'No'} {cls.__name__} {repr(name) if name else 'is here'}.",
                path=path,
                remedy=f"Heads in this folder: {kinds}. Choose one by `name`.",
            )
        with hub.explained_by(path / "config.json"):
            head = Head.from_description(heads[fitting[0]], path / "config.json")
        file = path / "heads" / f"{fitting[0]}.safetensors"
        hub.load_strictly(head, hub.read_tensors(file), file)
        return head.eval()  # type: ignore[return-value]  # chosen by its class above


def _class_of(description: Mapping[str, Any]) -> type:
    """The class a description names, or `object` where this version does not know it."""
    name = description.get("type")
    return find("head", name) if name in list_models("head") else object
