"""Heads with prototypes: values, smoothing, padding, foreign tensors, saving."""

from __future__ import annotations

import pytest
import torch

from affectkit.errors import ConfigError, WeightsError
from affectkit.methods.ssm import PrototypeAUHead, PrototypeExpressionHead, SmoothLogits
from affectkit.models import AUHead, ExpressionHead, Features, build

FRAMEWISE = {"type": "framewise", "heads": 2, "head_width": 3, "max_frames": 6}
CLIP = {**FRAMEWISE, "type": "clip_token"}


def au_head(**arguments) -> PrototypeAUHead:
    torch.manual_seed(0)
    head = PrototypeAUHead(5, "AU1,AU6,AU12", **arguments).eval()
    if head.uses_prototypes:
        head.prototypes.copy_(torch.randn(3, head.width))
    return head


def features(batch: int = 2, frames: int = 4, real: int | None = None) -> Features:
    generator = torch.Generator().manual_seed(frames)
    mask = None if real is None else (torch.arange(frames) < real).expand(batch, -1)
    return Features.of_frames(torch.randn(batch, frames, 5, generator=generator), mask)


@torch.no_grad()
def test_logits_are_linear_plus_ten_cosines():
    head, given = au_head(), features()
    logits, compared = head.both(given)
    for b in range(2):
        for t in range(4):
            h = given.frames[b, t]
            cosine = [(h @ p / h.norm() / p.norm()).item() for p in head.prototypes]
            linear = (head.out.weight @ h + head.out.bias).tolist()
            assert compared[b, t].tolist() == pytest.approx([10 * c for c in cosine], abs=1e-5)
            expected = [a + 10 * c for a, c in zip(linear, cosine, strict=True)]
            assert logits[b, t].tolist() == pytest.approx(expected, abs=1e-5)
    assert torch.equal(head(given), logits)


@torch.no_grad()
def test_prototypes_may_be_given_and_their_logits_are_bounded():
    head, given = au_head(temporal=FRAMEWISE), features()
    prototypes = head.embed(given)[0, :3] * 7
    compared = head.both(given, prototypes)[1]
    assert compared[0, :3].diagonal().tolist() == pytest.approx([10] * 3, abs=1e-4)
    assert compared.abs().max() <= 10 + 1e-4
    assert not torch.equal(head(given), head(given, prototypes))
    assert au_head(scale=3.0).both(given)[1].abs().max() <= 3 + 1e-4


@torch.no_grad()
def test_a_head_may_do_without_either_term():
    given = features()
    plain = au_head(prototypes=False)
    logits, compared = plain.both(given)
    assert compared is None
    assert "prototypes" not in plain.state_dict()
    assert torch.allclose(logits, plain.out(given.frames))
    alone = au_head(linear=False)
    logits, compared = alone.both(given)
    assert torch.equal(logits, compared)
    assert set(alone.state_dict()) == {"prototypes"}
    assert torch.equal(alone(given), logits)


@torch.no_grad()
def test_answering_by_prototypes_alone():
    head, given = au_head(temporal=FRAMEWISE, smoothing="frames"), features()
    head.calibrate(thresholds=[0.1, 0.2, 0.3], temperature=2.0)
    alone = head.by_prototypes()
    assert torch.equal(alone(given), head.both(given)[1])
    assert alone.thresholds == (0.5,) * 3
    assert alone.temperature == 1
    assert not alone.training
    assert torch.equal(au_head().by_prototypes()(given), au_head().both(given)[1])
    with pytest.raises(ConfigError, match="has no prototypes"):
        au_head(prototypes=False).by_prototypes()


@torch.no_grad()
def test_smoothing_over_frames():
    """Against sums over five frames, with the ends repeated; prototype logits stay as they are."""
    head, given = au_head(smoothing="frames"), features(frames=7)
    head.smooth.weight.copy_(torch.randn(3, 1, 5))
    raw = head.out(given.frames) + head.compare(given.frames)
    logits, compared = head.both(given)
    for t in range(7):
        around = [raw[:, min(max(t + k, 0), 6)] * head.smooth.weight[:, 0, k + 2] for k in range(-2, 3)]
        assert torch.allclose(logits[:, t], sum(around), atol=1e-5)
    assert torch.equal(compared, head.compare(given.frames))


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 4, 5])
def test_smoothing_in_pairs(length):
    smooth = SmoothLogits(3, "pairs")
    smooth.weight.copy_(torch.randn(3, 1, 5))
    logits = torch.randn(2, length, 3)
    out = smooth(logits)
    for t in range(length):
        other = t + 1 if t % 2 == 0 else t - 1
        expected = logits[:, t] * smooth.weight[:, 0, 2]
        if other < length:
            expected = expected + logits[:, other] * smooth.weight[:, 0, 2 + other - t]
        assert torch.allclose(out[:, t], expected, atol=1e-6)
    assert smooth.weight.numel() == 15


