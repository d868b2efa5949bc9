"""Valence, arousal and levels of tables, and columns that are not read."""

import pytest

from affectkit.datasets import TableDataset
from affectkit.datasets.reading.frame_table import similar_column
from affectkit.errors import AnnotationError


def label(dataset, index, name, indices=(0,)):
    target = dataset.labels(dataset.clips[index], list(indices))[name]
    values, mask = target.value.flatten().tolist(), target.mask.flatten().tolist()
    return [round(value, 4) if known else None for value, known in zip(values, mask, strict=True)]


def test_valence_and_arousal_of_clips(tmp_path, write_index):
    write_index("path,Arousal,Valence", "a,-1,0.25", "b,,1", "c,NA,nan")
    dataset = TableDataset(tmp_path)
    assert dataset.spaces == {"va": "va"}
    assert [label(dataset, row, "va") for row in range(3)] == [[0.25, -1], [1, None], [None, None]]
    write_index("path,arousal", "a,0.5")
    assert TableDataset(tmp_path).spaces == {"va": "dimensions:arousal"}


def test_valence_of_frames(tmp_path, write_index):
    write_index("path,labels", "a,one.csv", "b,two.csv")
    write_index("frame,Valence,arousal,AU12", "0,0.5,-0.5,1", "2,1,,0", name="one.csv")
    write_index("frame,valence", "0,-1", name="two.csv")
    dataset = TableDataset(tmp_path)
    assert dataset.spaces == {"au": "AU12", "va": "va"}
    assert label(dataset, 0, "va", (0, 1, 2)) == [0.5, -0.5, None, None, 1, None]
    assert label(dataset, 1, "va") == [-1, None]


def test_levels_in_whole_numbers_and_in_words(tmp_path, write_index):
    write_index("path,level", "a,1", "b,4.0", "c,", "d,2")
    dataset = TableDataset(tmp_path)
    assert dataset.spaces == {"levels": "levels:1,2,3,4"}
    assert [label(dataset, row, "levels") for row in range(4)] == [[0], [3], [None], [1]]
    write_index("path,level", "a,Low", "b,very  high", "c,")
    dataset = TableDataset(tmp_path, levels="low,high,very high")
    assert dataset.spaces == {"levels": "levels:low,high,very high"}
    assert [label(dataset, row, "levels") for row in range(3)] == [[0], [2], [None]]
    write_index("path,level", "a,", "b,")
    assert TableDataset(tmp_path).spaces == {}


@pytest.mark.parametrize(
    ("rows", "levels", "line", "fault", "remedy"),
    [
        (["path,valence", "a,0", "b,-1.5"], None, 3, "holds -1.5, which is not from -1 to 1", "Rescale"),
        (["path,arousal", "a,high"], None, 2, "holds 'high', not a number", "decimal point"),
        (
            ["path,level", "a,1", "b,low"],
            None,
            3,
            "The level is 'low', and the order",
            "levels: low,medium,high",
        ),
        (["path,level", "a,low", "b,lo"], "low,high", 3, "The level is 'lo'", "one of low, high, or nothing"),
        (["path,level", "a,3"], None, 1, "too few levels", "at least 2"),
        (["path,level", "a,low"], "low,low", 1, "'low' is named more than once", "once"),
    ],
)
def test_wrong_cells_name_line_and_remedy(tmp_path, write_index, rows, levels, line, fault, remedy):
    write_index(*rows)
    with pytest.raises(AnnotationError, match=fault) as caught:
        TableDataset(tmp_path, levels=levels)
    assert caught.value.line == line
    assert remedy in caught.value.remedy


def test_a_target_is_given_once(tmp_path, write_index):
    write_index("path,valence,labels", "a,0.5,one.csv")
    write_index("frame,valence", "0,0.5", name="one.csv")
    with pytest.raises(AnnotationError, match="same target: va") as caught:
        TableDataset(tmp_path)
    assert "one.csv" in caught.value.remedy


def test_ignored_columns_have_the_name_that_they_may_mean(tmp_path, write_index):
    write_index("path,subjct,expresion,AU4x,valance,engagement,au_12,age", "a,s,happy,1,0,2,1,30")
    assert TableDataset(tmp_path).ignored == {
        "subjct": "subject",
        "expresion": "expression",
        "AU4x": "AU04",
        "valance": "valence",
        "engagement": "level",
        "age": None,
    }
    write_index("path,expression,emotion", "a,happy,sad")
    assert TableDataset(tmp_path).ignored == {"emotion": None}


def test_similar_names():
    assert similar_column("Participant ID", ["subject", "split"]) == "subject"
    assert similar_column("Participant ID", ["split"]) is None
    assert similar_column("AU 45 left", []) == "AU45"
