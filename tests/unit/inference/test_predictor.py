"""A row for every frame, from a window that the docstring states, whatever happens to the media."""

from __future__ import annotations

import gc
import json
import math

import pytest
import torch
from helpers.faces import Script, face, person, scene
from PIL import Image
from torch.nn import functional as F

import affectkit
from affectkit.data.video import open_video
from affectkit.errors import ConfigError, VideoError
from affectkit.faces import Crop, FrameFaces, align_face, face_landmarks, largest_face
from affectkit.inference import RENDERED_WARNING, Predictor
from affectkit.models import AffectModel


def resized(frame: torch.Tensor) -> torch.Tensor:
    """The centred square of a frame [3, 40, 48] at the model's size."""
    return F.interpolate(frame[None, :, :, 4:44], (32, 32), mode="bilinear", antialias=True)[0]


def centred(model, **options) -> Predictor:
    """One face in the middle of every frame."""
    return Predictor(model, faces="center", **options)


def write_video(path, frames: int = 60) -> None:
    import av

    rng = torch.Generator().manual_seed(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            picture = torch.randint(0, 256, (48, 64, 3), generator=rng, dtype=torch.uint8).numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def test_columns_are_names_in_a_fixed_order(make_model):
    heads = {
        "mood": {"type": "expression", "space": "happiness,sadness"},
        "strength": {"type": "intensity", "space": "intensity:AU6,AU12"},
        "au": {"type": "au", "space": "AU1,AU12"},
        "micro": {"type": "au", "space": "AU12,AU4", "per_frame": True},
    }
    model = make_model(heads=heads)
    model.head("micro").calibrate(thresholds=(0.25, 0.75))
    predictor = centred(model)
    wanted = ("AU01", "AU12", "micro.AU12", "AU04", "AU06_i", "AU12_i", "happiness", "sadness")
    assert predictor.columns == wanted
    described = predictor.metadata()["heads"]
    assert described["micro"]["columns"] == ["micro.AU12", "AU04"]
    assert described["micro"]["thresholds"] == {"micro.AU12": 0.25, "AU04": 0.75}
    assert described["strength"]["values"] == "intensity 0-5"
    assert described["mood"]["values"] == "probability"


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_values_are_the_models_on_the_stated_window(make_model, memory_video, frames, batch_size):
    model = make_model(frames)
    video = memory_video(9)
    rows = list(centred(model, batch_size=batch_size).predict_video(video))
    assert [row.frame for row in rows] == list(range(9))
    assert [row.timestamp for row in rows] == pytest.approx([i / 25 for i in range(9)])
    middle = (frames - 1) // 2
    for row in rows:
        window = [min(max(0, row.frame + k - middle), 8) for k in range(frames)]
        clip = torch.stack([resized(video.picture(i)) for i in window])[None]
        wanted = model.predict(clip)
        assert [row.values["AU01"], row.values["AU12"]] == pytest.approx(
            wanted["au"][0, middle].tolist(), abs=1e-5
        )
        classes = [row.values[label] for label in model.labels("expression")]
        assert classes == pytest.approx(wanted["expression"][0].tolist(), abs=1e-5)


def test_a_value_depends_on_its_window_only(make_model, memory_video):
    predictor = centred(make_model(4))
    before, after = predictor.window()
    assert (before, after) == (1, 2)
    clean = [row.values["AU12"] for row in predictor.predict_video(memory_video(12))]
    black = torch.zeros(3, 40, 48, dtype=torch.uint8)
    plain = memory_video(12)
    changed = memory_video(12, lambda i: black if i == 6 else plain.picture(i))
    dirty = [row.values["AU12"] for row in predictor.predict_video(changed)]
    different = [i for i in range(12) if abs(clean[i] - dirty[i]) > 1e-6]
    assert different == [4, 5, 6, 7]


def test_cutting_the_video_changes_nothing_farther_than_the_window(make_model, memory_video):
    predictor = centred(make_model(4))
    whole = [row.values for row in predictor.predict_video(memory_video(14))]
    plain = memory_video(14)
    cut = [row.values for row in predictor.predict_video(memory_video(7, lambda i: plain.picture(i + 3)))]
    for i in range(1, 5):
        assert cut[i] == pytest.approx(whole[i + 3], abs=1e-6)


def test_frame_rates_set_the_spacing(make_model, memory_video):
    model = make_model(3, fps=25.0)
    predictor = centred(model)
    assert predictor.window(50.0) == (2, 2)
    assert predictor.window(40.0) == (2, 2)
    assert predictor.window(12.0) == (1, 1)
    assert predictor.window(math.nan) == (1, 1)
    video = memory_video(9, fps=50.0)
    row = list(predictor.predict_video(video))[4]
    assert row.timestamp == 4 / 25  # the container's, which is not the number by the rate
    clip = torch.stack([resized(video.picture(i)) for i in (2, 4, 6)])[None]
    assert row.values["AU01"] == pytest.approx(model.predict(clip)["au"][0, 1, 0].item(), abs=1e-5)


def test_frames_that_fail_have_a_row_and_a_reason(make_model, memory_video):
    model = make_model(3)
    broken = (0, 3, 4, 8)
    video = memory_video(9, broken=broken, fps=50.0)  # its timestamps say 25
    rows = list(centred(model, batch_size=2).predict_video(video))
    assert [row.frame for row in rows] == list(range(9))
    for row in rows:
        assert row.success == (row.frame not in broken)
        if row.success:
            assert row.reason is None
            assert all(math.isfinite(value) for value in row.values.values())
        else:
            assert row.reason == "The frame cannot be decoded."
            assert all(math.isnan(value) for value in row.values.values())
            assert row.timestamp == pytest.approx(row.frame / 25)
    clip = torch.stack([resized(video.picture(i)) for i in (5, 5, 6)])[None]
    assert rows[5].values["AU12"] == pytest.approx(model.predict(clip)["au"][0, 1, 1].item(), abs=1e-5)


def test_memory_does_not_grow_with_the_video(make_model, memory_video):
    predictor = centred(make_model(4), batch_size=3)
    video = memory_video(80)
    for row in predictor.predict_video(video):
        assert video.decoded <= row.frame + 3 + 2
        if row.frame % 20 == 10:
            alive = sum(type(thing) is FrameFaces for thing in gc.get_objects())
            assert alive <= 4 + 2 * 3


def test_a_photo_is_one_row_and_stands_still(make_model, tmp_path, memory_video):
    model = make_model(4)
    path = tmp_path / "face.png"
    frame = memory_video(1).picture(0)
    Image.fromarray(frame.permute(1, 2, 0).numpy()).save(path)
    (row,) = centred(model).predict_file(path)
    assert (row.frame, row.timestamp, row.success) == (0, 0.0, True)
    still = resized(frame).expand(1, 4, 3, 32, 32)
    assert row.values["AU01"] == pytest.approx(model.predict(still)["au"][0, 1, 0].item(), abs=1e-5)


def test_heads_are_told_where_the_landmarks_of_a_mean_face_are(make_model, memory_video, monkeypatch):
    model, seen = make_model(), []
    predict = AffectModel.predict

    def spy(self, frames, **given):
        seen.append(given["landmarks"])
        return predict(self, frames, **given)

    monkeypatch.setattr(AffectModel, "predict", spy)
    list(centred(model).predict_video(memory_video(2, lambda _: torch.zeros(3, 40, 48, dtype=torch.uint8))))
    (landmarks,) = seen
    assert landmarks.shape == (2, model.input_spec.frames, 68, 2)
    torch.testing.assert_close(landmarks[0, 0], face_landmarks(model.input_spec))


def test_sentences_are_those_of_heads_that_describe(make_model, memory_video):
    model = make_model(heads={"au": {"type": "au", "space": "AU1,AU12"}})
    with pytest.raises(ConfigError, match="No head of the model describes faces in sentences"):
        centred(model, sentences=True)
    given = {"type": "feallm", "space": "AU4,AU12", "target": "au"}
    tower = {"type": "clip", "model_name": "affectkit-tiny-patch8", "size": 32}
    backbone = {"type": "feallm", "tower": tower, "blocks": [2, 4], "crop": 8, "width": 16, "local_width": 8}
    talking = AffectModel(backbone, {"au": given, "plain": {"type": "au", "space": "AU1"}}).eval()
    video = memory_video(3)
    plain, said = centred(talking), centred(talking, sentences=True, batch_size=2)
    assert plain.sentences == {}
    assert "sentences" not in plain.metadata()
    assert said.metadata()["sentences"] == ["sentence"]
    rows, wanted = list(said.predict_video(video)), list(plain.predict_video(video))
    for row, other in zip(rows, wanted, strict=True):
        assert row.values == pytest.approx(other.values, abs=1e-6)
        assert other.sentences == {}
        active = [name for name in ("AU04", "AU12") if row.values[name] >= 0.5]
        names = {"AU04": "brow lowerer", "AU12": "lip corner puller"}
        listed = ", ".join(names[name] for name in active) or "none"
        assert row.sentences["sentence"].startswith(f"AUs: {listed}; emotion: ")
    both = Predictor(AffectModel(backbone, {"a": given, "b": given}), sentences=True)
    assert both.sentences == {"a": "a.sentence", "b": "b.sentence"}


def test_photos_are_turned_upright(make_model, tmp_path, memory_video):
    picture = Image.fromarray(memory_video(1).picture(0).permute(1, 2, 0).numpy())
    picture.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[274] = 6  # the camera lay on its side: turn by 90 degrees clockwise to view
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png")
    predictor = centred(make_model())
    upright, turned, lying = (
        next(iter(predictor.predict_file(tmp_path / f"{name}.png"))).values
        for name in ("upright", "turned", "lying")
    )
    assert turned == pytest.approx(upright, abs=1e-6)
    assert lying != pytest.approx(upright, abs=1e-6)


def test_a_folder_of_frames_has_no_times(make_model, tmp_path):
    for i in range(3):
        Image.new("RGB", (40, 40), (90 * i, 0, 0)).save(tmp_path / f"{i}.png")
    rows = list(centred(make_model(2)).predict_file(tmp_path))
    assert len(rows) == 3
    assert all(math.isnan(row.timestamp) for row in rows)


def test_a_truncated_video_gives_what_it_holds_then_flagged_rows(make_model, tmp_path):
    path = tmp_path / "whole.mkv"
    write_video(path)
    data = path.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) // 2])
    predictor = centred(make_model(4))
    assert all(row.success for row in predictor.predict_file(path))
    rows = list(predictor.predict_file(cut))
    with open_video(cut) as video:
        assert [row.frame for row in rows] == list(range(video.num_frames))
    good = sum(row.success for row in rows)
    assert 10 < good < 60
    assert all(row.success for row in rows[:good])
    assert all(row.reason for row in rows[good:])


