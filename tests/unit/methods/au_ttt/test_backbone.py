"""The backbone of AU-TTT: options, regions, initial weights, saving."""

import copy
import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from affectkit import load
from affectkit.errors import ConfigError, LabelSpaceError, WeightsError
from affectkit.facs import AUSet
from affectkit.facs.mean_shape import MEAN_SHAPE_68
from affectkit.facs.regions import region_centres
from affectkit.methods.au_ttt import AUTTTBackbone, MultiScalePerception, UnitMaps
from affectkit.models import AffectModel, build
from affectkit.models.export import TOLERANCE, export_onnx, export_program

SMALL = {"units": "AU12,AU1", "size": 32, "patch": 8, "width": 16, "depth": 2, "heads": 2, "region": 0.25}
SCANS = ("bidirectional", "forward", "global", "attention")


def make(**options):
    """A backbone in evaluation mode whose parameters all matter, also those that start at 0."""
    torch.manual_seed(0)
    backbone = AUTTTBackbone(**{**SMALL, **options})
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return backbone.eval()


def clips(batch=2, frames=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (batch, frames, 3, 32, 32), generator=generator, dtype=torch.uint8)
    shift = 2 * torch.randn(batch, frames, 1, 2, generator=generator)
    return pictures, torch.tensor(MEAN_SHAPE_68) * 32 - 0.5 + shift


@pytest.mark.parametrize("scan", SCANS)
def test_a_picture_alone_equals_itself_in_a_batch(scan):
    backbone = make(scan=scan)
    frames, landmarks = clips()
    together = backbone(frames, None, landmarks)
    alone = backbone(frames[1:, 2:], None, landmarks[1:, 2:])
    torch.testing.assert_close(alone.tokens[0, 0], together.tokens[1, 2], rtol=0, atol=1e-5)
    torch.testing.assert_close(alone.frames[0, 0], together.frames[1, 2], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"scan": scan} for scan in SCANS] + [{"roi": False}, {"msp": False}, {"inner": False}]
)
def test_gradients_reach_every_parameter(options):
    backbone = make(**options).train()
    features = backbone(*clips()[:1])
    (features.tokens.square().sum() + features.frames.square().sum()).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        still = not options.get("inner", True) and any(part in name for part in ("rate", "offsets"))
        assert bool(parameter.grad.abs().sum() > 0) is not still, name


def test_parts_are_switched_off():
    def parts(**options):
        return {name.split(".")[2] for name, _ in make(**options).blocks[:1].named_parameters(prefix="all")}

    for option, part in (("roi", "regions"), ("msp", "msp")):
        assert parts() - parts(**{option: False}) == {part}


def test_the_inner_steps_run_at_test_time_and_can_be_switched_off():
    for scan in ("bidirectional", "global"):
        backbone = make(scan=scan)
        with torch.inference_mode():
            learned = backbone(clips()[0]).tokens
            backbone.take_inner_steps(False)
            still = backbone(clips()[0]).tokens
            twin = make(scan=scan, inner=False)(clips()[0]).tokens
        assert torch.equal(still, twin)
        assert not torch.allclose(learned, still, atol=1e-3)


def test_units_are_scanned_in_facs_order():
    assert torch.equal(make(units="AU12,AU1")(clips()[0]).tokens, make(units="AU1,AU12")(clips()[0]).tokens)


def test_landmarks_move_regions_and_a_mean_face_stands_in_for_them():
    frames, landmarks = clips()
    backbone, mean = make(), torch.tensor(MEAN_SHAPE_68) * 32 - 0.5
    none = backbone(frames).tokens
    torch.testing.assert_close(backbone(frames, None, mean.expand(2, 3, -1, -1)).tokens, none)
    unknown = torch.zeros(2, 3, 68, dtype=torch.bool)
    torch.testing.assert_close(backbone(frames, None, landmarks, unknown).tokens, none)
    assert not torch.allclose(backbone(frames, None, landmarks).tokens, none)
    model = AffectModel(make(), {"au": {"type": "au_ttt", "space": "AU12"}}).eval()
    torch.testing.assert_close(
        model.features(frames, None, landmarks).tokens, backbone(frames, None, landmarks).tokens
    )
    fixed = AffectModel(
        make(landmarks=False), {"au": {"type": "au_ttt", "space": "AU12", "landmarks": False}}
    ).eval()
    torch.testing.assert_close(fixed.features(frames, None, landmarks).tokens, none)
    assert torch.equal(fixed(frames, None, landmarks)["au"], fixed(frames)["au"])


def test_heat_maps_peak_at_the_centres_of_the_units():
    units = AUSet.parse("AU1,AU12,AU16L")
    points = [(640 * x - 0.5, 640 * y - 0.5) for x, y in MEAN_SHAPE_68]
    maps = UnitMaps(list(units)).heat(None, None, clips=1, picture=640, grid=640)[0]
    for unit, heat in zip(units, maps, strict=True):
        centres = region_centres(unit, points)
        for x, y in centres:
            assert heat[round(y), round(x)] > 0.999
            if len(centres) == 1:
                assert heat[round(y), round(x) + 100] == pytest.approx(
                    torch.exp(torch.tensor(-0.5)).item(), abs=5e-3
                )
    assert maps.shape == (3, 640, 640)
    assert maps.max() <= 1


@pytest.mark.filterwarnings(
    "ignore:.*autograd.function.Function.*should not be instantiated"
)  # by torch itself
def test_it_compiles_to_one_graph():
    backbone = make(depth=1, size=16, region=0.5)
    frames = clips()[0][..., :16, :16]
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(frames).tokens, backbone(frames).tokens)


