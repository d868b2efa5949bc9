"""True labels beside predictions, of every kind of label."""

import csv

from helpers.mood import LEVELS, MoodDataset
from helpers.toy import ToyDataset

from affectkit.cli.folds import add_truths
from affectkit.models import AUHead, AUIntensityHead, DimensionsHead, ExpressionHead, LevelsHead


def rows_of(tmp_path, dataset, *heads):
    table = tmp_path / "predictions.csv"
    lines = [f"{record.clip},{frame}" for record in dataset.clips for frame in range(3)]
    table.write_text("clip,frame\n" + "\n".join(lines) + "\n")
    add_truths(table, dataset, heads)
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_units_and_classes(tmp_path):
    dataset = ToyDataset(split="test")
    heads = AUHead(1, "AU12,AU1"), AUIntensityHead(1, "intensity:AU1"), ExpressionHead(1, "basic7")
    rows = rows_of(tmp_path, dataset, *heads)
    assert list(rows[0]) == ["clip", "frame", "AU12_true", "AU01_true", "AU01_i_true", "expression_true"]
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
    assert list(rows[0])[2:] == ["valence_true", "arousal_true", "levels_true", "expression_true"]
    for row, record in zip(rows, (r for r in dataset.clips for _ in range(3)), strict=True):
        active, known = dataset.truth(record)
        place = int(row["frame"])
        arousal = 0.5 * active[place, :2].sum().item() - 0.5
        assert row["arousal_true"] == (f"{arousal:g}" if known[place, 1] else "")
        assert row["levels_true"] == ("none", "one", "two", "two")[int(active[:, 0].sum())]
        q = dataset.annotate(record, [0])["expression"].value
        assert row["expression_true"] == (space.split(",")[int(q.argmax())] if known[0, 0] else "")
