"""The files of prepared crops: what other programs read, what is refused, and where they may lie."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import dataset as arrow
from pyarrow import fs

from affectkit.data import shards
from affectkit.data.shards import CropShards, Manifest, load_shard, pack_shard, read_failures, shard_schema
from affectkit.data.storage import Folder
from affectkit.errors import ConfigError, DatasetNotFoundError, VideoError


def picture(value, size=(4, 6), format="png"):
    file = io.BytesIO()
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(file, format)
    return file.getvalue()


def row(clip, frame, **changed):
    return {
        "corpus": "toy",
        "subject": "s1",
        "clip": clip,
        "media": f"videos/{clip}.mp4",
        "frame": frame,
        "image": picture(frame),
        "landmarks": [float(frame)] * 136,
        "landmarks_mask": [True] * 67 + [False],
        "transform": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "success": True,
        "reason": None,
        **changed,
    }


def failed(clip, frame):
    return row(clip, frame, image=None, landmarks=None, landmarks_mask=None, success=False, reason="no face")


ROWS = [
    [row("a", 3), row("a", 4), failed("a", 5), row("b", 0, landmarks=None, landmarks_mask=None)],
    [row("b", 1), row("b", 4), row("c", 0, image=picture(7, (9, 9))), row("c", 1)],
]


def write(location, files=ROWS):
    folder = Folder(location)
    described = []
    for number, rows in enumerate(files):
        shard, content = pack_shard(number, rows, plan="abc")
        folder.write(shard.name, content)
        described.append(shard)
    folder.write("manifest.json", Manifest("toy", {"size": 4}, "abc", tuple(described)).to_json())
    return location


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "out")


def seen(frames):
    return frames[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("place", ["plain", "file", "memory"])
def test_reading_wherever_they_lie(tmp_path, place):
    where = {
        "plain": str(tmp_path / "x"),
        "file": (tmp_path / "x").as_uri(),
        "memory": "fsspec+memory:///x/y",
    }
    crops = CropShards(write(where[place]))
    assert seen(crops.read("a", [4, 3, 4])) == [4, 3, 4]
    assert seen(crops.read("b", [0, 1, 4])) == [0, 1, 4]
    assert crops.read("a", [3]).shape == (1, 3, 4, 6)
    assert crops.read("a", [3]).dtype == torch.uint8
    assert (crops.stop("a"), crops.stop("b")) == (6, 5)
    assert crops.media("b") == "videos/b.mp4"
    points, mask = crops.landmarks("b", [4, 0])
    assert points[:, 0, 0].tolist() == [4, 0]
    assert mask.sum(1).tolist() == [67, 0]
    assert (crops.manifest.rows, crops.manifest.failed) == (8, 1)
    crops.verify()


def test_a_store_of_which_pyarrow_maps_nothing(folder, monkeypatch):
    crops = CropShards(folder)
    crops.folder.files = fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())
    assert seen(crops.read("a", [3])) == [3]


def test_other_programs_read_them(folder):
    for kind in ("ipc", "feather"):
        table = arrow.dataset(folder / "shards", format=kind).to_table()
        assert table.schema.equals(shard_schema())
        assert table["clip"].to_pylist() == list("aaabbbcc")
        assert table["frame"].to_pylist() == [3, 4, 5, 0, 1, 4, 0, 1]
        assert table["reason"].to_pylist()[2] == "no face"
        image = Image.open(io.BytesIO(table["image"][0].as_py()))
        assert np.asarray(image)[0, 0].tolist() == [3, 3, 3]
    with pa.memory_map(str(folder / "shards/00000.arrow")) as file:
        assert pa.ipc.open_file(file).num_record_batches == 1


def test_the_manifest_says_what_is_there(folder):
    content = json.loads((folder / "manifest.json").read_bytes())
    assert (content["format_version"], content["rows"], content["failed"]) == (1, 8, 1)
    first, second = content["shards"]
    data = (folder / first["name"]).read_bytes()
    assert (first["bytes"], first["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert first["clips"] == [["a", 3, 6], ["b", 0, 1]]
    assert second["clips"] == [["b", 1, 2], ["b", 4, 5], ["c", 0, 2]]
    assert (
        Manifest.from_json((folder / "manifest.json").read_bytes()).to_json()
        == json.dumps(content).encode() + b"\n"
    )


def test_frames_that_are_not_there(folder):
    crops = CropShards(folder)
    for clip, frame, match in [
        ("z", 0, "no crops of 'z'"),
        ("a", 2, "no crop of this frame of 'a'"),
        ("b", 2, "no crop of this frame of 'b'"),
        ("a", 5, "of 'a': no face. Repair it and run `affectkit data prepare --retry`"),
    ]:
        with pytest.raises(VideoError, match=match):
            crops.read(clip, [frame])
    with pytest.raises(VideoError, match="differ in size") as caught:
        crops.read("c", [0, 1])
    assert caught.value.frame == 1
    assert read_failures(crops.folder, crops.manifest.shards[0]) == [("a", 5, "no face")]


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_channels_are_red_green_and_blue(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    content = io.BytesIO()
    image.save(content, "PNG")
    crops = CropShards(write(tmp_path, [[row("a", 0, image=content.getvalue())]]))
    wanted = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(crops.read("a", [0])[0], wanted)


def test_rows_in_many_batches(tmp_path, monkeypatch):
    crops = CropShards(write(tmp_path, [[row("a", n % 250) for n in range(150)]]))
    fetched = []
    fetch = crops._fetch
    monkeypatch.setattr(crops, "_fetch", lambda *place: fetched.append(place) or fetch(*place))
    assert seen(crops.read("a", [0, 63, 64, 127, 128, 149])) == [0, 63, 64, 127, 128, 149]
    assert fetched == [(0, 0), (0, 1), (0, 2)]


class Counted(io.RawIOBase):
    """A file that counts the reads of each position, as a storage would its range requests."""

    def __init__(self, file, reads):
        self.file, self.reads = file, reads

    def read(self, size=-1):
        self.reads[self.file.tell()] += 1
        return self.file.read(size)

    def seek(self, *place):
        return self.file.seek(*place)

    def tell(self):
        return self.file.tell()

    def seekable(self):
        return True


@pytest.mark.parametrize("where", ["{}", "file://{}", "fsspec+memory:///counted"])
def test_every_batch_is_fetched_once(tmp_path, monkeypatch, where):
    """Media, landmarks and frames of clips that share batches, in order."""
    rows = [row(clip, n) for clip in "ab" for n in range(100)]
    crops = CropShards(write(where.format(tmp_path), [rows, [row("c", n) for n in range(100)]]))
    reads, opened = Counter(), crops.folder.open
    monkeypatch.setattr(crops.folder, "open", lambda name: pa.PythonFile(Counted(opened(name), reads)))
    for clip in "abc":
        crops.media(clip)
        for first in range(0, 100, 25):
            crops.landmarks(clip, range(first, first + 25))
            assert seen(crops.read(clip, range(first, first + 25))) == [*range(first, first + 25)]
    batches = 4 + 2
    ends = 2 * 2  # of each file: the position of its table of contents, and the table
    assert sum(reads.values()) == batches + ends


def test_few_batches_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_KEPT", 2)
    crops = CropShards(write(tmp_path, [[row(name, 0)] for name in "abc"]))
    for name in "abac":
        crops.read(name, [0])
    assert list(crops._batches) == [(0, 0), (2, 0)]
    assert not pickle.loads(pickle.dumps(crops))._batches


def test_few_files_are_open_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_OPEN", 2)
    monkeypatch.setattr(shards, "_KEPT", 1)
    crops = CropShards(write(tmp_path, [[row(name, 0)] for name in "abcd"]))
    for name in "abcda":
        crops.read(name, [0])
    assert list(crops._readers) == [3, 0]


def test_processes_open_files_for_themselves(folder, monkeypatch):
    crops = CropShards(folder)
    crops.read("a", [3])
    other = pickle.loads(pickle.dumps(crops))
    assert not other._readers
    assert seen(other.read("a", [3])) == [3]
    before = crops._readers[0]
    process = os.getpid()
    monkeypatch.setattr(shards.os, "getpid", lambda: process + 1)
    crops.read("a", [3])
    assert crops._readers[0] is not before


def test_unfinished_folders(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="unfinished"):
        CropShards(tmp_path)
    with pytest.raises(ConfigError, match="cannot be opened"):
        CropShards("nowhere://a/b")


@pytest.mark.parametrize(
    "change",
    [
        lambda known: known.clear(),
        lambda known: known.update(format_version=2),
        lambda known: known.update(shards=3),
        lambda known: known["shards"][0].pop("sha256"),
        lambda known: known["shards"][0].update(rows="many"),
        lambda known: known["shards"][0].update(clips=[["a", 1]]),
        lambda known: known["shards"][0].update(name="../../secret"),
    ],
)
def test_a_manifest_that_is_none(folder, change):
    path = folder / "manifest.json"
    known = json.loads(path.read_bytes())
    change(known)
    path.write_text(json.dumps(known))
    with pytest.raises(VideoError, match="manifest cannot be read"):
        CropShards(folder)
    path.write_bytes(b"\xff{")
    with pytest.raises(VideoError, match="manifest cannot be read"):
        CropShards(folder)


def test_missing_and_cut_files(folder):
    path = folder / "shards/00001.arrow"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(
        VideoError, match=rf"should have {len(content)} bytes, it has {len(content) - 1}"
    ) as caught:
        CropShards(folder)
    assert str(caught.value.path).endswith("shards/00001.arrow")
    assert "run `affectkit data prepare` again" in caught.value.remedy
    path.unlink()
    with pytest.raises(VideoError, match="it is missing"):
        CropShards(folder)


def test_every_changed_byte_is_found(folder):
    path = folder / "shards/00000.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(VideoError, match="differs from its checksum"):
        CropShards(folder).verify()
    crops = CropShards(folder)
    path.unlink()
    with pytest.raises(VideoError, match="differs from its checksum"):
        crops.verify()


def test_damage_never_leads_out_of_the_file(folder):
    """Whatever is overwritten, reading gives pictures or a `VideoError`."""
    path = folder / "shards/00000.arrow"
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    errors = 0
    for _ in range(150):
        damaged = bytearray(content)
        start = int(rng.integers(len(content) - 16))
        damaged[start : start + 16] = rng.bytes(16)
        path.write_bytes(damaged)
        try:
            crops = CropShards(folder)
            crops.read("a", [3, 4])
            crops.landmarks("a", [3, 4])
        except VideoError:
            errors += 1
    assert errors > 30


def test_files_of_other_rows_or_columns(folder):
    def replace(content):
        (folder / "shards/00000.arrow").write_bytes(content)
        known = json.loads((folder / "manifest.json").read_bytes())
        known["shards"][0]["bytes"] = len(content)
        (folder / "manifest.json").write_text(json.dumps(known))
        return CropShards(folder)

    with pytest.raises(VideoError, match="rows are not those of 'a'"):
        replace(pack_shard(0, ROWS[1], plan="abc")[1]).read("a", [3])
    with pytest.raises(VideoError, match="rows are not those of 'a'"):
        replace(pack_shard(0, ROWS[0][:1], plan="abc")[1]).read("a", [3, 4])
    with pytest.raises(VideoError, match="cannot be read"):
        replace(pack_shard(0, [], plan="abc")[1]).read("a", [3])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.schema([("clip", pa.string())])) as writer:
        writer.write_batch(pa.record_batch({"clip": ["a"] * 4}))
    with pytest.raises(VideoError, match="columns are not those"):
        replace(sink.getvalue()).read("a", [3])
    jpeg = picture(3, (64, 64), "jpeg")
    impossible = jpeg.replace(b"\x08\x00\x40\x00\x40\x03", b"\x08\xff\xff\xff\xff\x03")
    assert impossible != jpeg
    for image in (b"no picture", b"", None, picture(3)[:40], jpeg[:-9], impossible):
        with pytest.raises(VideoError, match="of 'a' is damaged"):
            replace(pack_shard(0, [row("a", 3, image=image), *ROWS[0][1:]], plan="abc")[1]).read("a", [3])


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_decord_does_not_change_decoding(tmp_path, format):
    """Its wheel brings libraries that other decoders would use if it was loaded first."""
    pytest.importorskip("decord")
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    file = io.BytesIO()
    coarse.resize((48, 48)).save(file, format)
    write(tmp_path, [[row("a", 0, image=file.getvalue())]])
    code = (
        "import decord, sys, torch; from affectkit.data.shards import CropShards; "
        "torch.save(CropShards(sys.argv[1]).read('a', [0])[0], sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path, tmp_path / "pixels.pt"], check=True)
    expected = np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(torch.load(tmp_path / "pixels.pt"), expected)


def test_a_shard_describes_itself(folder):
    place = Folder(folder)
    first = CropShards(folder).manifest.shards[0]
    assert load_shard(place, 0) == (first, "abc")
    assert load_shard(place, 7) is None
    (folder / "shards/00000.arrow").write_bytes(b"ARROW1")
    assert load_shard(place, 0) is None


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    place = Folder(tmp_path)
    place.write("a/b", b"old")
    (tmp_path / "a/b.0.partial").write_bytes(b"half")
    (tmp_path / ".hidden").touch()
    assert place.names() == ["a"]
    place.clear_partial()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b"]

    class Full(type(place.files)):
        def move(self, source, goal):
            raise OSError("no space left")

    place.files = Full(str(tmp_path), fs.LocalFileSystem())
    with pytest.raises(OSError, match="no space"):
        place.write("a/b", b"new")
    assert place.read("a/b") == b"old"
    assert (place.sizes(["a/b", "c"]), place.read("c")) == ([3, None], None)
    place.delete("a/b")
    place.delete("a/b")
    assert place.sizes(["a/b"]) == [None]
    assert Folder(tmp_path / "none").names() == []
