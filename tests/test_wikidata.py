"""The JSON dump of Wikidata: everything read is accounted for, and the RDF export says the same."""

from __future__ import annotations

import gzip
import json
import lzma
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyoxigraph as ox
import pytest

from kgservice.errors import MalformedStatement
from kgservice.graph.literals import WIKIBASE, XSD
from kgservice.graph.statements import Rank
from kgservice.graph.texts import TextKind
from kgservice.readers import wikibase, wikidata
from kgservice.readers.batch import Batch, Owner
from kgservice.readers.options import ReadOptions

ALL = ReadOptions(include_deprecated=True)
LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
ALIAS = "http://www.w3.org/2004/02/skos/core#altLabel"
DESCRIPTION = "http://schema.org/description"

Row = tuple[str, str, str, frozenset[tuple[str, str]], int, int]


def statements(batch: Batch) -> Iterator[Row]:
    names, rows = batch.terms.to_pylist(), batch.statements
    ends = np.concatenate([[0], np.cumsum(rows.qualifier_count)])
    for place, (begin, end) in enumerate(pairwise(ends.tolist())):
        qualifiers = zip(rows.qualifier_relation[begin:end], rows.qualifier_value[begin:end], strict=True)
        yield (
            names[rows.subject[place]],
            names[rows.relation[place]],
            names[rows.object[place]],
            frozenset((names[relation], names[value]) for relation, value in qualifiers),
            int(rows.rank[place]),
            int(rows.references[place]),
        )


def texts(batch: Batch) -> set[tuple[str, TextKind, str, str]]:
    names, rows = batch.terms.to_pylist(), batch.texts
    columns = zip(rows.owner, rows.kind, rows.language, rows.text.to_pylist(), strict=True)
    return {(names[owner], TextKind(kind), rows.languages[code], text) for owner, kind, code, text in columns}


def pairs(batch: Batch, places: np.ndarray[Any, Any]) -> list[tuple[str, str]]:
    names = batch.terms.to_pylist()
    return [(names[left], names[right]) for left, right in places.T]


def read(*entities: dict[str, Any], options: ReadOptions = ALL) -> Batch:
    block = b"".join(json.dumps(entity).encode() + b"\n" for entity in entities)
    return wikidata.read_block(block, options, source="test.json")


def snak(value: Any, type_: str, datatype: str = "") -> dict[str, Any]:
    return {"snaktype": "value", "datavalue": {"value": value, "type": type_}, "datatype": datatype}


def item(id_: str) -> dict[str, Any]:
    return snak({"entity-type": "item", "numeric-id": int(id_[1:]), "id": id_}, "wikibase-entityid", "wikibase-item")


def claim(mainsnak: dict[str, Any], rank: str = "normal", **parts: Any) -> dict[str, Any]:
    return {"mainsnak": mainsnak, "rank": rank, "type": "statement", **parts}


ADAMS = {
    "type": "item",
    "id": "Q42",
    "labels": {
        "en": {"language": "en", "value": "Douglas Adams"},
        "zh-hant": {"language": "zh-hant", "value": "道格拉斯"},
    },
    "descriptions": {"en": {"language": "en", "value": 'writer of "Hitchhiker"'}},
    "aliases": {"en": [{"language": "en", "value": "DNA"}, {"language": "en", "value": "Bop Ad"}]},
    "claims": {
        "P31": [claim(item("Q5"), references=[{"snaks": {}}, {"snaks": {}}])],
        "P50": [
            claim(item("Q7"), rank="deprecated", qualifiers={"P580": [{"snaktype": "novalue"}]}),
            claim({"snaktype": "somevalue"}, rank="preferred", qualifiers={"P1": [item("Q8"), item("Q9")]}),
        ],
        "P18": [claim(snak("A b.jpg", "string", "commonsMedia"))],
    },
    "sitelinks": {"enwiki": {"site": "enwiki", "title": "Douglas Adams"}, "dewiki": {"site": "dewiki"}},
}


