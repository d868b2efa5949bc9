"""The rehearsal of SAMM has the published numbers, whatever the seed."""

from __future__ import annotations

from collections import Counter

import pytest
from PIL import Image

from affectkit.rehearse.samm import write_samm


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_full_has_the_published_numbers(tmp_path, seed):
    manifest = write_samm(tmp_path, size="full", seed=seed, media=False)
    counts = manifest["counts"]
    assert (counts["clips"], counts["subjects"], sum(counts["positives"].values())) == (159, 29, 226)
    assert [counts["positives"][f"AU{n}"] for n in (2, 4, 7, 12)] == [18, 23, 46, 28]
    assert counts["classes"] == {
        "anger": 57, "other": 26, "happiness": 26, "surprise": 15, "contempt": 12, "disgust": 9, "fear": 8,
        "sadness": 6,
    }  # fmt: skip
    codes = Counter(int(clip["clip"].split("_")[1]) for clip in manifest["clips"])
    assert codes == {3: 31, 1: 27, 7: 26, 4: 21, 5: 19, 2: 18, 6: 17}
    names = {clip["clip"] for clip in manifest["clips"]}
    assert len(names) == 159
    assert {"028/028_4_1", "032/032_3_1", "032/032_3_2", "013/013_1_9"} <= names
    assert manifest["counts"]["parts"]["025"] == {"clips": 4}


def test_tiny_has_grey_frames_of_mixed_padding(tmp_path):
    manifest = write_samm(tmp_path)
    files = sorted(tmp_path.glob("*/*/*.jpg"))
    assert len(files) == manifest["counts"]["frames"]
    with Image.open(files[0]) as image:
        assert image.mode == "L"
    widths = Counter(len(path.stem.split("_")[1]) for path in files)
    assert set(widths) == {4, 5}
    assert widths[4] > widths[5]
    assert any(clip["apex"] is None for clip in manifest["clips"])


def test_small(tmp_path):
    assert write_samm(tmp_path, size="small", media=False)["counts"]["subjects"] == 8
