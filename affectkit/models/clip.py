"""CLIP models of open_clip, with weights from a local file or from the Hub.

Image and text towers are built separately, and only the tensors of the requested tower are read.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from affectkit.errors import ConfigError, WeightsError
from affectkit.models.hub import is_hub_reachable, load_strictly, one_line, weights_wanted, why_unavailable

__all__ = ["clip_config", "load_clip"]

Part = Literal["image", "text"]

_OWN_CONFIGS = Path(__file__).with_name("clip_configs")
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_TEMPERATURE = ("logit_scale", "logit_bias")  # part of neither tower
_OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")  # tensors in OpenAI's release


def clip_config(model_name: str) -> dict[str, Any]:
    """Architecture of a plain CLIP: a vision transformer and a causal text transformer.

    Args:
        model_name: A name of open_clip ("ViT-B-16-quickgelu"), or "affectkit-tiny", which is small enough for tests.

    Returns:
        A copy of `embed_dim`, `quick_gelu`, `vision_cfg` and `text_cfg`.

    Raises:
        ConfigError: There is no such architecture, or it is not a plain CLIP.
    """
    import open_clip  # 2 s, and only needed here

    if "affectkit-tiny" not in open_clip.list_models():
        open_clip.add_model_config(_OWN_CONFIGS)
    # open_clip also accepts "hf-hub:" and "local-dir:" names; configuration files may not use them.
    if model_name not in open_clip.list_models():
        similar = get_close_matches(model_name, open_clip.list_models(), n=5, cutoff=0.0)
        raise ConfigError(
            f"open_clip has no architecture {model_name!r}.", remedy=f"Similar: {', '.join(similar)}."
        )
    config: dict[str, Any] = open_clip.get_model_config(model_name)
    vision, text = config["vision_cfg"], config["text_cfg"]
    if (
        config.get("custom_text")
        or not isinstance(vision.get("layers"), int)
        or "timm_model_name" in vision
        or "hf_model_name" in text
    ):
        raise ConfigError(
            f"{model_name!r} is not a plain CLIP of a vision transformer and a causal text transformer.",
            remedy="Choose one, such as 'ViT-B-16-quickgelu'.",
        )
    return config


def load_clip(
    model_name: str,
    weights: str | Path | None = None,
    *,
    pretrained: str | None = None,
    part: Part | None = None,
    size: int | None = None,
) -> Any:
    """Build an open_clip model in float32 on the CPU, and load its weights strictly.

    Args:
        model_name: See `clip_config`.
        weights: Local file with the tensors of a whole CLIP, with the names of open_clip or OpenAI: safetensors, or a
            `.pt` that contains tensors only. Random values by default.
        pretrained: Weight tag of open_clip for this architecture, such as "openai", downloaded to the Hub's cache,
            instead of `weights`.
        part: Build only the "image" or the "text" tower, with a stub for the other one.
        size: Height and width of the pictures in pixels, the architecture's own by default; position embeddings are
            interpolated.

    Returns:
        `open_clip.CLIP`.

    Raises:
        ConfigError: The architecture or the tag is unknown.
        WeightsError: The weights are not available, unsafe, or do not fit.
    """
    import open_clip

    config = deepcopy(clip_config(model_name))
    if size is not None:
        config["vision_cfg"]["image_size"] = size
    if part == "image":
        config["text_cfg"] = {"layers": 1, "width": 8, "heads": 1, "vocab_size": 1}
    elif part == "text":
        config["vision_cfg"]["layers"] = 0
    if weights is not None and pretrained is not None:
        raise ConfigError(
            f"Both weights {str(weights)!r} and the tag {pretrained!r} are given.", remedy="Give one of them."
        )
    if not weights_wanted() or (weights is None and pretrained is None):
        return open_clip.CLIP(**config)
    path = Path(weights) if weights is not None else _download(model_name, str(pretrained))
    with torch.device("meta"):  # saves the time for random values
        model = open_clip.CLIP(**config)
    model.to_empty(device="cpu")
    model.attn_mask = torch.full((model.context_length, model.context_length), float("-inf")).triu_(1)
    tensors = _read(path, part)
    if size is not None and part != "text":
        open_clip.model.resize_pos_embed(tensors, model)
    if part == "image":
        visual = {name.removeprefix("visual."): tensor for name, tensor in tensors.items()}
        load_strictly(model.visual, visual, path)
    else:
        load_strictly(model, tensors, path, skip=("visual.", *_TEMPERATURE) if part == "text" else ())
    return model


def _download(model_name: str, tag: str) -> Path:
    """File of one of open_clip's weight tags, from the cache if possible."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model_name)
    source = open_clip.get_pretrained_cfg(model_name, tag)
    if not source:
        raise ConfigError(
            f"open_clip has no weights {tag!r} for {model_name!r}.",
            remedy=f"Known: {', '.join(tags) or 'none'}.",
        )
    if source.get("quick_gelu", False) != bool(clip_config(model_name).get("quick_gelu", False)):
        raise ConfigError(
            f"The weights {tag!r} were trained with another activation than that of {model_name!r}.",
            remedy="Add '-quickgelu' to the architecture's name, or remove it.",
        )
    is_hub_reachable()
    try:
        return Path(open_clip.download_pretrained(source))
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"Cannot download the weights {tag!r} of {model_name!r}: {why_unavailable(error)}",
            remedy="Check the connection, or give a local file as `weights`.",
        ) from error


def _read(path: Path, part: Part | None) -> dict[str, Tensor]:
    """Tensors of a part, in float32, under open_clip's names."""
    if not path.is_file() or path.suffix not in _SUFFIXES:
        raise WeightsError("This is not a weight file.", path=path, remedy=f"Give one of {_SUFFIXES}.")

    def has(name: str) -> bool:
        return name not in _OPENAI_NUMBERS and (
            part is None or name.startswith("visual.") == (part == "image")
        )

    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys() if has(name)}  # noqa: SIM118
        else:
            tensors = _read_pickle(path, has)
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"Cannot read the weights: {one_line(error)}",
            path=path,
            remedy="Give safetensors or a `.pt` that contains tensors only, or download them: `pretrained: openai`.",
        ) from error
    return {name: tensor.float() for name, tensor in tensors.items()}


def _read_pickle(path: Path, has: Callable[[str], bool]) -> dict[str, Tensor]:
    """Selected tensors of a `.pt`, mapped into memory so that the others are not read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*TorchScript")  # refused, with an error
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise WeightsError("The file contains no state dict.", path=path, remedy="Give a state dict.")
    named = {str(name).removeprefix("module."): value for name, value in content.items()}
    return {name: value for name, value in named.items() if isinstance(value, Tensor) and has(name)}
