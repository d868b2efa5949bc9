"""Slots, losses of answers, constrained decoding, and saved models."""

import json
import shutil

import pytest
import torch
from helpers.feallm import SPACE, TOWER, write_model_of_answers
from torch.nn import functional as F

from affectkit import load
from affectkit.errors import ConfigError, WeightsError
from affectkit.facs import AUSet, ExpressionSet
from affectkit.facs.prompts import au_name
from affectkit.methods.feallm import (
    INSTRUCTION,
    Answer,
    AnswerReader,
    FEALLMHead,
    answer_from_labels,
    parse_answer,
)
from affectkit.models import AffectModel, AUHead, Features

UNITS, CLASSES = AUSet.parse(SPACE), ExpressionSet.parse("basic7")
ONE, FOUR, TWELVE = UNITS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("transformers", reason="the extra `llm` is not installed")
    return write_model_of_answers(tmp_path_factory.mktemp("language") / "llama")


@pytest.fixture(params=["tiny", "pretrained"])
def reader(request):
    torch.manual_seed(0)
    if request.param == "tiny":
        return AnswerReader({"name": "tiny"}, UNITS, CLASSES, 8)
    language = {"name": str(request.getfixturevalue("folder")), "lora": {"rank": 2}}
    return AnswerReader(language, UNITS, CLASSES, 8)


def visual(B=3, N=5, seed=0):
    return torch.randn(B, N, 8, generator=torch.Generator().manual_seed(seed))


def whole_text(reader, tokens, text):
    """Embeddings of visual tokens [N, P], instruction, names and a text, for one clip."""
    names = " ".join(au_name(unit) for unit in UNITS)
    size = reader.language.embed(reader.language.tokenize(f"{INSTRUCTION} {names}"))
    entered = reader.scale * F.layer_norm(reader.enter(tokens), (reader.width,))
    return torch.cat([entered, size, reader.language.embed(reader.language.tokenize(text))])[None]


def test_slots_are_yes_against_no_after_each_name(reader):
    tokens, language = visual(), reader.language
    logits = reader(tokens)
    for clip in range(3):
        read = 5 + len(language.tokenize(INSTRUCTION))
        states = language(whole_text(reader, tokens[clip], "none"))[0]
        for place, unit in enumerate(UNITS):
            read += len(language.tokenize(au_name(unit)))
            scores = language.score(
                states[read - 1], torch.cat([language.tokenize(w) for w in ("yes", "no")])
            )
            torch.testing.assert_close(logits[clip, place], scores[0] - scores[1], rtol=1e-4, atol=1e-4)


def test_the_loss_is_that_of_free_tokens_alone(reader):
    tokens, language = visual(), reader.language
    answers = [Answer((FOUR,), "anger", (FOUR,)), None, Answer((), "neutral", ())]
    logits, (total, count) = reader.learn(tokens, answers)
    torch.testing.assert_close(logits, reader(tokens), rtol=1e-4, atol=1e-4)
    expected, free = torch.zeros(()), 0
    for clip in (0, 2):
        text = answers[clip].text
        words = language.tokenize(text)
        fixed = len(language.tokenize(text.partition(" emotion:")[0] + " emotion:"))
        states = language(whole_text(reader, tokens[clip], text))[0][-len(words) - 1 :]
        for place in range(fixed, len(words)):
            scores = language.score(states[place], reader.words)
            right = reader.words.tolist().index(int(words[place]))
            expected = expected - scores.log_softmax(dim=0)[right]
            free += 1
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-4)
    assert count == free
    assert all(token in reader.words for token in words)


def test_without_answers_the_loss_is_zero_with_zero_gradients(reader):
    _, (total, count) = reader.learn(visual(), [None] * 3)
    total.backward()
    assert (total, count) == (0, 0)
    assert all(p.grad is not None and not p.grad.any() for p in reader.parameters())


def test_every_answer_parses_and_names_the_decided_units(reader):
    decided = [(), (ONE,), (FOUR, TWELVE), (ONE, FOUR, TWELVE)] * 4
    with torch.no_grad():
        reader.enter.weight.mul_(3)
    for seed in range(3):
        answers = reader.complete(visual(16, seed=seed), decided)
        for answer, units in zip(answers, decided, strict=True):
            assert parse_answer(answer.text, UNITS, CLASSES) == answer
            assert answer.units == units


def test_decoding_takes_the_likeliest_allowed_token(reader):
    """Token by token for one clip, with the whole text read again each time."""
    tokens, language = visual(1, seed=4), reader.language
    (answer,) = reader.complete(tokens, [(FOUR, TWELVE)])
    ways = [
        Answer((FOUR, TWELVE), name, cues).text
        for name in CLASSES.classes
        for cues in ((), (FOUR,), (TWELVE,), (FOUR, TWELVE), (TWELVE, FOUR))
    ]
    ways = [language.tokenize(text).tolist() for text in ways]
    prefix = whole_text(reader, tokens[0], "none")[:, : -len(language.tokenize("none"))]
    for place in range(max(map(len, ways))):
        if len(allowed := sorted({way[place] for way in ways})) > 1:
            so_far = language.embed(torch.tensor(ways[0][:place]))[None]
            states = language(torch.cat([prefix, so_far], dim=1))
            scores = language.score(states[0, -1], torch.tensor(allowed))
            ways = [way for way in ways if way[place] == allowed[int(scores.argmax())]]
        if len(ways) == 1:
            break
    assert language.tokenize(answer.text).tolist() == ways[0]


