"""affectkit: facial action units, expressions and micro-expressions on one shared video backbone.

Importing this package loads neither torch nor Lightning; public names are resolved on first use.
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

__version__ = "0.2.0"

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
    for home in ("facs", "models", "inference") if name in __all__ else ():
        module = importlib.import_module(f"affectkit.{home}")
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"module 'affectkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
