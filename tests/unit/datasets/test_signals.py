"""Signals in datasets; the truth is what `MeshTracker` measures on the frames themselves."""

import os
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from helpers.toy import ToyDataset
from torchvision.transforms.functional import resize

from affectkit.data import HorizontalFlip, collate
from affectkit.datasets import RenderedDataset, TableDataset
from affectkit.datasets.bases.signals import default_folder
from affectkit.datasets.preparing import measure, report_faces
from affectkit.errors import ConfigError, VideoError
from affectkit.faces import FacePicture, MeshTracker, align_face, measure_signals
from affectkit.synth import render_corpus

PICTURE = FacePicture(48, 0.125, "eyes_mouth")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    settings = {"identities": 3, "clips": 1, "frames_per_clip": 4, "size": 128, "seed": 3}
    return render_corpus(tmp_path_factory.mktemp("signals") / "c", **settings, num_workers=1, progress=False)


@pytest.fixture(scope="module")
def faces(root):
    """Faces of the first clip, by the tracker alone."""
    tracker = MeshTracker.for_video(25.0)
    return [tracker.update(frame)[0] for frame in RenderedDataset(root)[0].frames]


def test_signals_are_those_of_the_tracker(root, faces):
    dataset = RenderedDataset(root, signals=("pose", "mesh"))
    clip = dataset[0]
    assert list(clip.signals) == ["pose", "mesh"]
    for name, values in clip.signals.items():
        assert torch.equal(values, torch.stack([face.mesh.signals()[name] for face in faces]))
    assert clip.signals_mask.all()


def test_signals_belong_to_the_sampled_frames(root):
    whole = RenderedDataset(root, signals=["mesh"])[1]
    some = RenderedDataset(root, signals=["mesh"], sampler=lambda length, **_: [3, 1, 1])[1]
    assert torch.equal(some.signals["mesh"], whole.signals["mesh"][[3, 1, 1]])


def test_signals_do_not_depend_on_transforms(root):
    plain = RenderedDataset(root, signals=["mesh"])[0]
    cut = RenderedDataset(
        root, signals=["mesh"], transform=RenderedDataset.default_transform(32, train=False)
    )
    assert cut[0].frames.shape[-1] == 32
    assert torch.equal(cut[0].signals["mesh"], plain.signals["mesh"])


def test_faces_are_cropped_as_a_model_says(root, faces):
    clip = RenderedDataset(root, pictures=PICTURE)[0]
    frames = RenderedDataset(root)[0].frames
    expected = [align_face(frame, face, PICTURE) for frame, face in zip(frames, faces, strict=True)]
    assert torch.equal(clip.frames, torch.stack(expected))
    assert clip.signals == {}
    # Landmarks are in pixels of the crops: the outer corners of the eyes are level.
    assert clip.landmarks_mask.all()
    assert (clip.landmarks[:, 36, 1] - clip.landmarks[:, 45, 1]).abs().max() < 3
    assert 0 < clip.landmarks[:, 17:].min() < clip.landmarks[:, 17:].max() < 48


def test_pictures_are_left_out(root, monkeypatch):
    RenderedDataset(root, signals=["pose"])[0]
    monkeypatch.setattr(RenderedDataset, "load", None)
    flip = HorizontalFlip(1.0)
    clip = RenderedDataset(root, signals=["pose"], pictures="none", transform=flip)[0]
    assert clip.frames.shape == (4, 3, 1, 1)
    assert clip.signals_mask.all()


def test_signals_are_measured_once(root, tmp_path, monkeypatch):
    first = RenderedDataset(root, signals=["mesh"], signals_root=tmp_path)[0]
    monkeypatch.setattr("affectkit.datasets.bases.signals.measure_signals", None)
    second = RenderedDataset(root, signals=["mesh"], signals_root=tmp_path)[0]
    assert torch.equal(first.signals["mesh"], second.signals["mesh"])


@pytest.mark.parametrize("change", ["media", "version", "damage", "frames"])
def test_outdated_files_are_measured_again(root, tmp_path, monkeypatch, change):
    before = RenderedDataset(root, signals=["pose"], signals_root=tmp_path / "s")
    assert measure([before]) == 3
    assert measure([before]) == 0
    path = next((tmp_path / "s").rglob("*.safetensors"))
    if change == "media":
        monkeypatch.setattr("affectkit.datasets.bases.signals.media_state", lambda path: "other")
    elif change == "version":
        monkeypatch.setattr("affectkit.datasets.bases.signals.SIGNALS_VERSION", "2")
    elif change == "damage":
        path.write_bytes(path.read_bytes()[:100])
    else:
        before.measured.files.write(before.measured._key(0), before.measured._state(0), [7], {})
    after = RenderedDataset(root, signals=["pose"], signals_root=tmp_path / "s")
    if change != "frames":
        assert measure([after]) == {"media": 3, "version": 3, "damage": 1}[change]
        assert torch.equal(after[0].signals["pose"], before[0].signals["pose"])
    else:
        assert after.measured._unmeasured(after.measured._key(0)) == [0, 1, 2, 3, 7]


