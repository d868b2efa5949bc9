"""Real faces: a photograph that is always there, and the media of `make media`."""

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import torch
from skimage.data import astronaut
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from affectkit.data.video import open_video
from affectkit.faces import CenterFace, FaceTracker, MeshDetector, frame_faces
from affectkit.faces.frames import NO_FACE, REDUCED
from affectkit.inference import Predictor
from affectkit.models import AffectModel
from affectkit.models.features import InputSpec

MEDIA = Path(__file__).parents[2] / "media"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return AffectModel(
        {"type": "timm", "model_name": "test_resnet", "size": 32},
        {"au": {"type": "au", "space": "AU1,AU12", "per_frame": True}},
        input_spec={"frames": 4, "crop_margin": 0.1},
    )


def test_a_face_that_leaves_the_picture_comes_back_as_the_same(tmp_path):
    """The photograph moves behind a window of 240 pixels, so that its face goes out at the left and comes back."""
    import numpy as np
    from PIL import Image

    photo = np.pad(astronaut()[:240, 60:360], ((0, 0), (0, 400), (0, 0)), constant_values=60)
    lefts = [0, 15, 40, 80, 120, 170, 230, 400, 400, 230, 170, 120, 80, 40, 15, 0]
    for number, left in enumerate(lefts):
        Image.fromarray(np.ascontiguousarray(photo[:, left : left + 240])).save(tmp_path / f"{number:02}.png")
    with open_video(tmp_path) as video:
        frames = list(frame_faces(video, CenterFace(), InputSpec(size=32)))
    there = [left <= 120 for left in lefts]  # the whole face
    gone = [left >= 230 for left in lefts]
    for frame, here, away in zip(frames, there, gone, strict=True):
        assert not here or list(frame.faces) == [0]
        assert not away or (frame.faces, frame.reason) == ({}, NO_FACE)
    first, last = frames[0].faces[0], frames[-1].faces[0]
    assert first.box == pytest.approx(last.box, abs=0.1)
    assert torch.equal(first.picture, last.picture)


@pytest.mark.realmedia
@pytest.mark.parametrize(
    ("name", "rows", "faces"),
    [
        ("single_face.jpg", 1, {0: 1}),
        ("multi_face.jpg", 5, dict.fromkeys(range(5), 1)),
        ("single_face.mp4", 72, {0: 72}),
        ("face_noface.mov", 169, {0: 72, None: 97}),
        ("no_face.mp4", 95, {None: 95}),
    ],
)
def test_rows_and_faces_of_real_media(model, name, rows, faces):
    predictor = Predictor(model, faces=CenterFace(longest=320))
    found = list(predictor.predict_file(MEDIA / name))
    assert len(found) == rows
    assert Counter(row.face for row in found) == faces
    for row in found:
        assert row.success == (row.face is not None)
        assert row.reason in ((None,) if row.success else (NO_FACE, REDUCED))
    with open_video(MEDIA / name) as video:
        assert sorted({row.frame for row in found}) == list(range(video.num_frames))
        assert [row.timestamp for row in found] == [float(video.timestamps[row.frame]) for row in found]


@pytest.mark.realmedia
@pytest.mark.parametrize(
    ("name", "faces"),
    [
        ("single_face.jpg", {0: 1}),
        ("multi_face.jpg", dict.fromkeys(range(5), 1)),
        ("single_face.mp4", {0: 72}),
        ("no_face.mp4", {None: 95}),
    ],
)
def test_meshes_of_real_media(model, name, faces):
    found = list(Predictor(model).predict_file(MEDIA / name))
    assert Counter(row.face for row in found) == faces
    assert all((row.mesh is not None) == row.success == (row.face is not None) for row in found)


@pytest.mark.realmedia
def test_five_people_stay_themselves_while_the_camera_moves():
    with open_video(MEDIA / "multi_face.jpg") as video:
        photo = video.read([0])
    detector, tracker, seen = CenterFace(), FaceTracker.for_video(25), Counter()
    for number in range(12):
        left, top, light = 8 * number, 60 - 5 * number, 1 + 0.04 * number
        frame = photo[:, :, top : top + 560, left : left + 880].float() * light
        frame = F.interpolate(frame, scale_factor=0.6 + 0.02 * number, mode="bilinear", antialias=True)
        small = frame[0].clamp(0, 255).to(torch.uint8)
        seen.update(tracker.update(detector(small[None])[0], small))
    assert seen == dict.fromkeys(range(5), 12)


