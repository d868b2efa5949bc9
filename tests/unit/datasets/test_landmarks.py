"""Landmarks that BP4D and DISFA ship: those of the picture that is read, in its pixels, or masked."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from fakes.coded import spoil_fit, spoil_points
from PIL import Image
from scipy.io import savemat

from affectkit.data.video import open_video
from affectkit.datasets.bp4d import BP4D
from affectkit.datasets.disfa import DISFA
from affectkit.datasets.reading import landmarks
from affectkit.datasets.reading.landmarks import FitFiles, picture_size
from affectkit.errors import AnnotationError, VideoError
from affectkit.facs.regions import POINTS_49, POINTS_66
from affectkit.rehearse.bp4d import write_bp4d, write_fit
from affectkit.rehearse.disfa import write_disfa


@pytest.fixture(scope="module")
def bp4d(tmp_path_factory):
    root = tmp_path_factory.mktemp("bp4d")
    return root, write_bp4d(root, pixels=24)


@pytest.fixture(scope="module")
def disfa(tmp_path_factory):
    root = tmp_path_factory.mktemp("disfa")
    return root, write_disfa(root, images="zero", pixels=32)


def truth(manifest, recording, frames, places):
    """Points [T, 68, 2] and mask [T, 68] of label frames, as the manifest has them."""
    points, mask = torch.zeros(len(frames), 68, 2), torch.zeros(len(frames), 68, dtype=torch.bool)
    for row, frame in enumerate(frames):
        text = manifest["recordings"][recording]["landmarks"].get(str(frame))
        if text is not None:
            given = torch.tensor(list(map(float, text.split()))).reshape(68, 2)
            points[row, list(places)] = given[list(places)]
            mask[row, list(places)] = True
    return points, mask


def record_of(dataset, recording):
    return next(record for record in dataset.clips if record.extra["sequence"] == recording)


def assert_right(dataset, manifest, recording, places, *, shift=0, size=None):
    """The landmarks of a recording's first window are those of the label frames `shift` later."""
    record = record_of(dataset, recording)
    indices = range(record.start, record.stop)
    points, mask = dataset.landmarks(record, indices)
    wanted, known = truth(manifest, recording, [index + 1 + shift for index in indices], places)
    assert torch.equal(mask, known)
    assert mask.any()
    if size is not None:  # the writer's pictures were scaled
        height, width = size
        wanted = torch.where(known[..., None], (wanted + 0.5) * torch.tensor([width, height]) - 0.5, 0.0)
    torch.testing.assert_close(points, wanted, atol=0.02, rtol=0)
    return points, mask


@pytest.mark.parametrize("recording", ["F001_T1", "F001_T2", "F003_T1", "F003_T2", "F004_T1", "F004_T2"])
def test_bp4d_points_are_those_of_the_image(bp4d, recording):
    root, manifest = bp4d
    assert_right(BP4D(root), manifest, recording, POINTS_49)


def test_bp4d_frames_that_the_tracker_lost_are_masked(bp4d):
    root, _ = bp4d
    dataset = BP4D(root)
    _, mask = dataset.landmarks(record_of(dataset, "F001_T1"), range(2439, 2455))
    assert mask[:, POINTS_49].all(-1).tolist() == [index != 6 for index in range(16)]
    assert not mask[:, :17].any()
    assert not mask[:, [60, 64]].any()
    assert dataset.count().missing == ()
    assert not any("landmarks" in warning for warning in dataset.warnings)


def test_bp4d_points_go_with_the_image_and_not_with_the_label(bp4d):
    root, manifest = bp4d
    dataset = BP4D(root, frame_offset=0)  # image N for label frame N: the picture of label frame N + 1
    assert_right(dataset, manifest, "F003_T2", POINTS_49, shift=1)


