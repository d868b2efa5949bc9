import pytest
import torch
from helpers.mood import LEVELS, MoodDataset
from helpers.toy import ToyDataModule, ToyDataset

from affectkit.data import Target
from affectkit.datamodules import BP4DDataModule, DISFADataModule, MixtureDataModule
from affectkit.datamodules.statistics import (
    clip_classes,
    clip_positives,
    count_labels,
    count_pairs,
    find_annotated,
)
from affectkit.errors import ConfigError, DatasetNotFoundError, SubjectLeakError, VideoError
from affectkit.facs import label_space
from affectkit.rehearse.bp4d import write_bp4d
from affectkit.rehearse.disfa import write_disfa


def test_counts_are_those_of_the_annotated_labels():
    data = ToyDataset(split="train")
    positives, annotated = count_labels(data, "au", data.spaces["au"])
    active, known = (torch.stack(parts) for parts in zip(*map(data.truth, data.clips), strict=True))
    assert positives.tolist() == (active & known).sum((0, 1)).tolist()
    assert annotated.tolist() == known.sum((0, 1)).tolist()


def test_what_it_learns_from_is_rendered_where_all_of_it_is(tmp_path):
    (tmp_path / "rehearsal.json").touch()
    rehearsal, other = ToyDataModule(root=tmp_path), ToyDataModule()
    mixture = MixtureDataModule({"a": rehearsal, "b": other})
    mixture.setup("fit")
    assert rehearsal.trained_on == {"toy": ("none", True)}
    assert other.trained_on == mixture.trained_on == {"toy": ("none", False)}
    mixture = MixtureDataModule({"b": other, "a": rehearsal})
    assert mixture.trained_on == {"toy": ("none", False)}


def test_labels_that_are_not_counted():
    data = ToyDataset(split="train")
    assert count_labels(data, "gaze", "AU61") is None
    assert count_labels(data, "expression", "basic7") is None
    _, annotated = count_labels(data, "au", "AU25,AU1")
    assert annotated[0] == 0


def test_rates_of_a_mixture_pool_the_counts():
    first, second = ToyDataModule(space="AU1,AU12"), ToyDataModule(space="AU12,AU25", clips=2)
    mixture = MixtureDataModule({"a": first, "b": second})
    mixture.setup("fit")
    space = "AU1,AU12,AU25"
    counts = [count_labels(source.datasets["train"], "au", space) for source in (first, second)]
    expected = sum(c[0] for c in counts) / sum(c[1] for c in counts)
    torch.testing.assert_close(mixture.label_rates("au", space), expected, equal_nan=True)
    assert mixture.label_rates("gaze", "AU61") is None
    assert first.label_rates("gaze", "AU61") is None


def test_cooccurrence_is_the_conditional_share_of_rows_that_know_both():
    data = ToyDataModule()
    data.setup("fit")
    toy = data.datasets["train"]
    active, known = (torch.cat(parts) for parts in zip(*map(toy.truth, toy.clips), strict=True))
    found = data.cooccurrence("au", "AU1,AU12,AU4")
    for i in range(3):
        for j in range(3):
            rows = [r for r in range(len(active)) if known[r, i] and active[r, i] and known[r, j]]
            assert found[i, j] == pytest.approx(sum(bool(active[r, j]) for r in rows) / len(rows))
    assert data.cooccurrence("gaze", "AU61") is None
    mixture = MixtureDataModule({"a": data, "b": ToyDataModule(clips=2)})
    mixture.setup("fit")
    pairs = [count_pairs(dataset, "au", "AU1,AU4") for dataset in mixture.training_sets()]
    expected = sum(both for both, _ in pairs) / sum(first for _, first in pairs)
    torch.testing.assert_close(mixture.cooccurrence("au", "AU1,AU4"), expected)
    assert mixture.cooccurrence("gaze", "AU61") is None


def test_rare_units_are_drawn_more_often():
    plain, balanced = ToyDataModule(batch_size=4), ToyDataModule(batch_size=4, rare_share=0.25)
    for data in (plain, balanced):
        data.setup("fit")
    positive = clip_positives(plain.datasets["train"], "au")
    active, known = (
        torch.stack(parts)
        for parts in zip(*map(plain.datasets["train"].truth, plain.datasets["train"].clips), strict=True)
    )
    assert positive.tolist() == (active & known).any(1).tolist()
    # In another order, and without the units that nobody asks about.
    assert clip_positives(plain.datasets["train"], "au", "AU4,AU1").tolist() == positive[:, [2, 0]].tolist()
    assert plain.train_dataloader().sampler.weights is None
    assert balanced.train_dataloader().sampler.weights.tolist() == [1.0] * len(positive)
    with pytest.raises(ConfigError, match="no action units 'gaze'"):
        clip_positives(plain.datasets["train"], "gaze")


def test_classes_are_drawn_equally_often():
    data = ToyDataModule(batch_size=4, balanced_classes="expression")
    data.setup("fit")
    dataset = data.datasets["train"]
    truth = [dataset.labels(record, [0])["expression"].value for record in dataset.clips]
    found = clip_classes(dataset, "expression")
    assert found.tolist() == [int(value) for value in truth]
    assert 1 < len(found.unique()) <= 4
    assert torch.equal(data.train_dataloader().sampler.classes, found)
    drawn = torch.cat([batch.targets["expression"].value for batch in data.train_dataloader()])
    counts = drawn.bincount()[found.unique()]
    assert counts.max() - counts.min() <= 1
    for target in ("gaze", "au"):
        with pytest.raises(ConfigError, match=f"no classes '{target}'"):
            clip_classes(dataset, target)