def test_an_item_becomes_rows() -> None:
    batch = read(ADAMS, options=ReadOptions())
    image = wikibase.string_value("A b.jpg", "commonsMedia")
    assert set(statements(batch)) == {
        ("Q42", WIKIBASE + "sitelinks", f'"2"^^<{XSD}integer>', frozenset(), Rank.NORMAL, 0),
        ("Q42", "P18", image, frozenset(), Rank.NORMAL, 0),
        ("Q42", "P31", "Q5", frozenset(), Rank.NORMAL, 2),
        ("Q42", "P50", wikibase.SOME_VALUE, frozenset({("P1", "Q8"), ("P1", "Q9")}), Rank.PREFERRED, 0),
    }
    assert texts(batch) == {
        ("Q42", TextKind.LABEL, "en", "Douglas Adams"),
        ("Q42", TextKind.LABEL, "zh-hant", "道格拉斯"),
        ("Q42", TextKind.DESCRIPTION, "en", 'writer of "Hitchhiker"'),
        ("Q42", TextKind.ALIAS, "en", "DNA"),
        ("Q42", TextKind.ALIAS, "en", "Bop Ad"),
    }
    assert set(batch.texts.of) == {Owner.ENTITY}
    assert pairs(batch, batch.type_of) == [("Q42", "Q5")]
    assert [batch.terms[int(place)].as_py() for place in batch.entities] == ["Q42"]
    assert len(set(batch.terms.to_pylist())) == len(batch.terms)
    assert batch.tally == {
        ("texts", LABEL): 2,
        ("texts", ALIAS): 2,
        ("texts", DESCRIPTION): 1,
        ("literals", WIKIBASE + "sitelinks"): 1,
        ("statements", "P31"): 1,
        ("literals", "P50"): 1,
        ("literals", "P18"): 1,
        ("qualifiers", "P1"): 2,
        ("deprecated_rank", "P50"): 1,
        ("deprecated_rank", "P580"): 1,
    }


def test_filters_count_what_they_drop() -> None:
    options = ReadOptions(languages=frozenset({"zh-hant"}), properties=frozenset({"P18"}))
    batch = read(ADAMS, options=options)
    assert [row[1] for row in statements(batch)] == [WIKIBASE + "sitelinks", "P18"]
    assert texts(batch) == {("Q42", TextKind.LABEL, "zh-hant", "道格拉斯")}
    assert pairs(batch, batch.type_of) == [("Q42", "Q5")], "types are known though P31 is no relation"
    assert batch.tally == {
        ("texts", LABEL): 1,
        ("filtered_language", LABEL): 1,
        ("filtered_language", ALIAS): 2,
        ("filtered_language", DESCRIPTION): 1,
        ("literals", WIKIBASE + "sitelinks"): 1,
        ("literals", "P18"): 1,
        ("types", "P31"): 1,
        ("filtered_property", "P50"): 2,
        ("filtered_property", "P580"): 1,
        ("filtered_property", "P1"): 2,
    }


def test_too_few_sitelinks_drop_the_whole_item() -> None:
    assert len(read(ADAMS, options=ReadOptions(min_sitelinks=2)).entities) == 1
    batch = read(ADAMS, options=ReadOptions(min_sitelinks=3))
    assert not len(batch.terms)
    assert {outcome for outcome, _ in batch.tally} == {"filtered_sitelinks"}
    assert batch.tally.total() == read(ADAMS).tally.total()
    assert read({"type": "item", "id": "Q1"}, options=ReadOptions(min_sitelinks=1)).tally.total() == 0


def test_properties_keep_their_texts_alone() -> None:
    batch = read({**ADAMS, "type": "property", "id": "P50", "datatype": "wikibase-item", "sitelinks": None})
    assert {(owner, kind) for owner, kind, _, _ in texts(batch)} == {("P50", kind) for kind in TextKind}
    assert set(batch.texts.of) == {Owner.ANY}
    assert not len(batch.statements.subject)
    assert not len(batch.entities)
    assert batch.tally["about_a_property", "P50"] == 2
    assert batch.tally["about_a_property", "P1"] == 2
    assert sum(count for (outcome, _), count in batch.tally.items() if outcome == "about_a_property") == 7


def test_lexemes_redirects_and_strange_records() -> None:
    batch = read(
        {"type": "lexeme", "id": "L42", "lemmas": {}, "claims": {"P1": [claim(item("Q1"))]}},
        {"id": "Q1", "redirect": "Q2"},
        {"entity": "Q3", "redirect": "Q4"},
        {**ADAMS, "redirects": {"from": "Q43", "to": "Q42"}},
        {"type": "mediainfo", "id": "M1", "labels": []},
        {"id": "Q999", "missing": ""},
        {},
    )
    assert pairs(batch, batch.aliases) == [("Q1", "Q2"), ("Q3", "Q4"), ("Q43", "Q42")]
    assert batch.tally["redirects", wikidata.REDIRECTS] == 3
    assert batch.tally["lexeme", ""] == 1
    assert batch.tally["unknown_entity", ""] == 3
    assert len(batch.entities) == 1


