"""Photos of phones: HEIF files whose picture is a grid of tiles."""

from __future__ import annotations

import random

import av
import numpy as np
import pytest
from helpers.heif import write_heif
from PIL import Image

from affectkit.data import open_video
from affectkit.data.video.display import display_matrix, orient
from affectkit.data.video.heif import read_heif
from affectkit.errors import VideoError

Y, X = np.mgrid[:100, :120]
PICTURE = np.stack([2 * X, 2 * Y, X + Y], axis=-1).astype(np.uint8)


def read(path):
    with open_video(path) as reader:
        assert (reader.num_frames, reader.timestamps.tolist()) == (1, [0])
        return reader.read([0])[0].permute(1, 2, 0).numpy().astype(int)


def assert_shows(path, goal):
    assert read(path).shape == goal.shape
    assert np.abs(read(path) - goal.astype(int)).mean() < 1


@pytest.mark.parametrize("wide", [False, True])
def test_tiles_are_joined_and_cut(tmp_path, wide):
    assert_shows(write_heif(tmp_path / "photo.heic", PICTURE, wide=wide), PICTURE)


@pytest.mark.parametrize("mirror", [None, 0, 1])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_the_whole_is_turned_and_mirrored(tmp_path, turns, mirror):
    goal = np.rot90(PICTURE, turns)
    goal = goal if mirror is None else np.flip(goal, mirror)
    assert_shows(write_heif(tmp_path / "photo.heic", PICTURE, turns=turns, mirror=mirror), goal)


def test_one_tile_is_read_as_ffmpeg_reads_it(tmp_path):
    path = write_heif(tmp_path / "photo.heic", PICTURE[:64, :64], turns=1, mirror=1)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        stored = frame.to_ndarray(format="rgb24")
        goal = orient(stored, display_matrix(frame))
    assert np.array_equal(read(path), goal)
    assert_shows(path, np.rot90(PICTURE[:64, :64])[:, ::-1])


def test_the_middle_is_shown(tmp_path):
    path = write_heif(tmp_path / "photo.heic", PICTURE, crop=(60, 50), turns=1)
    assert_shows(path, np.rot90(PICTURE[25:75, 30:90]))


@pytest.mark.parametrize("name", ["1.HEIC", "2.heif", "photo", "photo.jpg"])
def test_any_name_will_do(tmp_path, name):
    assert_shows(write_heif(tmp_path / name, PICTURE), PICTURE)


def test_a_folder_of_frames(tmp_path):
    write_heif(tmp_path / "1.heic", PICTURE)
    Image.fromarray(PICTURE).save(tmp_path / "2.png")
    with open_video(tmp_path) as reader:
        first, second = reader.read([0, 1]).float()
    assert (first - second).abs().mean() < 1


def test_other_codings_are_refused(tmp_path):
    path = write_heif(tmp_path / "photo.heic", PICTURE, kind=b"iovl")
    with open_video(path) as reader, pytest.raises(VideoError, match="'iovl'") as caught:
        reader.read([0])
    assert (caught.value.path, caught.value.frame) == (path, 0)
    assert "JPEG" in caught.value.remedy


def test_a_huge_grid_is_refused(tmp_path, monkeypatch):
    path = write_heif(tmp_path / "photo.heic", PICTURE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with open_video(path) as reader, pytest.raises(VideoError, match="megapixels") as caught:
        reader.read([0])
    assert (caught.value.path, caught.value.frame) == (path, 0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert_shows(path, PICTURE)


@pytest.mark.parametrize(
    "options",
    [
        {"size": (300, 100)},
        {"size": (120, 300)},
        {"size": (60, 100)},
        {"size": (120, 64)},
        {"tiles": 3},
        {"crop": (0, 50)},
    ],
)
def test_tiles_and_sizes_that_do_not_agree(tmp_path, options):
    with pytest.raises(VideoError, match="damaged"):
        read_heif(write_heif(tmp_path / "photo.heic", PICTURE, **options))


@pytest.mark.parametrize("keep", [0.05, 0.3, 0.6, 0.99])
def test_a_file_that_breaks_off(tmp_path, keep):
    path = write_heif(tmp_path / "photo.heic", PICTURE)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with open_video(path) as reader, pytest.raises(VideoError) as caught:
        reader.read([0])
    assert (caught.value.path, caught.value.frame) == (path, 0)


def test_damage_of_any_kind_is_a_video_error(tmp_path):
    path = write_heif(tmp_path / "photo.heic", PICTURE)
    content, rng, faults = path.read_bytes(), random.Random(0), []
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[rng.randrange(32, 700)] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            with open_video(path) as reader:
                reader.read([0])
        except VideoError as fault:
            faults.append((fault.path, fault.frame))
    assert len(faults) > 50
    assert set(faults) == {(path, 0)}


def test_boxes_of_every_size(tmp_path):
    """A size of 1 says that the true one follows, and one of 0 that the box ends the file."""
    path = write_heif(tmp_path / "photo.heic", PICTURE)
    content = path.read_bytes()
    at = content.index(b"mdat") - 4
    path.write_bytes(content[:at] + bytes(4) + content[at + 4 :])
    assert_shows(path, PICTURE)
    free = (1).to_bytes(4) + b"free" + (24).to_bytes(8) + bytes(8)
    path.write_bytes(content + free)
    assert_shows(path, PICTURE)
