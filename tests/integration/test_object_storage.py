"""Prepared crops and tables of predictions in object storage, on a local S3 server."""

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time

import pytest
import torch
from helpers.damaged import video
from helpers.recipes import small_recipe
from pyarrow import fs

from affectkit.cli.main import main
from affectkit.data.shards import CropShards
from affectkit.errors import StorageError
from affectkit.models import AffectModel
from affectkit.synth import render_corpus

pytestmark = [
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("moto", "flask", "flask_cors"))),
        reason="moto is absent: pip install 'moto[server]'",
    ),
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
]


class Server:
    """An S3 server in a process of its own, with the bucket `faces`."""

    def __init__(self, log):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        command = [sys.executable, "-m", "moto.server", "-p", self.address.rpartition(":")[2]]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        store = fs.S3FileSystem(endpoint_override=self.address, scheme="http", allow_bucket_creation=True)
        for _ in range(100):
            try:
                store.create_dir("faces")
                break
            except OSError:
                time.sleep(0.1)

    def uri(self, path):
        return f"s3://{path}?scheme=http&endpoint_override={self.address}"

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path, monkeypatch):
    for name, value in {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with (tmp_path / "server.log").open("w") as log:
        server = Server(log)
        yield server
        server.stop()


def test_crops_are_written_to_and_trained_from_a_bucket(server, tmp_path, capsys):
    root = render_corpus(
        tmp_path / "faces", identities=6, clips=1, frames_per_clip=4, size=48, num_workers=1, seed=0
    )
    uri = server.uri("faces/crops")
    prepare = ["data", "prepare", "rendered", str(root), "--size", "32", "--workers", "0", "--quiet"]
    prepare += ["--codec", "png", "--shard-frames", "9"]
    assert main([*prepare, "--output", uri, "--verify"]) == 0
    assert "24 crops of 6 clips in 3 files (3 made now)" in capsys.readouterr().out
    assert main([*prepare, "--output", uri]) == 0
    assert "(0 made now)" in capsys.readouterr().out
    assert main([*prepare, "--output", str(tmp_path / "local")]) == 0
    remote, local = CropShards(uri), CropShards(tmp_path / "local")
    for number in range(6):
        clip = f"p{number:04d}_00"
        assert torch.equal(remote.read(clip, range(4)), local.read(clip, range(4)))

    weights = {}
    for name, prepared in {"remote": uri, "local": str(tmp_path / "local")}.items():
        recipe = tmp_path / f"{name}.json"
        recipe.write_text(json.dumps(small_recipe(root, tmp_path / name)))
        assert main(["fit", "--config", str(recipe), "--data.prepared", prepared]) == 0
        (state,) = (tmp_path / name).rglob("newest.ckpt")
        weights[name] = torch.load(state, weights_only=True)["state_dict"]
    torch.testing.assert_close(weights["remote"], weights["local"], rtol=0, atol=0)

    assert main([*prepare, "--output", server.uri("nowhere/crops")]) == 3
    assert "Create the bucket" in capsys.readouterr().err
    server.stop()
    with pytest.raises(StorageError, match="network") as caught:
        CropShards(uri)
    assert str(caught.value.path).startswith("s3://faces/crops")


def test_tables_are_written_to_and_read_from_a_bucket(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AFFECTKIT_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    backbone = {"type": "timm", "model_name": "test_resnet", "size": 32}
    AffectModel(backbone, {"au": {"type": "au", "space": "AU1,AU12"}}).save_pretrained(tmp_path / "model")
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.mp4").write_bytes(video("mp4", frames=6))
    command = ["predict", "--model", str(tmp_path / "model"), "--faces", "center", "--quiet"]
    command += ["--processes", "0", "--input"]
    uri = server.uri("faces/runs/tables")
    assert main([*command, str(tmp_path / "in"), "--output", uri]) == 0
    assert "2 tables (0 finished before)" in capsys.readouterr().out
    assert main([*command, str(tmp_path / "in"), "--output", str(tmp_path / "local")]) == 0
    store = fs.S3FileSystem(endpoint_override=server.address, scheme="http")
    for path in (tmp_path / "local").iterdir():
        if path.name != "_summary.csv":
            assert store.open_input_file(f"faces/runs/tables/{path.name}").read() == path.read_bytes()

    shutil.rmtree(tmp_path / "cache")  # another machine
    capsys.readouterr()
    assert main([*command, str(tmp_path / "in"), "--output", uri]) == 0
    assert "2 tables (2 finished before)" in capsys.readouterr().out
    one = server.uri("faces/a.parquet")  # at the top of the bucket
    assert main([*command, str(tmp_path / "in" / "a.mp4"), "--output", one]) == 0
    assert main(["report", one, "--output", str(tmp_path / "a.html"), "--no-video", "--quiet"]) == 0

    assert main([*command, str(tmp_path / "in"), "--output", server.uri("nowhere/tables")]) == 3
    assert "Create the bucket" in capsys.readouterr().err
    server.stop()
    assert main([*command, str(tmp_path / "in"), "--output", uri]) == 3
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1
    assert "Check the network" in err[0]
