"""Which media there are among inputs, and the account of all else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from helpers.damaged import video
from PIL import Image

from affectkit.data import open_video
from affectkit.errors import VideoError
from affectkit.inference import sources
from affectkit.inference.sources import expand_inputs, find_media, fingerprint, inventory


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(media) -> list[str]:
    return [one.name.as_posix() for one in media]


def others(found, root: Path) -> dict[str, str]:
    return {one.path.relative_to(root).as_posix(): one.status for one in found.others}


def test_a_folder_of_frames_is_one_clip_unless_they_are_photos(tmp_path):
    folder = tree(tmp_path / "walk.v2", "1.png", "2.png", "10.JPG", "notes.txt", ".hidden.png")
    (clip,) = find_media([folder]).media
    assert (clip.path, clip.name, clip.single) == (folder, Path("walk.v2"), True)
    photos = find_media([folder], images="photos").media
    assert names(photos) == ["1.png", "10.JPG", "2.png"]
    assert not photos[0].single


def test_a_folder_of_all_kinds(tmp_path):
    folder = tree(
        tmp_path,
        "talk.mp4",
        "face.jpg",  # beside a video: a photo
        "clips/a/1.png",
        "clips/a/2.png",
        "clips/b/x.MOV",
        ".git/y.mp4",
        "readme.md",
    )
    found = find_media([folder])
    assert names(found.media) == ["face.jpg", "talk.mp4", "clips/a", "clips/b/x.MOV"]
    assert others(found, folder) == {"readme.md": "not media"}


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    folder = tree(tmp_path, "talk.mp4", "a/b/talk.mp4", "c/talk.mp4")
    scan = os.scandir

    def refused(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    found = find_media([folder])
    assert names(found.media) == ["talk.mp4", "c/talk.mp4"]
    assert others(found, folder) == {"a/b": "failed"}
    assert "Permission denied" in found.others[0].reason
    with pytest.raises(VideoError, match="cannot be listed: Permission denied"):
        find_media([folder / "a"])


def test_what_is_named_itself_may_be_of_any_kind_and_counts_once(tmp_path):
    tree(tmp_path, "recording.dat", "talk.mp4")
    media = find_media([tmp_path / "recording.dat", tmp_path, tmp_path / "talk.mp4"]).media
    assert names(media) == ["recording.dat", "talk.mp4"]
    assert [one.single for one in media] == [True, False]


def test_what_is_not_there_is_said_at_once(tmp_path):
    with pytest.raises(VideoError, match="no such file") as caught:
        find_media([tmp_path / "missing.mp4"])
    assert caught.value.path == str(tmp_path / "missing.mp4")


def test_a_folder_without_media_says_what_is_there(tmp_path):
    with pytest.raises(VideoError, match="The folder is empty"):
        find_media([tmp_path])
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(VideoError, match="only empty folders"):
        find_media([tmp_path])
    tree(tmp_path, "notes.txt", "a/more.TXT", "data.zip", ".DS_Store", "Thumbs.db", "plain")
    fault = "only 2 × .txt, 1 × .zip, 1 × without a suffix, 2 × hidden or of the system"
    with pytest.raises(VideoError) as caught:
        find_media([tmp_path])
    assert fault in caught.value.fault
    tree(tmp_path, "talk.mp4")
    assert inventory(find_media([tmp_path]).others) == "2 × .txt, 1 × .zip, 1 × without a suffix"


def test_media_are_told_by_content_where_the_suffix_says_nothing(tmp_path):
    photo = Image.new("RGB", (9, 9))
    for name, kind in {
        "a.jfif": "JPEG",
        "b.jpe": "JPEG",
        "c.jp2": "JPEG2000",
        "d.gif": "GIF",
        "e": "PNG",
    }.items():
        photo.save(tmp_path / name, kind)
    (tmp_path / "f.dat").write_bytes(video("mp4", frames=4))
    (tmp_path / "g.dat").write_bytes(b"no media at all")
    tree(tmp_path, "h.dat", "i.txt")
    found = find_media([tmp_path], images="photos")
    assert names(found.media) == ["a.jfif", "b.jpe", "c.jp2", "d.gif", "e", "f.dat"]
    assert {one.path.name: (one.status, one.reason) for one in found.others} == {
        "g.dat": ("not media", "Its content is neither a photo nor a video."),
        "h.dat": ("not media", "The file is empty."),
        "i.txt": ("not media", "Files that end in .txt are not opened."),
    }


def test_pictures_among_frames_that_are_no_frames_are_accounted_for(tmp_path):
    tree(tmp_path, "1.png", "2.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "preview.gif")
    found = find_media([tmp_path])
    assert [(one.name, one.single) for one in found.media] == [(Path(tmp_path.name), True)]
    assert others(found, tmp_path) == {"preview.gif": "not a frame"}
    assert names(find_media([tmp_path], "photos").media) == ["1.png", "2.png", "preview.gif"]


def test_linked_folders_are_followed_once(tmp_path):
    tree(tmp_path, "in/real/talk.mp4", "outside/deep/walk.mp4")
    folder = tmp_path / "in"
    (folder / "a_link").symlink_to("real")  # the folder itself is found first
    (folder / "b_link").symlink_to(tmp_path / "outside")
    (folder / "real" / "cycle").symlink_to(folder)
    (tmp_path / "outside" / "deep" / "cycle").symlink_to(tmp_path / "outside")
    found = find_media([folder])
    assert names(found.media) == ["real/talk.mp4", "b_link/deep/walk.mp4"]
    assert others(found, folder) == {
        "a_link": "again",
        "real/cycle": "again",
        "b_link/deep/cycle": "again",
    }
    assert found.others[0].reason == f"The same folder as {folder / 'real'}."


def test_linked_files_count_once_and_broken_links_have_failed(tmp_path):
    tree(tmp_path, "z.mp4", "other/x.mp4")
    folder = tree(tmp_path / "in", "z.mp4")
    (folder / "a.mp4").symlink_to("z.mp4")
    (folder / "b.mp4").symlink_to(tmp_path / "other" / "x.mp4")
    (folder / "c.mp4").symlink_to("nowhere.mp4")
    (folder / "d.mp4").symlink_to("d.mp4")
    found = find_media([folder])
    assert names(found.media) == ["z.mp4", "b.mp4"]
    assert others(found, folder) == {"a.mp4": "again", "c.mp4": "failed", "d.mp4": "failed"}
    reasons = {one.path.name: one.reason for one in found.others}
    assert reasons["c.mp4"] == "The link leads to 'nowhere.mp4', which does not exist."
    assert "symbolic links" in reasons["d.mp4"]
    for name, fault in (("c.mp4", "'nowhere.mp4', which does not exist"), ("d.mp4", "symbolic links")):
        with pytest.raises(VideoError, match=fault):
            find_media([folder / name])


def test_frames_may_be_links(tmp_path):
    tree(tmp_path, "store/1.png", "store/2.png", "in/walk/3.png")
    for name in ("1.png", "2.png"):
        (tmp_path / "in" / "walk" / name).symlink_to(tmp_path / "store" / name)
    (tmp_path / "in" / "walk" / "4.png").symlink_to("nowhere")
    found = find_media([tmp_path / "in"])
    assert (names(found.media), found.others) == (["walk"], [])
    before = fingerprint(tmp_path / "in" / "walk")
    (tmp_path / "in" / "walk" / "4.png").unlink()
    assert fingerprint(tmp_path / "in" / "walk") != before


def test_pipes_and_folders_are_no_frames(tmp_path):
    for k in (1, 3):
        Image.new("RGB", (8, 6), (k, 0, 0)).save(tmp_path / f"{k}.png")
    os.mkfifo(tmp_path / "2.png")  # opening it would wait for ever
    (tmp_path / "4.png").mkdir()
    found = find_media([tmp_path])
    assert (names(found.media), others(found, tmp_path)) == ([tmp_path.name], {"2.png": "not media"})
    with open_video(tmp_path) as reader:
        assert reader.read(range(reader.num_frames))[:, 0, 0, 0].tolist() == [1, 3]


def test_pipes_sockets_and_devices_are_no_media(tmp_path, monkeypatch):
    tree(tmp_path, "talk.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
    (tmp_path / "null.mp4").symlink_to("/dev/null")
    found = find_media([tmp_path])
    assert names(found.media) == ["talk.mp4"]
    assert others(found, tmp_path) == dict.fromkeys(["null.mp4", "pipe.mp4", "socket"], "not media")
    for name in ("pipe.mp4", "socket", "null.mp4"):
        with pytest.raises(VideoError, match="a pipe, socket or device"):
            find_media([tmp_path / name])


def test_files_that_may_not_be_read_have_failed(tmp_path, monkeypatch):
    tree(tmp_path, "talk.mp4", "secret")
    plain = Path.open

    def refused(path, *args, **options):
        if path.name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        found = find_media([tmp_path])
    assert others(found, tmp_path) == {"secret": "failed"}
    assert found.others[0].reason == "It cannot be read: Permission denied."

    def closed(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "lstat", closed)
    with pytest.raises(VideoError, match="cannot be read: Permission denied"):
        find_media([tmp_path / "closed" / "talk.mp4"])


def test_tables_in_the_output_folder_are_left_out(tmp_path):
    tree(tmp_path, "talk.mp4", "out/talk.csv", "out/talk.json", "out/a/b.parquet", "mine.csv", "out/notes.md")
    found = find_media([tmp_path], output=tmp_path / "out")
    assert others(found, tmp_path) == {"mine.csv": "not media", "out/notes.md": "not media"}
    tree(tmp_path, "walk/1.png", "walk/walk.csv", "walk/walk.json", "walk/other.csv")
    found = find_media([tmp_path / "walk"], output=tmp_path / "walk" / "walk.csv")
    assert others(found, tmp_path) == {"walk/other.csv": "not media"}


@pytest.mark.parametrize(
    ("given", "fault", "remedy"),
    [
        ("https://example.com/a.mp4", "URLs are not supported", "Download"),
        ("file:///a.mp4", "URLs are not supported", "without 'file://'"),
        ("-", "Standard input is not supported", "Save it to a file"),
        ("*.mp4", "No file matches this pattern", "Check the folder"),
        ("", "The input is empty", "variable"),
        ("C:/a.mp4", "no such file", "Check the path"),
    ],
)
def test_inputs_that_are_no_files_have_their_own_remedies(tmp_path, monkeypatch, given, fault, remedy):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VideoError, match=fault) as caught:
        find_media([given])
    assert remedy in caught.value.remedy


def test_patterns_are_expanded_unless_a_file_has_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "b.mp4", "a.mp4", "x/c.mp4", "x/y/d.mp4", "[a].mp4", "-", "notes.txt")
    assert expand_inputs(["?.mp4"]) == [Path("a.mp4"), Path("b.mp4")]
    assert expand_inputs(["x/**/*.mp4"]) == [Path("x/c.mp4"), Path("x/y/d.mp4")]
    assert expand_inputs(["[a].mp4", "-"]) == [Path("[a].mp4"), Path("-")]
    assert [one.single for one in find_media(["?.mp4"]).media] == [True, True]


def test_videos_are_told_by_their_suffix_without_opening_them(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(sources, "media_kind", lambda path: opened.append(path.name))
    tree(tmp_path, "a.mp4", "b.PNG", "c.txt", "d.csv")
    for name in ("e", "f.dat"):
        (tmp_path / name).write_bytes(b"?")
    assert names(find_media([tmp_path]).media) == ["a.mp4", "b.PNG"]
    assert opened == ["b.PNG", "e", "f.dat"]


def test_what_tells_media_from_others_of_their_name(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_ENDS", 4)
    content = b"begin middle end"
    found = set()
    for k, other in enumerate((content, b"Begin middle end", b"begin middle enD", b"begin  middle end")):
        (tmp_path / "a.mp4").write_bytes(other)
        found.add(fingerprint(tmp_path / "a.mp4"))
        assert len(found) == k + 1
    for listed in (("0.png",), ("0.png", "1.png"), ("0.png", "2.png")):
        folder = tmp_path / "".join(listed)
        folder.mkdir()
        for name in listed:
            (folder / name).write_bytes(content)
        found.add(fingerprint(folder))
    (folder / "2.png").write_bytes(content[1:])
    found.add(fingerprint(folder))
    assert len(found) == 8
    assert fingerprint(tmp_path / "camera-0") is None


def test_an_animated_picture_in_a_folder_is_a_video(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (8, 6), (shade, 0, 0)) for shade in (10, 200)]
    pages[0].save(tmp_path / "moving.webp", save_all=True, append_images=pages[1:], duration=40)
    pages[0].save(tmp_path / "still.webp")
    assert {one.name.name: one.path.name for one in find_media([tmp_path]).media} == {
        "moving.webp": "moving.webp",
        "still.webp": "still.webp",
    }
