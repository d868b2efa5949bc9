from __future__ import annotations

import openpyxl
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from affectkit.datasets.reading.frame_table import FrameTable
from affectkit.datasets.table import TableDataset
from affectkit.errors import AnnotationError, DatasetNotFoundError, SubjectLeakError, VideoError


def label(dataset, index, name, indices=(0,)):
    target = dataset.labels(dataset.clips[index], list(indices))[name]
    return [
        value if known else None
        for value, known in zip(target.value.flatten().tolist(), target.mask.flatten().tolist(), strict=True)
    ]


def test_clip_level_columns(tmp_path, write_index):
    write_index(
        "path,subject,split,expression,AU12,AU01,AU04_i,onset,apex,offset,start,stop,num_frames,fps,notes",
        "a.mp4,s1,train,Happy,1,0,2.5,1,3,5,1,6,9,25,fine",
        "b/,s2,test,,,1,,,,,,,,,",
    )
    dataset = TableDataset(tmp_path)
    assert dataset.spaces == {"au": "AU12,AU1", "intensity": "intensity:AU4", "expression": "basic7"}
    assert dataset.has_subjects
    first, second = dataset.clips
    assert (first.clip, first.path, first.subject) == ("a.mp4", tmp_path / "a.mp4", "s1")
    assert (first.onset, first.apex, first.offset, first.start, first.stop) == (1, 3, 5, 1, 6)
    assert (first.num_frames, first.fps, first.expression) == (9, 25.0, "Happy")
    assert (second.key_frames, second.start, second.stop, second.fps) == ((None, None, None), 0, None, None)
    assert [label(dataset, row, "au") for row in (0, 1)] == [[1, 0], [None, 1]]
    assert [label(dataset, row, "intensity") for row in (0, 1)] == [[2.5], [None]]
    assert [label(dataset, row, "expression") for row in (0, 1)] == [[1], [None]]
    assert dataset.landmarks(first, [0]) is None


