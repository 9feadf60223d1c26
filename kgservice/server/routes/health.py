"""`GET /livez` and `GET /readyz`."""

from __future__ import annotations

import anyio
from fastapi import APIRouter, Response

from kgservice.answers import Question
from kgservice.engine import Engine
from kgservice.server.documentation import responses
from kgservice.server.problems import RequestProblem
from kgservice.server.schemas import Health
from kgservice.server.service import ServiceOf

router = APIRouter(tags=["health"])


@router.get("/livez", operation_id="livez", summary="Does the process run?", responses=responses(Health, "It does."))
async def livez() -> Response:
    """Answers as long as the event loop turns; nothing else is asked."""
    return Response(b'{"status":"alive","release":null}', media_type="application/json")


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Can questions be answered?",
    responses=responses(Health, "They can.", "no-release", "not-ready", "unavailable", "overloaded"),
)
async def readyz(service: ServiceOf) -> Response:
    """Answers one of the release's own questions, through the same threads as everyone's, within a time limit."""
    engine, limit_s = service.engine, service.settings.ready_timeout_s
    try:
        with anyio.fail_after(limit_s):
            return await service.answer(lambda: _try(engine))
    except TimeoutError:
        raise RequestProblem("not-ready", f"A question was not answered within {limit_s:g} s.") from None


def _try(engine: Engine) -> Health:
    for canary in engine.release.canaries()[:1]:
        engine.complete([Question(**canary["question"])], k=1, model=canary["model"])
    return Health("ready", engine.release_name)
