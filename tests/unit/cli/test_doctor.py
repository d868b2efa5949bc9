"""`affectkit doctor` fits a screen, knows the packages of pyproject.toml, and says what is missing."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from huggingface_hub import constants

from affectkit.cli import doctor
from affectkit.cli.main import main

PROJECT = tomllib.loads((Path(doctor.__file__).parents[2] / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {re.match(r"[\w-]+", one)[0] for one in requirements}


def test_packages_are_those_of_the_project():
    assert set(doctor.REQUIRED) == names(PROJECT["dependencies"]) - {"decord"}
    extras = {name: names(packages) for name, packages in PROJECT["optional-dependencies"].items()}
    assert {name: set(packages) for name, (packages, _) in doctor.EXTRAS.items()} == {
        name: packages for name, packages in extras.items() if name not in ("docs", "dev")
    }


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def test_everything_on_one_screen(cache, capsys, monkeypatch):
    monkeypatch.setenv("AFFECTKIT_DATA", "/data/faces")
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 110
    for part in (
        f"torch {version('torch')}",
        "pyav ",
        "cpu: ",
        "AFFECTKIT_DATA: /data/faces",
        "included: demo, mesh",
    ):
        assert part in text
    assert "timm/resnet18.a1_in1k: NOT cached, downloaded on first use; for " in " ".join(text.split())
    assert "timm/vit_base_patch16_clip_224.openai: NOT cached" in text


def test_cached_weights_are_found(cache, capsys):
    snapshot = cache / "models--timm--resnet18.a1_in1k" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"x" * 2**20)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "timm/resnet18.a1_in1k: cached; for " in text
    assert "timm/resnet18.a1_in1k (1 MiB)" in " ".join(text.split())


def test_what_is_missing_is_named_with_its_commands(cache, capsys, monkeypatch):
    lacking = {"onnxscript", "wandb", "decord"}

    def find(name):
        if name in lacking:
            raise PackageNotFoundError
        return "1.0"

    monkeypatch.setattr(doctor, "version", find)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "installed: synth, llm, ray, tensorboard" in text
    assert "missing for model export --to onnx: pip install 'affectkit[onnx]'" in text
    assert "missing for --logger wandb: pip install 'affectkit[wandb]'" in text
    assert "decord is not installed" in text


def test_a_missing_required_package_is_a_failure(capsys, monkeypatch):
    def find(name):
        if name == "timm":
            raise PackageNotFoundError
        return "1.0"

    monkeypatch.setattr(doctor, "version", find)
    assert main(["doctor"]) == 1
    assert "MISSING: timm. Run: pip install affectkit" in capsys.readouterr().out
