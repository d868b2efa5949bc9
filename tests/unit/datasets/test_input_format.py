"""The format of a model's input, found from the data; truths are worked out by hand."""

import json
from dataclasses import replace

import pytest
import torch
from helpers.own_clips import write_own_clips
from PIL import Image

from affectkit.data import (
    AllFrames,
    CenterCrop,
    ClipTransform,
    Compose,
    OnsetApex,
    RandomResizedCrop,
    Resize,
    Window,
)
from affectkit.datamodules import MixtureDataModule, RAFDBDataModule, RenderedDataModule, TableDataModule
from affectkit.datasets import RenderedDataset, TableDataset
from affectkit.datasets.bases.input_format import find_format, join_formats
from affectkit.datasets.preparing import prepare
from affectkit.errors import ConfigError
from affectkit.faces import FacePicture, five_points
from affectkit.models import AffectModel
from affectkit.rehearse.rafdb import write_rafdb
from affectkit.synth import render_corpus
from affectkit.tasks.data import agree_on_input

RENDERED = {"identities": 3, "clips": 1, "frames_per_clip": 6, "size": 80, "seed": 3}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = tmp_path_factory.mktemp("rendered") / "c"
    return render_corpus(root, **RENDERED, num_workers=1, progress=False)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return write_own_clips(tmp_path_factory.mktemp("own") / "mine", each=1)


def make_model(size=32, **spec):
    backbone = {"type": "timm", "model_name": "test_convnext", "size": size}
    return AffectModel(backbone, {"au": {"type": "au", "space": "AU12"}}, input_spec=spec)


def formed(data, model=None):
    data.model = model
    data.setup("fit")
    return data.input_format


def test_a_crop_of_rendered_faces_has_the_margin_of_its_landmarks(rendered):
    data = RenderedDataModule(
        str(rendered), num_frames=3, eval_transform=CenterCrop(64), train_transform=CenterCrop(64)
    )
    found = formed(data)
    points = torch.stack([five_points(clip.landmarks[0]) for clip in RenderedDataset(rendered)])
    distance = (points[:, :2].mean(1) - points[:, 3:].mean(1)).norm(dim=-1).median()
    margin = (64 / (5 / 3 * float(distance)) - 1) / 2
    assert found.pop("crop_margin") == pytest.approx(margin, abs=1e-3)
    assert 0.08 < margin < 0.16
    # 3 of 6 frames at 25 per second: frames 1, 3 and 5.
    assert found == {"frames": 3, "fps": 12.5, "size": 64, "alignment": "eyes_mouth"}


@pytest.mark.parametrize(
    ("sampler", "frames", "fps"),
    [(Window(2, stride=3), 2, 25 / 3), (AllFrames(), None, 25.0), (OnsetApex(2), 2, None)],
)
def test_length_and_rate_are_those_of_the_sampler(own, sampler, frames, fps):
    found = formed(TableDataModule(str(own), train_frames=sampler, crop_faces=False), make_model())
    assert found.get("frames") == frames
    assert found.get("fps") == (None if fps is None else pytest.approx(fps, abs=1e-3))


def test_photos_have_no_rate(tmp_path):
    for name in "ab":
        Image.new("RGB", (64, 48)).save(tmp_path / f"{name}.png")
    (tmp_path / "index.csv").write_text("path,split,AU12\na.png,train,1\nb.png,val,0\n")
    found = formed(TableDataModule(str(tmp_path), crop_faces=False, num_frames=4), make_model())
    assert found == {"frames": 4, "size": 32, "alignment": "frame", "crop_margin": None}


def test_faces_are_cropped_as_the_model_says_and_transforms_count(own):
    spec = {"alignment": "eyes_mouth", "crop_margin": 0.25}
    found = formed(TableDataModule(str(own), num_frames=1), make_model(**spec))
    assert found == {"frames": 1, "size": 32, "alignment": "eyes_mouth", "crop_margin": 0.25}
    cut = Compose([Resize(64), CenterCrop(32)])  # half of the side, so the tight picture exceeds the crop
    found = formed(
        TableDataModule(str(own), num_frames=1, train_transform=cut, eval_transform=cut), make_model(**spec)
    )
    assert (found["size"], found["crop_margin"]) == (32, pytest.approx((0.5 * 1.5 - 1) / 2))
    # Without a model, faces are cropped in the default way.
    assert formed(TableDataModule(str(own), num_frames=1))["crop_margin"] == 0.15


def test_prepared_crops_state_their_geometry(own, tmp_path):
    prepare(TableDataset(own), tmp_path / "center", crop="center", size=40)
    data = TableDataModule(str(own), prepared=str(tmp_path / "center"))
    assert data.crop_faces is False
    assert formed(data, make_model())["alignment"] == "frame"
    manifest = tmp_path / "center" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["settings"] |= {"crop": "auto", "margin": 0.5}
    manifest.write_text(json.dumps(content))
    found = formed(TableDataModule(str(own), prepared=str(tmp_path / "center")), make_model())
    assert (found["alignment"], found["crop_margin"], found["size"]) == ("five_points", 0.5, 32)


def test_pictures_that_a_corpus_cropped_have_no_known_place(tmp_path):
    write_rafdb(tmp_path / "RAF", size="tiny", seed=1)
    found = formed(RAFDBDataModule(str(tmp_path / "RAF"), batch_size=2), make_model())
    assert found == {"frames": 1, "size": 32}


class Apex(ClipTransform):
    """The last frame, at 28 pixels."""

    def __call__(self, clip, rng=None):
        return Resize(28)(replace(clip, frames=clip.frames[-1:], landmarks=clip.landmarks[-1:]))


