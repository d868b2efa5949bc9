"""Face meshes on rendered faces whose points, pose, gaze and blinks are known."""

from __future__ import annotations

import hashlib
import math
import pickle
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from affectkit.errors import ConfigError, WeightsError
from affectkit.faces import (
    BLENDSHAPES,
    LANDMARKS_68,
    Camera,
    CenterFace,
    FaceMesh,
    FacePicture,
    MeshDetector,
    detector_name,
    head_points,
    mesh_detector,
    picture_transform,
    transform_points,
)
from affectkit.faces.blazeface import decode_faces, merge_faces
from affectkit.faces.frames import MeshFaces, face_source
from affectkit.faces.mesh_detector import Region, region_of_mesh
from affectkit.synth import Face, FaceRenderer, Person, Scene

ASSETS = resources.files("affectkit.faces") / "assets"


@pytest.fixture(scope="module")
def renderer():
    renderer = FaceRenderer(256)
    renderer.set(Person(), Scene(zoom=0.25))
    return renderer


@pytest.fixture(scope="module")
def render(renderer):
    def make(**settings) -> torch.Tensor:
        return torch.from_numpy(renderer.render(Face(**settings)).image.copy()).permute(2, 0, 1)

    return make


@pytest.fixture(scope="module")
def detector():
    return MeshDetector()


@pytest.fixture(scope="module")
def mesh_of(render, detector):
    def find(**settings) -> FaceMesh:
        ((face,),) = detector(render(**settings)[None])
        return face.mesh

    return find


@pytest.fixture(scope="module")
def neutral(mesh_of):
    return mesh_of()


def test_results_are_those_of_mediapipe():
    reference = np.load(Path(__file__).with_name("face_mesh.npz"))
    renderer = FaceRenderer(256)
    renderer.set(Person(), Scene(zoom=0.25))
    faces = [
        Face(),
        Face({12: 1.0, 25: 0.8}, yaw=15, roll=10),
        Face({1: 1.0, 2: 1.0, 26: 1.0}, pitch=-10, yaw=-20),
    ]
    frames = torch.stack([torch.from_numpy(renderer.render(face).image.copy()) for face in faces])
    found = MeshDetector(refine=False)(frames.permute(0, 3, 1, 2))
    assert [len(faces) for faces in found] == [1, 1, 1]
    for k, (face,) in enumerate(found):
        difference = np.abs(face.mesh.points.numpy() - reference["points"][k]).max(0)
        assert (difference < (0.2, 0.2, 0.5)).all()
        assert np.abs(face.mesh.blendshapes.numpy() - reference["blendshapes"][k]).max() < 0.01
        assert face.mesh.presence > 0.99


def test_landmarks_are_near_those_of_the_renderer(renderer, detector):
    rendered = renderer.render(Face(yaw=8, roll=5))
    ((face,),) = detector(torch.from_numpy(rendered.image.copy()).permute(2, 0, 1)[None])
    truth = torch.from_numpy(rendered.landmarks)
    distance = (face.mesh.landmarks - truth).norm(dim=-1) / (truth[36] - truth[45]).norm()
    assert distance[36:].mean() < 0.03  # eyes and mouth
    assert distance[17:36].mean() < 0.08  # brows and nose
    assert distance[:17].mean() < 0.09  # the outline has no corners
    assert len(set(LANDMARKS_68)) == 68


def test_a_mesh_serves_alignment(neutral):
    face = neutral.face()
    assert face.mesh is neutral
    assert face.box == neutral.box
    left, top, width, height = face.box
    assert 60 < width < 120
    assert width < height
    assert 0 < left < left + width < 256
    assert 0 < top < top + height < 256
    placed = transform_points(face.points, picture_transform(face, FacePicture(size=112)))
    assert placed[0, 1].item() == pytest.approx(placed[1, 1].item(), abs=0.5)


def test_blendshapes_by_name_on_the_subjects_own_side(neutral, mesh_of):
    assert len(BLENDSHAPES) == len(set(BLENDSHAPES)) == len(neutral.blendshapes) == 52
    smile = mesh_of(units={12: 1.0, 25: 0.6})
    for name in ("mouthSmileLeft", "mouthSmileRight"):
        assert smile.blendshape(name) > neutral.blendshape(name) + 0.4
    wink = mesh_of(units={45: (1.0, 0.0)})
    assert wink.blendshape("eyeBlinkLeft") > wink.blendshape("eyeBlinkRight") + 0.3


def test_closed_eyes(neutral, mesh_of):
    assert (neutral.eye_openness > 0.25).all()
    assert (mesh_of(units={45: 1.0}).eye_openness < 0.12).all()
    wink = mesh_of(units={45: (1.0, 0.0)}).eye_openness  # the subject's left is on the right of the picture
    assert wink[1] < wink[0] - 0.08


