"""SPARQL over a real release, through the real application and its real processes; clients that nobody here wrote."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import rdflib
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from kgservice.answers import Pair, Question
from kgservice.bridges import to_rdflib
from kgservice.engine import Engine
from kgservice.errors import RecipeError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.names import KG
from kgservice.ingestion import ingest
from kgservice.release import ReleaseStore
from kgservice.server.app import open_app
from kgservice.server.negotiation import preferred
from kgservice.server.settings import ServerSettings
from kgservice.sparql import endpoint
from kgservice.sparql.dataset import blocks
from kgservice.sparql.syntax import services, tokens
from tests.serving import serving

WORLD = "https://kgservice.example/world/"
JSON, XML = "application/sparql-results+json", "application/sparql-results+xml"
EURO = "SELECT ?c WHERE { ?c world:currency world:Euro } ORDER BY ?c"
ENDLESS = "SELECT (COUNT(*) AS ?n) WHERE { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i }"


@pytest.fixture(scope="module")
def home(release_store: ReleaseStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: some tests put and erase."""
    home = tmp_path_factory.mktemp("sparql")
    shutil.copytree(release_store.folder, home / "releases")
    return home


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[TestClient]:
    with TestClient(open_app(ServerSettings(home=home))) as client:
        yield client


def ask(client: TestClient, query: str, **parameters: Any) -> list[dict[str, str]]:
    """The solutions, each as values by variable."""
    response = client.get("/sparql", params={"query": query, **parameters}, headers={"Accept": JSON})
    assert response.status_code == 200, response.text
    found = response.json()["results"]["bindings"]
    return [{name: one["value"] for name, one in row.items()} for row in found]


