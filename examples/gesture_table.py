"""Make the table of `gesture/own_clips` from the label files of SMG or iMiGUE, as released for the MiGA challenge.

    python examples/gesture_table.py smg17 LABELS VIDEOS people.csv index.csv

LABELS contains one file for each recording, `NAME_finelabels.csv` or `NAME_label.csv`, with rows `label,start,end` and
no header: labels count from 1 (99 is the last class of iMiGUE), and both frames belong to the gesture. VIDEOS contains
`NAME.mp4`, `.avi` or a folder `NAME` of pictures. `people.csv` has the columns `recording,subject,split`, as no label
file says who is in it; recordings that it lacks are left out. Frames are counted from 1 in SMG and from 0 in iMiGUE;
`--first` says otherwise.
"""

import argparse
import csv
from pathlib import Path

from affectkit.errors import AffectKitError, AnnotationError
from affectkit.facs import label_space

ENDINGS = ("_finelabels.csv", "_label.csv", "_labels.csv")
MEDIA = (".mp4", ".avi", ".mkv", "")
FIRST = {"smg17": 1, "imigue32": 0}
NON_GESTURE = 99
COLUMNS = ("path", "clip", "subject", "split", "start", "stop", "expression")


def read_people(path: Path) -> dict[str, tuple[str, str]]:
    """Subject and split of each recording.

    Raises:
        AnnotationError: A column is missing, a cell is empty, or a recording has two rows.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if missing := {"recording", "subject", "split"} - set(reader.fieldnames or ()):
            raise AnnotationError(
                f"There is no column {', '.join(sorted(missing))}.",
                path=path,
                line=1,
                remedy="Write the header recording,subject,split.",
            )
        people: dict[str, tuple[str, str]] = {}
        for row in reader:
            name, subject, split = (str(row[key] or "").strip() for key in ("recording", "subject", "split"))
            if not (name and subject and split in ("train", "val", "test")) or name in people:
                raise AnnotationError(
                    f"The row {name!r}, {subject!r}, {split!r} is incomplete or a duplicate.",
                    path=path,
                    line=reader.line_num,
                    remedy="Write each recording once, with its subject and train, val or test.",
                )
            people[name] = subject, split
    return people


def read_gestures(path: Path, classes: tuple[str, ...], first: int) -> list[tuple[str, int, int]]:
    """Class, start and stop (from 0, stop excluded) of each gesture of a label file.

    Raises:
        AnnotationError: A row has another form, or its label or frames are out of range.
    """
    found = []
    for line, text in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not text.strip():
            continue
        try:
            label, start, end = (int(cell) for cell in text.split(","))
        except ValueError as error:
            raise AnnotationError(
                f"{text!r} is not label,start,end.", path=path, line=line, remedy="Give three whole numbers."
            ) from error
        label = len(classes) if label == NON_GESTURE else label
        if not (1 <= label <= len(classes) and first <= start <= end):
            raise AnnotationError(
                f"The label {label} must be from 1 to {len(classes)}, and the frames {start} to {end} in order, from "
                f"{first}.",
                path=path,
                line=line,
                remedy="Choose the classes of this corpus and its first frame, or correct the row.",
            )
        found.append((classes[label - 1], start - first, end - first + 1))
    return found


def find(folder: Path, name: str, endings: tuple[str, ...]) -> Path:
    """The one file of a recording, here or in a folder with its name.

    Raises:
        AnnotationError: There is none.
    """
    candidates = [place / f"{name}{end}" for end in endings for place in (folder, folder / name)]
    for path in candidates:
        if path.exists() and path.is_dir() == (path.suffix == ""):
            return path
    raise AnnotationError(
        f"There is nothing of the recording {name!r}.",
        path=folder,
        remedy=f"Expected one of: {', '.join(path.name for path in candidates[::2])}.",
    )


def main(arguments: list[str] | None = None) -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("classes", choices=FIRST)
    for name in ("labels", "videos", "people", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--first", type=int, help="number of the first frame in the label files")
    options = parser.parse_args(arguments)
    classes = label_space(options.classes).labels
    first = FIRST[options.classes] if options.first is None else options.first
    rows = []
    try:
        for name, (subject, split) in read_people(options.people).items():
            media = find(options.videos, name, MEDIA).resolve()
            gestures = read_gestures(find(options.labels, name, ENDINGS), classes, first)
            for number, (gesture, start, stop) in enumerate(gestures):
                rows.append((media, f"{name}_{number:03d}", subject, split, start, stop, gesture))
    except (AffectKitError, OSError) as error:
        parser.exit(1, f"{error}\n")
    with options.output.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    print(f"{options.output}: {len(rows)} clips; affectkit data table {options.output} --crops")


if __name__ == "__main__":
    main()
