import json
from dataclasses import replace

import pytest
import torch

from affectkit.facs import AUSet


def write_runs(folder, scores, setup=None):
    """Runs of the rehearsal, by variant the F1 of two seeds."""
    import harness
    from micro_au_setup import Setup

    setup = setup or Setup.rehearsal()
    (folder / setup.name).mkdir()
    for variant, found in scores.items():
        for seed, f1 in enumerate(found):
            results = {
                "f1": f1,
                "f1_val": f1 + 0.1,
                "f1_trivial": 0.25,
                "f1_low": f1 - 0.05,
                "f1_high": f1 + 0.05,
            }
            results |= {f"f1_val/{unit}": f1 for unit in AUSet.parse(setup.units).labels} | {
                "f1_val/AU2": 1.0
            }
            content = {
                "variant": variant,
                "seed": seed,
                "results": results,
                "processor_seconds": {"all": 9.0},
            }
            harness.write_run(setup, folder, content)
    return setup


def test_the_table_compares_every_variant_with_the_method(tmp_path):
    from micro_au_tables import write_tables

    setup = write_runs(tmp_path, {"full": [0.5, 0.7], "no_pta": [0.4, 0.6], "led": [0.3, 0.3]})
    text = write_tables(setup, tmp_path)
    assert text == (tmp_path / "micro_au.md").read_text()
    lines = text.splitlines()
    assert "4 people for training, 2 for selecting thresholds and 2 for testing" in lines[0]
    assert "A run took 9 s on one core (median)" in lines[0]
    assert "| no PTA: means of the regions | 0.500 [-0.771, 1.771] | +0.100 [+0.100, +0.100] | 2 |" in lines
    assert "| trivial baseline | 0.250 |  | 2 |" in lines
    assert lines[-1].startswith("| LED, six frames | 0.300 | 1.000 |")  # by unit: AU1, AU2, …
    results = json.loads((tmp_path / "micro_au.json").read_text())["results"]
    rows = {(row["metric"], row["variant"]): row for row in results}
    assert [rows["f1", name]["kind"] for name in ("full", "no_pta", "led", "trivial")] == [
        "method", "ablation", "baseline", "trivial",
    ]  # fmt: skip
    assert rows["f1_val", "led"]["full_minus_this"] == pytest.approx(0.3)
    assert rows["f1_val", "trivial"]["mean"] == 0.25


def test_runs_of_other_settings_have_another_name(monkeypatch):
    import micro_au_setup
    from micro_au_setup import VARIANTS, Setup

    name = Setup().name
    assert Setup().name == name != Setup.rehearsal().name
    assert replace(Setup(), steps_per_epoch=76).name != name
    monkeypatch.setitem(micro_au_setup.VARIANTS, "led", replace(VARIANTS["led"], title="another"))
    assert Setup().name == name
    monkeypatch.setitem(micro_au_setup.VARIANTS, "led", replace(VARIANTS["led"], lr=1.0))
    assert Setup().name != name


def test_corpora_share_no_people():
    from micro_au_setup import Setup

    setup = Setup()
    seeds = [setup.corpus(seed)["seed"] for seed in (None, *range(5))]
    assert len(set(seeds)) == 6  # everything about a person is drawn from it
    assert "regime" not in setup.corpus(None)


def test_every_variant_switches_off_what_it_says(tmp_path):
    from micro_au_run import make_task, tower_file
    from micro_au_setup import VARIANTS, Setup
    from safetensors.torch import save_file

    from affectkit.methods.micro_au_clip import MicroAUHead
    from affectkit.models.backbones import ClipBackbone

    setup = Setup.rehearsal()
    (tmp_path / setup.name).mkdir()
    tower = ClipBackbone("affectkit-tiny-patch8").tower.state_dict()
    file = tower_file(setup, tmp_path, "affectkit-tiny-patch8")
    save_file({f"visual.{k}": v for k, v in tower.items()}, file)
    tasks = {name: make_task(setup, variant, file) for name, variant in VARIANTS.items()}
    heads = {name: task.heads["au"] for name, task in tasks.items()}
    parts = {
        name: (head.attend is not None, head.depend is not None, head.tau is not None)
        for name, head in heads.items()
        if isinstance(head, MicroAUHead)
    }
    assert parts == {
        "full": (True, True, True), "no_pta": (False, True, True), "no_gda": (True, False, True),
        "no_gdloss": (True, True, True), "no_miaucl": (True, True, False), "regions": (False, False, False),
    }  # fmt: skip
    weights = {
        name: [tasks[name].loss_weights[f"au/{term}"] for term in ("contrast", "dependency")]
        for name in parts
    }
    assert weights == {
        "full": [0.1, 0.1], "no_pta": [0.1, 0.1], "no_gda": [0.1, 0.1], "no_gdloss": [0.1, 0.0],
        "no_miaucl": [0.0, 0.1], "regions": [0.0, 0.0],
    }  # fmt: skip
    towers = [name for name, task in tasks.items() if task.model.backbone.config["type"] == "clip"]
    assert towers == [*parts, "difference"]
    assert all(
        torch.equal(tasks[name].model.backbone.tower.conv1.weight, tower["conv1.weight"]) for name in towers
    )
    assert tasks["difference"].model.temporal.config["type"] == "motion"


