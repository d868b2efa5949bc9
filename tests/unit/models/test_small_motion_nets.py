"""The LED network and the flow networks."""

import pytest
import torch

from affectkit.models import build
from affectkit.models.temporal import LEDFilter


def test_led_weights_are_those_of_the_equation():
    alpha, r1, r2, T = 10.0, 0.4, 0.05, 6
    expected = torch.zeros(T, T)
    for i in range(T):
        expected[i, i] = alpha * (r1 - r2)
        for j in range(i + 1, T):
            first = min(1, i)
            expected[i, j] = alpha * (1 - r1) ** (j - i) * r1**first - alpha * (1 - r2) ** (j - i) * r2**first
    torch.testing.assert_close(LEDFilter().weights(T), expected)


def test_led_output_is_normalised_by_intensity():
    led = LEDFilter()
    frames = 255 * torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
    kernel = led.weights(4)
    for b in range(2):
        for x in range(3):
            for j in range(1, 4):
                signal = sum(frames[b, i, x] * kernel[i, j] for i in range(4))
                strength = sum(frames[b, i, x] * kernel[i, j].abs() for i in range(4))
                torch.testing.assert_close(led(frames)[b, j - 1, x], signal / (strength + 1))


def test_led_filter_learns():
    led = LEDFilter()
    led(255 * torch.rand(1, 6, 5)).square().sum().backward()
    assert all(p.grad.isfinite() and p.grad != 0 for p in led.parameters())


def test_led_network_reads_six_of_many_frames_and_no_padding():
    net = build("backbone", {"type": "led"}).eval()
    frames = torch.randint(0, 256, (1, 11, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(net(frames).pooled, net(frames[:, [0, 2, 4, 6, 8, 10]]).pooled)
    padded = torch.cat([frames, torch.full_like(frames[:, :3], 255)], dim=1)
    mask = torch.arange(14)[None] < 11
    torch.testing.assert_close(net(padded, mask).pooled, net(frames).pooled)
    assert net(frames[:, :1]).pooled.isfinite().all()


def test_maps_are_those_of_led_before_its_second_pooling():
    maps = build("backbone", {"type": "led_maps"})
    whole = build("backbone", {"type": "led"})
    assert maps.config == {"type": "led_maps", "dropout": 0.5}
    maps.filter = whole.filter
    for layer in range(6):
        maps.net[layer] = whole.net[layer]
    frames = torch.randint(0, 256, (2, 9, 3, 64, 64), dtype=torch.uint8)
    mask = torch.arange(9)[None] < torch.tensor([[9], [6]])
    for net in (maps, whole):
        net.eval()
    features = maps(frames, mask)
    assert features.tokens.shape == (2, 4, 18 * 18, 64)
    assert features.frame_mask is None
    torch.testing.assert_close(features.pooled, features.tokens.mean(dim=(1, 2)))
    places = features.tokens.reshape(2, 4, 18, 18, 64).permute(0, 4, 1, 2, 3)
    places = (
        places * (1 + maps.net[7].eps) ** 0.5
    )  # undoes the normalisation, which has its initial statistics
    pooled = torch.nn.functional.max_pool3d(places, 2)
    torch.testing.assert_close(pooled, whole.net[:8](whole.motion(frames, mask)))


@pytest.mark.parametrize("kind", ["led", "led_maps", "ststnet", "offapexnet"])
def test_pictures_of_another_size_are_refused(kind):
    with pytest.raises(ValueError, match="not \\[40, 40\\]"):
        build("backbone", {"type": kind})(torch.zeros(1, 6, 3, 40, 40))


@pytest.mark.parametrize(
    ("kind", "parameters"), [("ststnet", 480), ("offapexnet", 2 * (156 + 2416) + 1_606_656 + 1_049_600)]
)
def test_sizes_of_the_flow_networks(kind, parameters):
    net = build("backbone", {"type": kind})
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_off_apex_net_reads_no_strain():
    net = build("backbone", {"type": "offapexnet"}).eval()
    flow = torch.randint(0, 256, (1, 1, 3, 28, 28), dtype=torch.uint8)
    other = flow.clone()
    other[:, :, 2] = 0
    assert torch.equal(net(flow).pooled, net(other).pooled)
    other[:, :, 1] = 0
    assert not torch.equal(net(flow).pooled, net(other).pooled)