def test_what_cannot_be_read_at_all_is_an_error(make_model, tmp_path):
    (tmp_path / "noise.mp4").write_bytes(b"\x00" * 1000)
    for name in ("noise.mp4", "missing.mp4"):
        with pytest.raises(VideoError):
            list(centred(make_model()).predict_file(tmp_path / name))


def test_the_crop_decides_what_the_model_sees(make_model, memory_video):
    model = make_model()
    video = memory_video(1)
    (row,) = Predictor(model, faces=Crop((10, 4, 32, 32))).predict_video(video)
    clip = video.picture(0)[None, None, :, 4:36, 10:42]
    assert row.values["AU01"] == pytest.approx(model.predict(clip)["au"][0, 0, 0].item(), abs=1e-5)


def test_a_crop_beyond_the_first_frame_is_an_error_and_beyond_a_later_one_a_flag(make_model, memory_video):
    predictor = Predictor(make_model(), faces=Crop((0, 0, 44, 40)))
    small = torch.zeros(3, 20, 20, dtype=torch.uint8)
    plain = memory_video(3)
    with pytest.raises(ConfigError, match="beyond the frame of 20 by 20"):
        list(predictor.predict_video(memory_video(1, lambda _: small)))
    rows = list(predictor.predict_video(memory_video(3, lambda i: small if i == 1 else plain.picture(i))))
    assert [row.success for row in rows] == [True, False, True]
    assert "beyond the frame" in rows[1].reason