@torch.no_grad()
@pytest.mark.parametrize("smoothing", ["none", "frames", "pairs"])
@pytest.mark.parametrize("temporal", [FRAMEWISE, CLIP, {"type": "local_attention", "heads": 1}])
def test_padding_never_reaches_a_real_frame(smoothing, temporal):
    head = au_head(temporal=temporal, smoothing=smoothing)
    if temporal["type"] == "local_attention":
        head.temporal.gate.fill_(1.0)
    given = features(frames=5, real=3)
    given.frames[:, 3:] = 1e4
    short = features(frames=5, real=3)
    cut = Features.of_frames(short.frames[:, :3], None)
    assert torch.allclose(head(given)[:, :3], head(cut), atol=1e-5)


@torch.no_grad()
def test_smoothing_with_padding_anywhere():
    smooth = SmoothLogits(1, "frames")
    logits = torch.tensor([[[99.0], [5.0], [99.0], [10.0], [99.0]]])
    mask = torch.tensor([[False, True, False, True, False]])
    held = torch.tensor([5.0, 5.0, 5.0, 10.0, 10.0])  # the nearest earlier real frame, or the first one
    padded = torch.cat([held[:1].repeat(2), held, held[-1:].repeat(2)])
    expected = [padded[t : t + 5].mean().item() for t in range(5)]
    assert smooth(logits, mask).flatten().tolist() == pytest.approx(expected)


@torch.no_grad()
def test_tensors_of_another_network_are_clips_or_stills():
    head = au_head(temporal=FRAMEWISE, smoothing="pairs")
    given = features()
    assert torch.allclose(head(given.frames), head(given), atol=1e-6)
    assert torch.allclose(head(given.frames[None])[0], head(given), atol=1e-6)
    stills = head(given.frames[:, 0])
    assert torch.allclose(stills, head(Features.of_frames(given.frames[:, :1], None))[:, 0], atol=1e-6)
    torch.manual_seed(0)
    clip = PrototypeExpressionHead(5, "happiness,neutral", temporal=CLIP).eval()
    assert torch.allclose(clip(given.frames), clip(given), atol=1e-6)
    assert clip(given.frames[None]).shape == (1, 2, 2)
    assert clip(given.frames[:, 0]).shape == (2, 2)
    assert au_head()(torch.randn(4, 3, 2, 5)).shape == (4, 3, 2, 3)


@torch.no_grad()
def test_a_head_saved_alone_brings_its_prototypes(tmp_path):
    head, given = au_head(temporal=FRAMEWISE), features()
    head.save_pretrained(tmp_path)
    loaded = AUHead.from_pretrained(tmp_path)
    assert isinstance(loaded, PrototypeAUHead)
    assert torch.equal(loaded.prototypes, head.prototypes)
    assert torch.equal(loaded(given.frames), head(given.frames))
    with pytest.raises(WeightsError, match="No ExpressionHead"):
        ExpressionHead.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"prototypes": False, "linear": False}, "needs prototypes or a linear layer"),
        ({"scale": 0.0}, "scale=0.0 must be positive"),
        ({"smoothing": "clips"}, "smoothing='clips'"),
        ({"smoothing": "frames", "per_frame": False}, "Smoothing needs"),
        ({"smoothing": "frames", "linear": False}, "Smoothing needs"),
        ({"temporal": {"type": "framewise", "in_features": 5}}, "in_features"),
    ],
)
def test_what_cannot_be_is_refused(arguments, fault):
    with pytest.raises(ConfigError, match=fault):
        build("head", {"type": "prototype_au", "space": "AU1", **arguments}, in_features=5)


@torch.no_grad()
def test_prototype_logits_stay_exact_under_autocast():
    head, given = au_head(), features()
    with torch.autocast("cpu", torch.bfloat16):
        compared = head.both(given)[1]
    assert torch.equal(compared, head.both(given)[1])


class OnFrames(torch.nn.Module):
    """A head as a function of tensors."""

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.head(Features.of_frames(frames, mask))


def test_heads_export_with_free_batch_and_length():
    head = OnFrames(au_head(temporal=CLIP, smoothing="pairs"))
    batch, frames = torch.export.Dim("batch", min=1, max=8), torch.export.Dim("frames", min=1, max=6)
    given = torch.randn(2, 5, 5), torch.ones(2, 5, dtype=torch.bool)
    shapes = ({0: batch, 1: frames}, {0: batch, 1: frames})
    exported = torch.export.export(head.eval(), given, dynamic_shapes=shapes, strict=False).module()
    other = torch.randn(3, 4, 5), torch.tensor([[True, True, True, False]] * 3)
    assert torch.allclose(exported(*other), head(*other), atol=1e-5)
