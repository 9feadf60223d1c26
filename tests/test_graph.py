"""The graph: what it knows against brute force, the disk, and contradictions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice.arrays.ragged import Ragged
from kgservice.errors import GraphError
from kgservice.graph import ALL_SPLITS, KnowledgeGraph
from kgservice.graph.literals import XSD, Literal, Literals
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.texts import TextKind
from kgservice.graph.types import Types
from kgservice.graph.vocabulary import Vocabulary
from kgservice.ingestion import GraphBuilder
from kgservice.query import QueryBatch, Slot

ID = st.integers(0, 3)
ROWS = st.lists(
    st.tuples(ID, ID, ID, st.sampled_from(list(Split)), st.lists(st.tuples(ID, st.integers(-2, 3)), max_size=2)),
    max_size=20,
)


def graph_of(rows):
    pairs = [pair for row in rows for pair in row[4]]
    table = StatementTable.build(
        *([row[place] for row in rows] for place in range(3)),
        split=[row[3] for row in rows],
        qualifier_offset=np.cumsum([0, *(len(row[4]) for row in rows)]),
        qualifier_relation=[pair[0] for pair in pairs],
        qualifier_value=[pair[1] for pair in pairs],
    )
    return KnowledgeGraph(Vocabulary.build("abcd"), Vocabulary.build("pqrs"), table)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.sampled_from([Slot.SUBJECT, Slot.RELATION, Slot.OBJECT]), st.booleans(), st.data())
def test_known_is_what_a_scan_finds(rows, slot, at_statement_level, data):
    graph = graph_of(rows)
    splits = data.draw(st.sampled_from([tuple(Split), (Split.TRAIN,), (Split.TRAIN, Split.CONTEXT)]))
    asked = [*rows[:8], (0, 0, 0, Split.TRAIN, []), (3, 2, 1, Split.TEST, [(1, -1)])]
    columns = {"subject": 0, "relation": 1, "object": 2}
    hole = columns[slot.value]
    queries = QueryBatch(
        slot,
        *(np.array([-1 if place == hole else row[place] for row in asked], np.int32) for place in range(3)),
        Ragged.of([[q for q, _ in sorted(set(row[4]))] for row in asked]),
        Ragged.of([[v for _, v in sorted(set(row[4]))] for row in asked]),
    )
    found = graph.known(queries, "statement" if at_statement_level else "triple", splits)
    for row, answers in zip(asked, found, strict=True):
        expected = {
            other[hole]
            for other in rows
            if other[3] in splits
            and all(other[place] == row[place] for place in range(3) if place != hole)
            and (not at_statement_level or set(other[4]) == set(row[4]))
        }
        assert answers.tolist() == sorted(expected)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.sampled_from([Slot.SUBJECT, Slot.RELATION, Slot.OBJECT]), st.data())
def test_stated_is_what_statements_with_these_qualifiers_and_more_say(rows, slot, data):
    graph = graph_of(rows)
    hole = {"subject": 0, "relation": 1, "object": 2}[slot.value]
    asked = []
    for row in [*rows[:8], (3, 2, 1, Split.TEST, [(1, -1)])]:
        pairs = data.draw(st.lists(st.sampled_from(row[4]), unique=True)) if row[4] else []
        asked.append((*row[:3], sorted(pairs)))
    queries = QueryBatch(
        slot,
        *(np.array([-1 if place == hole else row[place] for row in asked], np.int32) for place in range(3)),
        Ragged.of([[q for q, _ in row[3]] for row in asked]),
        Ragged.of([[v for _, v in row[3]] for row in asked]),
    )
    for row, answers in zip(asked, graph.stated(queries), strict=True):
        same = [o for o in rows if all(o[place] == row[place] for place in range(3) if place != hole)]
        assert answers.tolist() == sorted({o[hole] for o in same if set(row[3]) <= set(o[4])})


def test_stated_takes_a_year_for_its_first_day():
    dates = [str(Literal(text, XSD + "date")) for text in ("1960-01-01", "1960-06-01")]
    literals = Literals.build(Vocabulary.build(dates), StatementTable.empty())
    table = StatementTable.build(
        [0, 0], [0, 0], [1, 2], qualifier_offset=[0, 1, 2], qualifier_relation=[1, 1], qualifier_value=[-1, -2]
    )
    graph = KnowledgeGraph(Vocabulary.build("abc"), Vocabulary.build("pq"), table, literals=literals)
    for number, expected in ((1960.0, [1]), (1961.0, []), (literals.number[1], [2])):
        queries = QueryBatch(
            Slot.OBJECT,
            *(np.array([place], np.int32) for place in (0, 0, -1)),
            Ragged.of([[1]]),
            Ragged.of([[-3]]),
            np.array([number]),
        )
        assert graph.stated(queries)[0].tolist() == expected


def test_a_qualifier_of_zeros_counts():
    graph = graph_of([(0, 0, 0, Split.TRAIN, [(0, 0)])])
    one, none = Ragged.of([[0]]), Ragged.of([[]])
    for pairs, expected in ((one, [0]), (none, [])):
        queries = QueryBatch(Slot.OBJECT, *(np.array([place], np.int32) for place in (0, 0, -1)), pairs, pairs)
        assert graph.known(queries, "statement")[0].tolist() == expected


@given(ROWS)
def test_seen_linking_degree(rows):
    graph = graph_of(rows)
    table = graph.statements
    train = [row for row in range(len(table)) if table.split[row] == Split.TRAIN]
    kept = [row for row in range(len(table)) if table.split[row] in (Split.TRAIN, Split.CONTEXT)]
    assert set(np.flatnonzero(graph.seen)) == {int(e) for i in train for e in (table.subject[i], table.object[i])}
    assert set(np.flatnonzero(graph.linking)) == {row[1] for row in rows}
    ends = [int(e) for i in kept for e in (table.subject[i], table.object[i])]
    assert graph.degree.tolist() == [ends.count(entity) for entity in range(4)]


@pytest.fixture
def whole():
    """A graph with something of everything."""
    builder = GraphBuilder()
    builder.add_statements(
        ["b", "a"],
        ["p", "p"],
        ["c", "b"],
        qualifier_counts=[0, 2],
        qualifier_relation=["since", "by"],
        qualifier_value=['"1"', "d"],
        qualifier_is_literal=[True, False],
    )
    builder.add_statements(["c"], ["p"], ["a"], split=Split.TEST)
    builder.add_negatives(["c"], ["p"], ["b"], split=Split.TEST)
    builder.add_literals(["a", "nobody"], ["height", "height"], ['"5"', '"6"'])
    builder.add_types(["a", "nobody"], ["T", "U"])
    builder.add_texts(["a", "nobody"], [TextKind.LABEL, TextKind.LABEL], ["en", "en"], ["A", "N"])
    builder.add_texts(["p"], [TextKind.LABEL], [""], ["relates"], of="relation")
    builder.add_texts(["T"], [TextKind.DESCRIPTION], ["en"], ["a type"], of="type")
    graph = builder.build(prefixes={"x": "http://x/"}, provenance={"from": "test"})
    assert graph.provenance["report"]["dropped"] == {"about_no_entity": 3}
    return graph


def test_builder(whole):
    assert whole.entities.names.to_pylist() == ["a", "b", "c", "d"]
    assert whole.relations.names.to_pylist() == ["by", "height", "p", "since"]
    assert whole.statements.qualifiers(0) == [(0, 3), (3, -1)]
    assert whole.literals.vocabulary.name(0) == '"1"'
    assert whole.counts() == {
        "entities": 4,
        "relations": 4,
        "statements": 3,
        "train": 2,
        "valid": 0,
        "test": 1,
        "context": 0,
        "qualified": 1,
        "qualifier_pairs": 2,
        "types": 1,
        "texts": 1,
        "literals": 1,
        "negatives": 1,
    }


def test_reopened_is_equal_and_replaces_what_was_there(whole, tmp_path):
    folder = tmp_path / "graphs" / "g"
    graph_of([]).save(folder)
    assert KnowledgeGraph.open(folder).content_hash == graph_of([]).content_hash
    whole.save(folder)
    reopened = KnowledgeGraph.open(folder)
    assert reopened.content_hash == whole.content_hash
    assert reopened.counts() == whole.counts()
    assert (reopened.prefixes, reopened.provenance) == ({"x": "http://x/"}, whole.provenance)
    assert [path.name for path in folder.parent.iterdir()] == ["g"]
    query = QueryBatch.objects([0], [2])
    assert reopened.known(query)[0].tolist() == whole.known(query)[0].tolist() == [1]


def test_a_folder_without_a_graph(tmp_path):
    with pytest.raises(GraphError, match=r"holds no graph: .*kgservice ingest"):
        KnowledgeGraph.open(tmp_path)
    (tmp_path / "graph.json").write_text('{"format_version": 99}')
    with pytest.raises(GraphError, match="graph format 99"):
        KnowledgeGraph.open(tmp_path)


def test_contradictions():
    entities, relations = Vocabulary.build("ab"), Vocabulary.build("p")
    with pytest.raises(GraphError, match=r"object ids must be in \[0, 2\), found \[7, 7\]"):
        KnowledgeGraph(entities, relations, StatementTable.build([0], [0], [7]))
    with pytest.raises(GraphError, match="types are given for 1 entities, the graph has 2"):
        KnowledgeGraph(
            entities, relations, StatementTable.empty(), types=Types.build(Vocabulary.build("T"), [0], [0], n=1)
        )


def test_answers_are_counted_as_they_are_listed() -> None:
    random = np.random.default_rng(0)
    names = [Vocabulary.build([f"{kind}{number:02d}" for number in range(20)]) for kind in "er"]
    table = StatementTable.build(*random.integers(0, 20, (3, 200)), split=random.integers(0, 3, 200))
    graph = KnowledgeGraph(*names, table)
    asked = QueryBatch.objects(random.integers(0, 20, 50), random.integers(0, 20, 50))
    for splits in (ALL_SPLITS, (Split.TRAIN,)):
        assert graph.known_counts(asked, splits).tolist() == graph.known(asked, splits=splits).lengths.tolist()
    nothing = KnowledgeGraph(*names, StatementTable.empty())
    assert nothing.known_counts(asked).tolist() == [0] * 50
