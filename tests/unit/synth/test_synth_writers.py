import av
import numpy as np
import pytest
from PIL import Image

from affectkit.synth import write_frames, write_video


def gradient(frames=5, size=32):
    y, x = np.mgrid[:size, :size]
    return np.stack([np.stack([x * 4, y * 4, np.full_like(x, 20 * t)], -1) for t in range(frames)]).astype(
        np.uint8
    )


def test_video_holds_the_frames_at_their_rate(tmp_path):
    images = gradient()
    write_video(tmp_path / "a.mp4", images, fps=29.97, quality=5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert abs(float(container.streams.video[0].average_rate) - 29.97) < 1e-3
        read = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert read.shape == images.shape
    assert np.abs(read.astype(int) - images.astype(int)).mean() < 6


def test_mpeg4_holds_every_frame(tmp_path):
    images = [np.full((12, 16, 3), 40 * k, dtype=np.uint8) for k in range(6)]
    write_video(tmp_path / "folder" / "a.avi", iter(images), fps=20, codec="mpeg4")
    with av.open(str(tmp_path / "folder" / "a.avi")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(12, 16, 3)] * 6
    assert [round(frame.mean() / 40) for frame in frames] == list(range(6))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_video_bytes_repeat(tmp_path, codec):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, gradient(), fps=25.0, codec=codec)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_compression_is_lossier_at_higher_quality_factors(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    for quality in (10, 40):
        write_video(tmp_path / f"{quality}.mp4", images, fps=25.0, quality=quality)
    assert (tmp_path / "10.mp4").stat().st_size > 2 * (tmp_path / "40.mp4").stat().st_size


def test_frames_are_numbered_lossless_pictures(tmp_path):
    images = gradient(3)
    write_frames(tmp_path / "clip", images)
    names = sorted(p.name for p in (tmp_path / "clip").iterdir())
    assert names == ["000001.png", "000002.png", "000003.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "clip" / names[1])), images[1])
