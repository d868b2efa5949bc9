"""Conversion of the checkpoints of ME-GraphAU and OpenGraphAU."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from affectkit.models.convert import Conversion, Converter
from affectkit.models.model import AffectModel
from affectkit.models.registry import register
from affectkit.models.released.layout import APACHE, IMAGENET, Origin, ReleasedFile

__all__ = ["MEGraphAUConverter", "OpenGraphAUConverter", "convert_megraphau", "convert_opengraphau"]

_PAPER = (
    'C. Luo, S. Song, W. Xie, L. Shen and H. Gunes, "Learning multi-dimensional edge feature-based AU relation graph '
    'for facial action unit recognition", IJCAI 2022.'
)
_MIT = """\
MIT License

Copyright (c) 2022 Computer Vision Insitute, SZU

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated \
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the \
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit \
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the \
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE \
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR \
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR \
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""
_ME = Origin(
    name="ME-GraphAU",
    source="https://github.com/CVI-SZU/ME-GraphAU",
    paper=_PAPER,
    trained_on="Two of three parts of the subjects of BP4D or DISFA, by its authors.",
    licence="Code: MIT; weights learned from BP4D or DISFA under the terms of these corpora",
    licence_text=_MIT,
    use="Research, by the terms of BP4D and DISFA; the MIT licence of the code does not change them.",
)
_OPEN = Origin(
    name="OpenGraphAU",
    source="https://github.com/lingjivoo/OpenGraphAU",
    paper=_PAPER,
    trained_on="BP4D, DISFA, RAF-AU, Aff-Wild2, CK+ and CASME II, by its authors.",
    licence="Code: Apache-2.0; weights learned from six corpora under the terms of each",
    licence_text=f"Code: Apache License 2.0, {APACHE}.",
    use="Research, by the terms of the six corpora; the Apache licence of the code does not change them.",
)
_MAIN = (1, 2, 4, 5, 6, 7, *range(9, 21), 22, 23, 24, 25, 26, 27, 32, 38, 39)
_SIDED = (1, 2, 4, 6, 10, 12, 14)
_OPEN_SPACE = ",".join([*(f"AU{n}" for n in _MAIN), *(f"AU{n}{side}" for n in _SIDED for side in "LR")])
# The authors' list of nodes has 8, the place of AU11, where 9 is that of AU12.
_AU11 = {"AU12L": "AU11", "AU12R": "AU11"}
_ME_UNITS = {12: ("bp4d12", 4), 8: ("disfa8", 3)}  # label space and neighbours
_OPEN_MARGIN = 0.178125  # the box is 1.55 wide, of which the model sees the central 224 of 256 pixels
_RESNETS = {(2, False): "resnet18", (6, True): "resnet50", (23, True): "resnet101"}
_SWINS = {(96, 6): "tiny", (96, 18): "small", (128, 18): "base"}
_RELATIONS = "classifies relations between units, which only training uses"

# Names in the checkpoint by names in the head; `_LAYER` has those of a layer of the second stage.
_RULES = (
    (r"face\.(.+)", r"global_linear.\1"),
    (r"nearest\.own\.(.+)", r"head.gnn.U.\1"),
    (r"nearest\.other\.(.+)", r"head.gnn.V.\1"),
    (r"nearest\.bn\.(.+)", r"head.gnn.bnv.\1"),
    (r"edges\.face\.([qkv])[a-z]+\.(.+)", r"head.edge_extractor.FAM.linear_\1.\2"),
    (r"edges\.pair\.([qkv])[a-z]+\.(.+)", r"head.edge_extractor.ARM.linear_\1.\2"),
    (r"edges\.project\.(.+)", r"head.edge_extractor.edge_proj.\1"),
    (r"edges\.bn\.(.+)", r"head.edge_extractor.bn.\1"),
)
_LAYER = {
    "own": "U",
    "other": "V",
    "end": "A",
    "start": "B",
    "edge": "E",
    "bn_nodes": "bnv",
    "bn_edges": "bne",
}


