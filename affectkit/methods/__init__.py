"""Published methods, one folder each, with the parts that only this method uses.

Importing this package imports all methods, which register their heads, bridges and converters. Their LightningModules
are imported on first use, so their trained models predict without Lightning.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _found in iter_modules(__path__):
    import_module(f"{__name__}.{_found.name}")
