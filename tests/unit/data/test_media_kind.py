"""What a file is, by its first bytes."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import numpy as np
import pytest
from helpers.heif import write_heif
from PIL import Image

from affectkit.data.video import media_kind, open_video

STILLS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP", "AVIF", "GIF", "JPEG2000", "MPO")
VIDEOS = {
    **{f"a.{kind}": {} for kind in ("mp4", "mov", "mkv", "flv", "ts", "m2ts", "h264")},
    **{f"b.{kind}": {"codec": "mpeg4"} for kind in ("avi", "3gp", "m4v")},
    **{f"c.{kind}": {"codec": "mpeg2video"} for kind in ("mpg", "m2v", "mxf")},
    "d.webm": {"codec": "libvpx"},
    "d.ivf": {"codec": "libvpx"},
    "e.wmv": {"codec": "wmv2"},
    "f.y4m": {"codec": "rawvideo"},
    "g.mjpeg": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "h.hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
}


@pytest.mark.parametrize("kind", STILLS)
def test_pictures(tmp_path, kind):
    Image.new("RGB", (8, 6)).save(tmp_path / "file.mp4", kind)
    assert media_kind(str(tmp_path / "file.mp4")) == "image"


@pytest.mark.parametrize(
    ("brand", "kind"), [(b"heic", "image"), (b"mif1", "image"), (b"hevc", "video"), (b"crx ", None)]
)
def test_brands(tmp_path, brand, kind):
    path = tmp_path / "photo"
    write_heif(path, np.zeros((64, 64, 3), np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[:8] + brand + content[12:])
    assert media_kind(path) == kind


def test_an_avif_photo_of_the_general_brand(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "photo.avif")
    content = (tmp_path / "photo.avif").read_bytes()
    (tmp_path / "photo.avif").write_bytes(content[:8] + b"mif1" + content[12:])
    assert media_kind(tmp_path / "photo.avif") == "image"
    with open_video(tmp_path / "photo.avif") as reader:
        assert list(reader.read([0]).shape) == [1, 3, 6, 8]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_pictures_of_several_frames_are_videos(tmp_path, kind):
    first, *others = [Image.new("RGB", (16, 16), (90 * k, 0, 0)) for k in range(3)]
    first.save(tmp_path / "file.jpg", kind, save_all=True, append_images=others)
    assert media_kind(tmp_path / "file.jpg") == "video"


def test_a_damaged_picture_is_still_one(tmp_path):
    (tmp_path / "a").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert media_kind(tmp_path / "a") == "image"


@pytest.mark.parametrize("name", VIDEOS)
def test_videos(tmp_path, write_video, name):
    path = write_video(tmp_path / name, frames=8, **VIDEOS[name])
    if name != "g.mjpeg":  # which looks like a JPEG
        path = path.rename(tmp_path / "file.jpg")
    assert media_kind(path) == "video"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"Fat-free milk\n" * 9,
        b"P5 was the last of the participants\n" * 9,
        b"BMI,age\n22,31\n" * 9,
        b"ID3\4" + bytes(99),
        b"OggS" + bytes(24) + b"\1vorbis" + bytes(400),
        b"\x1a\x45\xdf\xa3" + bytes(40) + b"\x86\x85A_AAC" + bytes(99),
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(400),
        bytes(range(256)) * 9,
        bytes(2000),
    ],
)
def test_neither(tmp_path, content):
    (tmp_path / "file.mp4").write_bytes(content)
    assert media_kind(tmp_path / "file.mp4") is None


def test_an_ogg_video(tmp_path):
    (tmp_path / "a").write_bytes(b"OggS" + bytes(24) + b"\x80theora" + bytes(400))
    assert media_kind(tmp_path / "a") == "video"


def test_sound(tmp_path):
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    assert media_kind(tmp_path / "sound.wav") is None


def test_what_is_no_file(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("pipe.mp4", ".", "none.mp4"):
        assert media_kind(tmp_path / name) is None

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "secret.mp4").touch()
    monkeypatch.setattr(Path, "open", refuse)
    assert media_kind(tmp_path / "secret.mp4") is None