@pytest.mark.realmedia
def test_a_real_smile_in_the_mesh():
    with open_video(MEDIA / "single_face.mp4") as video:
        meshes = [frame.faces[0].mesh for frame in frame_faces(video, MeshDetector(), InputSpec(size=32))]
    smile = [mesh.blendshape("mouthSmileLeft") for mesh in meshes]
    assert len(smile) == 72
    assert max(smile[:12]) < 0.05
    assert min(smile[30:60]) > 0.7
    yaw = torch.stack([mesh.head_pose().rotation for mesh in meshes])[:, 1].rad2deg()
    assert yaw.abs().max() < 10
    gaze = torch.stack([mesh.gaze().angles for mesh in meshes[:12]]).rad2deg()
    assert gaze.abs().max() < 15


@pytest.mark.realmedia
@pytest.mark.parametrize(("detector", "faces"), [(None, 3), (CenterFace(), 5)])
def test_small_real_faces_have_meshes(detector, faces):
    with open_video(MEDIA / "multi_face.jpg") as video:
        (found,) = MeshDetector(detector=detector)(video.read([0]))
    assert len(found) == faces
    assert all(face.score > 0.8 for face in found)


def frames_of(spans):
    return [frame for start, end in spans for frame in range(start, end)]


def labels_of(name):
    return json.loads((MEDIA.parent / "tests" / "assets" / "real_faces.json").read_text())[name]


def auc(table, labels, unit):
    """Area under the ROC curve of a column over the labelled frames of a clip."""
    present, absent = (frames_of(labels[unit][state]) for state in ("present", "absent"))
    return roc_auc_score([1] * len(present) + [0] * len(absent), table[unit].iloc[present + absent])


@pytest.mark.realmedia
def test_the_mesh_model_agrees_with_labels_of_a_real_smile():
    name = "single_face.mp4"
    labels = labels_of(name)
    predictor = Predictor("mesh")
    table = predictor.predict(MEDIA / name)
    thresholds = predictor.metadata()["heads"]["au"]["thresholds"]
    assert min(auc(table, labels, unit) for unit in ("AU06", "AU12", "AU25", "AU45")) >= 0.95
    smile, rest = table.iloc[frames_of(labels["AU12"]["present"])], table.iloc[slice(*labels["neutral"])]
    assert smile["AU12_i"].median() >= 1.5
    assert rest["AU12_i"].max() < 0.3
    for unit in ("AU04", "AU09", "AU15", "AU24"):
        assert table[f"{unit}_i"].max() < 0.5
    over = pd.DataFrame({unit: rest[unit] >= limit for unit, limit in thresholds.items()})
    assert over.to_numpy().mean() <= 0.02


@pytest.mark.realmedia
def test_the_mesh_model_agrees_with_labels_of_real_crying_and_laughing():
    """The clip has no neutral stretch."""
    name = "WolfgangLanger_Pexels.mp4"
    labels = labels_of(name)
    table = Predictor("mesh").predict(MEDIA / name)
    units = ("AU01", "AU04", "AU06", "AU12", "AU25", "AU45")
    assert min(auc(table, labels, unit) for unit in units) >= 0.95
    laughing = frames_of(labels["AU12"]["present"])
    assert table["AU12_i"].iloc[laughing].median() >= 1.5
    assert table["AU04_i"].iloc[frames_of(labels["AU04"]["present"])].median() >= 1.5
    at_rest = table.iloc[frames_of(labels["AU04"]["absent"])]
    assert at_rest["AU04_i"].max() < 0.5
    assert at_rest["AU02_i"].max() < 0.5  # brows at rest in the laughter


@pytest.mark.realmedia
def test_the_mesh_model_sees_the_smiles_of_a_group():
    table = Predictor("mesh").predict(MEDIA / "multi_face.jpg")
    units = [name for name in table if name.endswith("_i") and name[-3].isdigit()]
    strongest = [row[units].astype(float).nlargest(2).index for _, row in table.iterrows()]
    assert sum("AU12_i" in names for names in strongest) >= 4
