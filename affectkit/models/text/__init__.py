"""Text towers and learned prompts."""

from __future__ import annotations

from affectkit.models.text.prompts import PromptLearner, encode_prompts
from affectkit.models.text.tower import TextTower

__all__ = ["PromptLearner", "TextTower", "encode_prompts"]
