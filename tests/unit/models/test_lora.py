"""Low-rank adaptation of the image tower: what trains, what it adds, and merging."""

import copy

import pytest
import torch
from torch import nn

from affectkit.errors import ConfigError
from affectkit.models import AffectModel, ClipBackbone
from affectkit.models.backbones.lora import LoRAConfig, LowRankAttention, merge_lora

TINY = "affectkit-tiny"


def trained(**lora):
    """A tower whose additions are no longer zero."""
    torch.manual_seed(0)
    backbone = ClipBackbone(TINY, tokens=True, lora=lora)
    for name, parameter in backbone.named_parameters():
        if name.endswith(".up"):
            nn.init.normal_(parameter, std=0.5)
    return backbone.eval()


def frames():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 2, 3, 64, 64), generator=generator, dtype=torch.uint8)


def blocks(backbone):
    return list(backbone.tower.transformer.resblocks)


def test_the_tower_begins_as_it_was():
    torch.manual_seed(0)
    plain = ClipBackbone(TINY, tokens=True).eval()
    adapted = ClipBackbone(TINY, tokens=True, lora={}).eval()
    more = adapted.load_state_dict(plain.state_dict(), strict=False)
    assert {name.rpartition(".")[2] for name in more.missing_keys} == {"down", "up"}
    assert not more.unexpected_keys
    torch.testing.assert_close(adapted(frames()).tokens, plain(frames()).tokens)


def test_what_is_added_is_two_low_ranks_and_nothing_to_keys():
    base = nn.MultiheadAttention(8, 2, batch_first=True)
    low = LowRankAttention(base, LoRAConfig(rank=2, alpha=6.0))
    nn.init.normal_(low.up)
    added = low.weight() - base.in_proj_weight
    torch.testing.assert_close(added[:8], 3.0 * low.up[0] @ low.down[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(added[16:], 3.0 * low.up[1] @ low.down[1], atol=1e-5, rtol=0)
    assert not added[8:16].any()
    assert [int(torch.linalg.matrix_rank(added[rows : rows + 8], atol=1e-4)) for rows in (0, 16)] == [2, 2]


def test_attention_is_that_of_the_summed_weight():
    torch.manual_seed(0)
    base = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    low = LowRankAttention(base, LoRAConfig(rank=2)).eval()
    nn.init.normal_(low.up)
    nn.init.normal_(low.in_proj_bias)
    query, rest = torch.randn(3, 2, 8), torch.randn(3, 5, 8)
    mask = torch.triu(torch.full((2, 5), -1.0), 1)
    plain = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    plain.load_state_dict({**base.state_dict(), "in_proj_weight": low.weight().detach()})
    for given in ({}, {"attn_mask": mask, "need_weights": True}):
        ours, theirs = (
            low(query, rest, rest, **given),
            plain(query, rest, rest, **{"need_weights": False, **given}),
        )
        torch.testing.assert_close(ours, theirs)


def test_only_the_additions_train():
    backbone = trained(rank=8)
    before = {name: value.clone() for name, value in backbone.named_parameters()}
    learn = [name for name, value in backbone.named_parameters() if value.requires_grad]
    assert len(learn) == 4 * 2
    assert all(".attn.down" in name or ".attn.up" in name for name in learn)
    assert sum(before[name].numel() for name in learn) == 4 * 2 * 2 * 8 * 64
    backbone.train()
    optimizer = torch.optim.SGD(backbone.parameters(), lr=1.0)
    backbone(frames()).tokens.square().sum().backward()
    optimizer.step()
    changed = {name for name, value in backbone.named_parameters() if not torch.equal(value, before[name])}
    assert changed == set(learn)


def test_the_last_blocks_alone():
    backbone = trained(last=1)
    adapted = [isinstance(block.attn, LowRankAttention) for block in blocks(backbone)]
    assert adapted == [False, False, False, True]


def test_experts_that_were_added_train_as_well():
    backbone = ClipBackbone(TINY, lora={}, moe={"last": 1, "hidden": 8})
    learn = {name.split(".")[4] for name, value in backbone.named_parameters() if value.requires_grad}
    assert learn == {"attn", "mlp"}
    mlp = blocks(backbone)[-1].mlp
    assert any(value.requires_grad for value in mlp.parameters())
    assert not all(value.requires_grad for value in mlp.parameters())


@pytest.mark.parametrize("tokens", [False, True])
def test_merged_equals_unmerged(tokens):
    backbone = trained()
    backbone.tokens = backbone._whole_last = tokens
    pictures = frames()
    with torch.no_grad():
        before = backbone(pictures)
        names = set(ClipBackbone(TINY).state_dict())
        copied = copy.deepcopy(backbone)
        backbone.merge_lora()
        after = backbone(pictures)
    torch.testing.assert_close(after.frames, before.frames, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(copied(pictures).frames, before.frames)
    assert set(backbone.state_dict()) == names
    assert backbone.config["lora"] is None
    plain = ClipBackbone(TINY).eval()
    plain.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(plain(pictures).frames, before.frames, atol=1e-6, rtol=1e-5)
    assert merge_lora(backbone) == 0


def test_models_are_saved_merged_or_not(tmp_path):
    backbone = {"type": "clip", "model_name": TINY, "lora": {"rank": 2}}
    model = AffectModel(backbone, {"au": {"type": "au", "space": "AU1,AU12"}}).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(".up"):
            nn.init.normal_(parameter, std=0.5)
    expected = model.predict(frames())["au"]
    model.save_pretrained(tmp_path / "unmerged")
    model.backbone.merge_lora()
    model.save_pretrained(tmp_path / "merged")
    for name, lora in (("unmerged", {"rank": 2, "alpha": 8.0, "last": None}), ("merged", None)):
        loaded = AffectModel.from_pretrained(tmp_path / name)
        assert loaded.config["backbone"]["lora"] == lora
        torch.testing.assert_close(loaded.predict(frames())["au"], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"lora": {"rank": 0}}, "a rank of at least 1"),
        ({"lora": {"alpha": 0.0}}, "positive alpha"),
        ({"lora": {"last": 0}}, "at least 1 block"),
        ({"lora": {"last": 5}}, "lora.last is 5"),
        ({"lora": {"r": 8}}, "no field 'r'"),
        ({"lora": {}, "trainable_blocks": 1}, "Both `lora` and `trainable_blocks`"),
    ],
)
def test_faults_are_named(arguments, fault):
    with pytest.raises(ConfigError, match=fault):
        ClipBackbone(TINY, **arguments)
