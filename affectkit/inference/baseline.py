"""Person baselines: values minus what a person shows at rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, log
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from affectkit.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from affectkit.inference.predictor import Row

__all__ = ["Baseline", "RunningBaseline", "apply_baseline", "subtract_baseline", "unit_columns"]

Floats = npt.NDArray[np.float64]
Amounts = dict[str, dict[str, float]]

_REST: Final = 2.0  # logits below its threshold at which a unit counts as absent
_NEAR: Final = 1e-6  # of probabilities to 0 and 1
_UNIT: Final = re.compile(r"(?:.*\.)?AU\d\d[LR]?")
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")
_BINS: Final = 480
_LOW, _HIGH = -12.0, 12.0  # of the bins


@dataclass(frozen=True)
class Baseline:
    r"""Estimate of each person's values at rest, and its subtraction.

    Low brows, or drooping corners of the mouth, look like weak action units in every frame of a person. The calmest
    frames of a person, those with the smallest sum of intensities (of probabilities without intensities), show the
    face at rest, however expressive the other frames are. The values at rest are the medians q over these frames. A
    clip without any frame at rest would lose what it shows, so the amount is bounded:

    * intensities: :math:`b = \min(q, b_{max})`, and :math:`\max(x - b, 0)` remains;
    * probabilities, on the scale of logits: :math:`b = \min(\max(q - r, 0), b_{max})`, where r is 2 below the logit of
      the unit's threshold, so that a unit that is clearly absent at rest does not change.

    A value then depends on **all frames of the person**, and cutting the video may change it.

    Args:
        quantile: Share of the person's frames that count as calm, in [0, 1]; at least one frame does.
        most_intensity: Largest amount for intensities, on the scale 0 to 5.
        most_logit: Largest amount for logits of probabilities.
        least: Least number of frames of a person; the values of others stay as they are.
        neutral: Neutral frames in place of the quantile: start and end in seconds, or a photo whose largest face is the
            person, for all faces of a video. The amount is their median and is not bounded.
        is_causal: Estimate from the past frames only, for cameras: q is then the quantile of each value over them. The
            amount changes from row to row.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> Baseline.parse("1.5-3").neutral
        (1.5, 3.0)
    """

    quantile: float = 0.1
    most_intensity: float = 2.0
    most_logit: float = 3.0
    least: int = 30
    neutral: tuple[float, float] | Path | None = None
    is_causal: bool = False

    def __post_init__(self) -> None:
        bounds = min(self.most_intensity, self.most_logit)
        if not (0 <= self.quantile <= 1 and isfinite(bounds) and bounds >= 0 and self.least >= 1):
            raise ConfigError(
                f"The baseline with quantile {self.quantile}, bounds {self.most_intensity} and {self.most_logit} and "
                f"least {self.least} is out of range.",
                remedy="Give a quantile from 0 to 1, bounds of 0 or more, and a least of 1 or more.",
            )
        if isinstance(self.neutral, tuple) and not 0 <= self.neutral[0] < self.neutral[1]:
            start, end = self.neutral
            raise ConfigError(
                f"The neutral span {start:g}-{end:g} does not end after its start.",
                remedy="Give two times in seconds, such as 0-2.5.",
            )
        if self.neutral is not None and self.is_causal:
            raise ConfigError("A baseline with neutral frames is not causal.", remedy="Omit one of them.")

    @classmethod
    def parse(cls, text: str) -> Baseline:
        """Read "START-END" in seconds, or the path of a neutral photo.

        Raises:
            ConfigError: There is no such file, or the span is empty.
        """
        span = _SPAN.fullmatch(text)
        if span is not None:
            return cls(neutral=(float(span[1]), float(span[2])))
        if not Path(text).is_file():
            raise ConfigError(
                f"There is no neutral photo {text!r}.",
                remedy="Give a photo, or a span in seconds, such as 0-2.5.",
            )
        return cls(neutral=Path(text))

    def metadata(self, values: Mapping[str, float] | None = None) -> dict[str, Any]:
        """Plain metadata.

        Args:
            values: Values of the neutral photo by column.
        """
        entry: dict[str, Any] = {"least": self.least, "is_causal": self.is_causal}
        if self.neutral is None:
            return {
                "quantile": self.quantile,
                "most_intensity": self.most_intensity,
                "most_logit": self.most_logit,
                **entry,
            }
        if isinstance(self.neutral, Path):
            return {"neutral_photo": self.neutral.name, "neutral_values": dict(values or {})}
        return {"neutral_seconds": list(self.neutral)}


def unit_columns(heads: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Columns that have baselines: thresholds of probabilities of action units by name, None for intensities.

    Args:
        heads: Entry of the metadata; see `Predictor.metadata`.

    Example:
        >>> unit_columns({"au": {"columns": ["AU12"], "values": "probability", "thresholds": {"AU12": 0.4}}})
        {'AU12': 0.4}
    """
    columns: dict[str, float | None] = {}
    for head in heads.values():
        for name in head["columns"]:
            if str(head["values"]).startswith("intensity"):
                columns[name] = None
            elif head["values"] == "probability" and _UNIT.fullmatch(name):
                columns[name] = head.get("thresholds", {}).get(name, 0.5)
    return columns


