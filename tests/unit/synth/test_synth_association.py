import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from affectkit.cli.data import render as run
from affectkit.errors import AnnotationError, ConfigError
from affectkit.facs import AU_SETS, EXPRESSION_SETS, prior
from affectkit.synth import association_table, render_corpus

CLASSES, UNITS = EXPRESSION_SETS["basic7"], AU_SETS["rendered"]
ONE_UNIT = {
    name: {f"AU{unit}": 1.0} for name, unit in zip(CLASSES.labels, (1, 2, 4, 5, 9, 12, 15), strict=True)
}


def as_csv(table):
    units = list(dict.fromkeys(unit for row in table.values() for unit in row))
    lines = [",".join(["expression", *units])]
    lines += [",".join([name, *(str(row.get(unit, 0.0)) for unit in units)]) for name, row in table.items()]
    return "\n".join(lines) + "\n"


def test_without_an_association_the_table_is_that_of_facs():
    np.testing.assert_array_equal(
        association_table(None, CLASSES, UNITS, absent=0.03),
        prior(CLASSES, UNITS, absent=0.03, neutral=0.03),
    )


def test_a_file_says_the_same_as_a_mapping(tmp_path):
    path = tmp_path / "planted.csv"
    path.write_text(as_csv(ONE_UNIT))
    found = association_table(path, CLASSES, UNITS, absent=0.0)
    np.testing.assert_array_equal(found, association_table(ONE_UNIT, CLASSES, UNITS, absent=0.0))
    assert found.sum() == 7
    assert [UNITS.labels[k] for k in found.argmax(1)] == ["AU1", "AU2", "AU4", "AU5", "AU9", "AU12", "AU15"]


def test_what_is_not_named_has_the_probability_of_other_units():
    found = association_table({name: {"AU6": 0.5} for name in CLASSES.labels}, CLASSES, UNITS, absent=0.04)
    assert set(found.ravel().tolist()) == {0.5, 0.04}


@pytest.mark.parametrize(
    ("old", "new", "line", "fault"),
    [
        ("expression,", "class,", 1, "header"),
        ("fear,", "awe,", None, "awe"),
        ("AU12", "AU46", None, "AU46"),
        ("1.0", "1.5", 2, r"1\.5"),
        ("1.0", "nan", 2, "nan"),
        ("1.0", "much", 2, "'much'"),
        ("1.0,", "", 2, "of 7 numbers"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, old, new, line, fault):
    path = tmp_path / "planted.csv"
    path.write_text(as_csv(ONE_UNIT).replace(old, new, 1))
    with pytest.raises(AnnotationError, match=fault) as caught:
        association_table(path, CLASSES, UNITS, absent=0.0)
    assert caught.value.path == path
    assert line is None or caught.value.line == line


def test_a_missing_or_empty_file_is_named(tmp_path):
    with pytest.raises(AnnotationError, match="cannot be read"):
        association_table(tmp_path / "none.csv", CLASSES, UNITS, absent=0.0)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(AnnotationError, match="header"):
        association_table(tmp_path / "empty.csv", CLASSES, UNITS, absent=0.0)


@pytest.mark.parametrize(
    "table",
    [{"happiness": {"AU12": 1.0}}, {**ONE_UNIT, "fear": {"AU12": 2.0}}, {**ONE_UNIT, "awe": {"AU12": 1.0}}],
)
def test_a_mapping_that_is_no_table_is_an_error(table):
    with pytest.raises(ConfigError):
        association_table(table, CLASSES, UNITS, absent=0.0)


def test_a_corpus_shows_the_planted_units(tmp_path):
    settings = {"identities": 4, "clips": 7, "frames_per_clip": 6, "size": 16, "seed": 3, "independent": 0.0}
    root = render_corpus(tmp_path / "c", **settings, association=ONE_UNIT, num_workers=1, progress=False)
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest["association"]["sadness"]["AU15"] == ONE_UNIT["sadness"].get("AU15", 0.0)
    index = pq.read_table(root / "index.parquet").to_pandas().set_index("clip")["expression"]
    frames = pq.read_table(root / "frames.parquet").to_pandas()
    seen = (frames.groupby("clip")[list(UNITS.columns)].max() > 0).groupby(index).mean()
    for name, row in ONE_UNIT.items():
        (unit,) = row
        shown = seen.loc[name]
        assert shown[shown > 0].to_dict() == {UNITS.columns[UNITS.labels.index(unit)]: 1.0}


def test_the_command_line_takes_a_table_and_renders_anew_when_it_changes(tmp_path, capsys):
    table = tmp_path / "planted.csv"
    table.write_text(as_csv(ONE_UNIT))
    command = [
        f"--output={tmp_path / 'c'}",
        "--identities=3",
        "--clips=1",
        "--frames-per-clip=4",
        "--size=16",
    ]
    command += ["--workers=1", f"--association={table}"]
    hashes = []
    for planted in (ONE_UNIT, {**ONE_UNIT, "neutral": {"AU25": 0.5}}):
        table.write_text(as_csv(planted))
        assert run(command) == 0
        hashes.append(json.loads((tmp_path / "c" / "manifest.json").read_text())["content_hash"])
    assert hashes[0] != hashes[1]
    assert "rendered clips" in capsys.readouterr().out
