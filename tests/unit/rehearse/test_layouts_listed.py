"""The layouts of DFEW, FERV39k and MAFW: names, quirks and counts, read back without affectkit's parsers."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest
from fakes.listed import write_few
from PIL import Image

from affectkit.data import open_video
from affectkit.rehearse.dfew import write_dfew
from affectkit.rehearse.ferv39k import write_ferv39k
from affectkit.rehearse.mafw import write_mafw


def test_lists_of_dfew(tmp_path):
    manifest = write_dfew(tmp_path, size="small", media=False)
    assert manifest == json.loads((tmp_path / "rehearsal.json").read_text())
    names = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
    tested = Counter()
    for fold in range(1, 6):
        rows = {}
        for split in ("train", "test"):
            path = tmp_path / "EmoLabel_DataSplit" / f"{split}(single-labeled)" / f"set_{fold}.csv"
            assert (b"\r\n" in path.read_bytes()) == (fold == 2)
            with path.open(newline="") as file:
                rows[split] = {
                    f"{int(r['video_name']):05d}": names[int(r["label"]) - 1] for r in csv.DictReader(file)
                }
            assert len(rows[split]) == manifest["parts"][f"set_{fold} {split}"]["clips"]
        assert rows["train"] | rows["test"] == manifest["labels"]
        assert Counter(rows["test"].values()) == dict.fromkeys(names, 4)
        assert all(manifest["tested"][clip] == fold for clip in rows["test"])
        tested.update(list(rows["test"]))
    assert set(tested) == set(manifest["labels"])
    assert set(tested.values()) == {1}


def test_clips_of_dfew(tmp_path):
    manifest = write_few(write_dfew, tmp_path, pixels=16, missing=30)
    first, *_, last = manifest["labels"]
    images = sorted((tmp_path / "Clip/clip_224x224" / first).iterdir())
    assert [image.name for image in images] == [f"{first}_{n:05d}.jpg" for n in range(1, len(images) + 1)]
    assert len(images) == manifest["lengths"][first] >= 16
    with Image.open(images[0]) as image:
        assert image.size == (16, 16)
    assert len(manifest["missing_clips"]) == 30
    assert manifest["missing_clips"][-1] == last
    assert not (tmp_path / "Clip/clip_224x224" / last).exists()
    assert min(manifest["lengths"].values()) < 16


def test_mafw(tmp_path):
    manifest = write_few(write_mafw, tmp_path / "a", pixels=16, missing=50)
    sets = tmp_path / "a/Train & Test Set"
    lines = (sets / "single/no_caption/set_3/test.txt").read_text().splitlines()
    rows = {name.removesuffix(".mp4"): label for name, label in map(str.split, lines)}
    assert rows == {
        clip: label for clip, label in manifest["labels"].items() if manifest["tested"][clip] == 3
    }
    assert "_disgust" in (sets / "compound/no_caption/set_1/train.txt").read_text()
    with pytest.raises(UnicodeDecodeError):
        (sets / "single/with_caption/set_1/train.txt").read_text("utf-8")
    first = next(iter(manifest["labels"]))
    with open_video(tmp_path / "a/data/clips" / f"{first}.mp4") as reader:
        assert reader.num_frames == manifest["lengths"][first]
        assert reader.read([0]).shape == (1, 3, 16, 16)
    numbered = write_mafw(tmp_path / "b", media=False, lists="anger_first")
    name, frames, label = (tmp_path / "b/MAFW_set_1_test.txt").read_text().splitlines()[0].split()
    order = (
        "anger disgust fear happiness neutral sadness surprise contempt anxiety helplessness disappointment"
    )
    assert order.split()[int(label)] == numbered["labels"][name]
    assert frames == "16"
    write_mafw(tmp_path / "c", media=False, quirks=False)
    assert [path.name for path in (tmp_path / "c/Train & Test Set").iterdir()] == ["single"]


def test_mafw_as_folders(tmp_path):
    manifest = write_few(write_mafw, tmp_path, clips="frames", pixels=16, missing=50)
    frames = tmp_path / "data/frames"
    assert len(list(frames.iterdir())) == 5 == 55 - len(manifest["missing_clips"])
    first = next(iter(manifest["labels"]))
    assert len(list((frames / first).glob("00000?.png"))) == 9
    assert len(list((frames / first).iterdir())) == manifest["lengths"][first]


def test_ferv39k_in_full(tmp_path):
    manifest = write_ferv39k(tmp_path, size="full", media=False)
    counts = {}
    for split in ("train", "test"):
        lines = (tmp_path / f"4_setups/All_scenes/{split}_All.csv").read_text().splitlines()
        counts[split] = Counter(line.split(" ")[1] for line in lines)
        assert all(line.split("/")[1] == line.split(" ")[1] for line in lines)
        assert len({line.split("/")[0] for line in lines}) == 22
        assert len(set(lines)) == manifest["parts"][split]["clips"]
    words = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
    assert [counts["train"][word] for word in words] == [5854, 5523, 7790, 5906, 2502, 1833, 1680]
    assert [counts["test"][word] for word in words] == [1473, 1393, 1958, 1487, 638, 467, 431]


def test_ferv39k_in_small(tmp_path):
    manifest = write_few(write_ferv39k, tmp_path / "a", pixels=16, missing=26)
    assert (manifest["parts"]["train"]["clips"], manifest["parts"]["test"]["clips"]) == (21, 7)
    folders = [path.parent for path in (tmp_path / "a/2_ClipsforFaceCrop").glob("*/*/*/0001.jpg")]
    assert len(folders) == 2
    assert (tmp_path / "a/4_setups/22_scenes/Action/train.csv").is_file()
    write_ferv39k(tmp_path / "b", media=False, quirks=False, size="small")
    assert [path.name for path in (tmp_path / "b/4_setups").iterdir()] == ["All_scenes"]
