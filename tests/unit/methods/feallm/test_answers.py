"""Answers: grammar, labels, and files of instructions."""

import itertools
import json
import math
import random

import pytest

from affectkit.errors import AnnotationError, DatasetNotFoundError
from affectkit.facs import AUSet, ExpressionSet, typical_units
from affectkit.facs.rules import DU_2014
from affectkit.methods.feallm import (
    INSTRUCTION,
    Answer,
    answer_from_labels,
    likeliest_expression,
    parse_answer,
    read_instructions,
    write_instructions,
)

UNITS = AUSet.parse("AU1,AU4,AU6,AU12,AU12L,AU25")
CLASSES = ExpressionSet.parse("basic7")


def random_answer(rng):
    units = tuple(unit for unit in UNITS if rng.random() < 0.5)
    cues = rng.sample(units, min(len(units), rng.randrange(4)))
    return Answer(units, rng.choice(CLASSES.classes), tuple(cues))


def test_every_answer_parses_to_itself():
    rng = random.Random(0)
    answers = [random_answer(rng) for _ in range(200)]
    assert len({answer.text for answer in answers}) > 100
    for answer in answers:
        assert parse_answer(answer.text, UNITS, CLASSES) == answer


def test_cues_are_the_first_three_typical_units():
    units = AUSet.parse("AU1,AU2,AU4,AU5,AU20,AU25,AU26")
    assert set(typical_units("fear")) == {1, 2, 4, 5, 20, 25}
    answer = answer_from_labels([*units][2:], "fear")
    assert [cue.id for cue in answer.cues] == [4, 5, 20]
    assert answer_from_labels([*UNITS], "neutral").cues == ()
    assert answer_from_labels([], "fear").text == "AUs: none; emotion: fear; because no typical unit."


GOOD = "AUs: brow lowerer; emotion: anger; because brow lowerer."


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("; because", ", because", "three parts"),
        (".", "", "full stop"),
        ("AUs: ", "Units: ", "start with 'AUs:'"),
        ("emotion: ", "feeling: ", "start with 'emotion:'"),
        ("anger", "rage", "names the expression 'rage'"),
        ("AUs: brow lowerer", "AUs: nose wrinkler", "names 'nose wrinkler', which is not possible"),
        ("AUs: brow lowerer", "AUs: brow lowerer, brow lowerer", "names 'brow lowerer' twice"),
        ("because brow lowerer", "because cheek raiser", "names 'cheek raiser', which is not possible"),
    ],
)
def test_other_texts_are_refused(old, new, fault):
    assert parse_answer(GOOD, UNITS, CLASSES).expression == "anger"
    with pytest.raises(AnnotationError, match=fault):
        parse_answer(GOOD.replace(old, new, 1), UNITS, CLASSES)
    four = Answer(tuple(UNITS)[:4], "fear", tuple(UNITS)[:4])
    with pytest.raises(AnnotationError, match="names 4 units"):
        parse_answer(four.text, UNITS, CLASSES)


def test_the_likeliest_expression_has_the_highest_likelihood_of_the_table():
    units = AUSet.parse("AU1,AU4,AU12,AU15")
    for states in itertools.product([False, True], repeat=4):
        active = [unit for unit, on in zip(units, states, strict=True) if on]
        best = {}
        for name in CLASSES.classes:
            likelihood = 1.0
            for unit, on in zip(units, states, strict=True):
                p = 0.05
                if name != "neutral" and unit.id in DU_2014[name].prototypical:
                    p = 0.85
                elif name != "neutral":
                    p = DU_2014[name].variants.get(unit.id, 0.05)
                likelihood *= p if on else 1 - p
            best[name] = likelihood
        chosen = likeliest_expression(active, units, CLASSES)
        assert math.isclose(best[chosen], max(best.values()), rel_tol=1e-9)
    assert likeliest_expression([], units, ExpressionSet.parse("boredom,envy")) is None


def test_files_are_read_as_they_were_written(tmp_path):
    rng = random.Random(1)
    answers = {f"clip {k}": random_answer(rng) for k in range(40)}
    path = tmp_path / "new" / "own.jsonl"
    write_instructions(path, answers)
    assert read_instructions(path, UNITS, CLASSES) == answers
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert {entry["instruction"] for entry in entries} == {INSTRUCTION}
    assert [list(entry) for entry in entries] == [["clip", "instruction", "answer"]] * 40
    # The order is that of the names, whatever the answers are.
    shuffled = dict(zip(answers, rng.sample([*answers.values()], 40), strict=True))
    write_instructions(tmp_path / "other.jsonl", dict(reversed(shuffled.items())))
    others = [json.loads(line)["clip"] for line in (tmp_path / "other.jsonl").read_text().splitlines()]
    assert others == [entry["clip"] for entry in entries] != sorted(others)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "Expecting"),
        ("[]", "no object with the texts"),
        ('{"clip": "b"}', "no object with the texts"),
        (f'{{"clip": "b", "answer": "{GOOD}", "image": "b.png"}}', "unknown entries image"),
        (f'{{"clip": "b", "answer": "{GOOD}", "instruction": "What?"}}', "The instruction is not"),
        (f'{{"clip": "a", "answer": "{GOOD}"}}', "'a' has instructions in an earlier line"),
        ('{"clip": "b", "answer": "Anger."}', "three parts"),
    ],
)
def test_damaged_lines_are_named(line, fault, tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(f'{{"clip": "a", "answer": "{GOOD}"}}\n\n{line}\n')
    with pytest.raises(AnnotationError, match=rf"own\.jsonl, line 3: .*{fault}"):
        read_instructions(path, UNITS, CLASSES)
    with pytest.raises(DatasetNotFoundError, match="no file with instructions"):
        read_instructions(tmp_path / "none.jsonl", UNITS, CLASSES)
