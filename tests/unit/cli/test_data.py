"""`affectkit data`: what a check says, writes and returns."""

import json

import pytest

from affectkit.cli import data
from affectkit.cli.data import MANIFEST
from affectkit.datasets import find_corpus
from affectkit.errors import ConfigError, DatasetNotFoundError
from affectkit.rehearse import rehearsals

# RAF-DB, labels 1 to 7: photographs of the two splits as published.
CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
TRAIN = (1290, 281, 717, 4772, 1982, 705, 2524)
TEST = (329, 74, 160, 1185, 478, 162, 680)


def write_list(root, train=TRAIN, test=TEST):
    """The official list of RAF-DB with the published numbers, without its photographs."""
    lines = []
    for split, width, counts in (("train", 5, train), ("test", 4, test)):
        labels = [label for label, n in enumerate(counts, start=1) for _ in range(n)]
        lines += [f"{split}_{k:0{width}d}.jpg {label}" for k, label in enumerate(labels, start=1)]
    path = root / "basic" / "EmoLabel" / "list_patition_label.txt"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("rafdb")
    write_list(root)
    return root


def test_the_published_list_is_as_expected(whole, tmp_path, capsys):
    file = tmp_path / "new" / "found.json"
    assert data.check(["RAFDB", str(whole), "--no-media", "--json", str(file)]) == 0
    content = json.loads(file.read_text())
    assert content["corpus"] == "rafdb"
    assert content["revision"] == "RAF-DB basic"
    assert (content["subjects"], content["clips"], content["frames"]) == (None, 15_339, 15_339)
    assert content["positives"] == {}
    assert content["classes"] == {c: a + b for c, a, b in zip(CLASSES, TRAIN, TEST, strict=True)}
    assert content["parts"]["test"]["classes"] == dict(zip(CLASSES, TEST, strict=True))
    assert content["parts"]["train"]["clips"] == 12_271
    assert content["mismatches"] == content["missing"] == content["conflicts"] == []
    text = capsys.readouterr().out
    assert "| class happiness | 5,957 | 5,957 | 4,772 | 1,185 |" in " ".join(text.split())
    assert text.endswith("annotation: as expected\n")


def test_media_are_looked_for_unless_told_otherwise(whole, tmp_path, capsys):
    file = tmp_path / "found.json"
    assert data.check(["rafdb", str(whole), "--json", str(file)]) == 1
    content = json.loads(file.read_text())
    assert len(content["missing"]) == 15_339
    assert content["mismatches"] == []
    text = capsys.readouterr().out
    assert "missing or unreadable: 15339\n" in text
    assert "  …\n" in text
    assert text.endswith("annotation and media: NOT as expected\n")


def test_other_numbers_are_a_mismatch(tmp_path, capsys):
    write_list(tmp_path, train=(*TRAIN[:6], 2523))
    file = tmp_path / "found.json"
    assert data.check(["Rafdb", str(tmp_path), "--no-media", "--json", str(file)]) == 1
    assert json.loads(file.read_text())["mismatches"] == [
        "clips: 15339 expected, 15338 found",
        "classes neutral: 3204 expected, 3203 found",
        "train clips: 12271 expected, 12270 found",
        "train classes neutral: 2524 expected, 2523 found",
    ]
    text = capsys.readouterr().out
    assert "mismatches: 4\n  clips: 15339 expected, 15338 found\n" in text
    assert text.count("≠") == 4
    assert "| 3,204 | 3,203 ≠ 3,204 | 2,523 ≠ 2,524 | 680 |" in " ".join(text.split())


def test_a_rehearsal_is_compared_with_its_own_manifest(tmp_path, capsys):
    train, test = (2, 1, 1, 1, 1, 1, 1), (1,) * 7
    write_list(tmp_path, train, test)
    counts = {"clips": 15, "classes": {"surprise": 3}, "parts": {"test": {"clips": 7}}}
    counts["classes"] |= dict.fromkeys(CLASSES[1:], 2)
    (tmp_path / MANIFEST).write_text(json.dumps({"rendered": True, "seed": 3, **counts}))
    assert data.check(["rafdb", str(tmp_path), "--no-media"]) == 0
    assert "this rendered rehearsal" in capsys.readouterr().out
    counts["clips"] = 16
    (tmp_path / MANIFEST).write_text(json.dumps({"counts": counts, "clips": []}))
    assert data.check(["rafdb", str(tmp_path), "--no-media"]) == 1


def test_a_revision_without_published_counts_cannot_be_as_expected(whole, tmp_path, monkeypatch, capsys):
    def other(name, root, options):
        corpus = opened(name, root, options)
        corpus.revision = "1999"
        return corpus

    opened = data.open_corpus
    monkeypatch.setattr(data, "open_corpus", other)
    assert data.check(["rafdb", str(whole), "--no-media"]) == 1
    assert "no published counts of '1999'" in capsys.readouterr().out


@pytest.mark.parametrize("command", [data.check, data.rehearse])
def test_an_unknown_corpus_names_the_known_ones(command, tmp_path):
    with pytest.raises(ConfigError, match=r"Unknown corpus 'ck\+'.*bp4d, casme2"):
        command(["ck+", *(["--output"] if command is data.rehearse else []), str(tmp_path)])


def test_a_root_that_does_not_exist(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="does not exist"):
        data.check(["samm", str(tmp_path / "none")])


def test_rehearsing_with_options_of_the_layout(tmp_path, capsys):
    out = tmp_path / "new"
    more = ["--size", "small", "--seed", "4", "--no-media", "--option", "kind=compound"]
    assert data.rehearse(["rafdb", "--output", str(out), *more]) == 0
    manifest = json.loads((out / MANIFEST).read_text())
    wanted = {"size": "small", "seed": 4, "media": False, "kind": "compound"}
    assert {name: manifest[name] for name in wanted} == wanted
    assert f"affectkit data check rafdb {out}" in capsys.readouterr().out
    assert data.check(["rafdb", str(out), "--no-media", "--option", "kind=compound"]) == 0
    with pytest.raises(ConfigError, match="does not have the option hue"):
        data.check(["rafdb", str(out), "--option", "hue=1"])
    with pytest.raises(ConfigError, match="'kind' has no value"):
        data.check(["rafdb", str(out), "--option", "kind"])


@pytest.mark.parametrize(
    ("name", "layout", "more"),
    [
        *((name, (), [()]) for name in rehearsals() if find_corpus(name).expected and name != "affectnet"),
        ("affectnet", (), [(), ("--option", "space=affectnet7")]),
        ("rafdb", ("--option", "kind=compound"), [("--option", "kind=compound")]),
    ],
)
def test_a_rehearsal_of_full_size_has_the_published_counts(name, layout, more, tmp_path, capsys):
    out = tmp_path / "new"
    assert data.rehearse([name, "--output", str(out), "--size", "full", "--no-media", *layout]) == 0
    (out / MANIFEST).unlink()
    file = tmp_path / "found.json"
    for options in more:
        assert data.check([name.upper(), str(out), "--no-media", "--json", str(file), *options]) == 0
        content = json.loads(file.read_text())
        assert content["corpus"] == name
        assert content["mismatches"] == []
        assert "the published counts" in capsys.readouterr().out


def test_rehearsing_never_writes_into_a_full_folder(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(ConfigError, match="not empty"):
        data.rehearse(["smic", "--output", str(tmp_path)])
