"""Photos, videos and folders of frames among the inputs, and an account of everything else there."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from affectkit.data.video import IMAGE_SUFFIXES, media_kind
from affectkit.data.video.pictures import ImageReader
from affectkit.errors import VideoError
from affectkit.inference.inputs import expand_inputs, unreachable

__all__ = [
    "VIDEO_SUFFIXES",
    "Images",
    "Media",
    "Other",
    "Sources",
    "find_media",
    "fingerprint",
    "inventory",
]

VIDEO_SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("3gp", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg"),
        *("mpg", "mts", "mxf", "ogv", "ts", "vob", "webm", "wmv", "y4m"),
    )
)
"""Suffixes that name a video. Files with unknown suffixes are told by their content."""

_NO_MEDIA: Final = frozenset(
    f".{kind}"
    for kind in (
        *("csv", "tsv", "txt", "log", "md", "json", "jsonl", "parquet", "feather", "xml", "yaml", "yml"),
        *("html", "pdf", "doc", "docx", "ods", "xls", "xlsx", "srt", "vtt", "eaf", "textgrid"),
        *("zip", "tar", "gz", "tgz", "bz2", "xz", "7z", "rar", "aac", "flac", "m4a", "mp3", "wav"),
        *("py", "ipynb", "sh", "m", "r", "mat", "npy", "npz", "pt", "pth", "pkl", "safetensors", "onnx"),
    )
)  # texts, tables, archives, sound and code: never opened
_OWN: Final = frozenset(
    {".csv", ".json", ".jsonl", ".parquet", ".partial", ".unfinished"}
)  # in the output folder
_SYSTEM: Final = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
_ENDS: Final = 2**20  # bytes at both ends of a file that tell it from another one

Images = Literal["frames", "photos"]
Kind = Literal["image", "video"]


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


@dataclass(frozen=True, slots=True)
class Other:
    """A file or folder among the inputs that gets no table.

    Args:
        path: Where it is.
        status: "failed" (it cannot be read), "not media", "not a frame" (a picture of another kind in a folder of
            frames) or "again" (another path leads to the same file or folder).
        reason: One sentence.
    """

    path: Path
    status: Literal["failed", "not media", "not a frame", "again"]
    reason: str


class Sources(NamedTuple):
    """Everything among the inputs.

    Args:
        media: Photos, videos and folders of frames, each once.
        others: All else, except for hidden and system files and the tables of the output.
    """

    media: list[Media]
    others: list[Other]


def find_media(
    inputs: Sequence[str | Path], images: Images = "frames", *, output: str | Path | None = None
) -> Sources:
    """Find the media among files and folders, in the order of the inputs, each once.

    A folder is searched with all folders below it:

    * a video in it is one of the media;
    * images in a folder without videos are the **frames of one clip**, in the order of the numbers in their names,
      and the folder is one of the media; with `images="photos"` each is a photo by itself;
    * images in a folder with videos are photos.

    Suffixes tell what a file is; files with an unknown suffix, or none, are told by their content. Linked folders are
    followed, after all others, and no folder is searched twice.

    Hidden files and folders (their names begin with a dot), `Thumbs.db`, `desktop.ini`, and tables and metadata in the
    output are left out. Everything else is accounted for in `others`.

    Args:
        inputs: Files, folders and patterns, as `expand_inputs` takes them. A file that is named itself may be of any
            kind: what it is shows when it is opened.
        images: What images in a folder without videos are.
        output: Table or folder of tables, which may lie in one of the inputs.

    Raises:
        VideoError: A file or folder does not exist, or a folder holds no media; see `expand_inputs`.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> for name in ("talk.mp4", "walk/1.png", "walk/2.png", "notes.txt"):
        ...     (folder / name).parent.mkdir(exist_ok=True)
        ...     (folder / name).touch()
        >>> [media.name.as_posix() for media in find_media([folder]).media]
        ['talk.mp4', 'walk']
        >>> [media.name.as_posix() for media in find_media([folder], images="photos").media]
        ['talk.mp4', 'walk/1.png', 'walk/2.png']
        >>> [(other.path.name, other.status) for other in find_media([folder]).others]
        [('notes.txt', 'not media')]
    """
    found: dict[Path, Media] = {}
    others: dict[Path, Other] = {}
    for given in expand_inputs(inputs):
        if not given.is_dir():
            found.setdefault(given.resolve(), Media(given, Path(given.name)))
            continue
        search = _Search(given, images, None if output is None else Path(output).resolve())
        if not search.media:
            raise VideoError(_without_media(search), path=given, remedy="Check the path.")
        for real, media in search.media:
            first = found.setdefault(real, media)
            if first.path.absolute() != media.path.absolute():
                search.others.append(Other(media.path, "again", f"The same as {first.path}."))
        others.update({other.path.absolute(): other for other in search.others})
    return Sources(list(found.values()), list(others.values()))


def inventory(others: Sequence[Other]) -> str:
    """Count files and folders by suffix, for messages.

    Args:
        others: From `find_media`.

    Example:
        >>> inventory([Other(Path(name), "not media", "") for name in ("a.txt", "b.TXT", "c")])
        '2 × .txt, 1 × without a suffix'
    """
    counts = Counter(other.path.suffix.lower() or "without a suffix" for other in others)
    return ", ".join(f"{count} × {kind}" for kind, count in counts.most_common(8)) + (
        ", …" if len(counts) > 8 else ""
    )


def _without_media(search: _Search) -> str:
    """What is in a folder that holds no media."""
    failed = [other for other in search.others if other.status == "failed"]
    listed = [inventory(search.others)] if search.others else []
    listed += [f"{search.hidden} × hidden or of the system"] if search.hidden else []
    if not listed:
        return "There are only empty folders here." if search.folders > 1 else "The folder is empty."
    first = f" First of what cannot be read: {failed[0].path}: {failed[0].reason}" if failed else ""
    return f"There is no photo or video here, only {', '.join(listed)}.{first}"


class _Search:
    """The media in a folder and below it.

    Attributes:
        media: Each with its real path.
        others: What gets no table.
        hidden: How many files and folders were left out.
        folders: How many were searched.
    """

    def __init__(self, top: Path, images: Images, output: Path | None) -> None:
        self.media: list[tuple[Path, Media]] = []
        self.others: list[Other] = []
        self.hidden = 0
        self._top, self._images, self._output = top, images, output
        self._linked_media: list[tuple[Path, Media]] = []
        searched: dict[tuple[int, int], Path] = {}
        below: list[Path] = [top]
        links: deque[Path] = deque()  # last, so that media are found by their own paths first
        while below or links:
            folder = below.pop() if below else links.popleft()
            try:
                status = folder.stat()
                if (first := searched.setdefault((status.st_dev, status.st_ino), folder)) is not folder:
                    self.others.append(Other(folder, "again", f"The same folder as {first}."))
                    continue
                folders, linked = self._list(folder)
            except OSError as fault:
                reason = f"The folder cannot be listed: {fault.strerror or fault}."
                self.others.append(Other(folder, "failed", reason))
                continue
            below += reversed(folders)
            links += linked
        self.media += self._linked_media
        self.folders = len(searched)

    def _list(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Take the files of a folder; its folders, and those that links in it lead to."""
        real = folder.resolve()
        folders, linked = [], []
        files: dict[str, Kind] = {}
        links: set[str] = set()
        failed: dict[str, Other] = {}
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            name, path = entry.name, folder / entry.name
            if name.startswith(".") or name.lower() in _SYSTEM:
                self.hidden += 1
                continue
            suffix = path.suffix.lower()
            try:
                is_link, mode = entry.is_symlink(), 0
                if is_link or not (entry.is_file() or entry.is_dir()):
                    mode = entry.stat().st_mode
                if is_link and stat.S_ISDIR(mode):
                    linked.append(path)
                elif not is_link and entry.is_dir():
                    folders.append(path)
                elif mode and not stat.S_ISREG(mode):
                    self.others.append(Other(path, "not media", "A pipe, socket or device, not a file."))
                elif suffix in _OWN and self._is_ours(real / name):
                    continue
                else:
                    kind, reason = _kind(path, suffix)
                    if kind is None:
                        self.others.append(Other(path, "not media", reason))
                        continue
                    files[name] = kind
                    links |= {name} if is_link else set()
            except OSError as fault:
                failed[name] = Other(path, "failed", unreachable(path, fault))
        self._take(folder, real, files, links, failed, alone=folder == self._top and not folders + linked)
        return folders, linked

    def _is_ours(self, file: Path) -> bool:
        """Whether a table or its metadata lie in the output."""
        output = self._output
        if output is None:
            return False
        return file.is_relative_to(output) or file in (output, output.with_suffix(".json"))

    def _take(
        self,
        folder: Path,
        real: Path,
        files: dict[str, Kind],
        links: set[str],
        failed: dict[str, Other],
        *,
        alone: bool,
    ) -> None:
        """Take images as frames or photos, and videos."""
        frames = {name for name in files if _is_frame(name)}
        # A moving GIF beside frames is a preview of them.
        videos = any(kind == "video" and not name.lower().endswith(".gif") for name, kind in files.items())
        if frames and not videos and self._images == "frames":
            clip = Path(real.name or "root") if folder == self._top else folder.relative_to(self._top)
            self.media.append((real, Media(folder, clip, single=alone)))
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
            reason = f"Frames of a clip end in {suffixes}; with --images photos, all pictures count."
            left = [name for name in files if name not in frames]
            self.others += [Other(folder / name, "not a frame", reason) for name in left]
            # A frame that cannot be read is a row of the clip's table.
            self.others += [other for name, other in failed.items() if not _is_frame(name)]
            return
        for name in files:
            path = folder / name
            media = Media(path, path.relative_to(self._top), single=False)
            if name in links:
                self._linked_media.append((path.resolve(), media))
            else:
                self.media.append((real / name, media))
        self.others += failed.values()