def test_processes_measure_the_same(root, tmp_path):
    calls = []
    dataset = RenderedDataset(root, signals=["pose"], signals_root=tmp_path)
    assert measure([dataset, RenderedDataset(root)], workers=2, progress=lambda *n: calls.append(n)) == 3
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert torch.equal(dataset[2].signals["pose"], RenderedDataset(root, signals=["pose"])[2].signals["pose"])


class Shown(ToyDataset):
    """Frames from a table, by clip; a frame of None cannot be read."""

    shown: ClassVar = {}

    def load(self, record, indices):
        frames = [self.shown[record.clip][index] for index in indices]
        if any(frame is None for frame in frames):
            raise VideoError("damaged", path=record.path)
        return torch.stack(frames)


def test_frames_without_the_face_are_masked(root, tmp_path, monkeypatch):
    face = RenderedDataset(root)[0].frames[0]
    empty = torch.zeros_like(face)
    dataset = Shown(root, split="val", signals=["pose"], signals_root=tmp_path, pictures=PICTURE)
    tables = {record.clip: [empty, face, None] for record in dataset.clips}
    tables[dataset.clips[1].clip] = [empty] * 3
    tables[dataset.clips[2].clip] = [None] * 3
    monkeypatch.setattr(Shown, "shown", tables)
    dataset.sampler = lambda length, **_: [0, 1]
    clip = dataset[0]
    assert clip.signals_mask.tolist() == [False, True]
    assert clip.signals["pose"][0].tolist() == [0, 0, 0]
    assert clip.landmarks_mask.any(1).tolist() == [False, True]
    # A frame without a face is cropped like the nearest one with a face.
    assert clip.frames[0].max() == 0
    assert clip.frames[1].max() > 0
    nobody = dataset[1]
    assert not nobody.valid
    assert not nobody.signals_mask.any()
    assert nobody.frames.max() == 0
    with pytest.raises(VideoError, match="damaged"):
        dataset[2]
    assert "1 of 8 clips were skipped as unreadable or without a face" in dataset.skipped_report()
    dataset.on_error = "skip"
    blank = dataset[2]
    assert not blank.valid
    batch = collate([clip, blank])
    assert batch.signals_mask.tolist() == [[False, True], [False, False]]


def test_a_face_outside_the_frame_is_black(root):
    measured = RenderedDataset(root, pictures=PICTURE).measured
    frames = torch.full((1, 3, 40, 40), 9, dtype=torch.uint8)
    (face,) = measured.faces(0, [0])
    away = replace(face, points=face.points + 1000)
    assert measured.crop(frames, [away], PICTURE).max() == 0


def test_a_frame_without_a_face_has_that_of_the_nearest_frame_of_the_whole_clip(root, tmp_path, monkeypatch):
    whole = RenderedDataset(root)[0].frames
    dataset = Shown(root, split="val", signals_root=tmp_path, pictures=PICTURE)
    bright = torch.full_like(whole[0], 200)
    monkeypatch.setattr(
        Shown, "shown", {record.clip: [bright, whole[0], whole[3]] for record in dataset.clips}
    )
    dataset.sampler = lambda length, **_: [0]
    assert dataset[0].frames.max() == 200  # the bright frame, at the place of the face in the next one
    assert dataset.measured.count_faces() == [(3, 2)] * len(dataset)


def test_faces_are_counted_before_training(root, tmp_path, monkeypatch, capsys):
    face = RenderedDataset(root)[0].frames[0]
    dataset = Shown(root, split="val", signals_root=tmp_path, pictures=PICTURE)
    tables = {record.clip: [face, torch.zeros_like(face), face] for record in dataset.clips}
    first = dataset.clips[0].clip
    tables[first] = [torch.zeros_like(face)] * 3
    monkeypatch.setattr(Shown, "shown", tables)
    measure([dataset])
    report_faces([dataset])
    said = capsys.readouterr().out
    assert said == f"toy: a face in 14 of 24 frames of 8 clips; left out without a face: 1 ({first})\n"
    monkeypatch.setattr(Shown, "shown", tables | {first: [None] * 3})
    with pytest.raises(VideoError, match="damaged"):
        report_faces([dataset])
    dataset.on_error = "skip"
    report_faces([dataset])
    report_faces([RenderedDataset(root, signals=["pose"], signals_root=tmp_path)])  # crops nothing
    capsys.readouterr()
    monkeypatch.setattr(Shown, "shown", {clip: [torch.zeros_like(face)] * 3 for clip in tables})
    nobody = Shown(root, split="val", signals_root=tmp_path / "other", pictures=PICTURE)
    measure([nobody])
    with pytest.raises(VideoError, match="No face was found in any clip") as caught:
        report_faces([nobody])
    assert "crop_faces: false" in caught.value.remedy


