"""Published methods, one folder each: what only that method has.

Importing this package imports them all, whose heads, bridges and converters register themselves. Their LightningModules
are imported on first use, so a model that such a method trained predicts without Lightning.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _found in iter_modules(__path__):
    import_module(f"{__name__}.{_found.name}")
