"""Crops of rehearsals of published corpora, as their datamodules read them."""

import importlib

import pytest
import torch
from pyarrow import dataset as arrow

from affectkit.datamodules import DISFADataModule
from affectkit.datasets import CASME2, DISFA
from affectkit.datasets.preparing import prepare
from affectkit.errors import ConfigError
from affectkit.faces import Face, box_transform, face_landmarks, reference_points
from affectkit.models import InputSpec


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    for name in ("casme2", "disfa"):
        layout = importlib.import_module(f"affectkit.rehearse.{name}")
        getattr(layout, f"write_{name}")(root / name.upper(), size="tiny", seed=2)
    return root


def restless(frames):
    """A detector whose box is elsewhere in each frame."""
    return [[Face((float(f.float().mean()), float(f[0].float().std()), 60.0, 60.0), 1.0)] for f in frames]


def rows_of(out):
    return arrow.dataset(out / "shards", format="ipc").to_table().to_pylist()


def test_a_micro_expression_has_one_place_that_of_its_onset(corpora, tmp_path):
    dataset = CASME2(corpora / "CASME2")
    record = dataset.clips[0]
    dataset.clips = [record]
    prepare(dataset, tmp_path / "out", size=32, crop="auto", detector=restless, margin=0.1)
    rows = rows_of(tmp_path / "out")
    assert [row["frame"] for row in rows] == list(range(record.start, record.stop))
    box = restless(dataset.load(record, [record.onset]))[0][0].box
    expected = box_transform(box, 32, margin=0.1).flatten().tolist()
    for row in rows:
        assert row["transform"] == pytest.approx(expected)
    other = restless(dataset.load(record, [record.onset + 3]))[0][0].box
    assert box_transform(other, 32, margin=0.1).flatten().tolist() != pytest.approx(expected)


def upright(frames):
    """A detector that always finds a face at one place."""
    return [[Face((10.0, 10.0, 40.0, 40.0), 1.0, reference_points(size=40) + 10)] for _ in frames]


def test_aligned_crops_without_landmarks_give_those_of_a_mean_face(corpora, tmp_path):
    """At the place where a model looks for them when it predicts."""
    dataset = CASME2(corpora / "CASME2")
    dataset.clips = dataset.clips[:1]
    prepare(dataset, tmp_path / "aligned", size=48, crop="auto", detector=upright, margin=0.2)
    clip = CASME2(corpora / "CASME2", prepared=tmp_path / "aligned")[0]
    assert clip.landmarks_mask.all()
    expected = face_landmarks(InputSpec(size=48, crop_margin=0.2))
    torch.testing.assert_close(clip.landmarks, expected.expand_as(clip.landmarks), atol=1e-4, rtol=0)
    prepare(dataset, tmp_path / "whole", size=48, crop="none")
    assert not CASME2(corpora / "CASME2", prepared=tmp_path / "whole")[0].landmarks_mask.any()


def test_windows_of_a_video_with_landmarks(corpora, tmp_path):
    root = corpora / "DISFA"
    prepare(DISFA(root), tmp_path, size=48, codec="png")
    settings = {"num_frames": 6, "batch_size": 1, "fold": "part1", "size": 48}
    data = DISFADataModule(str(root), prepared=str(tmp_path), **settings)
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    plain = DISFADataModule(str(root), **settings)
    plain.setup("test")
    dataset, original = data.datasets["test"], plain.datasets["test"]
    clip, raw = dataset[0], original[0]
    assert torch.equal(batch.frames[0], clip.frames)
    assert clip.meta == raw.meta
    assert torch.equal(clip.targets["au"].value, raw.targets["au"].value)
    places = {
        (row["clip"], row["frame"]): torch.tensor(row["transform"]).view(2, 3) for row in rows_of(tmp_path)
    }
    record = original.clips[0]
    points, mask = original.landmarks(record, raw.meta["indices"])
    assert mask.sum(1).tolist() == [66] * 6
    for k, index in enumerate(raw.meta["indices"]):
        matrix = places[record.extra["sequence"], index]
        moved = points[k] @ matrix[:, :2].T + matrix[:, 2]
        torch.testing.assert_close(clip.landmarks[k][mask[k]], moved[mask[k]])
    assert torch.equal(clip.landmarks_mask, mask)
    with pytest.raises(ConfigError, match="prepared with camera 'left', not 'right'"):
        DISFA(root, camera="right", prepared=tmp_path)
