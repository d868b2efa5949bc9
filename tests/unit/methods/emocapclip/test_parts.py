"""Patches, head and bridge of EmoCapCLIP."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs import describe_expression
from affectkit.methods.emocapclip import CaptionBridge, FacePatches, ZeroShotHead, clip_vectors
from affectkit.models import AffectModel, Features, build, load, use_classes
from affectkit.models.zero_shot import texts_of_classes

TEXT = {"model_name": "affectkit-tiny"}
TOWER = {"type": "clip", "model_name": "affectkit-tiny-patch8", "size": 32, "tokens": True}


def features(B=3, T=3, N=4, D=8, mask=None):
    rng = torch.Generator().manual_seed(0)
    frames, tokens = torch.randn(B, T, D, generator=rng), torch.randn(B, T, N, D, generator=rng)
    return Features.of_frames(frames, mask, tokens)


@pytest.fixture(scope="module")
def bridge():
    torch.manual_seed(0)
    return CaptionBridge(
        {"expression": "basic7"}, text=TEXT, templates=["{name}", "{description}"], descriptions=2
    )


@pytest.fixture(scope="module")
def model(bridge):
    torch.manual_seed(0)
    return AffectModel(TOWER, {"expression": {"type": "zero_shot", "space": "basic7"}}, bridge=bridge).eval()


class TestPatches:
    def test_scores_are_cosines_with_pooled_patches(self):
        mask = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
        given = features(mask=mask)
        texts = F.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(1)), dim=1)
        patches = FacePatches.of(given)
        scores = patches.scores(texts, 0.1)
        pooled = patches.pooled(texts[:3], 0.1)
        for i in range(3):
            z = F.normalize(given.tokens[i][mask[i]].flatten(0, 1), dim=1)
            for j in range(5):
                vector = F.normalize((z @ texts[j] / 0.1).softmax(0) @ z, dim=0)
                torch.testing.assert_close(scores[i, j], vector @ texts[j])
                if i == j:
                    torch.testing.assert_close(pooled[i], vector)

    def test_a_clip_without_frames_is_finite(self):
        patches = FacePatches.of(features(B=1, mask=torch.zeros(1, 3, dtype=torch.bool)))
        assert patches.scores(torch.ones(2, 8), 0.07).tolist() == [[0, 0]]

    def test_patches_are_needed(self):
        with pytest.raises(ValueError, match="tokens: true"):
            FacePatches.of(Features(torch.zeros(1, 8)))

    def test_the_vector_of_a_clip_is_the_mean_of_unit_vectors(self):
        mask = torch.tensor([[True, True, False]] * 3)
        given = features(mask=mask)
        wanted = F.normalize(F.normalize(given.frames[:, :2], dim=-1).mean(1), dim=-1)
        torch.testing.assert_close(clip_vectors(given), wanted)
        pooled = Features(torch.tensor([[3.0, 4.0]]))
        torch.testing.assert_close(clip_vectors(pooled), torch.tensor([[0.6, 0.8]]))


class TestHead:
    def test_logits_are_scaled_cosines(self):
        head = ZeroShotHead(8, "basic7", scale=20.0)
        prototypes, given = torch.randn(7, 8), features()
        wanted = 20 * F.cosine_similarity(clip_vectors(given)[:, None], prototypes[None], dim=-1)
        torch.testing.assert_close(head(given, prototypes), wanted)
        assert not list(head.parameters())

    def test_classes_can_be_exchanged(self):
        head, prototypes = ZeroShotHead(8, "basic7", target="mood"), torch.randn(2, 8)
        space = build("head", {"type": "expression", "space": "fear,anger"}, in_features=8).space
        other = head.by_prototypes(space, prototypes)
        assert other.labels == ("fear", "anger")
        assert other.target == "mood"
        assert torch.equal(other.prototypes, prototypes)

    def test_a_scale_must_be_positive(self):
        with pytest.raises(ConfigError, match="positive"):
            ZeroShotHead(8, "basic7", scale=0.0)

    def test_bf16(self):
        head = ZeroShotHead(8, "basic7").to(torch.bfloat16)
        given = Features(torch.randn(2, 8, dtype=torch.bfloat16))
        assert head(given).dtype == torch.bfloat16


class TestBridge:
    def test_a_prototype_is_the_mean_of_its_texts(self, bridge):
        prototypes = bridge()["expression"]
        texts = ["fear", *describe_expression("fear", 2)]
        place = bridge.spaces["expression"].labels.index("fear")
        wanted = F.normalize(bridge.text.encode(texts).mean(0), dim=0)
        torch.testing.assert_close(prototypes[place], wanted)

    def test_its_config_is_json_and_builds_an_equal_bridge(self, bridge):
        twin = build("bridge", json.loads(json.dumps(bridge.config)), spaces=bridge.spaces)
        assert twin.config == bridge.config
        twin.load_state_dict(bridge.state_dict(), strict=True)
        assert torch.equal(twin()["expression"], bridge()["expression"])

    def test_new_classes_are_names_or_texts(self, bridge):
        texts = bridge.class_texts("expression", ["Happy", "awe", "A smirk, barely visible"])
        assert list(texts) == ["happiness", "awe", "a smirk barely visible"]
        assert texts["happiness"][0] == "happiness"
        assert texts["awe"] == ("awe",)
        assert texts["a smirk barely visible"] == ("A smirk, barely visible",)
        own = bridge.class_texts("expression", {"tense": "pressed lips", "calm": "at rest"})
        assert own == {"tense": ("pressed lips",), "calm": ("at rest",)}
        vectors = bridge.encode_classes("expression", ["fear", "awe"])
        torch.testing.assert_close(vectors["fear"], bridge()["expression"][6])

    def test_errors(self, bridge):
        with pytest.raises(ConfigError, match="New classes cannot be given to 'au'"):
            bridge.encode_classes("au", ["fear", "awe"])
        with pytest.raises(LabelSpaceError, match="more than once"):
            bridge.encode_classes("expression", ["fear", "fearful"])
        with pytest.raises(ConfigError, match="expressions only"):
            CaptionBridge({"au": "AU1,AU12"}, text=TEXT)
        for options in ({"templates": []}, {"descriptions": 0}, {"temperature": 0.001}):
            with pytest.raises(ConfigError, match="There must be a template"):
                CaptionBridge({"expression": "basic7"}, text=TEXT, **options)

    def test_the_temperature_has_a_floor(self, bridge):
        assert bridge.temperature.item() == pytest.approx(0.07)
        low = CaptionBridge({"expression": "basic7"}, text=TEXT)
        torch.nn.init.constant_(low.log_temperature, -20.0)
        assert low.temperature.item() == pytest.approx(0.01)


class TestModel:
    def test_a_saved_model_predicts_the_same_and_takes_new_classes(self, model, tmp_path):
        model.train().eval()
        frames = torch.randint(0, 256, (1, 3, 3, 32, 32), dtype=torch.uint8)
        model.save_pretrained(tmp_path)
        loaded = load(tmp_path)
        assert torch.equal(loaded(frames)["expression"], model(frames)["expression"])
        texts = texts_of_classes(loaded, ["sadness", "a wide grin"])
        assert texts["a wide grin"] == ("a wide grin",)
        use_classes(loaded, "expression", ["sadness", "a wide grin"])
        probabilities = loaded.predict(frames)["expression"]
        assert loaded.labels("expression") == ("sadness", "a wide grin")
        torch.testing.assert_close(probabilities.sum(1), torch.ones(1))
