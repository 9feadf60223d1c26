"""Views for other libraries hold what the graph holds; rdflib and back is the same graph."""

import numpy as np
import pyoxigraph as ox
import pytest
import rdflib

from kgservice import bridges, ingestion
from kgservice.graph.statements import Split
from kgservice.graph.texts import TextKind

TURTLE = """@prefix : <http://x/> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
:a :p :b {| :since "2000"^^<http://www.w3.org/2001/XMLSchema#gYear> ; :by :c |} ; a :T ; rdfs:label "A"@en, "Ä"@de .
:b :q :a ; :height 05 ; :near _:x . :q rdfs:label "relation q" . :T rdfs:label "type" .
"""


@pytest.fixture
def graph(tmp_path):
    (tmp_path / "g.ttl").write_text(TURTLE, encoding="utf-8")
    return ingestion.read([tmp_path / "g.ttl"])


@pytest.fixture
def benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    for split, lines in {
        "train": "Q1\tP1\tQ2\n/m/0 1\tP1\tQ1\n",
        "valid": "Q2\tP1\tQ1\n",
        "test": "Q2\tP2\tQ1\n",
    }.items():
        (folder / f"{split}.txt").write_text(lines)
    return ingestion.read([folder])


def test_networkx(graph, benchmark):
    view = bridges.to_networkx(graph)
    assert view.number_of_nodes() == graph.n
    assert view.nodes["http://x/a"]["label"] == "A"
    edge = view.get_edge_data("http://x/a", "http://x/b")[0]
    assert edge["relation"] == "http://x/p"
    assert dict(edge["qualifiers"]) == {
        "http://x/by": "http://x/c",
        "http://x/since": '"2000"^^<http://www.w3.org/2001/XMLSchema#gYear>',
    }
    assert bridges.to_networkx(benchmark, [Split.TRAIN]).number_of_edges() == 2
    assert {data["split"] for *_, data in bridges.to_networkx(benchmark).edges(data=True)} == {"train", "valid", "test"}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # when PyG is imported
def test_pyg(benchmark):
    data, table = bridges.to_pyg(benchmark), benchmark.statements
    assert (data.num_nodes, data.num_relations, data.num_edges) == (benchmark.n, benchmark.r, 4)
    np.testing.assert_array_equal(data.edge_index.numpy(), np.stack([table.subject, table.object]))
    np.testing.assert_array_equal(data.edge_type.numpy(), table.relation)
    assert [int(data[f"{split}_mask"].sum()) for split in ("train", "valid", "test", "context")] == [2, 1, 1, 0]


def test_pandas(graph):
    frame = bridges.to_pandas(graph, language="de")
    row = frame[frame.relation == "http://x/p"].iloc[0]
    assert (row.subject, row.object, row.subject_label, row.split) == ("http://x/a", "http://x/b", "Ä", "train")
    assert ("http://x/by", "http://x/c") in row.qualifiers
    assert frame[frame.relation == "http://x/q"].iloc[0].relation_label == "relation q"


def test_rdflib_and_back(graph, benchmark):
    back = bridges.from_rdflib(bridges.to_rdflib(graph))
    assert back.statements.content_hash == graph.statements.content_hash
    assert back.entities == graph.entities
    assert back.relations == graph.relations
    assert back.literals.digest() == graph.literals.digest()
    assert back.types.digest() == graph.types.digest()
    assert back.texts.digest() == graph.texts.digest()
    assert back.relation_texts.digest() == graph.relation_texts.digest()
    assert bridges.from_rdflib(bridges.to_rdflib(benchmark)).entities.names.to_pylist() == ["/m/0 1", "Q1", "Q2"]


def test_the_answer_of_a_construct_is_a_graph(tmp_path):
    query = "CONSTRUCT { ?s <http://x/near> ?o } WHERE { ?s <http://x/knows> ?o }"
    path = tmp_path / "x.nt"
    path.write_text("".join(f"<http://x/{i}> <http://x/knows> <http://x/{i * 7 % 30}> .\n" for i in range(30)))
    view = rdflib.Graph().parse(path)
    by_rdflib = bridges.from_rdflib(view.query(query))
    store = ox.Store()
    store.load(path=str(path), format=ox.RdfFormat.N_TRIPLES)
    by_oxigraph = ingestion.from_triples(store.query(query))
    assert by_rdflib.content_hash == by_oxigraph.content_hash
    assert len(by_rdflib.statements) == 30


def test_rdflib_view(graph):
    from rdflib import RDF, RDFS, Literal, URIRef

    view = bridges.to_rdflib(graph)
    assert (URIRef("http://x/a"), URIRef("http://x/p"), URIRef("http://x/b")) in view
    assert (URIRef("http://x/a"), RDFS.label, Literal("Ä", lang="de")) in view
    assert len(list(view.subjects(RDF.type, RDF.Statement))) == 1
    assert str(next(view.objects(URIRef("http://x/b"), URIRef("http://x/height")))) == "05"
    assert view.serialize(format="turtle").count("reifies") == 0


def test_texts_of_every_kind_come_back():
    import rdflib
    from rdflib.namespace import SKOS

    view = rdflib.Graph()
    node = rdflib.URIRef("http://x/a")
    view.add((node, SKOS.prefLabel, rdflib.Literal("label")))
    view.add((node, SKOS.altLabel, rdflib.Literal('say "hi"\n', lang="en")))
    view.add((node, rdflib.URIRef("http://schema.org/description"), rdflib.Literal("about")))
    assert set(bridges.from_rdflib(view).texts.rows(0)) == {
        (TextKind.LABEL, "", "label"),
        (TextKind.ALIAS, "en", 'say "hi"\n'),
        (TextKind.DESCRIPTION, "", "about"),
    }
