"""What a task that predicts types may not see."""

from __future__ import annotations

from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import StatementTable
from kgservice.graph.types import Types
from kgservice.graph.vocabulary import Vocabulary
from kgservice.graph.withholding import stating_types, withhold

STATEMENTS = [("cat", "is", "animal"), ("cat", "eats", "animal"), ("cat", "eats", "fish"), ("rose", "of", "plant")]


def made() -> KnowledgeGraph:
    """A cat is an animal; that a rose is a plant is to be predicted, and `plant` is no type of the graph's entities yet."""
    entities = Vocabulary.build(sorted({name for subject, _, object in STATEMENTS for name in (subject, object)}))
    relations = Vocabulary.build(["eats", "is", "of"])
    columns = zip(*STATEMENTS, strict=True)
    subject, relation, object = (
        ids.ids(names) for ids, names in zip((entities, relations, entities), columns, strict=True)
    )
    types = Types.build(Vocabulary.build(["animal", "plant"]), [entities.id("cat")], [0], n=len(entities))
    return KnowledgeGraph(entities, relations, StatementTable.build(subject, relation, object), types=types)


def facts(graph: KnowledgeGraph) -> set[tuple[str, str, str]]:
    table = graph.statements
    return {
        (graph.entities.name(s), graph.relations.name(r), graph.entities.name(o))
        for s, r, o in zip(table.subject.tolist(), table.relation.tolist(), table.object.tolist(), strict=True)
    }


def test_a_statement_whose_object_is_a_type_of_its_subject_is_told_whatever_its_relation() -> None:
    graph = made()
    assert stating_types(graph).sum() == 2
    assert stating_types(graph, [("rose", "plant"), ("nobody", "plant"), ("rose", "nothing")]).sum() == 3


def test_withheld_statements_are_gone_and_counted_and_names_stay() -> None:
    graph = made()
    rest = withhold(graph, ["eats", "of", "unknown"], [("rose", "plant")])
    assert facts(rest) == {("cat", "eats", "fish")}
    assert rest.provenance["withheld"] == 3
    assert (rest.n, rest.r) == (graph.n, graph.r)
    assert rest.content_hash != graph.content_hash
    assert facts(withhold(graph, ["of"], [])) == {("rose", "of", "plant")}


def test_a_graph_without_types_states_none() -> None:
    graph = made()
    assert not stating_types(KnowledgeGraph(graph.entities, graph.relations, graph.statements)).any()