def refused(response: httpx.Response, status: int, slug: str, detail: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == f"/problems/{slug}"
    assert detail in response.json()["detail"]


# The graph as RDF


def test_the_store_holds_what_the_graph_holds(client: TestClient, engine: Engine) -> None:
    expected = {str(s).removeprefix(WORLD) for s in to_rdflib(engine.graph).subjects(
        rdflib.URIRef(f"{WORLD}currency"), rdflib.URIRef(f"{WORLD}Euro")
    )}  # fmt: skip
    assert {row["c"].removeprefix(WORLD) for row in ask(client, EURO)} == expected
    types = ask(client, "SELECT ?t WHERE { world:Lyon a ?t }")
    assert {row["t"] for row in types} == {
        f"{WORLD}{one.id.removeprefix('world:')}" for one in engine.entity("world:Lyon").types
    }
    labels = ask(client, "SELECT ?l WHERE { world:Germany rdfs:label ?l FILTER(LANG(?l) = 'fr') }")
    assert labels == [{"l": "Allemagne"}]
    count = ask(client, "SELECT (COUNT(*) AS ?n) WHERE { ?r rdf:reifies ?t }")
    tables = (engine.graph.statements, engine.graph.literals.statements)
    assert int(count[0]["n"]) == sum(int((np.diff(table.qualifier_offset) > 0).sum()) for table in tables)


def test_qualifiers_are_annotations(client: TestClient) -> None:
    query = "SELECT ?year WHERE { world:France world:currency world:Euro {| world:startTime ?year |} }"
    assert [row["year"][:4] for row in ask(client, query)] == ["1999"]


def test_reading_the_lines_again_gives_the_graph(family_ttl: Path, tmp_path: Path) -> None:
    family = ingest([family_ttl], tmp_path / "family")
    (tmp_path / "lines.nt").write_bytes(b"".join(blocks(family)))
    again = ingest([tmp_path / "lines.nt"], tmp_path / "again")
    assert again.entities == family.entities
    assert set(again.relations.names.to_pylist()) == set(family.relations.names.to_pylist())
    assert sorted(stated(again)) == sorted(stated(family))
    assert again.types.of_entity.values.tolist() == family.types.of_entity.values.tolist()
    assert again.texts.digest() == family.texts.digest()


def stated(graph: KnowledgeGraph) -> Iterator[tuple[Any, ...]]:
    for table, objects in ((graph.statements, graph.entities), (graph.literals.statements, graph.literals.vocabulary)):
        for row in range(len(table)):
            yield (
                graph.entities.name(int(table.subject[row])),
                graph.relations.name(int(table.relation[row])),
                objects.name(int(table.object[row])),
                sorted(
                    (graph.relations.name(q), graph.literals.vocabulary.name(-1 - v)) for q, v in table.qualifiers(row)
                ),
            )


# The protocol


def test_get_and_both_posts_answer_the_same(client: TestClient) -> None:
    by_get = client.get("/sparql", params={"query": EURO})
    form = client.post("/sparql", data={"query": EURO})
    direct = client.post("/sparql", content=EURO, headers={"Content-Type": "application/sparql-query; charset=utf-8"})
    assert by_get.content == form.content == direct.content
    assert by_get.headers["content-type"] == JSON
    assert by_get.headers["vary"] == "Accept"
    again = client.get("/sparql", params={"query": EURO}, headers={"If-None-Match": by_get.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("query", "accept", "media", "begins"),
    [
        (EURO, "", JSON, b'{"head":{"vars":["c"]}'),
        (EURO, "text/html, application/xml;q=0.9, */*;q=0.1", JSON, b'{"head"'),
        (EURO, XML, XML, b'<?xml version="1.0"?><sparql xmlns='),
        (EURO, "text/csv", "text/csv; charset=utf-8", b"c\r\nhttps://kgservice.example/world/"),
        (EURO, "text/tab-separated-values", "text/tab-separated-values; charset=utf-8", b"?c\n<https://"),
        (EURO, f"{JSON};q=0.5, text/csv;q=0.7", "text/csv; charset=utf-8", b"c\r\n"),
        ("ASK { world:France a world:Country }", "text/csv", JSON, b'{"head":{},"boolean":true}'),
        ("CONSTRUCT WHERE { world:Lyon world:country ?o }", "", "text/turtle; charset=utf-8", b"@prefix"),
        ("DESCRIBE world:Lyon", "application/n-triples", "application/n-triples", b"<https://kgservice.example/world/Lyon> "),
        ("DESCRIBE world:Lyon", "application/rdf+xml", "application/rdf+xml", b"<?xml"),
    ],
)  # fmt: skip
def test_every_form_of_a_result(client: TestClient, query: str, accept: str, media: str, begins: bytes) -> None:
    response = client.get("/sparql", params={"query": query}, headers={"Accept": accept})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == media
    assert response.content.startswith(begins)


def test_a_dataset_named_by_the_request(client: TestClient) -> None:
    everything = "SELECT ?s WHERE { ?s world:capital ?o } LIMIT 1"
    assert ask(client, everything)
    assert not ask(client, everything, **{"default-graph-uri": "urn:nothing"})


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("SELECT * WHERE { ?s ?p", "expected"),
        ("SELECT * WHERE { nope:x ?p ?o }", "The prefix nope: is not declared, or a name is misspelt"),
        ("INSERT DATA { world:a world:b world:c }", "expected"),
        ("LOAD <http://127.0.0.1:1/a.ttl>", "expected"),
    ],
)
def test_malformed_queries(client: TestClient, query: str, detail: str) -> None:
    refused(client.get("/sparql", params={"query": query}), 400, "malformed-query", detail)


def test_refusals(client: TestClient) -> None:
    for update in ("LOAD <http://127.0.0.1:1/a.ttl>", "DROP ALL", "nonsense"):
        refused(
            client.post("/sparql", data={"update": update}), 403, "update-refused", "/sparql/update takes INSERT DATA"
        )
        direct = client.post("/sparql", content=update, headers={"Content-Type": "application/sparql-update"})
        refused(direct, 403, "update-refused", "/sparql/update takes INSERT DATA")
    refused(client.post("/sparql", data={"other": "x"}), 400, "malformed-query", "Expected one query, found 0")
    refused(client.get("/sparql?query=ASK{}&query=ASK{}"), 400, "malformed-query", "Expected one query, found 2")
    refused(client.get("/sparql?query=%FF"), 400, "malformed-query", "cannot be read")
    text = client.post("/sparql", content=EURO, headers={"Content-Type": "text/plain"})
    refused(text, 415, "unsupported-media-type", "found 'text/plain'")
    latin = client.post("/sparql", content=b"# \xff", headers={"Content-Type": "application/sparql-query"})
    refused(latin, 400, "malformed-query", "not UTF-8: invalid start byte at byte 2")
    picture = client.get("/sparql", params={"query": EURO}, headers={"Accept": "image/png"})
    refused(picture, 406, "not-acceptable", "None of 'image/png' can be given")
    huge = client.post("/sparql", data={"query": "#" * (1 << 20)})
    refused(huge, 413, "body-too-large", "longer than 1,048,576 bytes")
    many = client.post("/sparql", content="&".join(f"a{i}=b" for i in range(2000)), headers={
        "Content-Type": "application/x-www-form-urlencoded"
    })  # fmt: skip
    refused(many, 400, "malformed-query", "Max number of fields exceeded")


