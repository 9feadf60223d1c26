"""The statement table: sorted, each statement once with its qualifiers, equal after reopening."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice.arrays.ragged import offsets_of
from kgservice.errors import GraphError
from kgservice.graph.statements import Split, StatementTable

ID = st.integers(0, 3)
PAIRS = st.lists(st.tuples(ID, st.integers(-3, 3)), max_size=3)
ROWS = st.lists(st.tuples(ID, ID, ID, st.sampled_from([0, 1, 2]), PAIRS), max_size=25)


def build(rows):
    pairs = [pair for row in rows for pair in row[4]]
    return StatementTable.build(
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
        split=[row[3] for row in rows],
        qualifier_offset=offsets_of([len(row[4]) for row in rows]),
        qualifier_relation=[pair[0] for pair in pairs],
        qualifier_value=[pair[1] for pair in pairs],
    )


def rows_of(table):
    return [
        (*map(int, (table.subject[i], table.relation[i], table.object[i], table.split[i])), tuple(table.qualifiers(i)))
        for i in range(len(table))
    ]


@given(ROWS, st.randoms(use_true_random=False))
def test_each_statement_once_in_whatever_order(rows, rng):
    table = build(rows)
    expected = {(*row[:4], tuple(sorted(set(row[4])))) for row in rows}
    assert len(rows_of(table)) == len(expected)
    assert set(rows_of(table)) == expected
    assert [row[:3] for row in rows_of(table)] == sorted(row[:3] for row in expected)
    shuffled = [*rows, *rows[:3]]
    rng.shuffle(shuffled)
    assert build(shuffled).content_hash == table.content_hash


@settings(deadline=None)
@given(ROWS)
def test_reopened_is_equal(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("statements") / "statements.arrow"
    table = build(rows)
    table.save(path)
    reopened = StatementTable.open(path)
    assert rows_of(reopened) == rows_of(table)
    assert reopened.content_hash == table.content_hash


@given(ROWS, st.data())
def test_take_keeps_qualifiers(rows, data):
    table = build(rows)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(table), max_size=len(table))), dtype=bool)
    assert rows_of(table.take(mask)) == [row for row, kept in zip(rows_of(table), mask, strict=True) if kept]
    assert rows_of(table.in_split(Split.VALID)) == [row for row in rows_of(table) if row[3] == Split.VALID]


def test_unequal_columns():
    with pytest.raises(GraphError, match="columns of unequal length: 2 subjects, 1 relations"):
        StatementTable.build([0, 1], [0], [1, 1])
    with pytest.raises(GraphError, match="qualifier columns do not fit"):
        StatementTable.build([0], [0], [1], qualifier_relation=[0])
