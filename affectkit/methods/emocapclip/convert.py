"""Models of expressions from the weights of any CLIP."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from affectkit.models.clip import clip_config
from affectkit.models.convert import Conversion, Converter
from affectkit.models.model import AffectModel
from affectkit.models.registry import register

__all__ = ["convert_clip"]


def convert_clip(
    path: str | Path, *, model_name: str = "ViT-B-32-quickgelu", classes: str = "basic7"
) -> Conversion:
    """Make a model that predicts expressions by their texts from the weights of a CLIP.

    Args:
        path: Tensors of a whole CLIP, see `affectkit.models.clip.load_clip`.
        model_name: Architecture of open_clip. OpenAI's weights need one that ends in "-quickgelu".
        classes: Label space of the expression head; others can be named at prediction.

    Raises:
        ConfigError: The architecture is unknown.
        WeightsError: The file cannot be read, or its tensors do not fit.
    """
    clip_config(model_name)
    weights = str(path)
    model = AffectModel(
        {"type": "clip", "model_name": model_name, "weights": weights, "tokens": True},
        {"expression": {"type": "zero_shot", "space": classes}},
        bridge={"type": "captions", "text": {"model_name": model_name, "weights": weights}},
        input_spec={"crop_margin": 0.2},
    )
    model.train().eval()  # computes the prototypes
    model.metadata = {
        "name": f"CLIP {model_name}",
        "source": f"weights of {Path(path).name}",
        "source_sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "paper": "Radford et al., ICML 2021",
        "trained_on": "pictures with texts, by the authors of its weights; no expression labels",
        "licence": "The licence of the weights.",
    }
    parts = {"backbone.tower": "visual", "bridge.text": "text tower"}
    return Conversion(model, model_name, parts, {"logit_scale": "the head's scale is 100"})


@register("converter", "clip")
class CLIPConverter(Converter):
    """`convert_clip` on the command line."""

    about = "weights of a CLIP (OpenAI or open_clip), to predict expressions by their texts"
    options = {  # noqa: RUF012  a ClassVar of the base class
        "--model-name": {
            "dest": "model_name",
            "default": "ViT-B-32-quickgelu",
            "help": "architecture of open_clip (default: ViT-B-32-quickgelu)",
        },
        "--classes": {
            "dest": "classes",
            "default": "basic7",
            "help": "expressions, by name or comma-separated (default: basic7)",
        },
    }

    @staticmethod
    def convert(path: str | Path, **options: Any) -> Conversion:
        """See `convert_clip`."""
        return convert_clip(path, **options)
