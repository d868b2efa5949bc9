"""affectkit: facial action units, expressions and micro-expressions on one shared video backbone.

Importing this package loads neither torch nor Lightning: its public names are resolved on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affectkit.facs import (
        ActionUnit,
        AUIntensitySet,
        AUSet,
        Dimensions,
        ExpressionSet,
        Levels,
        label_space,
    )
    from affectkit.inference import Predictor
    from affectkit.models import (
        AffectModel,
        AUHead,
        AUIntensityHead,
        DimensionsHead,
        ExpressionHead,
        Head,
        LevelsHead,
        load,
    )

__version__ = "0.1.0"

_HOMES = {
    "AUHead": "affectkit.models",
    "AUIntensityHead": "affectkit.models",
    "AUIntensitySet": "affectkit.facs",
    "AUSet": "affectkit.facs",
    "ActionUnit": "affectkit.facs",
    "AffectModel": "affectkit.models",
    "Dimensions": "affectkit.facs",
    "DimensionsHead": "affectkit.models",
    "ExpressionHead": "affectkit.models",
    "ExpressionSet": "affectkit.facs",
    "Head": "affectkit.models",
    "Levels": "affectkit.facs",
    "LevelsHead": "affectkit.models",
    "Predictor": "affectkit.inference",
    "label_space": "affectkit.facs",
    "load": "affectkit.models",
}

__all__ = [
    "AUHead",
    "AUIntensityHead",
    "AUIntensitySet",
    "AUSet",
    "ActionUnit",
    "AffectModel",
    "Dimensions",
    "DimensionsHead",
    "ExpressionHead",
    "ExpressionSet",
    "Head",
    "Levels",
    "LevelsHead",
    "Predictor",
    "__version__",
    "label_space",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'affectkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
