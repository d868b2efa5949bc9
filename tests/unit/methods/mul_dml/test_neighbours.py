"""Nearest neighbours in the embedding of a metric head, and the command that draws them."""

import csv
import math

import pytest
import torch
from helpers.toy import ToyDataModule
from torch.nn import functional as F

from affectkit.cli.main import main
from affectkit.data import collate
from affectkit.errors import ConfigError
from affectkit.methods.mul_dml import (
    Gallery,
    embed_gallery,
    face_vectors,
    metric_head,
    neighbours_by_label,
    neighbours_of,
    retrieval_rates,
    write_neighbours,
)
from affectkit.models import AffectModel
from affectkit.tasks.base import model_inputs

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

RECIPE = """
model:
  class_path: MultiTask
  init_args:
    backbone: {class_path: TimmBackbone, init_args: {model_name: test_resnet, size: 32}}
    heads: {expression: {class_path: ExpressionHead, init_args: {space: basic7}}}
data: {class_path: helpers.toy.ToyDataModule, init_args: {clips: 3, batch_size: 4}}
"""
SMALL = {"slices": 2, "slice_width": 4}


def gallery(single=True):
    """Five clips on a half circle, of three people."""
    angles = torch.tensor([0.0, 0.1, 0.5, 2.0, 3.0])
    states = torch.tensor(
        [[1, 0], [1, 0], [0, 1], [0, 1], [1, 0]] if single else [[1, 1], [1, 0], [0, 0]] + 2 * [[0, 1]]
    )
    return Gallery(
        torch.stack([angles.cos(), angles.sin()], dim=1),
        states.bool(),
        ("anger", "fear") if single else ("AU4", "AU12"),
        single,
        tuple("abcde"),
        ("p1", "p2", "p1", "p3", "p2"),
        torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 8, 8) * 40,
    )


def make_model(tmp_path, **head):
    torch.manual_seed(0)
    model = AffectModel(
        {"type": "timm", "model_name": "test_resnet", "size": 32},
        {
            "plain": {"type": "expression", "space": "basic7"},
            "expression": {"type": "metric_expression", "space": "basic7", **SMALL, **head},
            "au": {"type": "metric_au", "space": "AU12,AU1", "per_frame": True, **SMALL},
        },
        input_spec={"frames": 2},
    ).eval()
    model.save_pretrained(tmp_path / "model")
    return model


def test_neighbours_of_a_face_and_of_each_label():
    found = neighbours_of(gallery(), "face", torch.zeros(3, 8, 8), torch.tensor([0.0, 1.0]), 2)
    assert found.indices == (3, 2)
    assert found.cosines == pytest.approx([math.sin(2.0), math.sin(0.5)])
    rows = neighbours_by_label(gallery(), 9)
    assert [(row.name, row.query, row.indices) for row in rows] == [
        ("anger\np1", 0, (1, 2, 3, 4)),
        ("fear\np1", 2, (1, 0, 3, 4)),
    ]


def test_rates_of_neighbours_and_of_chance():
    rates = retrieval_rates(gallery(), 1)  # nearest: b, a, b, e, d
    assert rates["same_label"] == pytest.approx(2 / 5)
    assert rates["same_person"] == 0
    assert rates["same_label_chance"] == pytest.approx((2 * 3 + 2 * 1) / 20)
    assert rates["same_person_chance"] == pytest.approx(4 / 20)
    units = gallery(single=False)
    expected = sum([0.5, 0.5, 0.5, 1, 1]) / 5  # share of units in the same state
    assert retrieval_rates(units, 1)["same_label"] == pytest.approx(expected)
    assert [units.shown(index) for index in range(3)] == ["AU4+AU12", "AU4", "–"]


