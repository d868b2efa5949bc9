"""Many jobs at once, of which any may crash or hang: in processes of this machine, or on Ray."""

from __future__ import annotations

from affectkit.workers.processes import (
    Event,
    Handler,
    Interrupted,
    Starter,
    portable,
    run_here,
    run_in_processes,
)
from affectkit.workers.ray import run_on_ray

__all__ = [
    "Event",
    "Handler",
    "Interrupted",
    "Starter",
    "portable",
    "run_here",
    "run_in_processes",
    "run_on_ray",
]
