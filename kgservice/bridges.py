"""Views of a graph for other libraries: networkx, PyG, rdflib, pandas; and a graph from rdflib's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kgservice.graph import KnowledgeGraph
from kgservice.graph.literals import XSD, Literal
from kgservice.graph.names import iri_of, name_of
from kgservice.graph.statements import Split
from kgservice.graph.texts import TextKind

if TYPE_CHECKING:
    import networkx
    import pandas
    import rdflib

_ALL_SPLITS = tuple(Split)


def to_networkx(graph: KnowledgeGraph, splits: Sequence[Split] = _ALL_SPLITS) -> networkx.MultiDiGraph[str]:
    """One node per entity (attribute `label`), one edge per statement.

    Edges carry `relation`, `split` and `qualifiers`, a list of (relation, value) names; literals are in N-Triples form.
    """
    import networkx

    view: networkx.MultiDiGraph[str] = networkx.MultiDiGraph()
    names = graph.entities.names.to_pylist()
    for name, label in zip(names, graph.texts.labels(np.arange(graph.n)), strict=True):
        view.add_node(name, label=label)
    relations = graph.relations.names.to_pylist()
    table = graph.statements
    for row in np.flatnonzero(np.isin(table.split, splits)).tolist():
        view.add_edge(
            names[table.subject[row]],
            names[table.object[row]],
            relation=relations[table.relation[row]],
            split=Split(table.split[row]).name.lower(),
            qualifiers=[(relations[q], _value_name(graph, value)) for q, value in table.qualifiers(row)],
        )
    return view


def to_pyg(graph: KnowledgeGraph) -> Any:
    """A `torch_geometric.data.Data` of `m` edges, which share memory with nothing.

    Fields: `edge_index` int64 `[2, m]`, `edge_type` int64 `[m]`, `train_mask`, `valid_mask`, `test_mask` and
    `context_mask` bool `[m]`, `num_nodes`, `num_relations`. Qualifiers are left out: PyG has no place for them.
    """
    import torch
    from torch_geometric.data import Data

    table = graph.statements
    ends = torch.from_numpy(np.stack([table.subject, table.object]).astype(np.int64))
    masks = {f"{split.name.lower()}_mask": torch.from_numpy(table.split == split) for split in Split}
    edge_type = torch.from_numpy(table.relation.astype(np.int64))
    return Data(edge_index=ends, edge_type=edge_type, num_nodes=graph.n, num_relations=graph.r, **masks)


def to_pandas(graph: KnowledgeGraph, language: str = "en") -> pandas.DataFrame:
    """One row per statement: names, labels, split, and qualifiers as a list of (relation, value) names."""
    import pandas

    table, texts = graph.statements, graph.texts
    return pandas.DataFrame(
        {
            "subject": graph.entities.names_of(table.subject),
            "relation": graph.relations.names_of(table.relation),
            "object": graph.entities.names_of(table.object),
            "subject_label": texts.labels(table.subject, language),
            "relation_label": graph.relation_texts.labels(table.relation, language),
            "object_label": texts.labels(table.object, language),
            "split": [Split(split).name.lower() for split in table.split.tolist()],
            "qualifiers": [
                [(graph.relations.name(q), _value_name(graph, value)) for q, value in table.qualifiers(row)]
                for row in range(len(table))
            ],
        }
    )


def to_rdflib(graph: KnowledgeGraph) -> rdflib.Graph:
    """Statements, labels, types and literals as RDF 1.1; splits and negatives are left out.

    A qualified statement is stated and reified classically: a blank node of type `rdf:Statement` with `rdf:subject`,
    `rdf:predicate`, `rdf:object` and one triple per qualifier. Texts become `rdfs:label`, `skos:altLabel` and
    `schema:description`. Names that are no IRIs get the prefix `names.NAMESPACE`, percent-encoded.
    """
    import rdflib

    view = rdflib.Graph()
    for prefix, iri in graph.prefixes.items():
        view.bind(prefix, iri)
    for triple in _triples(graph):
        view.add(triple)
    return view


def from_rdflib(view: rdflib.Graph) -> KnowledgeGraph:
    """The graph that reading the same triples from a file gives; all statements are for training.

    Names under `names.NAMESPACE` get their short form back and blank nodes keep the labels that rdflib gives them, so that
    `from_rdflib(to_rdflib(graph))` has the same names. rdflib binds dozens of prefixes by itself: none are taken over.
    """
    import pyarrow as pa

    from kgservice.ingestion import GraphBuilder
    from kgservice.readers.lines import Lines
    from kgservice.readers.options import ReadOptions
    from kgservice.readers.rdf import batch_of

    terms = pa.array([_term(node) for triple in view for node in triple], pa.large_string())
    builder = GraphBuilder(batches=[batch_of(Lines(terms), ReadOptions(), lambda label: f"_:{label}")])
    return builder.build(
        prefixes={}, provenance={}, files=[{"name": "rdflib", "format": "RDF", "size_bytes": 0, "sha256": ""}]
    )


def _triples(graph: KnowledgeGraph) -> Iterator[tuple[Any, Any, Any]]:
    from rdflib import RDF, RDFS, BNode, Namespace
    from rdflib import Literal as Text
    from rdflib.namespace import SKOS

    description = Namespace("https://schema.org/")["description"]
    predicate_of = {TextKind.LABEL: RDFS.label, TextKind.ALIAS: SKOS.altLabel, TextKind.DESCRIPTION: description}
    entities = [_node(name) for name in graph.entities.names.to_pylist()]
    relations = [_node(name) for name in graph.relations.names.to_pylist()]
    types = [_node(name) for name in graph.types.vocabulary.names.to_pylist()]
    literals = [_literal(text) for text in graph.literals.vocabulary.names.to_pylist()]
    for table, objects in ((graph.statements, entities), (graph.literals.statements, literals)):
        for row in range(len(table)):
            triple = entities[table.subject[row]], relations[table.relation[row]], objects[table.object[row]]
            yield triple
            if pairs := table.qualifiers(row):
                statement = BNode()
                yield statement, RDF.type, RDF.Statement
                for predicate, part in zip((RDF.subject, RDF.predicate, RDF.object), triple, strict=True):
                    yield statement, predicate, part
                for relation, value in pairs:
                    yield statement, relations[relation], entities[value] if value >= 0 else literals[-1 - value]
    for texts, owners in ((graph.texts, entities), (graph.relation_texts, relations), (graph.types.texts, types)):
        for owner, kind, language, text in texts.items():
            yield owners[owner], predicate_of[kind], Text(text, lang=language or None)
    for entity, type_ in zip(graph.types.of_entity.rows().tolist(), graph.types.of_entity.values.tolist(), strict=True):
        yield entities[entity], RDF.type, types[type_]


def _node(name: str) -> Any:
    from rdflib import BNode, URIRef

    if name.startswith("_:"):
        return BNode(name[2:])
    return URIRef(iri_of(name))


def _literal(text: str) -> Any:
    from rdflib import Literal as Value
    from rdflib import URIRef

    literal = Literal.parse(text)
    if literal.language:
        return Value(literal.lexical, lang=literal.language.partition("--")[0])
    datatype = None if text.endswith('"') else URIRef(literal.datatype)
    return Value(literal.lexical, datatype=datatype, normalize=False)


def _term(node: Any) -> str:
    """An rdflib node as readers hand it over: N-Triples form, but IRIs without brackets."""
    from rdflib import BNode
    from rdflib import Literal as Value

    if isinstance(node, Value):
        return str(Literal(str(node), str(node.datatype or XSD + "string"), node.language or ""))
    if isinstance(node, BNode):
        return f"_:{node}"
    return name_of(str(node))


def _value_name(graph: KnowledgeGraph, value: int) -> str:
    return graph.entities.name(value) if value >= 0 else graph.literals.vocabulary.name(-1 - value)
