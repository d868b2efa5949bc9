"""Relations between units: published pairs, co-occurrence from the table of expressions, areas of the face."""

import pytest

from affectkit.facs import AUSet, unit_relations


def test_cooccurrence_is_that_of_equally_frequent_expressions():
    units = AUSet.of(6, 12)
    found = unit_relations(units).cooccurrence
    # P(6 | e) and P(12 | e) of neutral, anger, disgust, fear, happiness, sadness and surprise, in any order
    six, twelve = [0.05] * 5 + [0.51, 0.5], [0.05] * 5 + [0.85, 0.05]
    both = sum(a * b for a, b in zip(six, twelve, strict=True))
    assert found[0][1] == pytest.approx(both / sum(six))
    assert found[1][0] == pytest.approx(both / sum(twelve))


def test_edges_of_casme2():
    units = AUSet.parse("AU1,AU2,AU4,AU7,AU12,AU14,AU15,AU17")
    found = unit_relations(units)

    def pairs(table):
        ids = [unit.id for unit in units]
        assert all(table[i][j] == table[j][i] for i in range(len(ids)) for j in range(len(ids)))
        return {(a, b) for i, a in enumerate(ids) for j, b in enumerate(ids) if table[i][j] and a < b}

    assert pairs(found.exclude) == {(1, 7), (2, 7), (12, 15), (12, 17)}
    assert {(1, 2), (1, 4), (4, 7), (15, 17), (7, 12)} <= pairs(found.together)
    assert not any(14 in pair for pair in pairs(found.together))  # no expression of the table has it
    assert not pairs(found.together) & pairs(found.exclude)
    assert pairs(found.region) == {
        *((a, b) for a in (1, 2, 4, 7) for b in (1, 2, 4, 7) if a < b),
        *((a, b) for a in (12, 14, 15, 17) for b in (12, 14, 15, 17) if a < b),
    }


def test_sides_share_the_relations_of_the_unit_and_no_unit_relates_to_itself():
    both = unit_relations(AUSet.parse("AU12L,AU12R,AU15"))
    assert both.exclude == ((False, False, True), (False, False, True), (True, True, False))
    assert not any(table[i][i] for table in (both.together, both.exclude, both.region) for i in range(3))
    assert both.region[0][1]
