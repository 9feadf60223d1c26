"""Orders of dates: learnt where hardly any statement breaks them, and nothing that breaks one is proposed."""

from __future__ import annotations

import numpy as np
import pytest

from kgservice.enrichment.orders import Orders
from kgservice.enrichment.shapes import SUPPORT
from kgservice.graph import KnowledgeGraph
from kgservice.graph.literals import Literals
from kgservice.graph.statements import StatementTable
from kgservice.graph.vocabulary import Vocabulary

BORN, ENDED, MEMBER, MOTHER, UNTIL = range(5)
NAMES = ["a-born", "b-ended", "c-member", "d-mother", "e-until"]
CHILDREN, CLUBS = 40, 10


def _graph(*, wrong: int = 0) -> KnowledgeGraph:
    """Children 0 … 39 born from 1950 on, their mothers 40 … 79 born 25 years before, clubs 80 … 89 that ended from 2000 on.

    Every child is a member of a club until 1990; `wrong` of them have their children for mothers.
    """
    entities = Vocabulary.build([f"e{place:02d}" for place in range(2 * CHILDREN + CLUBS)])
    years = [*range(1925, 1991), *range(2000, 2010)]
    values = [f'"{year}"^^<http://www.w3.org/2001/XMLSchema#gYear>' for year in years]
    vocabulary = Vocabulary.build(values)
    year = {value: vocabulary.id(text) for value, text in zip(years, values, strict=True)}
    born = [(child, BORN, year[1950 + child]) for child in range(CHILDREN)]
    born += [(CHILDREN + child, BORN, year[1925 + child]) for child in range(CHILDREN)]
    born += [(2 * CHILDREN + club, ENDED, year[2000 + club]) for club in range(CLUBS)]
    links = [(child, MOTHER, CHILDREN + child) for child in range(wrong, CHILDREN)]
    links += [(CHILDREN + child, MOTHER, child) for child in range(wrong)]
    links += [(child, MEMBER, 2 * CHILDREN + child % CLUBS) for child in range(CHILDREN)]
    qualified = [relation == MEMBER for _, relation, _ in links]
    table = StatementTable.build(
        *zip(*links, strict=True),
        qualifier_offset=np.concatenate([[0], np.cumsum(qualified)]),
        qualifier_relation=[UNTIL] * sum(qualified),
        qualifier_value=[-1 - year[1990]] * sum(qualified),
    )
    literals = Literals.build(vocabulary, StatementTable.build(*zip(*born, strict=True)))
    return KnowledgeGraph(entities, Vocabulary.build(NAMES), table, literals=literals)


def _doubt(orders: Orders, subject: int, relation: int, object: int) -> float:
    return float(orders.doubt(*(np.array([one], np.int32) for one in (subject, relation, object)))[0])


def test_an_order_is_learnt_and_broken() -> None:
    orders = Orders.learn(_graph())
    assert _doubt(orders, 5, MOTHER, CHILDREN) == 0  # born 1925, of a child of 1955
    assert _doubt(orders, CHILDREN, MOTHER, 5) > 1  # the other way round
    assert _doubt(orders, 30, MOTHER, CHILDREN + 55 - 25) == 0  # born 1955, of a child of 1980
    assert _doubt(orders, 0, MOTHER, CHILDREN + 26) == 0  # born 1951, of a child of 1950: within the slack
    assert _doubt(orders, 0, MOTHER, CHILDREN + 28) > 1  # born 1953
    assert _doubt(orders, 0, MEMBER, 2 * CHILDREN) == 0
    assert _doubt(orders, 0, MOTHER, 2 * CHILDREN) == 0  # of clubs as mothers nothing is known


@pytest.mark.parametrize(("wrong", "learnt"), [(0, True), (3, False)])
def test_a_custom_is_no_order(wrong: int, learnt: bool) -> None:
    assert (_doubt(Orders.learn(_graph(wrong=wrong)), CHILDREN, MOTHER, 5) > 0) == learnt


def test_few_statements_show_no_order() -> None:
    graph = _graph()
    few = graph.statements.take(np.arange(len(graph.statements)) % 40 < SUPPORT // 4)
    assert not len(Orders.learn(KnowledgeGraph(graph.entities, graph.relations, few, literals=graph.literals)).keys)


def test_dates_of_qualifiers_count() -> None:
    """Nobody is born after a membership ended: here one child of 1989 is, once its statement says so."""
    graph = _graph()
    orders = Orders.learn(graph)
    rows = np.flatnonzero(graph.statements.relation == MEMBER)
    one, other = graph.statements, orders.of_statements(graph, rows)
    assert len(other.year) == CHILDREN
    columns = one.subject[rows], one.relation[rows], one.object[rows]
    assert not orders.doubt(*columns, other).any()
    early = type(other)(other.of, np.full(CHILDREN, 1940.0))
    assert (orders.doubt(*columns, early) > 1).all()


def test_a_graph_without_dates_has_no_orders() -> None:
    graph = _graph()
    bare = Orders.learn(KnowledgeGraph(graph.entities, graph.relations, graph.statements))
    assert _doubt(bare, CHILDREN, MOTHER, 5) == 0
