"""CASME II: every count and quirk of the distributed tables, and nothing wrong from broken ones."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter

import numpy as np
import openpyxl
import pytest
import torch
from fakes.files import apex_outside, lost_and_broken
from helpers.corruption import as_workbook, attempt, corrupt, read_rows

from affectkit.data.frames import OnsetApex
from affectkit.datasets.bases.corpus import compare_counts
from affectkit.datasets.casme2 import CASME2
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError, VideoError
from affectkit.facs.expressions import canonical_expression
from affectkit.rehearse.casme2 import write_casme2
from affectkit.synth.writers import write_video

TABLES = {
    "20140508": "CASME2-coding-20140508.xlsx",
    "20190701": "CASME2-coding-20190701.xlsx",
    "MEB": "CASME2-coding-updated.xlsx",
}

MEB = {
    29: 279, 35: 68, 43: 77, 45: 81, 51: 166, 53: 100, 60: 78, 117: 187, 118: 89, 126: 80, 136: 88, 147: 134,
    155: 231, 168: 53, 170: 329, 177: 111, 202: 91, 203: 103, 234: 98, 237: 153, 238: 98,
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The three revisions in full, without media."""
    root = tmp_path_factory.mktemp("casme2")
    return {
        revision: (
            root / revision,
            write_casme2(root / revision, size="full", media=False, revision=revision),
        )
        for revision in TABLES
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("casme2") / "tiny"
    return root, write_casme2(root)


@pytest.mark.parametrize("revision", TABLES)
def test_published_counts_come_out(tables, revision):
    root, manifest = tables[revision]
    data = CASME2(root)
    found = data.count(media=False)
    assert data.revision == revision
    assert compare_counts(CASME2.expected[revision], found) == []
    assert found.missing == found.conflicts == ()
    assert found.frames == manifest["counts"]["frames"]
    assert (found.clips, found.subjects) == (256 if revision == "MEB" else 255, 26)


@pytest.mark.parametrize("revision", TABLES)
def test_every_row_is_what_was_written(tables, revision):
    root, manifest = tables[revision]
    records = CASME2(root).everything
    assert len(records) == len(manifest["clips"])
    for place, (record, truth) in enumerate(zip(records, manifest["clips"], strict=True)):
        assert (record.clip, record.subject, record.extra["line"]) == (
            truth["clip"],
            truth["subject"],
            place + 2,
        )
        assert [record.extra[f"{key}_frame"] for key in ("onset", "apex", "offset")] == [
            truth["onset"], truth["apex"], truth["offset"]
        ]  # fmt: skip
        assert record.expression == truth["emotion"]
        if truth["units"] is None:
            assert not record.au.known
        else:
            assert sorted(map(str, record.au.active())) == truth["units"]
        if revision == "20190701":
            assert (record.extra["objective"], record.extra["objective_source"]) == (
                truth["objective_column"], "column"
            )  # fmt: skip


def test_quirks_of_2014(tables):
    records = {record.clip: record for record in CASME2(tables["20140508"][0]).everything}
    assert list(records)[29] == "sub04/EP12_01f"
    assert records["sub04/EP12_01f"].extra["no_apex"] == "the cell holds '/'"
    assert [name for name, record in records.items() if not record.au.known] == [
        "sub05/EP05_03", "sub05/EP07_01", "sub05/EP13_04f", "sub19/EP11_01f", "sub26/EP13_01"
    ]  # fmt: skip
    assert sum(any(coded.unit.side for coded in record.au.units) for record in records.values()) == 49
    cells = [row[7] for row in read_rows(tables["20140508"][0] / TABLES["20140508"])[1:]]
    assert Counter(type(cell) for cell in cells) == {int: 133, str: 122}
    equal = {
        name
        for name, r in records.items()
        if r.extra["apex_frame"] in (r.extra["onset_frame"], r.extra["offset_frame"])
    }
    assert equal == {
        "sub05/EP09_05f", "sub05/EP16_04f", "sub12/EP09_06", "sub20/EP16_01", "sub25/EP18_04f"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("revision", "options", "clips", "subjects"),
    [
        ("20140508", {}, 246, 26),
        ("20140508", {"classes": "casme2_7"}, 255, 26),
        ("20140508", {"classes": "megc3"}, 145, 24),
        ("20140508", {"errata": ["paper247"]}, 247, 26),
        ("20140508", {"classes": "casme2_7", "errata": ["extra_clips"]}, 257, 26),
        ("20190701", {}, 249, 26),
        ("20190701", {"classes": "objective"}, 174, None),
        ("20190701", {"classes": "objective7"}, 255, 26),
    ],
)
def test_label_sets_have_the_published_sizes(tables, revision, options, clips, subjects):
    data = CASME2(tables[revision][0], require=["expression"], **options)
    assert len(data) == clips
    assert subjects in (None, len(data.subjects))


def test_five_classes_by_subject(tables):
    data = CASME2(tables["20140508"][0], require=["expression"])
    counts = Counter(record.subject for record in data.clips)
    written = CASME2.expected["20140508"].parts
    fewer = {"sub09": 13, "sub10": 13, "sub17": 34, "sub19": 15, "sub24": 7, "sub26": 16}
    assert counts == {name: fewer.get(name, part.clips) for name, part in written.items()}


def test_megc_classes(tables):
    data = CASME2(tables["20140508"][0], classes="megc3", require=["expression"])
    assert Counter(record.extra["class"] for record in data.clips) == {0: 88, 1: 32, 2: 25}
    assert not {"sub10", "sub18"} & set(data.subjects)


def test_objective_classes_from_file_column_and_rules(tmp_path):
    manifest = write_casme2(tmp_path, size="full", media=False, revision="20190701", objective_file=True)
    data = CASME2(tmp_path, classes="objective", require=["expression"])
    assert (len(data), len(data.subjects)) == (185, 26)
    numbers = Counter(record.extra["objective"] for record in CASME2(tmp_path).clips)
    assert numbers == {1: 25, 2: 15, 3: 99, 4: 26, 5: 20, 6: 1, 7: 69}
    numbers = Counter(record.extra["objective"] for record in CASME2(tmp_path, objective="column").clips)
    assert numbers == {1: 30, 2: 18, 3: 93, 4: 15, 5: 18, 6: 2, 7: 79}
    rules = CASME2(tmp_path, objective="rules").clips
    assert all(record.extra["objective_source"] == "rules" for record in rules)
    simple = {"AU4": 3, "AU12": 1, "AU14": 7}
    for record, truth in zip(rules, manifest["clips"], strict=True):
        if len(truth["units"]) == 1 and truth["units"][0] in simple:
            assert record.extra["objective"] == simple[truth["units"][0]]
    # A file that knows other clips is used as far as it goes.
    path = tmp_path / "CASME2-ObjectiveClasses.xlsx"
    rows = read_rows(path)
    path.write_bytes(as_workbook([*rows[:-1], [26, "EP19_19f", 7]]))
    data = CASME2(tmp_path)
    assert data.clips[-1].extra["objective_source"] == "column"
    assert any("lacks: 1, other clips: 1" in line for line in data.warnings)
    for bad in ([*rows[1][:2], 3], [26, "EP19_19f", None]):
        path.write_bytes(as_workbook([*rows, bad]))
        with pytest.raises(AnnotationError, match="of this subject") as caught:
            CASME2(tmp_path)
        assert caught.value.line == 257


def test_unknown_units_have_no_class_by_rules(tables):
    data = CASME2(tables["20140508"][0], objective="rules")
    unknown = [record for record in data.clips if not record.au.known]
    assert {record.extra["objective"] for record in unknown} == {None}


def test_meb_corrections_go_by_the_published_order(tables, tmp_path):
    for revision in ("20140508", "MEB"):
        records = {r.clip: r for r in CASME2(tables[revision][0], errata=["meb"]).everything}
        apices = {name: record.extra["apex_frame"] for name, record in records.items()}
        assert apices["sub04/EP12_01f"] == 279
        assert apices["sub05/EP16_04f"] == 166
        assert apices["sub12/EP09_06"] == 89
        assert apices["sub25/EP18_04f"] == 98
        assert records["sub07/EP06_01"].extra["offset_frame"] == 91
        assert apices["sub07/EP06_01"] == 78
        order = [name for name in apices if name != "sub24/EP02_07"]
        order.insert(222, "sub24/EP02_07")
        assert {row: apices[order[row]] for row in MEB} == MEB
        before = {r.clip: r.extra["apex_frame"] for r in CASME2(tables[revision][0]).everything}
        changed = {name for name, apex in apices.items() if before[name] != apex}
        assert changed <= {order[row] for row in MEB}
    rows = read_rows(tables["20140508"][0] / TABLES["20140508"])
    (tmp_path / TABLES["20140508"]).write_bytes(as_workbook([rows[0], *rows[2:]]))
    with pytest.raises(ConfigError, match="published order"):
        CASME2(tmp_path, errata=["meb"])


def test_a_correction_that_does_not_fit_is_left_out(tables, tmp_path):
    rows = read_rows(tables["20140508"][0] / TABLES["20140508"])
    rows[30][3:6] = [400, 410, 420]
    (tmp_path / TABLES["20140508"]).write_bytes(as_workbook(rows))
    data = CASME2(tmp_path, errata=["meb"])
    assert data.everything[29].extra["apex_frame"] == 410
    assert any("the apex 279 of MEB does not fit" in line for line in data.warnings)


def test_xzq_key_frames_and_extra_clips(tables):
    data = CASME2(tables["20140508"][0], errata=["xzq", "extra_clips"])
    records = {record.clip: record for record in data.everything}
    frames = [records["sub12/EP09_02"].extra[f"{key}_frame"] for key in ("onset", "apex", "offset")]
    assert frames == [161, 176, 206]
    assert records["sub09/EP02_02f"].expression == "happiness"
    assert str(next(iter(records["sub09/EP02_02f"].au.active()))) == "AU12L"
    assert records["sub24/EP02_07"].extra["offset_frame"] == 66
    assert data.revision == "20140508"


def test_edited_copies_are_noticed(tables, tmp_path):
    rows = read_rows(tables["20140508"][0] / TABLES["20140508"])
    rows[30][4] = 300
    shuffled = [[row[k] for k in (8, 7, 5, 4, 3, 1, 0)] for row in rows]  # no blank columns, another order
    (tmp_path / "my coding of casme2.xlsx").write_bytes(as_workbook(shuffled))
    data = CASME2(tmp_path)
    assert compare_counts(CASME2.expected["20140508"], data.count(media=False)) == []
    assert any("An edited copy: sub04/EP12_01f has the apex 300" in line for line in data.warnings)
    rows[5][7] = 12 if rows[5][7] != 12 else 4
    (tmp_path / "my coding of casme2.xlsx").write_bytes(as_workbook(rows))
    data = CASME2(tmp_path)
    assert data.revision == "20140508"
    assert any(line.startswith("No known revision; 20140508 is the closest") for line in data.warnings)


def test_units_that_no_revision_holds_are_mismatches(tables, tmp_path):
    rows = read_rows(tables["20140508"][0] / TABLES["20140508"])
    rows[5][7] = f"{rows[5][7]}+43"
    (tmp_path / TABLES["20140508"]).write_bytes(as_workbook(rows))
    data = CASME2(tmp_path)
    mismatches = compare_counts(CASME2.expected[data.revision], data.count(media=False))
    assert mismatches == ["positives AU43: 0 expected, 1 found"]
    assert all(expected.all_units for expected in CASME2.expected.values())


def test_subjects_may_be_written_in_several_ways(tables, tmp_path):
    rows = read_rows(tables["20140508"][0] / TABLES["20140508"])
    for place, row in enumerate(rows[1:]):
        row[0] = (int(row[0]), f"sub{row[0]}", f"{int(row[0])}.0", f" {row[0]} ")[place % 4]
    (tmp_path / "CASME2-coding.xlsx").write_bytes(as_workbook(rows))
    assert CASME2(tmp_path).revision == "20140508"


def test_the_2014_table_is_preferred_and_another_can_be_chosen(tables, tmp_path):
    for revision, (root, _) in tables.items():
        shutil.copy(root / TABLES[revision], tmp_path)
    data = CASME2(tmp_path)
    assert data.revision == "20140508"
    assert any(
        "is read, not CASME2-coding-20190701.xlsx, CASME2-coding-updated.xlsx" in w for w in data.warnings
    )
    assert CASME2(tmp_path, sheet=TABLES["20190701"]).revision == "20190701"
    assert CASME2(tmp_path / TABLES["MEB"]).revision == "MEB"
    with pytest.raises(DatasetNotFoundError, match="spreadsheet"):
        CASME2(tmp_path, sheet="none.xlsx")


def test_tables_are_needed(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="no spreadsheet of CASME2"):
        CASME2(tmp_path)
    with pytest.raises(DatasetNotFoundError):
        CASME2(tmp_path / "none")
    (tmp_path / "CASME2-coding.csv").write_text(
        "Subject,Filename,OnsetFrame,ApexFrame,OffsetFrame,AU,Emotion\n"
    )
    with pytest.raises(AnnotationError, match="no row"):
        CASME2(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("alternatives", "best"), ("apex", "guess"), ("objective", "web"), ("media", "depth"), ("errata", ["x"]),
     ("require", ["valence"])],
)  # fmt: skip
def test_unknown_options(tiny, name, value):
    with pytest.raises(ConfigError, match=f"{name}="):
        CASME2(tiny[0], **{name: value})


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        (0, "27", "Column 'subject' holds '27'"),
        (0, None, "Column 'subject' holds None"),
        (1, "clip 7", "not the name of a clip"),
        (1, None, "not the name of a clip"),
        (3, None, "'onset' is empty"),
        (3, 0, "'onset' holds 0"),
        (3, 900, "goes from frame 900"),
        (5, 9000, "to frame 9000"),
        (4, "x", "not a whole number"),
        (7, "612", "612"),
        (7, 10**8, "Not an action-unit code"),
        (7, 1e22, "Not an action-unit code"),
        (7, 4.5, "Not an action-unit code"),
        (7, True, "not bool"),
        (8, "tense", "holds 'tense'"),
        (9, 8, "'objective' holds 8"),
    ],
)
def test_broken_cells(tmp_path, column, value, fault):
    write_casme2(tmp_path, media=False, revision="20190701")
    path = tmp_path / TABLES["20190701"]
    rows = read_rows(path)
    rows[4][column] = value
    path.write_bytes(as_workbook(rows))
    with pytest.raises(AnnotationError, match=fault) as caught:
        CASME2(tmp_path)
    assert (caught.value.path, caught.value.line) == (path, 5)