def test_saved_models_bring_their_warning_and_hash(make_model, tmp_path):
    make_model(2).save_pretrained(tmp_path / "model", metadata={"rendered": True, "licence": "CC0-1.0"})
    predictor = centred(tmp_path / "model", device="cpu")
    assert predictor.warning == RENDERED_WARNING
    metadata = json.loads(json.dumps(predictor.metadata(), allow_nan=False))
    assert metadata["affectkit"] == affectkit.__version__
    assert metadata["trained_on"] == "rendered faces"
    assert metadata["warning"] == RENDERED_WARNING
    assert metadata["licence"] == "CC0-1.0"
    assert len(metadata["model_sha256"]) == 64
    assert metadata["input"]["frames"] == 2
    assert metadata["faces"] == {"found_by": "crop", "crop": "center"}


def test_other_models_have_no_warning(make_model, tmp_path):
    make_model().save_pretrained(tmp_path / "model", metadata={"trained_on": "BP4D"})
    predictor = centred(tmp_path / "model")
    assert predictor.warning is None
    assert predictor.metadata()["trained_on"] == "BP4D"


def test_models_in_memory_are_told_apart_by_their_weights(make_model):
    model = make_model()
    first = centred(model).metadata()["model_sha256"]
    assert first == centred(make_model()).metadata()["model_sha256"]
    with torch.no_grad():
        next(model.parameters())[0].add_(1e-3)
    assert centred(model).metadata()["model_sha256"] not in (first, None)


