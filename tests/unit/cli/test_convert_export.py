"""`affectkit model convert` and `affectkit model export`: what they write and say."""

import json

import huggingface_hub
import onnxruntime
import pytest
import torch
from helpers.ssm_release import make_state
from safetensors.torch import load_file

from affectkit.cli.main import main
from affectkit.models import AffectModel
from affectkit.models.export import describe_onnx


def export(*options):
    return main(["model", "export", *map(str, options)])


def convert(*options):
    return main(["model", "convert", *map(str, options)])


def test_convert_writes_a_model_and_says_what_was_left_out(tmp_path, capsys):
    state, _ = make_state("disfa", 7, smooth=True)
    torch.save(state, tmp_path / "best.pth")
    out = tmp_path / "model"
    assert convert("ssm", tmp_path / "best.pth", "--output", out, "--au-set", "disfa8") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{out}: release 1, 145 tensors converted")
    assert lines[1] == "10 tensors left out:"
    assert "  row_targets_au2emo: the sums of init_map" in lines
    block = "encoder.transformer.resblocks.2.mlp"
    assert f"  {block}.shared_fc1.weight: the same as {block}.shared_expert.0.weight" in lines
    assert any(line.startswith("note: Tokens") and "legacy_dispatch" in line for line in lines)
    model = AffectModel.from_pretrained(out)
    assert model.metadata["trained_on"] == "DISFA and DFEW or FERV39k, by its authors"


def test_convert_refuses_other_files(tmp_path, capsys):
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    assert convert("ssm", tmp_path / "other.pth", "--output", tmp_path / "model") == 3
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
    assert export("--model", checkpoint, "--to", "safetensors", "--output", out, *stated) == 0
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

    assert export("--model", checkpoint, "--output", tmp_path / "model", "--rendered") == 0
    assert "rendered faces only" in Predictor(tmp_path / "model").warning


@pytest.mark.parametrize("rendered", [True, False])
def test_exported_models_say_what_they_learned_from(checkpoint, tmp_path, rendered):
    content = torch.load(checkpoint, weights_only=True)
    corpora = {"rendered": "Apache-2.0", "toy": "none"}
    torch.save({**content, "trained_on": {"corpora": corpora, "rendered": rendered}}, checkpoint)
    assert export("--model", checkpoint, "--output", tmp_path / "model") == 0
    metadata = AffectModel.from_pretrained(tmp_path / "model").metadata
    assert metadata["trained_on"] == ("rendered faces: rendered, toy" if rendered else "rendered, toy")
    assert metadata["licence"] == "rendered: Apache-2.0; toy: none"
    assert metadata.get("rendered", False) is rendered


def test_export_refuses_other_targets_and_files(checkpoint, tmp_path, capsys):
    assert export("--model", checkpoint, "--to", "cereal", "--output", tmp_path / "model") == 2
    assert "There is no --to 'cereal'." in capsys.readouterr().err
    assert export("--model", tmp_path / "no.ckpt", "--output", tmp_path / "model") == 3
    assert "no.ckpt: There is no such file." in capsys.readouterr().err


RESULTS = {
    "toy/au": [
        {
            "name": "au/f1_pos",
            "value": 0.5,
            "ci": [0.25, 0.75],
            "ci_level": 0.95,
            "ci_over": "subjects",
            "baseline": 0.125,
            "threshold_rule": "fixed",
            "protocol": "toy people",
        }
    ]
}


@pytest.mark.parametrize("whole", [False, True], ids=["of a test", "of a cross-validation"])
def test_results_come_into_the_card(checkpoint, tmp_path, whole):
    (tmp_path / "results.json").write_text(
        json.dumps({"corpus": "toy", "results": RESULTS} if whole else RESULTS)
    )
    about = ["--results", str(tmp_path / "results.json"), "--name", "Mine", "--citation", "Me, 2026"]
    assert export("--model", checkpoint, "--output", tmp_path / "model", *about, "--half") == 0
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| au/f1_pos | 0.500 | 0.250 – 0.750 | 0.125 | 0.5 |" in card
    assert "# Mine" in card
    assert "- toy people" in card
    assert "## Citation\n\nMe, 2026" in card
    model = AffectModel.from_pretrained(tmp_path / "model")
    assert torch.equal(model.head("au").out.weight, model.head("au").out.weight.half().float())


@pytest.mark.parametrize("text", ["{", "[]", '{"a": [1]}', '{"a": [{"name": "x"}]}', "3"])
def test_other_files_are_no_results(checkpoint, tmp_path, text, capsys):
    (tmp_path / "no.json").write_text(text)
    given = ["--results", str(tmp_path / "no.json"), "--output", str(tmp_path / "model")]
    assert export("--model", checkpoint, *given) == 2
    assert "no.json: This file holds no results." in capsys.readouterr().err


def test_export_to_onnx(checkpoint, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    options = ["--frames", "1", "--inputs", "frames", "frame_mask", "--logits"]
    assert export("--model", checkpoint, "--to", "onnx", "--output", out, *options) == 0
    assert capsys.readouterr().out.startswith(f"{out}: au (2 labels); largest difference from the model: ")
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == ["frames", "frame_mask"]
    assert session.get_inputs()[0].shape == ["batch", 1, 3, 32, 32]
    assert [output.name for output in session.get_outputs()] == ["au"]
    assert describe_onnx(out)["values"] == "logits"


def test_export_to_the_hub_asks_for_a_repository_and_uploads_a_card(
    checkpoint, tmp_path, monkeypatch, capsys
):
    seen = {}

    class Api:
        def create_repo(self, repo, *, private, exist_ok):
            seen.update(repo=repo, private=private)

        def upload_folder(self, *, repo_id, folder_path):
            seen["card"] = (folder_path / "README.md").read_text()
            seen["type"] = load_file(folder_path / "model.safetensors")["heads.au.out.bias"].dtype
            return "https://example.org/commit"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    command = ["model", "export", "--model", str(checkpoint), "--to", "hub"]
    assert main(command) == 2
    assert "--to hub needs --repo" in capsys.readouterr().err
    assert main([*command, "--repo", "me/faces", "--private", "--half", "--licence", "MIT"]) == 0
    assert capsys.readouterr().out == "https://example.org/commit: au (2 labels)\n"
    assert (seen["repo"], seen["private"], seen["type"]) == ("me/faces", True, torch.float16)
    assert "license: mit" in seen["card"]


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("safetensors", ["--repo", "me/faces"]),
        ("safetensors", ["--private"]),
        ("safetensors", ["--inputs", "frames", "landmarks"]),
        ("safetensors", ["--frames", "4"]),
        ("safetensors", ["--logits"]),
        ("onnx", ["--half"]),
        ("hub", ["--half", "--logits", "--repo", "me/faces"]),
        ("hub", ["--repo", "me/faces", "--output", "here"]),
    ],
)
def test_options_of_another_target_are_refused(target, options, tmp_path, capsys):
    out = [] if target == "hub" else ["--output", str(tmp_path / "out")]
    assert export("--model", "demo", "--to", target, *out, *options) == 2
    assert f"does not go with --to {target}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_saved_model_is_exported_again(tmp_path, capsys):
    assert export("--model", "demo", "--output", tmp_path / "copy", "--half") == 0
    assert export("--model", "demo") == 2
    assert "--to safetensors needs --output" in capsys.readouterr().err
    first, copy = AffectModel.from_pretrained("demo"), AffectModel.from_pretrained(tmp_path / "copy")
    assert copy.metadata == first.metadata
    assert torch.equal(copy.head("au").out.weight, first.head("au").out.weight)
