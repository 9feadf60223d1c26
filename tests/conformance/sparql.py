"""The W3C's SPARQL suites as cases, and what becomes of each when this service's own process code answers it."""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyoxigraph as ox
from starlette.testclient import TestClient

from kgservice.sparql import worker
from kgservice.sparql.syntax import Prologue, tokens
from tests.conformance.suites import MANIFEST, RDF, read_archive

ARCHIVE = "conformance/w3c-sparql-tests.tar.xz"
PUBLISHED = "https://w3c.github.io/rdf-tests/"
QUERY = "http://www.w3.org/2001/sw/DataAccess/tests/test-query#"
RESULT_SET = "http://www.w3.org/2001/sw/DataAccess/tests/result-set#"
HTTP, CONTENT = "http://www.w3.org/2011/http#", "http://www.w3.org/2011/content#"
GRAPHS = {".ttl": ox.RdfFormat.TURTLE, ".rdf": ox.RdfFormat.RDF_XML, ".nt": ox.RdfFormat.N_TRIPLES, ".nq": ox.RdfFormat.N_QUADS,
          ".trig": ox.RdfFormat.TRIG}  # fmt: skip
RESULTS = {".srx": ox.QueryResultsFormat.XML, ".srj": ox.QueryResultsFormat.JSON, ".tsv": ox.QueryResultsFormat.TSV}
UPDATES = "Updates: a release never changes, so all are refused."
OUT_OF_SCOPE = {
    "UpdateEvaluationTest": UPDATES,
    "PositiveUpdateSyntaxTest": UPDATES,
    "PositiveUpdateSyntaxTest11": UPDATES,
    "NegativeUpdateSyntaxTest": UPDATES,
    "NegativeUpdateSyntaxTest11": UPDATES,
    "GraphStoreProtocolTest": "The graph store protocol is not offered: it is about graphs that change.",
}
OUT_OF_SCOPE_FOLDERS = {
    "sparql11/entailment": "No entailment regime is offered.",
    "sparql11/service": "SERVICE to other endpoints is refused.",
}
UPDATE_REQUESTS = ("update_", "bad_update_")


@dataclass(frozen=True)
class SparqlCase:
    """One test of a suite.

    Attributes:
        suite: the row of the table.
        name: unique among all.
        kind: the class of its manifest.
        base: the address of the query.
        query: its text.
        data, named: what the default graph and the named graphs are made of, as (address, syntax, content).
        expected: the name and content of the result.
        lax: whether equal solutions may stand there fewer times than expected, as REDUCED allows.
        requests: for a test of the protocol, what is sent and what must come back.
        out_of_scope: why it is not run, or nothing.
    """

    suite: str
    name: str
    kind: str
    title: str = field(repr=False)
    base: str = ""
    query: str = field(default="", repr=False)
    data: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    named: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    expected: tuple[str, bytes] | None = field(default=None, repr=False)
    lax: bool = False
    requests: tuple[dict[str, Any], ...] = field(default=(), repr=False, hash=False)
    out_of_scope: str = ""


@lru_cache(maxsize=1)
def all_cases(mirror: Path) -> tuple[SparqlCase, ...]:
    """Every test of the suites, in the order of the manifests."""
    files = {name.removeprefix("./"): data for name, data in read_archive(mirror / ARCHIVE).items()}
    manifests = [path for path in sorted(files) if posixpath.basename(path) == "manifest.ttl"]
    return tuple(case for path in manifests for case in _of_manifest(path, files))


class _Manifest:
    def __init__(self, path: str, files: dict[str, bytes]) -> None:
        self.folder = posixpath.dirname(path)
        self.here = f"{PUBLISHED}{self.folder}/"
        self.files = files
        self.graph = ox.Dataset(ox.parse(files[path], format=ox.RdfFormat.TURTLE, base_iri=f"{self.here}manifest.ttl"))

    def values(self, subject: Any, predicate: str) -> list[Any]:
        return [quad.object for quad in self.graph.quads_for_subject(subject) if quad.predicate.value == predicate]

    def value(self, subject: Any, predicate: str) -> Any:
        return next(iter(self.values(subject, predicate)), None)

    def listed(self, head: Any) -> Iterator[Any]:
        while head is not None and head != ox.NamedNode(RDF + "nil"):
            yield self.value(head, RDF + "first")
            head = self.value(head, RDF + "rest")

    def file(self, node: Any) -> tuple[str, bytes]:
        path = posixpath.normpath(posixpath.join(self.folder, node.value.removeprefix(self.here)))
        return node.value, self.files.get(path, b"")