def test_a_photo_is_measured_as_prediction_does(tmp_path):
    """A photo is one chance: `CenterFace` finds its faces, in prediction and in training."""
    from PIL import Image

    from affectkit.data.video import open_video
    from affectkit.faces import frame_faces
    from affectkit.faces.frames import face_source

    root = render_corpus(
        tmp_path / "c",
        identities=3,
        clips=1,
        frames_per_clip=4,
        size=256,
        seed=5,
        num_workers=1,
        progress=False,
    )
    frame = RenderedDataset(root)[0].frames[0].permute(1, 2, 0).numpy()
    (tmp_path / "own").mkdir()
    Image.fromarray(frame).save(tmp_path / "own" / "a.png")
    (tmp_path / "own" / "index.csv").write_text("path\na.png\n")
    for alignment in ("five_points", "raised_box", "box"):
        spec = FacePicture(48, None, alignment)
        trained = TableDataset(tmp_path / "own", pictures=spec)[0].frames
        with open_video(tmp_path / "own" / "a.png") as photo:
            (seen,) = frame_faces(photo, face_source("mesh"), spec)
        assert torch.equal(trained[0], seen.faces[0].picture)


def test_media_that_end_early_are_left_to_the_reader(root, tmp_path, monkeypatch):
    dataset = RenderedDataset(root, signals=["pose"], signals_root=tmp_path)

    def fail(self, index):
        raise VideoError("damaged")

    monkeypatch.setattr(RenderedDataset, "length", fail)
    assert measure([dataset]) == 3
    with pytest.raises(VideoError, match="damaged"):
        dataset[0]


def test_the_largest_face_of_the_first_frame_is_followed(root):
    face = RenderedDataset(root)[0].frames[0]
    both = torch.zeros(3, 128, 256, dtype=torch.uint8)
    both[:, :80, :80] = resize(face, [80, 80])
    alone = both.clone()
    both[:, :, 128:] = face
    values = measure_signals([torch.zeros_like(both), both, alone, both])
    assert values["pose"].isfinite().all(1).tolist() == [False, True, False, True]
    assert values["landmarks"][1, :, 0].min() > 128
    assert (values["landmarks"][3] - values["landmarks"][1]).abs().max() < 1


def test_signals_of_no_frames_and_of_unreadable_ones():
    assert measure_signals([])["mesh"].shape == (0, 478, 3)
    values = measure_signals([None])
    assert values["landmarks"].shape == (1, 68, 2)
    assert values["blendshapes"].isnan().all()


def test_folder_of_the_signals(root, tmp_path, monkeypatch):
    assert RenderedDataset(root).signals_folder == root / "signals"
    home = tmp_path / "data" / "BP4D"
    home.mkdir(parents=True)
    (home / "index.csv").touch()
    expected = tmp_path / "data" / ".signals" / "BP4D"
    assert default_folder(home) == default_folder(home / "index.csv") == expected
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("AFFECTKIT_CACHE", str(tmp_path / "cache"))
    assert default_folder(home) == tmp_path / "cache" / "signals" / "BP4D"
    monkeypatch.setenv("AFFECTKIT_CACHE", "")
    assert default_folder(home) == expected


def test_faults_name_their_remedy(root, tmp_path):
    with pytest.raises(ConfigError, match="no signal gaze") as caught:
        RenderedDataset(root, signals=["gaze"])
    assert "mesh, blendshapes, pose" in caught.value.remedy
    with pytest.raises(ConfigError, match="prepared crops"):
        RenderedDataset(root, pictures=PICTURE, prepared=tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match="cannot be written") as caught:
        RenderedDataset(root, signals=["pose"], signals_root=file / "s")[0]
    assert "signals_root" in caught.value.remedy
    with pytest.raises(ConfigError, match="cannot be written"):
        measure([RenderedDataset(root, signals=["pose"], signals_root=file / "s")])