def test_the_service_describes_itself(client: TestClient) -> None:
    sd = rdflib.Namespace("http://www.w3.org/ns/sparql-service-description#")
    for media, syntax in (("text/turtle", "turtle"), ("application/rdf+xml", "xml"), ("application/n-triples", "nt")):
        response = client.get("/sparql", headers={"Accept": media})
        assert response.headers["content-type"].startswith(media)
        graph = rdflib.Graph().parse(data=response.text, format=syntax)
        service = rdflib.URIRef("http://testserver/sparql")
        assert (service, rdflib.RDF.type, sd.Service) in graph
        assert graph.value(service, sd.endpoint) == service
        assert (service, sd.supportedLanguage, sd.SPARQL11Query) in graph


@given(st.lists(st.tuples(st.sampled_from(["a/x", "a/y", "b/z"]), st.integers(0, 10)), max_size=4))
def test_negotiation_takes_nothing_that_is_not_accepted(weights: list[tuple[str, int]]) -> None:
    accept = ", ".join(f"{media};q={weight / 10}" for media, weight in weights)
    chosen = preferred(accept, ["a/x", "b/z"])
    accepted = dict(reversed(weights))
    if chosen is not None and weights:
        assert accepted[chosen] == max(accepted.get(media, 0) for media in ("a/x", "b/z"))
    else:
        assert not weights or not any(accepted.get(media) for media in ("a/x", "b/z"))


# Predictions


def predictions(client: TestClient, block: str, head: str = "*", tail: str = "") -> list[dict[str, str]]:
    return ask(client, f"SELECT {head} WHERE {{ SERVICE kg:complete {{ {block} }} {tail} }}")


def test_predictions_are_the_engines(client: TestClient, engine: Engine) -> None:
    block = "world:France world:borders ?x {| kg:probability ?p ; kg:rank ?r ; kg:model ?m ; kg:limit 4 |}"
    found = predictions(client, block, tail="} ORDER BY ?r #")
    answer = engine.complete([Question("world:France", "world:borders")], k=4)[0]
    assert [row["x"] for row in found] == [one.id.replace("world:", WORLD) for one in answer.candidates]
    assert [float(row["p"]) for row in found] == pytest.approx([one.probability for one in answer.candidates], rel=1e-4)
    assert [(row["r"], row["m"]) for row in found] == [(str(rank), answer.model) for rank in range(1, 5)]
    known = predictions(client, "world:France world:borders ?x {| kg:known ?k ; kg:model 'complex' |}")
    assert {row["k"] for row in known} == {"true", "false"}


def test_predictions_of_subjects_with_qualifiers_and_numbers(client: TestClient, engine: Engine) -> None:
    subjects = predictions(
        client, "?who <https://kgservice.example/world/currency> world:Euro {| kg:rank ?r ; kg:limit 3 |}"
    )
    asked = engine.complete([Question(None, "world:currency", "world:Euro")], k=3)[0]
    assert {row["who"] for row in subjects} == {one.id.replace("world:", WORLD) for one in asked.candidates}
    block = 'world:France world:currency ?x {| world:startTime "1960"^^xsd:gYear ; kg:rank ?r ; kg:known ?k |}'
    pairs = (Pair("world:startTime", "1960"),)
    first = engine.complete([Question("world:France", "world:currency", None, pairs)], k=1, exclude_known=False)[0]
    rows = {row["r"]: row["x"] for row in predictions(client, block)}
    assert rows["1"] == first.candidates[0].id.replace("world:", WORLD)
    estimate = predictions(client, "world:Czechoslovakia world:population ?n {| kg:low ?low ; kg:high ?high |}")[0]
    expected = engine.complete([Question("world:Czechoslovakia", "world:population")])[0].estimate
    assert expected is not None
    assert [float(estimate[name]) for name in ("low", "n", "high")] == pytest.approx(
        [expected.low, expected.value, expected.high], rel=1e-3
    )


