"""Photos, videos and folders of frames among the inputs, and everything else there."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import stat
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from affectkit.data.video import IMAGE_SUFFIXES, media_kind
from affectkit.data.video.pictures import ImageReader
from affectkit.errors import VideoError

__all__ = [
    "VIDEO_SUFFIXES",
    "Images",
    "Media",
    "Other",
    "Sources",
    "expand_inputs",
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
"""Suffixes of videos. Files with unknown suffixes are identified by their content."""

_NO_MEDIA: Final = frozenset(
    f".{kind}"
    for kind in (
        *("csv", "tsv", "txt", "log", "md", "json", "jsonl", "parquet", "feather", "xml", "yaml", "yml"),
        *("html", "pdf", "doc", "docx", "ods", "xls", "xlsx", "srt", "vtt", "eaf", "textgrid"),
        *("zip", "tar", "gz", "tgz", "bz2", "xz", "7z", "rar", "aac", "flac", "m4a", "mp3", "wav"),
        *("py", "ipynb", "sh", "m", "r", "mat", "npy", "npz", "pt", "pth", "pkl", "safetensors", "onnx"),
    )
)  # texts, tables, archives, sound, code: never opened
_OWN: Final = frozenset({".csv", ".json", ".jsonl", ".parquet", ".partial", ".unfinished"})  # of tables
_SYSTEM: Final = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # drive names of Windows have one letter
_ENDS: Final = 2**20  # bytes hashed at both ends of a file

Images = Literal["frames", "photos"]
Kind = Literal["image", "video"]


@dataclass(frozen=True, slots=True)
class Media:
    """A photo, a video, or a folder whose images are the frames of one clip.

    Args:
        path: Path of the media.
        name: Path within the folder that was searched, or the file name.
        single: Whether the media was given itself, not found in a folder.
    """

    path: Path
    name: Path
    single: bool = True


@dataclass(frozen=True, slots=True)
class Other:
    """A file or folder among the inputs without a table.

    Args:
        path: Path of the file or folder.
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
        others: Everything else, except hidden and system files and the tables of the output.
    """

    media: list[Media]
    others: list[Other]


def expand_inputs(inputs: Sequence[str | Path]) -> list[Path]:
    """Resolve inputs to existing paths and expand patterns such as `*.mp4`; an existing path is never a pattern.

    Raises:
        VideoError: A file or folder does not exist, a link is broken, no file matches a pattern, or the input is a
            URL, standard input, a pipe or a device.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> for name in ("b.mp4", "a.mp4"):
        ...     (folder / name).touch()
        >>> [path.name for path in expand_inputs([folder / "*.mp4"])]
        ['a.mp4', 'b.mp4']
    """
    paths = []
    for given in map(str, inputs):
        paths += [Path(given)] if os.path.lexists(given) else _matches(given)
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError as fault:
            raise VideoError(unreachable(path, fault), path=path, remedy="Check the path.") from fault
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe would block
            raise VideoError(
                "This is a pipe, socket or device; only files are supported.",
                path=path,
                remedy="Save its content to a file; for a camera, use --webcam.",
            )
    return paths


def _matches(given: str) -> list[Path]:
    """Files that a pattern matches; raises VideoError if there are none."""
    fault, remedy = "There is no such file or folder.", "Check the path."
    if not given:
        fault, remedy = "The input is empty.", "Give a file or folder; a shell variable may be unset."
    elif given == "-":
        fault, remedy = "Standard input is not supported.", "Save it to a file, and give the file."
    elif _URL.match(given):
        fault, remedy = "URLs are not supported.", "Download the file first, and give its path."
        if given.lower().startswith("file:"):
            remedy = "Give the path without 'file://'."
    elif any(character in given for character in "*?["):
        if found := sorted(glob.glob(given, recursive=True)):  # noqa: PTH207 - absolute ones as well
            return [Path(one) for one in found]
        fault, remedy = "No file matches this pattern.", "Check the folder, the pattern and the suffix."
    else:
        try:
            Path(given).lstat()
        except PermissionError as error:  # of a folder above it
            fault, remedy = unreachable(Path(given), error), "Check the permissions."
        except (OSError, ValueError):
            pass
    raise VideoError(fault, path=given or None, remedy=remedy)


def unreachable(path: Path, fault: OSError) -> str:
    """Description of a system error for a path."""
    if isinstance(fault, FileNotFoundError) and path.is_symlink():
        return f"The link leads to {str(path.readlink())!r}, which does not exist."
    return f"It cannot be read: {fault.strerror or fault}."


def find_media(
    inputs: Sequence[str | Path], images: Images = "frames", *, output: str | Path | None = None
) -> Sources:
    """Find the media among files and folders, in the order of the inputs, each once.

    Folders are searched with all folders below:

    * a video is one of the media;
    * images in a folder without videos are the **frames of one clip**, in the order of the numbers in their names, and
      the folder is one of the media; with `images="photos"` each is a photo;
    * images in a folder with videos are photos.

    Suffixes tell what a file is; files with an unknown suffix, or none, are identified by their content. Linked folders
    are searched last, and no folder twice. Hidden files and folders, `Thumbs.db`, `desktop.ini`, and tables and
    metadata in the output are ignored. Everything else is listed in `others`.

    Args:
        inputs: Files, folders and patterns; see `expand_inputs`. A file given itself may be of any kind; opening it
            shows what it is.
        images: What images in a folder without videos are.
        output: Table or folder of tables, which may lie in one of the inputs.

    Raises:
        VideoError: A file or folder does not exist, or a folder has no media; see `expand_inputs`.

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
        media = search.run()
        if not media:
            raise VideoError(search.describe_missing(), path=given, remedy="Check the path.")
        for real, one in media:
            first = found.setdefault(real, one)
            if first.path.absolute() != one.path.absolute():
                search.others.append(Other(one.path, "again", f"The same as {first.path}."))
        others.update({other.path.absolute(): other for other in search.others})
    return Sources(list(found.values()), list(others.values()))


