"""Bridge, attentions and head of FG-SGL."""

import math

import pytest
import torch
from torch.nn import functional as F

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs import ExpressionSet, class_processes
from affectkit.methods.fgsgl import CategoryAttention, FineAttention, ProcessBridge, ProcessHead
from affectkit.methods.fgsgl.attention import move, positions
from affectkit.methods.fgsgl.bridge import _groups, split_prototypes
from affectkit.models import AffectModel, Features
from affectkit.models.text import encode_prompts
from affectkit.models.zero_shot import copy_by_prototypes, use_classes

TINY = {"model_name": "affectkit-tiny"}
OWN = {
    "nod": ("the head", "moves down", "the chest", "twice"),
    "dip": ("the head", "moves down", "the floor", "once"),
    "wave": ("one hand", "moves up", "nothing", "twice"),
}
SPACE = ",".join(OWN)


def make_bridge(space=SPACE, **options):
    torch.manual_seed(0)
    return ProcessBridge(
        {"expression": space}, **{"text": TINY, "texts": OWN, "near": 1.0, "n_ctx": 2, **options}
    )


def make_model(bridge=None, **head):
    torch.manual_seed(0)
    return AffectModel(
        {"type": "clip", "model_name": "affectkit-tiny-patch8", "size": 32, "tokens": True, "token_block": 1},
        {"expression": {"type": "process", "space": SPACE, "attention_heads": 4, **head}},
        bridge={"type": "process", "text": TINY, "texts": OWN, "near": 1.0, "n_ctx": 2, **(bridge or {})},
        input_spec={"frames": 2},
    )


def test_prototypes_are_the_category_and_the_four_sentences():
    bridge = make_bridge()
    categories, sentences = split_prototypes(bridge()["expression"])
    (wanted,) = encode_prompts(bridge.text, [bridge.prompts["expression"]])
    torch.testing.assert_close(categories, wanted)
    for row, texts in zip(sentences, OWN.values(), strict=True):
        torch.testing.assert_close(row, bridge.text.encode(texts))
    assert bridge.prompts["expression"].texts == tuple(OWN)


def test_a_frozen_tower_keeps_its_sentences_and_a_trained_one_learns_them():
    frozen, trained = make_bridge(), make_bridge(text={**TINY, "lora": {"rank": 2}})
    assert frozen.fixed
    assert "sentences_expression" in frozen.state_dict()
    assert "sentences_expression" not in trained.state_dict()
    split_prototypes(trained()["expression"])[1][0, 2].sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in trained.text.parameters())


def test_equal_sentences_and_those_that_mean_the_same_form_groups():
    groups = make_bridge().groups("expression")
    assert groups.tolist() == [[0, 0, 2], [0, 0, 2], [0, 1, 2], [0, 1, 0]]
    # Without any limit, the connected component of every part is one group.
    assert make_bridge(near=-1.0).groups("expression").tolist() == [[0, 0, 0]] * 4


def test_nearness_is_transitive():
    angles = torch.tensor([0.0, 10.0, 20.0, 60.0]) * math.pi / 180
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert _groups(["a", "b", "c", "d"], vectors, math.cos(12 * math.pi / 180)).tolist() == [0, 0, 0, 3]
    assert _groups(["a", "b", "c", "a"], vectors, 1.0).tolist() == [0, 1, 2, 0]


def test_controls_replace_the_sentences_and_nothing_else():
    given, shuffled, random = (
        make_bridge("basic7", texts=None, control=c) for c in ("none", "shuffled", "random")
    )
    for part in range(4):
        columns = [[row[part] for row in one.sentences("expression")] for one in (given, shuffled)]
        assert sorted(columns[0]) == sorted(columns[1])
    assert given.sentences("expression") != shuffled.sentences("expression")
    assert shuffled.sentences("expression") == shuffled.sentences("expression")
    a, b, c = (split_prototypes(bridge()["expression"]) for bridge in (given, shuffled, random))
    torch.testing.assert_close(a[0], b[0])
    torch.testing.assert_close(a[0], c[0])
    assert not torch.allclose(a[1], c[1])
    torch.testing.assert_close(c[1].norm(dim=-1), torch.ones(7, 4))
    assert torch.equal(c[1][1, 3], c[1][2, 3])  # equal sentences, equal vectors
    assert abs(F.cosine_similarity(c[1][1, 0], c[1][2, 0], dim=0).item()) < 0.5