def test_one_question_for_each_value_that_the_block_binds(client: TestClient, engine: Engine) -> None:
    block = "?c world:memberOf ?x {| kg:probability ?p ; kg:limit 1 |} . VALUES ?c { world:Norway world:Peru world:Nowhere }"
    found = predictions(client, block, tail="?x rdfs:label ?label FILTER(LANG(?label) = 'en')")
    questions = [Question(f"world:{name}", "world:memberOf") for name in ("Norway", "Peru")]
    expected = {one.subject.id: one.candidates[0].id for one in engine.complete(questions, k=1) if one.subject}
    assert {row["c"].replace(WORLD, "world:"): row["x"].replace(WORLD, "world:") for row in found} == expected
    assert all(row["label"] for row in found)
    from_the_graph = predictions(
        client, "?c world:memberOf ?x {| kg:rank ?r ; kg:limit 2 |} . ?c world:currency world:Euro", "(COUNT(*) AS ?n)"
    )
    assert int(from_the_graph[0]["n"]) == 2 * len(ask(client, EURO))
    assert predictions(client, "?c world:memberOf ?x . ?c world:currency world:Nowhere") == []


@pytest.mark.parametrize(
    ("block", "status", "slug", "detail"),
    [
        ("world:Frnace world:borders ?x", 404, "unknown-entity", "'https://kgservice.example/world/Frnace' is not an entity"),
        ("world:France world:borders world:Spain", 400, "malformed-query", "must have one hole; it has none"),
        ("?a world:borders ?b", 400, "malformed-query", "must have one hole; it has ?a and ?b"),
        ("?a ?b ?c . ?a ?b ?d", 400, "malformed-query", "must have one hole; it has ?a and ?b and ?c"),
        ("world:France world:borders", 400, "malformed-query", "expected subject, relation and object"),
        ("world:France world:borders ?x {| kg:rank 3 |}", 400, "malformed-query", "kg:rank takes a variable"),
        ("world:France world:borders ?x {| kg:rank ?r", 400, "malformed-query", "expected '; relation value' or '|}', found"),
        ("world:France world:borders ?x {| kg:rank |}", 400, "malformed-query", "expected an IRI, a prefixed name or a variable"),
        ("world:France world:borders ?x {| kg:limit ?n |}", 400, "malformed-query", "kg:limit takes a number"),
        ("world:France world:borders ?x . SERVICE kg:complete { ?a ?b ?c }", 400, "malformed-query", "no other SERVICE within"),
        ("world:France world:borders ?x, ?y", 400, "malformed-query", "one statement, ended by a full stop, found ','"),
        ("world:France nope:borders ?x", 400, "malformed-query", "The prefix nope: is not declared"),
        ("world:France world:borders ?x {| kg:limit 5000 |}", 422, "invalid-question", "k must be in [1, 1000]"),
        ("?c world:borders ?x {| kg:limit 1000 |} . ?c a world:Country", 422, "too-many-rows", "more than 100,000 candidates"),
        ("?c world:borders ?x . ?c ?p ?o", 422, "too-many-rows", "?c has more than 1,000 values"),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_answered(client: TestClient, block: str, status: int, slug: str, detail: str) -> None:
    query = f"SELECT * WHERE {{ SERVICE kg:complete {{ {block} }} }}"
    refused(client.get("/sparql", params={"query": query}), status, slug, detail)


def predicted(subject: str, probability: float, graph: str = "") -> str:
    """A link and what is said of it, in lines as `kgservice enrich` writes them."""
    link = f"<{WORLD}{subject}> <{WORLD}memberOf> <{WORLD}European_Union>"
    said = f'"{probability}"^^<http://www.w3.org/2001/XMLSchema#double>'
    return (
        f"{link} {graph}.\n"
        f"_:{subject} <http://www.w3.org/1999/02/22-rdf-syntax-ns#reifies> <<( {link} )>> {graph}.\n"
        f"_:{subject} <{KG}probability> {said} {graph}.\n"
    )


def test_a_file_of_predicted_links_is_a_graph(release_store: ReleaseStore, tmp_path: Path) -> None:
    shutil.copytree(release_store.folder, tmp_path / "releases")
    (tmp_path / "links.nt").write_text(predicted("Norway", 0.4))
    (tmp_path / "links.nq").write_text(predicted("Norway", 0.4, "<urn:run> ") + predicted("Peru", 0.1, "<urn:run> "))
    statement = "?s world:memberOf world:European_Union {| kg:probability ?p |}"
    norway = {"s": f"{WORLD}Norway", "p": "0.4"}
    with TestClient(open_app(ServerSettings(home=tmp_path, sparql_predictions=tmp_path / "links.nt"))) as client:
        assert ask(client, f"SELECT ?s ?p WHERE {{ GRAPH kg:predicted {{ {statement} }} }}") == [norway]
        assert not ask(client, f"SELECT ?s ?p WHERE {{ {statement} }}")
        assert client.delete("/v1/entities/world:Peru").status_code == 204
    with TestClient(open_app(ServerSettings(home=tmp_path, sparql_predictions=tmp_path / "links.nq"))) as client:
        assert ask(client, f"SELECT ?s ?p WHERE {{ GRAPH ?run {{ {statement} }} }}") == [norway]
        of_run = ask(client, "SELECT (COUNT(*) AS ?n) WHERE { GRAPH <urn:run> { ?s ?p ?o } }")
        assert of_run == [{"n": "3"}], "what was erased is left in a file of predictions"
        assert not ask(client, "SELECT * WHERE { ?s kg:erased ?o }")
    with pytest.raises(
        RecipeError, match=r"KGSERVICE_SPARQL_PREDICTIONS: no file that ends in \.nt, \.ttl, \.nq, \.trig"
    ):
        ServerSettings.load({}, home=tmp_path, sparql_predictions=tmp_path / "links.parquet")


# What must not happen


@pytest.fixture
def foreign() -> Iterator[tuple[str, list[str]]]:
    """Another endpoint, and what it was asked."""
    hits: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hits.append(self.path)
            content = b'{"head":{"vars":["x"]},"results":{"bindings":[{"x":{"type":"literal","value":"out"}}]}}'
            self.send_response(200)
            self.send_header("Content-Type", JSON)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/sparql", hits
    server.shutdown()
    server.server_close()


def test_no_other_address_is_asked(client: TestClient, foreign: tuple[str, list[str]]) -> None:
    address, hits = foreign
    for service in (
        f"SERVICE <{address}>",
        f"SERVICE SILENT <{address}>",
        f"service\n#a\n<{address}>",
        "SERVICE ?where",
    ):
        query = f"SELECT * WHERE {{ VALUES ?where {{ <{address}> }} {service} {{ ?x ?y ?z }} }}"
        refused(client.get("/sparql", params={"query": query}), 403, "foreign-service", "no other address is asked")
    # To these tokens a string, to Oxigraph a comparison and a SERVICE: nothing but the process keeps it in.
    hidden = f"SELECT * {{ VALUES ?a {{ 'b' }} FILTER(?a <'x>' || ?a = '') SERVICE <{address}> {{ ?x ?y ?z }} FILTER(?a != '') }}"
    assert not services(tokens(hidden))
    refused(client.get("/sparql", params={"query": hidden}), 422, "failed-query", "")
    silent = hidden.replace("SERVICE", "SERVICE SILENT")
    assert client.get("/sparql", params={"query": silent}).json()["results"]["bindings"][0].keys() == {"a"}
    escaped = f"SELECT * {{ \\u0053ERVICE <{address}> {{ ?x ?y ?z }} }}"
    refused(client.get("/sparql", params={"query": escaped}), 400, "malformed-query", "")
    dataset = client.get("/sparql", params={"query": f"SELECT * FROM <{address}> {{ ?s ?p ?o }}"})
    assert dataset.json()["results"]["bindings"] == []
    assert hits == []


def test_an_operator_may_allow_other_addresses(home: Path, foreign: tuple[str, list[str]]) -> None:
    address, hits = foreign
    with TestClient(open_app(ServerSettings(home=home, sparql_federated=True))) as client:
        assert ask(client, f"SELECT * WHERE {{ SERVICE <{address}> {{ ?x ?y ?z }} }}") == [{"x": "out"}]
    assert hits == ["/sparql"]


def test_limits_of_the_operator(home: Path) -> None:
    settings = ServerSettings(
        home=home, sparql_timeout_s=0.7, sparql_max_rows=10, sparql_max_bytes=2000, sparql_workers=1
    )
    with TestClient(open_app(settings)) as client:
        assert len(ask(client, "SELECT ?s WHERE { ?s a world:Country } LIMIT 10")) == 10
        many = client.get("/sparql", params={"query": "SELECT ?s WHERE { ?s a world:Country } LIMIT 11"})
        refused(many, 422, "too-many-rows", "more than 10 rows. Ask for fewer with LIMIT and OFFSET")
        graph = client.get("/sparql", params={"query": "CONSTRUCT WHERE { ?s a world:Country }"})
        refused(graph, 422, "too-many-rows", "more than 10 rows")
        long = client.get("/sparql", params={"query": "SELECT (GROUP_CONCAT(?l) AS ?all) WHERE { ?s rdfs:label ?l }"})
        refused(long, 422, "result-too-large", "longer than 2,000 bytes")
        started = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            endless = pool.submit(client.get, "/sparql", params={"query": ENDLESS})
            time.sleep(0.3)
            assert client.get("/livez").status_code == 200
            assert time.perf_counter() - started < 0.7, "the event loop waited for a query"
            refused(endless.result(), 422, "query-too-long", "took longer than 0.7 s and was stopped")
        assert ask(client, "SELECT ?s WHERE { ?s a world:Country } LIMIT 1"), "no process after one was killed"


def test_a_query_that_needs_too_much_memory(home: Path) -> None:
    with TestClient(open_app(ServerSettings(home=home, sparql_memory_bytes=1 << 28))) as client:
        query = "SELECT DISTINCT ?a ?b ?c WHERE { ?a a world:City . ?b a world:City . ?c a world:City }"
        refused(client.get("/sparql", params={"query": f"SELECT (COUNT(*) AS ?n) {{ {{ {query} }} }}"}), 422,
                "query-too-large", "needed more than 268,435,456 bytes of memory and was stopped")  # fmt: skip
        assert ask(client, "SELECT ?s WHERE { ?s a world:Country } LIMIT 1")


def test_too_many_queries_wait(home: Path) -> None:
    settings = ServerSettings(home=home, sparql_timeout_s=3, sparql_workers=1, sparql_max_waiting=0)
    with TestClient(open_app(settings)) as client:
        ask(client, EURO)
        with ThreadPoolExecutor(1) as pool:
            endless = pool.submit(client.get, "/sparql", params={"query": ENDLESS})
            time.sleep(1)
            response = client.get("/sparql", params={"query": EURO})
            refused(response, 503, "overloaded", "0 queries are waiting already")
            assert int(response.headers["retry-after"]) >= 1
            refused(endless.result(), 422, "query-too-long", "took longer than 3 s")


# What is put and erased


def test_what_is_put_is_asked_and_what_is_erased_is_gone(release_store: ReleaseStore, tmp_path: Path) -> None:
    shutil.copytree(release_store.folder, tmp_path / "releases")
    with TestClient(open_app(ServerSettings(home=tmp_path))) as client:
        who = "SELECT ?c WHERE { ?c world:capital world:Paris }"
        assert {"c": f"{WORLD}France"} in ask(client, who)
        body = {
            "labels": {"en": 'New "Port" \\ on\nSea'},
            "types": ["world:City"],
            "statements": [{"relation": "world:locatedIn", "object": "world:Norway"}],
        }
        put = client.put("/v1/entities/world:Newport-by-Sea", json=body)
        assert put.status_code == 201, put.text
        query = "SELECT ?l ?c WHERE { world:Newport-by-Sea a world:City ; rdfs:label ?l ; world:locatedIn ?c }"
        assert ask(client, query) == [{"l": body["labels"]["en"], "c": f"{WORLD}Norway"}]
        assert client.delete("/v1/entities/world:France").status_code == 204
        assert {"c": f"{WORLD}France"} not in ask(client, who)
        assert not ask(client, "SELECT * WHERE { { world:France ?p ?o } UNION { ?s ?p world:France } }")
        left = sorted(one.name.partition(release_store.get().id)[2] for one in (tmp_path / "sparql").iterdir())
        assert len(left) == 2  # what others are linked to, without what was erased, and what is asked
        assert left[0].startswith("+")
        assert left[1] == "@2-2"


def test_a_put_is_loaded_on_top_of_the_store_that_is_there(
    release_store: ReleaseStore, tmp_path: Path, monkeypatch: Any
) -> None:
    shutil.copytree(release_store.folder, tmp_path / "releases")
    tasks = []
    run = endpoint._run
    monkeypatch.setattr(
        endpoint, "_run", lambda lines, folder, task, *rest: (tasks.append(task), run(lines, folder, task, *rest))
    )
    with TestClient(open_app(ServerSettings(home=tmp_path))) as client:
        count = "SELECT (COUNT(*) AS ?n) WHERE { ?s ?p ?o }"
        (before,) = ask(client, count)
        for turn, label in enumerate(("One", "Another")):  # the second one in the place of the first
            put = client.put("/v1/entities/world:New", json={"labels": {"en": label}, "types": ["world:City"]})
            assert put.status_code == (200 if turn else 201)
            assert ask(client, "SELECT ?l WHERE { world:New rdfs:label ?l }") == [{"l": label}]
            (after,) = ask(client, count)
            assert int(after["n"]) == int(before["n"]) + 2
        assert tasks == ["load", "extend", "extend"]
        tables = list((tmp_path / "sparql").glob("*@*/*.sst"))
        assert any(table.stat().st_nlink > 1 for table in tables)


def test_an_update_puts_entities(release_store: ReleaseStore, tmp_path: Path) -> None:
    shutil.copytree(release_store.folder, tmp_path / "releases")
    with TestClient(open_app(ServerSettings(home=tmp_path))) as client:

        def update(text: str) -> httpx.Response:
            return client.post("/sparql/update", content=text, headers={"Content-Type": "application/sparql-update"})

        before = int(ask(client, "SELECT (COUNT(*) AS ?c) { ?s world:population ?n }")[0]["c"])
        first = update(
            """INSERT DATA {
              world:New_One a world:City ; rdfs:label "New One"@en , "Neue"@de ; skos:altLabel "Nova"@la ;
                schema:description "city in Norway"@en ; world:locatedIn world:Norway ; world:population 70000 .
              world:Norway world:capital world:New_One {| world:startDecade world:2000s |}
            }"""
        )
        assert first.status_code == 200, first.text
        assert (first.json()["created"], first.json()["replaced"]) == (1, 0)
        more = client.post("/sparql/update", data={"update": 'INSERT DATA { world:New_One rdfs:label "Ny"@nb }'})
        assert (more.json()["created"], more.json()["replaced"]) == (0, 1)
        page = client.get("/v1/entities/world:New_One").json()
        assert page["labels"] == {"en": "New One", "de": "Neue", "nb": "Ny"}
        assert [one["id"] for one in page["types"]] == ["world:City"]
        query = "SELECT ?d { world:Norway world:capital world:New_One {| world:startDecade ?d |} }"
        assert ask(client, query) == [{"d": f"{WORLD}2000s"}]
        assert ask(client, "SELECT ?n { world:New_One world:population ?n }") == [{"n": "70000"}]
        (every,) = ask(client, "SELECT (COUNT(*) AS ?c) { ?s world:population ?n }")
        assert int(every["c"]) == before + 1
        dated = client.put(
            "/v1/entities/world:New_Two",
            json={
                "statements": [
                    {
                        "relation": "world:currency",
                        "object": "world:Euro",
                        "qualifiers": [{"relation": "world:startTime", "value": "1999-01-01"}],
                    }
                ]
            },
        )
        assert dated.status_code == 201
        when = "SELECT ?d { world:New_Two world:currency world:Euro {| world:startTime ?d |} }"
        assert ask(client, when) == [{"d": "1999-01-01"}]
        assert update("").json()["created"] == 0

        for text, status, slug, detail in (
            (
                "INSERT DATA { world:Norway world:borders world:Peru }",
                403,
                "update-refused",
                "has a new entity in every statement",
            ),
            ("INSERT DATA { world:Norway world:population 7 }", 403, "update-refused", "to new entities alone"),
            ("INSERT DATA { world:X world:capital 7 }", 422, "invalid-question", "links entities"),
            ("INSERT DATA { [] a world:City }", 403, "update-refused", "blank nodes cannot be put"),
            (
                "DELETE WHERE { ?s ?p ?o }",
                403,
                "update-refused",
                "found DELETE at character 0: a release never changes",
            ),
            ("LOAD <http://127.0.0.1:1/a>", 403, "update-refused", "found LOAD at character 0"),
            ("INSERT DATA { world:X a world:Ctiy }", 404, "unknown-type", "Closest: 'world:City'"),
            ("INSERT DATA {", 400, "malformed-query", "expected"),
        ):
            refused(update(text), status, slug, detail)
        refused(client.post("/sparql/update", content="x"), 415, "unsupported-media-type", "application/sparql-update")
    with TestClient(open_app(ServerSettings(home=tmp_path, read_only=True))) as client:
        refused(client.post("/sparql/update", data={"update": ""}), 403, "read-only", "takes no changes")


# Clients


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with serving(home) as address:
        yield f"{address}/sparql"


def test_sparqlwrapper(address: str) -> None:
    import SPARQLWrapper

    for method in (SPARQLWrapper.GET, SPARQLWrapper.POST):
        wrapper = SPARQLWrapper.SPARQLWrapper(address)
        wrapper.setMethod(method)
        wrapper.setQuery(EURO)
        wrapper.setReturnFormat(SPARQLWrapper.JSON)
        rows = wrapper.queryAndConvert()["results"]["bindings"]
        assert {"c": {"type": "uri", "value": f"{WORLD}France"}} in rows
        wrapper.setReturnFormat(SPARQLWrapper.XML)
        assert len(wrapper.queryAndConvert().getElementsByTagName("result")) == len(rows)
        wrapper.setQuery("CONSTRUCT WHERE { world:Lyon ?p ?o }")
        wrapper.setReturnFormat(SPARQLWrapper.TURTLE)
        graph = rdflib.Graph().parse(data=wrapper.queryAndConvert(), format="turtle")
        assert (rdflib.URIRef(f"{WORLD}Lyon"), rdflib.RDF.type, rdflib.URIRef(f"{WORLD}City")) in graph
    wrapper.setReturnFormat(SPARQLWrapper.JSON)
    wrapper.setQuery("SELECT")
    with pytest.raises(SPARQLWrapper.SPARQLExceptions.QueryBadFormed):
        wrapper.query()


def test_rdflibs_sparql_store(address: str) -> None:
    from rdflib.plugins.stores.sparqlstore import SPARQLStore

    world = rdflib.Namespace(WORLD)
    graph = rdflib.Graph(SPARQLStore(address))
    assert (world.France, world.capital, world.Paris) in graph
    assert set(graph.objects(world.Peru, world.currency)) == {world.Peruvian_Sol} or list(
        graph.objects(world.Peru, world.currency)
    )
    assert len(list(graph.triples((None, world.currency, world.Euro)))) == len(
        list(graph.query("SELECT ?c WHERE { ?c world:currency world:Euro }", initNs={"world": world}))
    )
    assert rdflib.Literal("Germany", lang="en") in set(graph.objects(world.Germany, rdflib.RDFS.label))


# Tokens


@given(st.text(alphabet="SERVICE{}<>'\"#?:a \n\\|-_.@^1", max_size=60))
def test_tokens_are_the_query(query: str) -> None:
    found = tokens(query)
    assert all(token.text == query[token.start : token.end] for token in found)
    assert sorted(token.start for token in found) == [token.start for token in found]


def test_services_are_found_among_what_only_looks_like_one() -> None:
    query = """PREFIX service: <http://a/service> # SERVICE <http://no/> { }
    SELECT ?service { ?service service:SERVICE "SERVICE <http://no/> {" . SERVICE SILENT <http://yes/> { ?a ?b '''}' ''' {} } }"""
    assert [(block.target.text, query[block.closing]) for block in services(tokens(query))] == [("<http://yes/>", "}")]


def test_the_description_of_the_api_gives_queries_that_work(client: TestClient) -> None:
    path = json.loads(client.get("/openapi.json").text)["paths"]["/sparql"]
    for example in path["get"]["parameters"][0]["examples"].values():
        assert ask(client, example["value"])