ANN, BOB = person(0), person(1)
SEEN = {0: [0, 1], 1: [0, 1], 2: [0], 3: [0], 4: [], 5: [0, 1], 6: [1], 7: [1]}  # by frame, who can be seen


def two(number: int) -> torch.Tensor:
    return scene(number, [(ANN, 20 + number, 60), (BOB, 110, 60 - number)])


def seen(number: int):
    places = [face(20 + number, 60, score=0.9), face(110, 60 - number, score=0.6)]
    return [places[identity] for identity in SEEN[number]]


@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_row_for_every_frame_and_face_from_that_faces_window(make_model, memory_video, frames, batch_size):
    model = make_model(frames)
    predictor = Predictor(model, faces=Script(seen), batch_size=batch_size)
    rows = list(predictor.predict_video(memory_video(8, two)))
    assert [(row.frame, row.face) for row in rows] == [
        (number, identity) for number, identities in SEEN.items() for identity in identities or [None]
    ]
    middle = (frames - 1) // 2
    for row in rows:
        if row.face is None:
            assert (row.success, row.reason, row.box) == (False, "No face was found.", None)
            assert all(math.isnan(value) for value in row.values.values())
            continue
        assert (row.success, row.reason) == (True, None)
        assert row.box == seen(row.frame)[SEEN[row.frame].index(row.face)].box
        assert row.score == (0.9, 0.6)[row.face]
        window: list[int] = []  # where the face is not seen, the next frame towards the middle
        for step, count in ((-1, middle), (1, frames - 1 - middle)):
            at, side = row.frame, []
            for distance in range(1, count + 1):
                there = row.frame + step * distance
                at = there if row.face in SEEN.get(there, []) else at
                side.append(at)
            window = [*reversed(side), row.frame] if step < 0 else [*window, *side]
        pictures = [
            align_face(two(at), seen(at)[SEEN[at].index(row.face)], model.input_spec) for at in window
        ]
        wanted = model.predict(torch.stack(pictures)[None])
        assert [row.values["AU01"], row.values["AU12"]] == pytest.approx(
            wanted["au"][0, middle].tolist(), abs=1e-5
        )


