"""Picture files and folders of them: their frames, and their pixels as 8-bit RGB."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from affectkit.data import open_video
from affectkit.errors import VideoError


class TestImages:
    def test_numeric_order_gaps_and_other_files(self, tmp_path):
        for index in (1, 10, 2, 100):
            Image.new("RGB", (8, 6), (index, 0, 0)).save(tmp_path / f"reg_img{index}.png")
        (tmp_path / "Thumbs.db").write_bytes(b"x")
        (tmp_path / "._reg_img1.png").write_bytes(b"\0\5\x16\7")  # as macOS packs into archives
        with open_video(tmp_path) as reader:
            assert (reader.num_frames, math.isnan(reader.fps)) == (4, True)
            assert np.isnan(reader.timestamps).all()
            assert reader.read([3, 0, 1, 2, 3])[:, 0, 2, 3].tolist() == [100, 1, 2, 10, 100]
            assert [(i, int(f[0, 0, 0])) for i, _, f in reader.frames(2)] == [(2, 10), (3, 100)]

    def test_a_list_of_files_in_any_order(self, tmp_path):
        files = [tmp_path / name for name in ("b.png", "a.png", "none.png", "clip.gif")]
        for value, file in enumerate(files[:2]):
            Image.new("RGB", (8, 6), (value, 0, 0)).save(file)
        frames = [Image.new("L", (8, 6), value) for value in (0, 99)]
        frames[0].save(files[3], save_all=True, append_images=frames[1:])
        with open_video(files) as reader:
            assert (reader.num_frames, reader.path) == (4, tmp_path)
            assert np.isnan(reader.timestamps).all()
            assert reader.read([1, 0, 1])[:, 0, 0, 0].tolist() == [1, 0, 1]
            for index in (2, 3):
                with pytest.raises(VideoError) as caught:
                    reader.read([0, index])
                assert (caught.value.path, caught.value.frame) == (files[index], index)
        with open_video([]) as reader, pytest.raises(VideoError, match="0 frames"):
            reader.read([0])

    def test_one_image(self, tmp_path):
        Image.new("L", (5, 4), 77).save(tmp_path / "photo.PNG")
        with open_video(tmp_path / "photo.PNG") as reader:
            assert reader.timestamps.tolist() == [0]
            frames = reader.read([0])
        assert list(frames.shape) == [1, 3, 4, 5]
        assert (frames == 77).all()

    def test_camera_orientation_is_honoured(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was held upright
        Image.new("RGB", (8, 4)).save(tmp_path / "photo.jpg", exif=exif)
        with open_video(tmp_path / "photo.jpg") as reader:
            assert list(reader.read([0]).shape) == [1, 3, 8, 4]

    def test_faults_name_file_and_frame(self, tmp_path):
        for index, size in enumerate([(8, 6), (8, 6), (9, 6)]):
            Image.new("RGB", size).save(tmp_path / f"{index}.jpg")
        content = (tmp_path / "1.jpg").read_bytes()
        (tmp_path / "1.jpg").write_bytes(content[: len(content) // 2])
        with open_video(tmp_path) as reader:
            with pytest.raises(VideoError, match="cannot be read") as caught:
                reader.read([0, 1])
            assert (caught.value.path, caught.value.frame) == (tmp_path / "1.jpg", 1)
            with pytest.raises(VideoError, match="differs in size") as caught:
                reader.read([0, 2])
            assert caught.value.frame == 2
            (tmp_path / "0.jpg").write_bytes(b"")
            with pytest.raises(VideoError, match="cannot be read"):
                reader.read([0])
            (tmp_path / "0.jpg").unlink()
            with pytest.raises(VideoError, match="cannot be read"):
                reader.read([0])

    def test_large_photos_are_read_and_huge_ones_named(self, tmp_path, monkeypatch):
        Image.new("RGB", (10, 10)).save(tmp_path / "photo.png")
        with open_video(tmp_path / "photo.png") as reader:
            monkeypatch.setattr(
                Image, "MAX_IMAGE_PIXELS", 99
            )  # Pillow warns from here, and refuses from twice as many
            assert list(reader.read([0]).shape) == [1, 3, 10, 10]
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 49)
            with pytest.raises(VideoError, match=r"more than 0 megapixels.*Make it smaller"):
                reader.read([0])

    def test_a_folder_that_cannot_be_listed(self, tmp_path, monkeypatch):
        def refuse(_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(type(tmp_path), "iterdir", refuse)
        with pytest.raises(VideoError, match="cannot be listed: Permission denied"):
            open_video(tmp_path)

    def test_nothing_there(self, tmp_path):
        with pytest.raises(VideoError, match="no image here"):
            open_video(tmp_path)
        with pytest.raises(VideoError, match="no such file"):
            open_video(tmp_path / "none.png")


def colours(frames):
    """Frames of one colour each."""
    return [Image.new("RGB", (16, 12), colour) for colour in frames]


SHOWN = [(10, 20, 30), (250, 20, 30), (10, 240, 30), (10, 20, 230)]
DURATIONS = [100, 200, 50, 400]
ANIMATED = {
    "gif": {},
    "png": {},
    "webp": {"lossless": True},
    "avif": {"quality": 100, "subsampling": "4:4:4"},
}


def animation(path, kind, **options):
    first, *others = colours(SHOWN)
    first.save(path, kind, save_all=True, append_images=others, **ANIMATED.get(kind, {}), **options)
    return path


def read_colours(reader, order):
    return reader.read(order)[:, :, 6, 8].tolist()


class TestSeveralFrames:
    @pytest.mark.parametrize("name", ["a.gif", "a.png", "a.apng", "a.webp", "a.avif", "unnamed"])
    def test_animations_are_read_whole(self, tmp_path, name):
        kind = {"apng": "png", "unnamed": "webp"}.get(name.rpartition(".")[2], name.rpartition(".")[2])
        with open_video(animation(tmp_path / name, kind, duration=DURATIONS)) as reader:
            assert reader.num_frames == 4
            np.testing.assert_allclose(reader.timestamps, [0, 0.1, 0.3, 0.35])
            assert reader.fps == pytest.approx(3 / 0.35)
            order = [3, 0, 2, 1, 2]
            np.testing.assert_allclose(read_colours(reader, order), [SHOWN[k] for k in order], atol=2)
            seen = [(index, time) for index, time, _ in reader.frames(1)]
            np.testing.assert_allclose(seen, [(1, 0.1), (2, 0.3), (3, 0.35)])

    def test_frames_of_no_duration_last_a_tenth_of_a_second(self, tmp_path):
        with open_video(animation(tmp_path / "a.gif", "gif", duration=[0, 10, 20, 30])) as reader:
            np.testing.assert_allclose(reader.timestamps, [0, 0.1, 0.2, 0.22])

    def test_pages_of_a_tiff_file(self, tmp_path):
        with open_video(animation(tmp_path / "scan.tif", "tiff")) as reader:
            assert (reader.num_frames, math.isnan(reader.fps)) == (4, True)
            assert np.isnan(reader.timestamps).all()
            assert read_colours(reader, [3, 1]) == [list(SHOWN[3]), list(SHOWN[1])]

    def test_smaller_copies_in_a_tiff_file_are_no_frames(self, tmp_path):
        image, preview = colours(SHOWN[:2])
        preview.encoderinfo = {"tiffinfo": {254: 1}}
        image.save(tmp_path / "camera.tif", save_all=True, append_images=[preview])
        with open_video(tmp_path / "camera.tif") as reader:
            assert (reader.num_frames, reader.timestamps.tolist()) == (1, [0])
            assert read_colours(reader, [0]) == [list(SHOWN[0])]
        image.save(tmp_path / "raw.dng", "tiff", tiffinfo={254: 1})
        with open_video(tmp_path / "raw.dng") as reader, pytest.raises(VideoError, match="preview") as caught:
            reader.read([0])
        assert (caught.value.path, caught.value.frame) == (tmp_path / "raw.dng", 0)
        assert "JPEG" in caught.value.remedy

    def test_the_still_that_stands_in_for_an_animation_is_no_frame(self, tmp_path):
        still, *frames = colours(SHOWN)
        still.save(
            tmp_path / "a.png",
            save_all=True,
            append_images=frames,
            default_image=True,
            duration=[40, 80, 120],
        )
        with open_video(tmp_path / "a.png") as reader:
            np.testing.assert_allclose(reader.timestamps, [0, 0.04, 0.12])
            assert read_colours(reader, [0, 1, 2]) == [list(colour) for colour in SHOWN[1:]]

    def test_of_the_pictures_of_a_phone_in_one_file_the_first_is_read(self, tmp_path):
        first, other = colours([SHOWN[0], SHOWN[3]])
        first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[other], quality=100)
        with open_video(tmp_path / "phone.jpg") as reader:
            assert reader.num_frames == 1
            np.testing.assert_allclose(read_colours(reader, [0]), [SHOWN[0]], atol=2)
        with open_video(tmp_path) as reader:
            np.testing.assert_allclose(read_colours(reader, [0]), [SHOWN[0]], atol=2)

    @pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
    def test_a_clip_is_no_frame_of_a_folder(self, tmp_path, kind):
        file = animation(tmp_path / f"1.{kind}", kind)
        if kind == "gif":  # which folders of frames pass over
            file = file.rename(tmp_path / "1.png")
        with open_video(tmp_path) as reader, pytest.raises(VideoError, match="several frames") as caught:
            reader.read([0])
        assert (caught.value.path, caught.value.frame) == (file, 0)

    @pytest.mark.parametrize("kind", ["gif", "png", "webp", "avif"])
    def test_an_animation_that_breaks_off(self, tmp_path, kind):
        rng = np.random.default_rng(0)
        first, *others = [Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)) for _ in range(4)]
        path = tmp_path / f"a.{kind}"
        first.save(path, save_all=True, append_images=others, duration=50)
        content = bytearray(path.read_bytes())
        content[-len(content) // 6 :] = bytes(len(content) // 6 + 1)
        path.write_bytes(content)
        with open_video(path) as reader:
            assert np.isfinite(reader.timestamps).all()
            faults = [fault for index in range(reader.num_frames) if (fault := failure(reader, index))]
        assert all(fault.path == path for fault in faults)
        assert all(fault.frame is not None for fault in faults)


def failure(reader, index):
    try:
        reader.read([index])
    except VideoError as fault:
        return fault
    return None


class TestPixels:
    @pytest.mark.parametrize("name", ["grey.png", "grey.tif", "grey.pgm"])
    def test_16_bits_keep_their_upper_8(self, tmp_path, name):
        values = np.array([[0, 255, 256, 0x7FFF], [0xABCD, 0xFE00, 0xFFFE, 0xFFFF]], np.uint16)
        Image.fromarray(values).save(tmp_path / name)
        with open_video(tmp_path / name) as reader:
            frame = reader.read([0])[0]
        for channel in frame:
            assert channel.tolist() == [[0, 0, 1, 0x7F], [0xAB, 0xFE, 0xFF, 0xFF]]

    def test_16_bits_of_each_colour(self, tmp_path):
        import cv2

        values = np.array([[[0x1234, 0xABCD, 0xFFFF]]], np.uint16)  # blue, green, red
        for name in ("colour.png", "colour.tif"):
            assert cv2.imwrite(str(tmp_path / name), values)
            with open_video(tmp_path / name) as reader:
                assert reader.read([0]).flatten().tolist() == [0xFF, 0xAB, 0x12]

    def test_32_bit_integers_within_16_bits(self, tmp_path):
        Image.fromarray(np.array([[0, 999, 65535]], np.int32)).save(tmp_path / "grey.tif")
        with open_video(tmp_path / "grey.tif") as reader:
            assert reader.read([0])[0, 0].tolist() == [[0, 3, 255]]

    def test_floats_from_black_to_white(self, tmp_path):
        Image.fromarray(np.array([[0, 0.25, 0.5, 1]], np.float32)).save(tmp_path / "grey.tif")
        with open_video(tmp_path / "grey.tif") as reader:
            assert reader.read([0])[0, 1].tolist() == [[0, 64, 128, 255]]

    @pytest.mark.parametrize(
        ("values", "dtype"),
        [
            ([-1, 5], np.int32),
            ([0, 65536], np.int32),
            ([0, 1.01], np.float32),
            ([-0.5, 1], np.float32),
            ([0, np.nan], np.float32),
        ],
    )
    def test_values_without_a_meaning_are_refused(self, tmp_path, values, dtype):
        path = tmp_path / "depth.tif"
        Image.fromarray(np.array([values], dtype)).save(path)
        with open_video(path) as reader, pytest.raises(VideoError, match="range from") as caught:
            reader.read([0])
        assert (caught.value.path, caught.value.frame) == (path, 0)
        assert "16 bits" in caught.value.remedy

    @pytest.mark.parametrize(
        ("mode", "colour", "goal", "kind"),
        [
            ("1", 1, (255, 255, 255), "png"),
            ("LA", (100, 255), (100, 100, 100), "png"),
            ("LA", (100, 0), (255, 255, 255), "png"),
            ("RGBA", (200, 0, 0, 255), (200, 0, 0), "png"),
            ("RGBA", (0, 0, 0, 0), (255, 255, 255), "webp"),
            ("RGBA", (0, 0, 0, 127), (128, 128, 128), "tiff"),
            ("CMYK", (255, 0, 0, 0), (0, 255, 255), "tiff"),
            ("CMYK", (0, 255, 255, 0), (255, 0, 0), "jpeg"),
        ],
    )
    def test_modes(self, tmp_path, mode, colour, goal, kind):
        options = {"lossless": True, "exact": True} if kind == "webp" else {"quality": 100}
        Image.new(mode, (16, 12), colour).save(tmp_path / "picture", kind, **options)
        with open_video(tmp_path / "picture") as reader:
            np.testing.assert_allclose(read_colours(reader, [0]), [goal], atol=2)

    def test_a_transparent_colour_of_a_palette(self, tmp_path):
        image = Image.new("P", (16, 12), 1)
        image.putpalette([0, 0, 0, 9, 99, 199])
        image.paste(0, (0, 0, 8, 12))
        image.save(tmp_path / "a.gif", transparency=0)
        with open_video(tmp_path / "a.gif") as reader:
            frame = reader.read([0])[0]
        assert frame[:, 5, 2].tolist() == [255, 255, 255]
        assert frame[:, 5, 12].tolist() == [9, 99, 199]


class TestContentDecides:
    @pytest.mark.parametrize(
        "name", ["photo.jfif", "photo.jpe", "photo", "photo.mp4", "photo.png", "photo.txt"]
    )
    @pytest.mark.parametrize("backend", ["pyav", "decord"])
    def test_a_photo_of_any_name(self, tmp_path, name, backend):
        Image.new("RGB", (16, 12), SHOWN[2]).save(tmp_path / name, "JPEG", quality=100)
        with open_video(tmp_path / name, backend) as reader:
            assert (reader.num_frames, reader.timestamps.tolist()) == (1, [0])
            np.testing.assert_allclose(read_colours(reader, [0]), [SHOWN[2]], atol=2)

    @pytest.mark.parametrize("name", ["video.jpg", "video.png", "video", "video.heic"])
    @pytest.mark.parametrize("backend", ["pyav", "decord"])
    def test_a_video_of_any_name(self, copy_of, number, name, backend):
        with open_video(copy_of("closed", name), backend) as reader:
            assert [number(frame) for frame in reader.read([29, 4])] == [29, 4]

    @pytest.mark.parametrize("kind", ["png", "tiff", "gif", "jpeg"])
    def test_a_damaged_photo_is_one_frame_that_fails(self, tmp_path, kind):
        path = tmp_path / f"photo.{kind}"
        Image.new("RGB", (16, 12)).save(path, kind)
        path.write_bytes(path.read_bytes()[:12])
        with open_video(path) as reader:
            assert reader.num_frames == 1
            with pytest.raises(VideoError, match="cannot be read") as caught:
                reader.read([0])
        assert (caught.value.path, caught.value.frame) == (path, 0)

    def test_suffixes_of_frames(self, tmp_path):
        for index, suffix in enumerate(("jfif", "jpe", "jpg", "jp2", "avif")):
            kind = {"jp2": "jpeg2000", "avif": "avif"}.get(suffix, "jpeg")
            Image.new("RGB", (16, 12), (50 * index, 0, 0)).save(tmp_path / f"{index}.{suffix}", kind)
        with open_video(tmp_path) as reader:
            np.testing.assert_allclose(reader.read(range(5))[:, 0, 6, 8], [0, 50, 100, 150, 200], atol=3)
