"""Which media there are among files and folders, and which table each gets."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from affectkit.data.video import IMAGE_SUFFIXES
from affectkit.errors import ConfigError, VideoError

__all__ = ["VIDEO_SUFFIXES", "Images", "Media", "find_media", "plan_tables"]

VIDEO_SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("3gp", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg"),
        *("mpg", "mts", "mxf", "ogv", "ts", "vob", "webm", "wmv", "y4m"),
    )
)
"""What counts as a video in a folder. A file that is named itself may have any suffix."""

_OTHER_TABLES = frozenset(
    {".feather", ".json", ".ods", ".tsv", ".txt", ".xls", ".xlsx"}
)  # never meant as folders

Images = Literal["frames", "photos"]


@dataclass(frozen=True, slots=True)
class Media:
    """A photo, a video, or a folder whose images are the frames of one clip.

    Args:
        path: Where it is.
        name: Its path within the folder that was searched, or its own name.
        single: Whether it was named itself, not found in a folder.
    """

    path: Path
    name: Path
    single: bool = True


def find_media(inputs: Sequence[str | Path], images: Images = "frames") -> list[Media]:
    """The media among files and folders, in the order of the inputs, each once.

    A folder is searched with all folders below it:

    * a video in it is one of the media;
    * images in a folder without videos are the **frames of one clip**, in the order of the numbers in their names,
      and the folder is one of the media; with `images="photos"` each is a photo by itself;
    * images in a folder with videos are photos.

    Hidden files and folders, and files of other kinds, are passed over. A folder that cannot be read is one of the
    media, whose error is found when it is opened.

    Args:
        inputs: Files and folders. A file may be of any kind: what it is shows when it is opened.
        images: What images in a folder without videos are.

    Raises:
        VideoError: A file or folder does not exist, or a folder holds no media.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> for name in ("talk.mp4", "walk/1.png", "walk/2.png"):
        ...     (folder / name).parent.mkdir(exist_ok=True)
        ...     (folder / name).touch()
        >>> [media.name.as_posix() for media in find_media([folder])]
        ['talk.mp4', 'walk']
        >>> [media.name.as_posix() for media in find_media([folder], images="photos")]
        ['talk.mp4', 'walk/1.png', 'walk/2.png']
    """
    found: dict[Path, Media] = {}
    for given in map(Path, inputs):
        if given.is_dir():
            media = list(_search(given, images))
            if not media:
                raise VideoError(
                    "There is no photo, video or image here.",
                    path=given,
                    remedy="Check the path and the suffixes.",
                )
        elif given.exists():
            media = [Media(given, Path(given.name))]
        else:
            raise VideoError("There is no such file or folder.", path=given, remedy="Check the path.")
        for one in media:
            found.setdefault(one.path.resolve(), one)
    return list(found.values())


def _search(top: Path, images: Images) -> Iterator[Media]:
    unread: list[OSError] = []
    for at, folders, files in os.walk(top, onerror=unread.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        folder = Path(at)
        names = sorted(name for name in files if not name.startswith("."))
        videos = [name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES]
        pictures = [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]
        if pictures and not videos and images == "frames":
            own = folder == top
            clip = Path(top.resolve().name) if own else folder.relative_to(top)
            yield Media(folder, clip, single=own and not folders)
            continue
        for name in sorted(videos + pictures):
            yield Media(folder / name, (folder / name).relative_to(top), single=False)
    for folder in sorted(Path(error.filename) for error in unread):
        own = folder == top
        yield Media(folder, Path(top.resolve().name) if own else folder.relative_to(top), single=own)


def plan_tables(
    media: Sequence[Media], output: str | Path, suffix: str, suffixes: Sequence[str]
) -> list[Path]:
    """The table of each of the media.

    One file, or one folder of frames, goes to `output` itself where that ends like a table; all else goes to the folder
    `output`, under the names of the media, in folders like theirs: `a/talk.mp4` becomes `a/talk.csv`. Where two would
    have one name, both keep their own suffixes as well: `talk.mp4.csv` and `talk.avi.csv`.

    Args:
        media: From `find_media`.
        output: Table or folder.
        suffix: Of the tables in a folder, such as ".csv".
        suffixes: What a table's name may end with.

    Raises:
        ConfigError: Several media would go to one table, a table would replace one of the media, or `output` is a
            file of another kind.

    Example:
        >>> media = [Media(Path("in/talk.mp4"), Path("talk.mp4"))]
        >>> [path.as_posix() for path in plan_tables(media, "out", ".csv", [".csv"])]
        ['out/talk.csv']
        >>> [path.as_posix() for path in plan_tables(media, "face.csv", ".csv", [".csv"])]
        ['face.csv']
    """
    output = Path(output)
    if output.suffix.lower() in suffixes and not output.is_dir():
        if len(media) > 1 or not media[0].single:
            raise ConfigError(
                f"{len(media)} media cannot go to the one table {str(output)!r}."
                if len(media) > 1
                else f"What is found in a folder cannot go to the one table {str(output)!r}.",
                remedy="Give a folder as output: every video, photo and folder of frames gets a table there.",
            )
        tables = [output]
    elif output.suffix.lower() in _OTHER_TABLES and not output.is_dir():
        raise ConfigError(
            f"{output.name!r} cannot name a table.",
            remedy=f"Use a name that ends in {', '.join(suffixes)}, or the name of a folder.",
        )
    elif output.exists() and not output.is_dir():
        raise ConfigError(
            "This is a file, and the tables need a folder.", path=output, remedy="Give another output."
        )
    else:
        short = [one.name.with_name(_stem(one) + suffix) for one in media]
        long = [one.name.with_name(one.name.name + suffix) for one in media]
        doubled = Counter(str(name).lower() for name in short)  # some file systems do not tell case
        names = [b if doubled[str(a).lower()] > 1 else a for a, b in zip(short, long, strict=True)]
        tables = [output / name for name in names]
    by_table: dict[str, Path] = {}
    originals = {one.path.resolve() for one in media}
    for one, table in zip(media, tables, strict=True):
        other = by_table.setdefault(str(table).lower(), one.path)
        if other != one.path:
            raise ConfigError(
                f"{other} and {one.path} would both go to {table}.",
                remedy="Give the folder that holds both as input, or predict them into different folders.",
            )
        if table.resolve() in originals:
            raise ConfigError(
                f"The table {table} would replace one of the media.", remedy="Give another output."
            )
    return tables


def _stem(one: Media) -> str:
    """A folder of frames may have a dot in its name."""
    return one.name.name if one.path.is_dir() else one.name.stem