def test_new_classes_take_four_sentences_one_text_or_a_table():
    bridge = make_bridge()
    texts = {"Tilt": "the head; moves sideways; the shoulder; once", "yawn": "a wide open mouth"}
    found = bridge.class_texts("expression", texts)
    assert found["tilt"] == ("tilt", "the head", "moves sideways", "the shoulder", "once")
    assert found["yawn"] == ("yawn", *["a wide open mouth"] * 4)
    plain = bridge.class_texts("expression", ["nod", "happiness", "a; b; c; d"])
    assert plain["nod"][1:] == OWN["nod"]
    assert plain["happiness"][1:] == class_processes(["happiness"])["happiness"].sentences
    assert plain["a b c d"] == ("a b c d", "a", "b", "c", "d")
    encoded = bridge.encode_classes("expression", texts)
    _, sentences = split_prototypes(torch.stack(list(encoded.values())))
    torch.testing.assert_close(sentences[0], bridge.text.encode(found["tilt"][1:]))
    with pytest.raises(LabelSpaceError, match="envy"):
        bridge.class_texts("expression", ["envy", "nod"])
    with pytest.raises(ConfigError, match="other"):
        bridge.class_texts("other", ["nod"])


def test_a_bridge_checks_its_arguments(tmp_path):
    with pytest.raises(ConfigError, match="classes only"):
        make_bridge("AU1,AU2")
    with pytest.raises(ConfigError, match="n_ctx"):
        make_bridge(n_ctx=0)
    with pytest.raises(LabelSpaceError, match="'nod', 'dip', 'wave'"):
        make_bridge(texts=None)
    path = tmp_path / "texts.csv"
    rows = "\n".join(f"{name},{','.join(texts)}" for name, texts in OWN.items())
    path.write_text(f"class,part,motion,target,dynamics\n{rows}\n")
    bridge = make_bridge(texts=str(path))
    assert bridge.config["texts"] == {name: list(texts) for name, texts in OWN.items()}


def test_changes_are_those_to_the_next_frame_and_padding_has_none():
    tokens = torch.tensor([1.0, 3.0, 6.0, 99.0])[None, :, None, None].expand(2, 4, 1, 8)
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    found = move(tokens, mask)[:, :, 0, 0]
    assert found.tolist() == [[2.0, 3.0, 3.0, 0.0], [0.0] * 4]
    assert move(tokens, None)[0, :, 0, 0].tolist() == [2.0, 3.0, 93.0, 93.0]
    assert not move(tokens[:, :1], None).any()


def test_positions_tell_time_row_and_column_apart():
    found = positions(3, 4, 16)
    assert found.shape == (3, 4, 16)
    assert len(torch.unique(found.flatten(0, 1).round(decimals=4), dim=0)) == 12
    assert torch.equal(found[0, 0, :8], found[0, 3, :8])  # the same time
    with pytest.raises(ValueError, match="square"):
        positions(1, 5, 16)


def test_fine_attention_is_one_query_over_the_moving_tokens():
    torch.manual_seed(0)
    attend, tokens = FineAttention(16, 3, heads=2, keep=0.5), torch.randn(2, 3, 4, 16)
    tokens[:, :, :2] = tokens[:, :1, :2]  # two places do not move
    vectors, attention = attend(tokens)
    torch.testing.assert_close(attention.sum(dim=(2, 3)), torch.ones(2, 3))
    assert not attention[..., :2].any()
    moved = tokens + attend.gain * move(tokens, None)
    values = moved[:, :, 2:].flatten(1, 2)
    keys = values + positions(3, 4, 16)[:, 2:].flatten(0, 1)
    wanted, _ = attend.attend(attend.queries.expand(2, 3, 16), keys, values)
    torch.testing.assert_close(vectors, attend.norm(attend.queries + wanted))


def test_fine_attention_ignores_padding():
    torch.manual_seed(0)
    attend, tokens = FineAttention(16, 2, heads=2, keep=1.0), torch.randn(1, 3, 4, 16)
    mask = torch.tensor([[True, True, False]])
    vectors, attention = attend(tokens, mask)
    assert not attention[:, :, 2].any()
    torch.testing.assert_close(vectors, attend(tokens[:, :2])[0])
    assert attend(tokens, torch.zeros(1, 3, dtype=torch.bool))[0].isfinite().all()


def test_category_attention_starts_as_a_small_change():
    torch.manual_seed(0)
    attend, clips, texts = CategoryAttention(16, heads=2), torch.randn(3, 16), torch.randn(5, 16)
    read, _ = attend.attend(clips[:, None], texts.expand(3, 5, 16), texts.expand(3, 5, 16))
    torch.testing.assert_close(attend(clips, texts), attend.norm(clips + 0.1 * read[:, 0]))
    torch.testing.assert_close(attend(clips, texts.flip(0)), attend(clips, texts))  # any order of the classes


