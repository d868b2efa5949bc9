"""From the probabilities of action units to an emotion, by published rules and without any emotion label."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from types import MappingProxyType

from affectkit.errors import LabelSpaceError
from affectkit.facs.expressions import ExpressionSet
from affectkit.facs.rules import OBJECTIVE_CLASSES
from affectkit.facs.sets import AUSet

__all__ = ["OBJECTIVE", "OBJECTIVE_SET", "ClassRules", "class_rules"]

# The emotions that Davison, Merghani & Yap (2018) began with when they made the objective classes 1 to 6.
_EMOTIONS: Mapping[int, str] = MappingProxyType(
    {1: "happiness", 2: "surprise", 3: "anger", 4: "disgust", 5: "sadness", 6: "fear"}
)
_OBJECTIVE = tuple(f"class {numeral}" for numeral in ("i", "ii", "iii", "iv", "v", "vi", "vii"))
_VALENCE: Mapping[int, str] = MappingProxyType(
    {1: "positive", 2: "surprise", 3: "negative", 4: "negative", 5: "negative", 6: "negative"}
)
_REST = (
    _OBJECTIVE[6],
    "other",
    "repression",
)  # the classes that take what no rule claims, first choice first

OBJECTIVE_SET = ExpressionSet(_OBJECTIVE)
"""The objective classes I to VII, as `class i` to `class vii`."""

OBJECTIVE: Mapping[str, ExpressionSet] = MappingProxyType(
    {"objective": ExpressionSet(_OBJECTIVE[:5]), "objective7": OBJECTIVE_SET}
)
"""Objective classes by name: I to V, which MEGC 2018 used, and all seven."""

_MOST_ENUMERATED = 12  # units whose 2^n combinations are looked through


@dataclass(frozen=True)
class ClassRules:
    r"""Which combinations of some action units speak for which class.

    With a the probabilities of the units, a class scores
    :math:`\max_{C} \text{mean}_{i \in C} \log a_i + \text{mean}_{i \notin C} \log(1 - a_i)` over its
    combinations C. The class that takes the rest scores the best combination that no class claims, so that it wins
    where the likeliest combination is in no rule.

    Args:
        units: The units, in the order of the probabilities.
        labels: The classes, in the order of the scores.
        combinations: By class, sets of positions in `units`; none for an undecidable class.
        rest: The class that takes what no rule claims, or None.

    Attributes:
        undecidable: Classes that no combination of these units speaks for, and which are never chosen.

    Example:
        >>> rules = class_rules(AUSet.of(4, 7, 12), "happiness,anger,other")
        >>> rules.decide([0.1, 0.2, 0.9]), rules.decide([0.8, 0.1, 0.9])
        ('happiness', 'other')

    References:
        A. Davison, W. Merghani and M. Yap, "Objective classes for micro-facial expression recognition",
        Journal of Imaging 4(10), 2018. Scoring them by probabilities is our own.
    """

    units: AUSet
    labels: tuple[str, ...]
    combinations: tuple[frozenset[frozenset[int]], ...]
    rest: str | None

    @property
    def undecidable(self) -> tuple[str, ...]:
        """See the class."""
        return tuple(
            label
            for label, found in zip(self.labels, self.combinations, strict=True)
            if not found and label != self.rest
        )

    def scores(self, probabilities: Sequence[float]) -> tuple[float, ...]:
        """The score of every class; minus infinity where it is undecidable.

        Args:
            probabilities: One a unit, in [0, 1].

        Raises:
            LabelSpaceError: Another number of them.
        """
        if len(probabilities) != len(self.units):
            raise LabelSpaceError(
                f"{len(probabilities)} probabilities are given for {len(self.units)} units."
            )
        active = [math.log(max(p, 1e-6)) for p in probabilities]
        passive = [math.log(max(1.0 - p, 1e-6)) for p in probabilities]

        def score(members: frozenset[int]) -> float:
            inside = [active[i] for i in members]
            outside = [passive[i] for i in range(len(passive)) if i not in members]
            return sum(fmean(part) for part in (inside, outside) if part)

        best = {
            label: max(map(score, found), default=-math.inf)
            for label, found in zip(self.labels, self.combinations, strict=True)
        }
        if self.rest is not None:
            claimed = frozenset().union(*self.combinations)
            best[self.rest] = max(
                (score(members) for members in self._candidates(probabilities) if members not in claimed),
                default=-math.inf,
            )
        return tuple(best[label] for label in self.labels)

    def decide(self, probabilities: Sequence[float]) -> str:
        """The class of the highest score, the first of equals.

        Args:
            probabilities: One a unit, in [0, 1].
        """
        found = self.scores(probabilities)
        return self.labels[max(range(len(found)), key=found.__getitem__)]

    def _candidates(self, probabilities: Sequence[float]) -> Iterable[frozenset[int]]:
        """Every combination of few units; of many, the one that the probabilities say."""
        n = len(self.units)
        if n > _MOST_ENUMERATED:
            return [frozenset(i for i, p in enumerate(probabilities) if p >= 0.5)]
        return (frozenset(chosen) for size in range(n + 1) for chosen in combinations(range(n), size))


def class_rules(units: AUSet, classes: ExpressionSet | str = OBJECTIVE_SET) -> ClassRules:
    """The rules of the objective classes, projected onto some units and read as some set of classes.

    A combination that holds a unit which `units` lacks is dropped. Emotions take the combinations of the
    objective class they were the origin of; `negative`, `positive` and `surprise` those of their emotions. `class
    vii`, `other` or `repression`, the first of them that is there, takes what no rule claims.

    Args:
        units: Units that probabilities are given for.
        classes: An `ExpressionSet` or its name: "casme2_5", "megc3", or a key of `OBJECTIVE`.

    Raises:
        LabelSpaceError: No class could ever be chosen, or the name is unknown.

    Example:
        >>> class_rules(AUSet.parse("casme2_8"), "casme2_5").undecidable
        ('disgust', 'repression')
    """
    if isinstance(classes, str):
        found = OBJECTIVE[classes] if classes in OBJECTIVE else ExpressionSet.parse(classes)
    else:
        found = classes
    place = {unit.id: index for index, unit in enumerate(units)}
    by_class: dict[str, set[frozenset[int]]] = {label: set() for label in found.classes}
    for number, members in OBJECTIVE_CLASSES.items():
        for name in {_OBJECTIVE[number - 1], _EMOTIONS[number], _VALENCE[number]} & set(found.classes):
            for combination in members:
                if all(unit.id in place for unit in combination):
                    by_class[name].add(frozenset(place[unit.id] for unit in combination))
    rules = ClassRules(
        units=units,
        labels=tuple(found.classes),
        combinations=tuple(frozenset(by_class[label]) for label in found.classes),
        rest=next((label for label in _REST if label in found.classes), None),
    )
    if not any(rules.combinations):
        raise LabelSpaceError(
            f"No rule speaks for any of {', '.join(found.classes)} with the units {units.name}.",
            remedy="Use objective classes, basic emotions or megc3, and units that the rules name.",
        )
    return rules
