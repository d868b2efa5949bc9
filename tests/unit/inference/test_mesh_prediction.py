"""Models that read the mesh of a face, whatever finds it; their tables; and media in memory."""

from __future__ import annotations

import io
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.faces import Script
from PIL import Image
from skimage.data import astronaut

from affectkit.errors import ConfigError, VideoError
from affectkit.faces import CenterFace, Face, MeshDetector, align_face
from affectkit.faces.frames import NO_MESH, MeshFaces
from affectkit.inference import Baseline, Predictor, read_openface, read_table, to_pyfeat, write_predictions
from affectkit.models import AffectModel

PHOTO = np.ascontiguousarray(astronaut()[:224, 64:384])
BOX = (110, 55, 104, 140)


@pytest.fixture(scope="module")
def fused():
    """A small model of pictures and meshes with random weights."""
    torch.manual_seed(0)
    signals = {
        "type": "signals",
        "signals": {"mesh": 1434, "blendshapes": 52, "pose": 3, "brow_lowering": 1},
        "width": 16,
    }
    picture = {"type": "timm", "model_name": "test_resnet", "size": 32}
    model = AffectModel(
        {"type": "fused", "parts": {"picture": picture, "face": signals}},
        {
            "au": {"type": "au", "space": "AU1,AU12", "per_frame": True},
            "intensity": {"type": "intensity", "space": "intensity:AU12", "per_frame": True},
        },
        input_spec={"frames": 3},
    )
    for parameter in model.heads.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def shifted(k: int, width: int = 260) -> torch.Tensor:
    """The photo in a window that moves to the right."""
    return torch.from_numpy(PHOTO[:, 2 * k : 2 * k + width]).permute(2, 0, 1).contiguous()


def test_a_model_sees_picture_and_signals_of_its_window(fused, memory_video):
    video = memory_video(5, shifted)
    rows = list(Predictor(fused, batch_size=2).predict_video(video))
    assert [row.success for row in rows] == [True] * 5
    assert [row.face for row in rows] == [0] * 5
    meshes = [row.mesh for row in rows]
    pictures = [align_face(shifted(k), mesh.face(), fused.input_spec) for k, mesh in enumerate(meshes)]
    for k, row in enumerate(rows):
        window = [max(0, k - 1), k, min(4, k + 1)]
        signals = [meshes[i].signals() for i in window]
        wanted = fused.predict(
            torch.stack([pictures[i] for i in window])[None],
            signals={name: torch.stack([one[name] for one in signals])[None] for name in signals[0]},
        )
        found = [row.values["AU01"], row.values["AU12"], row.values["AU12_i"]]
        assert found == pytest.approx(
            [*wanted["au"][0, 1].tolist(), wanted["intensity"][0, 1, 0].item()], abs=1e-4
        )


def test_a_mesh_is_measured_however_the_face_is_found(fused, memory_video):
    video = memory_video(1, lambda k: shifted(k, 320))
    (wanted,) = Predictor(fused).predict_video(video)
    corner = "{},{},{},{}".format(*BOX)
    for faces in ("centerface", CenterFace(), MeshDetector(), corner, "center"):
        (row,) = Predictor(fused, faces=faces).predict_video(video)
        assert row.success
        assert (row.mesh.points - wanted.mesh.points)[:, :2].abs().mean() < 2.0
        assert row.mesh.frame_size == (224, 320)
        assert (row.mesh.blendshapes - wanted.mesh.blendshapes).abs().max() < 0.25
    assert Predictor(fused, faces="center").has_meshes


def test_a_face_without_a_mesh_has_no_values(fused, memory_video):
    video = memory_video(2, lambda k: torch.full((3, 80, 80), 90, dtype=torch.uint8))
    script = Script(lambda k: [Face((20.0, 20.0, 30.0, 30.0), 0.9)])
    for faces in (script, "center"):
        rows = list(Predictor(fused, faces=faces).predict_video(video))
        assert [(row.face, row.success, row.reason) for row in rows] == [(0, False, NO_MESH)] * 2
        assert all(math.isnan(row.values["AU12"]) and row.mesh is None for row in rows)


