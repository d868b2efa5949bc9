"""Finding brief movements in long clips."""

import pytest
import torch

from affectkit.errors import ConfigError
from affectkit.facs import AUSet
from affectkit.inference.spotting import Spotter

FPS, SIZE = 60.0, 56
UNITS = AUSet.of(1, 4, 12, 17)


def film(length=150, *, at=(), amplitude=12.0, drift=0.0, noise=0.0, where=(0.75, 0.37)):
    """A textured face; around the frames `at`, a patch at `where` (y, x) darkens for a third of a second."""
    rng = torch.Generator().manual_seed(0)
    face = 90 + 60 * torch.rand(3, SIZE, SIZE, generator=rng)
    y, x = (int(place * SIZE) for place in where)
    for t in range(length):
        frame = face + drift * t
        strength = max((max(0.0, 1 - abs(t - apex) / 10) for apex in at), default=0.0)
        frame[:, y - 4 : y + 4, x - 4 : x + 4] -= amplitude * strength
        frame = frame + noise * torch.randn(frame.shape, generator=rng)
        yield frame.clamp(0, 255).to(torch.uint8)


def test_a_brief_movement_is_found_where_and_when_it_happens():
    (found,) = Spotter(UNITS).find(film(at=[100]), FPS)
    assert abs(found.apex - 100) <= 1
    assert 88 <= found.onset <= 97
    assert 103 <= found.offset <= 112
    assert found.units[0].id == 12
    assert found.strength > 1


def test_the_region_tells_the_unit():
    (found,) = Spotter(UNITS).find(film(at=[100], where=(0.25, 0.43)), FPS)
    assert found.units[0].id == 1


def test_two_movements_are_two_intervals_in_order():
    found = Spotter(UNITS).find(film(at=[40, 110], noise=1.0), FPS)
    assert [abs(interval.apex - apex) <= 1 for interval, apex in zip(found, (40, 110), strict=True)] == [
        True
    ] * 2
    assert found[0].offset < found[1].onset


def test_slow_light_and_noise_are_no_movement():
    assert Spotter(UNITS).find(film(drift=0.1), FPS) == []
    assert Spotter(UNITS).find(film(noise=2.0), FPS) == []


@pytest.mark.parametrize("length", [0, 1, 5, 30])
def test_short_clips_are_no_error(length):
    assert Spotter(UNITS).find(film(length), FPS) == []


def test_a_short_clip_with_a_movement_is_found():
    (found,) = Spotter(UNITS).find(film(35, at=[17]), FPS)
    assert abs(found.apex - 17) <= 2


@pytest.mark.parametrize("options", [{"longest": 0.0}, {"sensitivity": 1.0}, {"least": -1.0}])
def test_impossible_settings(options):
    with pytest.raises(ConfigError, match="must be positive"):
        Spotter(UNITS, **options)


@pytest.mark.parametrize("fps", [0.0, float("nan")])
def test_unknown_frame_rates(fps):
    with pytest.raises(ConfigError, match="frames a second"):
        Spotter(UNITS).find(film(3), fps)