def test_values_of_every_type() -> None:
    values = {
        "P1": snak({"entity-type": "item", "numeric-id": 5}, "wikibase-entityid"),
        "P2": snak({"entity-type": "property", "numeric-id": 31, "id": "P31"}, "wikibase-entityid"),
        "P3": snak({"entity-type": "sense", "id": "L42-S1"}, "wikibase-entityid", "wikibase-sense"),
        "P4": snak("http://a.example/", "string", "url"),
        "P5": snak('\\frac "', "string", "math"),
        "P6": snak({"text": "chat", "language": "fr"}, "monolingualtext"),
        "P7": snak({"amount": "+8.1", "unit": "1"}, "quantity"),
        "P8": snak({"latitude": 57, "longitude": -5.5, "precision": 1e-5, "globe": None}, "globecoordinate"),
        "P9": snak({"time": "+1952-03-11T00:00:00Z", "precision": 11, "calendarmodel": "x/Q1985727"}, "time"),
    }
    batch = read({"type": "item", "id": "Q1", "claims": {name: [claim(value)] for name, value in values.items()}})
    assert {row[1]: row[2] for row in statements(batch)} == {
        "P1": "Q5",
        "P2": "P31",
        "P3": "L42-S1",
        "P4": f'"http://a.example/"^^<{XSD}anyURI>',
        "P5": r'"\\frac \""',
        "P6": '"chat"@fr',
        "P7": f'"8.1"^^<{XSD}decimal>',
        "P8": f'"Point(-5.5 57)"^^<{wikibase.WKT}>',
        "P9": f'"1952-03-11"^^<{XSD}date>',
    }
    assert batch.statements.object_is_literal.tolist() == [False] * 3 + [True] * 6


@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"snaktype": "value"},
        {"snaktype": "othervalue"},
        snak("text", "unheard-of"),
        snak({"id": "Q1"}, "unheard-of"),
        snak({"id": 5}, "unheard-of"),
        snak({"time": 1952, "precision": [11]}, "time"),
        snak({"entity-type": "item"}, "wikibase-entityid"),
        snak({"error": "broken"}, "time"),
        snak(12, "quantity"),
        snak([1], "string"),
        snak(None, "string"),
        {"snaktype": "value", "datavalue": "text"},
    ],
)
def test_values_of_unknown_form_are_counted(strange: dict[str, Any]) -> None:
    good = claim(item("Q5"), qualifiers={"P2": [strange, item("Q6")]})
    batch = read({"type": "item", "id": "Q1", "claims": {"P1": [claim(strange, qualifiers={"P3": [strange]}), good]}})
    assert list(statements(batch)) == [("Q1", "P1", "Q5", frozenset({("P2", "Q6")}), 0, 0)]
    assert batch.tally == {
        ("unknown_value", "P1"): 1,
        ("unknown_value", "P2"): 1,
        ("unknown_value", "P3"): 1,
        ("statements", "P1"): 1,
        ("qualifiers", "P2"): 1,
    }


def test_dates_that_do_not_exist_are_kept_and_noted() -> None:
    date = {
        "time": "+2014-02-29T00:00:00Z",
        "precision": 11,
        "calendarmodel": "http://www.wikidata.org/entity/Q1985727",
    }
    claims = [claim(snak(date, "time"), qualifiers={"P2": [snak(date, "time"), item("Q1")]})]
    batch = read({"type": "item", "id": "Q1", "claims": {"P1": claims}})
    assert [row[2] for row in statements(batch)] == [f'"+2014-02-29T00:00:00Z/11"^^<{WIKIBASE}Time>']
    assert batch.tally["impossible_date", "P1"] == 1
    assert batch.tally["impossible_date", "P2"] == 1
    assert batch.tally["literals", "P1"] == 1


def test_empty_maps_are_lists_and_an_unknown_rank_is_a_reason() -> None:
    empty = {name: [] for name in ("labels", "descriptions", "aliases", "claims", "sitelinks")}
    batch = read({"type": "item", "id": "Q1", **empty}, {"type": "property", "id": "P1", **empty})
    assert list(statements(batch)) == [("Q1", WIKIBASE + "sitelinks", f'"0"^^<{XSD}integer>', frozenset(), 0, 0)]
    odd = claim(item("Q5"), rank="gold", qualifiers=[])
    aliases = {"en": {"1": {"language": "en", "value": "one"}}}
    batch = read({"type": "item", "id": "Q1", "aliases": aliases, "claims": {"P1": [odd]}})
    assert batch.tally == {("unknown_rank", "P1"): 1, ("texts", ALIAS): 1}


