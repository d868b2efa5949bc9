"""Prepared crops: their values against the originals, and what is flagged."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from helpers.crops import (
    HEIGHT,
    WIDTH,
    Detector,
    Faces,
    Small,
    points_of,
    raw,
    table_of,
    transforms,
    write_clip,
)
from PIL import Image

from affectkit.data import ClipRecord, UniformSegments
from affectkit.data.shards import CropShards
from affectkit.datasets.preparing import prepare, shards
from affectkit.errors import AnnotationError, ConfigError, VideoError
from affectkit.faces import Face, align_frames, box_transform, face_transform, five_points


@pytest.fixture
def root(tmp_path):
    write_clip(tmp_path / "corpus" / "a", 6, seed=1)
    write_clip(tmp_path / "corpus" / "b", 4, seed=2)
    return tmp_path / "corpus"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "prepared"


def test_crops_are_the_warped_originals(root, out):
    done = prepare(Faces(root), out, size=24, margin=0.3, codec="png")
    assert (done.clips, done.frames, done.failed, done.shards, done.made, done.reasons) == (
        2,
        10,
        0,
        1,
        1,
        {},
    )
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    plain, crops = Faces(root), Faces(root, prepared=out)
    for index, name in enumerate("ab"):
        frames, clip, original = raw(root / name), crops[index], plain[index]
        for k, frame in enumerate(frames):
            points = points_of(name, k)
            matrix = face_transform(five_points(points), 24, margin=0.3)
            assert torch.equal(clip.frames[k], align_frames(frame[None], matrix, 24)[0])
            moved = points @ matrix[:, :2].T + matrix[:, 2]
            torch.testing.assert_close(clip.landmarks[k, 1:], moved[1:])
        assert clip.landmarks_mask.sum(1).tolist() == [67] * len(frames)
        assert torch.equal(clip.targets["au"].value, original.targets["au"].value)
        assert clip.key_frames.tolist() == original.key_frames.tolist() == [2, 3, -1]
        assert clip.meta == original.meta
    assert before == {path: path.read_bytes() for path in root.rglob("*.png")}
    rows = table_of(out)
    assert [(row["clip"], row["frame"]) for row in rows] == [("a", k) for k in range(6)] + [
        ("b", k) for k in range(4)
    ]
    assert {(row["corpus"], row["subject"], row["media"]) for row in rows} == {
        ("faces", "a", "a"),
        ("faces", "b", "b"),
    }
    np.testing.assert_allclose(
        rows[7]["transform"], face_transform(five_points(points_of("b", 1)), 24, margin=0.3).flatten()
    )
    assert not (out / "failed.csv").exists()


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_lossy_codecs_come_close(root, out, codec):
    prepare(Faces(root), out / "exact", size=32, codec="png")
    prepare(Faces(root), out / "close", size=32, codec=codec)
    prepare(Faces(root), out / "coarse", size=32, codec=codec, quality=10)
    exact, close, coarse = (
        Faces(root, prepared=out / name)[0].frames.float() for name in ("exact", "close", "coarse")
    )
    assert 0 < (exact - close).abs().mean() < 3
    assert (exact - coarse).abs().mean() > 2 * (exact - close).abs().mean()


def test_frames_are_chosen_from_crops_as_from_the_media(root, out):
    prepare(Faces(root), out, crop="none", codec="png")
    options = {"sampler": UniformSegments(2), "cache": "memory"}
    for cache in ("memory", "none"):
        plain, crops = Faces(root, **options), Faces(root, prepared=out, **{**options, "cache": cache})
        assert torch.equal(crops[1].frames, plain[1].frames)
        assert torch.equal(crops[1].landmarks, plain[1].landmarks)


def test_small_movements_get_one_place_a_clip(root, out):
    prepare(Small(root), out, size=24, codec="png")
    rows = table_of(out)
    for name in "ab":
        onset = face_transform(five_points(points_of(name, 2)), 24, margin=0.15)
        for row in (row for row in rows if row["clip"] == name):
            np.testing.assert_allclose(row["transform"], onset.flatten(), rtol=1e-6)
    frame = align_frames(
        raw(root / "a")[5:], face_transform(five_points(points_of("a", 2)), 24, margin=0.15), 24
    )
    assert torch.equal(Small(root, prepared=out)[0].frames[5:], frame)
    prepare(Faces(root), out.parent / "other", size=24)
    assert len(set(map(tuple, transforms(out)))) == 2
    assert len(set(map(tuple, transforms(out.parent / "other")))) == 10


def test_a_clip_whose_onset_shows_no_face(root, out):
    prepare(Small(root, lost=(2, 3)), out, size=24, codec="png", shard_frames=1)
    places = {row["clip"]: row["transform"] for row in table_of(out)}
    np.testing.assert_allclose(
        places["a"], face_transform(five_points(points_of("a", 4)), 24, margin=0.15).flatten()
    )
    # Nothing follows in the shorter clip, so its first frame counts.
    np.testing.assert_allclose(
        places["b"], face_transform(five_points(points_of("b", 0)), 24, margin=0.15).flatten()
    )
    done = prepare(Small(root, lost=range(9)), out.parent / "none", size=24)
    assert (done.failed, done.reasons) == (10, {"no landmarks": 10})


def test_a_detector_finds_what_has_no_landmarks(root, out):
    box = (10.0, 4.0, 20.0, 16.0)
    detector = Detector(lambda _: [Face((0.0, 0.0, 3.0, 3.0), 0.9), Face(box, 0.8)])
    done = prepare(Faces(root, lost=(1, 3)), out, size=24, margin=0.1, codec="png", detector=detector)
    assert done.failed == 0
    assert sum(detector.shown) == 4
    rows = table_of(out)
    np.testing.assert_allclose(rows[1]["transform"], box_transform(box, 24, margin=0.1).flatten(), rtol=1e-6)
    np.testing.assert_allclose(
        rows[2]["transform"], face_transform(five_points(points_of("a", 2)), 24, margin=0.1).flatten()
    )
    assert CropShards(out).manifest.settings["detector"] == "Detector"
    with pytest.raises(ConfigError, match=r"made with detector 'Detector', not detector None"):
        prepare(Faces(root), out, size=24, margin=0.1, codec="png")


def test_points_of_a_detector(root, out, monkeypatch):
    monkeypatch.setattr(shards, "_FEW", 4)
    five = five_points(points_of("a", 0))
    detector = Detector(lambda _: [Face((0.0, 0.0, 3.0, 3.0), 0.9, five)])
    prepare(Faces(root, lost=None), out, size=24, margin=0.0, crop="detect", detector=detector)
    for transform in transforms(out):
        np.testing.assert_allclose(transform, face_transform(five, 24).flatten())
    assert detector.shown == [1, 4, 1, 1, 3]
    assert [row["landmarks"] for row in table_of(out)] == [None] * 10


def test_frames_without_a_face_are_flagged(root, out):
    bright = [Face((4.0, 4.0, 9.0, 9.0), 1.0)]
    means = [frame.float().mean() for frame in raw(root / "a")]
    detector = Detector(lambda frame: bright if frame.float().mean() > min(means) else [])
    done = prepare(
        Faces(root, lost=None, given=[ClipRecord("a", root / "a")]), out, detector=detector, fill=0
    )
    assert done.reasons == {"no face": 1}
    row = table_of(out)[int(np.argmin(means))]
    assert (row["success"], row["reason"], row["image"], row["transform"]) == (False, "no face", None, None)


def test_points_at_one_place_are_no_face(root, out):
    detector = Detector(lambda _: [Face((4.0, 4.0, 9.0, 9.0), 1.0, torch.full((5, 2), 6.0))])
    done = prepare(Faces(root, lost=None), out, detector=detector)
    assert (done.failed, list(done.reasons)) == (10, ["A face has fewer than two distinct landmarks."])


def test_faces_are_looked_for_or_it_stops(root, out):
    for options in ({}, {"crop": "landmarks", "detector": Detector(None)}):
        with pytest.raises(ConfigError, match="no landmarks here, and there is no face detector") as caught:
            prepare(Faces(root, lost=None), out, **options)
        assert "--crop none" in caught.value.remedy
    with pytest.raises(ConfigError, match="no face detector"):
        prepare(Faces(root), out, crop="detect")
    assert not out.exists()


def test_landmarks_only(root, out):
    detector = Detector(None)
    done = prepare(Faces(root, lost=(0,)), out, crop="landmarks", detector=detector, fill=0)
    assert (done.reasons, detector.shown) == ({"no landmarks": 2}, [])


def test_a_frame_without_a_face_takes_the_place_of_its_neighbour(root, out):
    write_clip(root / "c", 12)
    dataset = Faces(root, [ClipRecord("c", root / "c")], lost=(0, 2, 4, 5, 7, 8, 9, 10, 11))
    (root / "c/004.png").write_bytes(b"")
    done = prepare(dataset, out, size=24, codec="png", fill=2)
    like = {0: 1, 2: 1, 5: 6, 7: 6, 8: 6}  # of equally near ones the earlier
    rows = table_of(out)
    for k in (0, 1, 2, 3, 5, 6, 7, 8):
        matrix = face_transform(five_points(points_of("c", like.get(k, k))), 24, margin=0.15)
        np.testing.assert_allclose(rows[k]["transform"], matrix.flatten())
        assert rows[k]["reason"] == (f"no landmarks; placed as frame {like[k]}" if k in like else None)
        assert rows[k]["success"]
    assert [row["frame"] for row in rows if not row["success"]] == [4, 9, 10, 11]
    assert done.reasons["no landmarks"] == 3
    assert rows[4]["reason"].startswith("The image cannot be read")


def test_the_same_place_in_all_frames(root, out):
    frames = raw(root / "a")
    for crop, size, expected in [
        ("center", 40, frames[:, :, :, 6:46]),
        ("8,4,10,20", 20, frames[:, :, 4:24, 3:23]),
        ("none", 40, frames),
    ]:
        prepare(Small(root), out / crop, crop=crop, size=size, codec="png")
        assert torch.equal(Small(root, prepared=out / crop)[0].frames, expected)
    prepare(Faces(root), out / "less", crop="none", size=20, codec="png")
    clip = Faces(root, prepared=out / "less")[0]
    assert clip.frames.shape == (6, 3, 20, 26)
    torch.testing.assert_close(clip.landmarks[3, 5], (points_of("a", 3)[5] + 0.5) / 2 - 0.5)
    mean = torch.nn.functional.avg_pool2d(frames.float(), 2)
    assert (clip.frames.float() - mean).abs().mean() < 3
    done = prepare(Faces(root), out / "beyond", crop="30,30,30,5")
    assert done.reasons == {"The crop 30,30,30,5 reaches beyond the frame of 52 by 40 pixels.": 10}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"crop": "left"}, "crop 'left' cannot be read"),
        ({"crop": "1,2,0,4"}, "cannot be read"),
        ({"size": 0}, "size 0"),
        ({"margin": -0.1}, "margin -0.1"),
        ({"codec": "gif"}, "codec 'gif'"),
        ({"quality": 0}, "quality 0"),
        ({"shard_frames": 0}, "shard_frames 0"),
        ({"workers": -1}, "workers -1"),
        ({"fill": -1}, "fill -1"),
    ],
)
def test_impossible_settings(root, out, options, match):
    with pytest.raises(ConfigError, match=match):
        prepare(Faces(root), out, **options)


def test_unreadable_media_are_flagged_and_can_be_mended(root, out):
    sound = (root / "a/003.png").read_bytes()
    (root / "a/003.png").write_bytes(sound[:100])
    records = [ClipRecord(name, root / name, subject="s") for name in ("a", "b", "gone")]
    done = prepare(Faces(root, records), out, size=24, codec="png", shard_frames=4)
    assert (done.frames, done.failed, done.shards) == (11, 2, 4)
    assert list(done.reasons)[1] == "There is no such file."
    with (out / "failed.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["clip", "frame", "reason", "shard"]
    assert [line[:2] for line in lines[1:]] == [["a", "3"], ["gone", "0"]]
    assert lines[1][3] == "shards/00000.arrow"
    crops = Faces(root, records, prepared=out)
    with pytest.raises(VideoError, match="image cannot be read"):
        crops[0]
    assert len(crops[1].frames) == 4
    skipping = Faces(root, records, prepared=out, on_error="skip")
    assert [skipping[index].valid for index in range(3)] == [False, True, False]
    (root / "a/003.png").write_bytes(sound)
    again = prepare(Faces(root, records), out, size=24, codec="png", shard_frames=4)
    assert (again.made, again.failed) == (0, 2)
    again = prepare(Faces(root, records), out, size=24, codec="png", shard_frames=4, retry=True)
    assert (again.made, again.failed) == (2, 1)
    assert len(Faces(root, records, prepared=out)[0].frames) == 6
    assert len((out / "failed.csv").read_text().splitlines()) == 2
    records.pop()
    with pytest.raises(ConfigError, match="another state of the corpus"):
        prepare(Faces(root, records), out, size=24, codec="png", shard_frames=4)


def test_frames_of_different_size_in_a_clip(root, out):
    Image.new("RGB", (64, 44), (9, 9, 9)).save(root / "a/002.png")
    done = prepare(Faces(root), out, size=24, codec="png")
    assert done.failed == 0
    assert Faces(root, prepared=out)[0].frames.shape == (6, 3, 24, 24)


def test_damaged_landmarks_are_flagged(root, out):
    class Damaged(Faces):
        def landmarks(self, record, indices):
            if record.clip == "a":
                raise AnnotationError("The landmarks are cut off.", path=record.path)
            return super().landmarks(record, indices)

    for clips in (None, [ClipRecord("a", root / "a")]):
        done = prepare(Damaged(root, clips), out / str(clips is None))
        assert done.reasons == {"The landmarks are cut off.": 6}
    done = prepare(Damaged(root), out.parent / "centre", crop="center")
    assert done.failed == 0


def test_too_few_or_coinciding_points_are_none(root, out):
    class Poor(Faces):
        def landmarks(self, record, indices):
            points, mask = super().landmarks(record, indices)
            if record.clip == "a":
                mask[:, 30:48] = False
            else:
                points[:] = 7.0
            points[:, 20] = torch.nan
            return points, mask

    assert prepare(Poor(root), out).reasons == {"no landmarks": 10}
    prepare(Poor(root), out.parent / "other", crop="none")
    mask = Poor(root, prepared=out.parent / "other")[1].landmarks_mask
    assert mask.sum(1).tolist() == [66] * 4


def test_windows_of_a_recording_share_its_frames(root, out):
    windows = [
        ClipRecord(f"a:{start}", root / "a", start=start, stop=start + 3, extra={"sequence": "a"})
        for start in (0, 2)
    ]
    done = prepare(Faces(root, windows), out, size=24, shard_frames=2)
    assert (done.clips, done.frames, done.shards) == (1, 5, 3)
    shifted = [ClipRecord("a:1", root / "a", start=1, stop=5, extra={"sequence": "a"})]
    assert len(Faces(root, shifted, prepared=out)[0].frames) == 4
    late = [ClipRecord("a:3", root / "a", start=3, stop=6, extra={"sequence": "a"})]
    with pytest.raises(VideoError, match="no crop of this frame of 'a'") as caught:
        Faces(root, late, prepared=out)[0]
    assert caught.value.frame == 5


def test_long_clips_are_read_in_blocks(root, out, monkeypatch):
    monkeypatch.setattr(shards, "_BLOCK", 2 * 3 * HEIGHT * WIDTH)
    loads = []
    dataset = Faces(root)
    load = dataset.load
    monkeypatch.setattr(
        dataset, "load", lambda record, indices: loads.append(list(indices)) or load(record, indices)
    )
    prepare(dataset, out, codec="png", size=24)
    assert loads == [[0], [1, 2], [3, 4], [5], [0], [1, 2], [3]]
