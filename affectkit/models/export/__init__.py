"""Models for other runtimes: graphs of `torch.export`, and ONNX."""

from __future__ import annotations

from affectkit.models.export.onnx import describe_onnx, export_onnx
from affectkit.models.export.program import export_program, longest_clip

__all__ = ["describe_onnx", "export_onnx", "export_program", "longest_clip"]