@pytest.mark.parametrize(
    "layout", ["[\n{0},\n{1}\n]\n", "{0}\n{1}", "[\r\n{0},\r\n{1}\r\n]\r\n", "\n\n{0}\n\n{1},\n", "[{0},\n{1}]"]
)
def test_layouts_of_a_dump(layout: str) -> None:
    lines = [json.dumps(ADAMS), json.dumps({**ADAMS, "id": "Q43"})]
    block = layout.replace("{0}", lines[0]).replace("{1}", lines[1]).encode()
    batch = wikidata.read_block(block, ALL, source="test.json")
    whole = read(ADAMS, {**ADAMS, "id": "Q43"})
    assert batch.tally == whole.tally
    assert list(statements(batch)) == list(statements(whole))


@pytest.mark.parametrize("block", [b"", b"\n", b"[]\n", b"[\n]\n", b"[\r\n\r\n]"])
def test_an_empty_dump(block: bytes) -> None:
    batch = wikidata.read_block(block, ReadOptions(), source="empty.json")
    assert not batch.tally
    assert not len(batch.terms)
    assert not len(batch.statements.subject)


def test_blocks_together_are_the_whole() -> None:
    one, two = read(ADAMS), read({**ADAMS, "id": "Q43"})
    whole = read(ADAMS, {**ADAMS, "id": "Q43"})
    assert one.tally + two.tally == whole.tally
    assert [*statements(one), *statements(two)] == list(statements(whole))
    assert texts(one) | texts(two) == texts(whole)


BAD_LINES = [
    (b'{"type":"item","id":"Q1" "labels":{}}', r":8:26: .*expect"),
    (b'{"type":"item","id":"Q1"', r":8: .*truncated"),
    (b'{"type":"item","id":"Q\xff"}', r":8: invalid UTF-8"),
    (b'{"type":"item","id":7}', r":8: expected `str`, got `int`"),
    (b"Q42", r":8:1: "),
    (b"[" * 100_000, r":8: "),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES)
def test_a_malformed_line(line: bytes, message: str, caplog: pytest.LogCaptureFixture) -> None:
    good = json.dumps(ADAMS).encode()
    block = b"[\n" + good + b",\n" + line + b",\n" + good + b"\n]\n"
    with pytest.raises(MalformedStatement, match=r"dump\.json" + message) as caught:
        wikidata.read_block(block, ReadOptions(), source="dump.json", first_line=6)
    assert caught.value.line == 8
    batch = wikidata.read_block(block, ReadOptions(on_error="skip"), source="dump.json", first_line=6)
    assert batch.tally["malformed", ""] == 1
    assert batch.tally.total() == 1 + 2 * read(ADAMS, options=ReadOptions()).tally.total()
    assert "skipped: dump.json:8" in caplog.text


def test_a_document_of_entities() -> None:
    document = {
        "entities": {"Q41": ADAMS, "L1": {"type": "lexeme", "id": "L1"}},
        "redirects": [{"from": "Q40", "to": "Q42"}],
    }
    pretty = json.dumps(document, indent=2).encode()
    batch = wikidata.read_document(pretty, ALL, source="Q41.json")
    assert pairs(batch, batch.aliases) == [("Q41", "Q42"), ("Q40", "Q42")]
    assert list(statements(batch)) == list(statements(read(ADAMS)))
    assert list(statements(read(document))) == list(statements(batch)), "on one line it is a dump as well"
    at = pretty.index(b'"Bop Ad"')
    line = pretty[:at].count(b"\n") + 1
    with pytest.raises(MalformedStatement, match=rf"Q41\.json:{line}:\d+: .*Mend the file"):
        wikidata.read_document(pretty[:at] + b"?" + pretty[at + 1 :], ALL, source="Q41.json")


