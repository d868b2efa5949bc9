"""BP4D's layout: names, quirks and published counts, read back without affectkit's parser."""

from __future__ import annotations

import csv
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from affectkit.rehearse.acting.coded import draw_scores, film, strongest
from affectkit.rehearse.acting.studio import Studio
from affectkit.rehearse.bp4d import write_bp4d
from affectkit.synth import Rendered


def rows_of(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.reader(file) if any(row)]


def test_the_full_layout_has_the_published_numbers(tmp_path):
    manifest = write_bp4d(tmp_path, size="full", media=False)
    files = sorted((tmp_path / "AUCoding/AU_OCC").iterdir())
    assert len(files) == 328
    assert len(list((tmp_path / "AUCoding/AU_INT").glob("AU*/*_AU??.csv"))) == 1640
    lengths, positives, firsts = {}, Counter(), 0
    for path in files:
        header, *rows = rows_of(path)
        assert header == list(map(str, range(100)))
        lengths[path.stem] = len(rows)
        table = np.array(rows, dtype=int)
        assert (np.diff(table[:, 0]) == 1).all()
        firsts += table[0, 0] == 1
        positives.update(
            {f"AU{u}": int((table[:, u] == 1).sum()) for u in range(1, 100) if (table[:, u] != 9).any()}
        )
    assert sum(lengths.values()) == manifest["frames"] == 146_847
    assert firsts == 118
    assert dict(positives) == manifest["positives"]
    assert positives["AU12"] == 82_530
    assert positives["AU36"] == 0
    assert len(positives) == 34
    assert (lengths["F001_T1"], lengths["F001_T2"], lengths["F020_T3"]) == (553, 574, 329)
    assert min(lengths.values()) >= 90
    assert max(lengths.values()) <= 768
    of_subject = Counter()
    for name, rows in lengths.items():
        of_subject[name[:4]] += rows
    assert (of_subject["F001"], of_subject["M018"], of_subject["M001"]) == (3934, 3488, 4153)
    assert manifest["parts"]["part1"]["frames"] == 50_631
    assert json.loads((tmp_path / "rehearsal.json").read_text()) == manifest
    assert manifest["rendered"] is True


def test_the_same_seed_writes_the_same_corpus(tmp_path):
    first = write_bp4d(tmp_path / "a", pixels=24)
    again = write_bp4d(tmp_path / "b", pixels=24)
    other = write_bp4d(tmp_path / "c", seed=1, media=False)
    assert first == again
    assert first["recordings"] != other["recordings"]
    for path in (tmp_path / "a").rglob("*.jpg"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_the_small_layout_has_three_subjects_a_part(tmp_path):
    manifest = write_bp4d(tmp_path, size="small", media=False)
    assert [its["subjects"] for its in manifest["parts"].values()] == [3, 3, 3]
    assert manifest["clips"] == 27
    for its in manifest["parts"].values():
        assert all(0 < its["positives"][unit] < its["frames"] for unit in ("AU1", "AU12", "AU24"))


def test_quirks_are_there(tmp_path):
    write_bp4d(tmp_path / "odd", size="small", media=False)
    write_bp4d(tmp_path / "plain", size="small", media=False, quirks=False)
    odd = [path.read_bytes() for path in (tmp_path / "odd").rglob("*.csv")]
    plain = [path.read_bytes() for path in (tmp_path / "plain").rglob("*.csv")]
    for sign in (lambda b: b.startswith(b"\xef\xbb\xbf"), lambda b: b"\r\n" in b, lambda b: b",,," in b):
        assert 0 < sum(map(sign, odd)) < len(odd)
        assert not any(map(sign, plain))
    assert not all(content.endswith(b"\n") for content in odd)


def test_images_have_the_real_shape_and_show_what_is_coded(tmp_path):
    manifest = write_bp4d(tmp_path, pixels=64)
    first = manifest["recordings"]["F001_T1"]
    smile = np.array(list(first["occurrence"]["AU12"])) == "1"
    images = []
    for frame in first["frames"]:
        with Image.open(tmp_path / f"Sequences(2D+3D)/F001/T1/{frame - 1:04d}.jpg") as image:
            assert image.size == (64, 86)
            images.append(np.asarray(image, dtype=float))
    mouth = np.stack(images)[:, 50:65, 20:44]
    between = np.abs(mouth[smile].mean(0) - mouth[~smile].mean(0)).mean()
    assert between > 0.3
    assert (tmp_path / "Sequences(2D+3D)/F001/T1/2439.mtl").is_file()


def test_intensity_agrees_with_occurrence(tmp_path):
    manifest = write_bp4d(tmp_path, media=False, quirks=False)
    for its in manifest["recordings"].values():
        for unit, graded in its["intensity"].items():
            for present, level in zip(its["occurrence"][unit], graded["levels"], strict=True):
                assert level == "9" or (level != "0") == (present == "1")


def test_scores_are_smooth_and_the_strongest_are_counted():
    scores = draw_scores(np.random.default_rng(0), [300, 200])
    assert np.abs(np.diff(scores)[:299]).mean() < 0.5 * scores[:300].std()
    for count in (0, 1, 499, 500):
        assert strongest(scores, count).sum() == count
    chosen = strongest(scores, 100)
    assert scores[chosen].min() > scores[~chosen].max()


@pytest.mark.parametrize("height", [10, 12, 5, 20])
def test_frames_are_padded_or_cropped_in_height(height):
    class Striped(Studio):
        def shoot(self, units, yaw=0.0):
            image = np.tile(np.arange(10, dtype=np.uint8)[:, None, None], (1, 10, 3))
            return Rendered(image, np.full((68, 2), 4, np.float32))

    seen = {}
    (image,) = film(Striped(10, 0), [{}], height, seen, first=3)
    assert image.shape == (height, 10, 3)
    assert image[int(seen[3][0, 1]), 0, 0] == 4
