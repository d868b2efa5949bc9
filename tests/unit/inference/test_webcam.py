"""A camera is a video without an end; here it is one of frames from memory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from affectkit.errors import ConfigError, VideoError
from affectkit.inference import Predictor, read_table, write_predictions
from affectkit.inference.smoothing import Smoothing
from affectkit.inference.webcam import Webcam


class FakeCamera:
    """Gives so many pictures, blue first."""

    def __init__(self, pictures=1000, opened=True):
        self.pictures, self.opened, self.given, self.released = pictures, opened, 0, False

    def isOpened(self):  # noqa: N802
        return self.opened

    def read(self):
        if self.given == self.pictures:
            return False, None
        self.given += 1
        picture = np.zeros((40, 48, 3), np.uint8)
        picture[..., 0], picture[..., 2] = 200, self.given
        return True, picture

    def release(self):
        self.released = True


def clock(step=0.04):
    now = [5.0]

    def tick():
        now[0] += step
        return now[0]

    return tick


def webcam(camera, **options):
    return Webcam(0, open_camera=lambda _: camera, clock=clock(), **options)


def test_frames_are_rgb_and_timed_from_the_first():
    camera = FakeCamera()
    with webcam(camera) as video:
        frames = video.frames()
        found = [next(frames) for _ in range(3)]
    assert [(number, round(when, 6)) for number, when, _ in found] == [(0, 0.0), (1, 0.04), (2, 0.08)]
    assert found[1][2].shape == (3, 40, 48)
    assert found[1][2][:, 0, 0].tolist() == [2, 0, 200]
    assert camera.released
    assert math.isnan(video.fps)


def test_it_ends_after_the_seconds_when_told_or_when_the_camera_is_gone():
    assert len(list(webcam(FakeCamera(), seconds=0.39).frames())) == 10
    video = webcam(FakeCamera())
    seen = []
    for number, _, _ in video.frames():
        seen.append(number)
        if number == 4:
            video.stop()
    assert seen == [0, 1, 2, 3, 4]
    assert len(list(webcam(FakeCamera(pictures=7)).frames())) == 7


def test_a_camera_that_is_not_there_or_gives_nothing():
    camera = FakeCamera(opened=False)
    with pytest.raises(VideoError, match="camera 0"):
        webcam(camera)
    assert camera.released
    video = webcam(FakeCamera(pictures=0))
    with pytest.raises(VideoError, match="no picture"):
        next(video.frames())
    assert not video.seen
    assert list(video.frames()) == []
    with pytest.raises(ConfigError, match="0 seconds"):
        webcam(FakeCamera(), seconds=0)


def test_opencv_is_asked_for_the_newest_picture(monkeypatch):
    import cv2

    calls = []

    class Capture(FakeCamera):
        def __init__(self, device):
            super().__init__()
            calls.append(device)

        def set(self, *setting):
            calls.append(setting)

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    Webcam(3).close()
    assert calls == [3, (cv2.CAP_PROP_BUFFERSIZE, 1)]


def test_a_table_is_written_while_it_watches(make_model, tmp_path, monkeypatch):
    monkeypatch.setattr("affectkit.inference.formats.writer._ROWS", 1)
    path = tmp_path / "live.csv"
    video = webcam(FakeCamera())
    lines = []

    def watch(done, _):
        assert not path.exists()
        lines.append(len(read_table(path)))
        if done == 8:
            video.stop()

    predictor = Predictor(make_model(3), faces="center", batch_size=1)
    table = write_predictions(predictor, video, path, smoothing=Smoothing(3, "frames"), progress=watch)
    frame = read_table(path)
    assert table.complete
    assert frame.frame.tolist() == list(range(table.frames))
    assert frame.timestamp.tolist() == pytest.approx([k * 0.04 for k in range(table.frames)])
    assert frame.success.all()
    assert set(range(table.frames + 1)) == set(lines)  # rows came one by one
    assert frame.attrs["affectkit"]["source"] == "camera-0"
    assert frame.attrs["affectkit"]["source_fingerprint"] is None
