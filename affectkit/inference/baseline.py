"""What a person's face does beyond what it always looks like: predictions less the person's own usual value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from affectkit.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["subtract_baseline"]

_LEAST = 30  # values of a person


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
