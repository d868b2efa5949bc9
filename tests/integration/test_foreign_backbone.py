"""The example with a foreign backbone runs, and the model that comes along works on faces it has never seen."""

import ast
import runpy
from pathlib import Path

import torch

import affectkit
from affectkit.data import AllFrames, CenterCrop, collate
from affectkit.datasets import RenderedDataset
from affectkit.metrics import AUMetrics
from affectkit.synth import render_corpus

EXAMPLE = Path(__file__).parents[2] / "examples" / "foreign_backbone.py"


def test_the_example_trains_a_named_head_on_a_foreign_backbone(capsys):
    torch.manual_seed(0)
    names = runpy.run_path(str(EXAMPLE))
    answer = ast.literal_eval(capsys.readouterr().out)
    head = affectkit.load("demo").head("au")
    assert tuple(answer) == head.labels
    assert all(0 <= p <= 1 for p in answer.values())
    assert not torch.equal(names["head"].out.weight, head.out.weight)  # it learned
    assert names["loss"] < 0.75  # from about 0.9
    code = [line for line in EXAMPLE.read_text().splitlines() if line.strip() and not line.startswith('"""')]
    assert len(code) <= 22


def test_the_demo_model_reads_new_rendered_faces(tmp_path):
    settings = {"clips": 7, "frames_per_clip": 4, "size": 80, "num_workers": 1, "progress": False}
    render_corpus(tmp_path, identities=4, seed=123, **settings)
    data = RenderedDataset(tmp_path, sampler=AllFrames(), transform=CenterCrop(64))
    model = affectkit.load("demo")
    head = model.head("au")
    metric = AUMetrics(head.labels, data.num_groups)
    right = 0
    for index in range(len(data)):
        batch = collate([data[index]])
        said = model.predict(batch.frames, batch.frame_mask)
        target = batch.targets["au"].project(head.space.name)
        metric.update(said["au"], target.value, target.mask, batch.subject)
        right += int(said["expression"][0].argmax() == batch.targets["expression"].value[0])
    found = metric.compute(dict(zip(head.labels, head.thresholds, strict=True)))
    assert found["f1_pos"] > found["f1_all_positive"] + 0.2
    assert right / len(data) > 0.5