def convert_megraphau(path: str | Path) -> Conversion:
    """Convert a checkpoint of ME-GraphAU, of either training stage, to a model with the same outputs.

    The head `au` predicts the 12 units of BP4D or the 8 of DISFA, according to their number.

    Args:
        path: The `.pth` file: a training state with an entry `state_dict`.

    Raises:
        WeightsError: The file is unsafe or damaged, or its tensors are not those of a released model.
    """
    file = ReleasedFile(path, _ME)
    units = file.shape("head.sc")[0]
    if units not in _ME_UNITS:
        raise file.error(f"The head has {units} units instead of 8 or 12.")
    space, neighbours = _ME_UNITS[units]
    notes = [
        "The authors align faces with MTCNN to pictures of 256 pixels, of which the model uses the central 224. How "
        "they place them is not published: compare your crops with the sample in their repository.",
    ]
    if not _is_second(file):
        notes.append(
            f"The graph joins {neighbours} nodes to each, as the authors' settings for this corpus say; the file does "
            "not."
        )
    head = {"space": space, "neighbours": neighbours}
    corpus = "BP4D" if units == 12 else "DISFA"
    return _convert(file, head, notes, {"alignment": "five_points"}, corpus)


def convert_opengraphau(path: str | Path) -> Conversion:
    """Convert a checkpoint of OpenGraphAU, of either training stage, to a model with the same outputs.

    The head `au` predicts 27 units, and 7 of them also on the left and on the right side. As in the authors' code, the
    sides of AU12 read the node of AU11.

    Args:
        path: The `.pth` file: a training state with an entry `state_dict`.

    Raises:
        WeightsError: The file is unsafe or damaged, or its tensors are not those of a released model.
    """
    file = ReleasedFile(path, _OPEN)
    found = file.shape("head.main_sc")[0], file.shape("head.sub_sc")[0]
    if found != (len(_MAIN), 2 * len(_SIDED)):
        raise file.error(f"The head has {found[0]} units and {found[1]} one-sided ones instead of 27 and 14.")
    notes = [
        "AU12L and AU12R are computed from the node of AU11, as in the authors' code, whose output names them both "
        "AU12 and nasolabial deepener (AU11). Check them before use.",
        "L and R are taken for the subject's own sides, as FACS has them; the authors do not say so.",
        "The authors cut faces out by the boxes of SCRFD; this model takes the boxes of affectkit's detector for the "
        "same square.",
    ]
    spec = {"alignment": "raised_box", "crop_margin": _OPEN_MARGIN}
    return _convert(file, {"space": _OPEN_SPACE, "nodes": _AU11, "rectify_sum": False}, notes, spec)


@register("converter", "megraphau")
class MEGraphAUConverter(Converter):
    """`convert_megraphau` on the command line."""

    about = "ResNets and Swin transformers of ME-GraphAU, for 12 units (BP4D) or 8 (DISFA)"

    @staticmethod
    def convert(path: str | Path, **options: Any) -> Conversion:
        """See `convert_megraphau`."""
        return convert_megraphau(path, **options)


@register("converter", "opengraphau")
class OpenGraphAUConverter(Converter):
    """`convert_opengraphau` on the command line."""

    about = "ResNets and Swin transformers of OpenGraphAU, for 41 units and sides"

    @staticmethod
    def convert(path: str | Path, **options: Any) -> Conversion:
        """See `convert_opengraphau`."""
        return convert_opengraphau(path, **options)


def _is_second(file: ReleasedFile) -> bool:
    """Whether the checkpoint is of the second training stage."""
    return "head.edge_extractor.edge_proj.weight" in file.tensors