@pytest.mark.parametrize("cell", ["/", None, -1, 0, "", 9999, 1])
def test_a_missing_apex_has_a_reason_and_is_not_guessed(tmp_path, cell):
    write_casme2(tmp_path, media=False)
    path = tmp_path / TABLES["20140508"]
    rows = read_rows(path)
    rows[5][4] = cell
    path.write_bytes(as_workbook(rows))
    data = CASME2(tmp_path)
    assert data.everything[4].extra["apex_frame"] is None
    assert data.everything[4].extra["no_apex"]
    assert any(line.startswith(f"{data.everything[4].clip}, line 6: no apex") for line in data.warnings)


def test_swapped_columns_are_not_read(tmp_path):
    write_casme2(tmp_path, media=False)
    path = tmp_path / TABLES["20140508"]
    rows = read_rows(path)
    for row in rows[1:]:
        row[3], row[4] = (row[3], row[4]) if row[4] == "/" else (row[4], row[3])
    path.write_bytes(as_workbook(rows))
    with pytest.raises(AnnotationError, match="apex is not between"):
        CASME2(tmp_path)


# --- media -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["cropped", "selected", "raw", "video"])
def test_frames_are_found_by_number(tmp_path, variant):
    manifest = write_casme2(tmp_path, variant=variant)
    path = CASME2(tmp_path).clips[0].path
    more = path.with_name(f"EP99_01{path.suffix}")
    shutil.copy(path, more) if path.is_file() else shutil.copytree(path, more)
    data = CASME2(tmp_path)
    found = data.count()
    assert found.missing == ()
    assert found.frames == manifest["counts"]["frames"]
    assert any("not in the table: 1, sub04/EP99_01" in line for line in data.warnings)
    for clip, truth in zip(data, manifest["clips"], strict=True):
        length = truth["offset"] - truth["onset"] + 1
        assert clip.frames.shape == (length, 3, 64, 64)
        apex = -1 if truth["apex"] is None else truth["apex"] - truth["onset"]
        assert clip.key_frames.tolist() == [0, apex, length - 1]


