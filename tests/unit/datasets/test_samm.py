"""SAMM: the published counts under every reading of the coders' cells, and nothing wrong from broken tables."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from fakes.files import lost_and_broken
from helpers.corruption import as_csv, as_workbook, attempt, corrupt, read_rows

from affectkit.datasets.bases.corpus import compare_counts
from affectkit.datasets.samm import SAMM
from affectkit.errors import AnnotationError
from affectkit.facs.expressions import canonical_expression
from affectkit.rehearse.samm import write_samm

TABLE = "SAMM_Micro_FACS_Codes_v2.xlsx"


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    root = tmp_path_factory.mktemp("samm") / "full"
    return root, write_samm(root, size="full", media=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("samm") / "tiny"
    return root, write_samm(root)


def labels(data, policy="first", references=True):
    sets = ({u.id for u in record.au.active(policy, references=references)} for record in data.everything)
    return Counter(number for units in sets for number in units)


def test_published_counts_come_out(full):
    root, manifest = full
    data = SAMM(root)
    found = data.count(media=False)
    assert data.revision == "v2"
    assert compare_counts(SAMM.expected["v2"], found) == []
    assert (found.clips, found.subjects, found.frames) == (159, 29, manifest["counts"]["frames"])
    assert sum(found.positives.values()) == 226
    assert SAMM.expected["v2"].all_units
    assert SAMM.align_per == "clip"


def test_every_row_is_what_was_written(full):
    root, manifest = full
    for place, (record, truth) in enumerate(zip(SAMM(root).everything, manifest["clips"], strict=True)):
        assert (record.clip, record.subject, record.extra["line"]) == (
            truth["clip"],
            truth["subject"],
            place + 15,
        )
        assert [record.extra[f"{key}_frame"] for key in ("onset", "apex", "offset")] == [
            truth["onset"], truth["apex"], truth["offset"]
        ]  # fmt: skip
        assert record.expression == truth["emotion"]
        assert sorted(map(str, record.au.active())) == truth["units"]
        assert record.extra["objective"] == truth["objective_column"]


@pytest.mark.parametrize(
    ("policy", "references", "total", "some"),
    [
        ("first", True, 226, {6: 5, 12: 28, 14: 11, 17: 6, 24: 9}),
        ("all", True, 232, {6: 5, 12: 30, 14: 13, 17: 7, 24: 10}),
        ("drop", True, 221, {6: 3, 12: 26, 14: 10}),
        ("first", False, 217, {}),
    ],
)
def test_readings_of_or_and_ref(full, policy, references, total, some):
    counts = labels(SAMM(full[0]), policy, references)
    assert sum(counts.values()) == total
    assert {unit: counts[unit] for unit in some} == some


def test_meb_readings_and_apices(full):
    data = SAMM(full[0], errata=["meb"])
    counts = labels(data)
    assert sum(counts.values()) == 226
    assert {unit: counts[unit] for unit in (6, 12, 14, 17, 24)} == {6: 3, 12: 28, 14: 13, 17: 6, 24: 9}
    apices = {record.clip: record.extra["apex_frame"] for record in data.everything}
    assert apices["028/028_4_1"] == 1105
    assert apices["032/032_3_1"] == 4945
    assert apices["032/032_3_2"] == 5130
    before = {r.clip: r.extra["apex_frame"] for r in SAMM(full[0]).everything}
    assert (before["028/028_4_1"], before["032/032_3_1"], before["032/032_3_2"]) == (None, None, 5127)


def test_meb_needs_the_published_order_for_readings(tiny):
    data = SAMM(tiny[0], errata=["meb"])
    assert any("not in the published order" in line for line in data.warnings)
    assert labels(data) == labels(SAMM(tiny[0]))


def test_shapes_of_cells(full):
    cells = [row[8] for row in read_rows(full[0] / TABLE)[14:]]
    assert Counter(type(cell) for cell in cells) == {int: 37, str: 122}
    assert sum(not re.fullmatch(r"\d+(\+\d+)*", str(cell)) for cell in cells) == 106
    text = " ".join(map(str, cells))
    for shape in ("A/L", "ref(", "soft focus", " or ", "A/B", "R6 or R12", "(R12 or R14)"):
        assert shape in text
    records = SAMM(full[0]).everything
    units = [coded for record in records for coded in record.au.units]
    assert {coded.unit.side for coded in units} == {None, "L", "R"}
    assert {coded.placement for coded in units} == {None, "T", "B", "A"}
    assert {"A", "B", "C", "D", "E"} <= {grade for coded in units for grade in coded.intensity}
    assert sum(coded.is_reference for coded in units) == 9
    assert [k for k, r in enumerate(records) if any(coded.alternatives for coded in r.au.units)] == [
        15, 18, 41, 64, 154
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "clips", "subjects"),
    [
        ({}, 136, None),
        ({"classes": "samm_8"}, 159, 29),
        ({"classes": "megc3"}, 133, 28),
        ({"classes": "objective"}, 68, 21),
        ({"classes": "objective7"}, 159, 29),
    ],
)
def test_label_sets_have_the_published_sizes(full, options, clips, subjects):
    data = SAMM(full[0], require=["expression"], **options)
    assert len(data) == clips
    assert subjects in (None, len(data.subjects))
    if options.get("classes") == "megc3":
        assert Counter(record.extra["class"] for record in data.clips) == {0: 92, 1: 26, 2: 15}
        assert "025" not in data.subjects


def test_objective_classes(full):
    numbers = Counter(record.extra["objective"] for record in SAMM(full[0]).everything)
    assert numbers == {7: 84, 1: 24, 3: 20, 2: 13, 4: 8, 6: 7, 5: 3}


@pytest.mark.parametrize("notes", [1, 2, 14, 29])
@pytest.mark.parametrize("suffix", [".xlsx", ".csv"])
def test_the_header_may_stand_anywhere_near_the_top(full, tmp_path, notes, suffix):
    rows = read_rows(full[0] / TABLE)[13:]
    rows = [["note"] + [None] * 11] * (notes - 1) + rows
    for place, row in enumerate(rows[notes:]):
        row[6] = None  # the cached value of the formula is gone
        row[0] = (row[0], int(row[0]), f"{int(row[0])}.0")[place % 3]
    path = (tmp_path / TABLE).with_suffix(suffix)
    path.write_bytes(as_workbook(rows) if suffix == ".xlsx" else as_csv(rows))
    data = SAMM(tmp_path)
    assert data.revision == "v2"
    assert compare_counts(SAMM.expected["v2"], data.count(media=False)) == []
    assert data.everything[0].extra["line"] == notes + 1


def test_header_row_of_the_writer(tmp_path):
    write_samm(tmp_path, media=False, header_row=1)
    assert read_rows(tmp_path / TABLE)[0][:2] == ["Subject", "Filename"]
    assert len(SAMM(tmp_path)) == 12


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        (0, "008", "Column 'subject' holds '008'"),
        (0, "x", "Column 'subject' holds 'x'"),
        (0, "037", "is not of subject 037"),
        (1, "006-1-2", "not the name of a clip"),
        (8, "141724", "Not an action-unit code"),
        (8, "12+", "Not an action-unit code"),
        (9, "Rage", "holds 'Rage'"),
        (10, 0, "'objective' holds 0"),
        (10, "VII", "not a whole number"),
    ],
)
def test_broken_cells(tmp_path, column, value, fault):
    write_samm(tmp_path, media=False)
    rows = read_rows(tmp_path / TABLE)
    rows[16][column] = value
    (tmp_path / TABLE).write_bytes(as_workbook(rows))
    with pytest.raises(AnnotationError, match=fault) as caught:
        SAMM(tmp_path)
    assert (caught.value.path, caught.value.line) == (tmp_path / TABLE, 17)


def test_others_is_other(tmp_path):
    write_samm(tmp_path, size="full", media=False)
    rows = read_rows(tmp_path / TABLE)
    for row in rows[14:]:
        row[9] = {"Other": "Others ", "Anger": " angry"}.get(row[9], row[9].upper())
    (tmp_path / TABLE).write_bytes(as_workbook(rows))
    assert len(SAMM(tmp_path, require=["expression"])) == 136


@pytest.mark.parametrize("variant", ["raw", "cropped"])
def test_frames_are_found_whatever_their_padding(tmp_path, variant):
    manifest = write_samm(tmp_path, variant=variant)
    data = SAMM(tmp_path)
    names = [path.name for files in data._files.values() for path in files]
    assert {len(name) for name in names} == {len("006_0180.jpg"), len("006_05562.jpg")}
    for clip, record, truth in zip(data, data.clips, manifest["clips"], strict=True):
        numbers = [int(path.stem.rsplit("_", 1)[1]) for path in data._files[record.clip]]
        assert numbers == list(range(truth["onset"], truth["offset"] + 1))
        assert clip.frames.shape == (len(numbers), 3, 64, 64)
        assert bool((clip.frames[:, 0] == clip.frames[:, 1]).all())  # grey
        assert clip.key_frames[1] == (-1 if truth["apex"] is None else truth["apex"] - truth["onset"])
    assert data.count().missing == ()
    assert data.find_variant(data.tree) == variant


def test_cropped_frames_are_preferred(tmp_path):
    write_samm(tmp_path)
    (tmp_path / "SAMM_CROP" / "006").mkdir(parents=True)
    assert SAMM(tmp_path).tree.root.name == "SAMM_CROP"
    assert SAMM(tmp_path, media="raw").tree.root == tmp_path


def test_defects_are_reported(tmp_path):
    write_samm(tmp_path)
    _, (broken,) = lost_and_broken([record.path for record in SAMM(tmp_path).clips], 2, 1)
    missing = SAMM(tmp_path).count().missing
    assert len(missing) == 3
    assert broken.name in missing[2]


def test_corrupted_tables_give_an_error_or_the_truth(tmp_path):
    manifest = write_samm(tmp_path / "sound", media=False)
    rows = read_rows(tmp_path / "sound" / TABLE)
    for row in rows[14:]:
        row[6] = 70  # a duration, as the table has them
    truths = {truth["clip"]: truth for truth in manifest["clips"]}
    outcomes: dict[str, Counter] = {}
    root = tmp_path / "broken"
    root.mkdir()
    for seed in range(250):
        kind, content, suffix = corrupt(random.Random(seed), rows, 13)
        path = root / f"SAMM_Micro_FACS_Codes_v2{suffix}"
        path.write_bytes(content)
        records, error = attempt(lambda: SAMM(root).everything)
        outcomes.setdefault(kind, Counter())["read" if error is None else "error"] += 1
        if error is not None:
            assert isinstance(error, AnnotationError)
            assert error.path == path
            assert error.line is not None
        for record in records or ():
            truth = truths[record.clip]
            assert record.extra["onset_frame"] == truth["onset"]
            assert record.extra["offset_frame"] == truth["offset"]
            assert record.extra["apex_frame"] in (None, truth["apex"])
            assert record.expression is None or (
                canonical_expression(record.expression) == canonical_expression(truth["emotion"])
            )
            assert not record.au.known or sorted(map(str, record.au.active())) == truth["units"]
            assert record.extra["objective_source"] != "column" or (
                record.extra["objective"] == truth["objective_column"]
            )
        path.unlink()
    assert sum(sum(counts.values()) for counts in outcomes.values()) == 250
    assert outcomes["no header"].keys() == outcomes["row doubled"].keys() == {"error"}
    assert outcomes["columns swapped"].keys() == {"read"}
