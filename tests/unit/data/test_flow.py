"""Optical flow as pictures."""

import pytest
import torch
from torch.nn import functional as F

from affectkit.data import Clip, OpticalFlow, Target
from affectkit.errors import ConfigError

SIZE = 64


def texture():
    noise = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, (SIZE + 16, SIZE + 16), mode="bicubic").clamp(0, 1)[0, 0]


def clip_of(*shifts, **options):
    """The same texture, moved by (right, down) pixels from frame to frame."""
    picture = (texture() * 255).to(torch.uint8)
    frames = [picture[8 - y : 8 - y + SIZE, 8 - x : 8 - x + SIZE].expand(3, SIZE, SIZE) for x, y in shifts]
    return Clip.make(torch.stack(frames), **options)


@pytest.mark.parametrize("shift", [3.0, 4.0])
def test_shifts_are_recovered_in_pixels_with_their_signs(shift):
    flow = OpticalFlow(shift=shift)(clip_of((0, 0), (2, -1))).frames
    assert flow.shape == (1, 3, SIZE, SIZE)
    assert flow.dtype == torch.uint8
    u, v = ((flow[0, :2, 8:-8, 8:-8].float() - 127.5) / 127.5 * shift).mean(dim=(1, 2))
    assert u == pytest.approx(2, abs=0.15)
    assert v == pytest.approx(-1, abs=0.15)
    assert flow[0, 2, 8:-8, 8:-8].float().mean() < 12  # a face that only shifts is not strained


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
    strain = OpticalFlow(strain=0.5)(Clip.make(frames)).frames[0, 2, 12:-12, 12:-12].float() / 255 * 0.5
    assert strain.mean() == pytest.approx(expected, abs=0.03)


def test_the_apex_is_the_key_frame_else_the_last_real_one():
    given = clip_of((0, 0), (2, 0), (-2, 0), key_frames=(0, 1, 2))
    by_key = OpticalFlow()(given).frames.float()[0, 0, 8:-8, 8:-8].mean()
    assert by_key > 180
    assert OpticalFlow()(clip_of((0, 0), (2, 0), (-2, 0))).frames.float()[0, 0, 8:-8, 8:-8].mean() < 75


def test_labels_and_landmarks_follow():
    points = torch.full((2, 68, 2), 15.5)
    targets = {
        "au": Target.make(torch.tensor([[0.0], [1.0]]), space="AU12"),
        "expression": Target.make(torch.tensor(3), space="basic7"),
    }
    flow = OpticalFlow(size=32)(clip_of((0, 0), (1, 0), targets=targets, landmarks=points))
    assert flow.frames.shape == (1, 3, 32, 32)
    assert flow.targets["au"].value.tolist() == [[1.0]]
    assert flow.targets["expression"].value.item() == 3
    assert flow.landmarks[0, 0].tolist() == [7.5, 7.5]
    assert flow.key_frames.tolist() == [-1, 0, -1]
    assert flow.frame_mask.tolist() == [True]


@pytest.mark.parametrize("options", [{"size": 0}, {"shift": 0.0}, {"strain": -1.0}])
def test_impossible_settings(options):
    with pytest.raises(ConfigError, match="must be positive"):
        OpticalFlow(**options)