def test_numbers_order_the_files(tiny):
    root, manifest = tiny
    data = CASME2(root)
    truth = manifest["clips"][0]
    record = data.clips[0]
    numbers = [int(path.stem.removeprefix("reg_img")) for path in data._files[record.clip]]
    assert numbers == list(range(truth["onset"], truth["offset"] + 1))
    assert numbers != sorted(numbers, key=str)


def test_targets(tiny):
    root, manifest = tiny
    data = CASME2(root)
    for clip, truth in zip(data, manifest["clips"], strict=True):
        au, expression = clip.targets["au"], clip.targets["expression"]
        assert (au.space, expression.space) == ("casme2_8", "casme2_5")
        if truth["units"] is None:
            assert not au.mask.any()
        else:
            numbers = {int(name[2:].rstrip("LR")) for name in truth["units"]}
            assert au.mask.all()
            assert au.value.tolist() == [float(n in numbers) for n in (1, 2, 4, 7, 12, 14, 15, 17)]
        word = canonical_expression(truth["emotion"])
        classes = ("happiness", "disgust", "repression", "surprise", "other")
        assert expression.mask.item() == (word in classes)
        if word in classes:
            assert classes[expression.value] == word


def test_apex_policies(tiny):
    root, manifest = tiny
    frames = OnsetApex(2)
    data = CASME2(root, sampler=frames)
    place = next(k for k, record in enumerate(data.clips) if record.extra["apex_frame"] is None)
    record = data.clips[place]
    assert record.apex is None
    assert data[place].meta["indices"] == [record.onset, (record.onset + record.offset) // 2]
    other = next(k for k, record in enumerate(data.clips) if record.apex is not None)
    assert data[other].meta["indices"] == [data.clips[other].onset, data.clips[other].apex]
    with pytest.raises(AnnotationError, match="no apex"):
        CASME2(root, sampler=frames, apex="none")[place]
    assert len(CASME2(root, apex="drop")) == len(data) - 1
    assert len(CASME2(root, require=["au"])) == sum(truth["units"] is not None for truth in manifest["clips"])


def test_defects_are_reported_and_clamped(tmp_path):
    manifest = write_casme2(tmp_path)
    apex_outside(next(tmp_path.glob("*.xlsx")))
    folders = [record.path for record in CASME2(tmp_path).clips]
    (lost,), (broken,) = lost_and_broken(folders, 1, 1)
    data = CASME2(tmp_path)
    missing = data.count().missing
    assert len(missing) == 2
    number = int(lost.stem.rpartition("img")[2])
    assert f"frames {number} are missing" in missing[0]
    assert broken.name in missing[1]
    first = manifest["clips"][0]
    assert data[0].frames.shape[0] == first["offset"] - first["onset"]
    assert any(f"frames {number} are not on disk" in line for line in data.warnings)
    assert any("is not between onset and offset" in line for line in data.warnings)
    with pytest.raises(VideoError):
        data[1]
    assert not CASME2(tmp_path, on_error="skip")[1].valid


def test_clips_without_frames(tmp_path):
    manifest = write_casme2(tmp_path)
    data = CASME2(tmp_path)
    for record in data.clips[:2]:
        shutil.rmtree(record.path)
    data.clips[1].path.mkdir()
    for file in data._files[data.clips[2].clip]:
        file.rename(file.with_name(f"reg_img{int(file.stem[7:]) + 5000}.jpg"))
    apex = data._files[data.clips[3].clip][data.clips[3].apex or 0]
    apex.unlink()
    data = CASME2(tmp_path)
    missing = data.count().missing
    assert "no such file or folder" in missing[0]
    assert "are missing" in missing[1]
    assert any("its frames are not on disk" in line for line in data.warnings)
    assert any("none of its frames is on disk" in line for line in data.warnings)
    assert "is not among the files" in data.clips[3].extra["no_apex"]
    assert data.clips[3].apex is None
    assert manifest["clips"][3]["apex"] == data.clips[3].extra["apex_frame"]
    for place in (0, 1, 2):
        with pytest.raises(VideoError):
            data[place]


def test_frames_of_two_sizes(tmp_path):
    from PIL import Image

    write_casme2(tmp_path)
    data = CASME2(tmp_path)
    Image.new("RGB", (8, 8)).save(data._files[data.clips[0].clip][1])
    with pytest.raises(VideoError, match="differs in size"):
        data[0]


def test_videos_that_are_short_or_broken(tmp_path):
    write_casme2(tmp_path, variant="video")
    data = CASME2(tmp_path)
    data.clips[2].path.write_bytes(b"no video")
    missing = CASME2(tmp_path).count().missing
    assert len(missing) == 1
    assert data.clips[2].clip in missing[0]
    write_video(tmp_path / "short.avi", np.zeros((5, 16, 16, 3), np.uint8), fps=25.0)
    shutil.copy(tmp_path / "short.avi", data.clips[0].path)
    assert "the video has 5" in CASME2(tmp_path).count().missing[0]


@pytest.mark.parametrize(("source", "name"), [("cropped", "cropped"), ("raw", "raw"), ("video", "video")])
def test_trees_without_a_telling_name(tmp_path, source, name):
    write_casme2(tmp_path / "a", variant=source)
    folder = next(path for path in (tmp_path / "a").iterdir() if path.is_dir())
    folder.rename(tmp_path / "a" / "frames")
    assert len(CASME2(tmp_path / "a", media=name)[0].frames) > 5


def test_variants_are_chosen(tmp_path):
    write_casme2(tmp_path)
    (tmp_path / "CASME2-RAW" / "sub04").mkdir(parents=True)
    (tmp_path / "CASME2-RAW" / "sub04" / ".DS_Store").touch()
    data = CASME2(tmp_path)
    assert data.find_variant(data.tree) == "cropped"
    assert CASME2(tmp_path, media="raw").tree.root.name == "CASME2-RAW"
    with pytest.raises(DatasetNotFoundError, match=r"found: .*raw"):
        CASME2(tmp_path, media="video")
    table = tmp_path / "Cropped" / "CASME2-coding.xlsx"
    shutil.copy(tmp_path / TABLES["20140508"], table)
    assert CASME2(tmp_path / "Cropped").find_variant(CASME2(tmp_path / "Cropped").tree) == "cropped"


def test_what_macos_leaves_in_archives_is_not_read(tiny, tmp_path):
    shutil.copytree(tiny[0], tmp_path, dirs_exist_ok=True)
    for path in [*tmp_path.rglob("*.jpg"), *tmp_path.glob("*.xlsx")]:
        for other in (path.parent, tmp_path / "__MACOSX" / path.parent.relative_to(tmp_path)):
            other.mkdir(parents=True, exist_ok=True)
            (other / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    data = CASME2(tmp_path)
    assert data.tree.root == tmp_path / "Cropped"
    assert data.count().missing == ()
    assert data.warnings == CASME2(tiny[0]).warnings


def test_without_media(tables):
    root, _ = tables["20140508"]
    data = CASME2(root)
    assert data.count().missing == (f"{root}: there is no folder with the frames of CASME2",)
    with pytest.raises(VideoError):
        data[0]


def test_empty_tree_is_raw(tmp_path):
    write_casme2(tmp_path, media=False)
    (tmp_path / "frames" / "sub01").mkdir(parents=True)
    data = CASME2(tmp_path, media="raw")
    assert len(data.count().missing) == len(data)


def test_leave_one_subject_out(tiny):
    data = CASME2(tiny[0], split="test", fold="sub05")
    assert {record.subject for record in data.clips} == {"sub05"}
    train = CASME2(tiny[0], split="train", fold="sub05")
    assert "sub05" not in train.subjects
    assert set(data.parts()) == {"sub04", "sub05", "sub12", "sub17"}


# --- corruption --------------------------------------------------------------------------------------------------


def assert_nothing_wrong(records, truths):
    """Every record says what was written, or that it is not known."""
    for record in records:
        truth = truths[record.clip]
        assert record.extra["onset_frame"] == truth["onset"]
        assert record.extra["offset_frame"] == truth["offset"]
        assert record.extra["apex_frame"] in (None, truth["apex"])
        assert record.expression is None or (
            canonical_expression(record.expression) == canonical_expression(truth["emotion"])
        )
        if record.au.known:
            assert sorted(map(str, record.au.active())) == truth["units"]
        assert record.extra["objective_source"] != "column" or (
            record.extra["objective"] == truth["objective_column"]
        )


@pytest.mark.parametrize("revision", ["20140508", "20190701"])
def test_corrupted_tables_give_an_error_or_the_truth(tmp_path, revision):
    manifest = write_casme2(tmp_path / "sound", media=False, revision=revision)
    rows = read_rows(tmp_path / "sound" / TABLES[revision])
    truths = {truth["clip"]: truth for truth in manifest["clips"]}
    outcomes: dict[str, Counter] = {}
    root = tmp_path / "broken"
    root.mkdir()
    for seed in range(150):
        kind, content, suffix = corrupt(random.Random(seed), rows, 0)
        path = root / f"CASME2-coding{suffix}"
        path.write_bytes(content)
        records, error = attempt(lambda: CASME2(root).everything)
        outcomes.setdefault(kind, Counter())["read" if error is None else "error"] += 1
        if error is None:
            assert_nothing_wrong(records, truths)
        else:
            assert isinstance(error, AnnotationError)
            assert error.path == path
            assert error.line is not None
        path.unlink()
    assert sum(sum(counts.values()) for counts in outcomes.values()) == 150
    assert outcomes["no header"].keys() == outcomes["row doubled"].keys() == {"error"}
    assert outcomes["columns swapped"].keys() == {"read"}


def test_manifest_is_marked_and_repeatable(tmp_path, tiny):
    root, manifest = tiny
    assert json.loads((root / "rehearsal.json").read_text()) == manifest
    assert manifest["rendered"] is True
    assert write_casme2(tmp_path / "again") == manifest
    first = next(iter(sorted((root / "Cropped").rglob("*.jpg"))))
    assert first.read_bytes() == (tmp_path / "again" / first.relative_to(root)).read_bytes()
    assert openpyxl.load_workbook(root / TABLES["20140508"]).sheetnames == ["Sheet1", "Sheet2", "Sheet3"]


def test_rehearsal_counts_are_found(tiny):
    root, manifest = tiny
    found = CASME2(root).count()
    counts = manifest["counts"]
    assert (found.subjects, found.clips, found.frames) == (
        counts["subjects"],
        counts["clips"],
        counts["frames"],
    )
    assert dict(found.positives) == counts["positives"]
    assert dict(found.classes) == counts["classes"]
    assert {name: part.clips for name, part in found.parts.items()} == {
        name: part["clips"] for name, part in counts["parts"].items()
    }
    assert torch.equal(CASME2(root)[0].frames, CASME2(root, cache="memory")[0].frames)