def test_pictures_change_their_number_and_shape(own):
    data = TableDataModule(str(own), num_frames=2, crop_faces=False, final_transform=Apex(), size=64)
    assert formed(data) == {"frames": 1, "fps": 8.333, "size": 28, "alignment": "frame", "crop_margin": None}
    data = TableDataModule(str(own), crop_faces=False, eval_transform=Resize(48), train_transform=Resize(48))
    assert formed(data)["size"] == "48 × 64"
    huge = CenterCrop(2000)  # of frames whose size is unknown before they are read
    data = TableDataModule(str(own), crop_faces=False, eval_transform=huge, train_transform=huge)
    assert set(formed(data)) == {"fps", "alignment", "crop_margin"}
    with pytest.raises(ConfigError, match="too small for a crop of 2000"):
        formed(TableDataModule(str(own), eval_transform=huge), make_model())
    with pytest.raises(ConfigError, match="Training makes pictures of 40 pixels, evaluation of 32"):
        formed(TableDataModule(str(own), train_transform=RandomResizedCrop(40)), make_model())


def test_models_without_pictures_have_length_and_rate_alone(own):
    train = TableDataset(own, split="train")
    assert find_format(train, TableDataset(own, split="val"), 6, has_pictures=False) == {
        "frames": 6,
        "fps": 25.0,
    }


def test_a_mixture_must_place_faces_in_one_way(own, rendered):
    sources = {
        "mine": TableDataModule(str(own), num_frames=1),
        "theirs": RenderedDataModule(str(rendered), num_frames=3, crop_faces=True),
    }
    data = MixtureDataModule(sources)
    for source in sources.values():
        source.model = make_model()
        source.setup("fit")
    expected = {"frames": 3, "fps": 12.5, "size": 32, "alignment": "five_points", "crop_margin": 0.15}
    assert data.input_format == expected
    with pytest.raises(ConfigError, match="different alignment: mine five_points, theirs frame") as caught:
        join_formats({"mine": {"alignment": "five_points"}, "theirs": {"alignment": "frame"}})
    assert "crop_faces: true" in caught.value.remedy
    assert join_formats({"a": {}, "b": {"size": 8}}) == {"size": 8}


def test_data_decide_and_statements_must_agree():
    found = {"frames": 8, "fps": 12.5, "size": 32, "alignment": "eyes_mouth", "crop_margin": 0.13}
    model = make_model()
    assert model.unstated == ("frames", "fps", "crop_margin", "alignment")
    agree_on_input(model, found)
    assert {key: getattr(model.input_spec, key) for key in found} == found
    model = make_model(frames=8, crop_margin=0.125)  # a measured margin may deviate a little
    agree_on_input(model, found)
    assert (model.input_spec.crop_margin, model.input_spec.alignment) == (0.125, "eyes_mouth")
    for key, stated in (
        ("frames", 4),
        ("fps", 25.0),
        ("alignment", "box"),
        ("crop_margin", 0.3),
        ("crop_margin", None),
    ):
        with pytest.raises(ConfigError, match=f"states {key} {stated} .* make {key} {found[key]}"):
            agree_on_input(make_model(**{key: stated}), found)
    with pytest.raises(ConfigError, match="pictures of 32 pixels, the backbone reads 64"):
        agree_on_input(make_model(64), found)


def test_a_recipe_may_know_how_pictures_that_are_used_as_they_are_were_cropped():
    found = {"alignment": "frame", "crop_margin": None}
    model = make_model(alignment="eyes_mouth", crop_margin=0.2)
    agree_on_input(model, found)
    assert (model.input_spec.alignment, model.input_spec.crop_margin) == ("eyes_mouth", 0.2)
    model = make_model()
    agree_on_input(model, found)
    assert model.input_spec.alignment == "frame"


def test_fine_tuning_places_faces_like_the_saved_model(tmp_path):
    make_model(alignment="raised_box", crop_margin=0.2, frames=4).save_pretrained(tmp_path)
    model = make_model()
    model.init_from(tmp_path)
    assert (model.input_spec.alignment, model.input_spec.crop_margin, model.input_spec.frames) == (
        "raised_box",
        0.2,
        1,
    )
    make_model(alignment="frame").save_pretrained(tmp_path / "whole")
    model = make_model()
    model.init_from(tmp_path / "whole")
    assert model.input_spec.alignment == "five_points"  # the data decide
    model = make_model(alignment="box")
    model.init_from(tmp_path)
    assert (model.input_spec.alignment, model.input_spec.crop_margin) == ("box", None)


def test_a_recipe_may_state_whole_pictures(own):
    data = TableDataModule(str(own), num_frames=1)
    assert formed(data, make_model(alignment="frame"))["alignment"] == "frame"
    assert not data.measures
    assert data.datasets["val"][0].frames.shape[-2:] == (32, 32)


@pytest.mark.parametrize("alignment", ["frame", "five_points"])
def test_a_saved_model_is_evaluated_on_what_it_was_trained_on(own, alignment):
    data = TableDataModule(str(own), num_frames=1, eval_transform=CenterCrop(20), size=20)
    model = make_model(alignment=alignment)
    data.evaluate_only(model)
    data.setup("test")
    place = data.datasets["test"].face_picture
    assert place == ("frame" if alignment == "frame" else FacePicture(32, 0.15))
    assert data.datasets["test"][0].frames.shape[-2:] == (32, 32)
    told = TableDataModule(str(own), num_frames=1, crop_faces=False)
    told.evaluate_only(model)
    told.setup("test")
    assert told.datasets["test"].face_picture == "frame"
