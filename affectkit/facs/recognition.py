"""Emotions from action-unit probabilities by published rules, without any emotion label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from types import MappingProxyType

from affectkit.errors import LabelSpaceError
from affectkit.facs.expressions import ExpressionSet
from affectkit.facs.rules import OBJECTIVE_CLASSES
from affectkit.facs.sets import AUSet

__all__ = ["OBJECTIVE", "OBJECTIVE_SET", "ClassRules", "class_rules"]

OBJECTIVE_SET = ExpressionSet(
    tuple(f"class {number}" for number in ("i", "ii", "iii", "iv", "v", "vi", "vii"))
)
"""The objective classes I to VII, as `class i` to `class vii`."""

OBJECTIVE: Mapping[str, ExpressionSet] = MappingProxyType(
    {"objective": ExpressionSet(OBJECTIVE_SET.classes[:5]), "objective7": OBJECTIVE_SET}
)
"""Objective classes by name: I to V, as in MEGC 2018, and all seven."""

# The emotion from which Davison, Merghani & Yap (2018) derived each objective class, and its MEGC 2019 class.
_EMOTIONS = {
    1: ("happiness", "positive"), 2: ("surprise", "surprise"), 3: ("anger", "negative"),
    4: ("disgust", "negative"), 5: ("sadness", "negative"), 6: ("fear", "negative"),
}  # fmt: skip
_REST = ("class vii", "other", "repression")  # classes for unlisted combinations, in order of preference
_MOST_ENUMERATED = 12  # units, with 2^n combinations


@dataclass(frozen=True)
class ClassRules:
    r"""Combinations of action units that indicate each class.

    With unit probabilities a, a class scores
    :math:`\max_{C} \text{mean}_{i \in C} \log a_i + \text{mean}_{i \notin C} \log(1 - a_i)` over its combinations C.
    The `rest` class scores the best unclaimed combination, so it wins where no rule lists the likeliest combination.

    Args:
        units: Units, in the order of the probabilities.
        labels: Classes, in the order of the scores.
        combinations: For each class, sets of indices in `units`; empty for an undecidable class.
        rest: Class of all unclaimed combinations, or None.

    Example:
        >>> rules = class_rules(AUSet.of(4, 7, 12), "happiness,anger,other")
        >>> rules.decide([0.1, 0.2, 0.9]), rules.decide([0.8, 0.1, 0.9])
        ('happiness', 'other')

    References:
        A. Davison, W. Merghani and M. Yap, "Objective classes for micro-facial expression recognition",
        Journal of Imaging 4(10), 2018. The scores are our own.
    """

    units: AUSet
    labels: tuple[str, ...]
    combinations: tuple[frozenset[frozenset[int]], ...]
    rest: str | None

    @property
    def undecidable(self) -> tuple[str, ...]:
        """Classes without a combination of these units; they are never chosen."""
        pairs = zip(self.labels, self.combinations, strict=True)
        return tuple(label for label, members in pairs if not members and label != self.rest)

    def scores(self, probabilities: Sequence[float]) -> tuple[float, ...]:
        """Return the score of each class, -inf for undecidable ones.

        Args:
            probabilities: One value in [0, 1] per unit.

        Raises:
            LabelSpaceError: The number of probabilities differs from that of the units.
        """
        if len(probabilities) != len(self.units):
            raise LabelSpaceError(f"{len(probabilities)} probabilities do not fit {len(self.units)} units.")
        active = [math.log(max(p, 1e-6)) for p in probabilities]
        passive = [math.log(max(1.0 - p, 1e-6)) for p in probabilities]

        def score(members: frozenset[int]) -> float:
            inside = [active[i] for i in members]
            outside = [passive[i] for i in range(len(passive)) if i not in members]
            return sum(fmean(part) for part in (inside, outside) if part)

        candidates: set[frozenset[int]] = set()
        n = len(self.units)
        if self.rest is not None and n > _MOST_ENUMERATED:  # only the likeliest combination
            candidates = {frozenset(i for i, p in enumerate(probabilities) if p >= 0.5)}
        elif self.rest is not None:
            candidates = {
                frozenset(chosen) for size in range(n + 1) for chosen in combinations(range(n), size)
            }
        candidates -= frozenset().union(*self.combinations)
        return tuple(
            max(map(score, candidates if label == self.rest else members), default=-math.inf)
            for label, members in zip(self.labels, self.combinations, strict=True)
        )

    def decide(self, probabilities: Sequence[float]) -> str:
        """Return the class with the highest score, the first one on ties; see `scores`."""
        scores = self.scores(probabilities)
        return self.labels[scores.index(max(scores))]


def class_rules(units: AUSet, classes: ExpressionSet | str = OBJECTIVE_SET) -> ClassRules:
    """Project the rules of the objective classes onto some units and classes.

    Combinations with a unit outside `units` are dropped. Emotions take the combinations of the objective class derived
    from them; `negative`, `positive` and `surprise` those of their emotions. The first of `class vii`, `other` and
    `repression` in `classes` takes all unclaimed combinations.

    Args:
        units: Units with probabilities.
        classes: An `ExpressionSet` or its name: "casme2_5", "megc3", or a key of `OBJECTIVE`.

    Raises:
        LabelSpaceError: The name is unknown, or no class is decidable.

    Example:
        >>> class_rules(AUSet.parse("casme2_8"), "casme2_5").undecidable
        ('disgust', 'repression')
    """
    if isinstance(classes, str):
        classes = OBJECTIVE[classes] if classes in OBJECTIVE else ExpressionSet.parse(classes)
    place = {unit.id: index for index, unit in enumerate(units)}
    by_class: dict[str, set[frozenset[int]]] = {label: set() for label in classes.classes}
    for number, members in OBJECTIVE_CLASSES.items():
        for name in {OBJECTIVE_SET.classes[number - 1], *_EMOTIONS[number]} & set(classes.classes):
            for combination in members:
                if all(unit.id in place for unit in combination):
                    by_class[name].add(frozenset(place[unit.id] for unit in combination))
    if not any(by_class.values()):
        raise LabelSpaceError(
            f"No rule covers {', '.join(classes.classes)} with the units {units.name}.",
            remedy="Use objective classes, basic emotions or megc3, and units that the rules name.",
        )
    return ClassRules(
        units=units,
        labels=classes.classes,
        combinations=tuple(map(frozenset, by_class.values())),
        rest=next((label for label in _REST if label in classes.classes), None),
    )
