"""Names of tables."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from affectkit.errors import AffectKitError, ConfigError
from affectkit.inference.formats import table_progress
from affectkit.inference.sources import Media, fingerprint

__all__ = ["plan_tables"]

_OTHER_TABLES: Final = frozenset(
    {".feather", ".json", ".ods", ".tsv", ".txt", ".xls", ".xlsx"}
)  # not folders
_SUMMARY: Final = "_summary"  # the stem of the summary in the output folder
_LONGEST: Final = 220  # bytes of a stem: file systems allow 255, and `.parquet.partial` and the like follow
_HASH: Final = 8  # hexadecimal digits
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff<>:"|?*\\]')
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)  # of Windows


def plan_tables(
    media: Sequence[Media], output: str | Path, suffix: str, suffixes: Sequence[str]
) -> list[Path]:
    """Choose the path of each table.

    One file, or one folder of frames, goes to `output` itself if that ends like a table; everything else goes to the
    folder `output`, under the names of the media, in folders like theirs: `a/talk.mp4` becomes `a/talk.csv`. If names
    of tables are equal, or differ only in case,

    * media of the same name from different inputs get the folders above them: `day1/talk.csv` and `day2/talk.csv`;
    * all keep their own suffixes: `talk.mp4.csv` and `talk.avi.csv`;
    * if that is not enough, they get a part of the hash of their names: `x.jpg-1a2b3c4d.csv`.

    Characters that some file systems refuse become `_`; long names are cut and get a hash. An existing table keeps its
    name, so files that are added later rename nothing.

    Args:
        media: From `find_media`.
        output: Table or folder.
        suffix: Suffix of tables in a folder, such as ".csv".
        suffixes: Suffixes of tables.

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
    output, is_folder = Path(output), Path(output).is_dir()
    if output.suffix.lower() in suffixes and not is_folder:
        if len(media) > 1 or not media[0].single:
            count = f"{len(media)} media" if len(media) > 1 else "Media found in a folder"
            raise ConfigError(
                f"{count} cannot go to the one table {str(output)!r}.",
                remedy="Give a folder as output: every video, photo and folder of frames gets a table there.",
            )
        tables = [output]
    elif output.suffix.lower() in _OTHER_TABLES and not is_folder:
        raise ConfigError(
            f"{output.name!r} is not the name of a table.",
            remedy=f"Use a name that ends in {', '.join(suffixes)}, or the name of a folder.",
        )
    elif output.exists() and not is_folder:
        raise ConfigError("The tables need a folder; this is a file.", path=output, remedy="Give a folder.")
    else:
        tables = [output / name for name in _names(media, output, suffix)]
    originals = {one.path.resolve() for one in media}
    real = lru_cache(Path.resolve)
    for table in tables:
        if real(table.parent) / table.name in originals:
            raise ConfigError(f"{table} would replace one of the media.", remedy="Give another output.")
    return tables


def _names(media: Sequence[Media], output: Path, suffix: str) -> list[Path]:
    """Names of tables in a folder, distinct on every file system."""
    full = _with_folders(media)
    levels = [0] * len(media)
    names = [_name(one, name, 0, suffix) for one, name in zip(media, full, strict=True)]
    while doubled := _doubled(names):
        for k in doubled:
            levels[k] += 1
            names[k] = _name(media[k], full[k], levels[k], suffix)
    if output.is_dir():
        _keep_present(names, media, full, output, suffix)
    return names


def _with_folders(media: Sequence[Media]) -> list[Path]:
    """Names of media; those of the same name with as many folders above them as they need to differ."""
    same = defaultdict(list)
    for k, one in enumerate(media):
        same[one.name].append(k)
    names = [one.name for one in media]
    for name, group in same.items():
        parts = [_parts(media[k].path) for k in group]
        deep = len(name.parts)
        while len({above[-deep:] for above in parts}) < len(group):
            deep += 1
        for k, above in zip(group, parts, strict=True):
            names[k] = Path(*above[-deep:]) if len(group) > 1 else name
    return names


def _parts(path: Path) -> tuple[str, ...]:
    """Parts of an absolute path, the root as a folder name."""
    root, *parts = (path.resolve() if path.is_dir() else path.parent.resolve() / path.name).parts
    return re.sub(r"\W", "_", root), *parts


def _name(one: Media, name: Path, level: int, suffix: str) -> Path:
    """Name of a table; level 0: without the suffix of the media, 1: with it, 2 and more: with more of a hash."""
    whole = hashlib.sha256(os.fsencode(name.as_posix())).hexdigest()
    stem = _portable(name.name if level or one.path.is_dir() else name.stem)  # folders have no suffix
    length = max(_HASH * (level - 1), _HASH if len(stem.encode()) > _LONGEST else 0)
    if length:
        stem = stem.encode()[: _LONGEST - 1 - length].decode(errors="ignore") + f"-{whole[:length]}"
    folders = (re.sub(r"[. ]$", "_", _portable(part)) for part in name.parent.parts)
    return Path(*folders, stem + suffix)


def _portable(text: str) -> str:
    """A part of a path that every file system and command accepts."""
    text = _UNSAFE.sub("_", _DEVICE.sub(r"\1_", text, count=1) if _DEVICE.match(text) else text)
    return "_" + text[1:] if text.startswith("-") else text


def _key(path: Path) -> str:
    """Key that is equal for names that are equal on some file system."""
    return unicodedata.normalize("NFC", path.as_posix().casefold())


def _doubled(names: Sequence[Path]) -> list[int]:
    """Indices of names that equal another one, the summary, or a folder of tables."""
    counts = Counter(map(_key, names))
    folders = {_key(folder) for name in names for folder in name.parents}
    return [
        k
        for k, name in enumerate(names)
        if counts[_key(name)] > 1
        or _key(name.with_suffix("")) == _SUMMARY
        or folders & {_key(name), _key(name.with_suffix(".json"))}
    ]


def _keep_present(
    names: list[Path], media: Sequence[Media], full: Sequence[Path], output: Path, suffix: str
) -> None:
    """Keep existing tables under names chosen when other files were beside the media."""

    @lru_cache
    def present(folder: Path) -> set[str]:
        try:
            return {_key(Path(path.name.removesuffix(".partial"))) for path in folder.iterdir()}
        except OSError:
            return set()

    def is_present(name: Path) -> bool:
        return _key(Path(name.name)) in present(output / name.parent)

    taken = {_key(name) for name in names}
    for k, one in enumerate(media):
        forms = [_name(one, name, level, suffix) for name in (full[k], one.name) for level in range(3)]
        others = [name for name in dict.fromkeys(forms) if _key(name) not in taken and is_present(name)]
        planned = [names[k]] if others and is_present(names[k]) else []
        for name in planned + others:
            if _is_table_of(output / name, one.path):
                names[k] = name
                taken.add(_key(name))
                break


def _is_table_of(table: Path, media: Path) -> bool:
    """Whether a table was made from these media."""
    try:
        found = table_progress(table)
        if found is None or not isinstance(source := found.metadata.get("source"), str):
            return False
        named = media.is_dir() or Path(source).name == media.name
        return named and found.metadata.get("source_fingerprint") == fingerprint(media)
    except (AffectKitError, OSError):
        return False