def content_of(path: Path) -> bytes:
    """What is in a file, or in its compressed form."""
    compressed = path.with_name(path.name + ".xz")
    if compressed.exists():
        return lzma.decompress(compressed.read_bytes())
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def recount(entity: dict[str, Any]) -> Counter[str]:
    """All that a JSON record states, by predicate."""
    found: Counter[str] = Counter()
    if entity["type"] == "lexeme":
        return Counter({"": 1})
    for predicate, name in ((LABEL, "labels"), (DESCRIPTION, "descriptions")):
        found[predicate] += len(entity.get(name) or ())
    found[ALIAS] += sum(len(aliases) for aliases in dict(entity.get("aliases") or {}).values())
    if "sitelinks" in entity and entity["type"] == "item":
        found[WIKIBASE + "sitelinks"] += 1
    for name, claims in dict(entity.get("claims") or {}).items():
        found[name] += len(claims)
        for one in claims:
            for qualifier, snaks in dict(one.get("qualifiers") or {}).items():
                found[qualifier] += len(snaks)
    return +found


OPTIONS = [
    ReadOptions(),
    ALL,
    ReadOptions(languages=frozenset({"en", "de"}), properties=frozenset({"P31", "P106", "P569"})),
    ReadOptions(min_sitelinks=100, properties=frozenset({"P106"})),
]


@pytest.mark.parametrize("options", OPTIONS, ids=["default", "all", "filtered", "sitelinks"])
@pytest.mark.parametrize(
    ("name", "entities"),
    [
        ("dump-sample-A.json.gz", 25),
        ("toolkit-mock-dump-for-long-testing.json", 101),
        ("toolkit-mock-dump-with-bugs.json", 101),
        ("toolkit-sample-dump-20150815.json.gz", None),
    ],
)
def test_nothing_in_a_dump_vanishes(mirror: Path, name: str, entities: int | None, options: ReadOptions) -> None:
    content = content_of(mirror / "wikidata" / name)
    records = json.loads(content)
    assert entities in (None, len(records))
    expected: Counter[str] = Counter()
    for record in records:
        expected += recount(record)
    batch = wikidata.read_block(content, options, source=name)
    found: Counter[str] = Counter()
    for (outcome, predicate), count in batch.tally.items():
        found[predicate] += count if outcome != "impossible_date" else 0
    assert +found == expected
    kept = Counter(outcome for outcome, _ in batch.tally.elements())
    assert kept["statements"] + kept["literals"] == len(batch.statements.subject)
    assert kept["qualifiers"] == len(batch.statements.qualifier_value) == batch.statements.qualifier_count.sum()
    assert kept["texts"] == len(batch.texts.text) == len(batch.texts.language)
    if options is ALL:
        assert len(batch.entities) == sum(record["type"] == "item" for record in records)
        ids = [record["id"] for record in records if record["type"] == "item"]
        assert batch.terms.take(batch.entities).to_pylist() == ids


def test_the_sample_has_the_statements_it_should(mirror: Path) -> None:
    content = content_of(mirror / "wikidata" / "dump-sample-A.json.gz")
    tally = wikidata.read_block(content, ALL, source="A").tally
    claims = sum(count for (outcome, _), count in tally.items() if outcome in ("statements", "literals"))
    assert claims - tally["literals", WIKIBASE + "sitelinks"] == 1569


WD, PROP = "http://www.wikidata.org/entity/", "http://www.wikidata.org/prop/"
OF_VALUE_NODES = tuple(f"^^<{iri}>" for iri in (XSD + "dateTime", XSD + "decimal", wikibase.WKT))
RANKS = {f"{WIKIBASE}{name}Rank": rank for name, rank in (("Deprecated", -1), ("Normal", 0), ("Preferred", 1))}

Outgoing = dict[str, list[tuple[str, Any]]]


def term(node: Any) -> str:
    """The name or literal that a simple value of a statement or a qualifier is."""
    if isinstance(node, ox.BlankNode):
        return wikibase.SOME_VALUE
    if isinstance(node, ox.Literal):
        return str(node)
    if node.value.startswith(WD):
        return str(node.value[len(WD) :])
    iri = pl.Series([node.value])
    media = wikibase.media_literals(iri)[0]
    return str(media or wikibase.url_literals(iri)[0])


