"""Tensor names and shapes in the checkpoints of the authors of SSM."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from affectkit.errors import WeightsError
from affectkit.models import hub
from affectkit.models.clip import clip_config
from affectkit.models.model import AffectModel

__all__ = ["SOURCE", "ReleasedTensors"]

SOURCE = "https://github.com/MSA-LMC/SSM"
_CLIPS = ("ViT-B-16-quickgelu", "affectkit-tiny")
_TEMPORAL = {
    "expression": ("dfer_temporal_net", "temporal_net"),
    "au": ("au_temporal_net", "temporal_net_au"),
}
_TEMPORAL_HEADS = 8  # of the transformers of both releases; not determined by their shapes

# Source of each tensor: a pattern of our names, and the name in the checkpoint. If several rules match, the first one
# with a name in the checkpoint is used. `*` is the number of an expert; our experts are one tensor.
_IMAGE, _HEAD = (
    r"backbone\.tower\.(transformer\.resblocks\.\d+)\.mlp\.",
    r"heads\.(expression|au)\.temporal\.",
)
_LAYER, _THEIRS = _HEAD + r"layers\.(\d+)\.", r"\1.temporal_transformer.layers.\2."
_RULES = (
    (_IMAGE + r"fc([12])_(weight|bias)", r"encoder.\1.mlp.private_experts.*.fc\2.\3"),
    (_IMAGE + r"c_fc\.(.+)", r"encoder.\1.mlp.shared_expert.0.\2"),
    (_IMAGE + r"c_proj\.(.+)", r"encoder.\1.mlp.shared_expert.2.\2"),
    (r"backbone\.tower\.(.+)", r"encoder.\1"),
    (r"bridge\.text\.(.+)", r"text_encoder.\1"),
    (r"bridge\.prompts\.(expression|au)\.ctx", r"prompts_\1.ctx"),
    (r"bridge\.prompts\.(expression|au)\.(prefix|suffix)", r"prompts_\1.token_\2"),
    (r"bridge\.map\.delta_ae", "delta_map1"),
    (r"bridge\.map\.delta_ea", "delta_map2"),
    (r"bridge\.map\.prior", "init_map"),
    (r"bridge\.(alpha|beta)", r"\1"),
    (r"heads\.expression\.out\.(.+)", r"dfer_head.\1"),
    (r"heads\.au\.out\.(.+)", r"au_head.\1"),
    (r"heads\.au\.smooth\.(.+)", r"au_smooth.\1"),
    # Transformers over frames.
    (_HEAD + "token", r"\1.cls_token"),
    (_HEAD + "position", r"\1.pos_embedding"),
    (_HEAD + "gamma", r"\1.gate"),
    (_HEAD + r"norm\.(.+)", r"\1.ln.\2"),
    (_LAYER + r"norm1\.(.+)", _THEIRS + r"0.fn.norm.\3"),
    (_LAYER + r"qkv\.(.+)", _THEIRS + r"0.fn.fn.to_qkv.\3"),
    (_LAYER + r"project\.(.+)", _THEIRS + r"0.fn.fn.to_out.0.\3"),
    (_LAYER + r"norm2\.(.+)", _THEIRS + r"1.fn.norm.\3"),
    (_LAYER + r"mlp\.([03])\.(.+)", _THEIRS + r"1.fn.fn.net.\3.\4"),
    # The local attention of the second release.
    (_HEAD + r"norm\.(.+)", r"\1.layers.0.norm.\2"),
    (_HEAD + r"query\.weight", r"\1.layers.0.to_q.weight"),
    (_HEAD + r"key\.weight", r"\1.layers.0.to_k.weight"),
    (_HEAD + "bias", r"\1.layers.0.relative_position_bias"),
    (_HEAD + "gate", r"\1.layers.0.channel_gate"),
)
# Tensors that are not in the checkpoint: made from the texts, or computed from other tensors.
_MADE = re.compile(r"bridge\.prompts\.\w+\.eot|bridge\.text\.token_embedding|heads\.\w+\.prototypes")


class ReleasedTensors:
    """Tensors of a checkpoint, with the names of both releases unified, and the settings that follow from them."""

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self.path = path
        self.tensors: dict[str, Tensor] = {}
        self.original: dict[str, str] = {}  # name in the file by the name here
        renamed = {"prompt_learner1": "prompts_expression", "prompt_learner2": "prompts_au"}
        renamed |= {theirs: branch for branch, family in _TEMPORAL.items() for theirs in family}
        for name, tensor in tensors.items():
            first, dot, rest = name.partition(".")
            here = renamed.get(first, first) + dot + rest
            if here in self.tensors:
                raise self.error(f"{name} and {self.original[here]} are the same part.")
            self.tensors[here] = tensor.float() if tensor.is_floating_point() else tensor
            self.original[here] = name

    def error(self, fault: str) -> WeightsError:
        """Create an error about this file."""
        return WeightsError(fault, path=self.path, remedy=f"Give an unchanged checkpoint of {SOURCE}.")

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise self.error(f"The tensor {self._spelled(name)} is missing.")
        return self.tensors[name]

    def _spelled(self, name: str) -> str:
        """Name of a tensor in the authors' code."""
        first, dot, rest = name.partition(".")
        prompts = {"prompts_expression": "prompt_learner1", "prompts_au": "prompt_learner2"}
        families = {branch: "/".join(names) for branch, names in _TEMPORAL.items()}
        return self.original.get(name) or {**prompts, **families}.get(first, first) + dot + rest

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; raises WeightsError if it is missing."""
        return tuple(self[name].shape)

    def count(self, pattern: str) -> int:
        """Largest number that a pattern finds in the names, plus one."""
        found = [re.match(pattern, name) for name in self.tensors]
        return max((int(match[1]) + 1 for match in found if match), default=0)

    @property
    def release(self) -> int:
        """Release 1, or 2 if the units' branch is local attention."""
        return 2 if "au.layers.0.to_q.weight" in self.tensors else 1

    def drop_duplicates(self) -> dict[str, str]:
        """Remove the duplicates of the shared expert's tensors, after comparing them."""
        dropped = {}
        for name in [name for name in self.tensors if ".mlp.shared_fc" in name]:
            twin = name.replace("shared_fc1", "shared_expert.0").replace("shared_fc2", "shared_expert.2")
            if not torch.equal(self[name], self[twin]):
                raise self.error(
                    f"{self.original[name]} and {self.original[twin]} differ, but must be one layer."
                )
            del self.tensors[name]
            dropped[self.original[name]] = f"the same as {self.original[twin]}"
        return dropped

    def check_prior(self, rows: tuple[tuple[float, ...], ...], name: str) -> dict[str, str]:
        """Compare the prior and its sums with the published table, and remove the sums."""
        prior = torch.tensor(rows)
        expected = {
            "init_map": prior,
            "row_targets_au2emo": prior.sum(1),
            "row_targets_emo2au": prior.sum(0),
        }
        for key, values in expected.items():
            if self.shape(key) != tuple(values.shape) or not torch.allclose(self[key], values, atol=1e-5):
                raise self.error(
                    f"{key} is not that of the published prior {name} with these labels in this order."
                )
        sums = [key for key in expected if key != "init_map"]
        for key in sums:
            del self.tensors[key]
        return dict.fromkeys(sums, "the sums of init_map")

    def clip(self) -> str:
        """Name of the CLIP with these shapes."""
        width, _, patch, _ = self.shape("encoder.conv1.weight")
        context, text_width = self.shape("text_encoder.positional_embedding")
        found = {
            "embed_dim": self.shape("encoder.proj")[1],
            "layers": self.count(r"encoder\.transformer\.resblocks\.(\d+)"),
            "width": width,
            "patch_size": patch,
            "text layers": self.count(r"text_encoder\.transformer\.resblocks\.(\d+)"),
            "text width": text_width,
            "context_length": context,
        }
        for name in _CLIPS:
            config = clip_config(name)
            image, text = config["vision_cfg"], config["text_cfg"]
            wanted = {
                "embed_dim": config["embed_dim"],
                **{key: image[key] for key in ("layers", "width", "patch_size")},
                "text layers": text["layers"],
                "text width": text["width"],
                "context_length": text["context_length"],
            }
            if found == wanted:
                return name
        raise self.error(f"No known CLIP has these sizes: {', '.join(f'{k} {v}' for k, v in found.items())}.")

    def size(self) -> int:
        """Side of the pictures in pixels."""
        places = self.shape("encoder.positional_embedding")[0] - 1
        return isqrt(places) * self.shape("encoder.conv1.weight")[-1]

    def experts(self) -> dict[str, Any]:
        """Experts of the image tower, as arguments of `MoEConfig`."""
        blocks = self.count(r"encoder\.transformer\.resblocks\.(\d+)")
        blocks_with_experts = [
            i for i in range(blocks) if f"encoder.transformer.resblocks.{i}.mlp.gate.weight" in self.tensors
        ]
        if not blocks_with_experts:
            raise self.error("No block of the image tower has experts.")
        first = f"encoder.transformer.resblocks.{blocks_with_experts[0]}.mlp"
        return {
            "last": blocks - blocks_with_experts[0],
            "experts": self.shape(f"{first}.gate.weight")[0],
            "hidden": self.shape(f"{first}.private_experts.0.fc1.weight")[0],
            "act": "gelu",
            "legacy_dispatch": True,
        }

    def frames(self) -> int:
        """Frames per clip; the expressions' branch has one more token."""
        return self.shape("expression.pos_embedding")[1] - 1

    def temporal(self, branch: str) -> dict[str, Any]:
        """Configuration of a head's temporal module."""
        if branch == "au" and self.release == 2:
            heads, window = self.shape("au.layers.0.relative_position_bias")
            return {
                "type": "local_attention",
                "max_frames": self.frames(),
                "radius": (window - 1) // 2,
                "heads": heads,
            }
        layer = f"{branch}.temporal_transformer.layers.0"
        width, inner = self.shape(f"{layer}.0.fn.fn.to_out.0.weight")
        return {
            "type": "clip_token" if branch == "expression" else "framewise",
            "max_frames": self.frames(),
            "depth": self.count(rf"{branch}\.temporal_transformer\.layers\.(\d+)"),
            "heads": _TEMPORAL_HEADS,
            "head_width": inner // _TEMPORAL_HEADS,
            "mlp_ratio": self.shape(f"{layer}.1.fn.fn.net.0.weight")[0] / width,
        }

    def fill(self, model: AffectModel) -> dict[str, str]:
        """Copy every tensor to the model, and return the names in the checkpoint by name in the model."""
        mapped: dict[str, str] = {}
        missing: list[str] = []
        filled: dict[str, Tensor] = {}
        unused = set(self.tensors)
        for name, place in model.state_dict().items():
            if _MADE.fullmatch(name):
                filled[name] = place.nan_to_num()  # computed later
                continue
            candidates = [re.sub(old, new, name) for old, new in _RULES if re.fullmatch(old, name)]
            source = next((one for one in candidates if self._parts(one)), None)
            if source is None:
                missing.append(self._spelled(candidates[0]))
                continue
            parts = self._parts(source)
            value = (
                torch.stack([self.tensors[part] for part in parts]) if "*" in source else self.tensors[source]
            )
            # The checkpoint has leading axes of size 1: [1, T, D] instead of [T, D].
            same = [size for size in value.shape if size != 1] == [size for size in place.shape if size != 1]
            filled[name] = value.reshape(place.shape) if same else value
            mapped[name] = self._spelled(source)
            unused -= set(parts)
        faults = {"missing": missing, "unexpected": [self.original[name] for name in sorted(unused)]}
        if any(faults.values()):
            listed = "; ".join(f"{kind}: {', '.join(names[:20])}" for kind, names in faults.items() if names)
            raise self.error(f"The tensors are not those of a released model; {listed}.")
        hub.load_strictly(model, filled, self.path)
        return mapped

    def _parts(self, source: str) -> list[str]:
        """Names of the tensors of a source, in the order of the experts for `*`."""
        if "*" not in source:
            return [source] if source in self.tensors else []
        pattern = re.compile(re.escape(source).replace(r"\*", r"(\d+)"))
        found = [(int(match[1]), name) for name in self.tensors if (match := pattern.fullmatch(name))]
        return [name for _, name in sorted(found)]
