"""Where a model of micro-expressions looks, and which units depend on which, as tables and pictures."""

import csv

import pytest
import torch
from PIL import Image

from affectkit.errors import ConfigError
from affectkit.faces import face_landmarks
from affectkit.facs.mean_shape import MEAN_SHAPE_68
from affectkit.methods.micro_au_clip import (
    dependencies,
    micro_head,
    region_attention,
    write_dependencies,
    write_regions,
)
from affectkit.models import AffectModel, InputSpec

UNITS = ("AU1", "AU4", "AU12")


def make(**options):
    torch.manual_seed(0)
    head = {"type": "micro_au", "space": ",".join(UNITS), "attention_heads": 4, **options}
    backbone = {"type": "clip", "model_name": "affectkit-tiny-patch8", "tokens": True}
    return AffectModel(backbone, {"au": head}, input_spec={"frames": 2}).eval()


@pytest.fixture(scope="module")
def model():
    made = make()
    with torch.no_grad():
        made.head("au").depend.set_cooccurrence(
            torch.tensor([[1.0, 0.6, 0.1], [0.4, 1.0, 0.0], [0.2, 0.0, 1.0]])
        )
        made.head("au").depend.strength.fill_(2.0)
    made.head("au").calibrate(thresholds=[0.0, 1.0, 0.5])
    return made


@pytest.fixture(scope="module")
def clip():
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 64, 64), generator=rng, dtype=torch.uint8)


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_every_patch_of_every_region(model, clip, tmp_path):
    found = region_attention(model, clip)
    assert torch.equal(found.onset, clip[0])
    assert torch.equal(found.apex, clip[1])
    table, figure = write_regions(found, tmp_path / "new")
    out = model.head("au").outputs(model.features(clip[None]))
    rows = {(row["unit"], int(row["row"]) * 8 + int(row["column"])): row for row in read(table)}
    expected = {}
    for a, unit in enumerate(UNITS):
        for place, weight, look in zip(
            out.places[0, a].tolist(), out.weights[0, a].tolist(), out.attention[0, a].tolist(), strict=True
        ):
            if weight:
                expected[unit, place] = (weight, look)
    assert rows.keys() == expected.keys()
    for key, (weight, look) in expected.items():
        assert float(rows[key]["weight"]) == pytest.approx(weight, abs=1e-6)
        assert float(rows[key]["attention"]) == pytest.approx(look, abs=1e-6)
    torch.testing.assert_close(found.attention.sum((1, 2)), torch.ones(3))
    p = model.predict(clip[None])["au"][0]
    assert [float(rows[unit, k]["probability"]) for unit, k in expected] == pytest.approx(
        [float(p[UNITS.index(unit)]) for unit, _ in expected], abs=1e-6
    )
    with Image.open(figure) as image:
        assert len(image.convert("RGB").getcolors(10**7)) > 200


def test_landmarks_move_the_regions_and_their_attention(model, clip):
    points = torch.tensor(MEAN_SHAPE_68) * 64 - 0.5
    at_home = region_attention(model, clip, points.expand(2, -1, -1))
    assert torch.equal(at_home.weights, region_attention(model, clip).weights)
    low = region_attention(model, clip, (points + torch.tensor([0.0, 8.0])).expand(2, -1, -1))
    assert torch.equal(low.weights[:, 2:], at_home.weights[:, 1:-1])  # a patch farther down
    assert torch.equal(low.attention > 0, low.weights > 0)


def test_without_attention_the_regions_weights_are_shown(clip, tmp_path):
    found = region_attention(make(pta=False), clip)
    assert not found.learned
    torch.testing.assert_close(found.attention, found.weights / found.weights.sum((1, 2), keepdim=True))
    write_regions(found, tmp_path)


