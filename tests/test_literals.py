"""Literals: N-Triples forms that round-trip and agree with pyoxigraph's, and the numbers they stand for."""

import math

import numpy as np
import pyoxigraph as ox
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice.graph.literals import XSD, Literal, Literals
from kgservice.graph.statements import StatementTable
from kgservice.graph.vocabulary import Vocabulary

LEXICAL = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(LEXICAL, st.sampled_from(["string", "integer", "date"]), st.sampled_from(["", "en", "pt-br"]))
def test_round_trip(lexical, datatype, language):
    literal = Literal(lexical, XSD + "string" if language else XSD + datatype, language)
    assert Literal.parse(str(literal)) == literal


@given(LEXICAL)
def test_the_form_is_that_of_pyoxigraph(lexical):
    assert str(Literal(lexical)) == str(ox.Literal(lexical))
    assert str(Literal(lexical, language="en")) == str(ox.Literal(lexical, language="en"))
    assert str(Literal(lexical, XSD + "date")) == str(ox.Literal(lexical, datatype=ox.NamedNode(XSD + "date")))


@pytest.mark.parametrize(
    ("lexical", "datatype", "number"),
    [
        ("5", "integer", 5.0),
        ("-2.5e3", "double", -2500.0),
        ("1990", "gYear", 1990.0),
        ("-0044-03-15", "date", -43.797),
        ("-13798000000", "gYear", -13798000000.0),
        ("five", "integer", math.nan),
        ("5", "string", math.nan),
        ("5e", "integer", math.nan),
        ("+.5", "decimal", 0.5),
        ("1e400", "double", math.nan),
        ("-1e999", "double", math.nan),
        ("2023-13-01", "date", math.nan),
        ("2023-12-99", "date", math.nan),
        ("2023-00-00", "date", 2023.0),
    ],
)
def test_numbers(lexical, datatype, number):
    assert Literal(lexical, XSD + datatype).number == pytest.approx(number, abs=1e-2, nan_ok=True)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), LEXICAL), max_size=15))
def test_sorted_once_and_equal_after_reopening(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("literals")
    texts = [str(Literal(text, XSD + "integer")) for _, _, text in rows]
    vocabulary = Vocabulary.build(texts)
    table = StatementTable.build([r[0] for r in rows], [r[1] for r in rows], vocabulary.ids(texts))
    literals = Literals.build(vocabulary, table)
    expected = sorted({(s, r, vocabulary.id(text)) for (s, r, _), text in zip(rows, texts, strict=True)})
    assert list(zip(table.subject.tolist(), table.relation.tolist(), table.object.tolist(), strict=True)) == expected
    assert [s for s in range(4) for row in literals.rows_of(s)] == [s for s, _, _ in expected]
    literals.save(folder)
    reopened = Literals.open(folder)
    assert reopened.digest() == literals.digest()
    np.testing.assert_array_equal(reopened.number, literals.number)