def inventory(others: Sequence[Other]) -> str:
    """Count files and folders by suffix, for messages.

    Example:
        >>> inventory([Other(Path(name), "not media", "") for name in ("a.txt", "b.TXT", "c")])
        '2 × .txt, 1 × without a suffix'
    """
    counts = Counter(other.path.suffix.lower() or "without a suffix" for other in others)
    listed = [f"{count} × {kind}" for kind, count in counts.most_common(8)]
    return ", ".join(listed + ["…"] * (len(counts) > 8))


class _Search:
    """Search of a folder and all below it."""

    def __init__(self, top: Path, images: Images, output: Path | None) -> None:
        self.top, self.images, self.output = top, images, output
        self.media: list[tuple[Path, Media]] = []  # with real paths
        self.linked: list[tuple[Path, Media]] = []
        self.others: list[Other] = []
        self.hidden = self.searched = 0

    def run(self) -> list[tuple[Path, Media]]:
        """All media with their real paths."""
        searched: dict[tuple[int, int], Path] = {}
        below: list[Path] = [self.top]
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
        self.searched = len(searched)
        return self.media + self.linked

    def describe_missing(self) -> str:
        """Description of a folder without media."""
        failed = [other for other in self.others if other.status == "failed"]
        listed = [inventory(self.others)] if self.others else []
        listed += [f"{self.hidden} × hidden or of the system"] if self.hidden else []
        if not listed:
            return "There are only empty folders here." if self.searched > 1 else "The folder is empty."
        first = f" First of what cannot be read: {failed[0].path}: {failed[0].reason}" if failed else ""
        return f"There is no photo or video here, only {', '.join(listed)}.{first}"

    def _list(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Collect the files of a folder; returns its folders and linked folders."""
        real = folder.resolve()
        folders: list[Path] = []
        linked: list[Path] = []
        files: dict[str, Kind] = {}
        links: set[str] = set()
        failed: list[Other] = []
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            name, path = entry.name, folder / entry.name
            if name.startswith(".") or name.lower() in _SYSTEM:
                self.hidden += 1
                continue
            try:
                if entry.is_dir():
                    (linked if entry.is_symlink() else folders).append(path)
                    continue
                if path.suffix.lower() in _OWN and self._is_ours(real / name):
                    continue
                kind, reason = None, "A pipe, socket or device, not a file."
                if entry.is_file():
                    kind, reason = _kind(path)
                else:
                    entry.stat()  # fails for broken links
                if kind is None:
                    self.others.append(Other(path, "not media", reason))
                    continue
                files[name] = kind
                links |= {name} if entry.is_symlink() else set()
            except OSError as fault:
                failed.append(Other(path, "failed", unreachable(path, fault)))
        frames = {name for name in files if _is_frame(name)}
        # A moving GIF beside frames is a preview of them.
        videos = any(kind == "video" and not name.lower().endswith(".gif") for name, kind in files.items())
        if frames and not videos and self.images == "frames":
            is_top = folder == self.top
            clip = Path(real.name or "root") if is_top else folder.relative_to(self.top)
            self.media.append((real, Media(folder, clip, single=is_top and not folders + linked)))
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
            reason = f"Frames of a clip end in {suffixes}; with --images photos, all pictures count."
            self.others += [
                Other(folder / name, "not a frame", reason) for name in files if name not in frames
            ]
            # A frame that cannot be read is a row of the clip's table.
            self.others += [other for other in failed if not _is_frame(other.path.name)]
            return folders, linked
        for name in files:
            path = folder / name
            media = Media(path, path.relative_to(self.top), single=False)
            if name in links:
                self.linked.append((path.resolve(), media))
            else:
                self.media.append((real / name, media))
        self.others += failed
        return folders, linked

    def _is_ours(self, file: Path) -> bool:
        """Whether a table or its metadata lie in the output."""
        out = self.output
        return out is not None and (file.is_relative_to(out) or file in (out, out.with_suffix(".json")))


def _is_frame(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _kind(path: Path) -> tuple[Kind | None, str]:
    """Kind of a file, or why it is not media."""
    suffix = path.suffix.lower()
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
    """Identify media by content.

    Returns:
        Hash of a file's length and the bytes at both ends; for a folder, of the names and lengths of its images; None
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
