"""The mirrored signals of a face are those of the mirrored picture."""

import pytest
import torch

from affectkit.data import Clip, HorizontalFlip
from affectkit.faces import BLENDSHAPES, measure_signals, mirror_blendshapes, mirror_mesh, mirror_pose
from affectkit.synth import Face, FaceRenderer, Person, Scene


@pytest.fixture(scope="module")
def measured():
    """Signals of a face that turns, smiles and winks to one side, and of its mirror image."""
    renderer = FaceRenderer(256)
    renderer.set(Person(), Scene(zoom=0.35))
    face = Face({12: (1.0, 0.0), 45: (0.0, 1.0)}, yaw=20.0, pitch=5.0, roll=10.0)
    picture = torch.from_numpy(renderer.render(face).image.copy()).permute(2, 0, 1)
    return measure_signals([picture]), measure_signals([picture.flip(-1).contiguous()])


@pytest.mark.parametrize(
    ("name", "mirror", "share"),
    [("mesh", mirror_mesh, 0.4), ("blendshapes", mirror_blendshapes, 0.7), ("pose", mirror_pose, 0.1)],
)
def test_mirrored_signals_are_near_those_of_the_mirrored_picture(measured, name, mirror, share):
    values, target = measured[0][name], measured[1][name]
    error = (mirror(values) - target).abs().mean()
    assert error < share * (values - target).abs().mean()
    assert torch.allclose(mirror(mirror(values)), values)


def test_points_on_the_middle_line_stay_and_eyes_change_places():
    points = torch.zeros(478, 3)
    points[:, 2] = torch.arange(478.0)
    order = mirror_mesh(points)[:, 2].long()
    assert order[[1, 4, 152, 10]].tolist() == [1, 4, 152, 10]  # nose, chin, forehead
    assert order[[33, 61, 468, 469, 470]].tolist() == [263, 291, 473, 476, 475]  # outer corner, mouth, iris


def test_left_blendshapes_become_right_ones():
    names = list(BLENDSHAPES)
    values = mirror_blendshapes(torch.arange(52))
    assert values[names.index("mouthSmileLeft")] == names.index("mouthSmileRight")
    assert values[names.index("jawOpen")] == names.index("jawOpen")


def test_a_clip_is_mirrored_with_its_signals():
    pose = torch.tensor([[0.1, 0.2, 0.3]])
    clip = Clip.make(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), signals={"pose": pose})
    flipped = HorizontalFlip(p=1.0)(clip, torch.Generator())
    assert torch.equal(flipped.signals["pose"], torch.tensor([[0.1, -0.2, -0.3]]))
