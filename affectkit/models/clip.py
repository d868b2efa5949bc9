"""CLIP models of open_clip, with weights from a local file or from the Hub.

Image and text towers are built apart, each with the tensors it needs and no more: a safetensors file is
opened once for each tower, but no tensor is read twice.
"""

from __future__ import annotations

import pickle
import zipfile
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from affectkit.errors import ConfigError, WeightsError
from affectkit.models.hub import load_strictly, weights_wanted

__all__ = ["clip_config", "load_clip"]

Part = Literal["image", "text"]

_OWN_CONFIGS = Path(__file__).with_name("clip_configs")
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_TEMPERATURE = ("logit_scale", "logit_bias")  # which belongs to neither tower
_OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")  # tensors in OpenAI's release


def clip_config(model_name: str) -> dict[str, Any]:
    """The architecture of a plain CLIP: a vision transformer and a causal text transformer.

    Args:
        model_name: A name of open_clip ("ViT-B-16-quickgelu"), or "affectkit-tiny", which is small enough
            for tests and for two cores.

    Returns:
        `embed_dim`, `quick_gelu`, `vision_cfg` and `text_cfg`, a copy.

    Raises:
        ConfigError: There is no such architecture, or it is not a plain CLIP.

    Example:
        >>> clip_config("affectkit-tiny")["embed_dim"]
        64
    """
    import open_clip  # 2 s, and only needed here

    if "affectkit-tiny" not in open_clip.list_models():
        open_clip.add_model_config(_OWN_CONFIGS)
    # open_clip would also take "hf-hub:" and "local-dir:" names, which no configuration file may choose.
    if model_name not in open_clip.list_models():
        similar = get_close_matches(model_name, open_clip.list_models(), n=5, cutoff=0.0)
        raise ConfigError(
            f"open_clip has no architecture {model_name!r}.", remedy=f"Similar: {', '.join(similar)}."
        )
    config: dict[str, Any] = open_clip.get_model_config(model_name)
    vision, text = config["vision_cfg"], config["text_cfg"]
    plain = (
        not config.get("custom_text")
        and isinstance(vision.get("layers"), int)
        and "timm_model_name" not in vision
        and "hf_model_name" not in text
    )
    if not plain:
        raise ConfigError(
            f"{model_name!r} is not made of a vision transformer and a causal text transformer.",
            remedy="Take a plain CLIP, such as 'ViT-B-16-quickgelu'.",
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
        weights: A local file with the tensors of a whole CLIP, named as open_clip or OpenAI names them:
            safetensors, or a `.pt` that holds tensors only. Random values by default.
        pretrained: One of open_clip's weight tags for this architecture, such as "openai", downloaded to the
            Hub's cache, instead of `weights`.
        part: Build the "image" or the "text" tower only, and a meaningless stub in place of the other one.
        size: Height and width of pictures in pixels, the architecture's own by default; position embeddings
            are interpolated.

    Returns:
        `open_clip.CLIP`.

    Raises:
        ConfigError: The architecture or the tag is unknown.
        WeightsError: The weights cannot be had, are unsafe, or do not fit.

    Example:
        >>> load_clip("affectkit-tiny", part="image").visual.output_dim
        64
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
    with torch.device("meta"):  # no time for random values that are overwritten
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
    """The file behind one of open_clip's weight tags, from the cache where it is there."""
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
            f"The weights {tag!r} were trained with the other activation than {model_name!r} has.",
            remedy="Add '-quickgelu' to the architecture's name, or take it away.",
        )
    try:
        return Path(open_clip.download_pretrained(source))
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"The weights {tag!r} of {model_name!r} could not be had: {' '.join(str(error).split())[:300]}",
            remedy="Check the connection, or give a local file as `weights`.",
        ) from error


def _read(path: Path, part: Part | None) -> dict[str, Tensor]:
    """The tensors of a part, in float32, under open_clip's names."""
    if not path.is_file() or path.suffix not in _SUFFIXES:
        raise WeightsError("This is not a weight file.", path=path, remedy=f"Give one of {_SUFFIXES}.")
    try:
        tensors = _read_safetensors(path, part) if path.suffix == ".safetensors" else _read_pickle(path, part)
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"The weights cannot be read: {' '.join(str(error).split())[:300]}",
            path=path,
            remedy="Give safetensors, or a `.pt` that holds tensors only.",
        ) from error
    return {name: tensor.float() for name, tensor in tensors.items()}


def _of_part(name: str, part: Part | None) -> bool:
    if name in _OPENAI_NUMBERS:
        return False
    return part is None or name.startswith("visual.") == (part == "image")


def _read_safetensors(path: Path, part: Part | None) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys() if _of_part(name, part)}  # noqa: SIM118


def _read_pickle(path: Path, part: Part | None) -> dict[str, Tensor]:
    """Tensors of a `.pt`, mapped into memory so that only those of the part are read."""
    zipped = zipfile.is_zipfile(path)
    if zipped:
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise WeightsError(
                    "This is a TorchScript archive, which holds code as well as tensors.",
                    path=path,
                    remedy="Take the same weights as safetensors: `pretrained: openai` downloads them.",
                )
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise WeightsError("The file holds no tensors by name.", path=path)
    named = {str(name).removeprefix("module."): tensor for name, tensor in content.items()}
    return {
        name: value for name, value in named.items() if isinstance(value, Tensor) and _of_part(name, part)
    }
