"""Damage to single files."""

from affectkit.datasets.reading.folders import list_frames


def cut(path, keep=0.5):
    """Cut a file off; returns its path."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


def edit_lines(path, change):
    """Give the lines of a text file to `change` and write what it returns, with the same line ends."""
    content = path.read_bytes()
    end = b"\r\n" if b"\r\n" in content else b"\n"
    lines = content.split(end)
    path.write_bytes(end.join(change(lines)))


def apex_outside(path):
    """Put the first apex of CASME II's table behind its offset."""
    import openpyxl

    book = openpyxl.load_workbook(path)
    page = book.worksheets[0]
    row = next(row for row in page.iter_rows(min_row=2) if isinstance(row[4].value, int))
    row[4].value = row[5].value + 7
    book.save(path)


def lost_and_broken(folders, lost, broken):
    """Delete the third image of the first clips and cut that of the next ones; returns both lists of paths."""
    thirds = [folder / list(list_frames(folder).values())[2] for folder in folders]
    for path in thirds[:lost]:
        path.unlink()
    return thirds[:lost], [cut(path, 0.8) for path in thirds[lost : lost + broken]]
