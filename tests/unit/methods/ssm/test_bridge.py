"""Association maps and the semantic bridge: identities at the start, what learning keeps, gates, new classes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from affectkit.errors import ConfigError, LabelSpaceError, WeightsError
from affectkit.facs import AU_SETS, EXPRESSION_SETS, association, label_space
from affectkit.methods.ssm import AssociationMap, SemanticBridge, read_classes
from affectkit.models.text import encode_prompts

TINY = {"model_name": "affectkit-tiny"}
SPACES = {"au": label_space("AU6,AU12,AU15"), "expression": label_space("happiness,neutral,sadness")}


def table(name: str) -> tuple[tuple[float, ...], ...]:
    expressions, units = ("dfew7" if name.endswith("7") else "mafw11"), name[4:].rstrip("0123456789")
    return association(
        EXPRESSION_SETS[expressions], AU_SETS[{"bp4d": "bp4d12", "disfa": "disfa8"}[units]], name
    )


def learned(name: str) -> AssociationMap:
    torch.manual_seed(0)
    association_map = AssociationMap(table(name), 2)
    with torch.no_grad():
        association_map.delta_ae.normal_(std=3)
        association_map.delta_ea.normal_(std=3)
    return association_map


PUBLISHED = ["ssm_bp4d7", "ssm_bp4d11", "ssm_disfa7", "ssm_disfa11"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_maps_start_as_the_prior(name):
    prior = torch.tensor(table(name))
    to_expression, to_unit = AssociationMap(table(name), 2)()
    assert torch.allclose(to_expression, prior, atol=1e-6)
    assert torch.allclose(to_unit, prior.T, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("name", PUBLISHED)
def test_learning_keeps_the_mass_of_every_row(name):
    prior = torch.tensor(table(name))
    to_expression, to_unit = learned(name)()
    assert not torch.allclose(to_expression, prior, atol=0.1)
    assert torch.allclose(to_expression.sum(1), prior.sum(1), atol=1e-5)
    assert torch.allclose(to_unit.sum(1), prior.sum(0), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", PUBLISHED)
def test_neutral_stays_fixed(name):
    prior = torch.tensor(table(name))
    to_expression, to_unit = learned(name)()
    assert torch.equal(to_expression[2], prior[2])
    assert torch.equal(to_unit[:, 2], prior[2])


@torch.no_grad()
def test_without_a_fixed_row_all_is_learned():
    prior = [[0.5, 0.1], [0.2, 0.7]]
    free = AssociationMap(prior)
    free.delta_ea += torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    first = torch.softmax(torch.tensor([0.5, 0.2]).log() + torch.tensor([0.0, 1.0]), 0) * 0.7
    second = torch.softmax(torch.tensor([0.1, 0.7]).log() + torch.tensor([-1.0, 0.0]), 0) * 0.8
    assert torch.allclose(free()[1], torch.stack([first, second]), atol=1e-6)


def test_a_direction_that_is_not_learned_has_no_parameter_and_stays_the_prior():
    one = AssociationMap([[0.5, 0.1], [0.2, 0.7]], directions="au_to_expression")
    assert [name for name, _ in one.named_parameters()] == ["delta_ae"]
    assert torch.equal(one()[1], one.prior.T)
    other = AssociationMap([[0.5, 0.1], [0.2, 0.7]], directions="expression_to_au")
    assert [name for name, _ in other.named_parameters()] == ["delta_ea"]
    assert torch.equal(other()[0], other.prior)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (([],), "rows of equal length"),
        (([[1.0], [1.0, 2.0]],), "rows of equal length"),
        (([[float("nan")]],), "finite numbers"),
        (([[-1.0]],), "finite numbers"),
        (([[1.0], [1.0]], 2), "Row 2 cannot be fixed"),
        (([[1.0]], 0), "Row 0 cannot be fixed"),
    ],
)
def test_what_is_no_prior_is_refused(arguments, fault):
    with pytest.raises(ConfigError, match=fault):
        AssociationMap(*arguments)
    with pytest.raises(ConfigError, match="directions 'none'"):
        AssociationMap([[1.0]], directions="none")


def make(**arguments) -> SemanticBridge:
    torch.manual_seed(0)
    return SemanticBridge(arguments.pop("spaces", SPACES), text=TINY, **arguments)


def raw(bridge: SemanticBridge) -> dict[str, torch.Tensor]:
    """T_a and T_e, each encoded by itself."""
    return {name: encode_prompts(bridge.text, [learner])[0] for name, learner in bridge.prompts.items()}


EXPRESSIONS, UNITS = {"alpha", "map.delta_ae"}, {"beta", "map.delta_ea"}


@torch.no_grad()
@pytest.mark.parametrize(
    ("directions", "moved", "trained"),
    [
        ("both", {"au", "expression"}, EXPRESSIONS | UNITS),
        ("au_to_expression", {"expression"}, EXPRESSIONS),
        ("expression_to_au", {"au"}, UNITS),
        ("none", set(), set()),
    ],
)
def test_directions_decide_who_borrows(directions, moved, trained):
    bridge = make(directions=directions, gate=0.3)
    texts, fused = raw(bridge), bridge()
    prior = torch.tensor(association(SPACES["expression"], SPACES["au"]))
    expected = {
        "expression": F.normalize(texts["expression"] + 0.3 * prior @ texts["au"], dim=1),
        "au": F.normalize(texts["au"] + 0.3 * prior.T @ texts["expression"], dim=1),
    }
    for name, vectors in fused.items():
        assert torch.allclose(vectors, expected[name] if name in moved else texts[name], atol=1e-5)
    contexts = {f"prompts.{name}.ctx" for name in SPACES}
    assert {name for name, p in bridge.named_parameters() if p.requires_grad} == trained | contexts


def test_the_gate_starts_where_it_is_told():
    assert make().alpha.sigmoid().item() == pytest.approx(0.1)
    assert make(gate=0.5).beta.sigmoid().item() == pytest.approx(0.5)


@torch.no_grad()
def test_what_was_learned_can_be_looked_at():
    bridge = make()
    bridge.map.delta_ae.normal_()
    to_expression, to_unit, prior = bridge.maps()
    assert torch.equal(to_expression, bridge.map()[0])
    assert torch.equal(to_unit, bridge.map()[1])
    assert torch.equal(prior, torch.tensor(association(SPACES["expression"], SPACES["au"])))
    assert not to_expression.requires_grad
    with pytest.raises(ConfigError, match="no association map"):
        make(directions="none").maps()


@torch.no_grad()
def test_neutral_is_found_by_its_name():
    assert make().map.fixed_row == 1
    spaces = {"au": SPACES["au"], "expression": label_space("happiness,sadness")}
    assert make(spaces=spaces).map.fixed_row is None


@torch.no_grad()
@pytest.mark.parametrize("name", ["au", "expression"])
def test_one_head_alone_has_no_map(name):
    bridge = make(spaces={name: SPACES[name]})
    assert bridge.map is None
    assert torch.allclose(bridge()[name], raw(bridge)[name])
    with pytest.raises(ConfigError, match="New classes cannot be given to 'smile'"):
        bridge.encode_classes("smile", ["fear", "anger"])
    if name == "expression":
        assert bridge.prompts[name].texts[0] == "happiness, cheek raiser, lip corner puller, lips part"
        assert list(bridge.encode_classes(name, ["fear", "anger"])) == ["fear", "anger"]


def test_texts_are_of_the_style_or_the_users_own():
    assert make().prompts["expression"].texts == (
        "happiness, cheek raiser, lip corner puller",
        "neutral, relaxed face, no active units",
        "sadness, lip corner depressor",
    )
    own = {"au": ["a", "b", "c"], "expression": ["x", "y", "z"]}
    bridge = make(texts=own)
    assert bridge.prompts["au"].texts == ("a", "b", "c")
    assert bridge.config["texts"] == own
    assert make(prompts="ssm_bp4d").prompts["expression"].texts[1] == "neutral, no active AUs"
    with pytest.raises(ConfigError, match="one text per label for expression"):
        make(texts={**own, "expression": ["x"]})


def test_a_prior_may_be_a_file_or_a_table(tmp_path):
    path = tmp_path / "prior.csv"
    path.write_text("expression,AU6,AU12,AU15\nhappiness,.9,.8,0\nneutral,.1,.1,.1\nsadness,0,0,1\n")
    rows = [[0.9, 0.8, 0.0], [0.1, 0.1, 0.1], [0.0, 0.0, 1.0]]
    bridge = make(prior=str(path))
    assert torch.allclose(bridge.map.prior, torch.tensor(rows))
    assert bridge.config["prior"] == rows
    path.unlink()
    assert torch.equal(make(prior=bridge.config["prior"]).map.prior, bridge.map.prior)
    assert make(prior="facs").config["prior"] == "facs"
    with pytest.raises(ConfigError, match="3 expressions and 3 units"):
        make(prior=rows[:2])


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"spaces": {}}, "not for none"),
        ({"spaces": {"a": SPACES["au"], "b": SPACES["au"]}}, r"not for a \(occurrence\), b"),
        ({"spaces": {"i": label_space("intensity:AU6")}}, r"not for i \(intensity\)"),
        ({"directions": "up"}, "directions='up'"),
        ({"gate": 1.0}, "gate=1.0"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, fault):
    with pytest.raises(ConfigError, match=fault):
        make(**arguments)


def test_unknown_arguments_of_the_text_tower_are_refused():
    with pytest.raises(ConfigError, match="no argument 'name'"):
        SemanticBridge(SPACES, text={"name": "affectkit-tiny"})


@torch.no_grad()
def test_new_classes():
    """Trained ones stay; known ones get their text and row; free texts the absent row; contexts are the mean."""
    bridge = make()
    for parameter in bridge.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn(parameter.shape))
    given = bridge.encode_classes("expression", ["Sad", "contempt", "A tired, empty look"])
    assert list(given) == ["sadness", "contempt", "a tired empty look"]
    assert torch.allclose(given["sadness"], bridge()["expression"][2], atol=1e-6)
    learner = bridge.prompts["expression"].for_texts(
        ["contempt, lip corner puller", "A tired, empty look"], bridge.text
    )
    assert torch.allclose(learner.ctx[0], bridge.prompts["expression"].ctx.mean(0))
    (texts,) = encode_prompts(bridge.text, [learner])
    rows = torch.tensor([[0.02, 1.0, 0.02], [0.02, 0.02, 0.02]])
    expected = F.normalize(texts + bridge.alpha.sigmoid() * rows @ raw(bridge)["au"], dim=1)
    assert torch.allclose(given["contempt"], expected[0], atol=1e-5)
    assert torch.allclose(given["a tired empty look"], expected[1], atol=1e-5)
    own = make(directions="expression_to_au").encode_classes("expression", {"tired": "x", "sad": "y"})
    assert list(own) == ["tired", "sadness"]


def test_new_classes_need_the_token_embedding():
    bridge = SemanticBridge(SPACES, text={**TINY, "keep_tokens": False})
    assert list(bridge.encode_classes("expression", ["neutral", "sadness"])) == ["neutral", "sadness"]
    with pytest.raises(WeightsError, match="token embedding"):
        bridge.encode_classes("expression", ["neutral", "fear"])


def test_classes_are_read_by_style_and_prior():
    units = AU_SETS["bp4d12"]
    anxiety, neutral = read_classes(["anxiety", "neutral"], [], units, "ssm_mafw", "ssm_bp4d11")
    assert anxiety.text == "anxiety, inner brow raiser, brow lowerer, lip stretcher, lips part"
    assert [str(u) for u, value in zip(units, anxiety.row, strict=True) if value == 1] == ["AU1", "AU4"]
    assert set(neutral.row) == {0.02}
    contempt, happiness = read_classes(["contempt", "happiness"], ["anger"], units, "ssm_bp4d", "ssm_bp4d7")
    assert contempt.text == "contempt, lip corner puller, dimpler"
    assert happiness.text == "happiness, cheek raiser, lip corner puller"
    assert [str(u) for u, value in zip(units, happiness.row, strict=True) if value == 1] == ["AU6", "AU12"]
    fear, free = read_classes({"Fear": "wide eyes", "zeal": "eager"}, ["fear"], None)
    assert (fear.name, fear.text, fear.trained, fear.row) == ("fear", "wide eyes", False, ())
    assert (free.name, free.text) == ("zeal", "eager")
    for texts, fault in [
        (["fear"], "fewer than two"),
        (["Happy", "happiness"], "more than once"),
        (["123", "fear"], "'123' is not the name"),
    ]:
        with pytest.raises(LabelSpaceError, match=fault):
            read_classes(texts, [], None)
