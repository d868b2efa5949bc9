"""True labels beside predictions, of every kind of label."""

import csv
from types import SimpleNamespace

import torch
from helpers.mood import LEVELS, MoodDataset
from helpers.toy import ToyDataset

from affectkit.data import collate
from affectkit.models import AUHead, AUIntensityHead, DimensionsHead, ExpressionHead, LevelsHead
from affectkit.tasks.prediction_table import PredictionTable


def rows_of(tmp_path, dataset, *heads):
    path = tmp_path / "predictions.csv"
    trainer = SimpleNamespace(world_size=1, global_rank=0, is_global_zero=True)
    table = PredictionTable(path, trainer, heads, dataset.targets)
    for clip in dataset:
        batch = collate([clip])
        outputs = {str(i): torch.zeros(1, 3, len(head.columns)) for i, head in enumerate(heads)}
        facts = {"meta": batch.meta, "frame_mask": batch.frame_mask, "valid": batch.valid}
        table.write({"outputs": outputs, **facts}, 0, batch.targets)
    assert table.close() == str(path)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def true_columns(row):
    return [name for name in row if name.endswith("_true")]


def test_units_and_classes(tmp_path):
    dataset = ToyDataset(split="test")
    heads = AUHead(1, "AU12,AU1"), AUIntensityHead(1, "intensity:AU1"), ExpressionHead(1, "basic7")
    rows = rows_of(tmp_path, dataset, *heads)
    assert true_columns(rows[0]) == ["AU12_true", "AU01_true", "AU01_i_true", "expression_true"]
    for row, record in zip(rows, (r for r in dataset.clips for _ in range(3)), strict=True):
        active, known = dataset.truth(record)
        place = int(row["frame"])
        first = f"{int(active[place, 0])}" if known[place, 0] else ""
        assert (row["AU01_true"], row["AU01_i_true"]) == (first, first.replace("1", "3"))
        index = int(active[0, 0]) + 2 * int(active[0, 1])
        assert row["expression_true"] == ("neutral", "happiness", "sadness", "anger")[index]


def test_levels_dimensions_and_distributions(tmp_path):
    dataset = MoodDataset(split="test")
    space = dataset.spaces["expression"]
    heads = DimensionsHead(1, "va"), LevelsHead(1, LEVELS), ExpressionHead(1, space)
    rows = rows_of(tmp_path, dataset, *heads)
    assert true_columns(rows[0]) == ["valence_true", "arousal_true", "levels_true", "expression_true"]
    for row, record in zip(rows, (r for r in dataset.clips for _ in range(3)), strict=True):
        active, known = dataset.truth(record)
        place = int(row["frame"])
        arousal = 0.5 * active[place, :2].sum().item() - 0.5
        assert row["arousal_true"] == (f"{arousal:g}" if known[place, 1] else "")
        assert row["levels_true"] == ("none", "one", "two", "two")[int(active[:, 0].sum())]
        q = dataset.annotate(record, [0])["expression"].value
        assert row["expression_true"] == (space.split(",")[int(q.argmax())] if known[0, 0] else "")
