"""Finding brief movements in long clips."""

import pytest
import torch

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs import ActionUnit, AUSet
from affectkit.facs.mean_shape import MEAN_SHAPE_68
from affectkit.inference.spotting.spotter import Spotter

FPS, SIZE = 60.0, 56
UNITS = AUSet.of(1, 4, 12, 17)
CORNER, BROW, EYE = (0.75, 0.37), (0.25, 0.43), (0.38, 0.34)


def film(length=150, *, at=(), amplitude=12.0, noise=1.0, where=CORNER, half=10, drift=0.0, sway=0.0, seed=0):
    """A textured face; around the frames `at`, a patch at `where` (y, x) darkens and comes back, in 2 × `half`."""
    rng = torch.Generator().manual_seed(seed)
    face = 90 + 60 * torch.rand(3, SIZE, SIZE + 20, generator=rng)
    face = torch.nn.functional.avg_pool2d(face[None], 5, 1, 2)[0]
    for x in (19, 37):
        face[:, 19:23, x - 2 : x + 3] -= 60  # eyes
    y, x = (int(place * SIZE) for place in where)
    for t in range(length):
        frame = face[:, :, round(sway * t) % 20 :][:, :, :SIZE] + drift * t
        strength = max((max(0.0, 1 - abs(t - apex) / half) for apex in at), default=0.0)
        frame[:, y - 4 : y + 4, x - 4 : x + 4] -= amplitude * strength
        frame = frame + noise * torch.randn(frame.shape, generator=rng)
        yield frame.clamp(0, 255).to(torch.uint8)


def spot(frames, fps=FPS, place=None, units=UNITS, **options):
    return list(Spotter(units, **options).stream(frames, fps, place))


def test_a_brief_movement_is_found_where_and_when_it_happens():
    (found,) = spot(film(at=[100]))
    assert abs(found.apex - 100) <= 1
    assert 90 <= found.onset <= 93  # it began at 91 and was above 0.15 of its height from 92 on
    assert 107 <= found.offset <= 110
    assert found.units[0].id == 12
    assert found.strength > 1


def test_the_region_tells_the_unit():
    (found,) = spot(film(at=[100], where=BROW))
    assert found.units[0].id == 1


def test_regions_are_where_the_face_is():
    shape = torch.tensor(MEAN_SHAPE_68) * 0.5 + torch.tensor([0.25, 0.45])
    (found,) = spot(
        film(at=[100], where=(0.8, 0.43)), landmarks=shape
    )  # a corner of the mouth of a small face
    assert [unit.id for unit in found.units] == [12]


def test_two_movements_are_two_intervals_in_order():
    found = spot(film(at=[40, 110]))
    assert [abs(one.apex - apex) <= 1 for one, apex in zip(found, (40, 110), strict=True)] == [True] * 2
    assert found[0].offset < found[1].onset


@pytest.mark.parametrize(
    "options",
    [
        {"drift": 0.1},
        {"noise": 3.0},
        {"sway": 0.02},
        {"at": [75], "half": 45},  # three times too long
        {"at": [75], "where": EYE, "amplitude": 60.0},  # a blink
    ],
    ids=str,
)
def test_what_is_no_brief_movement(options):
    assert spot(film(**options)) == []


def test_a_blink_is_a_movement_to_those_who_watch_blinks():
    (found,) = spot(film(at=[75], where=EYE, amplitude=60.0), units=AUSet.of(12, 45))
    assert found.units[0].id == 45


def test_longest_and_thresholds_decide():
    assert spot(film(at=[75], half=30)) == []
    assert len(spot(film(at=[75], half=30), longest=1.0)) == 1
    assert spot(film(at=[75]), threshold=1e4) == []
    assert spot(film(at=[75]), least=60.0) == []


@pytest.mark.parametrize("length", [0, 1, 2, 5, 30])
def test_short_clips_are_no_error(length):
    assert spot(film(length)) == []


@pytest.mark.parametrize("apex", [17, 8, 27])
def test_a_short_clip_with_a_movement_is_found(apex):
    (found,) = spot(film(60, at=[apex], half=8))
    assert abs(found.apex - apex) <= 2


def test_a_long_clip_is_searched_in_segments_with_the_same_result():
    at = [50, 140, 199, 201 + 60, 330]  # one at the border of segments
    fps = 20.0  # a segment is 200 frames
    options = {"at": at, "half": 4}
    whole = Spotter(UNITS)
    (one,) = [torch.stack([whole.shrink(frame) for frame in film(400, **options)])]
    found = spot(film(400, **options), fps)
    assert [(f.onset, f.apex, f.offset) for f in found] == [
        (f.onset, f.apex, f.offset) for f in whole.find(one, fps)
    ]
    assert [abs(f.apex - apex) <= 1 for f, apex in zip(found, at, strict=True)] == [True] * len(at)


def test_memory_does_not_grow_with_the_clip(monkeypatch):
    sizes = []
    find = Spotter.find
    monkeypatch.setattr(Spotter, "find", lambda self, p, fps: sizes.append(len(p)) or find(self, p, fps))
    still = torch.full((3, 8, 8), 90, dtype=torch.uint8)
    assert spot((still for _ in range(1000)), 10.0) == []
    assert sizes == [108, *[116] * 8, 108]  # a segment of 100 frames, and 8 around it


def test_frames_that_cannot_be_read_stand_still():
    frames = list(film(at=[100]))
    for gone in (0, 1, 40, 41, 149):
        frames[gone] = None
    (found,) = spot(frames)
    assert abs(found.apex - 100) <= 1
    assert spot([None] * 30) == []


def test_a_segment_is_seen_in_one_way():
    asked = []

    def place(frame):
        asked.append(len(asked))
        if len(asked) < 6:
            return None  # no face yet
        return lambda other: other.flip(2)  # as seen in a mirror

    (found,) = spot(film(at=[100], where=(0.75, 0.63)), place=place)
    assert abs(found.apex - 100) <= 1
    assert found.units == (ActionUnit(12),)
    assert len(asked) == 6
    asked.clear()
    assert spot(film(30), place=lambda frame: asked.append(0)) == []  # never a face
    assert len(asked) == 30


@pytest.mark.parametrize("options", [{"longest": 0.0}, {"threshold": 0.0}, {"least": -1.0}])
def test_impossible_settings(options):
    with pytest.raises(ConfigError, match="must be above 0"):
        Spotter(UNITS, **options)


def test_units_without_a_region():
    with pytest.raises(LabelSpaceError, match="no region"):
        Spotter([ActionUnit(61)])


@pytest.mark.parametrize("fps", [0.0, float("nan")])
def test_unknown_frame_rates(fps):
    with pytest.raises(ConfigError, match="frame rate"):
        spot(film(3), fps)
    with pytest.raises(ConfigError, match="frame rate"):
        Spotter(UNITS).find(torch.zeros(3, SIZE, SIZE, dtype=torch.uint8), fps)
