"""The generators of the ingestion benchmark: the same bytes again, valid, as many as asked for, and of the shape promised."""

import gzip
import io
from collections import Counter
from itertools import pairwise

import orjson
import pyoxigraph as ox
import pytest

from tests.bench import generate

LINES, ENTITIES = 20_000, 120


def written(write, *arguments):
    out = io.BytesIO()
    return out, write(out, *arguments)


@pytest.fixture(scope="module")
def ntriples():
    out, manifest = written(generate.write_ntriples, LINES)
    return out.getvalue(), manifest


@pytest.fixture(scope="module")
def dump():
    out, manifest = written(generate.write_wikidata, ENTITIES)
    return out.getvalue(), manifest


def test_the_same_again_and_another_seed_another(ntriples, dump):
    assert written(generate.write_ntriples, LINES)[0].getvalue() == ntriples[0]
    assert written(generate.write_wikidata, ENTITIES)[0].getvalue() == dump[0]
    assert written(generate.write_ntriples, LINES, 1)[0].getvalue() != ntriples[0]


def test_ntriples_are_valid_and_shaped_like_a_dump(ntriples):
    text, manifest = ntriples
    assert text.count(b"\n") == LINES == manifest["lines"]
    assert all(escape in text for escape in (b'\\"', b"\\n", b"\\u00E9"))
    triples = list(ox.parse(text, format=ox.RdfFormat.N_TRIPLES))  # strict: raises on what is not N-Triples
    assert len(triples) == LINES
    kinds = Counter(kind_of(triple) for triple in triples)
    for kind, share in generate.SHARES.items():
        assert kinds[kind] == pytest.approx(share * LINES, rel=0.15), kind
    said = Counter(text.splitlines())
    assert 0.01 * LINES < LINES - len(said) < 0.1 * LINES
    objects = Counter(triple.object for triple in triples if kind_of(triple) == "link").most_common()
    assert objects[0][1] > 20 * objects[len(objects) // 2][1]
    runs = sum(one.subject == other.subject for one, other in pairwise(triples))
    assert runs > 0.5 * LINES


def kind_of(triple):
    if isinstance(triple.subject, ox.BlankNode) or isinstance(triple.object, ox.BlankNode):
        return "blank"
    if isinstance(triple.object, ox.Literal):
        return "text" if triple.object.language else "literal"
    return "type" if triple.predicate.value.endswith("#type") else "link"


def test_chunks_make_one_file_of_exactly_so_many_lines(monkeypatch):
    monkeypatch.setattr(generate, "CHUNK", 700)
    text = written(generate.write_ntriples, 2_000)[0].getvalue()
    assert len(list(ox.parse(text, format=ox.RdfFormat.N_TRIPLES))) == 2_000


def test_turtle_says_the_same(ntriples, tmp_path):
    source = tmp_path / "made.nt"
    source.write_bytes(ntriples[0])
    turtle = written(generate.write_turtle, source)[0].getvalue()
    assert b"@prefix item:" in turtle
    assert b" ;\n" in turtle
    said = Counter(map(str, ox.parse(turtle, format=ox.RdfFormat.TURTLE)))
    assert said == Counter(map(str, ox.parse(ntriples[0], format=ox.RdfFormat.N_TRIPLES)))


def test_a_dump_has_what_its_manifest_says(dump):
    packed, manifest = dump
    data = gzip.decompress(packed)
    assert data.startswith(b"[\n")
    assert data.endswith(b"\n]\n")
    assert len(data) == manifest["bytes_uncompressed"]
    entities = orjson.loads(data)
    lines = list(generate.lines_of(data))
    assert [orjson.loads(line) for line in lines] == entities
    assert len({entity["id"] for entity in entities}) == ENTITIES == manifest["entities"]
    sizes = [len(line) for line in lines]
    assert min(sizes) >= generate.MIN_BYTES
    assert max(sizes) <= generate.MAX_BYTES
    claims = [claim for entity in entities for group in entity["claims"].values() for claim in group]
    assert len({claim["id"] for claim in claims}) == len(claims) == manifest["claims"]
    assert Counter(claim["rank"] for claim in claims) == {
        rank: manifest[rank] for rank in ("normal", "preferred", "deprecated")
    }
    qualifiers = [snak for claim in claims for group in claim.get("qualifiers", {}).values() for snak in group]
    assert len(qualifiers) == manifest["qualifiers"] > 0
    assert sum(len(claim.get("references", [])) for claim in claims) == manifest["references"] > 0
    for kind in ("labels", "descriptions", "sitelinks"):
        assert sum(len(entity.get(kind, {})) for entity in entities) == manifest[kind] > 0
    assert sum(len(names) for entity in entities for names in entity["aliases"].values()) == manifest["aliases"]


def test_a_dump_has_every_datatype_and_snaks_without_value():
    entities = orjson.loads(gzip.decompress(written(generate.write_wikidata, 600)[0].getvalue()))
    snaks = [claim["mainsnak"] for entity in entities for group in entity["claims"].values() for claim in group]
    assert {snak["datatype"] for snak in snaks} == set(generate.PROPERTY_KINDS)
    assert {snak["snaktype"] for snak in snaks} == {"value", "somevalue", "novalue"}
    assert {entity["type"] for entity in entities} == {"item", "property"}
    for entity in entities:
        assert all(claim["mainsnak"]["property"] == name for name, group in entity["claims"].items() for claim in group)
    times = [snak["datavalue"]["value"] for snak in snaks if snak["datatype"] == "time" and "datavalue" in snak]
    assert {time["calendarmodel"] for time in times} == {generate.WIKI + "Q1985727", generate.WIKI + "Q1985786"}
    assert any(time["time"].startswith("-") and len(time["time"]) > 22 for time in times)


def test_a_kept_file_is_made_once(tmp_path):
    made = []

    def write(out):
        made.append(out.write(b"one\n"))
        return {"lines": 1}

    first = generate._kept("x.nt", write, tmp_path)
    assert generate._kept("x.nt", write, tmp_path) == first
    assert made == [4]
    assert first[1]["bytes"] == 4


def test_a_file_without_its_manifest_is_made_again(tmp_path):
    path, _ = generate._kept("x.nt", lambda out: {"lines": out.write(b"whole\n")}, tmp_path)
    path.with_name(path.name + ".manifest.json").unlink()
    path.write_bytes(b"wh")
    assert generate._kept("x.nt", lambda out: {"lines": out.write(b"whole\n")}, tmp_path)[0].read_bytes() == b"whole\n"
