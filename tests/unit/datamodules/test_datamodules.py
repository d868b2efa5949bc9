import pytest
import torch
from helpers.toy import ToyDataModule, ToyDataset

from affectkit.datamodules import MixtureDataModule
from affectkit.datamodules.statistics import count_labels
from affectkit.errors import ConfigError, SubjectLeakError, VideoError
from affectkit.facs import label_space


def test_counts_are_those_of_the_annotated_labels():
    data = ToyDataset(split="train")
    positives, annotated = count_labels(data, "au", data.spaces["au"])
    active, known = (torch.stack(parts) for parts in zip(*map(data.truth, data.clips), strict=True))
    assert positives.tolist() == (active & known).sum((0, 1)).tolist()
    assert annotated.tolist() == known.sum((0, 1)).tolist()


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
