"""ONNX networks that ship with the package."""

from __future__ import annotations

import hashlib
import os
from importlib import resources
from typing import Any

import torch

from affectkit.errors import WeightsError

__all__ = ["load_network"]


def load_network(name: str, sha256: str, device: torch.device | str = "cpu") -> Any:
    """Load a network of `affectkit/faces/assets` as an `onnxruntime.InferenceSession`.

    It uses as many threads as torch does when it is loaded. Waiting threads sleep: by default they spin and take the
    processor from decoders and models.

    Args:
        name: File name.
        sha256: Expected checksum of the file.
        device: "cuda:1" where the installed onnxruntime can use it; the processor otherwise.

    Raises:
        WeightsError: The file is not the one that was released.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    asset = resources.files("affectkit.faces") / "assets" / name
    content = asset.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise WeightsError(
            f"The network {name} is damaged.", path=str(asset), remedy="Install affectkit again."
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1  # layers run one after another
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    device = torch.device(device)
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    return onnxruntime.InferenceSession(content, options, providers=providers)
