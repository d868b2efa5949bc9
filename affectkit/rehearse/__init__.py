"""Rehearsals: rendered faces in the on-disk layouts of published corpora, for trial runs and tests.

Each module writes one corpus with the quirks of the real one. In size "full", the numbers of rows, people and labels
are the published ones; everything else is made up.
"""

from __future__ import annotations

from affectkit.rehearse.registry import Job, register, rehearsals, rehearse

__all__ = ["Job", "register", "rehearsals", "rehearse"]
