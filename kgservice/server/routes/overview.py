"""`GET /v1/relations` and `GET /v1/map`: what the whole graph looks like."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from kgservice.answers.entities import EntityMap, RelationList
from kgservice.engine import Engine
from kgservice.engine.relations import matching
from kgservice.errors import InvalidQuestion
from kgservice.server.documentation import BUSY, responses
from kgservice.server.json_routes import JsonRoute
from kgservice.server.queries import MapQuery, RelationsQuery
from kgservice.server.service import ServiceOf

router = APIRouter(prefix="/v1", tags=["entities"], route_class=JsonRoute)

_REFUSED = ("invalid-request", "invalid-question", *BUSY)


@router.get(
    "/relations",
    operation_id="relations",
    summary="Which relations are there?",
    responses=responses(RelationList, "The relations, the most used first.", *_REFUSED),
)
async def relations(query: Annotated[RelationsQuery, Query()], request: Request, service: ServiceOf) -> Response:
    """All that statements or qualifiers have, or those whose label or id has the words of `q`."""
    service.check_size("lists", 1, query.k)
    engine = service.engine
    key = ("relations", engine.release_name, query.language)
    every = await service.once.get(key, lambda: engine.relation_summaries(query.language))

    def ask() -> RelationList:
        found = matching(every, query.q) if query.q else every
        return RelationList(engine.release_name, len(found), found[: query.k])

    return await service.answer_once(request, engine, ask)


@router.get(
    "/map",
    operation_id="map",
    summary="Which entities are near each other?",
    responses=responses(EntityMap, "The best-connected entities as points of a plane.", "unknown-model", *_REFUSED),
)
async def entity_map(query: Annotated[MapQuery, Query()], request: Request, service: ServiceOf) -> Response:
    """A model's entity vectors, projected by principal components and t-SNE; the same every time.

    It takes seconds the first time and is kept.
    """
    limit = service.settings.max_map
    count = min(limit, 1000) if query.n is None else query.n
    if count > limit:
        raise InvalidQuestion(f"n must be at most {limit:,} on this server, found {count:,}")
    engine = service.engine
    model = engine.model(query.model).name
    # Kept per release: what was put since was not learnt and has no place there; what was erased is left out below.
    key = ("map", engine.release.id, model, count, query.language)
    found = await service.once.get(key, lambda: engine.map(count, model=model, language=query.language))
    return await service.answer_once(request, engine, lambda: _shown(found, engine))


def _shown(found: EntityMap, engine: Engine) -> EntityMap:
    """Without the entities that were erased since the map was made."""
    points = found.points
    if engine.graph.erased.any():
        points = [point for point in points if engine.entities.find(point.id) >= 0]
    return replace(found, release=engine.release_name, points=points)
