"""Which stream of a file is its video, how fast it is, and streams without times."""

from __future__ import annotations

import io
import math
import wave

import av
import numpy as np
import pytest
from PIL import Image

from affectkit.data import open_video
from affectkit.data.video.index import index_video
from affectkit.errors import VideoError

BOTH = pytest.mark.parametrize("backend", ["pyav", "decord"])
H264 = {"x264-params": "keyint=10:scenecut=0"}


def jittered(step, frames):
    """Times in milliseconds, uneven as those of cameras."""
    jitter = np.random.default_rng(0).uniform(-6, 6, frames)
    return [0, *(round(step * k + jitter[k]) for k in range(1, frames))]


def recorded(write, path, times):
    """A recording as browsers make it: times in milliseconds, and no frame rate in the header."""
    write(path, codec="libvpx", fps=1000, frames=len(times), pts=times)
    content = path.read_bytes()
    at = content.index(b"\x23\xe3\x83")  # DefaultDuration
    size = content[at + 3] & 0x7F
    path.write_bytes(
        content[:at] + bytes([0xEC, 0x80 | 2 + size]) + bytes(2 + size) + content[at + 4 + size :]
    )
    return path


@pytest.mark.parametrize("step", [33.67, 41.7])
def test_a_rate_that_the_container_does_not_state(write_video, tmp_path, step):
    times = jittered(step, 40)
    with open_video(recorded(write_video, tmp_path / "browser.webm", times)) as reader:
        assert reader.fps == pytest.approx(39_000 / times[-1])
        np.testing.assert_allclose(reader.timestamps, np.array(times) / 1000)


def test_a_truncated_recording_announces_what_it_lacks(write_video, tmp_path):
    path = recorded(write_video, tmp_path / "browser.webm", jittered(33.67, 60))
    content = path.read_bytes()
    path.write_bytes(content[: int(0.7 * len(content))])
    with open_video(path) as reader:
        assert abs(reader.num_frames - 60) <= 1
        assert reader.timestamps[-1] == pytest.approx(59 * 0.03367, abs=0.05)


def test_the_stated_rate_stands_where_the_times_agree(write_video, tmp_path):
    """Matroska rounds times to milliseconds, so they alone would give 29.97 for 30000/1001."""
    from fractions import Fraction

    path = write_video(tmp_path / "ntsc.mkv", fps=Fraction(30000, 1001), frames=12)
    with open_video(path) as reader:
        assert reader.fps == pytest.approx(30000 / 1001, rel=1e-6)


def test_a_rate_of_two_frames(write_video, tmp_path):
    with open_video(recorded(write_video, tmp_path / "two.webm", [0, 50])) as reader:
        assert reader.fps == pytest.approx(20)


