"""`/sparql`: the SPARQL 1.1 protocol and the description of the service; `/sparql/update`: what of updates can be put."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response

from kgservice import __version__
from kgservice.answers.records import EntityRecord
from kgservice.engine import Engine
from kgservice.server.documentation import responses
from kgservice.server.negotiation import preferred
from kgservice.server.problems import RequestProblem
from kgservice.server.schemas import Put
from kgservice.server.service import Service, ServiceOf
from kgservice.sparql import inserting
from kgservice.sparql.endpoint import GRAPHS, SOLUTIONS, Query
from kgservice.sparql.inserting import Stated
from kgservice.sparql.predicted import PREDICTED

router = APIRouter(tags=["sparql"])

_FORM, _DIRECT, _UPDATE = "application/x-www-form-urlencoded", "application/sparql-query", "application/sparql-update"
_MAX_PARAMETERS = 1000
_PROBLEMS = (
    *("malformed-query", "foreign-service", "update-refused", "not-acceptable", "query-too-long", "query-too-large"),
    *("too-many-rows", "result-too-large", "failed-query", "unknown-entity", "unknown-relation", "unknown-model"),
    *("invalid-question", "overloaded", "store-not-ready", "no-release", "unavailable"),
)
_SELECT = "SELECT ?country WHERE { ?country world:currency world:Euro } ORDER BY ?country LIMIT 3"
_PREDICT = (
    "SELECT ?union ?p WHERE { SERVICE kg:complete { world:Norway world:memberOf ?union {| kg:probability ?p |} } } "
    "ORDER BY DESC(?p)"
)
_PARAMETERS = [
    {
        "name": "query",
        "in": "query",
        "description": "A query in SPARQL 1.1; prefixes of the graph need not be declared.",
        "schema": {"type": "string"},
        "examples": {
            "select": {"summary": "Who pays with the euro?", "value": _SELECT},
            "predict": {"summary": "Of what may Norway be a member?", "value": _PREDICT},
        },
    },
    *(
        {
            "name": name,
            "in": "query",
            "description": f"A graph of the {what}; repeatable, and instead of FROM in the query.",
            "schema": {"type": "array", "items": {"type": "string"}},
        }
        for name, what in (("default-graph-uri", "default graph"), ("named-graph-uri", "named graphs"))
    ),
]
_BODY = {
    "required": True,
    "content": {
        _DIRECT: {"schema": {"type": "string"}, "examples": {"select": {"value": _SELECT}}},
        _FORM: {
            "schema": {
                "type": "object",
                "required": ["query"],
                "properties": {
                    "query": {"type": "string"},
                    "default-graph-uri": {"type": "array", "items": {"type": "string"}},
                    "named-graph-uri": {"type": "array", "items": {"type": "string"}},
                },
            },
            "examples": {"predict": {"value": {"query": _PREDICT}}},
        },
    },
}


_INSERT = (
    'INSERT DATA { world:Newport-by-Sea a world:City ; rdfs:label "Newport-by-Sea"@en ; world:locatedIn world:France }'
)
_UPDATE_BODY = {
    "required": True,
    "content": {
        _UPDATE: {"schema": {"type": "string"}, "examples": {"city": {"value": _INSERT}}},
        _FORM: {
            "schema": {"type": "object", "required": ["update"], "properties": {"update": {"type": "string"}}},
            "examples": {"city": {"value": {"update": _INSERT}}},
        },
    },
}


def _responses(*slugs: str) -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {media: {"schema": {"type": "string"}} for media in (*SOLUTIONS, *GRAPHS)}
    content[SOLUTIONS[0]] = {"schema": {"type": "object"}}
    return {
        **responses(None, "", *_PROBLEMS, *slugs),
        200: {
            "description": "Solutions, a truth value or a graph, in the form that `Accept` asks for.",
            "content": content,
        },
    }


@router.get(
    "/sparql",
    operation_id="sparql",
    summary="What answers a SPARQL query?",
    response_class=Response,
    responses=_responses(),
    openapi_extra={"parameters": _PARAMETERS},
)
async def get_sparql(request: Request, service: ServiceOf) -> Response:
    """Over the graph of the release that serves. Without a query, the description of the service.

    Statements are triples; qualifiers are annotations of RDF 1.2: `?s ?p ?o {| world:startTime ?when |}`. What the models
    predict is asked within `SERVICE kg:complete { … }`; no other address is asked.
    """
    given = _read(request.scope["query_string"])
    if "query" not in given and "update" not in given:
        return await _describe(request, service)
    return await _answer(request, service, given)


@router.post(
    "/sparql",
    operation_id="sparqlPost",
    summary="What answers a long SPARQL query?",
    response_class=Response,
    responses=_responses("unsupported-media-type", "body-too-large"),
    openapi_extra={"parameters": _PARAMETERS[1:], "requestBody": _BODY},
)
async def post_sparql(request: Request, service: ServiceOf) -> Response:
    """As by GET, with the query as the body or as a field of a form."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if media == _FORM:
        return await _answer(request, service, _read(body, request.scope["query_string"]))
    if media in (_DIRECT, _UPDATE):
        given = _read(request.scope["query_string"])
        given["query" if media == _DIRECT else "update"] = [_text(body)]
        return await _answer(request, service, given)
    raise RequestProblem(
        "unsupported-media-type",
        f"Expected Content-Type: {_DIRECT} or {_FORM}, found {media[:100]!r}.",
        {"Accept-Post": f"{_DIRECT}, {_FORM}"},
    )


