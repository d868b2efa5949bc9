"""RAF-DB's layout: names, quirks and published counts, read back without affectkit's parser."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from affectkit.rehearse.rafdb import write_rafdb


@pytest.mark.parametrize(
    ("kind", "train", "test"),
    [
        ("basic", [1290, 281, 717, 4772, 1982, 705, 2524], [329, 74, 160, 1185, 478, 162, 680]),
        (
            "compound",
            [562, 219, 107, 130, 68, 597, 117, 444, 138, 667, 113],
            [135, 47, 22, 33, 18, 141, 33, 116, 38, 174, 35],
        ),
    ],
)
def test_the_full_list_has_the_published_numbers(tmp_path, kind, train, test):
    manifest = write_rafdb(tmp_path, kind=kind, size="full", media=False)
    content = (tmp_path / kind / "EmoLabel/list_patition_label.txt").read_bytes()
    rows = [
        line.split(" ") for line in content.decode().split("\r\n" if kind == "compound" else "\n") if line
    ]
    assert content.endswith(b"\r\n") if kind == "compound" else not content.endswith(b"\n")
    assert rows[0][0] == ("train_00001.jpg" if kind == "basic" else "train_0001.jpg")
    assert rows[-1][0] == ("test_3068.jpg" if kind == "basic" else "test_792.jpg")
    for split, counts in (("train", train), ("test", test)):
        found = Counter(int(label) for name, label in rows if name.startswith(split))
        assert [found[label] for label in range(1, len(counts) + 1)] == counts
        assert list(manifest["parts"][split]["classes"].values()) == counts
    assert json.loads((tmp_path / "rehearsal.json").read_text()) == manifest


def test_photographs_and_what_lies_beside_them(tmp_path):
    manifest = write_rafdb(tmp_path, kind="basic", pixels=32)
    assert manifest == write_rafdb(tmp_path / "again", pixels=32)
    base = tmp_path / "basic"
    with Image.open(base / "Image/aligned/train_00001_aligned.jpg") as image:
        assert image.size == (32, 32)
    with Image.open(base / "Image/original/test_0001.jpg") as image:
        assert image.size == (48, 48)
    lines = (base / "Annotation/manual/train_00001_manu_attri.txt").read_bytes().split(b"\r\n")
    assert len(lines) == 9
    points = np.array([line.split(b"\t") for line in lines[:5]], dtype=float)
    assert (points[0] < points[1] + [0, 48]).all()
    assert [int(line) for line in lines[5:8]] <= [2, 2, 4]
    box = (base / "Annotation/boundingbox/train_00001_boundingbox.txt").read_text()
    assert box.endswith(" ")
    assert len(box.split()) == 4


def test_small_and_without_quirks(tmp_path):
    manifest = write_rafdb(tmp_path, size="small", kind="compound", quirks=False, media=False)
    assert (manifest["parts"]["train"]["clips"], manifest["parts"]["test"]["clips"]) == (132, 44)
    assert b"\r" not in (tmp_path / "compound/EmoLabel/list_patition_label.txt").read_bytes()
