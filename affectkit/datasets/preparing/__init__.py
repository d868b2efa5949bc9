"""Prepared face crops of a corpus, made once and read by every recipe."""

from __future__ import annotations

from affectkit.datasets.preparing.run import Prepared, prepare

__all__ = ["Prepared", "prepare"]