def _of_manifest(path: str, files: dict[str, bytes]) -> Iterator[SparqlCase]:
    manifest = _Manifest(path, files)
    entries = next(
        (quad.object for quad in manifest.graph.quads_for_predicate(ox.NamedNode(MANIFEST + "entries"))), None
    )
    for test in manifest.listed(entries):
        kinds = [one.value.removeprefix(MANIFEST) for one in manifest.values(test, RDF + "type")]
        if not kinds:  # an entry that the manifest names and does not describe
            continue
        folder = manifest.folder.removeprefix("sparql/")
        version = {"sparql10": "SPARQL 1.0", "sparql11": "SPARQL 1.1", "sparql12": "SPARQL 1.2"}[folder.split("/")[0]]
        part = {"ProtocolTest": "protocol", "ServiceDescriptionTest": "service description"}.get(kinds[0], "query")
        part = "update" if "Update" in kinds[0] else "graph store" if "GraphStore" in kinds[0] else part
        title = manifest.value(test, MANIFEST + "name")
        case = {
            "suite": f"{version} {part}",
            "name": f"{folder}/{test.value.rpartition('#')[2]}",
            "kind": kinds[0],
            "title": title.value if title is not None else "",
            "out_of_scope": OUT_OF_SCOPE.get(kinds[0]) or OUT_OF_SCOPE_FOLDERS.get(folder, ""),
        }
        if case["out_of_scope"] or part == "service description":
            yield SparqlCase(**case)
        elif kinds[0] == "ProtocolTest":
            yield SparqlCase(**case, requests=tuple(_requests(manifest, test)))
        else:
            yield SparqlCase(**case, **_question(manifest, test))


def _question(manifest: _Manifest, test: Any) -> dict[str, Any]:
    action, result = manifest.value(test, MANIFEST + "action"), manifest.value(test, MANIFEST + "result")
    query = action if isinstance(action, ox.NamedNode) else manifest.value(action, QUERY + "query")
    address, text = manifest.file(query)
    data = [manifest.file(one) for one in manifest.values(action, QUERY + "data")]
    named = [
        manifest.file(one) for one in manifest.values(action, QUERY + "graphData") if isinstance(one, ox.NamedNode)
    ]
    decoded = text.decode("utf-8", "replace")
    if not data and not named and result is not None:  # the query names its own dataset, by files that lie beside it
        named = [manifest.file(ox.NamedNode(iri)) for iri in _from(decoded, address)]
    return {
        "base": address,
        "query": decoded,
        "data": tuple(data),
        "named": tuple(named),
        "expected": None if result is None else manifest.file(result),
        "lax": manifest.value(test, MANIFEST + "resultCardinality") == ox.NamedNode(MANIFEST + "LaxCardinality"),
    }


def _from(query: str, base: str) -> list[str]:
    found = tokens(query)
    prologue = Prologue({}, base)
    places = [place for place, token in enumerate(found) if token.text.upper() == "FROM"]
    after = [
        found[place + 1 + (found[place + 1].text.upper() == "NAMED")] for place in places if place + 2 < len(found)
    ]
    return [prologue.iri(token) for token in after if token.kind == "iri"]


def _requests(manifest: _Manifest, test: Any) -> Iterator[dict[str, Any]]:
    action = manifest.value(test, MANIFEST + "action")
    for request in manifest.listed(manifest.value(action, HTTP + "requests")):
        body, response = manifest.value(request, HTTP + "body"), manifest.value(request, HTTP + "resp")
        headers = {
            manifest.value(one, HTTP + "fieldName").value: manifest.value(one, HTTP + "fieldValue").value
            for one in manifest.listed(manifest.value(request, HTTP + "headers"))
        }
        encoding = manifest.value(body, CONTENT + "characterEncoding").value if body is not None else "utf-8"
        boolean = manifest.value(response, MANIFEST + "expectedBoolean")
        form = manifest.value(response, MANIFEST + "expectedFormat")
        yield {
            "method": manifest.value(request, HTTP + "methodName").value,
            "path": manifest.value(request, HTTP + "absolutePath").value.replace("/sparql/", "/sparql", 1),
            "headers": headers,
            "content": manifest.value(body, CONTENT + "chars").value.encode(encoding) if body is not None else b"",
            "statuses": [
                one.value.rpartition("StatusCode")[2] for one in manifest.values(response, MANIFEST + "expectedStatus")
            ],
            "boolean": None if boolean is None else boolean.value == "true",
            "format": None if form is None else form.value,
        }


