"""Causal language models that read embeddings: a tiny one from scratch, and pretrained frozen ones with LoRA."""

from __future__ import annotations

from affectkit.models.language.base import CausalLM, LanguageSettings, Past, language_model
from affectkit.models.language.pretrained import PretrainedLM
from affectkit.models.language.tiny import TinyLM

__all__ = ["CausalLM", "LanguageSettings", "Past", "PretrainedLM", "TinyLM", "language_model"]
