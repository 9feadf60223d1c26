"""`/v1/search`, `GET /v1/entities/{id}` its types and its likes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request, Response
from fastapi.openapi.models import Example

from kgservice.answers import Described, EntityPage, LikeAnswer, SearchResult, TypesAnswer
from kgservice.engine import Engine
from kgservice.errors import InvalidQuestion
from kgservice.server.bodies import (
    EntityQuery,
    JsonRoute,
    SearchBody,
    SearchQuery,
    SimilarQuery,
    TypesBody,
    TypesOptions,
    TypesQuery,
)
from kgservice.server.documentation import responses
from kgservice.server.schemas import SearchResults, TypesAnswers
from kgservice.server.service import ServiceOf

router = APIRouter(prefix="/v1", tags=["entities"], route_class=JsonRoute)

_BODY = ("malformed-json", "body-too-large", "unsupported-media-type", "invalid-request", "invalid-question")
_BUSY = ("overloaded", "no-release", "unavailable")

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
        *_BUSY,
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
        *_BODY,
        *_BUSY,
    ),
)
async def search_many(
    body: Annotated[SearchBody, Body(openapi_examples=_SEARCH_EXAMPLES)], service: ServiceOf
) -> Response:
    """As for one query; all are read together, which is several times faster where meaning is searched."""
    counted = body.facets or bool(body.facet_by)
    service.check_size("queries", len(body.queries), service.settings.max_k if counted else body.k)
    engine = service.engine
    return await service.answer(
        lambda: SearchResults(
            engine.search_many(
                body.queries,
                k=body.k,
                types=body.types,
                filters=[(one.relation, one.object) for one in body.filters],
                language=body.language,
                mode=body.mode,
                facets=body.facets,
                facet_by=body.facet_by,
                highlight=body.highlight,
            )
        )
    )


@router.get(
    "/entities/{id:path}/types",
    operation_id="entityTypes",
    summary="Which types does an entity have?",
    responses=responses(
        TypesAnswer,
        "The likeliest types.",
        "unknown-entity",
        "unknown-type",
        "unknown-model",
        "invalid-request",
        "invalid-question",
        *_BUSY,
    ),
)
async def entity_types(
    id: Annotated[str, Path(description="An IRI (percent-encoded), a CURIE or an id.", examples=["world:France"])],
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
        "unknown-entity",
        "unknown-type",
        "unknown-model",
        "invalid-request",
        "invalid-question",
        *_BUSY,
    ),
)
async def similar(
    id: Annotated[str, Path(description="An IRI (percent-encoded), a CURIE or an id.", examples=["world:France"])],
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
        TypesAnswers, "The likeliest types of each.", "unknown-entity", "unknown-type", "unknown-model", *_BODY, *_BUSY
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
    responses=responses(EntityPage, "The entity.", "unknown-entity", "invalid-request", "invalid-question", *_BUSY),
)
async def entity(
    id: Annotated[str, Path(description="An IRI (percent-encoded), a CURIE or an id.", examples=["world:France"])],
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
