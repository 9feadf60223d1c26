"""`/reconcile/draft`: the Reconciliation Service API as the draft of 1.0 has it; what is answered is that of version 0.2."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from fastapi.openapi.models import Example

from kgservice.reconciliation import matching
from kgservice.server import reconciling
from kgservice.server.json_routes import JsonRoute
from kgservice.server.reconciling import ExtendBody, MatchBody
from kgservice.server.routes.reconcile import NAMES, add_shared, extension, language_of, object_of
from kgservice.server.service import ServiceOf

router = APIRouter(prefix="/reconcile/draft", tags=["reconciliation"], route_class=JsonRoute)

_BODY = ("malformed-json", "body-too-large", "unsupported-media-type")


@router.get(
    "",
    operation_id="reconcileDraft",
    summary="How are tables reconciled here, as the draft of 1.0 has it?",
    response_class=Response,
    responses=object_of("The manifest."),
)
async def draft_manifest(request: Request, service: ServiceOf) -> Response:
    """The manifest of the draft of 1.0."""
    base, engine, language = str(request.base_url).rstrip("/"), service.engine, language_of(request)
    return await service.answer(lambda: reconciling.draft_manifest(base, engine, language))


_MATCH: dict[str, Example] = {
    "name": {
        "summary": "A misspelt country",
        "value": {
            "queries": [
                {"type": "world:Country", "conditions": [{"matchType": "name", "propertyValue": "Frnace"}]},
            ]
        },
    },
    "property": {
        "summary": "A city, by its name and its country",
        "value": {
            "queries": [
                {
                    "limit": 3,
                    "conditions": [
                        {"matchType": "name", "propertyValue": "Lyon"},
                        {
                            "matchType": "property",
                            "propertyId": "world:country",
                            "propertyValue": "France",
                            "required": True,
                        },
                    ],
                }
            ]
        },
    },
}
_EXTENDS: dict[str, Example] = {
    "capital": {
        "summary": "The capital of France",
        "value": {"ids": ["world:France"], "properties": [{"id": "world:capital"}]},
    },
    "limited": {
        "summary": "Two neighbours of two countries",
        "value": {
            "ids": ["world:France", "world:Peru"],
            "properties": [{"id": "world:borders", "settings": {"limit": 2}}],
        },
    },
}


@router.post(
    "/match",
    operation_id="reconcileMatch",
    summary="Which entities do the cells of a table mean, as the draft of 1.0 has it?",
    response_class=Response,
    responses=object_of("Candidates of each query.", *_BODY, *NAMES),
)
async def match(
    body: Annotated[MatchBody, Body(openapi_examples=_MATCH)], request: Request, service: ServiceOf
) -> Response:
    """A batch of queries, each of conditions on name, id and properties."""
    queries = [one.asked() for one in body.queries]
    service.check_size("queries", len(queries), max((one.limit for one in queries), default=1))
    engine, language = service.engine, language_of(request)
    return await service.answer(
        lambda: {
            "results": [
                {"candidates": reconciling.candidates(one)} for one in matching.match(engine, queries, language)
            ]
        }
    )


@router.post(
    "/extend",
    operation_id="reconcileExtend",
    summary="What is stated of entities that are known by now?",
    response_class=Response,
    responses=object_of("Values of each entity.", *_BODY, *NAMES),
)
async def extend(
    body: Annotated[ExtendBody, Body(openapi_examples=_EXTENDS)], request: Request, service: ServiceOf
) -> Response:
    """Values of some properties of some entities."""
    engine, language = service.engine, language_of(request)
    return await service.answer(extension(service, engine, body, language, reconciling.draft_extended))


add_shared(router, "reconcileDraft", "offset", ", as the draft of 1.0 has it")
