"""The study of FEALLM: pairs differ by one unit, hidden places are where they should be, and runs are resumed."""

import importlib.util
import json
import sys

import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore:No positive samples in targets:UserWarning")


@pytest.fixture
def claims(studies, monkeypatch):
    spec = importlib.util.spec_from_file_location("feallm_claims", studies / "feallm_claims.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_pairs_differ_by_one_unit_only(claims):
    removed, whole, less = claims.make_pairs(claims.FaceRenderer(claims.RENDERED), 0, 4)
    assert len(removed) == len(whole.frames) == len(less.frames) > 4
    for k, place in enumerate(removed.tolist()):
        assert (whole.units[k] - less.units[k]).nonzero().flatten().tolist() == [place]
        changed = (whole.frames[k].int() - less.frames[k].int()).abs().amax(dim=0)
        assert changed.max() > 10
        assert (changed > 10).float().mean() < 0.4
        assert (whole.landmarks[k] - less.landmarks[k]).abs().max() < 12
    assert torch.equal(whole.expression, less.expression)


def test_a_rehearsal_is_saved_and_resumed(claims, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(claims, "VARIANTS", {name: claims.VARIANTS[name] for name in ("whole", "no_local")})
    sizes = {"train": 8, "test": 12, "pairs": 2, "hidden": 1, "steps": 1, "batch": 4, "seeds": 0}
    options = ["--runs", str(tmp_path)] + [
        part for name, value in sizes.items() for part in (f"--{name}", str(value))
    ]
    claims.main(options)
    first = capsys.readouterr().out
    (path,) = tmp_path.rglob("whole-0.json")
    found = json.loads(path.read_text())
    listed = {"dropped", "others_changed", "still_in_reason"}  # if any sentence names a removed unit
    assert set(claims.COLUMNS) - set(found) <= listed
    assert found["parsed"] == found["agreement"] == 1
    assert found["inside"] > 0
    monkeypatch.setattr(claims, "make_faces", None)
    claims.main(options)
    assert capsys.readouterr().out in first
