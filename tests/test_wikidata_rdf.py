"""Wikidata from JSON and from RDF: the same entity gives the same statements, qualifiers, ranks, references and texts."""

import lzma
from pathlib import Path

import numpy as np
import pytest

from kgservice import ingestion
from kgservice.graph.names import Names
from kgservice.graph.views import Views
from kgservice.readers.options import ReadOptions

SITELINKS = "http://wikiba.se/ontology#sitelinks"
PAIRS = ["Q1", "Q42", "Q182397", "Q120248304", "Q17948861", "Q51605722"]


def plain(mirror: Path, name: str, folder: Path) -> Path:
    found = next((mirror / "wikidata" / "entities").glob(f"{name}*"))
    content = lzma.decompress(found.read_bytes()) if found.suffix == ".xz" else found.read_bytes()
    path = folder / name
    path.write_bytes(content)
    return path


def named(table, graph, objects):
    """Names in place of numbers, as a set."""
    literal = graph.literals.vocabulary.name
    value = lambda v: graph.entities.name(v) if v >= 0 else literal(-1 - v)  # noqa: E731
    return {
        (
            graph.entities.name(table.subject[row]),
            graph.relations.name(table.relation[row]),
            objects.name(table.object[row]),
            tuple(sorted((graph.relations.name(q), value(v)) for q, v in table.qualifiers(row))),
            int(table.rank[row]),
            int(table.references[row]),
        )
        for row in range(len(table))
    }


def of(rows, name):
    return {row for row in rows if row[0] == name}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("deprecated", [False, True])
def test_json_and_rdf_say_the_same(mirror, tmp_path, name, deprecated):
    options = ReadOptions(include_deprecated=deprecated)
    graphs = [
        ingestion.read([plain(mirror, f"{name}.{suffix}", tmp_path)], options=options) for suffix in ("json", "ttl")
    ]
    for rows_of in (
        lambda graph: named(graph.statements, graph, graph.entities),
        lambda graph: named(graph.literals.statements, graph, graph.literals.vocabulary),
    ):
        from_json, from_rdf = (of(rows_of(graph), name) for graph in graphs)
        if not any(row[1] == SITELINKS for row in from_rdf):  # one export says nothing of its sitelinks
            from_json = {row for row in from_json if row[1] != SITELINKS}
        assert from_json == from_rdf
    texts = [set(graph.texts.rows(graph.entities.id(name))) for graph in graphs]
    assert texts[0] == texts[1]
    types = [graph.types.vocabulary.names_of(graph.types.of_entity[graph.entities.id(name)]) for graph in graphs]
    assert types[0] == types[1]
    for graph in graphs:
        report = graph.provenance["report"]
        assert report["read"] == sum(report["kept"].values()) + sum(report["dropped"].values())


def test_images_are_told_apart(mirror, tmp_path):
    graph = ingestion.read([plain(mirror, "Q42.json", tmp_path)])
    images = [(graph.relations.name(r), file) for r, file in zip(graph.media.relation, graph.media.files, strict=True)]
    assert ("P18", "Douglas adams portrait.jpg") in images
    assert all(relation in ("P18", "P1442", "P10", "P109") for relation, _ in images)
    row = graph.media.files.index("Douglas adams portrait.jpg")
    assert graph.media.address(row).endswith("/Special:FilePath/Douglas_adams_portrait.jpg")
    entities, relations = (Names.entities(graph.entities, {}, ""), Names.relations(graph.relations, {}, ""))
    views = Views(graph, entities, relations, Names.types(graph.types.vocabulary, {}, ""))
    facts = views.facts(graph.literals.rows_of(graph.entities.id("Q42")), "en")
    told = {fact.object.label: fact.object.image for fact in facts if fact.object.image}
    assert told["Douglas adams portrait.jpg"] == graph.media.address(row)
    assert set(told) == {graph.media.files[at] for at in np.flatnonzero(graph.media.entity == graph.entities.id("Q42"))}


def test_both_at_once_are_one_graph(mirror, tmp_path):
    sources = [plain(mirror, f"Q42.{suffix}", tmp_path) for suffix in ("json", "ttl")]
    both, rdf = ingestion.read(sources), ingestion.read(sources[1:])
    assert both.statements.content_hash == rdf.statements.content_hash
    assert both.texts.digest() == rdf.texts.digest()
    assert both.provenance["report"]["notes"]["merged_rows"] > 300


def test_truthy_triples_become_plain_statements(mirror):
    graph = ingestion.read([mirror / "wikidata" / "truthy-sample.nt.xz"])
    assert "Q42" in graph.entities
    assert "P31" in graph.relations
    assert "Q5" in graph.types.vocabulary
    assert not any(name.startswith("http://www.wikidata.org/prop/") for name in graph.relations.names.to_pylist())


def test_redirects_are_followed(tmp_path):
    lines = [
        "<http://www.wikidata.org/entity/Q2> <http://www.w3.org/2002/07/owl#sameAs> <http://www.wikidata.org/entity/Q3> .",
        "<http://www.wikidata.org/entity/Q3> <http://www.w3.org/2002/07/owl#sameAs> <http://www.wikidata.org/entity/Q4> .",
        "<http://www.wikidata.org/entity/Q1> <http://www.wikidata.org/prop/direct/P1> <http://www.wikidata.org/entity/Q2> .",
        '<http://www.wikidata.org/entity/Q3> <http://www.w3.org/2000/01/rdf-schema#label> "three"@en .',
        "<http://www.wikidata.org/entity/Q8> <http://www.w3.org/2002/07/owl#sameAs> <http://www.wikidata.org/entity/Q9> .",
        "<http://www.wikidata.org/entity/Q9> <http://www.w3.org/2002/07/owl#sameAs> <http://www.wikidata.org/entity/Q8> .",
        "<http://www.wikidata.org/entity/Q9> <http://www.wikidata.org/prop/direct/P1> <http://www.wikidata.org/entity/Q8> .",
    ]
    (tmp_path / "x.nt").write_text("\n".join(lines))
    graph = ingestion.read([tmp_path / "x.nt"])
    assert graph.entities.names.to_pylist() == ["Q1", "Q4", "Q8", "Q9"]
    assert graph.texts.label(graph.entities.id("Q4")) == "three"
    assert graph.provenance["report"]["kept"]["redirects"] == 4
