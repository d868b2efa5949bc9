"""What sets of action units and of expressions share, so that configs and checkpoints hold plain names."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from affectkit.errors import LabelSpaceError
from affectkit.facs.expressions import EXPRESSION_SETS, ExpressionSet
from affectkit.facs.sets import AU_SETS, AUSet

__all__ = ["Kind", "LabelSpace", "label_space", "project"]

Kind = Literal["multilabel", "multiclass", "ordinal"]


@runtime_checkable
class LabelSpace(Protocol):
    """An ordered list of named labels.

    `kind` tells how a target is read: `multilabel` has one 0-or-1 value a label, `ordinal` one 0-to-5 value a
    label, `multiclass` one class index in all.
    """

    @property
    def name(self) -> str:
        """The text from which `label_space` makes an equal space."""
        ...

    @property
    def kind(self) -> Kind:
        """How a target in this space is read."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels in index order."""
        ...

    def __len__(self) -> int: ...


def label_space(text: str) -> AUSet | ExpressionSet:
    """The label space of a name: the inverse of `AUSet.name` and of `ExpressionSet.name`.

    Args:
        text: A registered name (`disfa8`, `rafdb7`) or a comma list (`AU1,AU2`, `happiness,anger`); with
            `intensity:` in front, action units as ordinal labels.

    Raises:
        LabelSpaceError: No label space is written so; the message lists the registered names.

    Example:
        >>> label_space("disfa8").labels[:3]
        ('AU1', 'AU2', 'AU4')
        >>> label_space("intensity:AU6,AU12").kind
        'ordinal'
        >>> label_space("basic7").kind
        'multiclass'
    """
    for parse in (AUSet.parse, ExpressionSet.parse):
        try:
            return parse(text)
        except LabelSpaceError:
            continue
    raise LabelSpaceError(
        f"{text!r} is not a label space.",
        remedy="Use a comma list of action units or of expressions, or one of: "
        f"{', '.join([*AU_SETS, *EXPRESSION_SETS])}.",
    )


def project(source: AUSet, target: AUSet) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Where the labels of `target` stand in `source`.

    Args:
        source: The set the values are in.
        target: The set they are wanted in, of the same kind.

    Returns:
        For each unit of `target` its index in `source` (0 where it is absent), and whether it is present.
        Units are matched with their sides.

    Raises:
        LabelSpaceError: One set is of occurrence and the other of intensity.

    Example:
        >>> project(AUSet.of(1, 2, 4), AUSet.of(4, 6))
        ((2, 0), (True, False))
    """
    if source.kind != target.kind:
        raise LabelSpaceError(
            f"{source.name} cannot be read as {target.name}: one is of occurrence, the other of intensity.",
            remedy="Threshold the intensities first.",
        )
    present = tuple(unit in source for unit in target)
    return tuple(source.index(unit) if unit in source else 0 for unit in target), present