def test_a_face_that_cannot_be_cut_out_has_a_row_and_a_reason(make_model, memory_video):
    outside = face(900, 60)
    (row,) = Predictor(make_model(), faces=lambda _: [[outside]]).predict_video(memory_video(1))
    assert (row.success, row.reason) == (False, "The face lies outside the frame.")
    assert (row.face, row.box, row.score) == (0, outside.box, outside.score)
    assert all(math.isnan(value) for value in row.values.values())


def test_a_value_depends_on_that_face_only(make_model, memory_video):
    predictor = Predictor(make_model(4), faces=Script(seen))
    other = memory_video(
        8, lambda k: scene(k, [(ANN, 20 + k, 60), (BOB if k < 4 else ANN.flip(0), 110, 60 - k)])
    )
    before = list(predictor.predict_video(memory_video(8, two)))
    after = list(predictor.predict_video(other))
    assert [row for row in after if row.face == 0] == [row for row in before if row.face == 0]


@pytest.mark.parametrize("faces", ["center", Script(seen)])
@pytest.mark.parametrize("start", [1, 5, 7, 8])
def test_work_that_was_interrupted_goes_on_with_the_same_rows(make_model, memory_video, faces, start):
    predictor = Predictor(make_model(4), faces=faces)
    whole = [row for row in predictor.predict_video(memory_video(8, two)) if row.frame >= start]
    rest = list(predictor.predict_video(memory_video(8, two), start=start))
    assert [(row.frame, row.face, row.reason) for row in rest] == [
        (row.frame, row.face, row.reason) for row in whole
    ]
    for row, wanted in zip(rest, whole, strict=True):
        assert row.values == pytest.approx(wanted.values, abs=1e-6, nan_ok=True)


def test_memory_does_not_grow_with_the_faces_seen(make_model, memory_video):
    predictor = Predictor(
        make_model(4), faces=Script(lambda k: [face(20 + (k * 40) % 110, 60)]), batch_size=3
    )
    for row in predictor.predict_video(memory_video(90, lambda k: scene(k, []))):
        if row.frame % 30 == 20:
            alive = sum(type(thing) is FrameFaces for thing in gc.get_objects())
            assert alive <= 4 + 2 * 3 + 8


def test_the_default_finds_real_faces(make_model, tmp_path):
    from skimage.data import astronaut

    photo = Image.fromarray(astronaut()).crop((64, 0, 384, 224))
    photo.save(tmp_path / "face.png")
    exif = Image.Exif()
    exif[274] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    Image.new("RGB", (1, 1)).save(tmp_path / "pixel.png")
    model = make_model(crop_margin=0.1)
    predictor = Predictor(model)
    (row,) = predictor.predict_file(tmp_path / "face.png")
    assert row.success
    assert row.face == 0
    assert row.box == pytest.approx((115.9, 70.3, 91.3, 108.3), abs=3)
    assert row.points[2] == pytest.approx((158.7, 124.5), abs=4)
    assert row.mesh.box == row.box
    found = largest_face(
        predictor.faces(torch.from_numpy(astronaut()).permute(2, 0, 1)[None, :, :224, 64:384])[0]
    )
    with open_video(tmp_path / "face.png") as video:
        clip = align_face(video.read([0])[0], found, model.input_spec)[None, None]
    assert row.values["AU12"] == pytest.approx(model.predict(clip)["au"][0, 0, 1].item(), abs=1e-4)
    (turned,) = predictor.predict_file(tmp_path / "turned.png")
    assert turned == row
    assert torch.equal(turned.mesh.points, row.mesh.points)
    (pixel,) = predictor.predict_file(tmp_path / "pixel.png")
    assert (pixel.success, pixel.face, pixel.reason) == (False, None, "No face was found.")
    assert predictor.metadata()["faces"] == {
        "found_by": "detector",
        "detector": str(predictor.faces),
        "alignment": "five_points",
        "crop_margin": 0.1,
    }
    (small,) = Predictor(model, faces="centerface").predict_file(tmp_path / "face.png")
    assert small.box == pytest.approx((117.5, 58.2, 88.3, 119.6), abs=3)
    assert small.mesh is None


