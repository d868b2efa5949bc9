"""What a model card says, and whose text it leaves alone."""

from __future__ import annotations

import json

import yaml

from affectkit.models import AffectModel, AUHead, Head, list_models
from affectkit.models.card import MARK, model_card
from affectkit.models.registry import find


def row(name: str, value: float, rule: str | None = "fixed", protocol: str = "held-out subjects") -> dict:
    return {
        "name": name,
        "value": value,
        "ci": [value - 0.1, None],
        "ci_level": 0.95,
        "ci_over": "subjects",
        "baseline": 0.25,
        "threshold_rule": rule,
        "protocol": protocol,
    }


HEADS = {
    "au": {"type": "au", "labels": ["AU1", "AU12"], "thresholds": [0.5, 0.25], "per_frame": True},
    "strength": {"type": "intensity", "labels": ["AU6"], "thresholds": []},
}
METADATA = {
    "name": "Faces | of mine",
    "trained_on": "BP4D, fold 1",
    "licence": "research only: no money",
    "citation": "Somebody, 2026",
    "limits": "Adults only.",
    "results": {
        "BP4D/au": [
            row("au/f1_pos", 0.625),
            row("au/auc", 0.75, None),
            row("au/f1_pos/AU12", 0.875),
            row("au/f1_pos", 0.6875, "val"),
            row("au/auc", 0.75, None),
            row("au/f1_pos/AU12", 0.8125, "val"),
        ],
        "BP4D/au/sex=female": [row("au/f1_pos", 0.71, protocol="women alone"), row("au/f1_pos", 0.72, "val")],
    },
    "calibration": {
        "au": {
            "temperature": 1.5,
            "measured": {"test": {"ece_before": 0.2, "ece": 0.1, "nll_before": 0.6, "nll": 0.5, "labels": 9}},
        }
    },
}
CONFIG = {"heads": HEADS, "input": {"size": 64, "frames": 4, "fps": 25.0}, "metadata": METADATA}


def test_a_card_holds_data_protocol_licence_and_results():
    card = model_card(CONFIG)
    lines = card.splitlines()
    assert "# Faces | of mine" in lines
    assert "| au | AU1, AU12 | probability of each unit, per frame | 0.5 0.25 |" in lines
    assert "| strength | AU6 | intensity of each unit, 0 (absent) to 5, per clip | – |" in lines
    assert (
        "Input: clips of 4 frames at 25 frames per second, 64 × 64 pixels around one upright face." in lines
    )
    assert "BP4D, fold 1" in lines
    assert "- held-out subjects" in lines
    assert "- women alone" not in lines  # it stands in its own table
    assert "| au/f1_pos | 0.625 | 0.525 – – | 0.250 | 0.5 |" in lines
    assert "| au/f1_pos | 0.688 | 0.588 – – | 0.250 | fitted on validation |" in lines
    assert lines.count("| au/auc | 0.750 | 0.650 – – | 0.250 | – |") == 1
    assert "| AU12 | 0.875 | 0.250 |" in lines
    assert "| AU12 | 0.812 | 0.250 |" not in lines  # of the first threshold rule only
    assert "| sex: female | au/f1_pos | 0.710 | 0.610 – – | 0.250 |" in lines
    assert "0.720" not in card
    assert "| au/f1_pos/AU12 |" not in card  # it stands in its own table
    assert "| metric | value | 95 % interval over subjects | trivial baseline | threshold |" in lines
    assert "| au | 1.500 | test | 0.200 | 0.100 | 0.600 | 0.500 |" in lines
    assert "- Adults only." in lines
    assert "research only: no money" in lines
    assert "Somebody, 2026" in lines
    assert "bound by that corpus's terms" in card


