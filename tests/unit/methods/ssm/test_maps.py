"""The learned maps as a table and a picture."""

import csv

import pytest
import torch

from affectkit.cli.main import main
from affectkit.errors import ConfigError
from affectkit.methods.ssm import associations, write_associations
from affectkit.models import AffectModel

HEADS = {
    "au": {"type": "prototype_au", "space": "AU6,AU12,AU4", "per_frame": True},
    "expression": {"type": "prototype_expression", "space": "neutral,happiness"},
}


def make(directions="both", heads=HEADS):
    torch.manual_seed(0)
    bridge = {"type": "semantic", "text": {"model_name": "affectkit-tiny"}, "directions": directions}
    model = AffectModel({"type": "clip", "model_name": "affectkit-tiny"}, heads, bridge=bridge).eval()
    for name, parameter in model.bridge.named_parameters():
        if name.startswith("map.delta"):
            torch.nn.init.normal_(parameter)
    return model


@pytest.fixture(scope="module")
def model():
    return make()


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_both_maps_by_name(model, tmp_path):
    found = associations(model)
    table, figure = write_associations(found, tmp_path / "new")
    rows = {(row["direction"], row["expression"], row["unit"]): row for row in read(table)}
    assert len(rows) == 2 * 2 * 3
    to_expression, to_unit, prior = model.bridge.maps()
    for i, expression in enumerate(("neutral", "happiness")):
        for j, unit in enumerate(("AU6", "AU12", "AU4")):
            for direction, value in (
                ("au_to_expression", to_expression[i, j]),
                ("expression_to_au", to_unit[j, i]),
            ):
                row = rows[direction, expression, unit]
                numbers = [float(row[key]) for key in ("prior", "learned", "difference")]
                expected = [prior[i, j].item(), value.item(), (value - prior[i, j]).item()]
                assert numbers == pytest.approx(expected, abs=1e-6)
    assert rows["au_to_expression", "happiness", "AU12"]["unit_name"] == "lip corner puller"
    assert [
        float(rows["au_to_expression", "happiness", unit]["prior"]) for unit in ("AU6", "AU12", "AU4")
    ] == [1, 1, 0.02]
    assert float(rows["expression_to_au", "neutral", "AU4"]["difference"]) == 0  # neutral stays fixed
    assert found.gates == pytest.approx({"au_to_expression": 0.1, "expression_to_au": 0.1})
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_picture_shows_the_numbers(model, tmp_path):
    from PIL import Image

    found = associations(model)
    _, figure = write_associations(found, tmp_path)
    with Image.open(figure) as image:
        both = image.size
        assert len(image.convert("RGB").getcolors(10**6)) > 50
    one = write_associations(associations(make("au_to_expression")), tmp_path / "one")
    with Image.open(one[1]) as image:
        assert image.size == (both[0], pytest.approx(both[1] / 2, abs=2))


def test_only_what_is_learned_is_written(tmp_path):
    found = associations(make("expression_to_au"))
    assert list(found.learned) == ["expression_to_au"]
    table, _ = write_associations(found, tmp_path)
    assert {row["direction"] for row in read(table)} == {"expression_to_au"}


def test_an_untrained_map_is_the_prior(tmp_path):
    model = AffectModel(**make().config)
    found = associations(model)
    for learned in found.learned.values():
        torch.testing.assert_close(learned, found.prior)
    write_associations(found, tmp_path)  # nothing to scale the differences by


@pytest.mark.parametrize("directions", ["none", None])
def test_models_without_a_map(directions):
    if directions is None:
        model = AffectModel(
            {"type": "timm", "model_name": "test_resnet"}, {"au": {"type": "au", "space": "AU1"}}
        )
    else:
        model = make(directions)
    with pytest.raises(ConfigError, match=r"no association map.*semantic bridge"):
        associations(model)


def test_from_the_command_line(model, tmp_path, capsys):
    model.save_pretrained(tmp_path / "model")
    assert (
        main(["model", "explain", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "out")]) == 0
    )
    text = capsys.readouterr().out
    rows = [row for row in read(tmp_path / "out" / "map.csv") if row["direction"] == "au_to_expression"]
    most = max(rows, key=lambda row: abs(float(row["difference"])))
    assert (
        f"au_to_expression: largest change from the prior: {most['expression']} with {most['unit']}" in text
    )
    assert (tmp_path / "out" / "map.png").is_file()