def test_the_gallery_holds_every_clip_once_with_its_labels(tmp_path):
    model, data = make_model(tmp_path), ToyDataModule(clips=3, batch_size=4)
    data.setup("test")
    dataset = data.datasets["test"]
    batch = collate([dataset[index] for index in range(len(dataset))])
    for name in ("expression", "au"):
        head = model.head(name)
        found = embed_gallery(model, head, [data.test_dataloader()])
        assert found.clips == tuple(batch.meta["clip"])
        assert found.people == tuple(batch.meta["subject"])
        assert torch.equal(found.pictures, batch.frames[:, 1])
        truth = batch.targets[name].project(head.space.name)
        if name == "expression":
            assert torch.equal(found.states, F.one_hot(truth.value, 7).bool())
        else:
            assert torch.equal(found.states, truth.value.amax(1) >= 0.5)
        with torch.no_grad():
            slices = head.embed(model.features(**model_inputs(batch)))
        if name == "au":
            slices = slices.mean(1)  # over frames
        torch.testing.assert_close(
            found.vectors, F.normalize(slices.flatten(1), dim=-1), atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(
            found.vectors, face_vectors(head, model.features(**model_inputs(batch))), atol=1e-5, rtol=1e-4
        )


def test_clips_without_the_target_are_no_gallery(tmp_path):
    model, data = make_model(tmp_path), ToyDataModule(clips=3, batch_size=4)
    data.setup("test")
    batch = collate([data.datasets["test"][0]])
    batch.targets.clear()
    with pytest.raises(ConfigError, match="no labels 'expression'"):
        embed_gallery(model, model.head("expression"), [[batch]])


def test_heads_are_found_by_name(tmp_path):
    model = make_model(tmp_path)
    assert metric_head(model) is model.head("expression")
    assert metric_head(model, "au") is model.head("au")
    with pytest.raises(ConfigError, match=r"no metric head 'plain'.*Choose one of expression, au"):
        metric_head(model, "plain")
    model.heads.pop("au")
    model.heads.pop("expression")
    with pytest.raises(ConfigError, match="This model has no metric head"):
        metric_head(model)


def test_table_and_figure(tmp_path):
    table, figure = write_neighbours(gallery(), neighbours_by_label(gallery(), 2), tmp_path / "new")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["face"], row["rank"], row["clip"], row["labels"]) for row in rows] == [
        ("a", "1", "b", "anger"), ("a", "2", "c", "fear"), ("c", "1", "b", "anger"), ("c", "2", "a", "anger"),
    ]  # fmt: skip
    assert float(rows[0]["cosine"]) == pytest.approx(math.cos(0.1), abs=1e-4)
    assert figure.stat().st_size > 1000


@pytest.fixture
def files(tmp_path):
    make_model(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def command(files, *more):
    return [
        *("model", "neighbours", "--config", str(files / "recipe.yaml"), "--model", str(files / "model")),
        *("--output", str(files / "out"), *more),
    ]


def test_the_command_prints_rates_and_writes_the_figure(files, capsys):
    assert main(command(files, "--count", "2", "--data.init_args.clips=2")) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("same label among 2 neighbours: 0.")
    assert said[1].startswith("same person among 2 neighbours: 0.")
    assert said[1].endswith("(chance 0.200)")  # 3 people with 2 clips each
    assert said[2:] == [str(files / "out" / f"neighbours.{suffix}") for suffix in ("csv", "png")]


def test_the_command_looks_up_a_face(files, capsys):
    from PIL import Image

    Image.new("RGB", (48, 48), (90, 60, 30)).save(files / "face.png")
    photo = ("--input", str(files / "face.png"), "--faces", "center")
    assert main(command(files, *photo, "--head", "au", "--count", "3")) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 5
    assert all(", cosine " in line for line in said[:3])
    rows = list(csv.DictReader((files / "out" / "neighbours.csv").read_text().splitlines()))
    assert [row["face"] for row in rows] == 3 * ["face.png"]
    assert said[0] == f"{rows[0]['clip']}: {rows[0]['labels']}, cosine {float(rows[0]['cosine']):.3f}"


def test_the_command_names_faults(files, capsys):
    assert main(command(files, "--count", "0")) == 2
    assert "--count 0 must be at least 1" in capsys.readouterr().err
    assert main(command(files, "--head", "plain")) == 2
    assert "no metric head 'plain'" in capsys.readouterr().err
