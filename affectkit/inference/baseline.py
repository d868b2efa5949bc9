"""What a person's face does beyond what it always looks like: predictions less the person's own usual value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from affectkit.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["describe_baseline", "subtract_baseline"]

_LEAST = 30  # values of a person


def describe_baseline(heads: Mapping[str, Mapping[str, Any]], quantile: float) -> dict[str, Any]:
    """Metadata entry that makes a table hold intensities less each person's usual ones.

    Args:
        heads: Of the metadata; see `Predictor.metadata`.
        quantile: The usual value as a quantile, in [0, 1].

    Returns:
        Entry `baseline` for the metadata of `TableWriter`: the arguments of `subtract_baseline`.

    Raises:
        ConfigError: The model predicts no intensities, or the quantile is out of range.

    Example:
        >>> heads = {"intensity": {"columns": ["AU12_i"], "values": "intensity 0-5"}}
        >>> describe_baseline(heads, 0.5)
        {'columns': ['AU12_i'], 'by': ['face'], 'quantile': 0.5, 'least': 30}
    """
    if not 0 <= quantile <= 1:
        raise ConfigError(
            f"The quantile {quantile} is not between 0 and 1.", remedy="Give 0.5 for the median."
        )
    found = [head for head in heads.values() if head["values"].startswith("intensity")]
    if not found:
        raise ConfigError(
            "The model predicts no intensities, so there is no baseline to subtract.",
            remedy="Leave the baseline out: a probability less a number is no probability.",
        )
    columns = [name for head in found for name in head["columns"]]
    return {"columns": columns, "by": ["face"], "quantile": quantile, "least": _LEAST}


def subtract_baseline(
    table: pd.DataFrame,
    columns: Sequence[str] | None = None,
    *,
    by: str | Sequence[str] = "face",
    quantile: float = 0.5,
    least: int = _LEAST,
) -> pd.DataFrame:
    r"""Subtract from each value the person's own usual one: :math:`x - q_p(x)`, and never less than 0.

    Brows that sit low, or corners of a mouth that hang, read as weak action units in every frame of a person. The
    quantile over the person's frames takes that away: the median where the face is mostly at rest, a lower one where
    it seldom is. Two things change with it, which is why nothing does it unless asked. A value then **depends on all
    frames of the person**, not on a window: cutting the video changes it. And a probability less a number **is no
    probability** any more: thresholds do not apply to it.

    Args:
        table: A row a frame and face, as `affectkit.inference.read_table` gives; rows without `success` have no part.
        columns: Which; by default the intensities, whose names end in `_i` or `_r`.
        by: Column, or columns, that say who it is; all rows are one person where there is no such column.
        quantile: Which quantile is the usual value, in [0, 1].
        least: Values that a person must have; fewer are no baseline, and the person's values become NaN.

    Returns:
        A copy with these columns changed; `attrs["affectkit"]["baseline"]` says so.

    Raises:
        ConfigError: A column is not there, none is an intensity, or a number is out of range.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"face": [0, 0, 0, 1], "AU12_i": [1.0, 1.5, 4.0, 2.0]})
        >>> subtract_baseline(table, least=1)["AU12_i"].tolist()
        [0.0, 0.0, 2.5, 0.0]
    """
    if not 0 <= quantile <= 1 or least < 1:
        raise ConfigError(f"quantile={quantile} must be in [0, 1], and least={least} at least 1.")
    chosen = (
        [name for name in table.columns if name.endswith(("_i", "_r"))] if columns is None else list(columns)
    )
    if absent := [name for name in chosen if name not in table.columns]:
        raise ConfigError(f"The table has no column {', '.join(absent)}.", remedy="Compare its header.")
    if not chosen:
        raise ConfigError(
            "The table has no intensities.",
            remedy="Name the columns, and read what it means for probabilities.",
        )
    people = [name for name in ([by] if isinstance(by, str) else by) if name in table.columns]
    values = table[chosen].astype(float)
    if "success" in table.columns:
        values = values.where(table["success"].astype(bool))
    whose: list[Any] = [table[name] for name in people] or [[0] * len(table)]
    groups = values.groupby(whose, dropna=False)
    usual, count = groups.transform(lambda x: x.quantile(quantile)), groups.transform("count")
    result = table.copy()
    result[chosen] = (values - usual).clip(lower=0).where(count >= least)
    said = {"columns": chosen, "by": people, "quantile": quantile, "least": least}
    result.attrs = {**table.attrs, "affectkit": {**table.attrs.get("affectkit", {}), "baseline": said}}
    return result