# What must come of a case


def check(case: SparqlCase, client: TestClient | None = None) -> None:
    """Fail unless the service answers a test as its suite wants."""
    if case.kind == "ProtocolTest":
        assert client is not None
        for request in case.requests:
            check_request(client, request)
    elif case.kind == "ServiceDescriptionTest":
        assert client is not None
        check_description(case, client)
    elif case.kind.startswith("NegativeSyntax"):
        try:
            evaluate(case)
        except SyntaxError:
            return
        raise AssertionError("a malformed query is taken")
    elif case.kind.startswith("PositiveSyntax"):
        with suppress(OSError, RuntimeError):  # well formed, but asks another endpoint or an unknown function
            evaluate(case)
    else:
        check_result(case)


def evaluate(case: SparqlCase, media: str = "text/tab-separated-values") -> tuple[str, bytes]:
    """The result as the process that asks a store writes it: solutions as TSV, graphs as N-Triples, truth as JSON."""
    store = ox.Store()
    for address, content in case.data:
        _load(store, address, content, ox.DefaultGraph())
    for address, content in case.named:
        _load(store, address, content, ox.NamedNode(address))
    asked = {"query": case.query, "base": case.base, "solutions_media": media, "graph_media": "application/n-triples",
             "max_rows": 10**6, "max_bytes": 10**9}  # fmt: skip
    found, content = worker.evaluate(store, asked)
    assert found is not None
    return found, content


def _load(store: ox.Store, address: str, content: bytes, graph: Any) -> None:
    syntax = GRAPHS[posixpath.splitext(address)[1]]
    target = None if syntax.supports_datasets else graph
    store.load(content, format=syntax, base_iri=address, to_graph=target)


def check_result(case: SparqlCase) -> None:
    """Fail unless the result is the one expected, up to the labels of blank nodes, with numbers compared by value."""
    assert case.expected is not None
    address, expected = case.expected
    ending = posixpath.splitext(address)[1]
    if ending == ".csv":
        _, content = evaluate(case, "text/csv")
        assert _csv_rows(content) == _csv_rows(expected)
        return
    media, content = evaluate(case)
    if media == "application/n-triples":
        wanted = {quad.triple for quad in ox.parse(expected, format=GRAPHS[ending], base_iri=address)}
        have = {quad.triple for quad in ox.parse(content, format=ox.RdfFormat.N_TRIPLES)}
        assert canonical(ox.Quad(*one) for one in have) == canonical(ox.Quad(*one) for one in wanted)
        return
    syntax = ox.QueryResultsFormat.JSON if media.endswith("json") else ox.QueryResultsFormat.TSV
    ordered = ending in GRAPHS and b"index" in expected
    have = solutions(ox.parse_query_results(content, format=syntax))
    wanted = (
        solutions_of_graph(expected, address, ordered)
        if ending in GRAPHS
        else solutions(ox.parse_query_results(expected, format=RESULTS[ending]))
    )
    assert type(have) is type(wanted)
    if isinstance(have, bool) or isinstance(wanted, bool):
        assert have == wanted
        return
    if case.lax:
        have, wanted = ([dict(one) for one in {tuple(sorted(row.items())) for row in rows}] for rows in (have, wanted))
    assert canonical(_encoded(have, ordered)) == canonical(_encoded(wanted, ordered))


def _csv_rows(content: bytes) -> list[list[tuple[str, str]]]:
    """The rows of a table, whatever the order of its columns and the labels of its blank nodes."""
    rows = csv.DictReader(io.StringIO(content.decode(), newline=""))
    return sorted(
        sorted((name, "_:" if value.startswith("_:") else value) for name, value in row.items()) for row in rows
    )


Rows = list[dict[str, Any]]


