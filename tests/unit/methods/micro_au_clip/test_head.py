"""The head for micro-expressions as a whole."""

import dataclasses

import pytest
import torch

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs import AUSet, au_name, au_prompt_pair
from affectkit.facs.mean_shape import MEAN_SHAPE_68
from affectkit.methods.micro_au_clip import MicroAUHead
from affectkit.models import Features, build
from affectkit.models.heads import AUHead

D, GRID = 64, 4
TEXT = {"model_name": "affectkit-tiny"}


def clips(B=2, T=2, seed=0, **options):
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randn(B, T, GRID * GRID, D, generator=rng)
    frames = torch.randn(B, T, D, generator=rng)
    return Features(frames.mean(1), frames, tokens, picture=64, **options)


def make(**options):
    torch.manual_seed(0)
    return MicroAUHead(D, "AU1,AU4,AU12", **{"text": TEXT, **options})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pta": False},
        {"gda": False},
        {"text": None},
        {"n_ctx": 2},
        {"motion": "concat"},
        {"motion": "led"},
        {"motion": "apex"},
        {"region": 2},
        {"text_tuning": {"trainable": 1}},
        {"text_tuning": {"trainable": "all"}},
        {"text_tuning": {"lora": {"rank": 2}}},
        {"text_tuning": {"trainable": 1}, "n_ctx": 2},
    ],
    ids=str,
)
def test_every_piece_can_be_switched_and_learns(options):
    head = make(**options).train()
    out = head.outputs(clips(T=4))
    assert out.logits.shape == (2, 3)
    assert out.units.shape == out.local.shape == (2, 3, D)
    torch.testing.assert_close(out.attention.sum(-1), torch.ones(2, 3))
    (out.logits.square().sum() + out.units.square().sum()).backward()
    idle = [n for n, p in head.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert [name for name in idle if not name.endswith(".down")] == []  # LoRA begins with `up` at zero
    twin = build("head", head.config, in_features=D)
    twin.load_state_dict(head.state_dict(), strict=True)
    given = clips(T=4)
    torch.testing.assert_close(twin.eval()(given), head.eval()(given))


def test_its_probability_is_the_softmax_over_the_two_texts():
    head = make().eval()
    out = head.outputs(clips())
    unit = torch.nn.functional.normalize(out.units, dim=-1)
    pair = torch.einsum("bad,asd->bas", unit, head.texts) / 0.07
    torch.testing.assert_close(head.predict(out.logits), pair.softmax(-1)[..., 0])


def test_texts_say_first_that_a_unit_acts_and_queries_begin_at_its_name():
    head = make(n_ctx=2)  # which keeps its tower
    tower = head.tower
    for a, unit in enumerate(AUSet.parse("AU1,AU4,AU12")):
        acts, rests = au_prompt_pair(unit)
        assert ("activated" in acts, "without" in rests) == (True, True)
        torch.testing.assert_close(head.texts[a], tower.encode([acts, rests]))
        torch.testing.assert_close(head.attend.queries[a].detach(), tower.encode([au_name(unit)])[0])


@pytest.mark.parametrize("tuning", [{"trainable": 1}, {"trainable": "all"}, {"lora": {"rank": 2}}], ids=str)
def test_a_trained_text_tower_begins_as_the_frozen_one_and_moves(tuning, tmp_path):
    frozen, head = make().eval(), make(text_tuning=tuning).eval()
    given = clips()
    torch.testing.assert_close(head(given), frozen(given))
    trained = {
        n.partition(".")[2] for n, p in head.named_parameters() if n.startswith("tower") and p.requires_grad
    }
    assert ("token_embedding" in trained) == (tuning == {"trainable": "all"})
    step = torch.optim.SGD(head.tower.parameters(), lr=1.0)
    head(given).square().sum().backward()
    step.step()
    pairs = [text for unit in AUSet.parse("AU1,AU4,AU12") for text in au_prompt_pair(unit)]
    texts = head.tower.encode(pairs).unflatten(0, (3, 2))
    assert not torch.allclose(texts, frozen.texts, atol=1e-4)
    out = head.outputs(given)
    unit = torch.nn.functional.normalize(out.units, dim=-1)
    pair = torch.einsum("bad,asd->bas", unit, texts) / 0.07
    torch.testing.assert_close(head.predict(out.logits), pair.softmax(-1)[..., 0])
    head.save_pretrained(tmp_path)
    torch.testing.assert_close(AUHead.from_pretrained(tmp_path)(given), head(given))


def test_flow_is_read_as_it_is():
    head = make(motion="apex").eval()
    given = clips(T=1)
    out = head.outputs(given)
    assert torch.equal(out.local, head.attend(given.tokens[:, 0], out.places, out.weights)[0])
    assert torch.equal(out.units, head.depend(out.local, given.frames[:, 0]))


def test_a_units_local_vector_depends_on_its_region_only():
    points = torch.tensor(MEAN_SHAPE_68)[None, None].expand(2, 2, -1, -1) * 64
    head = make().eval()
    given = clips(landmarks=points)
    given.tokens.requires_grad_(True)
    out = head.outputs(given)
    out.local[:, 0].sum().backward()
    inside = set(out.places[0, 0][out.weights[0, 0] > 0].tolist())
    touched = set(given.tokens.grad[0].abs().sum((0, 2)).nonzero().flatten().tolist())
    assert touched == inside
    assert len(inside) < GRID * GRID


def test_landmarks_of_the_onset_place_the_regions():
    onset = torch.tensor(MEAN_SHAPE_68)[None] * 64
    low = onset + torch.tensor([0.0, 20.0])
    head = make().eval()
    there = head.outputs(clips(B=1, landmarks=torch.stack([low, onset], dim=1)))
    same = head.outputs(clips(B=1, landmarks=torch.stack([low, low], dim=1)))
    without = head.outputs(clips(B=1))
    assert torch.equal(there.places, same.places)
    assert not torch.equal(there.places, without.places)
    mask = torch.tensor([[[False], [True]]]).expand(1, 2, 68)
    masked = head.outputs(clips(B=1, landmarks=torch.stack([low, onset], dim=1), landmarks_mask=mask))
    assert torch.equal(masked.places, without.places)


def test_a_still_is_finite_and_padding_changes_nothing():
    head = make().eval()
    assert head(clips(T=1)).isfinite().all()
    given = clips(T=2)
    mask = torch.tensor([[True, True, False]]).expand(2, -1)
    longer = dataclasses.replace(
        given,
        frames=torch.cat([given.frames, torch.full((2, 1, D), 9.0)], 1),
        tokens=torch.cat([given.tokens, torch.full((2, 1, GRID * GRID, D), 9.0)], 1),
        frame_mask=mask,
    )
    torch.testing.assert_close(head(longer), head(given))


def test_gate_zero_leaves_units_independent():
    head = make(gate=0.0)
    out = head.outputs(clips())
    assert torch.equal(out.units, out.local)


def test_temperature_stays_above_its_floor():
    head = make().eval()
    warm = head(clips())
    with torch.no_grad():
        head.tau.fill_(-1.0)
    assert head.temperature_of_texts.item() == pytest.approx(0.01)
    torch.testing.assert_close(head(clips()), warm * 7)  # it began at 0.07
    assert make(text=None).temperature_of_texts.item() == pytest.approx(0.07)


def test_it_can_be_saved_alone_and_knows_its_target(tmp_path):
    head = make(target="micro_au").eval()
    head.save_pretrained(tmp_path)
    loaded = AUHead.from_pretrained(tmp_path)
    assert isinstance(loaded, MicroAUHead)
    assert loaded.target == "micro_au"
    assert MicroAUHead.target == "au"
    assert "weights" not in loaded.config["text"]
    torch.testing.assert_close(loaded(clips()), head(clips()))


def test_bfloat16():
    head = make().eval().to(torch.bfloat16)
    given = clips()
    given = dataclasses.replace(given, frames=given.frames.bfloat16(), tokens=given.tokens.bfloat16())
    assert head(given).dtype == torch.bfloat16
    assert head(given).isfinite().all()


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (torch.zeros(2, D), "give it Features"),
        (Features(torch.zeros(2, D)), "needs patches"),
        (Features(torch.zeros(2, D), torch.zeros(2, 2, D), torch.zeros(2, 2, 5, D)), "not form a square"),
    ],
)
def test_features_that_will_not_do(given, fault):
    with pytest.raises(ValueError, match=fault):
        make()(given)


def test_towers_and_units_that_do_not_fit():
    with pytest.raises(ConfigError, match="texts have the width 64"):
        MicroAUHead(32, "AU12", text=TEXT)
    with pytest.raises(LabelSpaceError, match="no region for AU61"):
        MicroAUHead(D, "AU61", text=TEXT)


def test_context_vectors_and_the_token_embedding_are_not_both_trained():
    with pytest.raises(ConfigError, match="cannot be combined"):
        make(n_ctx=2, text_tuning={"trainable": "all"})
