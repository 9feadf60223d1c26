"""`/v1/search`, `GET /v1/entities/{id}` its types and its likes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request, Response
from fastapi.openapi.models import Example
from pydantic import TypeAdapter

from kgservice.answers import Described
from kgservice.answers.entities import EntityPage, LikeAnswer, TypesAnswer
from kgservice.answers.matches import SearchResult
from kgservice.engine import Engine
from kgservice.errors import InvalidQuestion
from kgservice.server.documentation import BODY, BUSY, responses
from kgservice.server.fields import filters_of
from kgservice.server.json_routes import OTHER_FORMS, JsonRoute
from kgservice.server.lines import NDJSON, Lines, Row, answer_lines, answer_many
from kgservice.server.queries import (
    EntityQuery,
    SearchBody,
    SearchOne,
    SearchOptions,
    SearchQuery,
    SimilarQuery,
    SuggestQuery,
    TypesBody,
    TypesOptions,
    TypesQuery,
)
from kgservice.server.schemas import SearchResults, TypesAnswers
from kgservice.server.service import ServiceOf

router = APIRouter(prefix="/v1", tags=["entities"], route_class=JsonRoute)

Id = Annotated[str, Path(description="An IRI (percent-encoded), a CURIE or an id.", examples=["world:France"])]
_ASKED = ("unknown-entity", "unknown-type", "unknown-model", "invalid-request", "invalid-question", *BUSY)

_SEARCH_EXAMPLES: dict[str, Example] = {
    "two": {
        "summary": "Which entities do two texts mean?",
        "value": {"queries": ["Frnace", "river through Paris"], "k": 3},
    },
    "typed": {
        "summary": "Only countries, labelled in French",
        "value": {"queries": ["Espagne"], "types": ["world:Country"], "language": "fr", "mode": "lexical"},
    },
}

_TYPES_EXAMPLES: dict[str, Example] = {
    "two": {
        "summary": "What are France and Lyon?",
        "value": {"entities": ["world:France", "world:Lyon"], "k": 3},
    },
    "unknown": {
        "summary": "What may Spain be, beyond what is stated?",
        "value": {"entities": ["world:Spain"], "exclude_known": True, "k": 5},
    },
    "among": {
        "summary": "Is Lyon a city or a country?",
        "value": {"entities": ["world:Lyon"], "types": ["world:City", "world:Country"]},
    },
}


@router.get(
    "/search",
    operation_id="search",
    summary="Which entity do you mean?",
    responses=responses(
        SearchResult,
        "The matches, the best first.",
        "unknown-type",
        "unknown-relation",
        "unknown-entity",
        "invalid-request",
        "invalid-question",
        *BUSY,
    ),
)
async def search(query: Annotated[SearchQuery, Query()], request: Request, service: ServiceOf) -> Response:
    """Search names in all languages, forgiving typos, then descriptions by words and by meaning."""
    service.check_size("queries", 1, query.k)
    engine = service.engine
    return await service.answer_once(
        request,
        engine,
        lambda: engine.search(
            query.q,
            cursor=query.cursor,
            k=query.k,
            types=query.type,
            filters=query.filter,
            language=query.language,
            mode=query.mode,
            facets=query.facets,
            facet_by=query.facet,
            highlight=query.highlight,
        ),
    )


@router.get(
    "/suggest",
    operation_id="suggest",
    summary="How may a name go on?",
    responses=responses(
        SearchResult, "Entities with such a name.", "unknown-type", "invalid-request", "invalid-question", *BUSY
    ),
)
async def suggest(query: Annotated[SuggestQuery, Query()], request: Request, service: ServiceOf) -> Response:
    """Entities one of whose names begins with what was typed so far: no typing error is forgiven, no meaning searched."""
    service.check_size("queries", 1, query.k)
    engine = service.engine
    return await service.answer_once(
        request, engine, lambda: engine.suggest(query.prefix, k=query.k, types=query.type, language=query.language)
    )


@router.post(
    "/search",
    operation_id="searchMany",
    summary="Which entities do many texts mean?",
    responses=responses(
        SearchResults,
        "The matches of each query.",
        "unknown-type",
        "unknown-relation",
        "unknown-entity",
        *BODY,
        *BUSY,
    ),
)
async def search_many(
    body: Annotated[SearchBody, Body(openapi_examples=_SEARCH_EXAMPLES)], request: Request, service: ServiceOf
) -> Response:
    """As for one query; all are read together, which is several times faster where meaning is searched."""
    counted = body.facets or bool(body.facet_by)
    service.check_size("queries", len(body.queries), service.settings.max_k if counted else body.k)
    engine = service.engine
    options = _options(body)
    return await answer_many(
        _match_rows, request, service, lambda: engine.search_many(body.queries, **options), SearchResults
    )


def _options(body: SearchOptions) -> dict[str, Any]:
    shared = body.model_dump(include={"k", "types", "language", "mode", "facets", "facet_by", "highlight"})
    return {**shared, "filters": filters_of(body.filters)}


def _ask_search(engine: Engine, bodies: Sequence[SearchOne]) -> Sequence[SearchResult]:
    return engine.search_many([body.query for body in bodies], **_options(bodies[0]))


def _match_rows(result: SearchResult) -> Iterable[Row]:
    for rank, match in enumerate(result.matches, start=1):
        values = {name: getattr(match, name) for name in ("id", "label", "description", "score", "matched", "kind")}
        yield {"rank": rank, **values, "release": result.release}


SEARCH_LINES = Lines(TypeAdapter(SearchOne), _ask_search, lambda body: repr(_options(body)), lambda body: body.k)
OTHER_FORMS["searchMany"] = {NDJSON: partial(answer_lines, SEARCH_LINES)}


@router.get(
    "/entities/{id:path}/types",
    operation_id="entityTypes",
    summary="Which types does an entity have?",
    responses=responses(
        TypesAnswer,
        "The likeliest types.",
        *_ASKED,
    ),
)
async def entity_types(
    id: Id,
    query: Annotated[TypesQuery, Query()],
    request: Request,
    service: ServiceOf,
) -> Response:
    """Types with calibrated probabilities, told by the vectors of a model; those that are stated are marked as known."""
    service.check_size("entities", 1, query.k)
    engine = service.engine
    return await service.answer_once(request, engine, lambda: _types(engine, [id], query.type, query)[0])


@router.get(
    "/entities/{id:path}/similar",
    operation_id="similarEntities",
    summary="Which entities are like this one?",
    responses=responses(
        LikeAnswer,
        "The most alike.",
        *_ASKED,
    ),
)
async def similar(
    id: Id,
    query: Annotated[SimilarQuery, Query()],
    request: Request,
    service: ServiceOf,
) -> Response:
    """By the cosine of a model's vectors: of a graph model what is linked alike, of a text model what is described alike."""
    service.check_size("entities", 1, query.k)
    engine = service.engine
    return await service.answer_once(
        request,
        engine,
        lambda: engine.similar_to(id, k=query.k, model=query.model, types=query.type, language=query.language),
    )


