"""Conversion of the checkpoints of LibreFace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from affectkit.errors import ConfigError
from affectkit.models.convert import Conversion, Converter
from affectkit.models.model import AffectModel
from affectkit.models.registry import register
from affectkit.models.released.layout import IMAGENET, Origin, ReleasedFile

__all__ = ["LibreFaceConverter", "convert_libreface"]

_LICENCE = """\
This software is Copyright © 2020 The University of Southern California. All Rights Reserved.

Permission to use, copy, modify, and distribute this software and its documentation for educational, research and \
non-profit purposes, without fee, and without a written agreement is hereby granted, provided that the above copyright \
notice, this paragraph and the following three paragraphs appear in all copies.

Permission to make commercial use of this software may be obtained by contacting: USC Stevens Center for Innovation, \
University of Southern California, 1150 S. Olive Street, Suite 2300, Los Angeles, CA 90115, USA. Email: \
accounting@stevens.usc.edu

This software program and documentation are copyrighted by The University of Southern California. The software program \
and documentation are supplied "as is", without any accompanying services from USC. USC does not warrant that the \
operation of the program will be uninterrupted or error-free. The end-user understands that the program was developed \
for research purposes and is advised not to rely exclusively on the program for any reason.

IN NO EVENT SHALL THE UNIVERSITY OF SOUTHERN CALIFORNIA BE LIABLE TO ANY PARTY FOR DIRECT, INDIRECT, SPECIAL, \
INCIDENTAL, OR CONSEQUENTIAL DAMAGES, INCLUDING LOST PROFITS, ARISING OUT OF THE USE OF THIS SOFTWARE AND ITS \
DOCUMENTATION, EVEN IF THE UNIVERSITY OF SOUTHERN CALIFORNIA HAS BEEN ADVISED OF THE POSSIBILITY OF SUCH DAMAGE. THE \
UNIVERSITY OF SOUTHERN CALIFORNIA SPECIFICALLY DISCLAIMS ANY WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED \
WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE. THE SOFTWARE PROVIDED HEREUNDER IS ON AN "AS IS" \
BASIS, AND THE UNIVERSITY OF SOUTHERN CALIFORNIA HAS NO OBLIGATIONS TO PROVIDE MAINTENANCE, SUPPORT, UPDATES, \
ENHANCEMENTS, OR MODIFICATIONS."""
_ORIGIN = Origin(
    name="LibreFace",
    source="https://github.com/ihp-lab/LibreFace",
    paper='D. Chang, Y. Yin, Z. Li, M. Tran and M. Soleymani, "LibreFace: an open-source toolkit for deep facial '
    'expression analysis", WACV 2024.',
    trained_on="DISFA (intensity), BP4D (occurrence) and AffectNet (expressions), by its authors; distilled from "
    "larger models.",
    licence="USC research licence: education, research and non-profit purposes only",
    licence_text=_LICENCE,
    use="Education, research and non-profit purposes, by the authors' licence; commercial use needs a licence of USC. "
    "DISFA, BP4D and AffectNet are licensed for research only.",
)
Task = Literal["intensity", "au", "expression"]
_HEADS: Mapping[str, Mapping[str, Any]] = {
    "intensity": {"type": "scaled_intensity", "space": "intensity:disfa12"},
    "au": {"type": "au", "space": "bp4d12"},
    "expression": {"type": "expression", "space": "affectnet8"},
}
# Children of the authors' sequential encoder, by name in timm's ResNet-18.
_ENCODER = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
_DROPOUT = 0.1
_INNER = -0.0625  # margin of the central 224 pixels of 256


def convert_libreface(path: str | Path, *, task: Task | None = None) -> Conversion:
    """Convert a checkpoint of LibreFace to a model with the same outputs.

    Heads are `intensity` (12 units of DISFA, 0 to 5) and `au` (12 units of BP4D) of the combined file, or the only one
    of an earlier file, or `expression` (8 classes).

    Args:
        path: The `.pt` file: a training state with an entry `model`.
        task: What the only classifier of an earlier file predicts; needed if it has 12 outputs.

    Raises:
        WeightsError: The file is unsafe or damaged, or its tensors are not those of a released model.
        ConfigError: `task` is missing, or does not fit the file.
    """
    file = ReleasedFile(path, _ORIGIN)
    sources = _classifiers(file, task)
    heads = {
        name: {**_HEADS[name], "hidden": 128, "batch_norm": True, "dropout": _DROPOUT, "per_frame": True}
        for name in sources
    }
    is_expression = "expression" in heads
    model = AffectModel(
        {"type": "timm", "model_name": "resnet18", "size": 224, **IMAGENET},
        heads,
        input_spec={"alignment": "ffhq", "crop_margin": 0.0 if is_expression else _INNER},
    )

    def source_of(name: str) -> Iterable[str]:
        if name.startswith("backbone.net."):
            child, _, rest = name.removeprefix("backbone.net.").partition(".")
            return (f"encoder.{_ENCODER[child]}.{rest}",)
        _, head, part, rest = name.split(".", 3)
        layer = f"4.{rest}" if part == "out" else rest  # Linear, ReLU, BatchNorm, Dropout, Linear
        return (f"{sources[head]}.{layer}",)

    mapped = file.fill(model, source_of)
    variant = f"ResNet-18, {' and '.join(heads)}"
    notes = [
        "The authors find eyes and mouth with MediaPipe's face mesh; this model takes the five points of affectkit's "
        "detector for the same square."
    ]
    if is_expression:
        notes.append(
            "The authors report only the class with the highest output of a sigmoid. This model's probabilities are "
            "the softmax of the values before it: the class is the same, but they are not calibrated."
        )
    model.metadata = _ORIGIN.metadata(file.path, variant, notes)
    return Conversion(model, variant, mapped, {})


@register("converter", "libreface")
class LibreFaceConverter(Converter):
    """`convert_libreface` on the command line."""

    about = "ResNet-18s of LibreFace, for intensity and occurrence of units or for expressions"
    options = {  # noqa: RUF012  a ClassVar of the base class
        "--task": {
            "dest": "task",
            "choices": tuple(_HEADS),
            "help": "what the only classifier of an earlier file predicts, if it has 12 outputs",
        }
    }

    @staticmethod
    def convert(path: str | Path, **options: Any) -> Conversion:
        """See `convert_libreface`."""
        return convert_libreface(path, **options)


def _classifiers(file: ReleasedFile, task: Task | None) -> dict[str, str]:
    """Classifier in the file by head."""
    outputs = file.shape("classifier.4.weight")[0]
    if "classifier_2.4.weight" in file.tensors:
        fitting: dict[str, str] = {"intensity": "classifier", "au": "classifier_2"}
        known: tuple[Task | None, ...] = (None,)
    elif outputs == 8:
        fitting, known = {"expression": "classifier"}, (None, "expression")
    elif outputs == 12:
        fitting, known = {task or "au": "classifier"}, ("intensity", "au")
    else:
        raise file.error(f"The classifier has {outputs} outputs instead of 8 or 12.")
    if task not in known:
        fault = "This file does not say" if task is None else f"{task!r} is not"
        raise ConfigError(
            f"{fault} what its classifier of {outputs} outputs predicts.",
            path=file.path,
            remedy=f"Give --task {' or '.join(filter(None, known))}."
            if any(known)
            else "Leave --task out: the file has two classifiers.",
        )
    return fitting