@pytest.mark.parametrize("options", [{"heads": 3}, {"keep": 0.0}, {"keep": 1.5}])
def test_fine_attention_checks_its_arguments(options):
    with pytest.raises(ConfigError, match="multiple of 8"):
        FineAttention(16, 4, **options)


def test_scores_are_cosines_with_texts():
    torch.manual_seed(0)
    head = ProcessHead(16, SPACE, attention_heads=2, eta=2.0)
    clips, texts = Features(torch.randn(2, 16), tokens=torch.randn(2, 3, 4, 16)), torch.randn(3, 80)
    with torch.no_grad():
        head.part_weights.copy_(torch.tensor([1.0, 0.0, -1.0, 0.5]))
    found = head.outputs(clips, texts)
    rows = texts.unflatten(1, (5, 16))
    category = F.cosine_similarity(
        head.category(clips.pooled, F.normalize(rows[:, 0], dim=-1))[:, None], rows[:, 0], dim=-1
    )
    torch.testing.assert_close(found.category, category / 0.07)
    vectors, attention = head.fine(clips.tokens)
    fine = torch.stack(
        [F.cosine_similarity(vectors[:, None, d], rows[None, :, 1 + d], dim=-1) for d in range(4)], dim=1
    )
    torch.testing.assert_close(found.fine, fine / 0.07)
    torch.testing.assert_close(found.attention, attention)
    weights = head.part_weights.softmax(0)
    wanted = found.category + 2.0 * sum(weights[d] * found.fine[:, d] for d in range(4))
    torch.testing.assert_close(head(clips, texts), wanted)


def test_one_level_or_three_parts_use_only_theirs():
    torch.manual_seed(0)
    clips, texts = Features(torch.randn(2, 16), tokens=torch.randn(2, 3, 4, 16)), torch.randn(3, 80)
    category = ProcessHead(16, SPACE, attention_heads=2, scores="category")
    assert category.fine is None
    torch.testing.assert_close(
        category(Features(clips.pooled), texts), category.outputs(clips, texts).category
    )
    fine = ProcessHead(16, SPACE, attention_heads=2, scores="fine", dimensions=["part", "target", "dynamics"])
    assert fine.category is None
    assert fine.outputs(clips, texts).fine.shape == (2, 3, 3)
    changed = texts.clone()
    changed[:, 32:48] = 0.0  # the sentences on motion
    torch.testing.assert_close(fine(clips, changed), fine(clips, texts))
    with pytest.raises(ConfigError, match="categories only"):
        category.mixed(torch.zeros(2, 4, 3))
    with pytest.raises(ConfigError, match="sentences"):
        category.by_prototypes()


@pytest.mark.parametrize("options", [{"dimensions": []}, {"dimensions": ["speed"]}, {"eta": 0.0}])
def test_a_head_checks_its_arguments(options):
    with pytest.raises(ConfigError, match="dimensions"):
        ProcessHead(16, SPACE, attention_heads=2, **options)


def test_a_head_needs_tokens_of_its_width():
    head = ProcessHead(16, SPACE, attention_heads=2)
    for clips in (Features(torch.randn(2, 16)), Features(torch.randn(2, 16), tokens=torch.randn(2, 3, 4, 8))):
        with pytest.raises(ValueError, match="token_block"):
            head(clips)
    with pytest.raises(ValueError, match="Features"):
        head(torch.randn(2, 16))


def test_a_saved_model_predicts_the_same(tmp_path):
    model = make_model({"text": {**TINY, "lora": {"rank": 2}}}).train().eval()
    frames = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    model.save_pretrained(tmp_path)
    again = AffectModel.from_pretrained(tmp_path)
    assert again.config == model.config
    assert torch.equal(again.bridge.groups("expression"), model.bridge.groups("expression"))
    torch.testing.assert_close(again.predict(frames), model.predict(frames))


def test_unseen_classes_are_predicted_by_their_sentences_alone():
    model = make_model().train().eval()
    frames = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    features = model.features(frames)
    new = {"nod": "; ".join(OWN["nod"]), "rise": "one hand; moves up; the chest; twice"}
    prototypes = torch.stack(list(model.bridge.encode_classes("expression", new).values()))
    wanted = model.head("expression").mixed(model.head("expression").outputs(features, prototypes).fine)
    use_classes(model, "expression", new)
    assert model.labels("expression") == ("nod", "rise")
    torch.testing.assert_close(model(frames)["expression"], wanted)
    assert model.head("expression").space == ExpressionSet(("nod", "rise"))


def test_a_model_is_copied_to_predict_by_sentences():
    model = make_model().train().eval()
    frames = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    head = model.head("expression")
    wanted = head.mixed(head.outputs(model.features(frames)).fine)
    torch.testing.assert_close(copy_by_prototypes(model, None, everywhere=True)(frames)["expression"], wanted)