def test_photos_and_videos_have_their_own_detectors(fused):
    source = Predictor(fused).faces
    assert isinstance(source, MeshFaces)
    assert isinstance(source.photos.detector, CenterFace)
    assert source.videos.detector is None
    large = Predictor(fused, detector_size=1280).faces
    assert large.videos is large.photos
    assert large.photos.detector.longest == 1280
    assert str(large) == str(large.photos)
    described = Predictor(fused).metadata()["faces"]["detector"]
    assert described == (
        "face mesh (threshold 0.5, presence 0.5); in photos face mesh (threshold 0.5, presence 0.5, "
        "faces by CenterFace (threshold 0.5, longest side 640))"
    )


@pytest.mark.parametrize("name", ["face.csv", "face.parquet", "face.jsonl"])
def test_tables_have_pose_gaze_and_blinks(fused, memory_video, tmp_path, name):
    predictor, video = Predictor(fused), memory_video(3, shifted)
    rows = list(predictor.predict_video(video))
    frame = read_table(write_predictions(predictor, video, tmp_path / name).path)
    assert list(frame.columns[10:]) == [
        "AU01", "AU12", "AU12_i", "gaze_0_x", "gaze_0_y", "gaze_0_z", "gaze_1_x", "gaze_1_y", "gaze_1_z",
        "gaze_angle_x", "gaze_angle_y", "pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz", "blink",
    ]  # fmt: skip
    for k, row in enumerate(rows):
        pose, gaze = row.mesh.head_pose(), row.mesh.gaze()
        wanted = {
            "pose_Ty": pose.translation[1].item(), "pose_Rx": pose.rotation[0].item(),
            "pose_Rz": pose.rotation[2].item(), "gaze_1_z": gaze.vectors[1, 2].item(),
            "gaze_angle_y": gaze.angles[1].item(),
            "blink": (row.mesh.blendshape("eyeBlinkLeft") + row.mesh.blendshape("eyeBlinkRight")) / 2,
        }  # fmt: skip
        assert frame.loc[k, list(wanted)].astype(float).to_dict() == pytest.approx(wanted, abs=1e-5)
    again = predictor.predict([shifted(k) for k in range(1)])
    assert list(again.columns[:-1]) == list(frame.columns)


