"""The task: which labels and weights a step uses, with the toy corpus."""

import csv
import logging

import pytest
import torch
from helpers.toy import SIZE, ToyDataModule
from lightning.pytorch import Trainer
from torch.nn import functional as F

from affectkit.data import collate
from affectkit.errors import ConfigError
from affectkit.methods import engagement
from affectkit.methods.engagement import NoisyLabels, assess
from affectkit.models import AUHead, ExpressionHead, TimmBackbone

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


def heads(name="expression"):
    return {
        "au": lambda width: AUHead(width, "AU1,AU12,AU4"),
        name: lambda width: ExpressionHead(width, "basic7"),
    }


def task(**options):
    torch.manual_seed(0)
    return NoisyLabels(TimmBackbone("test_resnet", size=SIZE), heads(), **options)


@pytest.fixture
def files(tmp_path):
    """Answers that tell the expression of a clip, and the true labels: the first ones differ from the given."""
    data = ToyDataModule(batch_size=8)
    data.setup("fit")
    dataset = data.datasets["train"]
    labels = data.clip_labels("expression", "basic7")
    names = heads()["expression"](8).labels
    with (tmp_path / "ratings.csv").open("w") as file:
        table = csv.writer(file)
        table.writerow(["clip", "question", "answer"])
        for (_, clip), value in zip(labels.clips, labels.value.tolist(), strict=True):
            table.writerows((clip, name, int(k == value)) for k, name in enumerate(names))
    with (tmp_path / "truth.csv").open("w") as file:
        table = csv.writer(file)
        table.writerow(["clip", "label"])
        for row, ((_, clip), value) in enumerate(zip(labels.clips, labels.value.tolist(), strict=True)):
            table.writerow([clip, names[(value + (row < 5)) % 7]])
    return tmp_path, dataset, labels


def fit(model, tmp_path, epochs=5):
    trainer = Trainer(max_epochs=epochs, limit_val_batches=0, default_root_dir=tmp_path, **QUIET)
    trainer.fit(model, datamodule=ToyDataModule(batch_size=8))
    return trainer


def test_labels_of_the_training_clips_are_collected(files):
    _, dataset, labels = files
    assert [clip for _, clip in labels.clips] == [record.clip for record in dataset.clips]
    assert set(labels.subjects) == {f"toy/s{number:02d}" for number in range(6)}
    expected = [dataset.annotate(r, [0])["expression"] for r in dataset.clips]
    assert labels.value.tolist() == [int(t.value) if t.mask else -1 for t in expected]


def test_a_step_uses_refined_labels_and_the_weights_of_the_epoch(files, monkeypatch):
    folder, _, labels = files
    model = task(ratings={"expression": str(folder / "ratings.csv")})
    seen = []
    original = type(model).head_loss

    def head_loss(self, name, logits, batch):
        if name == "expression":
            weight = self._weight(name, batch)
            seen.append((self.current_epoch, batch, weight, original(self, name, logits, batch), logits))
        return original(self, name, logits, batch)

    monkeypatch.setattr(NoisyLabels, "head_loss", head_loss)
    fit(model, folder)
    found = model.reliability["expression"]
    place = {clip: row for row, (_, clip) in enumerate(labels.clips)}
    assert {epoch for epoch, *_ in seen} == set(range(5))
    for epoch, batch, weight, (total, count), logits in seen:
        rows = torch.tensor([place[clip] for clip in batch.meta["clip"]])
        expected = model.curriculum.weights(found, epoch, 5)[rows].float()
        torch.testing.assert_close(weight, expected)
        target = batch.targets["expression"]
        torch.testing.assert_close(target.value, found.soft[rows].float() * target.mask[:, None])
        losses = -(found.soft[rows].float() * logits.log_softmax(-1)).sum(-1)
        torch.testing.assert_close(total, (losses * expected * target.mask).sum())
        torch.testing.assert_close(count, (expected * target.mask).sum())
    with (folder / "reliability_expression.csv").open() as file:
        assert len(list(csv.DictReader(file))) == int((labels.value >= 0).sum())


def test_hard_labels_stay_as_given(files):
    folder, *_ = files
    model = task(ratings={"expression": str(folder / "ratings.csv")}, soft=False)
    fit(model, folder, 1)
    assert model.reliability["expression"].accepted.any()


def test_the_oracle_accepts_exactly_the_right_labels(files):
    folder, _, labels = files
    paths = {name: {"expression": str(folder / f"{name}.csv")} for name in ("ratings", "truth")}
    model = task(**paths, split="oracle")
    fit(model, folder, 1)
    found = model.reliability["expression"]
    known = labels.value >= 0
    wrong = torch.arange(len(known)) < 5
    assert torch.equal(found.accepted[known], ~wrong[known])
    right = torch.where(wrong, (labels.value + 1) % 7, labels.value)
    assert torch.equal(found.rated[known].argmax(1), right[known])


