"""`affectkit data table`: what it says about a table, and the recipe that it writes."""

import shutil

import pytest
import torch
import yaml
from helpers.own_clips import film, write_own_clips
from PIL import Image

from affectkit.cli.lightning import build_part
from affectkit.cli.main import main
from affectkit.data.video import open_video
from affectkit.datasets import TableDataset
from affectkit.datasets.preparing.table_check import FaceSearch, count_labels, search_faces


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_own_clips(tmp_path_factory.mktemp("own") / "mine", each=1, frames=3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(folder, *lines, name="index.csv"):
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def cells(text):
    """Rows of the printed table by their title."""
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    return {row[0]: row[1:] for row in rows}


def test_a_good_table(clips, folder, capsys):
    assert main(["data", "table", str(clips), "--quiet"]) == 0
    said = capsys.readouterr()
    assert "columns read: path, subject, split, expression, AU04, AU12, valence, arousal" in said.out
    assert "columns ignored: notes\n" in said.out
    rows = cells(said.out)
    assert rows["count"] == ["train", "val", "test"]
    assert rows["clips"] == rows["subjects"] == ["3", "1", "1"]
    assert rows["au AU4, clips"] == ["3 of 3", "1 of 1", "1 of 1"]
    assert rows["au AU12, clips"] == ["0 of 3", "0 of 1", "0 of 1"]
    assert rows["expression anger, clips"] == ["3", "1", "1"]
    assert rows["va valence, clips"] == ["3, mean -0.60", "1, mean -0.60", "1, mean -0.60"]
    assert "faces: in 5 of 5 frames (the middle frame of 5 of 5 clips)" in said.out
    assert "au: no training clip shows AU12" in said.err
    assert said.out.endswith("recipe: mine.yaml\ntrain: affectkit fit --config mine.yaml\n")
    before = (folder / "mine.yaml").read_text(encoding="utf-8")
    assert main(["data", "table", str(clips), "--quiet", "--faces", "2"]) == 0
    said = capsys.readouterr().out
    assert "faces: in 2 of 2 frames (the middle frame of 2 of 5 clips)" in said
    assert "mine.yaml exists and is kept" in said
    assert (folder / "mine.yaml").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["path,au,AU06", "a.png,1,0"], "mine.csv, line 1: Action units are given in several ways"),
        (["path,AU06", "a.png,1", "b.png,7"], "mine.csv, line 3: Column 'AU06' holds 7."),
        (["path,split,AU06", "a.png,training,1"], "mine.csv, line 2: The split is 'training'."),
        (["path,labels", "a.png,gone.csv"], "gone.csv: This table does not exist."),
        (["path"], "mine.csv, line 1: The table has a header and no rows."),
        (["file,AU06", "a.png,1"], "There is no column 'path'"),
    ],
)
def test_a_wrong_table_is_one_line_with_its_place(folder, capsys, lines, said):
    table(folder, *lines, name="mine.csv")
    assert main(["data", "table", "mine.csv"]) == 3
    message = capsys.readouterr().err
    assert said in message
    assert len(message.strip().splitlines()) == 1
    assert not (folder / "mine.yaml").exists()


@pytest.mark.parametrize("photos", [True, False])
def test_heads_and_length_of_the_recipe(folder, capsys, photos):
    end = "png" if photos else "mp4"
    table(
        folder,
        "path,split,AU04,AU06_i,expression,valence,level",
        f"a.{end},train,1,2,happy,0.5,low",
        f"b.{end},train,0,1,sad,0.1,high",
        f"c.{end},val,0,0,fear,-0.5,high",
    )
    assert main(["data", "table", ".", "--levels", "low,high", "--crops", "--output", "new/first.yaml"]) == 1
    said = capsys.readouterr().out
    assert "cannot be read: 3\n  a." in said
    assert "3 of 3 clips cannot be read" in said
    assert "faces" not in said
    recipe = yaml.safe_load((folder / "new/first.yaml").read_text(encoding="utf-8"))
    model, data = recipe["model"]["init_args"], recipe["data"]["init_args"]
    assert {name: head["class_path"] for name, head in model["heads"].items()} == {
        "au": "AUHead",
        "expression": "ExpressionHead",
        "intensity": "AUIntensityHead",
        "va": "DimensionsHead",
        "levels": "LevelsHead",
    }
    # Only the words that training clips have: nobody learns fear from these clips.
    assert model["heads"]["expression"]["init_args"]["space"] == "happiness,sadness"
    assert model["heads"]["levels"]["init_args"]["space"] == "levels:low,high"
    assert ("temporal" in model) is not photos
    assert data["num_frames"] == (1 if photos else 8)
    assert data["crop_faces"] is False
    assert data["levels"] == "low,high"
    small = ["--model.init_args.backbone.init_args={model_name: test_convnext, size: 32, pretrained: false}"]
    small += [] if photos else ["--model.init_args.temporal.init_args.heads=4"]
    task = build_part(["--config", "new/first.yaml", *small], "model")
    assert set(task.heads) == set(model["heads"])