def test_its_header_is_yaml_that_the_hub_understands():
    header = yaml.safe_load(model_card(CONFIG).split("---")[1])
    assert header["license"] == "other"
    assert header["license_name"] == "research only: no money"
    assert header["library_name"] == "affectkit"
    free = {**CONFIG, "metadata": {"licence": "Apache-2.0", "rendered": True}}
    header = yaml.safe_load(model_card(free).split("---")[1])
    assert header["license"] == "apache-2.0"
    assert "synthetic-faces" in header["tags"]
    assert "Trained on rendered faces only" in model_card(free)
    assert "corpus's terms" not in model_card(free)


def test_what_is_not_known_is_said():
    card = model_card({"heads": {"au": {**HEADS["au"], "type": "of_mine", "thresholds": [0.5, 0.5]}}})
    for sentence in (
        "Not stated.",
        "No results are recorded with this model.",
        "No temperature was fitted",
        "The terms are not stated",
        "This folder contains heads only",
        "Head.from_pretrained",
        "| au | AU1, AU12 | of_mine, per frame | 0.5 |",
    ):
        assert sentence in card
    still = model_card({"heads": HEADS, "input": {"size": 64, "frames": 1}})
    assert "Input: single pictures, 64 × 64" in still
    rows = model_card(
        {**CONFIG, "metadata": {"results": [row("au/uar", 0.5, None)], "limits": ["One.", "Two."]}}
    )
    assert "| au/uar | 0.500 |" in rows
    assert "- Two." in rows


def test_what_was_said_comes_before_what_holds_for_all():
    said = {
        "description": "Reads faces.",
        "intended_use": "Animation.",
        "limits": ["Adults only."],
        "results": {"a|b/au": [row("au/f1_pos", 0.5, "oracle", "a|b")]},
    }
    heads = {
        "moods": {"type": "expression", "labels": ["x|y", "z"]},
        "clip": {"type": "micro_au", "labels": ["AU4"], "thresholds": [0.5]},
    }
    lines = model_card({"heads": heads, "metadata": said}).splitlines()
    assert "Reads faces." in lines
    assert "Animation." in lines
    assert "| moods | x\\|y, z | probability of each class; they sum to 1, per clip | – |" in lines
    assert "| clip | AU4 | probability of each unit, for a clip from onset to apex, per clip | 0.5 |" in lines
    assert "| au/f1_pos | 0.500 | 0.400 – – | 0.250 | ORACLE: fitted on test |" in lines
    limits = lines[lines.index("## Limits") : lines.index("## Licence")]
    assert "- Adults only." in limits
    assert sum(line.startswith("- ") for line in limits) == 4
    assert any("decisions about people" in line for line in limits)
    plain = model_card({"heads": heads})
    assert "people who know of it and agree" in plain
    assert "Facial behaviour by named labels" in plain


def test_every_kind_of_head_says_what_it_answers():
    heads = {name: {"type": name, "labels": ["AU1"]} for name in list_models("head")}
    answers = model_card({"heads": heads}).partition("## Predictions")[2].partition("##")[0]
    for name in heads:
        meaning = find("head", name).meaning
        assert f"| {name} | AU1 | {meaning}, per clip |" in answers
        assert meaning != Head.meaning  # that of a head which does not say


def test_saved_models_have_a_card_and_a_text_of_ones_own_stays(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path, metadata={"name": "First"})
    assert MARK in (tmp_path / "README.md").read_text()
    tiny_model.save_pretrained(tmp_path, metadata={"name": "Second"})
    assert "# Second" in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("Mine.")
    tiny_model.save_pretrained(tmp_path, metadata={"name": "Third"})
    assert (tmp_path / "README.md").read_text() == "Mine."
    assert AffectModel.from_pretrained(tmp_path).metadata == {"name": "Third"}


def test_a_head_saved_alone_has_a_card(tmp_path):
    AUHead(4, "AU1").save_pretrained(tmp_path, metadata={"licence": "MIT"})
    assert "license: mit" in (tmp_path / "README.md").read_text()
    assert json.loads((tmp_path / "config.json").read_text())["metadata"] == {"licence": "MIT"}