def test_heads_that_read_landmarks_get_a_mean_face(memory_video):
    backbone = {"type": "clip", "model_name": "affectkit-tiny", "tokens": True}
    torch.manual_seed(0)
    model = AffectModel(
        backbone, {"micro": {"type": "micro_au", "space": "AU4,AU12"}}, input_spec={"frames": 3}
    )
    rows = list(Predictor(model, faces=Script(seen)).predict_video(memory_video(3, two)))
    pictures = [align_face(two(k), seen(k)[0], model.input_spec) for k in (0, 1, 2)]
    wanted = model.predict(torch.stack(pictures)[None])["micro"][0]
    (row,) = (row for row in rows if (row.frame, row.face) == (1, 0))
    assert list(row.values.values()) == pytest.approx(wanted.tolist(), abs=1e-5)


def test_the_device_is_that_of_model_faces_and_pictures(make_model, memory_video, monkeypatch):
    seen = []

    def spy(self, frames, *, landmarks):
        seen.append((frames.device.type, landmarks.device.type))
        return {"au": torch.zeros(len(frames), 1, 2), "expression": torch.zeros(len(frames), 7)}

    monkeypatch.setattr(AffectModel, "predict", spy)
    predictor = centred(make_model().train(), device="meta")
    assert len(list(predictor.predict_video(memory_video(2)))) == 2
    assert seen == [("meta", "meta")]
    assert {parameter.device.type for parameter in predictor.model.parameters()} == {"meta"}
    assert not predictor.model.training
    assert Predictor(make_model(), device="meta").faces.photos.device.type == "meta"
    with pytest.raises(ConfigError, match="The device 'cuda:99' is not available"):
        centred(make_model(), device="cuda:99")


@pytest.mark.gpu
def test_on_a_gpu_the_rows_are_those_of_the_processor(make_model, memory_video):
    here, there = (
        list(Predictor(make_model(4), faces=Script(seen), device=device).predict_video(memory_video(8, two)))
        for device in ("cpu", f"cuda:{torch.cuda.device_count() - 1}")
    )
    assert [(row.frame, row.face) for row in here] == [(row.frame, row.face) for row in there]
    for one, other in zip(here, there, strict=True):
        assert other.values == pytest.approx(one.values, abs=1e-3, nan_ok=True)


def test_a_batch_has_at_least_one_frame(make_model):
    with pytest.raises(ConfigError, match="batch_size"):
        centred(make_model(), batch_size=0)


def test_a_model_of_whole_pictures_gets_them(make_model, tmp_path, memory_video):
    model = make_model(1, alignment="frame")
    predictor = Predictor(model)
    assert str(predictor.faces) == "center"
    frame = memory_video(1).picture(0)
    Image.fromarray(frame.permute(1, 2, 0).numpy()).save(tmp_path / "face.png")
    (row,) = predictor.predict_file(tmp_path / "face.png")
    still = resized(frame)[None, None]
    assert row.values["AU01"] == pytest.approx(model.predict(still)["au"].flatten()[0].item(), abs=1e-5)
    assert str(Predictor(model, faces="1,2,30,30").faces) == "1,2,30,30"
    for options in ({"faces": "mesh"}, {"faces": "centerface"}, {"detector_size": 640}):
        with pytest.raises(ConfigError, match="trained on pictures as they are") as caught:
            Predictor(model, **options)
        assert "crop_faces: true" in caught.value.remedy
