"""Released weights of other programs as affectkit models, for `affectkit model convert`."""

from __future__ import annotations

from affectkit.models.released.emotiefflib import convert_emotiefflib
from affectkit.models.released.graphau import convert_megraphau, convert_opengraphau
from affectkit.models.released.libreface import convert_libreface

__all__ = ["convert_emotiefflib", "convert_libreface", "convert_megraphau", "convert_opengraphau"]
