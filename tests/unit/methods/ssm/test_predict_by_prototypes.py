"""Prediction by text prototypes: of the model's own labels, and of classes that it was never trained on."""

import csv
import math

import pytest
import torch
from PIL import Image

from affectkit.cli.main import main
from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.faces import Crop
from affectkit.inference import Predictor, read_table
from affectkit.models import AffectModel

HEADS = {
    "au": {"type": "prototype_au", "space": "AU6,AU12"},
    "expression": {"type": "prototype_expression", "space": "neutral,happiness"},
    "smile": {"type": "au", "space": "AU12"},
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    bridge = {"type": "semantic", "text": {"model_name": "affectkit-tiny"}}
    model = AffectModel({"type": "clip", "model_name": "affectkit-tiny"}, HEADS, bridge=bridge).eval()
    model.head("au").calibrate(thresholds=[0.3, 0.6])
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path, metadata={"licence": "none"})
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("media") / "face.png"
    rng = torch.Generator().manual_seed(0)
    Image.fromarray(torch.randint(0, 256, (64, 64, 3), generator=rng, dtype=torch.uint8).numpy()).save(path)
    return path


def values(predictor, photo):
    (row,) = predictor.predict_file(photo)
    return row.values


@torch.no_grad()
def cosines(model, photo, prototypes):
    """10 cos(h, P) of the picture, from scratch."""
    frames = Crop()(torch.from_numpy(_pixels(photo)), 64)[None, None]
    h = model.features(frames).pooled[0]
    return 10 * torch.stack([torch.dot(h, p) / (h.norm() * p.norm()) for p in prototypes])


def _pixels(photo):
    import numpy as np

    return np.asarray(Image.open(photo)).transpose(2, 0, 1).copy()


def test_prototypes_alone(model, photo):
    by_all, by_text = Predictor(model, faces="center"), Predictor(model, faces="center", prototype_only=True)
    assert by_all.columns == by_text.columns == ("AU06", "AU12", "smile.AU12", "neutral", "happiness")
    found = values(by_text, photo)
    expected = cosines(model, photo, model.head("au").prototypes).sigmoid()
    assert [found["AU06"], found["AU12"]] == pytest.approx(expected.tolist(), abs=1e-4)
    expected = cosines(model, photo, model.head("expression").prototypes).softmax(0)
    assert [found["neutral"], found["happiness"]] == pytest.approx(expected.tolist(), abs=1e-4)
    before = values(by_all, photo)
    assert found["smile.AU12"] == pytest.approx(before["smile.AU12"], abs=1e-6)  # it has no prototypes
    assert abs(found["AU12"] - before["AU12"]) > 1e-3

    heads = by_text.metadata()["heads"]
    assert {name: head["answers_by"] for name, head in heads.items()} == {
        "au": "prototypes",
        "smile": "linear layer",
        "expression": "prototypes",
    }
    assert list(heads["au"]["thresholds"].values()) == [0.5, 0.5]
    heads = by_all.metadata()["heads"]
    assert heads["expression"]["answers_by"] == "linear layer and prototypes"
    assert list(heads["au"]["thresholds"].values()) == [0.3, 0.6]


def test_other_classes(model, photo):
    predictor = Predictor(model, faces="center", classes=["contempt", "happiness", "a very tired face"])
    assert predictor.columns[-3:] == ("contempt", "happiness", "a very tired face")
    found = values(predictor, photo)
    assert math.fsum(found[name] for name in predictor.columns[-3:]) == pytest.approx(1, abs=1e-5)
    words = model.bridge.encode_classes("expression", ["contempt", "happiness", "a very tired face"])
    expected = cosines(model, photo, list(words.values())).softmax(0)
    assert [found[name] for name in predictor.columns[-3:]] == pytest.approx(expected.tolist(), abs=1e-4)
    assert found["AU12"] == pytest.approx(values(Predictor(model, faces="center"), photo)["AU12"], abs=1e-6)
    # The model that was given is left as it was.
    assert model.labels("expression") == ("neutral", "happiness")
    assert model.bridge is not None


def test_both_at_once(model, photo):
    both = Predictor(model, faces="center", classes=["contempt", "fear"], prototype_only=True)
    assert both.columns == ("AU06", "AU12", "smile.AU12", "contempt", "fear")
    alone = values(Predictor(model, faces="center", prototype_only=True), photo)
    assert values(both, photo)["AU12"] == pytest.approx(alone["AU12"], abs=1e-6)


def test_models_that_cannot(model):
    plain = AffectModel(
        {"type": "timm", "model_name": "test_resnet", "size": 32},
        {"expression": {"type": "expression", "space": "basic7"}},
    )
    for options in ({"classes": ["fear", "anger"]}, {"prototype_only": True}):
        with pytest.raises(ConfigError, match="No head of this model has prototypes"):
            Predictor(plain, **options)
    units = AffectModel(
        {"type": "clip", "model_name": "affectkit-tiny"},
        {"au": HEADS["au"]},
        bridge={"type": "semantic", "text": {"model_name": "affectkit-tiny"}},
    )
    with pytest.raises(ConfigError, match="no expression head with prototypes"):
        Predictor(units, faces="center", classes=["fear", "anger"])
    with pytest.raises(LabelSpaceError):
        Predictor(model, faces="center", classes=["fear"])


def test_from_the_command_line(folder, photo, tmp_path, capsys):
    table = tmp_path / "out.csv"
    media = ["--input", str(photo), "--output", str(table), "--faces", "center"]
    arguments = ["predict", "--model", str(folder), *media, "--quiet"]
    assert main([*arguments, "--classes", "contempt", "Happy", "--prototype-only"]) == 0
    with table.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row)[-5:] == ["AU06", "AU12", "smile.AU12", "contempt", "happiness"]
    said = read_table(table).attrs["affectkit"]
    assert said["zero_shot_classes"] == ["contempt", "Happy"]
    assert said["heads"]["expression"]["columns"] == ["contempt", "happiness"]
    assert said["heads"]["au"]["answers_by"] == "prototypes"
    assert said["model"] == str(folder)
    assert len(said["model_sha256"]) == 64
    assert main([*arguments, "--overwrite"]) == 0
    said = read_table(table).attrs["affectkit"]
    assert said["zero_shot_classes"] is None
    assert main([*arguments, "--classes", "fear"]) == 3
    assert "fewer than two classes" in capsys.readouterr().err