@router.post(
    "/sparql/update",
    operation_id="sparqlUpdate",
    summary="Have entities known by a SPARQL update.",
    responses=responses(
        Put,
        "They are known.",
        *(
            "malformed-query",
            "update-refused",
            "invalid-question",
            "unknown-entity",
            "unknown-relation",
            "unknown-type",
        ),
        *("query-too-long", "query-too-large", "failed-query", "erased", "read-only", "body-too-large"),
        *("unsupported-media-type", "overloaded", "store-not-ready", "no-release", "unavailable"),
    ),
    openapi_extra={"requestBody": _UPDATE_BODY},
)
async def update_sparql(request: Request, service: ServiceOf) -> Response:
    """`INSERT DATA` of entities that the release does not hold, on top of what was put of them before.

    Labels (`rdfs:label`), aliases (`skos:altLabel`), descriptions (`schema:description`), types, and statements that link them to
    others, with annotations as qualifiers: what `PUT /v1/entities/{id}` takes. Nothing else is: a release never changes.
    """
    service.check_writable()
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if media not in (_FORM, _UPDATE):
        raise RequestProblem(
            "unsupported-media-type",
            f"Expected Content-Type: {_UPDATE} or {_FORM}, found {media[:100]!r}.",
            {"Accept-Post": f"{_UPDATE}, {_FORM}"},
        )
    updates = _read(body).get("update", []) if media == _FORM else [_text(body)]
    if len(updates) != 1:
        raise RequestProblem("malformed-query", f"Expected one update, found {len(updates)}.")
    engine = service.engine
    stated = await service.sparql.insertion(engine, updates[0], str(request.url.replace(query=None, fragment=None)))
    return await service.answer(lambda: _put(service, engine, stated))


def _put(service: Service, engine: Engine, stated: list[Stated]) -> Put:
    former = {name: EntityRecord.of_json(json.loads(document)) for name, document in engine.changes.put.items()}
    of_release = engine.release.graph.n
    given = inserting.records(stated, lambda name: 0 <= engine.entities.find(name) < of_release, former)
    together = engine.together([record.id for record in given])
    records = [engine.record(record, together) for record in given]
    service.check_size("entities", len(records))
    known = sum(engine.entities.find(record.id) >= 0 for record in records)
    after = service.holder.change({record.id: record.to_json() for record in records}) if records else engine
    return Put(after.release_name, len(records) - known, known)