def _convert(
    file: ReleasedFile,
    head: Mapping[str, Any],
    notes: Iterable[str],
    input_spec: Mapping[str, Any],
    corpus: str | None = None,
) -> Conversion:
    """Convert a file whose head has these arguments, as far as both stages share them."""
    second, network = _is_second(file), _network(file)
    unused = {"neighbours"} if second else {"rectify_sum"}
    arguments = {key: value for key, value in head.items() if key not in unused}
    model = AffectModel(
        {"type": "timm", "model_name": network, "size": 224, "tokens": True, **IMAGENET},
        {
            "au": {
                "type": "graph_au",
                "graph": "edges" if second else "nearest",
                "node_features": file.shape("global_linear.fc.weight")[0],
                "per_frame": True,
                **arguments,
            }
        },
        input_spec=input_spec,
    )
    ignored = dict(_window_tables(file, model))
    ignored |= {name: _RELATIONS for name in file.tensors if name.startswith("head.edge_fc.")}
    mapped = file.fill(model, lambda name: _sources(name, file), ignored)
    stage = "second" if second else "first"
    variant = f"{network}, {stage} training stage{f', {corpus}' if corpus else ''}"
    trained_on = {"trained_on": file.origin.trained_on.replace("BP4D or DISFA", corpus)} if corpus else {}
    model.metadata = file.origin.metadata(file.path, variant, notes, **trained_on)
    return Conversion(model, variant, mapped, ignored)


def _network(file: ReleasedFile) -> str:
    """Name in timm of the backbone with these shapes."""
    if "backbone.conv1.weight" in file.tensors:
        blocks, deep = file.count("backbone.layer3."), "backbone.layer3.0.conv3.weight" in file.tensors
        if (blocks, deep) in _RESNETS:
            return _RESNETS[blocks, deep]
    elif "backbone.patch_embed.proj.weight" in file.tensors:
        width, blocks = (
            file.shape("backbone.patch_embed.proj.weight")[0],
            file.count("backbone.layers.2.blocks."),
        )
        if (width, blocks) in _SWINS:
            return f"swin_{_SWINS[width, blocks]}_patch4_window7_224"
    raise file.error("The backbone is no ResNet-18, 50 or 101, and no Swin transformer.")


def _window_tables(file: ReleasedFile, model: AffectModel) -> Iterator[tuple[str, str]]:
    """Tables of Swin windows in the checkpoint, after comparing them with those that timm computes."""
    tables = dict(model.backbone.named_buffers())
    for name, tensor in file.tensors.items():
        if name.endswith((".attn_mask", ".relative_position_index")):
            expected = tables.get(name.replace("backbone.", "net.", 1))
            if expected is None or not torch.equal(tensor.to(expected.dtype), expected):
                raise file.error(f"The table {name} is not that of this Swin transformer.")
            yield name, "follows from the size of the windows"


def _sources(name: str, file: ReleasedFile) -> tuple[str, ...]:
    """Names in the checkpoint for a tensor of the model."""
    if name.startswith("backbone.net."):
        rest = name.removeprefix("backbone.net.")
        if match := re.fullmatch(r"layers\.(\d+)\.downsample\.(.+)", rest):  # timm begins a stage with it
            rest = f"layers.{int(match[1]) - 1}.downsample.{match[2]}"
        return (f"backbone.{rest}",)
    rest = name.removeprefix("heads.au.")
    main = "main_" if "head.main_sc" in file.tensors else ""
    if rest == "centres":
        return ("head.main_sc", "head.sub_sc") if main else ("head.sc",)
    if rest.startswith("units."):
        prefix = f"head.{main}class_linears."
        return tuple(f"{prefix}{n}.{rest.removeprefix('units.')}" for n in range(file.count(prefix)))
    if match := re.fullmatch(r"graph\.(\d+)\.(\w+)\.(.+)", rest):
        part = _LAYER[match[2]]
        theirs = f"graph_layers.{match[1]}.{part}" if main else f"{part}{int(match[1]) + 1}"
        return (f"head.gnn.{theirs}.{match[3]}",)
    return tuple(re.sub(ours, theirs, rest) for ours, theirs in _RULES if re.fullmatch(ours, rest))
