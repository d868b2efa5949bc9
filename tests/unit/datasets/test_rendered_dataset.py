import json
import shutil

import numpy as np
import pytest
import torch

from affectkit.datasets import RenderedDataset
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError
from affectkit.facs import AU_SETS
from affectkit.synth import render_corpus

UNITS = AU_SETS["rendered"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    settings = {"identities": 4, "clips": 3, "frames_per_clip": 6, "size": 32, "seed": 3}
    return render_corpus(tmp_path_factory.mktemp("rendered") / "c", **settings, num_workers=1, progress=False)


@pytest.fixture
def copy(root, tmp_path):
    return shutil.copytree(root, tmp_path / "copy")


@pytest.fixture(scope="module")
def frames(root):
    import pyarrow.parquet as pq

    return pq.read_table(root / "frames.parquet").to_pandas()


def test_clip_has_the_truth_that_was_rendered(root, frames):
    dataset = RenderedDataset(root)
    assert len(dataset) == 12
    assert dataset.spaces == {"au": "rendered", "intensity": "intensity:rendered", "expression": "basic7"}
    for position, record in enumerate(dataset.clips):
        clip = dataset[position]
        own = frames[frames["clip"] == record.clip]
        strength = own[list(UNITS.columns)].to_numpy()
        assert clip.frames.shape == (6, 3, 32, 32)
        np.testing.assert_allclose(clip.targets["intensity"].value, 5 * strength, rtol=1e-6)
        np.testing.assert_array_equal(clip.targets["au"].value, strength >= 0.4)
        assert clip.targets["au"].mask.all()
        assert clip.targets["intensity"].mask.all()
        expression = dataset.index.text("expression", record.extra["row"])
        from affectkit.facs import EXPRESSION_SETS

        assert clip.targets["expression"].value.item() == EXPRESSION_SETS["basic7"].index(expression)
        np.testing.assert_array_equal(clip.landmarks[..., 0], own[[f"x{k}" for k in range(68)]])
        np.testing.assert_array_equal(clip.landmarks[..., 1], own[[f"y{k}" for k in range(68)]])
        assert clip.landmarks_mask.all()
        assert clip.key_frames.tolist() == list(record.key_frames)


def test_no_column_of_the_renderer_is_warned_of(root, caplog):
    assert RenderedDataset(root).unread == ()
    assert caplog.text == ""


def test_labels_follow_the_frames_that_are_read(root):
    dataset = RenderedDataset(root, sampler=lambda length, **_: [4, 1, 4])
    whole = RenderedDataset(root)
    for target in ("au", "intensity"):
        assert torch.equal(dataset[5].targets[target].value, whole[5].targets[target].value[[4, 1, 4]])
    assert torch.equal(dataset[5].landmarks, whole[5].landmarks[[4, 1, 4]])


def test_splits_hold_different_people(root):
    people = {split: set(RenderedDataset(root, split=split).subjects) for split in ("train", "val", "test")}
    assert all(people.values())
    assert sum(map(len, people.values())) == len(set.union(*people.values())) == 4
    assert people["test"] == set(RenderedDataset(root).manifest["subjects"]["test"])


def test_occurrence_begins_at_the_manifests_level(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["occurrence_at"] = 0.8
    (copy / "manifest.json").write_text(json.dumps(manifest))
    clip = RenderedDataset(copy)[0]
    assert torch.equal(clip.targets["au"].value == 1, clip.targets["intensity"].value >= 4)


def test_units_come_from_the_manifest_even_where_the_named_set_changes(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["au_space"] = "AU12,AU4"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    dataset = RenderedDataset(copy)
    assert dataset.spaces["au"] == "AU12,AU4"
    assert dataset[0].targets["au"].value.shape == (6, 2)


def test_folder_without_manifest_is_not_a_rendered_corpus(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="affectkit data render"):
        RenderedDataset(tmp_path)


@pytest.mark.parametrize(
    "text", ["not json", "[]", "{}", '{"format_version": 99}', '{"format_version": 1, "rendered": true}']
)
def test_foreign_manifest_is_named(copy, text):
    (copy / "manifest.json").write_text(text)
    with pytest.raises(AnnotationError, match=r"manifest\.json"):
        RenderedDataset(copy)


def test_damaged_table_is_named(copy):
    (copy / "frames.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(AnnotationError, match=r"frames.parquet.*cannot be read"):
        RenderedDataset(copy)[0]


def test_clip_without_rows_is_named(copy):
    import pyarrow.parquet as pq

    table = pq.read_table(copy / "frames.parquet")
    pq.write_table(table.slice(6), copy / "frames.parquet")
    with pytest.raises(AnnotationError, match="no frames in the table"):
        RenderedDataset(copy)[0]


@pytest.mark.parametrize("chosen", [["au"], ["expression"], ["expression", "intensity"]])
def test_a_corpus_can_hide_its_other_annotations(root, chosen):
    dataset, whole = RenderedDataset(root, targets=chosen), RenderedDataset(root)
    assert dataset.targets == {name: whole.spaces[name] for name in chosen}
    found, all_of_them = dataset[4].targets, whole[4].targets
    assert set(found) == set(chosen)
    for name in chosen:
        assert torch.equal(found[name].value, all_of_them[name].value)


def test_annotations_are_given_under_other_names(root):
    dataset, whole = RenderedDataset(root, targets={"au": "micro_au"}), RenderedDataset(root)
    assert dataset.targets == {"micro_au": whole.targets["au"]}
    assert dataset.spaces == whole.spaces
    found = dataset[4].targets
    assert set(found) == {"micro_au"}
    assert torch.equal(found["micro_au"].value, whole[4].targets["au"].value)
    assert found["micro_au"].value.any()


@pytest.mark.parametrize("chosen", [[], ["age"], {"age": "au"}, {"au": "x", "intensity": "x"}])
def test_annotations_that_do_not_exist_cannot_be_chosen(root, chosen):
    with pytest.raises(ConfigError, match="au, intensity, expression"):
        RenderedDataset(root, targets=chosen)
