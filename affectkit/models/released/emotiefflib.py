"""Conversion of the checkpoints of EmotiEffLib (HSEmotion)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from affectkit.models.convert import Conversion, Converter
from affectkit.models.model import AffectModel
from affectkit.models.registry import register
from affectkit.models.released.layout import APACHE, IMAGENET, Origin, ReleasedFile

__all__ = ["EmotiEffLibConverter", "convert_emotiefflib"]

_ORIGIN = Origin(
    name="EmotiEffLib",
    source="https://github.com/sb-ai-lab/EmotiEffLib",
    paper='A. V. Savchenko, L. V. Savchenko and I. Makarov, "Classifying emotions and engagement in online learning '
    'based on a single facial expression recognition neural network", IEEE Transactions on Affective Computing, 2022.',
    trained_on="Faces of VGGFace2 (identities), then AffectNet, by its authors; the variants named afew and vgaf were "
    "chosen on AFEW and VGAF.",
    licence="Apache-2.0",
    licence_text=f"Code and weights: Apache License 2.0, {APACHE}. VGGFace2 and AffectNet have terms of their own.",
    use="The authors allow academic and commercial use. AffectNet, on which the weights were trained, is licensed for "
    "research only; whether this binds the weights is for you to decide.",
)
_CLASSES = "anger,contempt,disgust,fear,happiness,neutral,sadness,surprise"
_SPACES = {8: _CLASSES, 7: _CLASSES.replace("contempt,", "")}
_CLASSIFIERS = ("classifier.0", "classifier", "head.fc.0", "head.fc", "fc")
# Picture size by network. The authors' code stretches faces to it.
_NETWORKS: Mapping[str, int] = {
    **{f"tf_efficientnet_b{n}": size for n, size in ((0, 224), (2, 260))},
    **{f"efficientnet_b{n}": size for n, size in ((0, 224), (2, 260))},
    **{f"mobilevit_{size}": 224 for size in ("xxs", "xs", "s")},
    **{f"mobilevitv2_{width}": 224 for width in ("050", "075", "100", "125", "150", "175", "200")},
}
_FACES = (
    "The authors cut faces out by the boxes of MTCNN; this model uses the boxes of affectkit's detector, stretched to "
    "a square in the same way."
)


def convert_emotiefflib(path: str | Path) -> Conversion:
    """Convert a checkpoint of EmotiEffLib to a model with the same outputs.

    The network, the classes and whether there are valence and arousal follow from the tensors. Heads are `expression`
    (8 classes, or 7 without contempt) and, for the files named `_mtl`, `va`. The files are pickled modules, of which
    only tensors, class names and numbers are read.

    Args:
        path: The `.pt` file (EfficientNet, MobileViT or MobileFaceNet), or its state dict.

    Raises:
        WeightsError: The file is unsafe, damaged or TorchScript, or its tensors are not those of a released model.
    """
    file = ReleasedFile(path, _ORIGIN)
    classifier = next((name for name in _CLASSIFIERS if f"{name}.weight" in file.tensors), None)
    if classifier is None:
        raise file.error("The file has no classifier of expressions.")
    outputs = file.shape(f"{classifier}.weight")[0]
    has_affect = outputs not in _SPACES
    classes = outputs - 2 * has_affect
    if classes not in _SPACES:
        raise file.error(f"The classifier has {outputs} outputs instead of 7 to 10.")
    small = classifier == "fc"
    network = "mobilefacenet" if small else _network(file, classifier)
    timm_network = {"type": "timm", "model_name": network, "size": _NETWORKS.get(network), **IMAGENET}
    heads = {"expression": {"type": "expression", "space": _SPACES[classes], "per_frame": True}}
    if has_affect:
        heads["va"] = {"type": "linear_dimensions", "space": "va", "per_frame": True}
    model = AffectModel(
        {"type": network} if small else timm_network,
        heads,
        input_spec={"alignment": "box", "crop_margin": 0.0},
    )

    def source_of(name: str) -> Iterable[str]:
        part, _, rest = name.partition(".")
        if part == "heads":
            return (f"{classifier}.{name.rpartition('.')[2]}",)
        return (_in_mobilefacenet(rest) if small else rest.removeprefix("net."),)

    kinds = ("weight", "bias")
    rows = {f"heads.expression.out.{kind}": slice(0, classes) for kind in kinds} if has_affect else {}
    rows |= {f"heads.va.out.{kind}": slice(classes, None) for kind in kinds}  # the rest
    mapped = file.fill(model, source_of, rows=rows)
    variant = f"{network}, {classes} classes{', valence and arousal' if has_affect else ''}"
    model.metadata = _ORIGIN.metadata(file.path, variant, _notes(file, has_affect))
    return Conversion(model, variant, mapped, {})


@register("converter", "emotiefflib")
class EmotiEffLibConverter(Converter):
    """`convert_emotiefflib` on the command line."""

    about = "the networks of EmotiEffLib (HSEmotion), for expressions, valence and arousal"

    @staticmethod
    def convert(path: str | Path, **options: Any) -> Conversion:
        """See `convert_emotiefflib`."""
        return convert_emotiefflib(path, **options)


def _in_mobilefacenet(name: str) -> str:
    """Name in the file of a tensor of `MobileFaceNet`: the authors' sequences are attributes named `layers`."""
    part, _, rest = name.partition(".")
    *places, key = rest.split(".")
    nested = ".layers.".join(places)
    return {
        "body": f"layers.{nested}.{key}",
        "last": f"conv_sep.layers.{nested}.{key}",
        "pool": f"features.layers.0.layers.{nested}.{key}",
        "out": f"features.layers.2.{key}",
        "norm": f"features.layers.3.{key}",
    }[part]


def _network(file: ReleasedFile, classifier: str) -> str:
    """The network with these names and shapes; TensorFlow's padding if the pickled module has it, or says nothing."""
    import timm

    body = {
        name: tensor.shape
        for name, tensor in file.tensors.items()
        if not name.startswith(f"{classifier}.") and not name.endswith("num_batches_tracked")
    }
    padding = file.module.classes.get("conv_stem", "Conv2dSame").rpartition(".")[2]
    unlikely = "efficientnet" if padding == "Conv2dSame" else "tf_"
    for name in _NETWORKS:
        if name.startswith(unlikely):
            continue
        with torch.device("meta"):
            state = timm.create_model(name, num_classes=0).state_dict()
        if body == {k: v.shape for k, v in state.items() if not k.endswith("num_batches_tracked")}:
            return name
    raise file.error(f"The tensors are those of none of these networks: {', '.join(_NETWORKS)}.")


def _notes(file: ReleasedFile, has_affect: bool) -> Iterator[str]:
    yield _FACES
    if "conv_stem.weight" in file.tensors and not file.module.classes:
        yield (
            "A state dict does not say how convolutions pad; this model pads like TensorFlow, as the authors' training "
            "code does."
        )
    if has_affect:
        yield "Valence and arousal come from a linear layer and are clipped to -1..1; the authors do not clip them."