def test_labels_per_frame_are_counted_by_frame(folder, capsys):
    table(folder, "path,split,labels", "a.mp4,train,one.csv", "b.mp4,val,one.csv", "c.mp4,,one.csv")
    table(folder, "frame,AU12,arousal", "0,1,0.5", "1,1,", "2,0,0.1", name="one.csv")
    assert main(["data", "table", ".", "--faces", "none"]) == 1
    rows = cells(capsys.readouterr().out)
    assert rows["count"] == ["train", "val", "no split"]
    assert rows["au AU12, frames"] == ["2 of 3"] * 3
    assert rows["va arousal, frames"] == ["2, mean 0.30"] * 3
    name = folder.name if folder.name.replace("_", "").isalnum() else "*"
    recipe = next(folder.glob(f"{name}.yaml"))
    heads = yaml.safe_load(recipe.read_text(encoding="utf-8"))["model"]["init_args"]["heads"]
    assert heads["au"]["init_args"]["per_frame"] is True
    counts = count_labels(TableDataset(folder))
    assert counts["au"].annotated["AU12", "train"] == 3
    assert counts["va"].sums["arousal", "no split"] == pytest.approx(0.6)


def test_faults_are_listed_before_training(clips, folder, capsys):
    mine = shutil.copytree(clips, folder / "mine")
    Image.new("RGB", (64, 64)).save(mine / "empty.png")
    (mine / "damaged.mp4").write_bytes(b"no video")
    text = (
        (mine / "index.csv")
        .read_text(encoding="utf-8")
        .replace("subject", "subjct")
        .replace(",val,", ",train,")
    )
    text += "empty.png,p7,train,anger,1,0,0,0,x\ngone.mp4,p8,train,anger,1,0,0,0,x\n"
    text += "damaged.mp4,p9,train,anger,1,0,0,0,x\n"
    (mine / "index.csv").write_text(text, encoding="utf-8")
    for faces in ("50", "all"):
        assert main(["data", "table", "mine", "--quiet", "--faces", faces]) == 1
        said = capsys.readouterr()
        assert "subjct (did you mean subject?)" in said.out
        assert "cannot be read: 2\n  gone.mp4: " in said.out
        assert "  damaged.mp4: " in said.out
        assert "no face found: 1\n  empty.png" in said.out
        assert "to correct: 2\n  no clip has the split val: fill in the column `split`" in said.out
        assert "2 of 8 clips cannot be read" in said.out
        assert "no column `subject`" in said.err
        assert "train:" not in said.out
        frames = (
            "5 of 6 frames (the middle"
            if faces == "50"
            else "15 of 16 frames (all frames of all clips that can"
        )
        assert f"faces: in {frames}" in said.out
    assert list((folder / ".signals" / "mine").rglob("*.safetensors"))


def test_no_face_anywhere_and_no_label(folder, capsys):
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    table(folder, "path,split", "a.png,train", "a.png,val")
    assert main(["data", "table", "."]) == 3
    assert "Give each clip a unique name" in capsys.readouterr().err
    table(folder, "path,clip,split,emotoin", "a.png,one,train,happy", "a.png,two,val,sad")
    assert main(["data", "table", ".", "--quiet"]) == 1
    said = capsys.readouterr().out
    assert "no face was found; if the media are face crops already, use --crops" in said
    assert "no column with labels is read" in said
    assert "recipe" not in said
    table(folder, "path,clip,split,expression", "a.png,one,train,", "a.png,two,val,sad")
    assert main(["data", "table", ".", "--faces", "none"]) == 1
    assert "no training clip has a label of expression" in capsys.readouterr().out


def test_names_with_spaces_and_colons_survive(folder, capsys):
    table(folder, "path,split,AU12", "a.png,train,1", "b.png,val,0", name="my: ä clips.csv")
    assert (
        main(["data", "table", "my: ä clips.csv", "--faces", "none", "--output", "my own, first.yaml"]) == 1
    )
    recipe = yaml.safe_load((folder / "my own, first.yaml").read_text(encoding="utf-8"))
    assert recipe["data"]["init_args"]["root"] == "my: ä clips.csv"
    assert recipe["trainer"]["logger"]["init_args"]["save_dir"] == "runs/my own, first"
    assert "--config 'my own, first.yaml'" in (folder / "my own, first.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("faces", ["0", "some", "-3"])
def test_faces_are_a_number_all_or_none(clips, folder, capsys, faces):
    assert main(["data", "table", str(clips), f"--faces={faces}"]) == 2
    assert "neither a number of clips" in capsys.readouterr().err


def test_there_is_no_table(folder, capsys):
    assert main(["data", "table", "nowhere"]) == 3
    assert "nowhere: The root does not exist" in capsys.readouterr().err
    assert main(["data", "table", "."]) == 3
    assert "There is no table here" in capsys.readouterr().err
    assert main(["data", "tabel", "."]) == 2
    assert "affectkit data table" in capsys.readouterr().err


def test_long_lists_are_cut(folder, capsys):
    rows = [f"{k}.png,{'val' if k else 'train'},1" for k in range(12)]
    table(folder, "path,split,AU12", *rows)
    assert main(["data", "table", ".", "--faces", "none"]) == 1
    said = capsys.readouterr().out
    assert "cannot be read: 12\n  0.png" in said
    assert "  9.png: " in said
    assert "10.png" not in said
    assert "  …\n" in said


def test_faces_of_a_sample_in_python(clips):
    found = search_faces(TableDataset(clips), ["videos/p0_0.mp4"], sample=3)
    assert found == FaceSearch(clips=3, frames=3, seen=3, faceless=())


def test_media_are_those_that_were_written(clips):
    """The helper's frames survive the codec, so that the tests above look at faces."""
    with open_video(clips / "videos/p0_0.mp4") as video:
        read = video.read(range(3)).float()
    assert (read - torch.from_numpy(film(0, 3)).permute(0, 3, 1, 2).float()).abs().mean() < 4
