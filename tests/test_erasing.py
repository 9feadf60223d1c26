"""A graph without some entities: what is left is what was, by name."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgservice import ingestion
from kgservice.graph import KnowledgeGraph
from kgservice.graph.erasing import without


def said(graph: KnowledgeGraph) -> set[str]:
    """All that a graph says, in names."""
    entity, relation, literal = graph.entities.name, graph.relations.name, graph.literals.vocabulary.name
    found = {f"text {entity(of)} {kind} {code} {text}" for of, kind, code, text in graph.texts.items()}
    for row in range(graph.n if len(graph.types.of_entity) else 0):
        found |= {
            f"type {entity(row)} {graph.types.vocabulary.name(kind)}" for kind in graph.types.of_entity[row].tolist()
        }
    for table, object in ((graph.statements, entity), (graph.literals.statements, literal)):
        for row in range(len(table)):
            pairs = [
                (relation(of), entity(value) if value >= 0 else literal(-1 - value))
                for of, value in table.qualifiers(row)
            ]
            parts = entity(int(table.subject[row])), relation(int(table.relation[row])), object(int(table.object[row]))
            found.add(f"fact {parts} {sorted(pairs)}")
    return found


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_else_changes(family_ttl: Path, data: st.DataObject) -> None:
    out = family_ttl.parent / "graph"
    graph = KnowledgeGraph.open(out) if out.exists() else ingestion.ingest([family_ttl], out)
    gone = data.draw(st.sets(st.integers(0, graph.n - 1), max_size=12))
    names = {graph.entities.name(id) for id in gone}
    left, kept = without(graph, sorted(gone))
    assert [left.entities.name(id) for id in range(left.n)] == [graph.entities.name(int(id)) for id in kept]
    assert not names & set(left.entities.names.to_pylist())
    expected = {fact for fact in said(graph) if not any(f"{name} " in fact or f"'{name}'" in fact for name in names)}
    assert said(left) == expected
    assert set(left.literals.vocabulary.names.to_pylist()) <= set(graph.literals.vocabulary.names.to_pylist())
    whole, every = without(graph, [])
    assert whole.content_hash == graph.content_hash
    assert len(every) == graph.n
