"""Fold lists against the published ones, and folds that cannot leak."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectkit.datasets import Corpus, corpora, find_corpus
from affectkit.datasets.bases.protocols import Fold
from affectkit.errors import ConfigError, SubjectLeakError


def find_protocol(corpus, name=None):
    return find_corpus(corpus).find_protocol(name)


BP4D = [f"F{n:03d}" for n in range(1, 24)] + [f"M{n:03d}" for n in range(1, 19)]
DISFA = [f"SN{n:03d}" for n in (*range(1, 14), 16, 17, 18, 21, *range(23, 33))]
# As printed by the repositories of JAA-Net and ME-GraphAU.
PARTS = {
    "BP4D": {
        "part1": "F001 F002 F008 F009 F010 F016 F018 F023 M001 M004 M007 M008 M012 M014",
        "part2": "F003 F005 F011 F013 F020 F022 M002 M005 M010 M011 M013 M016 M017 M018",
        "part3": "F004 F006 F007 F012 F014 F015 F017 F019 F021 M003 M006 M009 M015",
    },
    "DISFA": {
        "part1": "SN001 SN002 SN009 SN010 SN016 SN026 SN027 SN030 SN032",
        "part2": "SN006 SN011 SN012 SN013 SN018 SN021 SN024 SN028 SN031",
        "part3": "SN003 SN004 SN005 SN007 SN008 SN017 SN023 SN025 SN029",
    },
}
SUBJECTS = {"BP4D": BP4D, "DISFA": DISFA}


@pytest.mark.parametrize("corpus", ["BP4D", "DISFA"])
def test_three_folds_test_the_published_parts(corpus):
    folds = find_protocol(corpus).folds(SUBJECTS[corpus])
    assert {fold.name: " ".join(fold.test) for fold in folds} == PARTS[corpus]
    for fold in folds:
        assert sorted(fold.train + fold.val + fold.test) == sorted(SUBJECTS[corpus])
        assert len(fold.val) == round(0.2 * len(fold.train + fold.val))


@pytest.mark.parametrize(
    ("alias", "test_part"),
    [("me-graphau/1", "part3"), ("ME-GraphAU/3", "part1"), ("ssm/1", "part1"), ("fmae/3", "part3"),
     ("aunets/2", "part2"), ("jaa-net/combine_1_2", "part3"), ("part2", "part2"), ("2", "part2"), (3, "part3")],
)  # fmt: skip
def test_both_numberings_lead_to_a_test_part(alias, test_part):
    assert find_protocol("DISFA").fold(alias, DISFA).name == test_part


@pytest.mark.parametrize("corpus", ["BP4D", "DISFA"])
def test_the_fold_all_tests_nobody(corpus):
    everyone = SUBJECTS[corpus]
    fold = find_protocol(corpus).fold("all", everyone)
    assert fold.test == ()
    assert sorted(fold.train + fold.val) == sorted(everyone)
    assert len(fold.val) == round(0.2 * len(everyone))
    with pytest.raises(ConfigError, match="no fold 'everyone'"):
        find_protocol(corpus).fold("everyone", everyone)


def test_fera_2015_trains_on_odd_subjects():
    (fold,) = find_protocol("BP4D", "fera2015").folds(BP4D)
    assert len(fold.train + fold.val) == 21
    assert len(fold.test) == 20
    assert {int(name[1:]) % 2 for name in fold.train + fold.val} == {1}
    assert {int(name[1:]) % 2 for name in fold.test} == {0}


@pytest.mark.parametrize("corpus", ["CASME2", "SAMM", "SMIC", "MEGC2019"])
def test_leaving_one_subject_out_tests_everyone_once(corpus):
    people = [f"s{n:02d}" for n in range(1, 27)]
    protocol = find_protocol(corpus, "loso")
    folds = protocol.folds(people)
    assert (protocol.reduction, protocol.threshold_rule) == ("pooled", "fixed")
    assert [fold.test for fold in folds] == [(name,) for name in people]
    assert {len(fold.val) for fold in folds} == {3}
    assert protocol.fold("4", people).name == "s04"


def test_a_name_wins_over_a_place():
    people = [f"{n:03d}" for n in (6, 7, 9, 10)]
    protocol = find_protocol("SAMM")
    assert protocol.fold("010", people).test == ("010",)
    assert protocol.fold("4", people).test == ("010",)
    assert protocol.fold(1, people).test == ("006",)


def test_raf_db_holds_a_validation_part_out_of_its_training_split():
    names = [f"train_{n:05d}.jpg" for n in range(1, 101)] + [f"test_{n:04d}.jpg" for n in range(1, 21)]
    (fold,) = find_protocol("RAFDB").folds(names)
    assert (len(fold.train), len(fold.val), len(fold.test)) == (90, 10, 20)
    assert all(name.startswith("test") for name in fold.test)
    assert not any(name.startswith("test") for name in fold.train + fold.val)


@given(st.sets(st.sampled_from(BP4D), min_size=12), st.integers(0, 10))
def test_validation_depends_on_the_seed_only(people, seed):
    protocol = find_protocol("BP4D")
    if all(protocol.divide(sorted(people)).values()):
        assert protocol.folds(people, seed=seed) == protocol.folds(sorted(people, reverse=True), seed=seed)


def test_another_seed_validates_on_others():
    protocol = find_protocol("BP4D")
    drawn = {fold.val for seed in range(5) for fold in protocol.folds(BP4D, seed=seed)}
    assert len(drawn) == 15


def test_a_subject_in_two_parts_is_a_leak():
    with pytest.raises(SubjectLeakError, match="'b' appears in both 'train' and 'test'"):
        Fold("1", ("a", "b"), (), ("b",))


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda: find_protocol("BP4D", "loso"), "BP4D has no protocol 'loso'. Use one of: 3fold, fera2015."),
        (lambda: find_protocol("CK+"), "no corpus named 'ck+'. Known: affectnet"),
        (
            lambda: find_protocol("DISFA").fold("4", DISFA),
            "no fold '4'. Use one of part1, part2, part3, or 1 to 3.",
        ),
        (lambda: find_protocol("DISFA").fold("0", DISFA), "no fold '0'"),
        (lambda: find_protocol("DISFA").fold("me-graphau/4", DISFA), "no fold 'me-graphau/4'"),
        (lambda: find_protocol("BP4D").folds([*BP4D, "F024"]), "does not contain F024"),
        (
            lambda: find_protocol("BP4D").folds(["F001", "F003"]),
            "Fold part1 of BP4D (3fold): the number of test subjects is 1",
        ),
        (
            lambda: find_protocol("BP4D").folds(["F001", "F002", "F003", "F005"]),
            "Fold part3 of BP4D (3fold): the number of test subjects is 0",
        ),
    ],
)
def test_what_cannot_be_folded_is_wrong_usage(call, fault):
    with pytest.raises(ConfigError, match=re.escape(fault)):
        call()


def test_every_protocol_describes_itself():
    for cls in corpora().values():
        protocols = cls.protocols if issubclass(cls, Corpus) else ()
        assert len({protocol.name for protocol in protocols}) == len(protocols)
        for protocol in protocols:
            assert protocol.corpus == cls.name
            assert len(protocol.description) > 40
