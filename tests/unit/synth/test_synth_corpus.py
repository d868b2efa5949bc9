import json
import os

import av
import numpy as np
import pytest

from affectkit.errors import ConfigError
from affectkit.facs.sets import AU_SETS
from affectkit.synth import CorpusSettings, corpus, expression_ceiling, render_corpus
from affectkit.synth.varied import VARIED_UNITS

UNITS = AU_SETS["rendered"]


def read(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def tables(root):
    import pyarrow.parquet as pq

    return [pq.read_table(root / name).to_pandas() for name in ("index.parquet", "frames.parquet")]


def test_corpus_holds_what_its_index_says(tiny_corpus, tiny_settings):
    index, frames = tables(tiny_corpus)
    assert len(index) == 15
    assert len(frames) == 15 * 6
    assert index["subject"].nunique() == 5
    assert set(index["split"]) == {"train", "val", "test"}
    assert (index.groupby("subject")["split"].nunique() == 1).all(), "a person stands in one split"
    assert (index["source"] == "rendered").all()
    for row in index.itertuples():
        images = read(tiny_corpus / row.path)
        assert images.shape == (6, 32, 32, 3)
        assert row.num_frames == 6
        assert 0 <= row.onset <= row.apex <= row.offset < 6
        own = frames[frames["clip"] == row.clip]
        assert own["frame"].tolist() == list(range(6))
    units = frames[list(UNITS.columns)].to_numpy()
    assert units.min() == 0
    assert 0.5 <= units.max() <= 1
    points = frames[["x30", "y30"]].to_numpy()
    assert ((points > 8) & (points < 24)).all(), "the nose is in the middle"


def test_manifest_tells_the_truth(tiny_corpus, tiny_settings):
    manifest = json.loads((tiny_corpus / "manifest.json").read_text())
    index, frames = tables(tiny_corpus)
    assert manifest["rendered"] is True
    assert manifest["seed"] == 7
    assert manifest["content_hash"] == CorpusSettings(**tiny_settings).content_hash()
    assert manifest["num_frames"] == len(frames)
    for unit, column in zip(UNITS.labels, UNITS.columns, strict=True):
        assert manifest["prevalence"][unit] == pytest.approx((frames[column] >= 0.4).mean(), abs=1e-3)
    for split, names in manifest["subjects"].items():
        assert names == sorted(set(index[index["split"] == split]["subject"]))
    assert 0 <= manifest["expression_uar_ceiling"] <= 1


def test_second_call_is_a_look_at_the_manifest(tiny_corpus, tiny_settings, monkeypatch):
    monkeypatch.setattr(corpus, "_render_all", None)
    assert render_corpus(tiny_corpus, **tiny_settings) == tiny_corpus


def test_result_does_not_depend_on_the_number_of_workers(tiny_corpus, tiny_settings, tmp_path):
    root = render_corpus(tmp_path / "again", **tiny_settings, num_workers=2, progress=False)
    assert files(root) == files(tiny_corpus)


def test_other_settings_replace_a_rendered_corpus(tmp_path):
    settings = {
        "identities": 3,
        "clips": 1,
        "frames_per_clip": 4,
        "size": 16,
        "num_workers": 0,
        "progress": False,
    }
    root = render_corpus(tmp_path / "c", **settings, seed=1, media="frames")
    first = files(root)
    assert sum(name.endswith(".png") for name in first) == 12
    assert "frames/p0000_00/000001.png" in first
    second = files(render_corpus(root, **settings, seed=2, regime="micro"))
    assert not any(name.endswith(".png") for name in second)
    assert json.loads(second["manifest.json"])["occurrence_at"] == 0.1
    assert [p.name for p in tmp_path.iterdir()] == ["c"], "nothing else is left"


def test_interrupted_rendering_leaves_no_corpus(tmp_path, tiny_settings, monkeypatch):
    real, calls = corpus.render_person, []

    def interrupted(*job):
        calls.append(job)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*job)

    monkeypatch.setattr(corpus, "render_person", interrupted)
    with pytest.raises(KeyboardInterrupt):
        render_corpus(tmp_path / "c", **tiny_settings, num_workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_killed_rendering_is_swept_away(tmp_path, tiny_settings, monkeypatch):
    """A process that was killed leaves its partial folder; it is never taken for a corpus."""
    left = tmp_path / f".c.partial-{os.getpid()}"
    left.mkdir()
    (left / "junk").write_text("x")
    monkeypatch.setitem(tiny_settings, "identities", 3)
    root = render_corpus(tmp_path / "c", **tiny_settings, num_workers=1, progress=False)
    assert not left.exists()
    assert not (root / "junk").exists()


@pytest.mark.parametrize("content", ["photo.jpg", "manifest.json"])
def test_other_peoples_folders_are_not_touched(tmp_path, tiny_settings, content):
    (tmp_path / content).write_text("{}")
    with pytest.raises(ConfigError, match="not empty"):
        render_corpus(tmp_path, **tiny_settings)
    assert (tmp_path / content).read_text() == "{}"


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ({"identities": 2}, "identities=2"),
        ({"clips": 0}, "clips=0"),
        ({"frames_per_clip": 3}, "frames_per_clip=3"),
        ({"size": 33}, "size=33"),
        ({"size": 8}, "size=8"),
        ({"independent": 0.2}, "independent"),
        ({"val": 0.5, "test": 0.5}, "val=0.5"),
        ({"val": 0.0}, r"val=0\.0"),
    ],
)
def test_settings_out_of_range_are_errors(tiny_settings, setting, fault):
    with pytest.raises(ConfigError, match=fault):
        CorpusSettings(**{**tiny_settings, **setting})


