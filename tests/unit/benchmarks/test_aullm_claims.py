"""The study of what AULLM++ claims: its corpus, its measures, and a rehearsal."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore:No positive samples in targets:UserWarning")


@pytest.fixture
def claims(studies, monkeypatch):
    spec = importlib.util.spec_from_file_location("aullm_claims", studies / "aullm_claims.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def corpus_code(claims):
    import aullm_corpus

    return aullm_corpus


def test_pairs_differ_by_one_unit_only(corpus_code):
    renderer = corpus_code.FaceRenderer(64)
    table = corpus_code.planted_table(np.random.default_rng(0))
    assert table.shape == (6, 8)
    assert ((table == 0.75).sum(axis=1) == 3).all()
    pairs = corpus_code.make_pairs(renderer, table, 0, 1, "macro")
    assert pairs.shape == (1, 8, 2, 6, 3, 64, 64)
    changed = (pairs[0, :, 0].int() - pairs[0, :, 1].int()).abs().amax(dim=2)  # [A, T, H, W]
    assert (changed.amax(dim=(1, 2, 3)) > 10).all()
    assert changed[..., :, :3].max() == 0  # the background on both sides
    assert changed[..., :, -3:].max() == 0
    brow, mouth = (corpus_code.IDS.index(unit) for unit in (2, 12))
    assert changed[brow, :, :32].sum() > 5 * changed[brow, :, 44:].sum()
    assert changed[mouth, :, 32:].sum() > 5 * changed[mouth, :, :20].sum()


def test_the_confounder_goes_with_one_unit(corpus_code):
    labels = (torch.rand(4000, 8, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    smiles = labels[:, corpus_code.PLANTED] > 0
    for reverse, share in ((False, 0.9), (True, 0.1)):
        chosen = corpus_code.strips(labels, torch.Generator().manual_seed(1), reverse=reverse)
        assert abs((chosen == smiles).float().mean() - share) < 0.02
    frames = torch.full((2, 6, 3, 64, 64), 200, dtype=torch.uint8)
    shown = corpus_code.with_strip(frames, torch.tensor([False, True]))
    assert torch.equal(shown[0], frames[0])
    assert shown[1, :, 0, 0, 0].tolist() == [200, 212, 224, 236, 248, 255]
    assert torch.equal(shown[1, :, :, 5:], frames[1, :, :, 5:])


class Sum(nn.Module):
    """Each unit's probability is read from a place of its own."""

    def forward(self, features):
        return features.tokens[:, 0, :8, 0]

    def predict(self, logits):
        return logits


def test_effect_and_spill_are_those_of_single_units(claims):
    pairs = torch.zeros(2, 8, 2, 4, 324, 64)
    for unit in range(8):
        pairs[:, unit, 0, 0, unit, 0] = 0.75  # the unit's own probability rises
        pairs[:, unit, 0, 0, (unit + 1) % 8, 0] = -0.25  # and that of one of the seven others falls
    found = claims.effect_and_spill(Sum(), pairs)
    assert found["effect"] == pytest.approx(0.75)
    assert found["spill"] == pytest.approx(0.25 / 7)
    assert found["ratio"] == pytest.approx(21)


def test_a_rehearsal_is_saved_and_resumed(claims, tmp_path, capsys, monkeypatch):
    sizes = {"train": 8, "test": 30, "pairs": 1, "steps": 2, "front-steps": 2, "batch": 4, "seeds": 0}
    options = ["--runs", str(tmp_path), "--variants", "tiny", "none"]
    options += [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    claims.main(options)
    first = capsys.readouterr().out
    (path,) = tmp_path.rglob("tiny-0.json")
    found = json.loads(path.read_text())
    assert set(claims.COLUMNS) == set(found) - {"micro_effect", "micro_spill"}
    assert found["off_edges"] == 0
    assert "| encoder instead of the language model |" in first
    monkeypatch.setattr(claims, "make_corpus", None)
    claims.main(options)
    assert capsys.readouterr().out in first
