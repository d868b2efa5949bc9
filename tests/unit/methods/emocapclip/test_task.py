"""The task of EmoCapCLIP: its loss, masks, mining, regions, control and retrieval."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from helpers.emocap import CaptionedDataModule, make_emocap
from helpers.toy import ToyDataModule
from helpers.training import make_trainer

from affectkit.data import HELD_OUT, collate
from affectkit.errors import ConfigError
from affectkit.losses import SoftContrast
from affectkit.methods.emocapclip import (
    CaptionBridge,
    CaptionRetrieval,
    EmoCapCLIP,
    FacePatches,
    clip_vectors,
)
from affectkit.methods.emocapclip.retrieval import text_ids
from affectkit.models import AUHead
from affectkit.models.backbones import ClipBackbone
from affectkit.models.convert import model_of_checkpoint
from affectkit.tasks.base import model_inputs

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emocap")
    task = make_emocap()
    data = CaptionedDataModule(batch_size=6, seed=0, clips=3, steps_per_epoch=2)
    trainer = make_trainer(folder, max_epochs=2)
    trainer.fit(task, datamodule=data)
    return task, trainer, data


def batch_of(data, split="train", count=6):
    dataset = data.datasets[split]
    return collate([dataset[i] for i in range(count)])


def test_terms_are_contrasts_of_clips_and_patches_with_texts(fitted):
    task, _, data = fitted
    batch = batch_of(data)
    task.model.eval()
    features = task.model.features(**model_inputs(batch))
    vectors, tau = clip_vectors(features), task.bridge.temperature
    terms = task.caption_terms(features, batch, 0)
    assert set(terms) == {"global", "summary", "local"}
    loss = SoftContrast(guide="other", least=0.0, most=2)
    for part in ("global", "summary"):
        texts = batch.captions[part]
        t = task.bridge.encode_captions(texts)
        wanted = loss(
            vectors @ t.T,
            text_ids(texts),
            tau,
            similar_pictures=vectors @ vectors.T,
            similar_texts=t @ t.T,
        )
        torch.testing.assert_close(terms[part], wanted)
    texts = task._local_captions(batch, 0)
    t, patches = task.bridge.encode_captions(texts), FacePatches.of(features)
    own = patches.pooled(t, task.focus)
    wanted = loss(
        patches.scores(t, task.focus),
        text_ids(texts),
        tau,
        mask=torch.tensor([bool(text) for text in texts]),
        similar_pictures=own @ own.T,
        similar_texts=t @ t.T,
    )
    torch.testing.assert_close(terms["local"], wanted)


def test_mining_starts_late_and_weights_of_zero_leave_terms_out(fitted):
    task, *_ = fitted
    assert task._similarities(torch.eye(2), torch.eye(2))
    task.mining_from = 100
    try:
        assert task._similarities(torch.eye(2), torch.eye(2)) == {}
    finally:
        task.mining_from = 1
    assert set(make_emocap(local_weight=0.0, summary_weight=0.0).loss_weights) == {"global"}


def test_regions_are_the_same_in_half_of_the_steps(fitted):
    task, _, data = fitted
    batch = batch_of(data, count=12)
    regions = {"brows", "mouth"}
    kinds = []
    for step in range(40):
        texts = task._local_captions(batch, step)
        rows = [
            {region for region in regions if batch.captions[region][i] == text}
            for i, text in enumerate(texts)
        ]
        assert all(row for row, text in zip(rows, texts, strict=True) if text)
        kinds.append(any(texts == batch.captions[region] for region in regions))
        assert texts == task._local_captions(batch, step)
    assert 10 < sum(kinds) < 30


def test_absent_captions_give_no_loss_and_no_gradient(fitted):
    task, _, data = fitted
    batch = replace(batch_of(data), captions={})
    features = task.model.features(**model_inputs(batch))
    terms = task.caption_terms(features, batch, 0)
    task.zero_grad()
    sum(total for total, _ in terms.values()).backward()
    assert all(total == count == 0 for total, count in terms.values())
    grads = [p.grad for p in task.parameters() if p.grad is not None]
    assert grads
    assert all((grad == 0).all() for grad in grads)


def test_the_control_gives_captions_of_other_clips(fitted):
    task, _, data = fitted
    batch = batch_of(data)
    mixed = task._shuffled(batch, 3)
    order = [batch.captions["summary"].index(text) for text in mixed.captions["summary"]]
    assert sorted(mixed.captions["summary"]) == sorted(batch.captions["summary"]) != mixed.captions["summary"]
    assert mixed.captions["global"] == [batch.captions["global"][i] for i in order]
    assert mixed.frames is batch.frames


def test_results_have_retrieval_in_both_wordings_and_expressions(fitted):
    task, trainer, data = fitted
    trainer.test(task, datamodule=data, verbose=False)
    assert set(task.results) == {"toy/expression", "toy/captions"}
    rows = {row.name: row for row in task.results["toy/captions"]}
    parts = {f"{part}{new}" for part in ("global", "summary", "regions") for new in ("", "_new")}
    assert {name.partition("/")[0] for name in rows} == parts
    assert len(rows) == 6 * len(parts)
    dataset = data.datasets["test"]
    batch = collate([dataset[i] for i in range(len(dataset))])
    task.model.eval()
    with torch.no_grad():
        v = clip_vectors(task.model.features(**model_inputs(batch)))
        texts = batch.captions[f"{HELD_OUT}summary"]
        scores = v @ task.bridge.encode_captions(texts).T
    for row in (scores, scores.T):
        best = torch.tensor([texts[j] == text for j, text in zip(row.argmax(1), texts, strict=True)])
        direction = "text" if row is scores else "picture"
        assert rows[f"summary_new/{direction}_r1"].estimate.value == pytest.approx(best.float().mean().item())
    assert "subjects disjoint" in rows["global/text_r1"].protocol


def test_regional_retrieval_is_the_mean_over_common_regions():
    torch.manual_seed(0)
    bridge = CaptionBridge({}, text={"model_name": "affectkit-tiny"})
    retrieval = CaptionRetrieval(bridge, focus=0.1)
    patches = FacePatches(torch.nn.functional.normalize(torch.randn(3, 4, 64), dim=-1), torch.ones(3, 4) > 0)
    texts = [{"brows": "Up.", "mouth": "Open."}, {"brows": "Down."}, {"mouth": "Shut."}]
    for i, own in enumerate(texts):
        retrieval.clips.append((torch.zeros(64), torch.tensor(i)))
        retrieval.patches.append((patches.vectors[i], patches.mask[i]))
        vectors = bridge.encode_captions(list(own.values())).detach()
        retrieval.captions.append(
            {part: (v, text_ids([own[part]])[0]) for part, v in zip(own, vectors, strict=True)}
        )
    scores, _ = retrieval._by_regions(["brows", "mouth"], range(3))
    with torch.no_grad():
        single = {
            t: patches.scores(bridge.encode_captions([t]), 0.1)[:, 0] for own in texts for t in own.values()
        }
    wanted = torch.stack([(single["Up."] + single["Open."]) / 2, single["Down."], single["Shut."]], dim=1)
    torch.testing.assert_close(scores, wanted)
    assert {row.name.partition("/")[0] for row in retrieval.results("p", by_subject=True)} == {"regions"}


def test_a_checkpoint_becomes_a_model(fitted):
    task, trainer, _ = fitted
    model = model_of_checkpoint(trainer.checkpoint_callback.best_model_path)
    frames = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8)
    task.model.train().eval()
    torch.testing.assert_close(model(frames)["expression"], task.model(frames)["expression"])


def test_training_without_captions_is_an_error(tmp_path):
    trainer = make_trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    with pytest.raises(ConfigError, match="No training clip has a caption"):
        trainer.fit(make_emocap(), datamodule=ToyDataModule(batch_size=4, seed=0, steps_per_epoch=1))


def test_parts_that_do_not_fit_are_errors():
    with pytest.raises(ConfigError, match="captions only"):
        EmoCapCLIP(ClipBackbone("affectkit-tiny-patch8", size=32), {"au": partial(AUHead, space="AU1,AU12")})
    plain = ClipBackbone("affectkit-tiny-patch8", size=32)
    bridge = partial(CaptionBridge, text={"model_name": "affectkit-tiny"})
    heads = {"expression": lambda width: make_emocap().heads["expression"]}
    with pytest.raises(ConfigError, match="need patches"):
        EmoCapCLIP(plain, heads, bridge=bridge)
    EmoCapCLIP(plain, heads, bridge=bridge, local_weight=0.0)


def test_low_rank_text_towers_train(tmp_path):
    task = make_emocap(text={"model_name": "affectkit-tiny", "lora": {"rank": 2}})
    before = {name: p.clone() for name, p in task.named_parameters()}
    trainer = make_trainer(tmp_path, max_epochs=1, enable_checkpointing=False, limit_val_batches=0)
    trainer.fit(task, datamodule=CaptionedDataModule(batch_size=4, seed=0, clips=2, steps_per_epoch=1))
    changed = {name for name, p in task.named_parameters() if not torch.equal(p, before[name])}
    text = {name.rpartition(".")[2] for name in changed if name.startswith("model.bridge.text.")}
    assert text == {"down", "up"}