def exported_statements(turtle: bytes, entity: str) -> Iterator[Row]:
    """By a walk over the statement nodes of the RDF export."""
    out: Outgoing = defaultdict(list)
    for quad in ox.parse(turtle, format=ox.RdfFormat.TURTLE):
        if isinstance(quad.subject, ox.NamedNode):
            out[quad.subject.value].append((quad.predicate.value, quad.object))
    nodes = [
        (node, predicate, value.value if isinstance(value, ox.NamedNode) else str(value))
        for node, pairs in out.items()
        if node.startswith("http://www.wikidata.org/value/")
        for predicate, value in pairs
    ]
    frame = pl.DataFrame(nodes, schema={"node": pl.String, "predicate": pl.String, "object": pl.String}, orient="row")
    literal_of = dict(wikibase.value_literals(frame).iter_rows())
    for predicate, node in out[WD + entity]:
        if re.fullmatch(PROP + r"P\d+", predicate):
            yield exported_statement(entity, predicate[len(PROP) :], set(out[node.value]), literal_of)


def exported_statement(entity: str, relation: str, about: Iterable[tuple[str, Any]], literal_of: dict[str, str]) -> Row:
    main, qualifiers, rank, references = None, set(), None, 0
    without = [o.value.rpartition("/")[2] for _, o in about if getattr(o, "value", "").startswith(PROP + "novalue/")]
    for predicate, value in about:
        name = predicate.rpartition("/")[2]
        if predicate == WIKIBASE + "rank":
            rank = RANKS[value.value]
        elif predicate == "http://www.w3.org/ns/prov#wasDerivedFrom":
            references += 1
        elif predicate == PROP + "statement/value/" + relation:
            main = literal_of[value.value]
        elif predicate.startswith(PROP + "qualifier/value/"):
            qualifiers.add((name, literal_of[value.value]))
        elif predicate in (PROP + "statement/" + relation, PROP + "qualifier/" + name):
            if isinstance(value, ox.Literal) and str(value).endswith(OF_VALUE_NODES):
                continue
            if predicate.startswith(PROP + "qualifier/"):
                qualifiers.add((name, term(value)))
            else:
                main = term(value)
    if main is None:
        without.remove(relation)
        main = wikibase.NO_VALUE
    assert rank is not None
    qualifiers |= {(name, wikibase.NO_VALUE) for name in without}
    return entity, relation, main, frozenset(qualifiers), rank, references


def exported_texts(turtle: bytes, entity: str) -> set[tuple[str, TextKind, str, str]]:
    kinds = {LABEL: TextKind.LABEL, ALIAS: TextKind.ALIAS, DESCRIPTION: TextKind.DESCRIPTION}
    return {
        (entity, kinds[quad.predicate.value], quad.object.language, quad.object.value)
        for quad in ox.parse(turtle, format=ox.RdfFormat.TURTLE)
        if quad.subject == ox.NamedNode(WD + entity) and quad.predicate.value in kinds
    }


@pytest.mark.parametrize("entity", ["Q1", "Q42", "Q182397", "Q120248304", "Q17948861", "Q51605722"])
def test_json_and_rdf_of_an_entity_say_the_same(mirror: Path, entity: str) -> None:
    folder = mirror / "wikidata" / "entities"
    content, turtle = content_of(folder / f"{entity}.json"), content_of(folder / f"{entity}.ttl")
    batch = wikidata.read_document(content, ALL, source=entity)
    from_json = Counter(row for row in statements(batch) if row[1] != WIKIBASE + "sitelinks")
    from_rdf = Counter(exported_statements(turtle, entity))
    assert from_json - from_rdf == Counter()
    assert from_rdf - from_json == Counter()
    assert texts(batch) == exported_texts(turtle, entity)
    claims = json.loads(content)["entities"][entity]["claims"]
    assert from_rdf.total() == sum(map(len, claims.values()))
    # One of the exports was made without the figures of its page.
    for figure in re.findall(rb'wikibase:sitelinks "(\d+)"', turtle):
        literal = f'"{figure.decode()}"^^<{XSD}integer>'
        assert [row[2] for row in statements(batch) if row[1] == WIKIBASE + "sitelinks"] == [literal]


@pytest.mark.parametrize(("entity", "reason"), [("L42", "lexeme"), ("L42353", "lexeme"), ("P3111", "about_a_property")])
def test_documents_of_other_entities(mirror: Path, entity: str, reason: str) -> None:
    content = content_of(mirror / "wikidata" / "entities" / f"{entity}.json")
    batch = wikidata.read_document(content, ALL, source=entity)
    assert not len(batch.statements.subject)
    assert {outcome for outcome, _ in batch.tally} <= {reason, "texts"}
    assert batch.tally.total() == recount(json.loads(content)["entities"][entity]).total()
