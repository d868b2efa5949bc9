"""Pools of workers for jobs that may crash or hang: processes of this machine, or Ray."""

from __future__ import annotations

from affectkit.workers.pool import Event, Handler, Interrupted, Starter, portable, run_here
from affectkit.workers.processes import run_in_processes
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
