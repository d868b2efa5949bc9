"""Rendered corpora in the on-disk layouts of real ones, to rehearse with and to test readers against.

A module writes one corpus, with the quirks of the real one. Numbers of rows, people and labels are those published;
all else is made up.
"""

from __future__ import annotations

from affectkit.rehearse.registry import register, rehearsals, rehearse

__all__ = ["register", "rehearsals", "rehearse"]
