"""Texts on the course of movements: tables of the package, tables of users, sides."""

import pytest

from affectkit.errors import AnnotationError, LabelSpaceError
from affectkit.facs import (
    EXPRESSION_SETS,
    PROCESS_PARTS,
    ActionUnit,
    ExpressionSet,
    Process,
    class_processes,
    expression_process,
    gesture_processes,
    label_space,
    read_processes,
    unit_process,
)

HEADER = "class,part,motion,target,dynamics\n"


@pytest.mark.parametrize(("name", "count"), [("smg17", 17), ("imigue32", 32)])
def test_every_micro_gesture_has_its_own_text(name, count):
    space = label_space(name)
    assert len(space) == count
    assert space.name == name
    found = class_processes(space.labels)
    assert list(found) == list(space.labels)
    assert len({process.sentences for process in found.values()}) == count
    assert space.labels[-1] == "illustrative hand gestures"


def test_the_table_of_gestures_has_no_other_classes():
    known = {name for key in ("smg17", "imigue32") for name in EXPRESSION_SETS[key].classes}
    assert set(gesture_processes()) == known


def test_texts_of_gestures_share_sentences_and_name_no_side():
    for part in PROCESS_PARTS:
        texts = [getattr(process, part) for process in gesture_processes().values()]
        assert len(set(texts)) < len(texts)
    assert all(process.mirrored() == process for process in gesture_processes().values())


def test_a_unit_has_its_region_direction_amplitude_and_course():
    process = unit_process(ActionUnit(12, "R"), "strong", "held")
    assert process.part == "lip corners and cheeks on the right"
    assert process.motion == unit_process(ActionUnit(1)).motion == "pulled upwards"
    assert process.target == unit_process(ActionUnit(4), "strong").target
    assert process.dynamics == unit_process(ActionUnit(4), course="held").dynamics
    assert unit_process(ActionUnit(12)).part == ActionUnit(12).facts.region
    assert unit_process(ActionUnit(85)).motion == ActionUnit(85).facts.cue  # no direction in the table
    assert process.mirrored() == unit_process(ActionUnit(12, "L"), "strong", "held")


def test_an_expression_joins_its_units():
    surprise = expression_process("surprise")
    assert surprise.part.split("; ")[0] == ActionUnit(1).facts.region
    assert "pulled upwards" in surprise.motion.split("; ")
    assert surprise.target == unit_process(ActionUnit(1)).target
    assert expression_process("neutral").motion == "no movement"
    with pytest.raises(LabelSpaceError, match="envy"):
        expression_process("envy")


def test_own_texts_have_priority_and_all_missing_classes_are_named():
    own = {"happiness": Process("a", "b", "c", "d")}
    found = class_processes(["happiness", "anger"], own)
    assert found["happiness"] == own["happiness"]
    assert found["anger"] == expression_process("anger")
    with pytest.raises(LabelSpaceError, match="'envy', 'a nod'") as caught:
        class_processes(["envy", "anger", "a nod"])
    assert "class, part, motion, target, dynamics" in caught.value.remedy


def test_a_table_is_read_in_any_order_of_columns(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("Motion,class,notes,part,dynamics,target\ndips,Happy,x,the head,twice,the  chest\n")
    assert read_processes(path) == {"happiness": Process("the head", "dips", "the chest", "twice")}


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("class,part,motion\nnod,a,b\n", 1, "no column target, dynamics"),
        ("", 1, "no column class"),
        (HEADER + "nod,a,b,c,d\nshake,a,,c,\n", 3, "cell motion, dynamics is empty"),
        (HEADER + "nod,a,b\n", 2, "cell target, dynamics is empty"),
        (HEADER + "nod,a,b,c,d\n Nod ,a,b,c,d\n", 3, "'nod' has a second row"),
        (HEADER, None, "no row"),
        (HEADER + 'nod,"a,b,c,d\n', None, "damaged"),
    ],
)
def test_a_damaged_table_names_file_and_line(tmp_path, text, line, fault):
    path = tmp_path / "texts.csv"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=fault) as caught:
        read_processes(path)
    assert caught.value.path == path
    assert caught.value.line == line
    assert caught.value.remedy


def test_an_absent_table_is_an_error(tmp_path):
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_processes(tmp_path / "none.csv")


def test_a_process_has_four_texts():
    with pytest.raises(LabelSpaceError, match="not the course"):
        Process.of(["a", "b", "c"])
    with pytest.raises(LabelSpaceError, match="not the course"):
        Process.of(["a", " ", "c", "d"])


def test_classes_with_sides_change_with_a_flip():
    assert ExpressionSet.parse("left nod,smile,right nod").flip_permutation() == (2, 1, 0)
    assert ExpressionSet.parse("left nod,smile").flip_permutation() == (0, 1)
    assert label_space("smg17").flip_permutation() == tuple(range(17))
