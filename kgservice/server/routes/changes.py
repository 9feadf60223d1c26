"""`PUT` and `DELETE /v1/entities/{id}`, and `POST /v1/entities` for many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import orjson
from fastapi import APIRouter, Body, Path, Response
from fastapi.openapi.models import Example

from kgservice.answers.records import EntityRecord
from kgservice.engine import Engine
from kgservice.engine.reading import Reading
from kgservice.errors import InvalidQuestion
from kgservice.server.documentation import BODY, responses
from kgservice.server.json_routes import JsonRoute
from kgservice.server.schemas import Put
from kgservice.server.service import Service, ServiceOf, json_response
from kgservice.server.submissions import Id, RecordBody, RecordsBody

router = APIRouter(prefix="/v1", tags=["entities"], route_class=JsonRoute)

_NAMES = ("unknown-entity", "unknown-relation", "unknown-type")
_CHANGE = ("erased", "read-only", "overloaded", "no-release", "unavailable")
_EXAMPLE = {
    "labels": {"en": "Newport-on-Sea"},
    "descriptions": {"en": "city in France"},
    "types": ["world:City"],
    "statements": [{"relation": "world:locatedIn", "object": "world:France"}],
}
_EXAMPLES: dict[str, Example] = {
    "city": {"summary": "A city that the release does not hold", "value": _EXAMPLE},
    "words": {
        "summary": "By its texts alone",
        "value": {"labels": {"en": "Newport"}, "descriptions": {"en": "city in France"}},
    },
}
_MANY: dict[str, Example] = {
    "one": {"summary": "One entity", "value": {"entities": [{"id": "world:Newport-on-Sea", **_EXAMPLE}]}},
    "two": {
        "summary": "Two entities",
        "value": {
            "entities": [
                {"id": "world:Newport-on-Sea", **_EXAMPLE},
                {"id": "world:Oldport", "labels": {"en": "Oldport"}, "descriptions": {"en": "city in Spain"}},
            ]
        },
    },
}
EntityId = Annotated[
    Id, Path(description="An IRI (percent-encoded), a CURIE or an id.", examples=["world:Newport-on-Sea"])
]


@router.put(
    "/entities/{id:path}",
    operation_id="putEntity",
    summary="Have an entity known at once.",
    status_code=200,
    responses=responses(Put, "It is known: found by its names, completed and classified.", *BODY, *_NAMES, *_CHANGE)
    | {201: {"model": Put, "description": "The same, of an entity that was not there before."}},
)
async def put_entity(
    id: EntityId, body: Annotated[RecordBody, Body(openapi_examples=_EXAMPLES)], service: ServiceOf
) -> Response:
    """Put an entity that the release does not hold, or replace what was put of it.

    Nothing is trained: its vector is made of its text, where a model reads texts, and of its statements. It survives restarts
    and new releases, until it is erased or a release holds an entity of that name itself.
    """
    service.check_writable()
    done = await service.workers.run(lambda: _put(service, [(id, body)]))
    return Response(orjson.dumps(done), 201 if done.created else 200, media_type="application/json")


@router.post(
    "/entities",
    operation_id="putEntities",
    summary="Have many entities known at once.",
    responses=responses(Put, "They are known.", *BODY, *_NAMES, *_CHANGE),
)
async def put_entities(body: Annotated[RecordsBody, Body(openapi_examples=_MANY)], service: ServiceOf) -> Response:
    """As for one entity; they are put together or not at all, and may name each other."""
    service.check_writable()
    service.check_size("entities", len(body.entities))
    pairs = [(one.id, one) for one in body.entities]
    return json_response(orjson.dumps(await service.workers.run(lambda: _put(service, pairs))))


@router.delete(
    "/entities/{id:path}",
    operation_id="eraseEntity",
    summary="Erase an entity for good.",
    status_code=204,
    response_class=Response,
    responses={
        status: response
        for status, response in responses(Put, "", "unknown-entity", "invalid-request", *_CHANGE).items()
        if status != 200
    }
    | {204: {"description": "It is erased: no answer names it any more, of this release or any other."}},
)
async def erase_entity(id: EntityId, service: ServiceOf) -> Response:
    """Never show an entity again, whether it was put or is the release's own.

    The files of releases keep their bytes until `kgservice release purge` rewrites them.
    """
    service.check_writable()
    await service.workers.run(lambda: service.holder.change({}, [service.engine.erasable(id)]))
    return Response(status_code=204)


def _put(service: Service, pairs: Sequence[tuple[str, RecordBody]]) -> Put:
    engine = service.engine
    together = engine.together([id for id, _ in pairs]) if len(pairs) > 1 else None
    records = [_checked(engine, place, id, body, together) for place, (id, body) in enumerate(pairs)]
    documents = {record.id: record.to_json() for record in records}
    if len(documents) < len(records):
        raise InvalidQuestion("an entity is put twice by one request")
    known = sum(engine.entities.find(name) >= 0 for name in documents)
    after = service.holder.change(documents)
    return Put(after.release_name, len(documents) - known, known)


def _checked(engine: Engine, place: int, id: str, body: RecordBody, together: Reading | None) -> EntityRecord:
    try:
        return engine.record(body.record(id), together)
    except InvalidQuestion as error:
        raise InvalidQuestion(f"entity {place}: {error}") from error