def test_the_random_split_keeps_the_number_of_accepted_clips_and_refines_nothing(files):
    folder, _, labels = files
    path = {"expression": str(folder / "ratings.csv")}
    model, other = task(ratings=path, split="random"), task(ratings=path)
    fit(model, folder, 1)
    fit(other, folder, 1)
    one, two = model.reliability["expression"], other.reliability["expression"]
    assert one.accepted.sum() == two.accepted.sum()
    assert torch.equal(one.value.sort().values, two.value.sort().values)
    own = F.one_hot(labels.value.clamp(min=0), 7).double()
    torch.testing.assert_close(one.soft, assess(labels.value, own, ordered=False).soft)


def test_a_rater_who_says_nothing_is_named(files, caplog):
    folder, _, labels = files
    lines = [f"{clip},x,{row % 2}" for row, (_, clip) in enumerate(labels.clips)]
    (folder / "ratings.csv").write_text("\n".join(["clip,question,answer", *lines]))
    model = task(ratings={"expression": str(folder / "ratings.csv")})
    with caplog.at_level(logging.WARNING):
        fit(model, folder, 1)
    assert "says nothing about 'expression'" in caplog.text
    assert model.others == {}
    assert torch.equal(model.reliability["expression"].accepted, labels.value >= 0)


def test_accepted_and_rejected_test_clips_have_results_of_their_own(files):
    """The rater doubts five test clips, says nothing about one, and agrees with the others."""
    folder, _, labels = files
    data = ToyDataModule(batch_size=8)
    data.setup("test")
    test = data.datasets["test"]
    given = {r.clip: test.annotate(r, [0])["expression"] for r in test.clips}
    names = heads()["expression"](8).labels
    frequent = {int(value) for value in labels.value.unique() if value >= 0}
    doubted, silent = [r.clip for r in test.clips[:5]], test.clips[5].clip
    with (folder / "ratings.csv").open("a") as file:
        table = csv.writer(file)
        for clip, target in given.items():
            answer = int(target.value)
            if clip in doubted:
                answer = min(frequent - {answer})
            if clip != silent:
                table.writerows((clip, name, int(k == answer)) for k, name in enumerate(names))
    model = task(ratings={"expression": str(folder / "ratings.csv")})
    trainer = fit(model, folder, 1)
    trainer.save_checkpoint(folder / "last.ckpt")
    again = task(ratings={"expression": "not read in a test"})
    trainer.test(again, datamodule=ToyDataModule(batch_size=8), ckpt_path=folder / "last.ckpt", verbose=False)
    confusion = {True: torch.zeros(7, 7), False: torch.zeros(7, 7)}
    again.eval()
    for index, record in enumerate(test.clips):
        with torch.no_grad():
            logits = again(collate([test[index]]).frames)["expression"]
        if given[record.clip].mask and record.clip != silent:
            truth = int(given[record.clip].value)
            confusion[record.clip not in doubted][truth, int(logits.argmax())] += 1
    states = {state.title: state for state in again.metric_states()}
    for part, accepted in (("accepted", True), ("rejected", False)):
        title = f"expression with {part} labels"
        assert torch.equal(states[title].metric.confusion().float(), confusion[accepted])
        rows = {row.name: row for row in again.results[f"toy/{title}"]}
        expected = confusion[accepted].trace() / confusion[accepted].sum()
        assert rows[f"expression_{part}/war"].estimate.value == pytest.approx(float(expected))
        assert f"only clips whose label the rater {part[:-2]}s" in rows[f"expression_{part}/war"].protocol
    assert confusion[False].sum() == 5


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"ratings": {"mood": "r.csv"}}, "There is no head 'mood'"),
        ({"ratings": {"au": "r.csv"}}, "cannot have doubtful labels"),
        ({"recombine": {"au": 3}}, "cannot have doubtful labels"),
        ({"split": "none"}, "split='none' is unknown"),
        ({"ratings": {"expression": "r.csv"}, "split": "oracle"}, "needs the true labels"),
        ({"curriculum": {"stages": "three"}}, "stages='three' is unknown"),
    ],
)
def test_options_that_do_not_fit(options, fault):
    with pytest.raises(ConfigError, match=fault):
        task(**options)


def test_data_without_labels_are_named(files, monkeypatch):
    folder, *_ = files
    monkeypatch.setattr(ToyDataModule, "clip_labels", lambda *_: None)
    model = task(ratings={"expression": str(folder / "ratings.csv")})
    with pytest.raises(ConfigError, match="No training corpus annotates 'expression'"):
        fit(model, folder, 1)


def test_the_task_is_found_on_first_use():
    assert engagement.NoisyLabels is NoisyLabels
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = engagement.Nothing
