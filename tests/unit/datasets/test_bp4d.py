"""BP4D: what is parsed is what the layout writer put there, and the published counts come out."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch
from fakes.coded import bp4d_conflict, bp4d_gap, bp4d_images, bp4d_unknown
from helpers.corruption import attempt

from affectkit.data import open_video
from affectkit.datasets.bases.corpus import compare_counts
from affectkit.datasets.bp4d import BP4D
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError, VideoError
from affectkit.facs import AU_SETS
from affectkit.losses import inverse_frequency_weights
from affectkit.rehearse.bp4d import write_bp4d

# Published with ME-GraphAU and JAA-Net, by training parts.
WEIGHTS = {
    ("part1", "part2"): "1.342985 1.689665 1.248091 .561356 .433044 .435894 .457287 .541004 1.408054 .722762 "
    "1.493145 1.666711",
    ("part1", "part3"): "1.191051 1.337315 1.246995 .558933 .468168 .418041 .440099 .581900 1.670360 .774237 "
    "1.586367 1.726535",
    ("part2", "part3"): "1.132895 1.519623 1.308560 .552098 .507140 .443118 .474432 .535111 1.496040 .749851 "
    "1.582501 1.698632",
}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    root = tmp_path_factory.mktemp("full")
    return root, write_bp4d(root, size="full", media=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return root, write_bp4d(root, pixels=24)


def truth(recording, target):
    """{(frame, unit): code} of a recording in the manifest."""
    if target == "au":
        return {
            (frame, unit): int(code)
            for unit, codes in recording["occurrence"].items()
            for frame, code in zip(recording["frames"], codes, strict=True)
        }
    return {
        (frame, unit): int(level)
        for unit, its in recording["intensity"].items()
        for frame, level in zip(its["frames"], its["levels"], strict=True)
    }


def parsed(dataset, target):
    """{recording: {(frame, unit): value}} of every label of a dataset that is not masked."""
    units = AU_SETS["bp4d34" if target == "au" else "bp4d5"].labels
    found = {}
    for record in dataset.clips:
        labels = dataset.labels(record, range(record.start, record.stop))[target]
        its = found.setdefault(record.extra["sequence"], {})
        for row, column in labels.mask.nonzero().tolist():
            key = (record.start + row + 1, units[column])
            assert key not in its, "a frame stands in two windows"
            its[key] = int(labels.value[row, column])
    return found


def test_the_full_corpus_has_the_published_counts(full):
    root, manifest = full
    dataset = BP4D(root)
    found = dataset.count(media=False)
    published = BP4D.expected["BP4D"]
    assert dataset.revision == "BP4D"
    assert (found.subjects, found.clips, found.frames) == (41, 328, 146_847)
    assert found.positives == published.positives
    assert len(published.positives) == 34
    for part, counts in published.parts.items():
        there = found.parts[part]
        assert (there.subjects, there.clips, there.frames) == (counts.subjects, counts.clips, counts.frames)
        assert {unit: there.positives[unit] for unit in counts.positives} == counts.positives
    assert found.positives == manifest["positives"]
    assert dataset.warnings == [w for w in dataset.warnings if w.startswith("The intensity of")]
    assert found.conflicts == found.missing == ()
    by_task = {
        f"T{task}": sum(
            its["rows"] for name, its in manifest["recordings"].items() if name.endswith(str(task))
        )
        for task in range(1, 9)
    }
    assert list(by_task.values()) == [20074, 20837, 12821, 20208, 20795, 19553, 20339, 12220]


@pytest.mark.parametrize("training", WEIGHTS)
def test_inverse_frequency_weights_are_the_published_ones(full, training):
    parts = BP4D(full[0]).count(media=False).parts
    rates = [
        sum(parts[part].positives[unit] for part in training) / sum(parts[part].frames for part in training)
        for unit in AU_SETS["bp4d12"].labels
    ]
    published = list(map(float, WEIGHTS[training].split()))
    assert [round(weight, 6) for weight in inverse_frequency_weights(rates)] == published


def test_annotations_are_parsed_once(full, monkeypatch, tmp_path):
    monkeypatch.setenv("AFFECTKIT_CACHE", str(tmp_path))
    first = BP4D(full[0])
    monkeypatch.setattr(BP4D, "parse", None)
    again = BP4D(full[0])
    assert [(r.clip, r.start, r.stop) for r in again.clips] == [
        (r.clip, r.start, r.stop) for r in first.clips
    ]
    assert again.count(media=False) == first.count(media=False)
    assert again.warnings == first.warnings


def test_splits_are_whole_subjects(full):
    splits = {split: BP4D(full[0], split=split, fold="part2") for split in ("train", "val", "test")}
    people = {split: set(dataset.subjects) for split, dataset in splits.items()}
    assert len(people["test"]) == 14
    assert "F003" in people["test"]
    assert sum(map(len, people.values())) == len(set.union(*people.values())) == 41
    frames = sum(record.stop - record.start for record in splits["test"].clips)
    assert frames >= 50_182  # intensity files hold a frame more here and there
    assert splits["test"].count(media=False).frames == 146_847  # a count is of the corpus


@pytest.mark.parametrize("target", ["au", "intensity"])
@pytest.mark.parametrize("defect", [None, bp4d_unknown, bp4d_gap])
@pytest.mark.parametrize("quirks", [True, False])
def test_every_label_is_the_one_that_was_written(tmp_path, target, quirks, defect):
    manifest = write_bp4d(tmp_path, media=False, quirks=quirks)
    if defect is not None:
        defect(tmp_path, manifest)
    dataset = BP4D(tmp_path, space="bp4d34")
    assert dataset.spaces == {"au": "bp4d34", "intensity": "intensity:bp4d5"}
    found = parsed(dataset, target)
    for name, recording in manifest["recordings"].items():
        assert found[name] == {key: code for key, code in truth(recording, target).items() if code != 9}
    counted = dataset.count(media=False)
    assert (counted.subjects, counted.clips, counted.frames) == (3, 6, manifest["frames"])
    assert counted.positives == {unit: manifest["positives"][unit] for unit in counted.positives}
    assert {part: its.frames for part, its in counted.parts.items()} == {
        part: its["frames"] for part, its in manifest["parts"].items()
    }


def test_units_outside_the_files_are_masked(tiny):
    dataset = BP4D(tiny[0], space="AU12,AU45", intensity_space="AU12,AU25")
    labels = dataset.labels(dataset.clips[0], [dataset.clips[0].start])
    assert labels["au"].mask.tolist() == [[True, False]]
    assert labels["intensity"].mask[0, 1].item() is False


def test_windows_hold_each_frame_once_and_cross_no_gap(tmp_path):
    manifest = write_bp4d(tmp_path, media=False, quirks=False)
    bp4d_gap(tmp_path, manifest)
    dataset = BP4D(tmp_path)
    own = [r for r in dataset.clips if r.extra["sequence"] == "F001_T1" and r.start != 2449]
    frames = manifest["recordings"]["F001_T1"]["frames"]
    assert [frame for r in own for frame in range(r.start + 1, r.stop + 1)] == frames
    assert own[0].stop - own[0].start == 10
    assert all(r.stop - r.start <= 16 for r in own)
    assert len({r.clip for r in dataset.clips}) == len(dataset.clips)
    assert any("frames 2450-2452 are not coded" in warning for warning in dataset.warnings)
    longest = BP4D(tmp_path, window=None)
    # Between them lie the three frames that only the intensity files code.
    assert [r.stop - r.start for r in longest.clips][:3] == [10, 3, len(frames) - 10]
    rows = sum(len(its["frames"]) for its in manifest["recordings"].values())
    assert len(BP4D(tmp_path, window=1)) == rows + 3
    with pytest.raises(ConfigError, match="0 frames"):
        BP4D(tmp_path, window=0)
    across = dataset.labels(dataset.everything[0], [frames[9] - 1, frames[9], frames[10] - 1])["au"]
    assert across.mask.all(-1).tolist() == [True, False, True]


def test_image_n_shows_label_frame_n_plus_one(tiny):
    root, manifest = tiny
    dataset = BP4D(root)
    assert dataset.image_offset == -1
    clip = dataset[0]
    first = manifest["recordings"]["F001_T1"]["first"]
    assert first == 2440
    assert clip.meta["indices"] == list(range(2439, 2455))
    with open_video(root / "Sequences(2D+3D)/F001/T1/2439.jpg") as reader:
        assert torch.equal(clip.frames[:1], reader.read([0]))
    assert clip.frames.shape == (16, 3, 32, 24)
    shifted = BP4D(root, frame_offset=0)[0]
    assert torch.equal(shifted.frames[0], clip.frames[1])
    assert list(dataset.missing()) == []
    assert {len(p.stem) for p in root.glob("Sequences*/*/*/*.jpg")} == {3, 4}


def test_benchmark_trees_name_images_by_label_frame(tmp_path):
    write_bp4d(tmp_path, layout="benchmark", pixels=24)
    dataset = BP4D(tmp_path)
    assert dataset.image_offset == 0
    with open_video(tmp_path / "BP4D_crop/F001/T1/2440.jpg") as reader:
        assert torch.equal(dataset[0].frames[:1], reader.read([0]))
    assert BP4D(tmp_path, media="BP4D_crop")[0].frames.shape == (16, 3, 32, 24)
    with pytest.raises(ConfigError, match=r"BP4D_crop"):
        BP4D(tmp_path, media="elsewhere")
    # An image with the number 0 can only be counted from 0.
    shutil.move(tmp_path / "BP4D_crop/F001/T1/2440.jpg", tmp_path / "BP4D_crop/F001/T1/0000.jpg")
    assert BP4D(tmp_path).image_offset == -1


def test_what_macos_leaves_in_archives_is_not_read(tiny, tmp_path):
    root, manifest = tiny
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "__MACOSX").mkdir()
    shutil.copytree(root / "Sequences(2D+3D)", tmp_path / "__MACOSX/Sequences(2D+3D)")
    for path in [*tmp_path.rglob("*.jpg"), *tmp_path.rglob("*.csv"), *tmp_path.rglob("*.mat")]:
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    (tmp_path / "empty/F001/T1").mkdir(parents=True)
    (tmp_path / "empty/F001/T1/._0001.jpg").touch()
    dataset = BP4D(tmp_path)
    assert dataset.count().missing == ()
    assert dataset.count().positives == {unit: n for unit, n in manifest["positives"].items() if n >= 0}
    assert dataset.warnings == BP4D(root).warnings


def test_a_second_tree_is_named_and_the_official_one_comes_first(tiny, tmp_path):
    write_bp4d(tmp_path, layout="benchmark", pixels=24)
    shutil.copytree(tmp_path / "BP4D_crop", tmp_path / "more")
    both = BP4D(tmp_path)
    assert any("there are others in" in warning for warning in both.warnings)
    shutil.copytree(tiny[0] / "Sequences(2D+3D)", tmp_path / "Sequences(2D+3D)")
    official = BP4D(tmp_path)
    assert "Sequences" in str(official.clips[0].path)
    assert not any("others" in warning for warning in official.warnings)


def test_legacy_names_are_understood(tiny, tmp_path):
    root, _ = tiny
    shutil.copytree(root / "AUCoding", tmp_path / "AUCoding")
    shutil.copytree(root / "Sequences(2D+3D)/F001/T2", tmp_path / "images/2F01_03")
    (tmp_path / "images/2F01_02").mkdir()
    dataset = BP4D(tmp_path)
    record = next(r for r in dataset.everything if r.clip == "F001_T2")
    assert record.path == tmp_path / "images/2F01_03"
    assert dataset.image_offset == -1


def test_previews_show_label_frame_k_as_their_kth_frame(tmp_path):
    manifest = write_bp4d(tmp_path, preview=True, pixels=32)
    dataset = BP4D(tmp_path)
    record = dataset.clips[0]
    path = tmp_path / "PreviewVideos/F001/F001_T1.avi"
    assert record.path == path
    assert record.start == manifest["recordings"]["F001_T1"]["first"] - 1
    with open_video(path) as reader:
        assert torch.equal(dataset[0].frames, reader.read(range(record.start, record.stop)))
        assert reader.num_frames == manifest["recordings"]["F001_T1"]["last"]
    faults = list(dataset.missing())
    assert all("the video has" in fault for fault in faults)  # intensities go on one frame longer
    assert BP4D(tmp_path, media="preview").clips == dataset.clips
    (tmp_path / "PreviewVideos/F001/F001_T2.avi").write_bytes(b"")
    assert any("F001_T2" in fault for fault in dataset.missing())


def test_missing_and_damaged_images_are_listed_and_left_out(tmp_path):
    manifest = write_bp4d(tmp_path, pixels=24, quirks=False)
    broken = bp4d_images(tmp_path, manifest)
    dataset = BP4D(tmp_path)
    last = manifest["recordings"]["F001_T1"]["last"]
    faults = dataset.count().missing
    assert f"no image of label frames {last - 1}-{last}" in faults[0]
    assert broken.name in faults[1]
    assert len(faults) == 2
    own = [r for r in dataset.clips if r.extra["sequence"] == "F001_T1"]
    assert own[-1].stop == last - 2
    assert any("have no image and are left out" in warning for warning in dataset.warnings)
    with pytest.raises(VideoError):
        dataset[0]
    with pytest.raises(VideoError, match=f"no image {last - 2}"):
        dataset.load(own[0], [last - 2])
    assert dataset.count(media=False).missing == ()


def test_images_of_two_sizes_do_not_share_a_clip(tiny, tmp_path):
    from PIL import Image

    shutil.copytree(tiny[0], tmp_path, dirs_exist_ok=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "Sequences(2D+3D)/F001/T1/2441.jpg")
    with pytest.raises(VideoError, match="differs in size"):
        BP4D(tmp_path)[0]


def test_without_images_there_are_labels_and_a_place_for_images(tmp_path):
    write_bp4d(tmp_path, media=False)
    dataset = BP4D(tmp_path)
    assert dataset.clips[0].path == tmp_path / "Sequences(2D+3D)/F001/T1"
    with pytest.raises(VideoError):
        dataset[0]
    assert len(list(dataset.missing())) == 6
    (tmp_path / "Sequences(2D+3D)/F001/T1").mkdir(parents=True)
    assert len(BP4D(tmp_path)) == len(dataset)


def test_contradictions_between_the_two_codings_are_listed(tmp_path):
    bp4d_conflict(tmp_path, write_bp4d(tmp_path, media=False))
    conflicts = BP4D(tmp_path).count(media=False).conflicts
    assert conflicts == (
        "F001_T1 AU12: 4 frames with the unit and no intensity, 0 with an intensity and no unit",
    )


def test_one_coding_may_be_absent(tmp_path):
    manifest = write_bp4d(tmp_path / "corpus", media=False, quirks=False)
    shutil.move(tmp_path / "corpus/AUCoding/AU_OCC", tmp_path / "away")
    dataset = BP4D(tmp_path / "corpus")
    assert dataset.revision == "BP4D, intensities only"
    assert dataset.spaces == {"intensity": "intensity:bp4d5"}
    found = dataset.count(media=False)
    assert (found.frames, found.positives) == (manifest["frames"], {})
    shutil.rmtree(tmp_path / "corpus/AUCoding")
    with pytest.raises(DatasetNotFoundError, match="no labels"):
        BP4D(tmp_path / "corpus")


def test_absent_files_are_named(tmp_path):
    write_bp4d(tmp_path, media=False, quirks=False)
    (tmp_path / "AUCoding/AU_OCC/F001_T1.csv").unlink()
    for task in ("T1", "T2"):
        (tmp_path / f"AUCoding/AU_INT/AU06/F001_{task}_AU06.csv").unlink()
    dataset = BP4D(tmp_path)
    assert dataset.warnings == [
        "There is no occurrence file of F001_T1; it is masked there",
        "There is no intensity file of AU6 of F001_T1, F001_T2; it is masked there",
    ]
    assert not dataset.labels(dataset.clips[0], [2439])["au"].mask.any()
    assert dataset.count(media=False).parts["part1"].frames < dataset.count(media=False).parts["part2"].frames


def test_recordings_that_the_corpus_has_are_missed(full, tmp_path):
    shutil.copytree(full[0] / "AUCoding/AU_OCC", tmp_path / "AUCoding/AU_OCC")
    (tmp_path / "AUCoding/AU_OCC/F001_T1.csv").unlink()
    path = tmp_path / "AUCoding/AU_OCC/F020_T3.csv"
    lines = path.read_text().splitlines()
    frame, _, codes = lines[-1].partition(",")
    path.write_text("\n".join([*lines, f"{int(frame) + 1},{codes}"]))
    dataset = BP4D(tmp_path)
    assert dataset.warnings == [
        "There are no files of F001_T1",
        "F020: 3647 coded frames, 3646 are published",
    ]
    mismatches = compare_counts(dataset.expected[dataset.revision], dataset.count(media=False))
    assert "clips: 328 expected, 327 found" in mismatches


def test_copies_must_agree(tmp_path):
    write_bp4d(tmp_path, media=False)
    (tmp_path / "old").mkdir()
    path = Path(shutil.copy(tmp_path / "AUCoding/AU_OCC/F001_T1.csv", tmp_path / "old"))
    assert any("this is a copy of" in warning for warning in BP4D(tmp_path).warnings)
    path.write_text(path.read_text().replace("2441,0", "2441,1").replace("2441,9", "2441,1"))
    with pytest.raises(AnnotationError, match=r"old.F001_T1.csv, line 1: It differs from"):
        BP4D(tmp_path)


def test_an_intensity_file_among_those_of_another_unit_is_not_believed(tmp_path):
    write_bp4d(tmp_path, media=False)
    shutil.move(tmp_path / "AUCoding/AU_INT/AU06/F001_T1_AU06.csv", tmp_path / "AUCoding/AU_INT/AU10")
    with pytest.raises(AnnotationError, match="folder of AU10"):
        BP4D(tmp_path)


def _edit(path, change):
    """Rewrites the cells of a file."""
    rows = [line.split(",") for line in path.read_text(encoding="utf-8-sig").splitlines()]
    path.write_text("\n".join(",".join(row) for row in change(rows)))


def test_columns_that_changed_places_are_noticed(tmp_path):
    write_bp4d(tmp_path, media=False, quirks=False)
    path = tmp_path / "AUCoding/AU_OCC/F001_T1.csv"

    def swap(rows):
        return [rows[0], *([*row[:3], row[4], row[3], *row[5:]] for row in rows[1:])]

    _edit(path, swap)
    with pytest.raises(AnnotationError, match="AU3 is coded, which BP4D does not code, and AU4"):
        BP4D(tmp_path)


def test_columns_that_are_more_or_fewer_are_named(tmp_path):
    write_bp4d(tmp_path, media=False, quirks=False)
    occurrence = tmp_path / "AUCoding/AU_OCC"
    _edit(occurrence / "F001_T1.csv", lambda rows: [[*row[:4], *row[5:]] for row in rows])
    _edit(occurrence / "F003_T1.csv", lambda rows: [rows[0], *([*r[:3], "0", *r[4:]] for r in rows[1:])])
    dataset = BP4D(tmp_path)
    assert dataset.warnings == [
        "AU3 is coded in F003_T1, though BP4D leaves it out",
        "AU4 is unknown throughout F001_T1; it is masked there",
    ]
    labels = dataset.labels(dataset.clips[0], [2440])["au"]
    assert labels.mask.tolist() == [[unit.id != 4 for unit in AU_SETS["bp4d12"]]]


def test_the_files_of_bp4d_plus_are_read_by_their_header(tmp_path):
    units = [unit.id for unit in AU_SETS["bp4d34"]]
    folder = tmp_path / "AUCoding/AU_OCC"
    folder.mkdir(parents=True)
    rows = [["0", *map(str, units)], ["1", *("1" if u == 12 else "0" for u in units)]]
    (folder / "F081_T6.csv").write_text("\n".join(",".join(row) for row in rows))
    dataset = BP4D(tmp_path)
    assert dataset.revision == "BP4D+"
    assert dataset.count(media=False).positives["AU12"] == 1
    assert dataset.count(media=False).parts == {}
    (folder / "F081_T6.csv").write_text("0,1,2\n1,0,1\n")
    silent = "No occurrence file codes AU4, AU5, AU6, AU7, AU9 and 27 more; it is masked"
    assert silent in BP4D(tmp_path).warnings


def corrupted(rng, content):
    """A structurally damaged annotation file (bytes)."""
    lines = content.decode("utf-8-sig").splitlines()
    rows = [line.split(",") for line in lines]
    place = rng.randrange(len(rows))
    column = rng.randrange(len(rows[0]))
    kind = rng.randrange(16)
    if kind == 0:
        return content[: rng.randrange(len(content))]
    if kind == 1:
        del rows[place]
    elif kind == 2:
        rows.insert(place, rows[place])
    elif kind == 3:
        other = rng.randrange(len(rows))
        rows[place], rows[other] = rows[other], rows[place]
    elif kind == 4:
        rows = [[*row[:column], *row[column + 1 :]] for row in rows]
    elif kind == 5:
        rows[place] = [*rows[place][:column], *rows[place][column + 1 :]]
    elif kind == 6:
        rows = [[*row[: column + 1], *row[column:]] for row in rows]
    elif kind == 7:
        rows = [[row[column], *row[1:column], row[0], *row[column + 1 :]] if column else row for row in rows]
    elif kind == 8:
        rows[1:] = [
            [row[column], *row[1:column], row[0], *row[column + 1 :]] if column else row for row in rows[1:]
        ]
    elif kind == 9:
        return "\n".join(lines).replace(",", rng.choice(";\t |")).encode()
    elif kind == 10:
        return "\n".join(lines).encode(rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"]))
    elif kind == 11:
        rows[place][column] = rng.choice(["x", "-1", "2.5", "1e0", "77", "99999", "", "NaN", "é", "0x1"])
    elif kind == 12:
        start = rng.randrange(len(content))
        return content[:start] + bytes([rng.randrange(128, 256)]) + content[start:]
    elif kind == 13:
        start = rng.randrange(len(content))
        return content[:start] + b"\0" * 5 + content[start + 5 :]
    elif kind == 14:
        rows = rows[rng.randrange(len(rows)) :]
    else:
        del rows[place : place + rng.randrange(1, 9)]
    return "\n".join(",".join(row) for row in rows).encode("latin-1")


def test_damaged_files_give_an_error_or_right_labels(tmp_path, monkeypatch):
    """200 damages, of which only those that leave a well-formed file may be read at all."""
    manifest = write_bp4d(tmp_path, media=False, quirks=False)
    occurrence = sorted((tmp_path / "AUCoding/AU_OCC").iterdir())
    intensity = sorted((tmp_path / "AUCoding/AU_INT").glob("*/*.csv"))
    monkeypatch.setenv("AFFECTKIT_CACHE", "")
    rng = random.Random(4)
    outcomes = {"error": 0, "warned": 0, "right": 0}
    clean = BP4D(tmp_path).warnings
    for turn in range(200):
        path = rng.choice(occurrence if turn % 2 else intensity)
        content = path.read_bytes()
        path.write_bytes(corrupted(rng, content))
        dataset, error = attempt(lambda: BP4D(tmp_path, space="bp4d34"))
        if error is not None:
            assert error.path == path
            assert error.line is not None
            assert error.line >= 1
            assert error.remedy
            outcomes["error"] += 1
        else:
            lost = 0
            for target in ("au", "intensity"):
                found = parsed(dataset, target)
                for name, recording in manifest["recordings"].items():
                    right = {k: v for k, v in truth(recording, target).items() if v != 9}
                    its = found.get(name, {})
                    assert its.items() <= right.items()
                    lost += len(right) - len(its)
            if lost:
                assert dataset.warnings != clean
                outcomes["warned"] += 1
            else:
                outcomes["right"] += 1
        path.write_bytes(content)
    assert min(outcomes.values()) > 5, outcomes
