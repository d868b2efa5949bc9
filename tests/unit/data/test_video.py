"""Video readers: one contract for all of them, and what each of them cannot do."""

from __future__ import annotations

import os
import random
import sys
import wave

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectkit.data import open_video
from affectkit.data.video.index import index_video
from affectkit.errors import ConfigError, MissingDependencyError, VideoError

EVERYWHERE = ("closed", "faststart", "matroska", "variable", "intra", "gaps", "one")
GAPS = {"variable": lambda i: i + i * i // 20, "gaps": lambda i: i + i // 5}
PYAV_ONLY = ("open", "hevc", "mpeg4", "transport")
CASES = [(kind, backend) for kind in EVERYWHERE for backend in ("pyav", "decord")]
CASES += [(kind, "pyav") for kind in PYAV_ONLY]


@pytest.mark.parametrize(("kind", "backend"), CASES)
class TestContract:
    def test_every_frame_alone(self, videos, number, kind, backend):
        for index in range(1 if kind == "one" else 30):
            with open_video(videos[kind], backend) as reader:
                assert number(reader.read([index])[0]) == index

    def test_any_order_with_repeats(self, videos, number, kind, backend):
        with open_video(videos[kind], backend) as reader:
            order = [i % reader.num_frames for i in (7, 7, 29, 0, 12, 11, 21, 0)]
            frames = reader.read(order)
            assert frames.dtype == torch.uint8
            assert list(frames.shape) == [8, 3, 32, 64]
            assert [number(frame) for frame in frames] == order
            assert frames.is_contiguous()

    def test_random_access_many_times_in_one_reader(self, videos, number, kind, backend):
        with open_video(videos[kind], backend) as reader:
            order = random.Random(0).choices(range(reader.num_frames), k=30)
            assert [number(reader.read([index])[0]) for index in order] == order

    def test_colours_are_rgb(self, videos, draw_picture, kind, backend):
        with open_video(videos[kind], backend) as reader:
            frame = reader.read([0])[0].permute(1, 2, 0).numpy().astype(int)
        inner = (slice(20, 30), slice(4, 60))
        assert np.abs(frame[inner] - draw_picture(0)[inner].astype(int)).mean() < 6

    def test_stream(self, videos, number, kind, backend):
        with open_video(videos[kind], backend) as reader:
            seen = [(index, time, number(frame)) for index, time, frame in reader.frames()]
            assert (
                [index for index, _, _ in seen]
                == [code for _, _, code in seen]
                == list(range(reader.num_frames))
            )
            assert [time for _, time, _ in seen] == reader.timestamps.tolist()
            start = reader.num_frames // 2
            assert [number(frame) for _, _, frame in reader.frames(start)] == list(
                range(start, reader.num_frames)
            )

    def test_numbers(self, videos, kind, backend):
        with open_video(videos[kind], backend) as reader:
            assert reader.num_frames == (1 if kind == "one" else 30)
            assert len(reader.timestamps) == reader.num_frames
            positions = map(GAPS.get(kind, int), range(reader.num_frames))
            np.testing.assert_allclose(reader.timestamps, np.array(list(positions)) / 25, atol=1e-3)
            intervals = reader.num_frames - 1
            rate = 25 * intervals / GAPS.get(kind, int)(intervals) if intervals else 25
            assert reader.fps == pytest.approx(rate, rel=1e-3)

    def test_frames_that_do_not_exist(self, videos, kind, backend):
        with open_video(videos[kind], backend) as reader:
            for index in (-1, reader.num_frames):
                with pytest.raises(VideoError, match="frame") as caught:
                    reader.read([0, index])
                assert (caught.value.path, caught.value.frame) == (videos[kind], index)
            with pytest.raises(VideoError, match="No frames are requested"):
                reader.read([])


def test_decord_misses_frames_where_pyav_does_not(videos, number):
    """Pins why PyAV is the default: in open groups of pictures decord returns a neighbour of the frame."""

    def missed(backend, kind):
        wrong = []
        for index in range(30):
            with open_video(videos[kind], backend) as reader:
                reader.read([29])  # somewhere else before, as random access is
                wrong += [index] * (number(reader.read([index])[0]) != index)
        return wrong

    for kind in ("open", "hevc", "mpeg4"):
        assert missed("pyav", kind) == []
        assert missed("decord", kind) != []
    assert missed("decord", "closed") == []


@pytest.mark.parametrize("backend", ["pyav", "decord"])
class TestDamage:
    def readable(self, path, backend, number):
        """Frame -> number seen, going on behind every error as a predictor does; and the errors."""
        seen, errors = {}, []
        with open_video(path, backend) as reader:
            while len(seen) + len(errors) < reader.num_frames:
                error = collect(reader.frames(len(seen) + len(errors)), seen, number)
                if error is not None:
                    assert error.path == path
                    errors.append(error.frame)
            assert sorted([*seen, *errors]) == list(range(reader.num_frames))
            assert np.isfinite(reader.timestamps).all()
            assert len(reader.timestamps) == reader.num_frames
            with pytest.raises(VideoError) as caught:
                reader.read(range(reader.num_frames))
            assert (
                caught.value.frame == errors[0] or backend == "decord"
            )  # which reads ahead of what it gives
            # A varying rate leaves only a guess where the header counts moments (AVI) or seconds (Matroska).
            assert reader.num_frames == 30 or any(kind in path.name for kind in GAPS)
        return seen, errors

    @pytest.mark.parametrize("kind", ["matroska", "variable", "intra", "gaps", "open-mkv"])
    def test_truncated(self, damaged, number, kind, backend, videos, tmp_path):
        if kind == "open-mkv":
            videos["open-mkv"] = _remuxed(videos["open"], tmp_path / "open.mkv")
        seen, errors = self.readable(damaged(kind, keep=0.8), backend, number)
        assert errors
        assert backend == "decord" or max(seen) < min(errors)  # decord reads ahead of what it gives
        assert all(index == code for index, code in seen.items())

    def test_truncated_mp4(self, damaged, number, backend):
        path = damaged("faststart", keep=0.9)
        if backend == "decord":
            with pytest.raises(VideoError, match="decord cannot open") as caught:
                open_video(path, backend)
            assert (caught.value.path, caught.value.frame) == (path, 0)
        else:
            seen, errors = self.readable(path, backend, number)
            assert max(seen) + 1 == min(errors)
            assert all(index == code for index, code in seen.items())

    def test_only_the_last_packet_cut(self, damaged, number, backend):
        seen, errors = self.readable(damaged("faststart", keep=0.9995), "pyav", number)
        assert max(errors) == 29
        assert all(index == code for index, code in seen.items())

    @pytest.mark.parametrize(("kind", "lost"), [("closed", range(10, 20)), ("intra", range(13, 14))])
    def test_one_frame_overwritten(self, damaged, number, kind, lost, backend):
        seen, errors = self.readable(damaged(kind, frame=13), backend, number)
        assert all(index == code for index, code in seen.items())
        if backend == "pyav":  # and nothing behind the next key frame
            assert set(lost) >= set(errors) >= {13}

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("empty.mp4", b""),
            ("empty.avi", b""),
            ("text.mp4", b"not a video\n" * 99),
            ("art.txt", b"plain text, which FFmpeg would draw as pictures\n" * 99),
            ("noise.mkv", np.random.default_rng(0).bytes(5000)),
            (
                "playlist.mp4",
                b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://example.com/a.ts\n#EXT-X-ENDLIST\n",
            ),
        ],
    )
    def test_no_video(self, tmp_path, name, content, backend):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(VideoError, match="cannot be read as a video") as caught:
            open_video(path, backend)
        assert (caught.value.path, caught.value.frame) == (path, 0)

    def test_sound_without_picture(self, tmp_path, backend):
        path = tmp_path / "sound.mp4"
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(bytes(16000))
        with pytest.raises(VideoError, match="no video stream"):
            open_video(path, backend)

    def test_missing(self, tmp_path, backend):
        with pytest.raises(VideoError, match="There is no such file"):
            open_video(tmp_path / "none.mp4", backend)
        os.mkfifo(tmp_path / "pipe.mp4")
        with pytest.raises(VideoError, match="There is no such file"):  # opening it would wait for ever
            open_video(tmp_path / "pipe.mp4", backend)