def test_answers_of_a_batch_are_those_of_single_clips(reader):
    tokens = visual(4, seed=5)
    decided = [(ONE, FOUR, TWELVE), (), (TWELVE,), (FOUR, TWELVE)]
    together = reader.complete(tokens, decided)
    alone = [reader.complete(tokens[i : i + 1], decided[i : i + 1])[0] for i in range(4)]
    assert together == alone


def test_training_teaches_the_reason():
    torch.manual_seed(0)
    reader = AnswerReader({"name": "tiny"}, UNITS, CLASSES, 8)
    tokens = visual(6, seed=1)
    decided = [(), (ONE,), (FOUR,), (TWELVE,), (ONE, FOUR), (FOUR, TWELVE)]
    names = ["neutral", "surprise", "anger", "happiness", "fear", "anger"]
    answers = [answer_from_labels(units, name) for units, name in zip(decided, names, strict=True)]
    optimizer = torch.optim.Adam(reader.parameters(), lr=2e-3)
    for _ in range(30):
        optimizer.zero_grad()
        _, (total, count) = reader.learn(tokens, answers)
        (total / count).backward()
        optimizer.step()
    assert reader.complete(tokens, decided) == answers


def test_a_model_that_cannot_tell_the_words_apart_is_refused(tmp_path):
    pytest.importorskip("transformers", reason="the extra `llm` is not installed")
    from helpers.language import write_language_model

    path = write_language_model(tmp_path / "llama")
    with pytest.raises(ConfigError, match="cannot tell the words of the answers apart"):
        AnswerReader({"name": str(path)}, UNITS, CLASSES, 8)


def test_clips_are_means_over_real_frames():
    torch.manual_seed(0)
    head = FEALLMHead(8, SPACE)
    tokens = torch.randn(2, 3, 5, 8)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    logits = head(Features(torch.zeros(2, 8), tokens=tokens, frame_mask=mask))
    mean = torch.stack([tokens[0, :2].mean(dim=0), tokens[1, 0]])
    torch.testing.assert_close(logits, head.reader(mean), rtol=1e-4, atol=1e-5)
    for wrong in (torch.zeros(2, 8), Features(torch.zeros(2, 8))):
        with pytest.raises(ValueError, match="use the backbone FEALLMBackbone"):
            head(wrong)


def test_a_sentence_lists_the_units_above_their_thresholds():
    torch.manual_seed(0)
    head = FEALLMHead(8, SPACE).eval()
    features = Features(torch.zeros(4, 8), tokens=torch.randn(4, 1, 5, 8))
    logits = head(features).detach()
    head.calibrate(temperature=2.0)
    head.calibrate(thresholds=[0.0, 1.0, float(head.predict(logits)[1, 2])])
    active = head.predict(logits) >= torch.tensor(head.thresholds)
    for text, row in zip(head.describe(features, logits), active.tolist(), strict=True):
        answer = parse_answer(text, UNITS, CLASSES)
        assert [unit in answer.units for unit in UNITS] == row
    assert active[:, 0].all()
    assert active[1, 2]
    with pytest.raises(ConfigError, match="does not describe faces"):
        AUHead(8, SPACE).describe(features, logits)


def make_model(**options):
    torch.manual_seed(0)
    backbone = {"type": "feallm", "tower": TOWER, "blocks": [2, 4], "crop": 8, "width": 16, "local_width": 8}
    heads = {"au": {"type": "feallm", "space": SPACE, **options}, "other": {"type": "au", "space": "AU1"}}
    return AffectModel(backbone, heads).eval()


FRAMES = torch.randint(
    0, 256, (2, 1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def test_saved_models_predict_and_describe_the_same(tmp_path):
    model = make_model()
    values, sentences = model.describe(FRAMES)
    assert set(sentences) == {"au"}
    torch.testing.assert_close(values, model.predict(FRAMES))
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert again.config == model.config
    assert again.describe(FRAMES)[1] == sentences
    assert torch.equal(again.predict(FRAMES)["au"], values["au"])


def test_half_precision():
    model = make_model().to(torch.bfloat16)
    values, sentences = model.describe(FRAMES)
    assert values["au"].isfinite().all()
    assert len(sentences["au"]) == 2


def test_a_saved_model_without_its_language_model_says_what_to_get(folder, tmp_path):
    model = make_model(language={"name": str(folder), "lora": {"rank": 2}})
    for addition in model.head("au").reader.language.additions:
        torch.nn.init.normal_(addition.up, std=0.1)
    expected = model.describe(FRAMES)
    model.save_pretrained(tmp_path / "model")
    stored = json.loads((tmp_path / "model" / "config.json").read_text())["heads"]["au"]["language"]
    assert not any("embed_tokens" in name or "lm_head" in name for name in model.state_dict())
    again = load(tmp_path / "model").describe(FRAMES)
    assert again[1] == expected[1]
    assert torch.equal(again[0]["au"], expected[0]["au"])
    shutil.move(folder, tmp_path / "elsewhere")
    try:
        with pytest.raises(WeightsError, match=f"{stored['sha256']}"):
            load(tmp_path / "model")
    finally:
        shutil.move(tmp_path / "elsewhere", folder)
