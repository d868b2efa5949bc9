"""`affectkit data prepare`: from a folder as distributed to a step of training."""

import json

import pytest
from helpers.recipes import small_recipe

from affectkit.cli.data import prepare as run
from affectkit.cli.main import main
from affectkit.data.shards import CropShards
from affectkit.datasets import RenderedDataset, TableDataset
from affectkit.errors import ConfigError, VideoError
from affectkit.synth import render_corpus

SMALL = ["--size", "32", "--workers", "0", "--quiet"]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = tmp_path_factory.mktemp("rendered") / "faces"
    return render_corpus(
        root, identities=6, clips=1, frames_per_clip=4, size=48, num_workers=1, seed=0, media="frames"
    )


def test_a_corpus_is_prepared_and_trained_on(rendered, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--codec", "png", "--margin", "0.2", "--shard-frames", "9", "--verify", *SMALL]
    assert run(["RENDERED", str(rendered), "--output", str(out), *options]) == 0
    text = capsys.readouterr().out
    assert f"{out}: 24 crops of 6 clips in 3 files (3 made now); 0 frames failed, all checksums match" in text
    assert f"--data.prepared {out}" in text
    settings = CropShards(out).manifest.settings
    assert {name: settings[name] for name in ("size", "crop", "margin", "codec", "align_per")} == {
        "size": 32,
        "crop": "auto",
        "margin": 0.2,
        "codec": "png",
        "align_per": "frame",
    }
    assert run(["rendered", str(rendered), "--output", str(out), *options[:-3], "--retry", *SMALL]) == 0
    assert "(0 made now)" in capsys.readouterr().out
    clip = RenderedDataset(rendered, prepared=out)[0]
    assert clip.frames.shape == (4, 3, 32, 32)
    assert clip.landmarks_mask.all()
    # The originals go; the crops are enough.
    for path in rendered.glob("**/*.png"):
        path.rename(path.with_suffix(".gone"))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(small_recipe(rendered, tmp_path)))
    assert main(["fit", "--config", str(recipe), "--data.prepared", str(out)]) == 0
    with pytest.raises(VideoError):
        RenderedDataset(rendered)[0]
    for path in rendered.glob("**/*.gone"):
        path.rename(path.with_suffix(".png"))


def test_failures_are_told(tmp_path, capsys):
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "index.csv").write_text("path\na.png\nb.png\n")
    out = tmp_path / "out"
    arguments = ["table", str(tmp_path), "--output", out.as_uri(), "--crop", "none", *SMALL]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert "1 crops of 2 clips in 1 files (1 made now); 1 frames failed" in text
    assert "  1 × The image cannot be read" in text
    assert f"{out.as_uri()}/failed.csv" in text
    assert TableDataset(tmp_path, prepared=out.as_uri())[0].frames.shape == (1, 3, 30, 40)
    (tmp_path / "index.csv").write_text("path\nb.png\n")
    with pytest.raises(VideoError, match="crop"):
        run([*arguments[:3], str(tmp_path / "other"), *arguments[4:]])


def test_a_corpus_without_landmarks_names_the_remedy(tmp_path, capsys):
    (tmp_path / "index.csv").write_text("path\na.png\n")
    arguments = ["data", "prepare", "table", str(tmp_path), "--output", str(tmp_path / "out"), "--quiet"]
    assert main([*arguments, "--detector", "none"]) == 2
    told = capsys.readouterr().err
    assert "--crop none" in told
    assert "--crop center" in told


def test_a_corpus_without_landmarks_has_its_faces_detected(tmp_path, capsys):
    import numpy as np
    import torch
    from PIL import Image
    from skimage.data import astronaut

    from affectkit.faces import CenterFace, align_frames, face_transform

    photo = np.ascontiguousarray(astronaut()[:224, 64:384])
    Image.fromarray(photo).save(tmp_path / "a.png")
    Image.new("RGB", (60, 60)).save(tmp_path / "b.png")
    (tmp_path / "index.csv").write_text("path\na.png\nb.png\n")
    for crop in ("auto", "detect"):
        out = tmp_path / f"out-{crop}"
        arguments = ["table", str(tmp_path), "--output", str(out), *SMALL, "--codec", "png", "--crop", crop]
        assert run(arguments) == 0
        text = capsys.readouterr().out
        assert "1 frames failed" in text
        assert "1 × no face" in text
        assert CropShards(out).manifest.settings["detector"] == str(CenterFace())
        frames = torch.from_numpy(photo).permute(2, 0, 1)[None]
        (face,) = CenterFace()(frames)[0]
        size = CropShards(out).manifest.settings["size"]
        wanted = align_frames(frames, face_transform(face.points, size, margin=0.15), size)
        assert torch.equal(TableDataset(tmp_path, prepared=out)[0].frames, wanted)


@pytest.mark.parametrize(
    ("options", "detector"),
    [
        ((), "CenterFace (threshold 0.5, longest side 640)"),
        (("--crop", "center", "--detector", "centerface"), None),
        (("--crop", "landmarks"), None),
        (("--detector", "none"), None),
    ],
)
def test_a_detector_is_used_where_faces_are_looked_for(options, detector, rendered, tmp_path):
    assert run(["rendered", str(rendered), "--output", str(tmp_path / "out"), *SMALL, *options]) == 0
    assert CropShards(tmp_path / "out").manifest.settings["detector"] == detector


def test_damaged_files_are_found(rendered, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["data", "prepare", "rendered", str(rendered), "--output", str(out), *SMALL]
    assert main(arguments) == 0
    path = out / "shards/00000.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    assert main(arguments) == 0
    assert main([*arguments, "--verify"]) == 3
    assert "00000.arrow: Its content differs from its checksum" in capsys.readouterr().err
    path.unlink()
    assert main([*arguments, "--verify"]) == 0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["ck+", "x"], "no corpus named 'ck\\+'.*casme2.*rendered"),
        (["rendered", "x", "--option", "camera"], "option 'camera' has no value"),
        (
            ["rendered", "{rendered}", "--option", "camera=right", "--option", "n=3"],
            "does not have the option camera, n",
        ),
    ],
)
def test_wrong_usage(arguments, match, rendered, tmp_path):
    arguments = [argument.format(rendered=rendered) for argument in arguments]
    with pytest.raises(ConfigError, match=match):
        run([*arguments, "--output", str(tmp_path / "out")])


def test_options_reach_the_dataset(rendered, tmp_path):
    out = tmp_path / "out"
    assert run(["rendered", str(rendered), "--output", str(out), "--option", "split=test", *SMALL]) == 0
    names = {clip for shard in CropShards(out).manifest.shards for clip, _, _ in shard.clips}
    assert names == {record.clip for record in RenderedDataset(rendered, split="test").clips}


def test_other_type_errors_are_not_the_users(monkeypatch, tmp_path):
    def broken(*_, **__):
        raise TypeError("of another kind")

    monkeypatch.setattr("affectkit.cli.data.open_dataset", broken)
    with pytest.raises(TypeError, match="another kind"):
        run(["rendered", str(tmp_path), "--output", str(tmp_path / "out")])


def test_the_help_is_complete(capsys):
    with pytest.raises(SystemExit):
        run(["--help"])
    text = capsys.readouterr().out
    for name in (
        "--size",
        "--crop",
        "--detector",
        "--workers",
        "--codec",
        "--quality",
        "--verify",
        "onset",
        "s3://",
    ):
        assert name in text