@pytest.mark.parametrize(
    ("settings", "axis", "sign"), [({"pitch": 15.0}, 0, -1), ({"yaw": 20.0}, 1, -1), ({"roll": 20.0}, 2, 1)]
)
def test_head_pose_has_the_signs_of_openface(neutral, mesh_of, settings, axis, sign):
    """Rx looks down, Ry turns to the left of the picture, Rz tilts clockwise."""
    (degrees,) = settings.values()
    before = neutral.head_pose().rotation
    for way in (1, -1):
        pose = mesh_of(**{name: way * value for name, value in settings.items()}).head_pose()
        turned = (pose.rotation - before).rad2deg()
        assert turned[axis].item() == pytest.approx(sign * way * degrees, abs=5)
        assert turned[torch.arange(3) != axis].abs().max() < 5


def test_rotation_is_composed_as_rx_ry_rz(mesh_of):
    pose = mesh_of(yaw=15, pitch=10, roll=20).head_pose()
    (a, b, c) = pose.rotation.tolist()
    rx = torch.tensor([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    ry = torch.tensor([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    rz = torch.tensor([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    assert torch.allclose(rx @ ry @ rz, pose.matrix, atol=1e-5)
    assert torch.linalg.det(pose.matrix).item() == pytest.approx(1, abs=1e-5)


def test_translation_is_in_millimetres_of_the_camera(renderer, neutral):
    assert Camera.for_frame(480, 640) == Camera(500.0, 319.5, 239.5)
    renderer.render(Face())
    scale, centre = renderer._frame(np.eye(3, dtype=np.float32))
    focal = 0.9 * float(scale) / 2  # the camera is 0.9 m from the middle of the head
    pose = neutral.head_pose(Camera(focal, *(centre / 2 - 0.5).tolist()))
    x, y, z = pose.translation.tolist()
    assert 780 < z < 920
    assert abs(x) < 8
    assert abs(y) < 60
    twice = neutral.head_pose(Camera(2 * focal, *(centre / 2 - 0.5).tolist()))
    assert twice.translation[2].item() == pytest.approx(2 * z, rel=0.1)


def test_gaze_has_the_signs_of_openface(neutral, mesh_of):
    before = neutral.gaze()
    assert torch.allclose(before.vectors.norm(dim=1), torch.ones(2))
    assert (before.vectors[:, 2] < -0.9).all()  # towards the camera
    for across in (-0.8, 0.8):  # to the subject's left: the right of the picture
        moved = (mesh_of(gaze=(across, 0.0)).gaze().angles - before.angles).rad2deg()
        assert moved[0].item() == pytest.approx(across * 25, abs=7)
    down = mesh_of(gaze=(0.0, -0.8)).gaze().angles - before.angles
    up = mesh_of(gaze=(0.0, 0.8)).gaze().angles - before.angles
    assert down[1].rad2deg() > 6
    assert up[1].rad2deg() < -6


def test_gaze_turns_with_the_head(neutral, mesh_of):
    moved = (mesh_of(yaw=20.0).gaze().angles - neutral.gaze().angles).rad2deg()
    assert moved[0].item() == pytest.approx(20, abs=6)


def test_a_batch_gives_what_single_frames_give(render, detector):
    frames = torch.stack([render(), torch.zeros(3, 256, 256, dtype=torch.uint8), render(yaw=15)])
    together = detector(frames)
    assert [len(faces) for faces in together] == [1, 0, 1]
    for frame, faces in zip(frames, together, strict=True):
        for alone, face in zip(detector(frame[None])[0], faces, strict=True):
            assert torch.allclose(alone.mesh.points, face.mesh.points, atol=0.01)
            assert alone.mesh.brow_lowering == pytest.approx(face.mesh.brow_lowering, abs=0.01)
    assert detector(frames[:0]) == []


def test_more_faces_than_go_through_a_network_at_once(render, detector, monkeypatch):
    monkeypatch.setattr(mesh_detector, "_TOGETHER", 2)
    whole = render()
    wide = torch.cat([whole, render(yaw=10), whole], dim=2)
    faces = detector(torch.stack([wide] * 3))
    assert [len(found) for found in faces] == [3, 3, 3]
    assert detector.fit([], []) == []


def test_faces_turned_in_the_picture_and_at_its_edge(render, detector, neutral):
    turned = detector(render(roll=35.0)[None])[0]
    assert len(turned) == 1
    part = render()[:, 40:, 60:]
    ((face,),) = detector(part[None])
    moved = neutral.points[:, :2] - torch.tensor([60.0, 40.0])
    assert (face.mesh.points[:, :2] - moved).norm(dim=-1).mean() < 2


def test_the_second_pass_makes_regions_agree(render):
    frame = render(roll=-8.0)
    once, twice = MeshDetector(refine=False), MeshDetector()
    (found,) = once.detect(frame[None])[0]
    (one,), (two,) = once.read([frame], [found]), twice.read([frame], [found])
    assert not torch.equal(one.points, two.points)
    assert torch.equal(two.points, once.fit([frame], [region_of_mesh(one.points)])[0].points)


def test_small_faces_by_another_detector(render):
    small = F.interpolate(render()[None], size=96, mode="bilinear", antialias=True)
    frame = torch.full((1, 3, 480, 640), 60, dtype=torch.uint8)
    frame[..., 300:396, 80:176] = small
    with_center = MeshDetector(detector=CenterFace())
    assert MeshDetector()(frame) == [[]]
    ((face,),) = with_center(frame)
    assert 80 < face.box[0] < face.box[0] + face.box[2] < 176
    assert face.mesh.presence > 0.5


def test_other_detectors_need_no_points(render):
    from affectkit.faces import Face as Found

    frame = render()

    class Whole:
        def __call__(self, frames):
            return [[Found((80.0, 70.0, 96.0, 110.0), 1.0)] for _ in frames]

    ((face,),) = MeshDetector(detector=Whole())(frame[None])
    assert face.mesh.presence > 0.9
    assert "faces by Whole" in str(MeshDetector(detector=Whole()))


def test_a_region_goes_to_the_frame_and_is_turned_clockwise():
    matrix = Region(100.0, 50.0, 512.0, math.pi / 2).matrix(256)
    assert np.allclose(matrix @ [128, 128, 1], [100, 50])
    assert np.allclose(
        matrix @ [129, 128, 1], [100, 52]
    )  # right in the picture of the face is down in the frame


def test_candidates_are_decoded_and_merged():
    boxes, scores = np.zeros((896, 16), np.float32), np.full(896, -9.0, np.float32)
    boxes[:, 2:4] = 32.0
    boxes[0, 4:] = 6.4
    scores[[0, 1, 895]] = (3.0, 1.0, 2.0)
    faces, kept = decode_faces(boxes, scores, 0.5)
    assert kept == pytest.approx([0.9526, 0.8808, 0.7311], abs=1e-4)
    assert faces[0, :6] == pytest.approx([-0.09375, -0.09375, 0.15625, 0.15625, 0.08125, 0.08125])
    merged, best = merge_faces(faces, kept, 0.3)
    assert best == pytest.approx([0.9526, 0.8808], abs=1e-4)
    share = 0.9526 / (0.9526 + 0.7311)
    assert merged[0, 4] == pytest.approx(0.08125 * share + 0.03125 * (1 - share), abs=1e-4)
    assert merged[1, :2] == pytest.approx([0.8125, 0.8125])
    assert merge_faces(faces[:0], kept[:0], 0.3)[0].shape == (0, 16)


@pytest.mark.parametrize(
    "options", [{"threshold": 0.0}, {"threshold": 1.0}, {"presence": -0.1}, {"presence": 1.0}]
)
def test_numbers_out_of_range(options):
    with pytest.raises(ConfigError, match="out of range"):
        MeshDetector(**options)


def test_copies_and_names(detector, render):
    assert len(pickle.dumps(detector)) < 1000
    again, frame = pickle.loads(pickle.dumps(detector)), render()[None]
    assert torch.equal(again(frame)[0][0].points, detector(frame)[0][0].points)
    assert detector_name(detector) == "face mesh (threshold 0.5, presence 0.5)"


def test_faces_by_mesh_on_request():
    source = face_source("mesh")
    assert isinstance(source, MeshFaces)
    assert source.videos.detector is None
    assert source.photos.detector.longest == 640
    assert face_source("mesh", detector_size=320).videos.detector.longest == 320


def test_assets_are_small_and_described_in_the_notice(monkeypatch, render):
    notice = (ASSETS / "NOTICE").read_text()
    for name in (
        "face_detector.onnx",
        "face_mesh.onnx",
        "face_blendshapes.onnx",
        "face_geometry.npz",
        "face_brows.onnx",
    ):
        content = (ASSETS / name).read_bytes()
        assert len(content) < 5_000_000
        assert f"{hashlib.sha256(content).hexdigest()}  {name}" in notice
    monkeypatch.setattr(mesh_detector, "_MESH", "0" * 64)
    with pytest.raises(WeightsError, match=r"face_mesh\.onnx"):
        MeshDetector()(render()[None])


def test_points_of_the_head_do_not_depend_on_pose_place_and_size():
    torch.manual_seed(0)
    face = torch.rand(478, 3) * 100
    angle = 0.3
    turn = torch.tensor(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    )
    one, rotation = head_points(face)
    two, other = head_points(1.7 * face @ turn.T + torch.tensor([30.0, -4.0, 9.0]))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(rotation, other, atol=0.1)
