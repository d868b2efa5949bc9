"""`affectkit convert` and `affectkit export`: what they write and say."""

import pytest
import torch
from helpers.ssm_release import make_state

from affectkit.cli.main import main
from affectkit.models import AffectModel


def test_convert_writes_a_model_and_says_what_was_left_out(tmp_path, capsys):
    state, _ = make_state("disfa", 7, smooth=True)
    torch.save(state, tmp_path / "best.pth")
    out = tmp_path / "model"
    assert main(["convert", "ssm", str(tmp_path / "best.pth"), "--out", str(out), "--au-set", "disfa8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{out}: release 1, 145 tensors taken over")
    assert lines[1] == "10 left out, which say nothing new:"
    assert "  row_targets_au2emo: the sums of init_map" in lines
    block = "encoder.transformer.resblocks.2.mlp"
    assert f"  {block}.shared_fc1.weight: the same as {block}.shared_expert.0.weight" in lines
    assert any(line.startswith("note: Tokens are sent to experts as the released code") for line in lines)
    model = AffectModel.from_pretrained(out)
    assert model.metadata["trained_on"] == "DISFA and DFEW or FERV39k, by its authors"


def test_convert_refuses_other_files(tmp_path, capsys):
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    assert main(["convert", "ssm", str(tmp_path / "other.pth"), "--out", str(tmp_path / "model")]) == 3
    assert "The tensor dfer_head.weight is missing" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.fixture
def checkpoint(tmp_path):
    model = AffectModel(
        {"type": "timm", "model_name": "test_resnet", "size": 32}, {"au": {"type": "au", "space": "AU1,AU12"}}
    )
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {"epoch": 2, "state_dict": tensors, "model_config": model.config}
    torch.save({**content, "thresholds": {"au": {"AU1": 0.2, "AU12": 0.4}}}, tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"


def test_export_writes_a_model_with_its_thresholds(checkpoint, tmp_path, capsys):
    out = tmp_path / "model"
    stated = ["--trained-on", "faces of mine", "--licence", "CC0-1.0"]
    assert main(["export", "--ckpt", str(checkpoint), "--to", "safetensors", "--out", str(out), *stated]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: au (2 labels)")
    model = AffectModel.from_pretrained(out)
    assert model.head("au").thresholds == (0.2, 0.4)
    assert model.metadata == {
        "checkpoint": "best.ckpt",
        "epoch": 2,
        "trained_on": "faces of mine",
        "licence": "CC0-1.0",
    }


def test_exported_models_can_say_that_their_faces_were_rendered(checkpoint, tmp_path):
    from affectkit.inference import Predictor

    assert main(["export", "--ckpt", str(checkpoint), "--out", str(tmp_path / "model"), "--rendered"]) == 0
    assert "rendered faces only" in Predictor(tmp_path / "model").warning


def test_export_refuses_other_targets_and_files(checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["export", "--ckpt", str(checkpoint), "--to", "cereal", "--out", str(tmp_path / "model")])
    assert "invalid choice: 'cereal'" in capsys.readouterr().err
    assert main(["export", "--ckpt", str(tmp_path / "no.ckpt"), "--out", str(tmp_path / "model")]) == 3
    assert "no.ckpt: There is no such file." in capsys.readouterr().err