def test_openface_columns_agree_with_the_mesh(fused, memory_video, tmp_path):
    predictor, video = Predictor(fused), memory_video(2, shifted)
    (row, _) = predictor.predict_video(video)
    path = write_predictions(predictor, video, tmp_path / "of.csv", format="openface").path
    names = path.read_text().splitlines()[0].split(",")
    assert names[5:13] == [
        *(f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"),
        "gaze_angle_x",
        "gaze_angle_y",
    ]
    assert names[13:19] == ["pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"]
    places = [f"{axis}_{k}" for axis in ("x", "y", "X", "Y", "Z") for k in range(68)]
    assert names[19:359] == places
    assert names[359:] == ["AU12_r", "AU45_r", "AU01_c", "AU12_c", "AU45_c", "AU01_p", "AU12_p"]
    frame = read_openface(path)
    one = frame.iloc[0]
    landmarks = one[places[:136]].to_numpy(float).reshape(2, 68).T
    assert np.abs(landmarks - row.mesh.landmarks.numpy()).max() < 0.051
    space = one[places[136:]].to_numpy(float).reshape(3, 68).T
    focal, middle = 250 * (260 / 640 + 224 / 480), np.array([129.5, 111.5])
    seen = space[:, :2] / space[:, 2:] * focal + middle
    assert np.abs(seen - landmarks).max() < 0.2
    centre = one[["pose_Tx", "pose_Ty", "pose_Tz"]].to_numpy(float)
    assert np.abs(space.mean(0) - centre).max() < 8  # millimetres: an average face against this one
    blink = (row.mesh.blendshape("eyeBlinkLeft") + row.mesh.blendshape("eyeBlinkRight")) / 2
    assert one["AU45_r"] == pytest.approx(5 * blink, abs=0.006)
    assert one["AU45_c"] == float(blink >= 0.5)
    assert one["confidence"] == pytest.approx(row.score, abs=0.006)


def test_openface_rows_without_a_face_and_a_resumed_table(fused, memory_video, tmp_path):
    def picture(k):
        return shifted(k) if k != 2 else torch.zeros(3, 224, 260, dtype=torch.uint8)

    predictor, path = Predictor(fused), tmp_path / "of.csv"
    whole = write_predictions(predictor, memory_video(6, picture), path, format="openface").path.read_bytes()

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    options = {"format": "openface"}
    part = tmp_path / "part" / "of.csv"
    with pytest.raises(KeyboardInterrupt):
        write_predictions(predictor, memory_video(6, picture), part, progress=stop, **options)
    write_predictions(predictor, memory_video(6, picture), part, resume=True, **options)
    assert part.read_bytes() == whole
    frame = read_openface(path)
    failed = frame[~frame.success]
    assert failed[["AU45_r", "AU45_c", "confidence"]].values.tolist() == [[0, 0, 0]]
    assert failed[["pose_Rx", "x_0", "Z_67", "gaze_0_x"]].isna().all(axis=None)


def test_landmarks_on_request_and_for_pyfeat(fused, memory_video, tmp_path):
    predictor, video = Predictor(fused), memory_video(1, shifted)
    path = write_predictions(predictor, video, tmp_path / "t.parquet", landmarks=True).path
    frame = read_table(path)
    (row,) = predictor.predict_video(video)
    assert frame.loc[0, "y_30"] == pytest.approx(row.mesh.landmarks[30, 1].item())
    fex = to_pyfeat(frame)
    assert list(fex.columns[:6]) == [
        "FaceRectX",
        "FaceRectY",
        "FaceRectWidth",
        "FaceRectHeight",
        "FaceScore",
        "x_0",
    ]
    assert list(fex.columns[141:147]) == ["Pitch", "Roll", "Yaw", "X", "Y", "Z"]
    assert fex["Yaw"][0] == pytest.approx(row.mesh.head_pose().rotation[1].item())
    backbone = {"type": "timm", "model_name": "test_resnet", "size": 32}
    crops = Predictor(AffectModel(backbone, {"au": {"type": "au", "space": "AU12"}}), faces="center")
    with pytest.raises(ConfigError, match="no landmarks"):
        write_predictions(crops, video, tmp_path / "u.csv", landmarks=True)


def test_any_kind_of_photo_gives_the_same_frame(fused, tmp_path):
    predictor = Predictor(fused)
    picture, file = Image.fromarray(PHOTO), io.BytesIO()
    picture.save(file, "png")
    (tmp_path / "a.png").write_bytes(file.getvalue())
    tensor = torch.from_numpy(PHOTO).permute(2, 0, 1)
    wanted = predictor.predict(tmp_path / "a.png")
    assert wanted[["frame", "face", "success"]].values.tolist() == [[0, 0, True]]
    assert wanted.attrs["affectkit"]["heads"]["au"]["columns"] == ["AU01", "AU12"]
    for one in (str(tmp_path / "a.png"), file.getvalue(), picture, PHOTO, tensor):
        pd.testing.assert_frame_equal(predictor.predict(one), wanted)
    several = predictor.predict([PHOTO, np.zeros_like(PHOTO), picture], landmarks=True)
    assert several["media"].tolist() == [0, 1, 2]
    assert several["success"].tolist() == [True, False, True]
    assert "x_67" in several
    batch = predictor.predict(np.stack([PHOTO, PHOTO]))
    assert batch["AU12"].tolist() == [wanted["AU12"][0]] * 2


def test_what_is_no_photo_is_said(fused):
    predictor = Predictor(fused)
    for wrong, message in (
        (PHOTO.astype(float), r"uint8 \[H, W, 3\], not float64 \[224, 320, 3\]"),
        (torch.from_numpy(PHOTO), r"uint8 \[3, H, W\], not torch.uint8 \[224, 320, 3\]"),
        ([], "no photos"),
        ({"a": 1}, "A dict is not a photo"),
    ):
        with pytest.raises(ConfigError, match=message):
            predictor.predict(wrong)
    with pytest.raises(VideoError):
        predictor.predict(b"nothing")


def test_threads_share_a_predictor(fused):
    predictor = Predictor(fused)
    photos = [np.ascontiguousarray(PHOTO[:, 2 * k : 2 * k + 260]) for k in range(6)]
    wanted = [predictor.predict(photo)["AU12"].tolist() for photo in photos]
    fresh = Predictor(fused)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda photo: fresh.predict(photo)["AU12"].tolist(), photos * 2))
    assert found == wanted * 2


