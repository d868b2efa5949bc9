"""Written videos keep times and sound, and never half a file."""

from fractions import Fraction

import av
import numpy as np
import pytest

from affectkit.data.video import open_video
from affectkit.errors import ConfigError
from affectkit.inference.pictures import encode
from affectkit.inference.pictures.encode import VideoWriter


def write(path, times, **kwargs):
    with VideoWriter(path, 64, 48, **kwargs) as video:
        for k, time in enumerate(times):
            video.write(np.full((48, 64, 3), 20 * k, np.uint8), time)
    return video


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_uneven_times_stay(tmp_path, suffix):
    times = [0.0, 0.01, 0.05, 0.5, 0.504]
    video = write(tmp_path / f"v{suffix}", times)
    assert video.codec == "libx264"
    with open_video(tmp_path / f"v{suffix}") as reader:
        assert reader.timestamps.tolist() == pytest.approx(times, abs=1e-3 if suffix == ".mkv" else 2e-5)
        assert reader.read([4]).float().mean().item() == pytest.approx(80, abs=3)
    assert [file.name for file in tmp_path.iterdir()] == [f"v{suffix}"]


def test_files_begin_to_play_while_they_load_and_are_as_good_as_asked(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    sizes = []
    for quality in (10, 40):
        with VideoWriter(tmp_path / "v.mp4", 64, 48, quality=quality) as video:
            for k, image in enumerate(noise):
                video.write(image, k / 25)
        content = (tmp_path / "v.mp4").read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")
        sizes.append(len(content))
    assert sizes[0] > 2 * sizes[1]


def test_times_that_are_unknown_or_stand_still_go_on_evenly(tmp_path):
    write(tmp_path / "v.mp4", [np.nan, 0.0, 0.1, 0.1], fps=10)
    assert open_video(tmp_path / "v.mp4").timestamps.tolist() == pytest.approx([0, 0.1, 0.2, 0.3])


def test_an_interruption_keeps_what_was_there(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"before")

    def stopped():
        with VideoWriter(path, 64, 48) as video:
            for k in range(60):  # more than the encoder keeps to itself
                video.write(np.zeros((48, 64, 3), np.uint8), k / 25)
            assert len(list(tmp_path.iterdir())) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_are_no_videos(tmp_path):
    with pytest.raises(ConfigError, match=r"'v\.avi' is not the name of a video"):
        VideoWriter(tmp_path / "v.avi", 64, 48)


def test_other_encoders(tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "_CODECS", ("no such encoder", "mpeg4"))
    video = write(tmp_path / "v.mp4", [0.0, 0.04])
    assert video.codec == "mpeg4"
    assert open_video(tmp_path / "v.mp4").timestamps.tolist() == pytest.approx([0, 0.04])


def beep(path, codec, *, pictures=True):
    """One second of sound with 25 pictures; the first picture is shown 0.2 s after the sound begins."""
    with av.open(str(path), "w") as file:
        if pictures:
            video = file.add_stream("libx264", rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = file.add_stream(codec, rate=16000, layout="mono")
        for k in range(25 if pictures else 0):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8)).reformat(format="yuv420p")
            frame.pts, frame.time_base = k + 5, Fraction(1, 25)
            file.mux(video.encode(frame))
        wave = (8000 * np.sin(np.arange(16000) / 6)).astype(np.int16)
        form = sound.codec_context.format.name
        for k in range(0, 16000, 1000):
            part = av.AudioFrame.from_ndarray(wave[None, k : k + 1000], format="s16", layout="mono")
            part.sample_rate, part.pts, part.time_base = 16000, k, Fraction(1, 16000)
            for ready in av.AudioResampler(form, "mono", 16000).resample(part):
                ready.pts = k
                file.mux(sound.encode(ready))
        for stream in file.streams:
            file.mux(stream.encode())
    return path


def test_sound_is_copied_on_the_clock_of_the_pictures(tmp_path):
    source = beep(tmp_path / "beep.mp4", "aac")
    video = write(tmp_path / "v.mp4", [k / 25 for k in range(10)], sound=source)
    assert video.has_sound
    with av.open(str(tmp_path / "v.mp4")) as file:
        sound = file.streams.audio[0]
        packets = [p for p in file.demux(sound) if p.size]
        times = [float(p.pts * p.time_base) for p in packets]
    assert times[0] == pytest.approx(0, abs=0.07)  # what sounded before the first picture is left out
    assert times[-1] == pytest.approx(0.4, abs=0.07)
    with av.open(str(source)) as file:
        original = [
            (float(p.pts * p.time_base), bytes(p)) for p in file.demux(file.streams.audio[0]) if p.size
        ]
    assert [bytes(p) for p in packets] == [content for time, content in original if 0.2 <= time < 0.6]


def test_sound_that_cannot_be_copied_is_left_out(tmp_path):
    times = [0.0, 0.04]
    assert not write(tmp_path / "a.mp4", times, sound=beep(tmp_path / "pcm.mkv", "pcm_s16le")).has_sound
    assert not write(tmp_path / "b.mp4", times, sound=tmp_path / "a.mp4").has_sound
    assert not write(tmp_path / "c.mp4", times, sound=tmp_path / "absent.mp4").has_sound
    assert not write(
        tmp_path / "d.mp4", times, sound=beep(tmp_path / "only.mp4", "aac", pictures=False)
    ).has_sound