class Scales:
    """Values of columns on the scales on which baselines are subtracted.

    Args:
        columns: Thresholds of probabilities by name, None for intensities; see `unit_columns`.
        entry: Metadata of the baseline.
    """

    def __init__(self, columns: Mapping[str, float | None], entry: Mapping[str, Any]) -> None:
        self.names = list(columns)
        self.entry = dict(entry)
        self.is_logit = np.array([limit is not None for limit in columns.values()], dtype=bool)
        self._rest = np.array([0.0 if limit is None else _logit(limit) - _REST for limit in columns.values()])
        bounds = (entry.get("most_intensity", np.inf), entry.get("most_logit", np.inf))
        self._most = np.where(self.is_logit, bounds[1], bounds[0]).astype(float)

    def raise_(self, values: Floats) -> Floats:
        """Intensities, and logits of probabilities; [N, C]."""
        near = np.clip(values, _NEAR, 1 - _NEAR)
        raised: Floats = np.where(self.is_logit, np.log(near) - np.log1p(-near), values)
        return raised

    def bound(self, at_rest: Floats) -> Floats:
        """Amounts [C] to subtract for values at rest [C] on the scales; NaN counts as 0."""
        amounts: Floats = np.nan_to_num(np.clip(at_rest - self._rest, 0, self._most))
        return amounts

    def subtract(self, values: Floats, amounts: Floats) -> Floats:
        """Values [N, C] less amounts [C] or [N, C]; those without an amount are unchanged."""
        scaled = self.raise_(values) - amounts
        lower = np.where(self.is_logit, 1 / (1 + np.exp(-scaled)), np.maximum(scaled, 0))
        less: Floats = np.where(amounts > 0, lower, values)
        return less

    def fit(self, faces: Sequence[Any], times: Floats, values: Floats) -> Amounts:
        """Amounts by face and column.

        Args:
            faces: Person of each row.
            times: [N], seconds.
            values: [N, C]; NaN in rows without values.
        """
        found: Amounts = {}
        scaled, people = self.raise_(values), np.array([_key(face) for face in faces], dtype=object)
        photo = self.entry.get("neutral_values")
        span = self.entry.get("neutral_seconds")
        known = ~np.isnan(values).all(axis=1) if len(self.names) else np.zeros(len(values), dtype=bool)
        for person in dict.fromkeys(people[known]):
            rows = known & (people == person)
            if photo is not None:
                given = np.array([[photo.get(name, np.nan) for name in self.names]], dtype=float)
                at_rest = self.raise_(given)[0]
            else:
                if span is not None:
                    rows &= (times >= span[0]) & (times <= span[1])
                if rows.sum() < (1 if span is not None else self.entry["least"]):
                    found[person] = {}
                    continue
                chosen = np.flatnonzero(rows)
                if span is None:
                    columns = self.is_logit.all() | ~self.is_logit  # intensities, if there are any
                    strength = np.nansum(values[np.ix_(chosen, columns)], axis=1)
                    count = max(1, round(self.entry["quantile"] * len(chosen)))
                    chosen = chosen[np.argsort(strength, kind="stable")[:count]]
                at_rest = np.nanmedian(scaled[chosen], axis=0)
            amounts = self.bound(at_rest).tolist()
            found[person] = {name: round(b, 6) for name, b in zip(self.names, amounts, strict=True) if b > 0}
        return found

    def amounts(self, faces: Sequence[Any], found: Mapping[str, Mapping[str, float]]) -> Floats:
        """Amounts [N, C] of rows."""
        table = {
            person: np.array([one.get(name, 0.0) for name in self.names]) for person, one in found.items()
        }
        none = np.zeros(len(self.names))
        return np.array([table.get(_key(face), none) for face in faces]).reshape(-1, len(self.names))