def test_clips_carry_landmarks(bp4d):
    root, manifest = bp4d
    clip = BP4D(root)[0]
    wanted, known = truth(manifest, "F001_T1", range(2440, 2456), POINTS_49)
    assert torch.equal(clip.landmarks_mask, known)
    torch.testing.assert_close(clip.landmarks, wanted, atol=0.02, rtol=0)
    # The point between the nostrils lies in the picture's middle columns.
    assert 6 < clip.landmarks[0, 33, 0] < 18


def test_bp4d_trees_of_other_names_and_previews(bp4d, tmp_path):
    root, manifest = bp4d
    shutil.copytree(root / "AUCoding", tmp_path / "AUCoding")
    shutil.copytree(root / "2DFeatures", tmp_path / "more/2dfeatures")
    (tmp_path / "images/F001/T1").mkdir(parents=True)
    for path in (root / "Sequences(2D+3D)/F001/T1").glob("*.jpg"):
        shutil.copy(path, tmp_path / f"images/F001/T1/{int(path.stem) + 1}.jpg")
    assert_right(BP4D(tmp_path), manifest, "F001_T1", POINTS_49)
    manifest = write_bp4d(tmp_path / "preview", preview=True, pixels=32)
    assert_right(BP4D(tmp_path / "preview"), manifest, "F001_T1", POINTS_49)


def test_points_are_scaled_with_the_pictures_and_masked_in_cut_ones(bp4d, tmp_path):
    root, manifest = bp4d
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "Sequences(2D+3D)/F001/T2").glob("*.jpg"):
        with Image.open(path) as image:
            image.resize((12, 16)).save(path)
    for path in (tmp_path / "Sequences(2D+3D)/F001/T1").glob("*.jpg"):
        with Image.open(path) as image:
            image.resize((20, 20)).save(path)
    dataset = BP4D(tmp_path)
    assert_right(dataset, manifest, "F001_T2", POINTS_49, size=(0.5, 0.5))
    points, mask = dataset.landmarks(record_of(dataset, "F001_T1"), range(2439, 2442))
    assert not mask.any()
    assert not points.any()
    assert dataset.count().missing == dataset.count().missing == ()  # told once
    told = [warning for warning in dataset.warnings if "landmarks are masked" in warning]
    assert told == [
        f"{tmp_path / 'Sequences(2D+3D)/F001'}: 20 x 20 pixels are not 1040 x 1392 scaled, so landmarks are masked"
    ]


def test_a_corpus_without_landmarks_has_none(bp4d, tmp_path):
    root, _ = bp4d
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "2DFeatures/F001_T1.mat").unlink()
    dataset = BP4D(tmp_path)
    points, mask = dataset.landmarks(dataset.clips[0], range(2439, 2441))
    assert points.shape == (2, 68, 2)
    assert not mask.any()
    assert dataset.count().missing == ()
    assert any(
        warning.startswith("F001_T1: there are no landmarks of frames 2439-") for warning in dataset.warnings
    )
    shutil.rmtree(tmp_path / "2DFeatures")
    dataset = BP4D(tmp_path)
    assert dataset.landmarks(dataset.clips[0], [2439]) is None
    assert not dataset[0].landmarks_mask.any()
    assert list(dataset.missing()) == []


def test_a_picture_that_cannot_be_read_is_reported_once(bp4d, tmp_path):
    root, _ = bp4d
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "Sequences(2D+3D)/F001/T1/2439.jpg").write_bytes(b"")
    dataset = BP4D(tmp_path)
    with pytest.raises(VideoError, match=r"2439\.jpg"):
        dataset.landmarks(dataset.clips[0], [2440])
    assert len(dataset.count().missing) == 1
    (tmp_path / "a.avi").write_bytes(b"")
    with pytest.raises(VideoError):
        picture_size(tmp_path / "a.avi")


