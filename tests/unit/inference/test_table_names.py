"""Names of tables: distinct, portable and stable."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from affectkit.errors import ConfigError
from affectkit.inference import Row
from affectkit.inference.formats import TableWriter
from affectkit.inference.sources import Media, find_media, fingerprint
from affectkit.inference.table_names import plan_tables

CSV = (".csv", [".csv", ".jsonl", ".parquet"])


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def plan(media, output):
    return [path.as_posix() for path in plan_tables(media, output, *CSV)]


def test_one_goes_to_a_table_and_many_to_a_folder():
    talk = Media(Path("in/talk.mp4"), Path("talk.mp4"))
    walk = Media(Path("in/walk"), Path("walk"))
    assert plan([talk], "x/face.PARQUET") == ["x/face.PARQUET"]
    assert plan([talk], "x") == ["x/talk.csv"]
    assert plan([talk, walk], "x") == ["x/talk.csv", "x/walk.csv"]
    with pytest.raises(ConfigError, match="2 media cannot go to the one table"):
        plan([talk, walk], "x.csv")
    found = Media(Path("in/talk.mp4"), Path("talk.mp4"), single=False)
    with pytest.raises(ConfigError, match="found in a folder"):
        plan([found], "x.csv")


def test_other_files_are_no_folders(tmp_path):
    talk = Media(Path("in/talk.mp4"), Path("talk.mp4"))
    with pytest.raises(
        ConfigError, match=r"'face\.xlsx' is not the name of a table. Use a name that ends in \.csv"
    ):
        plan([talk], tmp_path / "face.xlsx")
    tree(tmp_path, "notes")
    with pytest.raises(ConfigError, match=r"notes: .* this is a file"):
        plan([talk], tmp_path / "notes")
    (tmp_path / "may.txt").mkdir()
    assert plan([talk], tmp_path / "may.txt") == [f"{tmp_path.as_posix()}/may.txt/talk.csv"]


def test_a_folder_may_look_like_a_table(tmp_path):
    (tmp_path / "odd.csv").mkdir()
    talk = Media(Path("in/talk.mp4"), Path("talk.mp4"))
    assert plan_tables([talk], tmp_path / "odd.csv", *CSV) == [tmp_path / "odd.csv" / "talk.csv"]


def test_folders_of_frames_keep_their_dots(tmp_path):
    tree(tmp_path, "walk.v2/1.png", "walk.v3/1.png")
    assert plan(find_media([tmp_path]).media, "x") == ["x/walk.v2.csv", "x/walk.v3.csv"]


def media(*names: str) -> list[Media]:
    return [Media(Path("in") / name, Path(name)) for name in names]


def test_names_that_fall_together_keep_their_suffixes():
    given = media("a/t.mp4", "a/t.avi", "b/t.mp4", "c/T.mp4")
    assert plan(given, "x") == ["x/a/t.mp4.csv", "x/a/t.avi.csv", "x/b/t.csv", "x/c/T.csv"]
    # "t.mp4.mp4" would go where "t.mp4" goes with its suffix.
    assert plan(media("t.mp4", "t.avi", "t.mp4.mp4"), "x") == [
        "x/t.mp4-32377afa.csv",
        "x/t.avi.csv",
        "x/t.mp4.mp4.csv",
    ]


@pytest.mark.parametrize(
    ("names", "tables"),
    [
        (("Aa.mp4", "aA.mp4"), ("Aa.mp4-HASH.csv", "aA.mp4-HASH.csv")),
        (("x.jpg", "x.JPG"), ("x.jpg-HASH.csv", "x.JPG-HASH.csv")),
        (("a.mp4", "A.avi"), ("a.mp4.csv", "A.avi.csv")),
        (("d/x.mp4", "D/x.mp4"), ("d/x.mp4-HASH.csv", "D/x.mp4-HASH.csv")),
        (("caf\u00e9.mp4", "cafe\u0301.mp4"), ("caf\u00e9.mp4-HASH.csv", "cafe\u0301.mp4-HASH.csv")),
        (("a:b.mp4", "a?b.mp4"), ("a_b.mp4-HASH.csv", "a_b.mp4-HASH.csv")),
        (("a.mp4", "a.csv/b.mp4"), ("a.mp4.csv", "a.csv/b.csv")),
        (("a.mp4", "a.json/b.mp4"), ("a.mp4.csv", "a.json/b.csv")),
        (("_summary.mp4", "b/_summary.mp4"), ("_summary.mp4.csv", "b/_summary.csv")),
    ],
)
def test_names_are_distinct_on_every_file_system(names, tables):
    wanted = [
        f"x/{table}".replace("HASH", hashlib.sha256(os.fsencode(name)).hexdigest()[:8])
        for name, table in zip(names, tables, strict=True)
    ]
    assert plan(media(*names), "x") == wanted
    assert plan(media(*reversed(names)), "x") == wanted[::-1]
    assert len({path.casefold() for path in wanted}) == len(names)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("con.mp4", "con_.csv"),
        ("Con.a.mp4", "Con_.a.csv"),
        ("aux/t.mp4", "aux_/t.csv"),
        ("contour.mp4", "contour.csv"),
        ("day. /t.mp4", "day._/t.csv"),
        ("a\nb\x1b.mp4", "a_b_.csv"),
        ("-x.mp4", "_x.csv"),
        (os.fsdecode(b"a\xff.mp4"), "a_.csv"),
        ("t .mp4", "t .csv"),
        ("\u00fc\u4e2d.mp4", "\u00fc\u4e2d.csv"),
    ],
)
def test_names_are_portable(name, table):
    assert plan(media(name), "x") == [f"x/{table}"]


@pytest.mark.parametrize("letter", ["a", "\u4e2d"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_long_names_are_cut(tmp_path, letter, suffix):
    long = letter * (250 // len(letter.encode()))
    (tmp_path / "in").mkdir()
    names = [f"{long[:-2]}1.mp4", f"{long[:-2]}2.mp4"]
    tree(tmp_path / "in", *names)
    found = find_media([tmp_path / "in"]).media
    first, second = plan_tables(found, tmp_path / "out", suffix, CSV[1])
    assert first.name[:30] == names[0][:30]
    assert first != second
    for table in (first, second):
        with TableWriter(table, ["AU12"], {}) as writer:
            writer.write(Row(0, 0.0, True, {"AU12": 0.5}, face=0))
        assert len(os.fsencode(table.name)) < 240


def test_media_of_one_name_get_the_folders_above_them(tmp_path):
    tree(tmp_path, "day1/s/t.mp4", "day2/s/t.mp4", "day2/u.mp4", "c/1.png", "x/c/1.png", "p/t.mp4", "q/t.mp4")
    found = find_media([tmp_path / "day1", tmp_path / "day2"]).media
    assert plan(found, "x") == ["x/day1/s/t.csv", "x/u.csv", "x/day2/s/t.csv"]
    found = find_media([tmp_path / "c", tmp_path / "x" / "c"]).media
    assert plan(found, "x") == [f"x/{tmp_path.name}/c.csv", "x/x/c.csv"]
    found = find_media([tmp_path / "p" / ".." / "p" / "t.mp4", tmp_path / "q" / "t.mp4"]).media
    assert plan(found, "x") == ["x/p/t.csv", "x/q/t.csv"]


def predicted(table: Path, source: Path) -> None:
    described = {"source": str(source), "source_fingerprint": fingerprint(source)}
    with TableWriter(table, ["AU12"], described) as writer:
        writer.write(Row(0, 0.0, True, {"AU12": 0.5}, face=0))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_tables_keep_their_names_when_files_come_later(tmp_path, suffix):
    out = tmp_path / "out"

    def planned():
        found = find_media([tmp_path / "in"]).media
        tables = plan_tables(found, out, suffix, CSV[1])
        return {one.name.as_posix(): table.name for one, table in zip(found, tables, strict=True)}

    tree(tmp_path / "in", "t.mp4")
    assert planned() == {"t.mp4": f"t{suffix}"}
    predicted(out / f"t{suffix}", tmp_path / "in" / "t.mp4")
    tree(tmp_path / "in", "t.avi", "T.mp4")
    tables = planned()
    assert (tables["t.mp4"], tables["t.avi"]) == (f"t{suffix}", f"t.avi{suffix}")
    assert len({name.casefold() for name in tables.values()}) == 3
    predicted(out / tables["t.avi"], tmp_path / "in" / "t.avi")
    (tmp_path / "in" / "t.mp4").unlink()
    (tmp_path / "in" / "T.mp4").unlink()
    assert planned() == {"t.avi": f"t.avi{suffix}"}


def test_tables_of_other_media_are_not_taken(tmp_path):
    out = tmp_path / "out"
    tree(tmp_path, "in/t.mp4", "in/t.avi", "other/t.mp4", "elsewhere/t.avi")
    (tmp_path / "other" / "t.mp4").write_text("another")
    predicted(out / "t.csv", tmp_path / "other" / "t.mp4")
    found = find_media([tmp_path / "in"]).media
    names = [f"{out.as_posix()}/t.avi.csv", f"{out.as_posix()}/t.mp4.csv"]
    assert plan(found, out) == names
    (out / "t.csv").write_text("name,age\nAda,36\n")
    assert plan(found, out) == names
    (out / "t.csv").unlink()
    (out / "t.csv").mkdir()
    assert plan(found, out) == names


def test_media_are_not_replaced_by_their_tables(tmp_path):
    tree(tmp_path, "t.csv")
    with pytest.raises(ConfigError, match="replace one of the media"):
        plan(find_media([tmp_path / "t.csv"]).media, tmp_path)