def test_dependencies_are_the_attention_beside_the_labels(model, tmp_path):
    found = dependencies(model)
    head = model.head("au")
    assert found.at_rest
    assert found.gate == pytest.approx(0.1)
    assert torch.equal(found.cooccurrence, head.depend.cooccurrence)
    torch.testing.assert_close(found.learned.sum(1), torch.ones(3))
    bias = torch.nn.functional.pad(2.0 * (head.depend.cooccurrence + 0.05).log(), (0, 1))
    torch.testing.assert_close(found.drawn, bias.softmax(1))
    table, figure = write_dependencies(found, tmp_path)
    rows = {(row["unit"], row["looks_at"]): row for row in read(table)}
    assert len(rows) == 3 * 4
    assert float(rows["AU1", "AU4"]["cooccurrence"]) == pytest.approx(0.6)
    assert rows["AU1", "face"]["cooccurrence"] == ""
    assert float(rows["AU4", "face"]["learned"]) == pytest.approx(float(found.learned[1, 3]), abs=1e-6)
    assert float(rows["AU4", "AU12"]["difference"]) == pytest.approx(
        float(found.learned[1, 2] - found.drawn[1, 2]), abs=2e-6
    )
    with Image.open(figure) as image:
        assert len(image.convert("RGB").getcolors(10**7)) > 100


def test_attention_without_queries_is_what_co_occurrence_draws(model, clip):
    blind = AffectModel(**model.config).eval()
    blind.load_state_dict(model.state_dict())
    with torch.no_grad():
        for layer in blind.head("au").depend.layers:
            layer.qkv.weight.zero_()
            layer.qkv.bias.zero_()
    found = dependencies(blind, clip)
    assert not found.at_rest
    torch.testing.assert_close(found.learned, found.drawn)
    assert not torch.allclose(dependencies(model, clip).learned, found.learned, atol=1e-3)


def test_attention_shown_is_the_mean_over_layers(model):
    depend = model.head("au").depend
    units, whole = torch.randn(2, 3, 64), torch.randn(2, 64)
    first, second = depend.layers
    tokens = torch.cat([units, whole[:, None]], 1)
    looks = first.attention(tokens, depend.bias) + second.attention(first(tokens, depend.bias), depend.bias)
    torch.testing.assert_close(depend.attention(units, whole), looks[:, :3] / 2)


def test_attention_is_that_of_the_forward_pass():
    """The gate's output computed from `attention` by hand, for one layer and one head."""
    from affectkit.methods.micro_au_clip import GlobalDependencyAttention

    torch.manual_seed(0)
    depend = GlobalDependencyAttention(8, 3, depth=1, heads=1, gate=1.0).eval()
    depend.set_cooccurrence(torch.rand(3, 3))
    units, whole = torch.randn(2, 3, 8), torch.randn(2, 8)
    layer = depend.layers[0]
    tokens = torch.cat([units, whole[:, None]], 1)
    value = layer.qkv(layer.norm(tokens))[..., 16:]
    after = units + layer.out(depend.attention(units, whole) @ value)
    torch.testing.assert_close(depend(units, whole), units + after + layer.mlp(after))


def test_models_without_such_heads(clip):
    plain = AffectModel(
        {"type": "timm", "model_name": "test_resnet", "size": 32}, {"au": {"type": "au", "space": "AU1"}}
    )
    with pytest.raises(ConfigError, match="no head for micro-expressions"):
        region_attention(plain, clip)
    with pytest.raises(ConfigError, match=r"'brow'.*Choose one of au"):
        micro_head(make(), "brow")
    with pytest.raises(ConfigError, match="do not depend on each other"):
        dependencies(make(gda=False))


@pytest.mark.parametrize("spec", [{"crop_margin": 0.0}, {"alignment": "eyes_mouth", "crop_margin": -0.053}])
def test_the_mean_face_is_where_the_model_expects_faces(spec):
    spec = InputSpec(size=64, **spec)
    points = face_landmarks(spec)
    eyes, mouth = points[36:48].mean(0), points[[48, 54]].mean(0)
    assert (eyes[1], mouth[1]) == pytest.approx(
        (29.1, 52.3) if spec.alignment == "five_points" else (10.0, 53.0), abs=1.5
    )
    assert eyes[0] == pytest.approx(31.5, abs=1.0)


def test_the_mean_face_is_stretched_to_five_points():
    spec = InputSpec(size=64)
    wide = torch.tensor([[10.0, 20.0], [50.0, 20.0], [30.0, 32.0], [15.0, 45.0], [45.0, 45.0]])
    points = face_landmarks(spec, wide)
    five = torch.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
    assert (five - wide).abs().max() < 4
    torch.testing.assert_close(face_landmarks(spec, five), points, atol=1e-3, rtol=0)