def test_the_tower_learns_where_landmarks_near_a_patch_are_and_how_they_move():
    from micro_au_run import _landmark_loss

    landmarks = torch.full((1, 2, 68, 2), 1000.0)
    landmarks[0, :, 0] = torch.tensor([[2.5, 12.5], [3.5, 12.5]])  # moves a pixel to the right
    middles = torch.tensor(
        [[3.5, 3.5], [11.5, 3.5], [3.5, 11.5], [11.5, 11.5]]
    )  # of four patches, row by row
    right = ((landmarks[:, :, None] - middles[:, None]) / 8).flatten(-2)
    assert _landmark_loss(right, landmarks, 16, 2) == 0
    far = right.clone()
    far[..., 2:] += 1.0  # landmarks that no patch is near to
    assert _landmark_loss(far, landmarks, 16, 2) == 0
    still = right.clone()
    still[:, 1] = right[:, 0]
    # Half of the frames are 1/8 off in x: smooth L1 with beta 0.1, mean over x and y; and so are all shifts.
    assert _landmark_loss(still, landmarks, 16, 2) == pytest.approx(
        ((0.125 - 0.05) / 2) / 2 + (0.125 - 0.01) / 2
    )


def test_the_study_of_inputs_builds_what_its_rows_say(tmp_path):
    from micro_au_inputs_setup import LEVEL, OPTIONS, InputsSetup
    from micro_au_run import make_task, micro_data, tower_file
    from micro_au_setup import VARIANTS, Setup
    from safetensors.torch import load_file, save_file

    from affectkit.models import FlowBackbone
    from affectkit.models.backbones import ClipBackbone

    setup = InputsSetup.rehearsal()
    assert isinstance(setup, InputsSetup)
    assert setup.name != Setup.rehearsal().name
    assert OPTIONS["full"] == VARIANTS["full"]
    (tmp_path / setup.name).mkdir()
    for name in ("affectkit-tiny-patch8", "affectkit-tiny"):
        tower = ClipBackbone(name).tower.state_dict()
        save_file({f"visual.{k}": v for k, v in tower.items()}, tower_file(setup, tmp_path, name))
    tasks = {
        name: make_task(setup, variant, tower_file(setup, tmp_path, variant.tower))
        for name, variant in setup.variants.items()
    }
    assert [name for name, task in tasks.items() if isinstance(task.model.backbone, FlowBackbone)] == ["flow"]
    heads = {name: task.heads["au"] for name, task in tasks.items()}
    assert [name for name in OPTIONS if heads[name].regions.side == 2] == ["region2", "wide"]
    assert [name for name in OPTIONS if heads[name].tower is not None] == [
        "text_last",
        "text_lora",
        "text_all",
    ]
    assert tasks["wide"].model.backbone.tower.grid_size == (4, 4)
    file = tower_file(setup, tmp_path, "affectkit-tiny-patch8")
    saved = load_file(file)["visual.conv1.weight"]
    same = {
        name: torch.equal(tasks[name].model.backbone.tower.conv1.weight, saved)
        for name in LEVEL
        if "led" not in name
    }
    assert same == {"full": True, "scratch": False, "scratch_long": False}
    rates = {
        name: [group["lr"] for group in tasks[name].hparams["param_groups"]]
        for name in ("scratch", "text_all")
    }
    assert rates == {"scratch": [1e-3], "text_all": [2e-3, 2e-3]}
    lengths = {name: micro_data(setup, tmp_path, setup.variants[name], 0).train_frames for name in LEVEL}
    assert [frames.num_frames for frames in lengths.values()] == [2, 2, 6, 2, 2, 6]


def test_the_tables_of_inputs_compare_within_each_question(tmp_path):
    from micro_au_inputs import write_tables
    from micro_au_inputs_setup import InputsSetup

    setup = write_runs(
        tmp_path,
        {"full": [0.5, 0.7], "flow": [0.4, 0.6], "scratch": [0.3, 0.5], "led_two": [0.2]},
        InputsSetup.rehearsal(),
    )
    text = write_tables(setup, tmp_path)
    assert text == (tmp_path / "micro_au_inputs.md").read_text()
    lines = text.splitlines()
    assert "A run took 9 s on one core (median)" in lines[0]
    assert "| optical flow | 0.500 [-0.771, 1.771] | +0.100 [+0.100, +0.100] | 2 |" in lines
    assert (
        "| Micro-AU CLIP, tower from nothing | 0.400 [-0.871, 1.671] | +0.200 [+0.200, +0.200] | 2 |" in lines
    )
    assert "| LED, onset and apex | 0.200 [0.150, 0.250] | +0.300 | 1 |" in lines  # over people
