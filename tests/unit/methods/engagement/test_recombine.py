"""Artificial clips: segments of clips of one class, at their places."""

import torch

from affectkit.data import Clip, Target, collate
from affectkit.methods.engagement import recombine

SPACE = "levels:low,medium,high"


def batch(levels=(0, 0, 2, 2, -1, 1), frames=12):
    """Clips whose signal tells clip and frame."""
    clips = []
    for number, level in enumerate(levels):
        length = frames if number else frames // 2
        values = 100.0 * number + torch.arange(length, dtype=torch.float32)
        clips.append(
            Clip.make(
                torch.zeros(length, 3, 1, 1, dtype=torch.uint8),
                {"level": Target.make(torch.tensor(level), space=SPACE)},
                signals={"pose": values[:, None]},
                meta={"clip": str(number)},
            )
        )
    return collate(clips)


def mix(given, weight=None, **options):
    weight = torch.ones(len(given)) if weight is None else weight
    generator = torch.Generator().manual_seed(0)
    return recombine(given, "level", weight, generator=generator, **options)


def test_segments_come_from_clips_of_one_class_at_their_places():
    given = batch()
    both, weight = mix(given, segments=4)
    assert len(both) == len(weight) == 12
    assert torch.equal(both.signals["pose"][:6], given.signals["pose"])
    levels = torch.tensor([0, 0, 2, 2, -1, 1])
    for signal, value in zip(both.signals["pose"][6:, :, 0], both.targets["level"].value[6:], strict=True):
        source, frame = signal.long() // 100, signal.long() % 100
        assert (source.reshape(4, 3) == source[::3, None]).all()  # whole segments
        assert set(levels[source].tolist()) == {int(value.argmax())}
        short = source == 0
        assert torch.equal(frame[~short], torch.arange(12)[~short])
        assert torch.equal(frame[short], (torch.arange(12) % 6)[short])
    assert both.frame_mask[6:].all()
    assert len(set(both.signals["pose"][6, :, 0].long().div(100, rounding_mode="floor").tolist())) > 1


def test_classes_are_equally_frequent():
    made = mix(batch())[0].targets["level"].value[6:].argmax(-1)
    assert torch.bincount(made).tolist() == [2, 2, 2]


def test_clips_without_weight_or_label_are_not_used():
    weight = torch.tensor([0.0, 0.5, 1.0, 0.0, 1.0, 0.0])
    both, found = mix(batch(), weight, segments=3)
    sources = (both.signals["pose"][6:].long() // 100).unique().tolist()
    assert sources == [1, 2]
    assert torch.equal(found[:6], weight)
    level = both.targets["level"].value[6:].argmax(-1)
    torch.testing.assert_close(found[6:], torch.where(level == 0, 0.5, 1.0))


def test_a_batch_without_usable_clips_stays_as_it_is():
    given = batch((-1, -1))
    both, weight = mix(given)
    assert both is given
    assert torch.equal(weight, torch.ones(2))


def test_distributions_are_averaged():
    given = batch((0, 0))
    soft = Target(torch.tensor([[0.8, 0.2, 0.0], [0.6, 0.4, 0.0]]), torch.ones(2, dtype=torch.bool), SPACE)
    given.targets["level"] = soft
    made = mix(given, segments=6)[0].targets["level"].value[2:]
    assert ((made[:, 0] >= 0.6) & (made[:, 0] <= 0.8)).all()
    torch.testing.assert_close(made.sum(-1), torch.ones(2))
