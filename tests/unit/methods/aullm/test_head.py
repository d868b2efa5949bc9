"""The head: options, gradients, saving and loading, and a saved model without its language model."""

import json
import shutil

import pytest
import torch

from affectkit import load
from affectkit.errors import ConfigError, WeightsError
from affectkit.methods.aullm import AULLMHead, EncoderReader, LanguageReader
from affectkit.models import AffectModel, Features
from affectkit.models.export import TOLERANCE, export_onnx

TINY = {"name": "tiny"}


def features(B=2, T=3, side=6, C=8, seed=0):
    tokens = torch.randn(B, T, side * side, C, generator=torch.Generator().manual_seed(seed))
    return Features(tokens.mean(dim=(1, 2)), tokens=tokens)


def make_head(**options):
    torch.manual_seed(0)
    return AULLMHead(8, "AU1,AU4,AU12", **{"language": TINY, **options})


OPTIONS = [
    {},
    {"slots": "last"},
    {"language": None},
    {"projector": "flat"},
    {"graph": False, "laplacian": False, "gate": False},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_reach_every_parameter_and_clips_are_independent(options):
    head = make_head(**options)
    given = features(B=3)
    logits = head(given)
    assert logits.shape == (3, 3)
    (logits.square().sum() + head.answer_nodes(head.encode(given)[1]).sum()).backward()
    assert [name for name, p in head.named_parameters() if p.grad is None] == []
    one = Features(given.pooled[1:2], tokens=given.tokens[1:2])
    torch.testing.assert_close(head(one), logits[1:2], rtol=1e-4, atol=1e-5)


def test_half_precision():
    head = make_head().to(torch.bfloat16)
    given = features(B=1, T=1)
    logits = head(Features(given.pooled.bfloat16(), tokens=given.tokens.bfloat16()))
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


def test_the_prompt_comes_after_the_tokens_or_before_them():
    first, last = make_head().reader, make_head(slots="last").reader
    content, instruction = torch.randn(2, 2, first.width).unbind()
    slots = first.scale * torch.stack([content, instruction], dim=1)
    prompt = first.language.embed(first.prompt).expand(2, -1, -1)
    torch.testing.assert_close(
        first(content, instruction), first.language(torch.cat([slots, prompt], dim=1))[:, -1]
    )
    torch.testing.assert_close(
        last(content, instruction), last.language(torch.cat([prompt, slots], dim=1))[:, -1]
    )
    assert len(first.prompt) == 10  # with the full stop


def test_names_are_the_means_of_their_words():
    reader = make_head().reader
    language = reader.language
    words = ["inner brow raiser", "brow lowerer", "lip corner puller"]
    means = torch.stack([language.embed(language.tokenize(text)).mean(dim=0) for text in words])
    torch.testing.assert_close(reader.names(), reader.project(means / reader.scale[0]))


def test_tokens_have_the_size_of_embeddings():
    reader = LanguageReader(TINY, ["brow lowerer"], 8)
    size = reader.language.embed(reader.prompt).square().mean().sqrt()
    torch.testing.assert_close(reader.scale, size.expand(2, 1))


def test_the_readers_can_be_exchanged():
    assert isinstance(make_head().reader, LanguageReader)
    assert isinstance(make_head(language=None).reader, EncoderReader)


def test_options_and_features_that_do_not_fit_are_refused():
    for option in ("projector", "slots"):
        with pytest.raises(ConfigError, match="Unknown option 'middle'"):
            make_head(**{option: "middle"})
    head = make_head()
    with pytest.raises(ValueError, match="use the backbone LEDMaps"):
        head(Features(torch.zeros(1, 8)))
    with pytest.raises(ValueError, match="5 places do not form a square"):
        head(Features(torch.zeros(1, 8), tokens=torch.zeros(1, 1, 5, 8)))
    with pytest.raises(ValueError, match="give it Features"):
        head(torch.zeros(1, 8))


def make_model(**options):
    torch.manual_seed(0)
    heads = {"au": {"type": "aullm", "space": "AU4,AU12", **options}}
    return AffectModel({"type": "led_maps"}, heads, input_spec={"frames": 6})


FRAMES = torch.randint(
    0, 256, (2, 6, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


@pytest.mark.parametrize("options", [{"language": TINY}, {"language": None, "projector": "flat"}])
def test_saved_models_predict_the_same(options, tmp_path):
    model = make_model(**options)
    expected = model.predict(FRAMES)["au"]
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert again.config == model.config
    assert torch.equal(again.predict(FRAMES)["au"], expected)


def test_a_model_can_be_exported_for_any_number_of_clips(tmp_path):
    assert export_onnx(make_model(language=TINY), tmp_path / "model.onnx") < TOLERANCE


def test_a_saved_model_has_no_copy_of_the_language_model(language_folder, tmp_path, monkeypatch):
    language = {"name": str(language_folder), "lora": {"rank": 2}}
    model = make_model(language=language)
    reader = model.head("au").reader
    for addition in reader.language.additions:
        torch.nn.init.normal_(addition.up, std=0.1)
    expected = model.predict(FRAMES)["au"]
    model.save_pretrained(tmp_path / "model")
    stored = json.loads((tmp_path / "model" / "config.json").read_text())["heads"]["au"]["language"]
    assert stored == {**language, "revision": None, "sha256": reader.language.settings.sha256}
    assert not any("frozen" in name or "embed_tokens" in name for name in model.state_dict())
    assert torch.equal(load(tmp_path / "model").predict(FRAMES)["au"], expected)
    shutil.move(language_folder, tmp_path / "elsewhere")
    try:
        with pytest.raises(WeightsError, match=f"{stored['sha256']}"):
            load(tmp_path / "model")
    finally:
        shutil.move(tmp_path / "elsewhere", language_folder)