class RunningBaseline:
    """Baselines from the past frames of each person only, in constant memory.

    Quantiles are read from histograms with bins of 0.05, so the order of past frames does not count.

    Args:
        heads: Entry of the metadata; see `Predictor.metadata`.
        baseline: The baseline; only its quantile, bounds and least number of frames count.

    Raises:
        ConfigError: The model predicts no action units.

    Example:
        >>> from affectkit.inference import Row
        >>> running = RunningBaseline({"i": {"columns": ["AU12_i"], "values": "intensity 0-5"}}, Baseline(least=1))
        >>> rows = (Row(k, k / 25, True, {"AU12_i": x}, face=0) for k, x in enumerate((0.4, 3.0)))
        >>> [round(row.values["AU12_i"], 1) for row in running(rows)]
        [0.0, 2.6]
    """

    def __init__(self, heads: Mapping[str, Mapping[str, Any]], baseline: Baseline | None = None) -> None:
        entry = replace(baseline or Baseline(), is_causal=True).metadata()
        self._scales = Scales(_some(unit_columns(heads)), entry)
        self._counts: dict[str, npt.NDArray[np.int64]] = {}

    def __call__(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Subtract the baselines of rows as they come; `Row.baseline` holds the amounts."""
        names = self._scales.names
        for row in rows:
            if not row.success:
                yield row
                continue
            values = np.array([row.values[name] for name in names])
            amounts = self.add(row.face, values)
            less = self._scales.subtract(values[None], amounts)[0]
            subtracted = {name: float(b) for name, b in zip(names, amounts, strict=True) if b > 0}
            yield replace(
                row,
                values={**row.values, **dict(zip(names, less.tolist(), strict=True))},
                baseline=subtracted,
            )

    def add(self, face: Any, values: Floats) -> Floats:
        """Count the values [C] of the next frame of a person, and return the amounts [C] for it."""
        columns = np.arange(len(self._scales.names))
        counts = self._counts.setdefault(_key(face), np.zeros((len(columns), _BINS), dtype=np.int64))
        scaled = self._scales.raise_(values[None])[0]
        known = ~np.isnan(scaled)
        place = (np.nan_to_num(scaled) - _LOW) / (_HIGH - _LOW) * _BINS
        counts[columns[known], np.clip(place, 0, _BINS - 1).astype(int)[known]] += 1
        total = counts.sum(axis=1)
        entry = self._scales.entry
        reached = counts.cumsum(axis=1) >= np.maximum(1, entry["quantile"] * total)[:, None]
        at_rest = _LOW + (reached.argmax(axis=1) + 0.0) * (_HIGH - _LOW) / _BINS
        amounts: Floats = np.where(total >= entry["least"], self._scales.bound(at_rest), 0.0)
        return amounts


def subtract_baseline(
    table: pd.DataFrame, baseline: Baseline | None = None, *, by: str | Sequence[str] = "face"
) -> pd.DataFrame:
    """Subtract baselines from a table that was made without them.

    Args:
        table: One row per face and frame, as from `read_table` or `to_frame`; rows without `success` are ignored.
        baseline: The baseline; by default `Baseline()`. Not causal, and without a photo.
        by: Column, or columns, that identify the person; without such a column all rows are one person.

    Returns:
        A copy with changed values. `attrs["affectkit"]` has `baseline`, the description, and `baselines`, the amounts
        by person and column: logits for probabilities.

    Raises:
        ConfigError: The table has no action units or has a baseline already, or the baseline does not fit.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"face": [0, 0, 0, 1], "AU12_i": [0.5, 0.5, 4.0, 2.0]})
        >>> subtract_baseline(table, Baseline(least=2))["AU12_i"].tolist()
        [0.0, 0.0, 3.5, 2.0]
    """
    baseline = baseline or Baseline()
    if baseline.is_causal or isinstance(baseline.neutral, Path):
        raise ConfigError(
            "A table takes no causal baseline and no neutral photo.",
            remedy="Use them while predicting, see `write_predictions`.",
        )
    return apply_baseline(table, baseline.metadata(), by=by)


def apply_baseline(
    table: pd.DataFrame, entry: Mapping[str, Any], *, by: str | Sequence[str] = "face"
) -> pd.DataFrame:
    """Subtract the baseline that an entry of metadata describes; see `subtract_baseline`."""
    about = table.attrs.get("affectkit", {})
    if about.get("baseline"):
        raise ConfigError("The table has a baseline already.", remedy="Predict it with --no-baseline.")
    columns = unit_columns(about.get("heads", {}))
    columns = columns or {name: None for name in table.columns if str(name).endswith(("_i", "_r"))}
    scales = Scales(_some({name: limit for name, limit in columns.items() if name in table.columns}), entry)
    people = [name for name in ([by] if isinstance(by, str) else by) if name in table.columns]
    faces: list[Any] = [0] * len(table)
    if people:
        rows = table[people].itertuples(index=False, name=None)
        faces = [row[0] if len(row) == 1 else row for row in rows]
    given = table[scales.names].to_numpy(dtype=float, na_value=np.nan)
    values, times = given.copy(), np.full(len(table), np.nan)
    if "success" in table.columns:
        values[~table["success"].to_numpy(dtype=bool)] = np.nan
    if "timestamp" in table.columns:
        times = table["timestamp"].to_numpy(dtype=float, na_value=np.nan)
    amounts = scales.fit(faces, times, values)
    result = table.copy()
    result[scales.names] = scales.subtract(given, scales.amounts(faces, amounts))
    described = {**about, "baseline": {**entry, "by": people}, "baselines": amounts}
    result.attrs = {**table.attrs, "affectkit": described}
    return result


def _some(columns: dict[str, float | None]) -> dict[str, float | None]:
    if not columns:
        raise ConfigError(
            "There are no action units, so there is no baseline to subtract.",
            remedy="Omit the baseline: --no-baseline.",
        )
    return columns


def _logit(probability: float) -> float:
    near = min(1 - _NEAR, max(_NEAR, probability))
    return log(near / (1 - near))


def _key(face: Any) -> str:
    """Name of a person in the metadata."""
    if isinstance(face, tuple):
        return ", ".join(map(_key, face))
    return str(int(face)) if isinstance(face, (int, float, np.number)) and face == face else str(face)
