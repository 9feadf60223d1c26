"""`GET /v1/search` and `GET /v1/entities/{id}`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from kgservice.answers import EntityPage, SearchResult
from kgservice.errors import InvalidQuestion
from kgservice.server.bodies import EntityQuery, SearchQuery
from kgservice.server.documentation import responses
from kgservice.server.service import ServiceOf

router = APIRouter(prefix="/v1", tags=["entities"])

_BUSY = ("overloaded", "no-release", "unavailable")


@router.get(
    "/search",
    operation_id="search",
    summary="Which entity do you mean?",
    responses=responses(
        SearchResult, "The matches, the best first.", "unknown-type", "invalid-request", "invalid-question", *_BUSY
    ),
)
async def search(query: Annotated[SearchQuery, Query()], request: Request, service: ServiceOf) -> Response:
    """Search names in all languages, forgiving typos, then descriptions by words and by meaning."""
    service.check_size("queries", 1, query.k)
    engine = service.engine
    return await service.answer_once(
        request,
        engine,
        lambda: engine.search(query.q, k=query.k, types=query.type, language=query.language, mode=query.mode),
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