async def _answer(request: Request, service: Service, given: Mapping[str, list[str]]) -> Response:
    if "update" in given:
        raise RequestProblem("update-refused", "Here queries are answered; /sparql/update takes INSERT DATA.")
    queries = given.get("query", [])
    if len(queries) != 1:
        raise RequestProblem("malformed-query", f"Expected one query, found {len(queries)}.")
    accept = request.headers.get("accept", "")
    solutions, graph = preferred(accept, SOLUTIONS), preferred(accept, GRAPHS)
    engine = service.engine
    headers = {"Vary": "Accept"}
    if request.method == "GET":
        tag = f'W/"{engine.release_name}-{__version__}-{solutions}-{graph}"'
        headers |= {"ETag": tag, "Cache-Control": "no-cache"}
        if tag in (part.strip() for part in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers=headers)
    query = Query(
        queries[0],
        given.get("default-graph-uri", ()),
        given.get("named-graph-uri", ()),
        solutions,
        graph,
        str(request.url.replace(query=None, fragment=None)),
    )
    result = await service.sparql.query(engine, query, service.workers.run)
    if result.media is None:
        raise _not_acceptable(accept)
    return Response(result.content, media_type=result.media, headers=headers)


async def _describe(request: Request, service: Service) -> Response:
    accept = request.headers.get("accept", "")
    media = preferred(accept, GRAPHS)
    if media is None:
        raise _not_acceptable(accept)
    turtle = description(str(request.url.replace(query=None)), service.engine, service.settings.sparql_federated)
    result = await service.sparql.describe(turtle, media)
    return Response(result.content, media_type=media, headers={"Vary": "Accept"})


def description(address: str, engine: Engine, federated: bool) -> str:
    """The service as the W3C's vocabulary describes it, in Turtle."""
    features = "sd:BasicFederatedQuery, sd:EmptyGraphs" if federated else "sd:EmptyGraphs"
    graph = engine.graph
    return f"""\
@prefix sd: <http://www.w3.org/ns/sparql-service-description#> .
@prefix formats: <http://www.w3.org/ns/formats/> .
@prefix void: <http://rdfs.org/ns/void#> .

<{address}> a sd:Service ;
    sd:endpoint <{address}> ;
    sd:supportedLanguage sd:SPARQL11Query ;
    sd:resultFormat formats:SPARQL_Results_JSON, formats:SPARQL_Results_XML, formats:SPARQL_Results_CSV,
        formats:SPARQL_Results_TSV, formats:Turtle, formats:N-Triples, formats:RDF_XML, formats:JSON-LD ;
    sd:feature {features} ;
    sd:defaultDataset [
        a sd:Dataset ;
        sd:defaultGraph [
            a sd:Graph ; void:entities {graph.n} ; void:properties {graph.r} ; void:classes {len(graph.types)}
        ] ;
        sd:namedGraph [ a sd:NamedGraph ; sd:name <{PREDICTED}> ; sd:graph [ a sd:Graph ] ]
    ] .
"""


def _read(*queries: bytes) -> dict[str, list[str]]:
    """Parameters by name, in the order of their values."""
    found: dict[str, list[str]] = {}
    try:
        for query in queries:
            for name, value in parse_qsl(
                query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
            ):
                found.setdefault(name, []).append(value)
    except ValueError as error:  # also of decoding
        raise RequestProblem("malformed-query", f"The parameters cannot be read: {error}.") from None
    return found


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestProblem(
            "malformed-query", f"The query is not UTF-8: {error.reason} at byte {error.start}."
        ) from None


def _not_acceptable(accept: str) -> RequestProblem:
    return RequestProblem(
        "not-acceptable",
        f"None of {accept[:200]!r} can be given; solutions come as {', '.join(SOLUTIONS)}, graphs as {', '.join(GRAPHS)}.",
    )