def test_samples(tmp_path, make_clip, write_index):
    make_clip("clips/a", frames=4)
    write_index("path,AU06", "clips/a,1")
    dataset = TableDataset(tmp_path)
    clip = dataset[0]
    assert clip.frames[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert clip.targets["au"].value.tolist() == [1]
    assert (clip.subject, dataset.subjects, dataset.has_subjects) == (0, (), False)


def test_parquet_index_and_named_index(tmp_path, write_index):
    write_index("path", "from-csv", name="other.csv")
    table = pa.table({"path": ["a.mp4", "b.mp4"], "AU01": pa.array([1, None]), "onset": pa.array([None, 2])})
    parquet.write_table(table, tmp_path / "index.parquet")
    dataset = TableDataset(tmp_path)
    assert [record.onset for record in dataset.clips] == [None, 2]
    assert [label(dataset, row, "au") for row in (0, 1)] == [[1], [None]]
    dataset = TableDataset(tmp_path / "other.csv")
    assert dataset.clips[0].path == tmp_path / "from-csv"
    assert dataset.spaces == {}


def test_coders_grammar(tmp_path, write_index):
    write_index("path,au", "a,1+R2", "b,", "c,0", 'd,"12 or 15, 4"', "e,12L")
    dataset = TableDataset(tmp_path)
    assert dataset.spaces == {"au": "AU1,AU2,AU4,AU12,AU15"}
    assert [label(dataset, row, "au") for row in range(5)] == [
        [1, 1, 0, 0, 0],
        [None] * 5,
        [0] * 5,
        [0, 0, 1, None, None],  # either of the two
        [0, 0, 0, 1, 0],
    ]
    write_index("path,au", "a,?")
    assert TableDataset(tmp_path).spaces == {}
    assert TableDataset(tmp_path).labels(dataset.clips[0], [0]) == {}


def test_words_beyond_the_basic_ones(tmp_path, write_index):
    write_index("path,expression", "a,Tense", "b,happy", "c,")
    dataset = TableDataset(tmp_path)
    assert dataset.spaces == {"expression": "happiness,tense"}
    assert [label(dataset, row, "expression") for row in range(3)] == [[1], [0], [None]]


class TestFrameLabels:
    @pytest.fixture
    def root(self, tmp_path, make_clip, write_index):
        make_clip("a", frames=4)
        make_clip("b", frames=3)
        make_clip("c", frames=2)
        write_index("path,labels,expression", "a,labels/a.csv,fear", "b,labels/b.parquet,anger", "c,,")
        write_index("frame,AU12,AU01,AU01_i", "3,1,1,5", "0,1,0,0.5", "1,,1,", name="labels/a.csv")
        columns = {"frame": [0, 1], "AU01": pa.array([1, None])}
        columns |= {
            f"{axis}{k}": [k + 0.5, float("nan") if k == 9 else k] for k in range(68) for axis in "xy"
        }
        parquet.write_table(pa.table(columns), tmp_path / "labels" / "b.parquet")
        return tmp_path

    def test_frames_find_their_rows(self, root):
        dataset = TableDataset(root)
        assert dataset.spaces == {"au": "AU12,AU1", "intensity": "intensity:AU1", "expression": "basic7"}
        assert label(dataset, 0, "au", [1, 0, 2, 3, 3]) == [None, 1, 1, 0, None, None, 1, 1, 1, 1]
        assert label(dataset, 0, "intensity", [1, 0, 2, 3]) == [None, 0.5, None, 5]
        assert label(dataset, 1, "au", [1, 0]) == [None, None, None, 1]  # its table has no AU12
        assert label(dataset, 1, "intensity", [0, 1]) == [None, None]
        assert label(dataset, 2, "au", [0]) == [None, None]
        assert label(dataset, 2, "expression") == [None]

    def test_samples_of_all_clips_share_a_form(self, root):
        clips = list(map(TableDataset(root).__getitem__, range(3)))
        assert [list(clip.targets["au"].value.shape) for clip in clips] == [[4, 2], [3, 2], [2, 2]]
        assert [bool(clip.landmarks_mask.any()) for clip in clips] == [False, True, False]
        assert clips[1].landmarks_mask.sum(1).tolist() == [68, 67, 0]
        assert clips[1].landmarks[0, 3].tolist() == [3.5, 3.5]
        assert clips[1].landmarks[1, 9].tolist() == [0, 0]

    def test_a_table_with_more_units_than_the_first(self, root, write_index):
        write_index("frame,AU12,AU25,AU17", "0,1,1,1", name="labels/c.csv")
        write_index("path,labels", "a,labels/a.csv", "c,labels/c.csv")
        dataset = TableDataset(root)
        with pytest.raises(
            AnnotationError, match="has AU17, AU25, which the first clip's table lacks"
        ) as caught:
            dataset.labels(dataset.clips[1], [0])
        assert caught.value.path == root / "labels" / "c.csv"

    def test_no_row_names_a_table(self, root, write_index):
        write_index("path,labels", "a,", "c,")
        assert TableDataset(root).spaces == {}

    @pytest.mark.parametrize(
        ("lines", "line", "fault"),
        [
            (("frame,AU01", "0,1", "0,1"), 3, "Frame 0 is listed twice"),
            (("frame,AU01", ",1"), 2, "no number"),
            (("AU01", "1"), 2, "no number"),
            (("frame,AU01", "0.5,1"), 2, "not a whole number"),
            (("frame,AU01", "0,1", "1,2"), 3, "'AU01' holds 2"),
            (("frame,AU01", "0,x"), 2, "holds 'x'"),
        ],
    )
    def test_bad_tables(self, root, write_index, lines, line, fault):
        path = write_index(*lines, name="labels/a.csv")
        with pytest.raises(AnnotationError, match=fault) as caught:
            TableDataset(root)
        assert (caught.value.path, caught.value.line) == (path, line)
        assert caught.value.remedy or "x" in fault

    def test_missing_table(self, root):
        (root / "labels" / "a.csv").unlink()
        with pytest.raises(DatasetNotFoundError) as caught:
            TableDataset(root)
        assert caught.value.path == root / "labels" / "a.csv"

    def test_the_frames_whose_labels_count(self, root, write_index):
        write_index("path,labels,start,stop", "a,labels/a.csv,1,", "b,labels/a.csv,0,3", "c,,2,5", "d,,,")
        dataset = TableDataset(root)
        assert [list(dataset.label_frames(record)) for record in dataset.clips] == [
            [1, 3],
            [0, 1],
            [2, 3, 4],
            [0],
        ]
        assert dataset.labels(dataset.clips[0], [])["au"].value.shape == (0, 2)

    def test_rows_by_frame(self, root):
        from affectkit.data.tables import read_table

        frames = FrameTable(read_table(root / "labels" / "a.csv"))
        values = frames.take(torch.tensor([30.0, 0.0, 10.0]), [0, 3, 2])
        assert values[:2].tolist() == [0, 30]
        assert values[2].isnan()


class TestSplits:
    LINES = ("path,subject,split", "a,s1,train", "b,s2,val", "c,s3,test", "d,s1,train", "e,s4,")

    @pytest.mark.parametrize(
        ("split", "clips"), [("train", "ad"), ("val", "b"), ("test", "c"), ("all", "abcde")]
    )
    def test_rows_of_a_split(self, tmp_path, write_index, split, clips):
        write_index(*self.LINES)
        dataset = TableDataset(tmp_path, split=split)
        assert "".join(record.clip for record in dataset.clips) == clips

    @pytest.mark.parametrize("split", ["all", "train", "val"])
    def test_leaks_are_found_whatever_the_split(self, tmp_path, write_index, split):
        write_index(*self.LINES, "f,s3,train")
        with pytest.raises(SubjectLeakError, match="'s3'"):
            TableDataset(tmp_path, split=split)

    def test_label_spaces_do_not_depend_on_the_split(self, tmp_path, write_index):
        write_index("path,split,au,expression", "a,train,1,tense", "b,test,12,happy")
        spaces = {"au": "AU1,AU12", "expression": "happiness,tense"}
        assert TableDataset(tmp_path, split="train").spaces == spaces
        dataset = TableDataset(tmp_path, split="test")
        assert dataset.spaces == spaces
        assert label(dataset, 0, "expression") == [0]
        assert label(dataset, 0, "au") == [0, 1]

    def test_no_row_of_the_split(self, tmp_path, write_index):
        write_index("path", "a")
        with pytest.raises(AnnotationError, match="No row has the split 'val'"):
            TableDataset(tmp_path, split="val")


@pytest.mark.parametrize(
    ("lines", "line", "fault"),
    [
        (("file", "a"), 1, "no column 'path'"),
        (("path,subject", "a,s1", ",s2"), 3, "The path is empty"),
        (("path,subject", "a,s1", "b,"), 3, "The subject is empty"),
        (("path,split", "a,train", "b,dev"), 3, "The split is 'dev'"),
        (("path", "a", "b", "a"), 4, "is in line 2 too"),
        (("path,onset", "a,1.5"), 2, "'onset' holds 1.5"),
        (("path,onset", "a,-1"), 2, "'onset' holds -1"),
        (("path,fps", "a,fast"), 2, "'fps' holds 'fast'"),
        (("path,onset,apex", "a,1,2", "b,5,2"), 3, "out of order"),
        (("path,apex,num_frames", "a,9,9"), 2, "outside"),
        (("path,AU01", "a,1", "b,2"), 3, "'AU01' holds 2"),
        (("path,AU01", "a,9"), 2, "'AU01' holds 9"),
        (("path,AU01", "a,perhaps"), 2, "'AU01' holds 'perhaps'"),
        (("path,AU01_i", "a,yes"), 2, "'AU01_i' holds 'yes'"),
        (("path,au_99", "a,1"), 1, "Column 'au_99'"),
        (("path,AU01_R", "a,1"), 1, "right side of a unit or an intensity"),
        (("path,au01,AU1_c", "a,1,1"), 1, "the same unit"),
        (("Path,path", "a,1"), 1, "named twice"),
        (("path,expression", "a,1", "b,2"), 1, "Column 'expression': '1' is not the name"),
        (("path,expression", "a,tense", "b,"), 1, "fewer than two classes"),
        (("path,subject", "a,s1", "b,NA"), 3, "The subject is empty"),
        (("path,AU01",), 1, "a header and no rows"),
        (("path,AU01_i", "a,5.5"), 2, "'AU01_i' holds 5.5"),
        (("path,AU99", "a,1"), 1, "99"),
        (("path,AU1,AU01", "a,1,1"), 1, "the same unit"),
        (("path,au", "a,1", "b,cheek"), 3, "Not an action-unit code"),
        (("path,au,AU01", "a,1,1"), 1, "in several ways: au, AU columns"),
        (("path,au,labels", "a,1,x.csv"), 1, "in several ways: au, labels"),
        (("path,AU01", "a"), 2, "The line has 1 cell,"),
    ],
)
def test_bad_indexes_name_file_line_and_remedy(tmp_path, write_index, lines, line, fault):
    path = write_index(*lines)
    with pytest.raises(AnnotationError, match=fault) as caught:
        TableDataset(tmp_path)
    assert (caught.value.path, caught.value.line) == (path, line)


@pytest.mark.parametrize("spelling", ["au04", "AU4", "Au_04", "au 4", "AU-4", "AU04_c", "au4_C"])
def test_spellings_of_occurrence(tmp_path, write_index, spelling):
    write_index(f"path,{spelling},AU12L", "a,1,0", "b,FALSE,NA", "c,,yes")
    dataset = TableDataset(tmp_path)
    assert dataset.spaces == {"au": "AU4,AU12L"}
    assert [label(dataset, row, "au") for row in range(3)] == [[1, 0], [0, None], [None, 1]]


@pytest.mark.parametrize("spelling", ["AU04_i", "au4_I", "AU04_r", "au_4_R"])
def test_spellings_of_intensity(tmp_path, write_index, spelling):
    write_index(f"path,{spelling}", "a,2.5", "b,NA")
    dataset = TableDataset(tmp_path)
    assert dataset.spaces == {"intensity": "intensity:AU4"}
    assert [label(dataset, row, "intensity") for row in range(2)] == [[2.5], [None]]


def test_a_side_in_small_letters(tmp_path, write_index):
    write_index("path,au12r", "a,1")
    assert TableDataset(tmp_path).spaces == {"au": "AU12R"}


def test_column_names_in_any_capitals(tmp_path, write_index):
    write_index("Path,Subject,SPLIT,Expression,Num Frames", "a,s1,train,Happy,7", "b,s2,test,sad,8")
    dataset = TableDataset(tmp_path, split="train")
    assert (dataset.subjects, dataset.clips[0].num_frames) == (("s1",), 7)
    assert dataset.spaces == {"expression": "basic7"}
    write_index("Path,Subject,SPLIT", "a,s1,train", "b,s1,test")
    with pytest.raises(SubjectLeakError):
        TableDataset(tmp_path)


def test_what_looks_like_annotation_and_is_not_read_is_named(tmp_path, write_index, caplog):
    path = write_index("path,AU01,AU1x,AU001,emotion,Participant ID,aunt,notes", "a,1,1,1,happy,p1,x,y")
    dataset = TableDataset(tmp_path)
    assert dataset.unread == ("AU1x", "AU001", "emotion", "Participant ID")
    assert str(path) in caplog.text
    assert "AU1x, AU001, emotion, Participant ID" in caplog.text
    caplog.clear()
    write_index("path,expression,emotion,subject,person", "a,happy,sad,s1,p1", "b,sad,sad,s2,p2")
    assert TableDataset(tmp_path).unread == ()
    write_index("path,split,emotion", "a,test,sad")
    assert TableDataset(tmp_path, split="test").unread == ("emotion",)  # training has said it
    assert caplog.text == ""
    write_index("path,labels", "a,labels.csv")
    write_index("frame,AU01,AU9x,expression", "0,1,1,happy", name="labels.csv")
    assert TableDataset(tmp_path).unread == ("AU9x", "expression")
    assert "labels.csv: not read" in caplog.text


def test_a_class_called_none(tmp_path, write_index):
    write_index("path,expression", "a,none", "b,None", "c,NA", "d,", "e,Überraschung", "f,高兴")
    dataset = TableDataset(tmp_path)
    assert dataset.spaces == {"expression": "none,überraschung,高兴"}
    assert [label(dataset, row, "expression") for row in range(6)] == [[0], [0], [None], [None], [1], [2]]


def test_subjects_in_two_writings_are_one(tmp_path, write_index):
    write_index("path,subject", "a,1", "b,1.0", 'c," 1 "', "d,2.0")
    assert TableDataset(tmp_path).subjects == ("1", "2")
    parquet.write_table(
        pa.table({"path": ["a", "b"], "subject": [1.0, 2.0], "split": ["train", "test"]}),
        tmp_path / "index.parquet",
    )
    assert TableDataset(tmp_path).subjects == ("1", "2")


def test_subjects_that_look_alike_across_splits(tmp_path, write_index):
    write_index("path,subject,split", "a,S01,train", "b,s01,val")
    with pytest.raises(SubjectLeakError, match="'S01' in 'train' and 's01' in 'val'"):
        TableDataset(tmp_path, split="train")


def test_a_table_of_german_excel(tmp_path):
    text = "path;Expression;AU04;AU04_i\r\na.mp4;Überraschung;1;3,5\r\nb.mp4;Freude;0;0\r\n"
    (tmp_path / "index.csv").write_bytes(text.encode("utf-8-sig"))
    dataset = TableDataset(tmp_path)
    assert dataset.spaces["expression"] == "freude,überraschung"
    assert [label(dataset, row, "intensity") for row in range(2)] == [[3.5], [0]]


def test_a_workbook_with_merged_subjects(tmp_path):
    book = openpyxl.Workbook()
    for row in (["path", "subject", "AU04"], ["a", "anna", True], ["b", None, 0], ["c", "ben", None]):
        book.active.append(row)
    book.active.merge_cells("B2:B3")
    book.save(tmp_path / "index.xlsx")
    dataset = TableDataset(tmp_path)
    assert [record.subject for record in dataset.clips] == ["anna", "anna", "ben"]
    assert [label(dataset, row, "au") for row in range(3)] == [[1], [0], [None]]


def test_other_clips_of_one_video_need_names(tmp_path, write_index):
    write_index("path,clip,start,stop", "a,one,0,5", "a,two,5,9")
    assert [record.clip for record in TableDataset(tmp_path).clips] == ["one", "two"]


def test_missing_index_root_and_video(tmp_path, write_index):
    with pytest.raises(DatasetNotFoundError, match=r"none of index.parquet, index.csv"):
        TableDataset(tmp_path)
    with pytest.raises(DatasetNotFoundError, match="does not exist"):
        TableDataset(tmp_path / "none")
    write_index("path", "gone.mp4")
    with pytest.raises(VideoError, match="no such file") as caught:
        TableDataset(tmp_path)[0]
    assert caught.value.path == tmp_path / "gone.mp4"
