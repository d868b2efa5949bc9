"""Outputs of OpenFace as labels of frames: one of OpenFace's own form, and what `predict --format openface` writes."""

from __future__ import annotations

import json
import math

import pytest

from affectkit.data.tables import read_table
from affectkit.datasets import TableDataset
from affectkit.datasets.reading.frame_table import FrameTable
from affectkit.errors import AnnotationError
from affectkit.inference import Row, TableWriter

POINTS = [f"{axis}_{k}" for axis in "xy" for k in range(68)]
HEADER = [
    "frame",
    "face_id",
    "timestamp",
    "confidence",
    "success",
    "gaze_0_x",
    *POINTS,
    "X_0",
    "AU01_r",
    "AU45_r",
]
HEADER += ["AU01_c", "AU28_c"]


def openface(path, *rows):
    """A table as the released programs write it.

    A row: frame, confidence, success, two intensities, two occurrences.
    """
    lines = [", ".join(HEADER)]
    for frame, confidence, success, *units in rows:
        points = [f"{frame + k / 8:.1f}" for k in range(136)]
        cells = [frame, 0, f"{frame / 30:.3f}", confidence, success, "0.1", *points, "-12.5", *units]
        lines.append(", ".join(map(str, cells)))
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def values(target):
    rows = zip(target.value.tolist(), target.mask.tolist(), strict=True)
    return [[v if known else None for v, known in zip(*row, strict=True)] for row in rows]


def test_a_table_of_openface(tmp_path, caplog):
    openface(
        tmp_path / "labels" / "a.csv",
        (1, 0.98, 1, 2.31, "0.00", "1.00", "0.00"),
        (2, "0.00", 0, "0.00", "0.00", "0.00", "0.00"),
        (3, 0.5, 1, 5, "-nan(ind)", "0.00", "1.00"),
        (4, "0.00", 1, 1, 1, 1, 1),
    )
    (tmp_path / "index.csv").write_text("path,labels\na.mp4,labels/a.csv\n")
    dataset = TableDataset(tmp_path)
    assert dataset.spaces == {"au": "AU1,AU28", "intensity": "intensity:AU1,AU45"}
    assert (dataset.unread, caplog.text) == ((), "")
    labels = dataset.labels(dataset.clips[0], range(5))
    assert values(labels["au"]) == [[1, 0], [None] * 2, [0, 1], [None] * 2, [None] * 2]
    strengths = values(labels["intensity"])
    assert strengths[0] == pytest.approx([2.31, 0])
    assert strengths[1:] == [[None] * 2, [5, None], [None] * 2, [None] * 2]
    points, seen = dataset.landmarks(dataset.clips[0], [0, 1])
    assert points[0, 1].tolist() == pytest.approx([1.1, 9.6], abs=0.06)  # x_1, y_1
    assert seen.all(1).tolist() == [True, False]
    assert list(dataset.label_frames(dataset.clips[0])) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("frames", "line", "fault"),
    [((0, 1), 2, "Frame 0 comes before the first one, 1"), ((1, 2, 2), 4, "Frame 2 is listed twice")],
)
def test_frames_that_openface_would_not_write(tmp_path, frames, line, fault):
    path = openface(tmp_path / "a.csv", *((frame, 1, 1, 0, 0, 0, 0) for frame in frames))
    with pytest.raises(AnnotationError, match=fault) as caught:
        FrameTable(read_table(path))
    assert (caught.value.path, caught.value.line) == (path, line)
    assert "face_id" in caught.value.remedy


HEADS = {
    "au": {"columns": ["AU12"], "values": "probability", "thresholds": {"AU12": 0.5}},
    "intensity": {"columns": ["AU04_i"], "values": "intensity 0-5", "thresholds": {}},
    "expression": {"columns": ["anger", "joy"], "values": "probability", "thresholds": {}},
}


@pytest.mark.parametrize("form", ["openface", "openface-release"])
@pytest.mark.parametrize("fill", [None, 0.0])
def test_what_predict_writes_serves_as_labels(tmp_path, form, fill):
    path = tmp_path / "a.csv"
    columns = ["AU12", "AU04_i", "anger", "joy"]
    with TableWriter(path, columns, {"heads": HEADS}, format=form, fill_missing=fill) as writer:
        writer.write(
            Row(0, 0.0, True, {"AU12": 0.75, "AU04_i": 2.5, "anger": 0.2, "joy": 0.8}, face=0, score=0.9)
        )
        writer.write(Row(1, 0.1, False, dict.fromkeys(columns, math.nan), reason="No face was found."))
        writer.write(
            Row(2, 0.2, True, {"AU12": 0.25, "AU04_i": 0.0, "anger": 0.2, "joy": 0.8}, face=0, score=0.9)
        )
    frames = FrameTable(read_table(path))
    assert {name: space for name, (space, _) in frames.labels.items()} == {
        "au": "AU12",
        "intensity": "intensity:AU4",
    }
    assert [frames.take(frames.labels["au"][1], [frame])[0, 0].item() for frame in (0, 2)] == [1, 0]
    assert [frames.take(frames.labels["intensity"][1], [frame])[0, 0].item() for frame in (0, 2)] == [2.5, 0]
    assert frames.take(frames.labels["au"][1], [1, 3]).isnan().all()
    assert frames.unread == ()


@pytest.mark.parametrize("content", ["{", "[]", '{"units_not_predicted": "0.00"}', '{"columns": []}', "3"])
def test_a_json_file_of_something_else(tmp_path, content):
    path = openface(tmp_path / "a.csv", (1, 1, 1, 0, 0, 0, 0))
    path.with_suffix(".json").write_text(content)
    assert FrameTable(read_table(path)).labels["au"][0] == "AU1,AU28"
    path.with_suffix(".json").write_text(
        json.dumps({"units_not_predicted": "0.00", "heads": {"au": HEADS["au"]}})
    )
    assert FrameTable(read_table(path)).labels == {}