def test_videos_have_a_baseline_if_the_model_states_it(fused, memory_video, tmp_path):
    video = memory_video(8, shifted)
    rows = list(Predictor(fused).predict_video(video))
    fused.metadata = {"baseline": True}
    try:
        predictor = Predictor(fused)
        options = {"baseline": Baseline(least=2, quantile=0.0, most_intensity=0.2)}
        table = read_table(write_predictions(predictor, video, tmp_path / "a.jsonl", **options).path)
        raw = read_table(write_predictions(predictor, video, tmp_path / "b.jsonl", baseline=False).path)
        default = read_table(write_predictions(predictor, video, tmp_path / "c.jsonl").path)
        photo = read_table(write_predictions(predictor, memory_video(1, shifted), tmp_path / "d.jsonl").path)
    finally:
        fused.metadata = {}
    assert raw["AU12_i"].tolist() == [row.values["AU12_i"] for row in rows]
    assert raw.attrs["affectkit"]["baseline"] is None
    about = table.attrs["affectkit"]
    assert about["baseline"] == {
        "quantile": 0.0, "most_intensity": 0.2, "most_logit": 3.0, "least": 2, "is_causal": False,
    }  # fmt: skip
    amount = min(0.2, raw["AU12_i"].min())
    assert about["baselines"]["0"].get("AU12_i", 0.0) == pytest.approx(amount, abs=1e-6)
    assert table["AU12_i"].tolist() == pytest.approx(
        (raw["AU12_i"] - amount).clip(lower=0).tolist(), abs=1e-5
    )
    assert default.attrs["affectkit"]["baseline"]["quantile"] == 0.1
    assert default.attrs["affectkit"]["baselines"] == {"0": {}}  # eight frames are too few
    assert photo.attrs["affectkit"]["baseline"] is None


def test_measured_frames_fit_the_model(fused):
    predictor = Predictor(fused)
    frames = torch.stack([shifted(0), torch.zeros(3, 224, 260, dtype=torch.uint8)])
    found = predictor.measure(frames)
    assert found["signals_mask"].tolist() == [[True, False]]
    (face,) = MeshDetector()(frames[:1])[0]
    for name, values in face.mesh.signals().items():
        torch.testing.assert_close(found["signals"][name][0, 0], values)
        assert not found["signals"][name][0, 1].any()
    backbone = {"type": "timm", "model_name": "test_resnet", "size": 32}
    assert Predictor(AffectModel(backbone, {"au": {"type": "au", "space": "AU12"}})).measure(frames) == {}


def test_a_model_wants_aligned_crops():
    backbone = {"type": "timm", "model_name": "test_resnet", "size": 32}
    model = AffectModel(backbone, {"au": {"type": "au", "space": "AU12"}}).eval()
    crops = torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8)
    assert model.predict(crops=crops)["au"].shape == (1, 1)
    with pytest.raises(ConfigError, match=r"torch tensor of aligned face crops .* not ndarray.*Predictor"):
        model.predict(PHOTO)
    with pytest.raises(ConfigError, match=r"channels .* come before height and width"):
        model.predict(torch.zeros(1, 1, 32, 32, 3))
    with pytest.warns(UserWarning, match="224 by 320 pixels are hardly aligned face crops of 32 by 32"):
        model.predict(torch.from_numpy(PHOTO).permute(2, 0, 1)[None, None])