@pytest.mark.parametrize("grid", [4, 7])
def test_the_scales_of_perception_are_dilated_convolutions(grid):
    msp = MultiScalePerception(8, grid).double()
    torch.nn.init.normal_(msp.up.weight)
    tokens = torch.randn(2, grid**2 + 1, 8, dtype=torch.float64)
    maps = msp.down(tokens[:, :-1]).mT.unflatten(-1, (grid, grid))
    views = torch.cat([scale(maps) for scale in msp.scales], dim=1)
    expected = msp.up(torch.nn.functional.gelu(views.flatten(2).mT))
    torch.testing.assert_close(msp(tokens)[:, :-1], expected, rtol=0, atol=1e-12)


def test_layers_are_dropped_only_in_training():
    backbone = make(layer_drop=0.5)
    frames = clips()[0]
    assert torch.equal(backbone(frames).tokens, make()(frames).tokens)
    backbone.train()
    torch.manual_seed(0)
    found = torch.stack([backbone(frames).tokens.detach() for _ in range(8)])
    assert found.std(dim=0).max() > 0.01


def vit_file(folder):
    torch.manual_seed(3)
    net = timm.create_model("test_vit", img_size=32, num_classes=0)
    save_file(net.state_dict(), folder / "vit.safetensors")
    return net, str(folder / "vit.safetensors")


VIT = {"size": 32, "patch": 16, "width": 64, "depth": 2, "heads": 2, "hidden": 192, "vit": "test_vit"}


@pytest.mark.parametrize("scan", SCANS)
def test_it_starts_from_a_vit(tmp_path, scan):
    net, path = vit_file(tmp_path)
    backbone = AUTTTBackbone("AU1,AU12", **VIT, weights=path, scan=scan).eval()
    block, source = backbone.blocks[1], net.blocks[1]
    assert torch.equal(backbone.embed.weight, net.patch_embed.proj.weight)
    assert torch.equal(backbone.positions[:4], net.pos_embed[0, 1:])
    torch.testing.assert_close(
        backbone.class_token + backbone.positions[4], net.cls_token[0, 0] + net.pos_embed[0, 0]
    )
    assert torch.equal(block.qkv.weight, source.attn.qkv.weight)
    assert torch.equal(block.mlp[2].weight, source.mlp.fc2.weight)
    assert torch.equal(block.norm2.bias, source.norm2.bias)
    if scan == "attention":  # but for biases and multi-scale perception, it is the ViT
        for part in (*net.blocks, *backbone.blocks):
            if hasattr(part, "attn"):
                torch.nn.init.zeros_(part.attn.qkv.bias)
                torch.nn.init.zeros_(part.attn.proj.bias)
        net.blocks = net.blocks[:2]
        frames = clips(1, 1)[0]
        theirs = net.eval().forward_features(backbone.normalize(frames[0]))
        torch.testing.assert_close(backbone(frames).frames[0], theirs[:, 0], rtol=1e-3, atol=1e-4)


def test_weights_that_do_not_fit_are_named(tmp_path):
    _, path = vit_file(tmp_path)
    with pytest.raises(WeightsError, match="do not fit the backbone"):
        AUTTTBackbone("AU1", **{**VIT, "hidden": 128}, weights=path)
    with pytest.raises(WeightsError, match="not a weight file"):
        AUTTTBackbone("AU1", **VIT, weights=str(tmp_path / "none.safetensors"))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"scan": "spiral"}, "Unknown scan 'spiral'"),
        ({"size": 30}, "Pictures of 30 pixels"),
        ({"heads": 3}, "width 16 with 3 heads"),
        ({"region": 0.0}, "share of the patches"),
    ],
)
def test_faults_are_named(options, fault):
    with pytest.raises(ConfigError, match=fault):
        AUTTTBackbone(**{**SMALL, **options})


def test_units_need_a_region():
    with pytest.raises(LabelSpaceError, match="no region for AU11"):
        AUTTTBackbone(**{**SMALL, "units": "AU11"})


def test_a_saved_model_is_the_same(tmp_path):
    model = AffectModel(make(), {"au": {"type": "au_ttt", "space": "AU1,AU12"}}).eval()
    model.save_pretrained(tmp_path)
    again = load(str(tmp_path))
    assert again.config == json.loads(json.dumps(model.config))
    frames, landmarks = clips()
    assert torch.equal(again(frames, None, landmarks)["au"], model(frames, None, landmarks)["au"])
    again.load_state_dict(model.state_dict(), strict=True)


def test_it_exports_for_any_number_of_clips(tmp_path):
    model = AffectModel(make(depth=1), {"au": {"type": "au_ttt", "space": "AU1,AU12"}}).eval()
    assert export_onnx(model, tmp_path / "model.onnx") < TOLERANCE
    graph = export_program(model).module()
    for batch, count in ((1, 1), (3, 2)):
        frames, _ = clips(batch, count)
        torch.testing.assert_close(graph(frames=frames)["au"], model.predict(frames)["au"])


@pytest.mark.parametrize("scan", SCANS)
def test_bfloat16(scan):
    backbone = copy.deepcopy(make(scan=scan)).to(torch.bfloat16)
    features = backbone(clips()[0])
    assert features.tokens.dtype == torch.bfloat16
    assert features.tokens.isfinite().all()
    twin = build("backbone", backbone.config)
    twin.load_state_dict(make(scan=scan).state_dict())
    torch.testing.assert_close(features.frames.float(), twin.eval()(clips()[0]).frames, rtol=0.1, atol=0.15)
