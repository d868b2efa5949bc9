"""Person baselines: intensities minus the usual value of each person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from affectkit.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["describe_baseline", "subtract_baseline"]

_LEAST = 30  # values of a person


def describe_baseline(heads: Mapping[str, Mapping[str, Any]], quantile: float) -> dict[str, Any]:
    """Make the metadata entry `baseline`, with which `TableWriter` subtracts baselines.

    Args:
        heads: Entry of the metadata; see `Predictor.metadata`.
        quantile: Quantile of the baseline, in [0, 1].

    Returns:
        Arguments of `subtract_baseline`.

    Raises:
        ConfigError: The model predicts no intensities, or the quantile is out of range.

    Example:
        >>> heads = {"intensity": {"columns": ["AU12_i"], "values": "intensity 0-5"}}
        >>> describe_baseline(heads, 0.5)
        {'columns': ['AU12_i'], 'by': ['face'], 'quantile': 0.5, 'least': 30}
    """
    if not 0 <= quantile <= 1:
        raise ConfigError(f"The quantile {quantile} is not in [0, 1].", remedy="Give 0.5 for the median.")
    columns = [
        c for head in heads.values() if head["values"].startswith("intensity") for c in head["columns"]
    ]
    if not columns:
        raise ConfigError(
            "The model predicts no intensities, so there is no baseline to subtract.",
            remedy="Omit the baseline: a probability minus a number is not a probability.",
        )
    return {"columns": columns, "by": ["face"], "quantile": quantile, "least": _LEAST}


def subtract_baseline(
    table: pd.DataFrame,
    columns: Sequence[str] | None = None,
    *,
    by: str | Sequence[str] = "face",
    quantile: float = 0.5,
    least: int = _LEAST,
) -> pd.DataFrame:
    r"""Subtract each person's usual value :math:`q_p` from the values: :math:`\max(x - q_p(x), 0)`.

    Low brows, or drooping corners of the mouth, look like weak action units in every frame of a person. The quantile
    over the person's frames removes this: the median if the face is mostly at rest, a lower one otherwise. It is never
    done unless asked, because a value then **depends on all frames of the person**, so cutting the video changes it;
    and a probability minus a number **is not a probability**, so thresholds do not apply to it.

    Args:
        table: One row per face and frame, as from `read_table`; rows without `success` are ignored.
        columns: Columns to change; by default the intensities, whose names end in `_i` or `_r`.
        by: Column, or columns, that identify the person; without such a column all rows are one person.
        quantile: Quantile of the baseline, in [0, 1].
        least: Minimum number of values of a person; with fewer, the person's values become NaN.

    Returns:
        A copy with changed columns; `attrs["affectkit"]["baseline"]` describes the change.

    Raises:
        ConfigError: A column is missing, there are no intensities, or a number is out of range.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"face": [0, 0, 0, 1], "AU12_i": [1.0, 1.5, 4.0, 2.0]})
        >>> subtract_baseline(table, least=1)["AU12_i"].tolist()
        [0.0, 0.0, 2.5, 0.0]
    """
    if not 0 <= quantile <= 1 or least < 1:
        raise ConfigError(f"quantile={quantile} must be in [0, 1], and least={least} at least 1.")
    chosen = [c for c in table.columns if c.endswith(("_i", "_r"))] if columns is None else list(columns)
    if absent := [name for name in chosen if name not in table.columns]:
        raise ConfigError(f"The table has no column {', '.join(absent)}.", remedy="Check its header.")
    if not chosen:
        raise ConfigError("The table has no intensities.", remedy="Name the columns to change.")
    people = [name for name in ([by] if isinstance(by, str) else by) if name in table.columns]
    values = table[chosen].astype(float)
    if "success" in table.columns:
        values = values.where(table["success"].astype(bool))
    keys: list[Any] = [table[name] for name in people] or [[0] * len(table)]
    groups = values.groupby(keys, dropna=False)
    usual, count = groups.transform(lambda x: x.quantile(quantile)), groups.transform("count")
    result = table.copy()
    result[chosen] = (values - usual).clip(lower=0).where(count >= least)
    entry = {"columns": chosen, "by": people, "quantile": quantile, "least": least}
    result.attrs = {**table.attrs, "affectkit": {**table.attrs.get("affectkit", {}), "baseline": entry}}
    return result