def test_the_size_of_a_video_is_that_of_the_frames_read(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        container.mux(stream.encode(av.VideoFrame(32, 48, "yuv420p")))
        container.mux(stream.encode())
    with open_video(tmp_path / "a.mp4") as reader:
        assert reader.read([0]).shape[2:] == (48, 64)
    assert picture_size(tmp_path / "a.mp4") == (64, 48)


@pytest.mark.parametrize(
    ("defect", "fault", "place"),
    [
        ("count", "48 x 2 numbers, not 49 x 2", "frame"),
        ("truncated", "The file cannot be read: it is truncated", "line"),
    ],
)
def test_damaged_bp4d_files(bp4d, tmp_path, defect, fault, place):
    shutil.copytree(bp4d[0], tmp_path, dirs_exist_ok=True)
    path = tmp_path / "2DFeatures/F001_T1.mat"
    write_fit(path, {2445: np.ones((68, 2))}, (24, 32))
    spoil_fit(path, defect)
    dataset = BP4D(tmp_path)
    with pytest.raises(AnnotationError, match=fault) as caught:
        dataset[0]
    assert caught.value.path == path
    assert getattr(caught.value, place) is not None
    assert caught.value.remedy
    missing = dataset.count().missing
    assert len(missing) == 1
    assert str(path) in missing[0]
    assert dataset.landmarks(record_of(dataset, "F001_T2"), [720])[1].any()


def test_absent_bp4d_entries_are_masked(tmp_path):
    manifest = write_bp4d(tmp_path, pixels=24)
    spoil_fit(tmp_path / "2DFeatures/F001_T1.mat", "absent")
    dataset = BP4D(tmp_path)
    last = manifest["recordings"]["F001_T1"]["last"]  # one image more was tracked
    record = record_of(dataset, "F001_T1")
    _, mask = dataset.landmarks(record, range(last - 5, last))
    assert mask.any(-1).tolist() == [True, True, False, False, False]
    assert dataset.count().missing == ()
    assert f"F001_T1: there are no landmarks of frames {last - 3}-{last - 1}" in dataset.warnings


def test_points_off_the_face_are_masked(tmp_path):
    """Not numbers, far away, too large for single precision, or all in one place."""
    fit = np.empty((6, 1), dtype=[("pred", object)])
    for row, (change, value) in enumerate(
        [(0, 0), (3, np.nan), (3, 9e3), (3, 1e300), (3, -np.inf), (49, 7.0)]
    ):
        points = np.random.default_rng(row).uniform(300, 700, (49, 2))
        points[:change] = value
        fit[row, 0]["pred"] = points
    fit[0, 0]["pred"] = fit[0, 0]["pred"].astype(np.uint16)
    savemat(tmp_path / "a.mat", {"fit": fit})
    files = FitFiles({"a": tmp_path / "a.mat"}, POINTS_49, (1040, 1392))
    points, mask = files.points("a", [-1, *range(7)], (1040, 1392))
    assert mask.any(-1).tolist() == [False, True, *[False] * 6]
    assert points.isfinite().all()
    assert points[1, 17].tolist() == fit[0, 0]["pred"][0].tolist()
    assert not files.points("a", [0], (1040, 1392), masked={0})[1].any()


def test_only_a_few_recordings_stay_in_memory(bp4d, monkeypatch):
    root, manifest = bp4d
    monkeypatch.setattr(landmarks, "_KEPT", 2)
    dataset = BP4D(root)
    for recording in (*manifest["recordings"], "F001_T1"):
        assert_right(dataset, manifest, recording, POINTS_49)
        assert len(dataset._landmark_files._kept) <= 2


# --- DISFA -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recording", ["SN001", "SN003", "SN006"])
def test_disfa_points_are_those_of_the_frame(disfa, recording):
    """SN003 has a file too many, the files of SN006 are called otherwise."""
    root, manifest = disfa
    dataset = DISFA(root)
    _, mask = assert_right(dataset, manifest, recording, POINTS_66)
    assert mask.sum(-1).tolist() == [66] * 16
    assert not mask[:, [60, 64]].any()
    record = record_of(dataset, recording)
    assert not dataset.landmarks(record, [40])[1].any() or recording == "SN003"


def test_disfa_points_go_with_the_image_and_only_the_left_camera(disfa):
    root, manifest = disfa
    assert_right(DISFA(root, image_base=1), manifest, "SN001", POINTS_66, shift=1)
    assert DISFA(root, camera="right").landmarks(DISFA(root).clips[0], [0]) is None
    assert list(DISFA(root, camera="right").missing()) == []


def test_disfa_videos(tmp_path):
    manifest = write_disfa(tmp_path, pixels=64, cameras=("left",))
    dataset = DISFA(tmp_path)
    assert_right(dataset, manifest, "SN003", POINTS_66)
    assert dataset.count().missing == ()
    assert (
        write_disfa(tmp_path / "right", pixels=32, cameras=("right",))["recordings"]["SN001"].get("landmarks")
        is None
    )


def test_disfa_frames_with_lost_landmarks_are_masked(disfa, monkeypatch):
    root, _ = disfa
    dataset = DISFA(root)
    lost = {subject: len(dataset.bad_landmarks(subject)) for subject in ("SN021", "SN023", "SN029", "SN003")}
    assert lost == {"SN021": 3052, "SN023": 422, "SN029": 454, "SN003": 0}
    assert sum(len(dataset.bad_landmarks(f"SN{n:03d}")) for n in range(1, 33)) == 130_814 - 126_144
    monkeypatch.setattr("affectkit.datasets.disfa._LOST", {"SN001": ((3, 5),)})
    _, mask = DISFA(root).landmarks(DISFA(root).clips[0], range(6))
    assert mask.any(-1).tolist() == [True, True, False, False, False, True]


@pytest.mark.parametrize(
    ("defect", "fault"),
    [("count", "65 x 2 numbers, not 66 x 2"), ("truncated", "The file cannot be read: it is truncated")],
)
def test_damaged_disfa_files(tmp_path, defect, fault):
    write_disfa(tmp_path, images="zero", pixels=32, cameras=("left",))
    spoil_points(tmp_path, defect)
    dataset = DISFA(tmp_path)
    with pytest.raises(AnnotationError, match=fault) as caught:
        dataset[0]
    assert caught.value.path == tmp_path / "Landmark_Points/SN001/tmp_frame_lm/SN001_0003_lm.mat"
    assert [line for line in dataset.count().missing if "SN001_0003_lm.mat" in line] == list(
        dataset.missing()
    )
    assert dataset.landmarks(dataset.clips[0], [4])[1].any()


def test_absent_disfa_files_are_masked(tmp_path):
    write_disfa(tmp_path, images="zero", pixels=32, cameras=("left",))
    spoil_points(tmp_path, "absent")
    dataset = DISFA(tmp_path)
    assert dataset[0].landmarks_mask.any(-1).tolist() == [frame != 3 for frame in range(16)]
    assert dataset.count().missing == ()
    assert dataset.warnings == ["SN001: there are no landmarks of frames 3"]


def test_disfa_files_that_can_only_count_from_one(disfa, tmp_path):
    root, manifest = disfa
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "Landmark_Points/SN001/tmp_frame_lm"
    for frame in reversed(range(40)):
        (folder / f"SN001_{frame:04d}_lm.mat").rename(folder / f"L{frame + 1:05d}_LM.mat")
    (folder / "._l00001_lm.mat").touch()
    (folder / "notes.txt").touch()
    for path in folder.iterdir():  # without the inner folder
        path.rename(folder.parent / path.name)
    folder.rmdir()
    assert_right(DISFA(tmp_path), manifest, "SN001", POINTS_66)
    shutil.copy(folder.parent / "L00002_LM.mat", folder.parent / "SN001_0002_lm.mat")
    with pytest.raises(AnnotationError, match=r"L00002_LM.mat and SN001_0002_lm.mat are both frame 2"):
        DISFA(tmp_path)[0]
