"""Which media there are, and where their tables go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from affectkit.errors import ConfigError, VideoError
from affectkit.inference.sources import Media, find_media, plan_tables

CSV = (".csv", [".csv", ".jsonl", ".parquet"])


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(media) -> list[str]:
    return [one.name.as_posix() for one in media]


def test_a_folder_of_frames_is_one_clip_unless_they_are_photos(tmp_path):
    folder = tree(tmp_path / "walk.v2", "1.png", "2.png", "10.JPG", "notes.txt", ".hidden.png")
    (clip,) = find_media([folder])
    assert (clip.path, clip.name, clip.single) == (folder, Path("walk.v2"), True)
    photos = find_media([folder], images="photos")
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
    assert names(find_media([folder])) == ["face.jpg", "talk.mp4", "clips/a", "clips/b/x.MOV"]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    folder = tree(tmp_path, "talk.mp4", "a/b/talk.mp4", "c/talk.mp4")
    scan = os.scandir

    def refused(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    media = find_media([folder])
    assert names(media) == ["talk.mp4", "c/talk.mp4", "a/b"]
    assert plan(media, "x") == ["x/talk.csv", "x/c/talk.csv", "x/a/b.csv"]
    (alone,) = find_media([folder / "a" / "b"])
    assert (alone.name, alone.single) == (Path("b"), True)


def test_what_is_named_itself_may_be_of_any_kind_and_counts_once(tmp_path):
    tree(tmp_path, "recording.dat", "talk.mp4")
    media = find_media([tmp_path / "recording.dat", tmp_path, tmp_path / "talk.mp4"])
    assert names(media) == ["recording.dat", "talk.mp4"]
    assert [one.single for one in media] == [True, False]


def test_what_is_not_there_is_said_at_once(tmp_path):
    with pytest.raises(VideoError, match="no such file"):
        find_media([tmp_path / "missing.mp4"])
    tree(tmp_path, "notes.txt")
    with pytest.raises(VideoError, match="no photo, video or image"):
        find_media([tmp_path])


def plan(media, output):
    return [path.as_posix() for path in plan_tables(media, output, *CSV)]


def test_one_goes_to_a_table_and_many_to_a_folder():
    talk = Media(Path("in/talk.mp4"), Path("talk.mp4"))
    walk = Media(Path("in/walk"), Path("walk"))
    assert plan([talk], "x/face.PARQUET") == ["x/face.PARQUET"]
    assert plan([talk], "x") == ["x/talk.csv"]
    assert plan([talk, walk], "x") == ["x/talk.csv", "x/walk.csv"]
    with pytest.raises(ConfigError, match="2 media cannot go to the one table"):
        plan([talk, walk], "x.csv")
    found = Media(Path("in/talk.mp4"), Path("talk.mp4"), single=False)
    with pytest.raises(ConfigError, match="found in a folder"):
        plan([found], "x.csv")


def test_other_files_are_no_folders(tmp_path):
    talk = Media(Path("in/talk.mp4"), Path("talk.mp4"))
    with pytest.raises(ConfigError, match=r"'face\.xlsx' cannot name a table. Use a name that ends in \.csv"):
        plan([talk], tmp_path / "face.xlsx")
    tree(tmp_path, "notes")
    with pytest.raises(ConfigError, match=r"notes: This is a file"):
        plan([talk], tmp_path / "notes")
    (tmp_path / "may.txt").mkdir()
    assert plan([talk], tmp_path / "may.txt") == [f"{tmp_path.as_posix()}/may.txt/talk.csv"]


def test_a_folder_may_look_like_a_table(tmp_path):
    (tmp_path / "odd.csv").mkdir()
    talk = Media(Path("in/talk.mp4"), Path("talk.mp4"))
    assert plan_tables([talk], tmp_path / "odd.csv", *CSV) == [tmp_path / "odd.csv" / "talk.csv"]


def test_folders_of_frames_keep_their_dots(tmp_path):
    tree(tmp_path, "walk.v2/1.png", "walk.v3/1.png")
    assert plan(find_media([tmp_path]), "x") == ["x/walk.v2.csv", "x/walk.v3.csv"]


def test_names_that_fall_together_keep_their_suffixes_or_are_refused():
    media = [Media(Path(f"in/{name}"), Path(name)) for name in ("a/t.mp4", "a/t.avi", "b/t.mp4", "c/T.mp4")]
    assert plan(media, "x") == ["x/a/t.mp4.csv", "x/a/t.avi.csv", "x/b/t.csv", "x/c/T.csv"]
    with pytest.raises(ConfigError, match="would both go to"):
        plan([Media(Path("a/t.mp4"), Path("t.mp4")), Media(Path("b/t.mp4"), Path("t.mp4"))], "x")


def test_media_are_not_replaced_by_their_tables(tmp_path):
    tree(tmp_path, "t.csv")
    with pytest.raises(ConfigError, match="replace one of the media"):
        plan(find_media([tmp_path / "t.csv"]), tmp_path)