def covered(videos, path, *, first):
    """A video with a cover picture, which may be the first of its streams."""
    with av.open(str(videos["closed"])) as source, av.open(str(path), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        add_cover(target)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
    if first:
        content = path.read_bytes()
        moov = content.index(b"moov") - 4
        size = int.from_bytes(content[moov : moov + 4])
        boxes, at = [], moov + 8
        while at < moov + size:
            length = int.from_bytes(content[at : at + 4])
            boxes.append(content[at : at + length])
            at += length
        boxes.sort(key=lambda box: (b"mvhd", b"udta").index(box[4:8]) if box[4:8] != b"trak" else 2)
        path.write_bytes(content[: moov + 8] + b"".join(boxes) + content[moov + size :])
    return path


def add_cover(target):
    cover = target.add_stream("mjpeg")
    cover.width, cover.height, cover.pix_fmt = 100, 100, "yuvj420p"
    cover.disposition = av.stream.Disposition.attached_pic
    picture = av.VideoFrame.from_image(Image.new("RGB", (100, 100), "red")).reformat(format="yuvj420p")
    for packet in cover.encode(picture) + cover.encode(None):
        target.mux(packet)


@BOTH
@pytest.mark.parametrize("first", [False, True])
def test_a_cover_picture_is_not_the_video(videos, tmp_path, number, backend, first):
    path = covered(videos, tmp_path / "covered.mp4", first=first)
    with av.open(str(path)) as container:
        pictures = [bool(s.disposition & av.stream.Disposition.attached_pic) for s in container.streams.video]
    assert pictures == ([True, False] if first else [False, True])
    with open_video(path, backend) as reader:
        assert [number(frame) for _, _, frame in reader.frames()] == list(range(30))


def test_the_default_stream_is_the_video(videos, tmp_path, number):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as target, av.open(str(videos["closed"])) as source:
        other = target.add_stream("libx264", rate=25)
        other.width, other.height, other.pix_fmt = 16, 16, "yuv420p"
        video = target.add_stream_from_template(source.streams.video[0])
        video.disposition = av.stream.Disposition.default
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        for _ in range(5):
            target.mux(other.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        target.mux(other.encode())
    with open_video(path) as reader:
        assert [number(frame) for frame in reader.read([29, 3])] == [29, 3]
    with pytest.raises(VideoError, match="cannot choose") as caught:
        open_video(path, "decord")
    assert (caught.value.path, caught.value.frame) == (path, 0)


@BOTH
def test_sound_with_a_cover_is_not_a_video(tmp_path, backend):
    path = tmp_path / "song.m4a"
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    file.seek(0)
    with av.open(file) as source, av.open(str(path), "w", format="mp4") as target:
        audio = target.add_stream("aac", rate=8000)
        add_cover(target)
        for frame in source.decode(audio=0):
            target.mux(audio.encode(frame))
        target.mux(audio.encode())
    with pytest.raises(VideoError, match="no video stream but a cover picture"):
        open_video(path, backend)


RAW = {
    "stream.h264": ({"options": H264}, 30, 30),
    "stream.hevc": ({"codec": "libx265", "options": {"x265-params": "keyint=10:log-level=none"}}, 30, 30),
    "untold.hevc": (
        {"codec": "libx265", "options": {"x265-params": "log-level=none:vui-timing-info=0"}},
        30,
        math.nan,
    ),
    "stream.m2v": ({"codec": "mpeg2video"}, 30, 30),
    "stream.mjpeg": ({"codec": "mjpeg", "pixels": "yuvj420p"}, 30, math.nan),
    "reordered.avi": ({"options": H264}, 30, 30),  # AVI stores no times of frames that are shown out of order
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("raw")
    return {name: write_video(folder / name, fps=30, **options) for name, (options, _, _) in RAW.items()}


@pytest.mark.parametrize("name", RAW)
def test_streams_without_times(raw, number, name):
    _, frames, rate = RAW[name]
    with open_video(raw[name]) as reader:
        assert reader.num_frames == frames
        assert reader.fps == pytest.approx(rate, nan_ok=True)
        np.testing.assert_allclose(reader.timestamps, np.arange(frames) / rate)
        assert [number(frame) for frame in reader.read([29, 0, 7, 7, 12])] == [29, 0, 7, 7, 12]
        assert [number(frame) for _, _, frame in reader.frames(10)] == list(range(10, 30))
        assert [number(frame) for frame in reader.read([3])] == [3]


def test_a_raw_stream_that_breaks_off(raw, tmp_path, number):
    """Frames behind the damage count, and fail."""
    content = bytearray(raw["stream.mjpeg"].read_bytes())
    starts = [at for at in range(len(content)) if content[at : at + 3] == b"\xff\xd8\xff"]
    content[starts[20] + 3 : starts[21] - 2] = b"\xff" * (starts[21] - starts[20] - 5)
    path = tmp_path / "broken.mjpeg"
    path.write_bytes(content)
    with open_video(path) as reader:
        assert reader.num_frames == 30
        assert [number(frame) for frame in reader.read([19, 0])] == [19, 0]
        for index in (20, 25):
            with pytest.raises(VideoError, match="damaged") as caught:
                reader.read([index])
            assert (caught.value.path, caught.value.frame) == (path, index)


@pytest.mark.parametrize("packets", [0, 20])
def test_a_raw_stream_that_cannot_be_read_on(raw, tmp_path, monkeypatch, packets):
    from affectkit.data.video import index as video_index

    def opened(path):
        container, stream = real(path)

        class Breaking:
            format = container.format

            def demux(self, stream):
                yield from list(container.demux(stream))[:packets]
                raise av.error.InvalidDataError(1, "read")

            def __enter__(self):
                return self

            def __exit__(self, *exc):
                container.close()

        return Breaking(), stream

    real = video_index.open_container
    path = tmp_path / "breaking.mjpeg"
    path.write_bytes(raw["stream.mjpeg"].read_bytes())
    monkeypatch.setattr(video_index, "open_container", opened)
    if packets:
        assert index_video(path).num_frames == packets
    else:
        with pytest.raises(VideoError, match="no whole picture") as caught:
            index_video(path)
        assert (caught.value.path, caught.value.frame) == (path, 0)


def test_decord_names_the_backend_that_reads_raw_streams(raw):
    with pytest.raises(VideoError, match="decord cannot open") as caught:
        open_video(raw["stream.h264"], "decord")
    assert "pyav" in caught.value.remedy