class PerFrame(ToyDataset):
    """The toy corpus with an expression per frame, which half of the clips change, and some lack."""

    def labels(self, record, indices):
        shown = torch.tensor([int(record.clip[-1])] * self.frames_each)[list(indices)]
        shown[-1] = {"0": 5, "1": -1}.get(record.clip[-1], shown[-1])
        return {"expression": Target.make(shown, space="basic7")}


def test_the_class_of_a_clip_is_that_of_all_its_annotated_frames():
    found = clip_classes(PerFrame(split="val"), "expression")
    assert found.tolist() == 2 * [-1, 1, 2, 3]


def test_sources_of_a_mixture_have_one_length_and_their_names():
    small, large = ToyDataModule(clips=1, batch_size=3), ToyDataModule(clips=4, batch_size=4)
    mixture = MixtureDataModule({"small": small, "large": large})
    mixture.setup("fit")
    batches = list(mixture.train_dataloader())
    assert len(batches) == 6
    assert {name: len(batch) for name, batch in batches[0][0].items()} == {"small": 3, "large": 4}
    assert [loader.dataset.name for loader in mixture.val_dataloader()] == ["small", "large"]


def test_an_empty_mixture_is_an_error():
    with pytest.raises(ConfigError, match="at least one source"):
        MixtureDataModule({})


def test_mixtures_pass_everything_on(capsys):
    data = ToyDataModule()
    mixture = MixtureDataModule({"toy": data})
    mixture.prepare_data()
    for stage, loaders in (("test", mixture.test_dataloader), ("predict", mixture.predict_dataloader)):
        mixture.setup(stage)
        assert len(loaders()) == 1
    assert mixture.protocol.startswith("toy: test split, subjects disjoint")
    mixture.teardown("test")
    assert capsys.readouterr().out == ""


def test_a_subject_in_two_splits_is_an_error(monkeypatch):
    class Leaking(ToyDataModule):
        def make_dataset(self, split):
            return ToyDataset(split="train")

    with pytest.raises(SubjectLeakError, match="s00"):
        Leaking().setup("fit")


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_split_is_an_error(split):
    class Empty(ToyDataset):
        def records(self):
            return []

    data = ToyDataModule()
    data.datasets = {"train": Empty(), "val": Empty()}
    with pytest.raises(ConfigError, match=r"no (training )?clips"):
        data.train_dataloader() if split == "train" else data.val_dataloader()


def test_skipped_clips_are_reported_at_the_end(capsys):
    class Damaged(ToyDataset):
        def load(self, record, indices):
            if record.clip == "s00_1":
                raise VideoError("Damaged.", path="none")
            return super().load(record, indices)

    data = ToyDataModule(num_workers=0)
    data.datasets = {"train": Damaged(split="train", on_error="skip")}
    list(data.train_dataloader())
    data.teardown("fit")
    assert "1 of 24 clips" in capsys.readouterr().out


def test_toy_labels_fit_their_space():
    data = ToyDataset()
    assert len(label_space(data.spaces["au"])) == data[0].targets["au"].value.shape[-1]


def test_arguments_of_the_frame_coded_corpora_reach_their_datasets(tmp_path):
    write_bp4d(tmp_path / "bp4d", media=False)
    write_disfa(tmp_path / "disfa", media=False)
    options = {"fold": "part1", "space": "AU12,AU4", "num_frames": 5, "batch_size": 2}
    bp4d = BP4DDataModule(str(tmp_path / "bp4d"), frame_offset=-1, **options).make_dataset("test")
    assert (bp4d.frame_offset, bp4d.window, bp4d.spaces["au"], len(bp4d.sampler(5))) == (-1, 5, "AU12,AU4", 5)
    disfa = DISFADataModule(str(tmp_path / "disfa"), camera="right", threshold=3, **options).make_dataset(
        "val"
    )
    assert (disfa.camera, disfa.threshold, disfa.image_base, disfa.window) == ("right", 3, None, 5)
    assert disfa.clips[0].stop - disfa.clips[0].start == 5


def test_prepared_crops_reach_the_corpora(tmp_path):
    write_bp4d(tmp_path, media=False)
    data = BP4DDataModule(str(tmp_path), fold="part1", prepared=str(tmp_path / "crops"))
    with pytest.raises(DatasetNotFoundError, match="crops"):
        data.make_dataset("test")


def test_classes_of_distributions_and_dimensions_are_found_where_annotated():
    dataset = MoodDataset(split="train")
    q = torch.stack([dataset.annotate(clip, [0])["expression"].value for clip in dataset.clips])
    assert torch.equal(find_annotated(dataset, "expression", dataset.spaces["expression"]), (q > 0).any(0))
    assert find_annotated(dataset, "va", "dimensions:arousal,dominance").tolist() == [True, False]
    assert find_annotated(dataset, "levels", LEVELS).tolist() == [True] * 3
    assert count_labels(dataset, "va", "va") is None
