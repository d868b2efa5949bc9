"""The probes of the study of AU-TTT, on an untrained model."""

from dataclasses import replace

import pytest
import torch

UNITS = "AU1,AU12"


@pytest.fixture
def parts():
    from au_ttt_claim import Pictures
    from au_ttt_probes import inner_loss, masked_scores, peaks_near

    from affectkit.methods.au_ttt import AUTTTBackbone, AUTTTHead
    from affectkit.models import AffectModel

    torch.manual_seed(0)
    backbone = AUTTTBackbone(UNITS, size=48, patch=8, width=16, depth=1, heads=2)
    model = AffectModel(backbone, {"au": AUTTTHead(16, UNITS)})
    draw = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (3, 3, 48, 48), generator=draw, dtype=torch.uint8)
    landmarks = torch.rand(3, 68, 2, generator=draw) * 48
    data = Pictures(frames, landmarks, torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.arange(3))
    return model.eval(), data, inner_loss, masked_scores, peaks_near


def test_inner_models_learn_from_a_picture_only_with_inner_steps(parts):
    model, data, inner_loss, _, _ = parts
    before, after = inner_loss(model, data)
    assert after < before
    model.backbone.take_inner_steps(False)
    still = inner_loss(model, data)
    assert still == pytest.approx((before, before), rel=1e-5)


def test_a_heat_map_that_is_drawn_at_the_centres_peaks_near_them(parts):
    model, data, _, _, peaks_near = parts
    head = model.head("au")
    outputs = head.outputs

    def drawn(features):
        found = outputs(features)
        return replace(found, maps=found.heat)

    head.outputs = drawn
    share, chance = peaks_near(model, data)
    assert share == 1.0
    assert 0.0 < chance < 1.0


def test_outside_its_region_a_unit_sees_grey(parts):
    model, data, _, masked_scores, _ = parts
    pictures = []

    def score(_, shown):
        pictures.append(shown.frames)
        return torch.zeros_like(shown.labels)

    masked_scores(model, data, score)
    assert len(pictures) == 2
    for shown in pictures:
        kept = (shown == data.frames).all(dim=1)
        assert 0.05 < kept.float().mean() < 0.9
        assert (shown.permute(0, 2, 3, 1)[~kept] == 128).all()