def collect(frames, seen, number):
    """Take frames in until one fails."""
    try:
        for index, _, frame in frames:
            seen[index] = number(frame)
    except VideoError as error:
        return error
    return None


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_of_any_kind_is_a_video_error(videos, tmp_path, data):
    content = bytearray(
        videos[data.draw(st.sampled_from(["closed", "matroska", "open", "mpeg4"]))].read_bytes()
    )
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzz.mp4"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    fault = None
    try:
        with open_video(path) as reader:
            assert reader.read([0]).shape[:2] == (1, 3)
            reader.read([reader.num_frames - 1, reader.num_frames // 2])
    except VideoError as error:
        fault = error
    assert fault is None or (fault.path == path and fault.frame is not None)


@pytest.mark.parametrize("duration", ["", "N/A", "00:00:xx", "1:2", "99:99:99.9x"])
def test_a_header_with_an_unreadable_duration_announces_nothing(videos, monkeypatch, copy_of, duration):
    from affectkit.data.video import index as video_index

    class Stream:
        def __init__(self, stream):
            self.metadata, self.time_base, self.frames = {"DURATION": duration}, stream.time_base, 0
            self.average_rate, self.guessed_rate = None, None
            self.codec_context = stream.codec_context
            self.stream = stream

    class Relabelled(Wrapped):
        def demux(self, stream):
            return self.container.demux(stream.stream)

    def opened(path):
        container, stream = real(path)
        return Relabelled(container), Stream(stream)

    real = video_index.open_container
    monkeypatch.setattr(video_index, "open_container", opened)
    index = index_video(copy_of("matroska", "relabelled.mkv"))
    assert index.num_frames == len(index.pts) == 30
    assert index.fps == pytest.approx(25)


def test_times_without_a_frame(videos):
    index = index_video(videos["closed"])
    assert [index.frame_at(time) for time in (None, -1, 0, 1, 512, 29 * 512, 30 * 512)] == [
        *(None, None, 0, None, 1, 29, None)
    ]


def test_a_changed_file_is_indexed_anew(videos, tmp_path, copy_of):
    path = copy_of("closed", "video.mp4")
    assert index_video(path).num_frames == 30
    path.write_bytes(videos["one"].read_bytes())
    assert index_video(path).num_frames == 1


def _remuxed(source, path, *, skip=0, shift=0, **options):
    """Copy packets into another container, without the first few, earlier by `shift`."""
    with av.open(str(source)) as old, av.open(str(path), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in list(old.demux(old.streams.video[0]))[skip:]:
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                new.mux(packet)
    return path


def test_frames_that_an_edit_list_cuts_off_do_not_exist(videos, tmp_path, number):
    """Phones cut losslessly so: the first group of pictures is stored whole and shown in part."""
    path = _remuxed(videos["closed"], tmp_path / "edited.mp4", shift=5 * 512, avoid_negative_ts="disabled")
    with open_video(path) as reader:
        assert reader.num_frames == 25
        assert reader.timestamps[[0, 24]].tolist() == [0, 24 / 25]
        assert [number(frame) for _, _, frame in reader.frames()] == list(range(5, 30))
        assert [number(frame) for frame in reader.read([3, 0, 20])] == [8, 5, 25]


def test_a_lost_packet_of_a_transport_stream(videos, tmp_path, number):
    content = videos["transport"].read_bytes()
    path = tmp_path / "lossy.ts"
    path.write_bytes(content[: 188 * 38] + content[188 * 39 :])
    seen, errors = {}, []
    with open_video(path) as reader:
        while len(seen) + len(errors) < reader.num_frames:
            error = collect(reader.frames(len(seen) + len(errors)), seen, number)
            errors += [] if error is None else [error.frame]
        positions = np.round(reader.timestamps * 25).astype(int).tolist()
    assert len(positions) == 29  # a whole frame went with it, and only its time is left of it
    assert errors
    assert {10, 11, 12, 13, 14, 15, 16, 17, 18, 19} >= set(errors)
    assert all(positions[index] == code for index, code in seen.items())


def test_a_file_cut_off_in_its_first_frames(videos, tmp_path):
    path = tmp_path / "stump.mp4"
    with av.open(str(videos["faststart"])) as container:
        second = sorted(packet.pos for packet in container.demux(video=0) if packet.size)[1]
    path.write_bytes(videos["faststart"].read_bytes()[: second + 5])
    with pytest.raises(VideoError, match="no whole picture") as caught:
        open_video(path)
    assert (caught.value.path, caught.value.frame) == (path, 0)


def test_a_file_that_breaks_off_while_it_is_indexed(copy_of, monkeypatch, number):
    from affectkit.data.video import index as video_index

    class Breaking(Wrapped):
        def demux(self, stream):
            yield from list(self.container.demux(stream))[:20]
            raise av.error.InvalidDataError(1, "read")

    monkeypatch.setattr(video_index, "open_container", opener(video_index.open_container, Breaking))
    with open_video(copy_of("closed", "breaking.mp4")) as reader:
        assert reader.num_frames == 30
        seen = {}
        error = collect(reader.frames(), seen, number)
        assert 10 < error.frame < 20
        assert list(seen) == list(seen.values()) == list(range(error.frame))


def test_frames_before_the_first_key_frame_do_not_exist(videos, tmp_path, number):
    """A recording cut without care starts in the middle of a group of pictures."""
    path = _remuxed(videos["closed"], tmp_path / "headless.ts", skip=5)
    with open_video(path) as reader:
        assert reader.num_frames == 20
        assert [number(frame) for _, _, frame in reader.frames()] == list(range(10, 30))
        assert [number(frame) for frame in reader.read([15, 3])] == [25, 13]


def test_a_container_that_cannot_seek_is_read_from_its_start(videos, monkeypatch, number):
    from affectkit.data.video import pyav as video_pyav

    class Stubborn(Wrapped):
        def seek(self, *args, **kwargs):
            raise av.error.PermissionError(1, "seek")

    monkeypatch.setattr(video_pyav, "open_container", opener(video_pyav.open_container, Stubborn))
    with open_video(videos["closed"]) as reader:
        assert [number(frame) for frame in reader.read([3, 25])] == [3, 25]


class Wrapped:
    """A container with a method or two of its own."""

    def __init__(self, container):
        self.container = container

    def __getattr__(self, name):
        return getattr(self.container, name)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.container.close()


def opener(real, wrapper):
    def opened(path):
        container, stream = real(path)
        return wrapper(container), stream

    return opened


def test_damage_before_a_key_frame_does_not_reach_behind_it(damaged, number):
    with open_video(damaged("intra", frame=13)) as reader:
        decoding = reader._decode([12, 14])
        assert [index for index, _ in decoding] == [12, 14]
    with open_video(damaged("closed", frame=18)) as reader:  # stored behind frame 19
        assert [number(frame) for frame in reader.read([19, 20])] == [19, 20]


def test_unknown_backend(videos):
    with pytest.raises(ConfigError, match="no video backend 'cv2'"):
        open_video(videos["closed"], "cv2")


def test_decord_is_not_installed(videos, monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(MissingDependencyError, match="pyav"):
        open_video(videos["closed"], "decord")