def _is_frame(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _kind(path: Path, suffix: str) -> tuple[Kind | None, str]:
    """Tell what a file is, or why it is no media.

    Raises:
        OSError: The file cannot be read.
    """
    if suffix in VIDEO_SUFFIXES:
        return "video", ""
    if suffix in IMAGE_SUFFIXES:
        return media_kind(path) or "image", ""
    if suffix in _NO_MEDIA:
        return None, f"Files that end in {suffix} are not opened."
    with path.open("rb") as file:
        if not file.read(1):
            return None, "The file is empty."
    return media_kind(path), "Its content is neither a photo nor a video."


def fingerprint(path: Path) -> str | None:
    """Tell media from others of the same name.

    Args:
        path: Media.

    Returns:
        Hash of a file's length and the bytes at both ends; of a folder, of the names and lengths of its images; None
        for a camera.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for entry in ImageReader(path).files:  # a table may be written beside them
            size = entry.stat().st_size if entry.exists() else -1  # a link may lead nowhere
            digest.update(f"{entry.name}\0{size}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()
    if not path.is_file():
        return None
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        digest.update(f"{length}\0".encode())
        for start in (0, max(0, length - _ENDS)):
            file.seek(start)
            digest.update(file.read(_ENDS))
    return digest.hexdigest()