def solutions(results: Any) -> Rows | bool:
    """A truth value, or the bindings of each solution."""
    if isinstance(results, ox.QueryBoolean):
        return bool(results)
    names = [variable.value for variable in results.variables]
    return [{name: row[name] for name in names if row[name] is not None} for row in results]


def solutions_of_graph(content: bytes, address: str, ordered: bool) -> Rows | bool:
    """The same of a result that is written as a graph."""
    graph = ox.Dataset(ox.parse(content, format=GRAPHS[posixpath.splitext(address)[1]], base_iri=address))

    def values(subject: Any, name: str) -> list[Any]:
        return [q.object for q in graph.quads_for_subject(subject) if q.predicate.value == RESULT_SET + name]

    whole = next(q.subject for q in graph if q.object == ox.NamedNode(RESULT_SET + "ResultSet"))
    if truth := values(whole, "boolean"):
        return bool(truth[0].value == "true")
    found = values(whole, "solution")
    if ordered:
        found.sort(key=lambda one: int(values(one, "index")[0].value))
    return [
        {values(one, "variable")[0].value: values(one, "value")[0] for one in values(solution, "binding")}
        for solution in found
    ]


def _encoded(rows: Rows, ordered: bool) -> Iterator[ox.Quad]:
    """Solutions as a graph, one node each, so that blank nodes may have any labels."""
    counted: dict[str, int] = {}
    for place, row in enumerate(rows):
        node = ox.NamedNode(f"urn:row:{place}") if ordered else ox.BlankNode()
        yield ox.Quad(node, ox.NamedNode(f"{RDF}type"), ox.NamedNode("urn:row"))
        for name, value in row.items():
            yield ox.Quad(node, ox.NamedNode(f"urn:variable:{name}"), value)
        if not ordered and not any(isinstance(value, ox.BlankNode) for value in row.values()):
            key = json.dumps({name: str(value) for name, value in row.items()}, sort_keys=True)
            counted[key] = counted.get(key, 0) + 1  # equal rows are told apart, lest a set swallow them
            yield ox.Quad(node, ox.NamedNode("urn:copy"), ox.Literal(str(counted[key])))


def canonical(quads: Any) -> ox.Dataset:
    """A dataset whose blank nodes are labelled by what is said of them, and whose numbers are as the store writes them."""
    store = ox.Store()
    store.extend(quads)
    dataset = ox.Dataset(store)
    dataset.canonicalize(ox.CanonicalizationAlgorithm.UNSTABLE)
    return dataset


def check_request(client: TestClient, request: dict[str, Any]) -> None:
    """Fail unless a request of the protocol's suite gets an answer of the kind it wants."""
    response = client.request(
        request["method"], request["path"], headers=request["headers"], content=request["content"]
    )
    assert f"{response.status_code // 100}xx" in request["statuses"], (response.status_code, response.text)
    if request["boolean"] is not None:
        assert response.json()["boolean"] is request["boolean"], response.text
    media = response.headers["content-type"].partition(";")[0]
    if request["format"] in ("boolean", "tabular"):
        assert media in worker.SOLUTIONS
    elif request["format"] == "RDF":
        assert media in worker.GRAPHS


def check_description(case: SparqlCase, client: TestClient) -> None:
    """Fail unless the description is RDF, names the endpoint, and says only what the vocabulary has."""
    response = client.get("/sparql", headers={"Accept": "text/turtle"})
    quads = list(ox.parse(response.content, format=ox.RdfFormat.TURTLE))
    sd = "http://www.w3.org/ns/sparql-service-description#"
    endpoints = [quad for quad in quads if quad.predicate.value == f"{sd}endpoint"]
    if case.name.endswith("has-endpoint-triple"):
        assert [quad.object.value for quad in endpoints] == ["http://testserver/sparql"]
    elif case.name.endswith("conforms-to-schema"):
        services = [quad.subject for quad in quads if quad.object == ox.NamedNode(f"{sd}Service")]
        assert [quad.subject for quad in endpoints] == services
        known = {"endpoint", "supportedLanguage", "resultFormat", "feature", "defaultDataset", "defaultGraph", "namedGraph",
                 "name", "graph"}  # fmt: skip
        assert {quad.predicate.value.removeprefix(sd) for quad in quads if quad.predicate.value.startswith(sd)} <= known
    else:
        assert quads
