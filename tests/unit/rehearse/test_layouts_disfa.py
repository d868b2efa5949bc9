"""DISFA's layout: names, quirks and published counts, read back without affectkit's parser."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from affectkit.rehearse.disfa import write_disfa


def levels_of(path):
    rows = [line.split(",") for line in path.read_text(encoding="utf-8-sig").split()]
    assert [int(frame) for frame, _ in rows] == list(range(1, len(rows) + 1))
    return np.array([int(level) for _, level in rows])


def test_the_full_layout_has_the_published_numbers(tmp_path):
    manifest = write_disfa(tmp_path, size="full", media=False)
    folders = sorted((tmp_path / "ActionUnit_Labels").iterdir())
    assert len(folders) == 27
    table = {
        folder.name: {
            int(path.stem.lower().rpartition("au")[2]): levels_of(path) for path in folder.iterdir()
        }
        for folder in folders
    }
    assert {len(units) for units in table.values()} == {12}
    assert {name: len(units[1]) for name, units in table.items() if len(units[1]) != 4845} == {"SN010": 4844}
    assert manifest["frames"] == 130_814

    def count(unit, level):
        return sum(int((units[unit] >= level).sum()) for units in table.values())

    assert [count(unit, 2) for unit in (1, 2, 4, 6, 9, 12, 25, 26)] == [
        6506, 5644, 19933, 10327, 5473, 16851, 36247, 11533,
    ]  # fmt: skip
    assert [count(25, level) for level in (3, 4, 5)] == [22312, 6619, 1039]
    assert [count(5, level) for level in (2, 3, 4, 5)] == [1150, 431, 138, 34]
    assert manifest["at_least"]["3"]["AU12"] == count(12, 3) == 9982
    assert manifest["parts"]["part1"]["frames"] == 43_604
    assert json.loads((tmp_path / "rehearsal.json").read_text()) == manifest


def test_sizes_seeds_and_quirks(tmp_path):
    small = write_disfa(tmp_path / "small", size="small", media=False)
    assert (small["subjects"], small["frames"]) == (9, 899)
    assert small == write_disfa(tmp_path / "again", size="small", media=False)
    assert (
        small["recordings"]
        != write_disfa(tmp_path / "other", size="small", media=False, seed=1)["recordings"]
    )
    odd = [path.read_bytes() for path in (tmp_path / "small").rglob("*.txt")]
    for sign in (
        lambda b: b.startswith(b"\xef\xbb\xbf"),
        lambda b: b"\r\n" in b,
        lambda b: not b.endswith(b"\n"),
    ):
        assert 0 < sum(map(sign, odd)) < len(odd)
    assert {path.name.replace("AU", "au")[:8] for path in (tmp_path / "small").rglob("*.txt")} >= {"SN003_au"}
    write_disfa(tmp_path / "plain", media=False, quirks=False)
    assert not any(b"\r" in path.read_bytes() for path in (tmp_path / "plain").rglob("*.txt"))


def test_media_of_both_cameras(tmp_path):
    write_disfa(tmp_path, images="zero", pixels=32)
    names = sorted(path.name for path in (tmp_path / "images_left/SN001").iterdir())
    assert len(names) == 40
    assert {"0.png", "39.png"} < set(names)
    with (
        Image.open(tmp_path / "images_right/SN001/0.png") as right,
        Image.open(tmp_path / "images_left/SN001/0.png") as left,
    ):
        assert right.size == left.size == (32, 24)
        assert right.tobytes() != left.tobytes()
