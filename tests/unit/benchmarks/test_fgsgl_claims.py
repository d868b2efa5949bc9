"""The study of what FG-SGL claims: its classes, its clips, its measures, and a rehearsal."""

import json

import pytest
import torch

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*but have no `val_dataloader`"),
]


@pytest.fixture
def claims(studies):
    import fgsgl_claims

    return fgsgl_claims


def test_pairs_differ_in_one_part_and_new_classes_in_none_that_is_unknown(claims):
    texts = [claims.TEXTS[one.name] for one in claims.SEEN]
    assert len(set(claims.SEEN)) == 15
    for first, second, part in claims.PAIRS:
        assert [d for d in range(4) if texts[first][d] != texts[second][d]] == [part]
    assert sorted(part for *_, part in claims.PAIRS) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    known = [{row[d] for row in texts} for d in range(4)]
    for seed in range(3):
        new = claims.new_classes(seed)
        assert len(set(new)) == 4
        assert not set(new) & set(claims.SEEN)
        assert all(claims.TEXTS[one.name][d] in known[d] for one in new for d in range(4))


def test_clips_move_where_and_when_their_texts_say(claims):
    from fgsgl_corpus import Movement

    quick = Movement("brows", "left", "up", "strong", "quick")
    slow = Movement("lip corners", "right", "down", "strong", "slow")
    slight = Movement("lip corners", "right", "down", "slight", "slow")
    clips = claims.make_clips(0, (quick, slow, slight), range(1))
    assert clips.frames.shape == (3, 4, 3, 24, 24)
    assert clips.people.tolist() == [0, 0, 0]
    strength = (clips.frames[:, :, 0].float() - 128).abs()  # [3, 4, H, W]
    assert torch.equal(clips.frames[0, 0, 1, 0], clips.frames[0, 0, 2, :, 0])  # columns and rows
    upper, lower = strength[..., 5:11, :], strength[..., 13:20, :]
    right_brow, left_brow = (half.mean(dim=(2, 3)) for half in (upper[..., :12], upper[..., 12:]))
    right_mouth, left_mouth = (half.mean(dim=(2, 3)) for half in (lower[..., :12], lower[..., 12:]))
    # The person's left is on the right of the picture.
    assert left_brow[0, 0] > 1.5 * right_brow[0, 0]
    assert right_mouth[1, 3] > left_mouth[1, 3]
    assert left_brow[0, 0] > 1.3 * left_brow[0, 2]  # quick: it fades
    assert right_mouth[1, 3] > 1.2 * right_mouth[1, 0]  # slow: it rises
    assert right_mouth[1, 3] > right_mouth[2, 3]  # strong and slight


def test_errors_are_near_or_far(claims):
    logits = torch.eye(15)[[0, 1, 2, 7]]
    found = claims.closeness(logits, torch.tensor([0, 0, 1, 0]))
    assert found == {"top1": 0.25, "near_error": 0.25, "far_error": 0.5}


def test_a_rehearsal_is_saved_and_resumed(claims, tmp_path, capsys, monkeypatch):
    options = ["--quick", "--runs", str(tmp_path), "--arms", "full", "category", "shuffled", "--batch", "8"]
    claims.main(options)
    first = capsys.readouterr().out
    (path,) = tmp_path.rglob("full-0.json")
    assert set(json.loads(path.read_text())) == set(claims.COLUMNS)
    (path,) = tmp_path.rglob("category-0.json")
    assert "new_top1" in json.loads(path.read_text())
    assert "| top-1 | sentences exchanged |" in first
    monkeypatch.setattr(claims, "make_clips", None)
    claims.main(options)
    assert capsys.readouterr().out in first
