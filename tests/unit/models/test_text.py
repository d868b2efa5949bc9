from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from affectkit.errors import ConfigError, WeightsError
from affectkit.models.clip import load_clip
from affectkit.models.hub import no_weights
from affectkit.models.text import PromptLearner, TextTower, encode_prompts

TINY = "affectkit-tiny"
TEXTS = ["happiness, cheek raiser, lip corner puller", "neutral, no active AUs", "fear"]


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    model = load_clip(TINY).eval()
    with torch.no_grad():
        model.positional_embedding.normal_()
    return model


@pytest.fixture(scope="module")
def path(clip, tmp_path_factory):
    file = tmp_path_factory.mktemp("clip") / "whole.safetensors"
    save_file({name: tensor.clone() for name, tensor in clip.state_dict().items()}, file)
    return str(file)


@pytest.fixture(scope="module")
def tower(path):
    return TextTower(TINY, weights=path)


class TestTower:
    def test_has_the_published_number_of_parameters_all_frozen(self):
        with torch.device("meta"):
            tower = TextTower()
        assert sum(p.numel() for p in tower.parameters()) == 38_131_200
        assert not any(p.requires_grad for p in tower.parameters())
        assert tower.token_embedding.shape == (49408, 512)
        assert (tower.width, tower.num_features, tower.context_length) == (512, 512, 77)

    def test_tokenises_as_open_clip_does(self, tower):
        import open_clip

        tokens = tower.tokenize(TEXTS)
        assert tokens.dtype == torch.int64
        assert torch.equal(tokens, open_clip.tokenize(TEXTS))
        assert tokens[2, [0, 2, 3, 76]].tolist() == [49406, 49407, 0, 0]  # start, end, padding

    def test_equals_open_clip_whole_and_cut(self, clip, tower):
        tokens = tower.tokenize(TEXTS)
        eot = tokens.argmax(dim=1)
        with torch.no_grad():
            wanted = clip.encode_text(tokens)
            whole = tower(tower.embed_tokens(tokens), eot)
            cut = tower(tower.embed_tokens(tokens[:, : eot.max() + 1]), eot)
        assert (whole - wanted).abs().max() <= 1e-5
        assert (cut - wanted).abs().max() <= 1e-5
        assert (tower.encode(TEXTS) - F.normalize(wanted, dim=-1)).abs().max() <= 1e-5
        assert not tower.encode(TEXTS).requires_grad

    def test_stays_in_evaluation_mode(self, tower):
        assert not tower.train().training
        assert not tower.transformer.training

    def test_keeps_its_vocabulary_when_saved_or_says_that_it_has_none(self, tower, path):
        assert torch.equal(tower.state_dict()["token_embedding"], tower.token_embedding)
        short = TextTower(**{**tower.config, "keep_tokens": False}, weights=path)
        assert set(tower.state_dict()) - set(short.state_dict()) == {"token_embedding"}
        with pytest.raises(WeightsError, match="without its token embedding"):
            short.encode(["joy"])

    def test_refuses_a_text_that_it_would_cut(self, tower):
        with pytest.raises(ConfigError, match="has 82 tokens"):
            tower.tokenize(["lip " * 80])

    def test_is_random_where_no_weights_are_wanted(self, tmp_path):
        with no_weights():
            assert TextTower(TINY, weights=str(tmp_path / "absent.pt")).encode(["fear"]).shape == (1, 64)
        with pytest.raises(WeightsError, match=r"absent\.pt"):
            TextTower(TINY, weights=str(tmp_path / "absent.pt"))


class TestPrompts:
    def test_stand_around_the_context(self, tower):
        learner = PromptLearner(TEXTS, tower, n_ctx=8)
        tokens = tower.tokenize([f"X X X X X X X X {text}" for text in TEXTS])
        embeddings, eot = learner()
        words = tower.embed_tokens(tokens)
        longest = int(tokens.argmax(dim=1).max()) + 1
        assert embeddings.shape == (3, longest, 64)
        assert torch.equal(eot, tokens.argmax(dim=1))
        assert torch.equal(embeddings[:, 0], words[:, 0])
        assert torch.equal(embeddings[:, 1:9], learner.ctx)
        assert torch.equal(embeddings[:, 9:], words[:, 9:longest])
        assert torch.equal(learner.suffix, words[:, 9:])
        assert list(dict(learner.named_parameters())) == ["ctx"]
        assert list(dict(learner.named_buffers())) == ["prefix", "suffix", "eot"]

    def test_begin_near_zero(self, tower):
        torch.manual_seed(0)
        assert PromptLearner(TEXTS, tower, n_ctx=16).ctx.std().item() == pytest.approx(0.02, rel=0.1)

    def test_may_share_one_context(self, tower):
        learner = PromptLearner(TEXTS, tower, n_ctx=4, class_specific=False)
        assert learner.ctx.shape == (4, 64)
        embeddings, _ = learner()
        assert torch.equal(embeddings[0, 1:5], embeddings[2, 1:5])

    def test_of_new_classes_start_from_the_mean_context(self, tower):
        learner = PromptLearner(TEXTS, tower, n_ctx=4)
        new = learner.for_texts(["contempt", "anxiety"], tower)
        assert torch.equal(new.ctx, learner.ctx.mean(dim=0).expand(2, -1, -1))
        shared = PromptLearner(TEXTS, tower, n_ctx=4, class_specific=False)
        assert torch.equal(shared.for_texts(["contempt"], tower).ctx, shared.ctx)

    def test_without_a_vocabulary_wait_for_saved_tensors(self, tower, path):
        bare = TextTower(TINY, weights=path, keep_tokens=False)
        learner, saved = PromptLearner(TEXTS, bare), PromptLearner(TEXTS, tower)
        assert learner()[0][:, 0].isnan().all()
        learner.load_state_dict(saved.state_dict())
        assert torch.equal(learner()[0], saved()[0])
        with pytest.raises(WeightsError, match="without its token embedding"):
            learner.for_texts(["contempt"], bare)

    @pytest.mark.parametrize(
        ("arguments", "fault"),
        [({"texts": []}, "one text"), ({"n_ctx": 0}, "not 0")],
    )
    def test_of_what_cannot_be_are_named(self, tower, arguments, fault):
        with pytest.raises(ConfigError, match=fault):
            PromptLearner(**{"texts": TEXTS, "tower": tower, **arguments})


class TestEncoding:
    def test_in_one_pass_equals_one_by_one_at_full_length(self, tower):
        learners = [PromptLearner(TEXTS, tower), PromptLearner(["dimpler", "jaw drop"], tower, n_ctx=4)]
        found = encode_prompts(tower, learners)
        for learner, vectors in zip(learners, found, strict=True):
            whole = torch.cat([learner.prefix, learner.ctx, learner.suffix], dim=1)
            wanted = F.normalize(tower(whole, learner.eot), dim=-1)
            assert (vectors - wanted).abs().max() <= 1e-5
            assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)))

    def test_gradients_reach_contexts_and_nothing_else(self, tower):
        learners = [PromptLearner(TEXTS, tower), PromptLearner(["dimpler"], tower, class_specific=False)]
        sum(vectors[:, 0].sum() for vectors in encode_prompts(tower, learners)).backward()
        assert all(learner.ctx.grad.abs().sum() > 0 for learner in learners)
        assert all(parameter.grad is None for parameter in tower.parameters())