@router.post(
    "/types",
    operation_id="types",
    summary="Which types do many entities have?",
    responses=responses(
        TypesAnswers, "The likeliest types of each.", "unknown-entity", "unknown-type", "unknown-model", *BODY, *BUSY
    ),
)
async def types(body: Annotated[TypesBody, Body(openapi_examples=_TYPES_EXAMPLES)], service: ServiceOf) -> Response:
    """As for one entity; all of one answer come from one release."""
    service.check_size("entities", len(body.entities), body.k)
    engine = service.engine
    given = [one if isinstance(one, str) else one.described() for one in body.types]
    return await service.answer(lambda: TypesAnswers(_types(engine, body.entities, given, body)))


def _types(
    engine: Engine, entities: list[str], types: Sequence[str | Described], options: TypesOptions
) -> list[TypesAnswer]:
    return engine.types_of(
        entities,
        types=types,
        k=options.k,
        model=options.model,
        exclude_known=options.exclude_known,
        language=options.language,
    )


@router.get(
    "/entities/{id:path}",
    operation_id="entity",
    summary="What is stated of an entity?",
    responses=responses(EntityPage, "The entity.", "unknown-entity", "invalid-request", "invalid-question", *BUSY),
)
async def entity(
    id: Id,
    query: Annotated[EntityQuery, Query()],
    request: Request,
    service: ServiceOf,
) -> Response:
    """Labels, descriptions, aliases, types and statements, with qualifiers and literals."""
    if query.limit > service.settings.max_statements:
        raise InvalidQuestion(f"limit must be at most {service.settings.max_statements} on this server")
    engine = service.engine
    return await service.answer_once(
        request, engine, lambda: engine.entity(id, language=query.language, limit=query.limit)
    )
