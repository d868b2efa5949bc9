"""Damage to annotation tables, as it happens to copies of them."""

import csv
import io
import random
from pathlib import Path

import openpyxl

from affectkit.errors import AnnotationError, DatasetNotFoundError


def attempt(read):
    """What a reader gives, or the error that it documents; everything else passes through."""
    try:
        return read(), None
    except (AnnotationError, DatasetNotFoundError) as error:
        return None, error


def read_rows(path: Path) -> list[list]:
    """The first sheet of a workbook, as rows of cells."""
    return [list(row) for row in openpyxl.load_workbook(path).worksheets[0].iter_rows(values_only=True)]


def as_csv(rows: list[list], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(
        ["" if cell is None else cell for cell in row] for row in rows
    )
    return text.getvalue().encode()


def as_workbook(rows: list[list]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def _columns(header: list, rows: list[list], names: set[str] | None = None) -> list[int]:
    return [k for k, name in enumerate(header) if name is not None and (names is None or name in names)]


def corrupt(random_: random.Random, rows: list[list], header: int) -> tuple[str, bytes, str]:
    """One kind of damage: its name, the content of the file, and its suffix."""
    rows = [list(row) for row in rows]
    head, body = rows[: header + 1], rows[header + 1 :]
    named = _columns(rows[header], rows)
    a, b = random_.sample(named, 2)
    one = random_.choice(body)
    kinds = (
        "truncated", "column missing", "rows missing", "columns swapped", "data swapped", "column doubled",
        "row doubled", "delimiter", "encoding", "not a number", "out of range", "no header", "row shifted", "empty",
        "flipped bytes", "workbook truncated", "rows shuffled", "binary",
    )  # fmt: skip
    kind = random_.choice(kinds)
    delimiter = ","
    if kind == "column missing":
        rows = [[cell for k, cell in enumerate(row) if k != a] for row in rows]
    elif kind == "rows missing":
        rows = head + random_.sample(body, random_.randrange(len(body)))
    elif kind in ("columns swapped", "data swapped"):
        for row in rows[header + (kind == "data swapped") :]:
            row[a], row[b] = row[b], row[a]
    elif kind == "column doubled":
        rows = [[*row, row[a]] for row in rows]
    elif kind == "row doubled":
        rows.insert(random_.randrange(header + 1, len(rows) + 1), list(one))
    elif kind == "delimiter":
        delimiter = random_.choice(";\t|: ")
    elif kind == "not a number":
        one[a] = random_.choice(["x", "4.5", "twelve", "#REF!", "12 13", "1e99", "nan5", "٤x", True, "0x1F"])
    elif kind == "out of range":
        one[a] = random_.choice([-5, 10**8, 612, 99999, 10**30, -1.5])
    elif kind == "no header":
        del rows[header]
    elif kind == "row shifted":
        one.insert(0, one.pop()) if random_.random() < 0.5 else one.append(one.pop(0))
    elif kind == "rows shuffled":
        random_.shuffle(body)
        rows = head + body
    if kind in ("flipped bytes", "workbook truncated"):
        content = bytearray(as_workbook(rows))
        if kind == "workbook truncated":
            return kind, bytes(content[: random_.randrange(len(content))]), ".xlsx"
        for _ in range(3):
            content[random_.randrange(len(content))] ^= 1 << random_.randrange(8)
        return kind, bytes(content), ".xlsx"
    content = as_csv(rows, delimiter)
    if kind == "truncated":
        content = content[: random_.randrange(len(content))]
    elif kind == "encoding":
        text = content.decode()
        broken = content[:40] + b"\xff" + content[40:]
        content = random_.choice(
            [text.encode("utf-16"), text.encode("utf-16-le"), text.encode("utf-32"), broken]
        )
    elif kind == "empty":
        content = random_.choice([b"", b"\n\n", b",,,\n"])
    elif kind == "binary":
        content = random_.randbytes(500)
    elif random_.random() < 0.1 and kind != "delimiter":
        return kind, as_workbook(rows), ".xlsx"
    return kind, content, ".csv"


def corrupt_list(random_: random.Random, rows: list[list[str]], delimiter: str, header: bool) -> bytes:
    """One kind of damage to a text list of a few cells a line."""
    rows = [list(row) for row in rows]
    place, other = (random_.randrange(header, len(rows)) for _ in range(2))
    kind = random_.randrange(14)
    if kind == 0:
        del rows[place]
    elif kind == 1:
        rows.insert(other, list(rows[place]))
    elif kind == 2:
        rows[place], rows[other] = rows[other], rows[place]
    elif kind == 3:
        rows[place][-1], rows[other][-1] = rows[other][-1], rows[place][-1]
    elif kind == 4:
        rows = [row[:-1] for row in rows]
    elif kind == 5:
        rows = [row[::-1] for row in rows]
    elif kind == 6:
        rows = [[*row, row[0]] for row in rows]
    elif kind == 7:
        delimiter = random_.choice([";", "\t", "|", "", ":", ","])
    elif kind == 8:
        cell = random_.randrange(len(rows[place]))
        rows[place][cell] = random_.choice(
            ["x", "-1", "2.5", "0", "77", "999999", "", "nan", "é", "1e3", "٣"]
        )
    elif kind == 9:
        rows[place] = rows[place][:1]
    elif kind == 10:
        rows = [random_.choice([[], [""], ["\0"]])]
    elif kind == 11:
        rows = rows[header:]
        random_.shuffle(rows)
    content = "\n".join(delimiter.join(row) for row in rows).encode()
    if kind == 12:
        return content[: random_.randrange(len(content))]
    if kind == 13:
        start = random_.randrange(len(content))
        broken = content[:start] + random_.choice([b"\xff", b"\0", b"\x80\x80"]) + content[start:]
        return random_.choice(
            [broken, content.decode().encode("utf-16"), content.decode().encode("utf-8-sig")]
        )
    return content + b"\n" * random_.randrange(2)
