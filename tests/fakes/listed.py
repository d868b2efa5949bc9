"""Defects of DFEW, FERV39k and MAFW, whose clips are named in lists."""

from unittest.mock import patch

from affectkit.rehearse.acting import listed
from fakes.files import cut


def write_few(write, root, *, missing, **options):
    """Write a rehearsal without its last clips; the manifest names them as `missing_clips`."""
    film, lost = listed.film, []

    def few(job, clips, *how):
        entries = list(clips.items())
        lost.extend(clip.name for _, clip in entries[len(entries) - missing :])
        return film(job, dict(entries[: len(entries) - missing]), *how)

    with patch.object(listed, "film", few):
        manifest = write(root, **options)
    return manifest | {"missing_clips": lost}


def cut_clip(path):
    """Cut a video off, or the last image of a folder."""
    return cut(path if path.is_file() else max(path.iterdir()))


def edit_list(path, change, row=0):
    """Give the cells of a row (from 0, behind the header) to `change`, which changes them in place."""
    content = path.read_bytes().decode()
    end = "\r\n" if "\r\n" in content else "\n"
    lines = content.split(end)
    sign = "," if "," in lines[0] else " "
    place = row + (sign == ",")
    cells = lines[place].split(sign)
    change(cells)
    lines[place] = sign.join(cells)
    path.write_bytes(end.join(lines).encode())
