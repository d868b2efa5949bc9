"""What every registered backbone, temporal module and head must do."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import Tensor, nn

from affectkit.facs import label_space
from affectkit.models import Features, build, list_models

BACKBONES = {
    "timm": {"model_name": "test_resnet", "size": 32},
    "timm/vit": {"model_name": "test_vit", "size": 32, "normalize": "per_image", "tokens": True},
    "clip": {"model_name": "affectkit-tiny", "size": 32, "moe": {"last": 2, "hidden": 32}},
    "au_ttt": {"units": "AU1,AU12", "patch": 8, "size": 32, "width": 16, "depth": 2, "heads": 2},
    "au_ttt/global": {
        "units": "AU12",
        "patch": 8,
        "size": 32,
        "width": 16,
        "depth": 1,
        "heads": 2,
        "scan": "global",
    },
    "clip/tokens": {"model_name": "affectkit-tiny", "size": 32, "tokens": True},
}
RESIDUAL = {"depth": 2, "heads": 2, "head_width": 3, "max_frames": 8}
TEMPORALS = {
    "mean": {},
    "transformer": {"depth": 2, "heads": 2, "max_frames": 8},
    "transformer/max": {"heads": 2, "max_frames": 8, "pool": "max"},
    "clip_token": RESIDUAL,
    "framewise": RESIDUAL,
    "local_attention": {"heads": 2, "max_frames": 8},
    "motion": {},
    "motion/apex": {"motion": "apex"},
}
HEADS = {
    "au": {"space": "AU1,AU12"},
    "au/batch_norm": {"space": "AU1,AU12", "hidden": 4, "batch_norm": True},
    "intensity": {"space": "intensity:AU1,AU12"},
    "scaled_intensity": {"space": "intensity:AU1,AU12"},
    "scaled_intensity/batch_norm": {"space": "intensity:AU1,AU12", "hidden": 4, "batch_norm": True},
    "expression": {"space": "basic7"},
    "levels": {"space": "levels:low,medium,high"},
    "levels/two": {"space": "levels:low,high", "target": "engagement", "hidden": 4},
    "nominal_levels": {"space": "levels:low,medium,high"},
    "dimensions": {"space": "va"},
    "dimensions/range": {"space": "dimensions[0,9]:arousal", "target": "mood"},
    "linear_dimensions": {"space": "va"},
    "prototype_au": {"space": "AU1,AU12", "per_frame": False, "temporal": {"type": "framewise", **RESIDUAL}},
    "prototype_au/plain": {"space": "AU1,AU12", "per_frame": False, "prototypes": False},
    "metric_au": {"space": "AU1,AU12", "slices": 2, "slice_width": 4},
    "metric_au/knn": {"space": "AU1,AU12", "slices": 2, "slice_width": 4, "classifier": "knn"},
    "metric_expression": {"space": "basic7", "slices": 2, "slice_width": 8},
    "metric_expression/prototype": {"space": "basic7", "slices": 2, "classifier": "prototype"},
    "prototype_expression": {"space": "basic7", "temporal": {"type": "clip_token", **RESIDUAL}},
    "zero_shot": {"space": "basic7"},
}
BRIDGES = {
    "semantic": {"text": {"model_name": "affectkit-tiny"}},
    "semantic/one_way": {"text": {"model_name": "affectkit-tiny"}, "directions": "au_to_expression"},
}
WIDTH = 8
# Parts that take pictures of one size only, or patches: tested in tests/unit/models/test_small_motion_nets.py,
# test_released.py, test_graph_head.py and tests/unit/methods; or parts that need signals: test_signal_backbones.py and
# tests/unit/methods/engagement; or a bridge of classes only: test_parts.py of emocapclip and fgsgl; or features of
# one frame: test_flow_backbone.py.
ELSEWHERE = {
    "backbone": {
        "led",
        "led_maps",
        "ststnet",
        "offapexnet",
        "mobilefacenet",
        "signals",
        "fused",
        "signal_segments",
        "tcctnet",
        "flow",
        "feallm",
    },
    "head": {"aullm", "feallm", "micro_au", "graph_au", "tcct_levels", "au_ttt", "process"},
    "bridge": {"captions", "process"},
}


def configs(kind: str, table: dict) -> list:
    return [
        pytest.param(kind, {"type": key.partition("/")[0], **config}, id=key) for key, config in table.items()
    ]


PARTS = [*configs("backbone", BACKBONES), *configs("temporal", TEMPORALS), *configs("head", HEADS)]


@pytest.mark.parametrize(
    ("kind", "table"),
    [("backbone", BACKBONES), ("temporal", TEMPORALS), ("head", HEADS), ("bridge", BRIDGES)],
)
def test_every_registered_part_is_tested_here(kind, table):
    tested = {key.partition("/")[0] for key in table} | ELSEWHERE.get(kind, set())
    assert tested == set(list_models(kind))


def make(kind: str, config: dict) -> nn.Module:
    torch.manual_seed(0)
    return build(kind, config, **({} if kind == "backbone" else {"in_features": WIDTH}))


def inputs(kind: str, batch: int = 2, frames: int = 3, masked: bool = False) -> tuple:
    generator = torch.Generator().manual_seed(batch * 10 + frames)
    mask = torch.ones(batch, frames, dtype=torch.bool)
    mask[:, frames - 1] = not masked
    if kind == "backbone":
        return torch.randint(0, 256, (batch, frames, 3, 32, 32), generator=generator, dtype=torch.uint8), mask
    values = torch.randn(batch, frames, WIDTH, generator=generator)
    return (Features.of_frames(values, mask),)


def tensors(output: Features | Tensor) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [t for t in (output.pooled, output.frames, output.tokens) if t is not None]


@pytest.mark.parametrize(("kind", "config"), PARTS)
class TestPart:
    @pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 5), (3, 3)])
    def test_shapes_of_single_clips_stills_and_odd_lengths(self, kind, config, batch, frames):
        part = make(kind, config).eval()
        output = part(*inputs(kind, batch, frames))
        if kind == "head":
            assert output.ndim == 1 + part.logit_axes
            answer = part.predict(output)
            assert answer.shape == (batch, len(part.columns))
            low, high = (0, 1) if part.values == "probability" else part.space.value_range
            assert ((answer >= low) & (answer <= high)).all()
        else:
            assert output.pooled.shape == (batch, part.num_features)
            assert output.frames.shape == (batch, frames, part.num_features)
            assert output.tokens is None or output.tokens.shape[:2] == (batch, frames)

    def test_gradients_reach_every_parameter(self, kind, config):
        part = make(kind, config).train()
        if not list(part.parameters()):
            return
        sum(t.square().sum() for t in tensors(part(*inputs(kind)))).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())

    def test_evaluation_is_deterministic(self, kind, config):
        part, given = make(kind, config).eval(), inputs(kind)
        for first, second in zip(tensors(part(*given)), tensors(part(*given)), strict=True):
            assert torch.equal(first, second)

    def test_its_config_is_json_and_builds_an_equal_part(self, kind, config):
        part = make(kind, config).eval()
        twin = make(kind, json.loads(json.dumps(part.config))).eval()
        assert twin.config == part.config
        assert getattr(twin, "target", None) == config.get("target", getattr(type(part), "target", None))
        twin.load_state_dict(part.state_dict(), strict=True)
        for first, second in zip(tensors(part(*inputs(kind))), tensors(twin(*inputs(kind))), strict=True):
            assert torch.equal(first, second)

    def test_bfloat16(self, kind, config):
        part = copy.deepcopy(make(kind, config)).eval().to(torch.bfloat16)
        given = inputs(kind)
        if kind != "backbone":
            given = (Features.of_frames(given[0].frames.bfloat16(), given[0].frame_mask),)
        for value in tensors(part(*given)):
            assert value.dtype == torch.bfloat16
            assert value.isfinite().all()

    def test_padding_changes_no_real_output(self, kind, config):
        part = make(kind, config).eval()
        padded, short = inputs(kind, 2, 4, masked=True), inputs(kind, 2, 4, masked=True)
        if kind == "backbone":
            padded[0][:, -1] = 255
            cut = (short[0][:, :-1], short[1][:, :-1])
        else:
            padded[0].frames[:, -1] = 1e4
            cut = (Features.of_frames(short[0].frames[:, :-1], short[0].frame_mask[:, :-1]),)
        with_padding, without = part(*padded), part(*cut)
        if kind == "head":
            assert torch.allclose(with_padding, without, atol=1e-6)
        else:
            assert torch.allclose(with_padding.pooled, without.pooled, atol=1e-5)
            assert torch.allclose(with_padding.frames[:, :-1], without.frames, atol=1e-5)

    def test_a_clip_without_real_frames_is_finite(self, kind, config):
        given = inputs(kind)
        given[-1].fill_(False) if kind == "backbone" else given[0].frame_mask.fill_(False)
        output = make(kind, config).eval()(*given)
        assert all(value.isfinite().all() for value in tensors(output))


SPACES = {"au": label_space("AU6,AU12,AU15"), "expression": label_space("happiness,neutral,sadness")}


@pytest.mark.parametrize("config", [p.values[1] for p in configs("bridge", BRIDGES)], ids=[*BRIDGES])
class TestBridge:
    def make(self, config: dict) -> nn.Module:
        torch.manual_seed(0)
        return build("bridge", config, spaces=SPACES)

    def test_prototypes_are_unit_vectors_one_a_label(self, config):
        bridge = self.make(config)
        given = bridge()
        assert {name: len(vectors) for name, vectors in given.items()} == {"au": 3, "expression": 3}
        for vectors in given.values():
            assert vectors.shape[1] == bridge.num_features
            assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)

    def test_gradients_reach_every_trained_parameter(self, config):
        bridge = self.make(config).train()
        weights = torch.randn(bridge.num_features)
        sum((vectors @ weights).square().sum() for vectors in bridge().values()).backward()
        trained = [p for p in bridge.parameters() if p.requires_grad]
        assert trained
        assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)

    def test_its_config_is_json_and_builds_an_equal_bridge(self, config):
        bridge = self.make(config)
        twin = build("bridge", json.loads(json.dumps(bridge.config)), spaces=SPACES)
        assert twin.config == bridge.config
        twin.load_state_dict(bridge.state_dict(), strict=True)
        assert all(torch.equal(twin()[name], vectors) for name, vectors in bridge().items())

    def test_bfloat16(self, config):
        bridge = copy.deepcopy(self.make(config)).to(torch.bfloat16)
        assert all(v.dtype == torch.bfloat16 and v.isfinite().all() for v in bridge().values())

    def test_new_classes_get_unit_vectors(self, config):
        given = self.make(config).encode_classes("expression", ["happiness", "fear"])
        assert list(given) == ["happiness", "fear"]
        assert torch.allclose(torch.stack([*given.values()]).norm(dim=1), torch.ones(2), atol=1e-5)
