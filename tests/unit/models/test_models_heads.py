from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import layer_norm

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs import label_space
from affectkit.losses import CCCLoss
from affectkit.models import AUHead, AUIntensityHead, DimensionsHead, ExpressionHead, Features, Head


def test_a_linear_head_is_a_linear_layer():
    head = AUHead(4, "AU1,AU12").eval()
    x = torch.randn(3, 4)
    assert torch.allclose(head(x), x @ head.out.weight.T + head.out.bias, atol=1e-6)


def test_heads_know_their_labels():
    head = ExpressionHead(4, "basic7")
    assert head.labels == label_space("basic7").labels
    assert head.target == "expression"
    assert AUHead(4, label_space("disfa8")).config["space"] == "disfa8"


def test_clip_frame_and_foreign_inputs():
    frames = torch.randn(2, 3, 4)
    features = Features.of_frames(frames, None)
    clip, frame = AUHead(4, "AU1", hidden=5).eval(), AUHead(4, "AU1", per_frame=True).eval()
    assert torch.equal(clip(features), clip(features.pooled))
    assert torch.equal(frame(features), frame(frames))
    with pytest.raises(ValueError, match="single frames"):
        frame(Features(torch.zeros(1, 4)))


def test_probabilities_and_temperature():
    logits = torch.tensor([[0.0, 2.0]], dtype=torch.bfloat16)
    head = AUHead(4, "AU1,AU12")
    assert head.predict(logits).dtype == torch.float32
    assert torch.allclose(head.predict(logits), torch.tensor([[0.5, 1 / (1 + np.exp(-2.0))]]).float())
    head.calibrate(temperature=2.0)
    assert torch.allclose(head.predict(logits), torch.tensor([[0.5, 1 / (1 + np.exp(-1.0))]]).float())
    expression = ExpressionHead(4, "happiness,anger")
    assert torch.allclose(expression.predict(logits)[0, 1], torch.tensor(np.exp(2) / (1 + np.exp(2))).float())


def test_intensity_is_a_cumulative_link():
    torch.manual_seed(0)
    head = AUIntensityHead(4, "intensity:AU6,AU12").eval()
    with torch.no_grad():
        head.raw_gaps.normal_()
    logits = head(torch.randn(3, 4)).detach()
    assert logits.shape == (3, 2, 5)
    assert (logits.diff(dim=-1) < 0).all()
    at_least = 1 / (1 + np.exp(-logits.double().numpy()))
    levels = -np.diff(np.concatenate([np.ones((3, 2, 1)), at_least, np.zeros((3, 2, 1))], axis=-1), axis=-1)
    assert (levels > 0).all()
    assert np.allclose(levels.sum(-1), 1)
    assert np.allclose(head.predict(logits).numpy(), (levels * np.arange(6)).sum(-1), atol=1e-5)


def test_intensity_thresholds_start_one_unit_apart():
    logits = AUIntensityHead(4, "intensity:AU6")(torch.zeros(1, 4))
    assert torch.allclose(logits.diff(dim=-1), torch.tensor(-1.0), atol=1e-3)


def test_a_head_refuses_labels_of_another_kind():
    for head, space in ((AUHead, "basic7"), (ExpressionHead, "AU1"), (AUIntensityHead, "AU1")):
        with pytest.raises(LabelSpaceError, match=space):
            head(4, space)


def test_calibration_is_checked():
    head = AUHead(4, "AU1,AU12")
    assert head.thresholds == (0.5, 0.5)
    head.calibrate(thresholds=[0.3, 0.7])
    assert head.thresholds == (0.3, 0.7)
    for wrong in ({"thresholds": [0.5]}, {"thresholds": [0.5, 1.5]}, {"temperature": 0.0}):
        with pytest.raises(ConfigError):
            head.calibrate(**wrong)
    with pytest.raises(ConfigError):
        ExpressionHead(4, "basic7").calibrate(thresholds=[0.5])


def test_an_unregistered_head_works_but_cannot_be_saved(tmp_path):
    class MyHead(Head):
        target = "au"
        kind = "occurrence"

        def predict(self, logits):
            return self.scaled(logits)

    head = MyHead(4, "AU1")
    assert head(torch.zeros(2, 4)).shape == (2, 1)
    with pytest.raises(ConfigError, match="MyHead"):
        head.save_pretrained(tmp_path)


def test_a_hidden_layer_with_batch_normalisation():
    torch.manual_seed(0)
    head = AUHead(4, "AU1,AU2", hidden=3, batch_norm=True, dropout=0.5)
    values = torch.randn(2, 5, 4)
    hidden = torch.relu(values @ head.body[0].weight.T + head.body[0].bias)
    normal = (hidden - hidden.mean((0, 1))) / (hidden.var((0, 1), correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(head.body[:3](values), normal)
    assert head.config["batch_norm"] is True
    assert "batch_norm" not in AUHead(4, "AU1", hidden=3).config
    with pytest.raises(ConfigError, match="hidden"):
        AUHead(4, "AU1", batch_norm=True)


@pytest.mark.parametrize("seed", range(3))
def test_dimensions_leave_the_ends_of_their_range_alone(seed):
    """Vectors with a large constant part, as networks from scratch give them, drive random outputs to the ends."""
    torch.manual_seed(seed)
    head, loss = DimensionsHead(128, "va"), CCCLoss()
    constant, direction = torch.randn(128), torch.randn(128, 2) / 128**0.5
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    for _ in range(60):
        moving = torch.randn(64, 128)
        value = 0.8 * (0.3 * moving @ direction).tanh()
        output = head(layer_norm(constant + 0.5 * moving, (128,)))
        term = loss(output, value, torch.ones_like(value, dtype=torch.bool))
        optimizer.zero_grad()
        term.finish(term.sums).backward()
        optimizer.step()
    assert 1 - term.finish(term.sums).item() > 0.7
    assert output.abs().mean() < 0.2