def test_hash_changes_with_every_setting_and_the_renderer(tiny_settings, monkeypatch):
    base = CorpusSettings(**tiny_settings).content_hash()
    changes = [{"seed": 8}, {"size": 34}, {"regime": "micro"}, {"fps": 30.0}, {"independent": 0.02}]
    hashes = {CorpusSettings(**{**tiny_settings, **change}).content_hash() for change in changes}
    assert len(hashes | {base}) == 6
    monkeypatch.setattr("affectkit.synth.settings.RENDERER_VERSION", -1)
    assert CorpusSettings(**tiny_settings).content_hash() != base


def test_expressions_are_dealt_evenly():
    settings = CorpusSettings(30, 7, 4, 16, 0)
    splits = corpus._split_people(settings)
    hands = corpus._deal_classes(settings, splits)
    assert splits.count("test") == 6
    assert splits.count("val") == 3
    for split in ("train", "val", "test"):
        dealt = [e for hand, own in zip(hands, splits, strict=True) if own == split for e in hand]
        assert len(set(np.bincount(dealt, minlength=7))) == 1


def test_ceiling_is_the_bayes_rule_by_enumeration():
    rng = np.random.default_rng(0)
    table = rng.uniform(0.05, 0.95, (3, 4))
    units = rng.random((40, 4)) < 0.5
    truth = rng.integers(0, 3, 40)
    guess = [max(range(3), key=lambda e: np.prod(np.where(row, table[e], 1 - table[e]))) for row in units]
    recalls = [np.mean(np.array(guess)[truth == e] == e) for e in range(3)]
    assert expression_ceiling(table, units, truth) == pytest.approx(np.mean(recalls))
    assert expression_ceiling(np.eye(3), np.eye(3, dtype=bool), np.arange(3)) == 1.0


def test_varied_clips_have_sided_units_and_expressions_for_some(tmp_path):
    root = render_corpus(
        tmp_path / "varied",
        identities=3,
        clips=4,
        frames_per_clip=4,
        size=32,
        seed=0,
        regime="varied",
        num_workers=1,
    )
    index, frames = tables(root)
    named = index["expression"].notna()
    assert named.any()
    assert not named.all()
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest["au_space"] == VARIED_UNITS.name
    assert set(VARIED_UNITS.columns) <= set(frames)
    assert len(frames) == 48
