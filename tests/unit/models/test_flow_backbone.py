"""Optical flow in front of another backbone."""

import json

import pytest
import torch
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models import AffectModel, FlowBackbone, build
from affectkit.models.backbones.flow import flow_picture
from affectkit.models.export import export_program

SIZE = 64


def texture():
    noise = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, (SIZE + 16, SIZE + 16), mode="bicubic").clamp(0, 1)[0, 0]


def moving(*shifts):
    """The same texture, moved by (right, down) pixels from frame to frame, uint8 [1, T, 3, 64, 64]."""
    picture = (texture() * 255).to(torch.uint8)
    frames = [picture[8 - y : 8 - y + SIZE, 8 - x : 8 - x + SIZE].expand(3, SIZE, SIZE) for x, y in shifts]
    return torch.stack(frames)[None]


def make(**options):
    torch.manual_seed(0)
    return FlowBackbone({"type": "clip", "model_name": "affectkit-tiny-patch8", "tokens": True}, **options)


def test_the_picture_shows_the_shift_to_the_last_real_frame():
    flow = make()
    clips = torch.cat([moving((0, 0), (2, -1), (-3, 0)), moving((0, 0), (1, 1), (0, 2))])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    for frames in (clips, clips.float() / 255):
        pictures = flow.pictures(frames, mask)
        assert pictures.dtype == torch.uint8
        shift = ((pictures[:, 0, :2, 8:-8, 8:-8].float() - 127.5) / 127.5 * 4).mean(dim=(2, 3))
        torch.testing.assert_close(shift, torch.tensor([[2.0, -1.0], [0.0, 2.0]]), rtol=0, atol=0.15)


@pytest.mark.parametrize("shift", [3.0, 4.0])
def test_shifts_are_recovered_in_pixels_with_their_signs(shift):
    flow = flow_picture(moving((0, 0), (2, -1))[0], SIZE, shift=shift)
    assert flow.shape == (3, SIZE, SIZE)
    assert flow.dtype == torch.uint8
    u, v = ((flow[:2, 8:-8, 8:-8].float() - 127.5) / 127.5 * shift).mean(dim=(1, 2))
    assert u == pytest.approx(2, abs=0.15)
    assert v == pytest.approx(-1, abs=0.15)
    assert flow[2, 8:-8, 8:-8].float().mean() < 12  # a face that only shifts is not strained


@pytest.mark.parametrize(
    ("deformed", "expected"),
    [
        ([[1.1, 0.0], [0.0, 1.0]], 0.1),
        ([[1.0, 0.0], [0.0, 1.1]], 0.1),
        ([[1.0, 0.1], [0.0, 1.0]], 0.1 / 2**0.5),  # shear
        ([[1.0, 0.05], [0.05, 1.0]], 0.1 / 2**0.5),
        ([[1.0, 0.05], [-0.05, 1.0]], 0.0),  # a face that turns is not strained
    ],
)
def test_strain_is_that_of_the_deformation(deformed, expected):
    picture = texture()[8:-8, 8:-8][None, None]
    back = F.pad(torch.linalg.inv(torch.tensor(deformed)), (0, 1))[None]
    grid = F.affine_grid(back, [1, 1, SIZE, SIZE], align_corners=False)
    moved = F.grid_sample(picture, grid, align_corners=False, padding_mode="border")
    frames = (torch.cat([picture, moved]) * 255).to(torch.uint8).expand(2, 3, SIZE, SIZE)
    strain = flow_picture(frames, SIZE, strain=0.5)[2, 12:-12, 12:-12].float() / 255 * 0.5
    assert strain.mean() == pytest.approx(expected, abs=0.03)


def test_the_wrapped_network_reads_the_flow_at_its_own_size():
    clips = torch.cat([moving((0, 0), (1, 0), (2, -1)), moving((0, 0), (3, 1), (0, 2))])
    flow = FlowBackbone({"type": "ststnet"}, size=SIZE, shift=3.0, strain=0.3)
    pairs = clips[:, [0, 2]]
    expected = torch.stack([flow_picture(pair, 28, shift=3.0, strain=0.3) for pair in pairs])[:, None]
    assert torch.equal(flow.pictures(clips), expected)
    assert (flow.input_spec.size, flow.backbone.input_spec.size) == (SIZE, 28)
    torch.testing.assert_close(flow.eval()(clips).pooled, flow.backbone(expected).pooled)


def test_features_have_one_frame_and_train_the_backbone():
    flow = make().train()
    features = flow(moving((0, 0), (2, 1)).expand(2, -1, -1, -1, -1))
    assert features.frames.shape == (2, 1, 64)
    assert features.tokens.shape == (2, 1, 64, 64)
    assert features.frame_mask is None
    (features.pooled.sum() + features.tokens.sum()).backward()
    assert all(p.grad is not None for p in flow.parameters())


def test_its_configuration_builds_an_equal_one():
    flow = make(shift=2.0).eval()
    twin = build("backbone", json.loads(json.dumps(flow.config))).eval()
    assert twin.config == flow.config
    twin.load_state_dict(flow.state_dict(), strict=True)
    clips = moving((0, 0), (1, 1))
    assert torch.equal(twin(clips).pooled, flow(clips).pooled)
    assert twin.to(torch.bfloat16)(clips).pooled.dtype == torch.bfloat16


def test_a_clip_without_real_frames_does_not_move():
    pictures = make().pictures(moving((0, 0), (3, 0)), torch.zeros(1, 2, dtype=torch.bool))
    assert pictures[0, 0].amax(dim=(1, 2)).tolist() == [128, 128, 0]


def test_faults_are_named():
    for options in ({"size": 0}, {"shift": 0.0}, {"strain": -1.0}):
        with pytest.raises(ConfigError, match="must be positive"):
            make(**options)
    with pytest.raises(ValueError, match="reads 64 by 64 pixels"):
        make()(torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8))
    model = AffectModel(make(), {"au": {"type": "au", "space": "AU12"}})
    with pytest.raises(ConfigError, match="trace"):
        export_program(model, frames=2)
